"""Which classes an option takes, as far as the annotation of the option tells."""

from __future__ import annotations

import importlib
import inspect
import typing
from collections.abc import Callable
from typing import Any

# Packages whose classes are known by their short names.
PACKAGES = ("lightning_modules", "datamodules", "callbacks")


def import_object(path: str) -> Any:
    """Import an object by its dotted path, such as ``glassbox.metrics.circularity``."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def resolve_class(name: str) -> type | None:
    """The class of a full path, or of a short name among those of Glassbox; None if there is none.

    Args:
        name: Such as ``MLP`` or ``lightning_modules.MLP``.
    """
    module, _, short = name.rpartition(".")
    for package in [module] if module else PACKAGES:
        try:
            found = getattr(importlib.import_module(package), short, None)
        except ImportError:
            continue
        if isinstance(found, type):
            return found
    return None


def expected_type(owner: str, option: str) -> type | None:
    """The class that an option takes, or whose subclasses it takes; None where that is not known.

    Args:
        owner: Full path of the class that has the option.
        option: Its name. Annotated with a class, or with a callable that returns one.
    """
    cls = resolve_class(owner)
    if cls is None:
        return None
    try:
        annotation = typing.get_type_hints(cls.__init__).get(option)  # type: ignore[misc]
    except NameError:  # something that only type checkers import
        return None
    for choice in (annotation, *typing.get_args(annotation)):  # itself, or the parts of a union
        returned = typing.get_args(choice)[-1] if typing.get_origin(choice) is Callable else choice
        if isinstance(returned, type) and returned.__module__ != "builtins":
            return returned
    return None


def compatible_classes(wanted: type) -> list[str]:
    """Short names of Glassbox's classes that are the wanted one or derived from it."""
    package = importlib.import_module(wanted.__module__.partition(".")[0])
    exported = {name: getattr(package, name) for name in getattr(package, "__all__", [])}
    return [
        name
        for name, value in exported.items()
        if isinstance(value, type) and issubclass(value, wanted) and not inspect.isabstract(value)
    ]


def known_classes(key: str) -> list[str]:
    """Short class names that fit a key such as model.head."""
    import callbacks
    import datamodules
    import lightning_modules

    package, base = {
        "model": (lightning_modules, "LightningModule"),
        "data": (datamodules, "LightningDataModule"),
        "head": (lightning_modules, "LossHead"),
        "geometry": (lightning_modules, "LossHead"),
        "network": (lightning_modules, "FeatureNetwork"),
        "task": (datamodules, "Task"),
    }.get(key.rpartition(".")[2], (callbacks, "Callback"))
    exported = {name: getattr(package, name) for name in package.__all__}
    classes = {name: value for name, value in exported.items() if isinstance(value, type)}
    excluded = {base, "Probe", "Ensemble", "NetworkWithHead"}
    return [
        name
        for name, cls in classes.items()
        if name not in excluded and base in {parent.__name__ for parent in cls.__mro__}
    ]


def known_keys(command: str) -> list[str]:
    """Keys of the command line that belong to no exchangeable class."""
    from glassbox.cli.function_commands import FUNCTIONS

    if command in FUNCTIONS:
        return list(inspect.signature(import_object(FUNCTIONS[command])).parameters)
    from lightning import Trainer

    trainer = [f"trainer.{name}" for name in inspect.signature(Trainer.__init__).parameters]
    ours = ["model", "data", "checkpoint", "progress", "summary"]
    return [*trainer, *ours, "seed_everything", "ckpt_path", "config", "print_config"]
