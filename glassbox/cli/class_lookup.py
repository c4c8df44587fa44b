"""Which classes and keys the command line accepts, for messages about those it does not."""

from __future__ import annotations

import importlib
import inspect
import typing
from collections.abc import Callable
from typing import Any

from glassbox.cli.subcommands import FUNCTIONS

# Packages whose classes can be named without their package.
PACKAGES = ("lightning_modules", "datamodules", "callbacks")


def import_object(path: str) -> Any:
    """Import an object by its dotted path, such as ``glassbox.metrics.circularity``."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def resolve_class(name: str) -> type | None:
    """The class of that full path, or of that short name if it is one of Glassbox's."""
    module, _, short = name.rpartition(".")
    for package in [module] if module else PACKAGES:
        try:
            value = getattr(importlib.import_module(package), short, None)
        except ImportError:
            continue
        if isinstance(value, type):
            return value
    return None


def expected_type(owner: str, option: str) -> type | None:
    """The class that an option takes, or whose subclasses it takes; None if there is none.

    The owner is the full path of the class that has the option; it is empty for ``model``, ``data``
    and ``trainer.callbacks`` of the command line.
    """
    import lightning as L

    if option in ("model", "data"):
        return {"model": L.LightningModule, "data": L.LightningDataModule}[option]
    section, _, option = option.rpartition(".")
    cls = L.Trainer if section == "trainer" else resolve_class(owner)
    if cls is None:
        return None
    try:
        annotation = typing.get_type_hints(cls.__init__).get(option)  # type: ignore[misc]
    except NameError:  # a name that is imported for type checkers only
        return None
    for choice in (annotation, *typing.get_args(annotation)):  # itself, or the parts of a union
        if typing.get_origin(choice) in (Callable, list):
            choice = typing.get_args(choice)[-1]
        if isinstance(choice, type) and choice.__module__ != "builtins":
            return choice
    return None


def compatible_classes(expected: type) -> list[str]:
    """Short names of the classes that are the expected one or derived from it.

    Glassbox's if there are any; else those of the package that defines the expected one, such as
    Lightning's loggers.
    """
    ours = [name for package in PACKAGES for name in _subclasses(package, expected)]
    return ours or _subclasses(expected.__module__.rpartition(".")[0], expected)


def _subclasses(package: str, base: type) -> list[str]:
    """Names of the classes that a package exports and that can be built."""
    module = importlib.import_module(package or "builtins")
    exported = [getattr(module, name, None) for name in getattr(module, "__all__", ())]
    fitting = [cls for cls in exported if isinstance(cls, type) and issubclass(cls, base)]
    bases = {parent for cls in fitting for parent in cls.__mro__[1:]}
    return [cls.__name__ for cls in fitting if not (inspect.isabstract(cls) or cls in bases)]


def known_keys(command: str) -> list[str]:
    """Keys of a subcommand that do not belong to an exchangeable class."""
    if command in FUNCTIONS:
        return list(inspect.signature(import_object(FUNCTIONS[command])).parameters)
    from lightning import Trainer

    trainer = [f"trainer.{name}" for name in inspect.signature(Trainer.__init__).parameters]
    ours = ["model", "data", "checkpoint", "progress", "summary"]
    return [*trainer, *ours, "seed_everything", "ckpt_path", "config", "print_config"]
