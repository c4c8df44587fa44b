"""Networks and heads as plain data, so that a checkpoint can describe the model it belongs to."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import nn

from lightning_modules.training.renamed import is_spec, rename_class_path


def to_spec(factory: Callable[..., Any]) -> dict[str, Any]:
    """A class, or a ``partial`` of one with plain keywords, as a class path and all its options.

    An option may itself be a class or ``partial``, such as the geometry of a head. The class path
    is None for other functions, and for options that are neither plain nor classes.
    """
    cls = factory.func if isinstance(factory, partial) else factory
    keywords = factory.keywords if isinstance(factory, partial) else {}
    positional = isinstance(factory, partial) and factory.args
    plain = all(
        isinstance(value, str | int | float | bool | None) or callable(value)
        for value in keywords.values()
    )
    if not isinstance(cls, type) or positional or not plain:
        return {"class_path": None}
    options = {
        name: parameter.default
        for name, parameter in inspect.signature(cls).parameters.items()
        if parameter.default is not inspect.Parameter.empty
    } | keywords
    init_args = {
        name: to_spec(value) if callable(value) else value for name, value in options.items()
    }
    if any(is_spec(value) and value["class_path"] is None for value in init_args.values()):
        return {"class_path": None}
    path = rename_class_path(f"{cls.__module__}.{cls.__qualname__}")
    return {"class_path": path, "init_args": init_args}


def build_from_spec(
    factory: Callable[..., Any] | dict[str, Any], name: str, kind: type = nn.Module
) -> Callable[..., Any]:
    """The factory that the spec of option ``name`` describes; a factory is returned as it is.

    Raises:
        ValueError: The spec has no class path, or one of anything but a ``kind``.
    """
    if not isinstance(factory, dict):
        return factory
    if factory.get("class_path") is None:
        raise ValueError(
            f"the checkpoint does not describe its {name}, which was built by a function; pass "
            f"{name}=... to load_from_checkpoint"
        )
    path = rename_class_path(factory["class_path"])
    module, _, cls_name = path.rpartition(".")
    cls = getattr(importlib.import_module(module), cls_name, None)
    if not (isinstance(cls, type) and issubclass(cls, kind)):
        raise ValueError(
            f"the checkpoint's {name} is {path}, which is not a {kind.__name__}; pass {name}=... "
            f"to load_from_checkpoint"
        )
    options = {
        key: build_from_spec(value, f"{name}.{key}") if is_spec(value) else value
        for key, value in factory.get("init_args", {}).items()
    }
    return partial(cls, **options)


def check_data_matches_model(model: object, sizes: Mapping[str, int], data: object) -> None:
    """Raise a ValueError if one of the model's sizes differs from an attribute of the data."""
    for name, size in sizes.items():
        data_size = getattr(data, name, size)
        if data_size != size:
            raise ValueError(
                f"{name} is {size} in the model and {data_size} in the data; build the "
                f"{type(model).__name__} with {name}={data_size}"
            )
