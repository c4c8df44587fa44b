"""Classes with settings as plain data, so that a checkpoint can say how to build its model."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any


def check_data_matches_model(model: object, sizes: Mapping[str, int], data: object) -> None:
    """Refuse data whose vocabulary, length or classes are not those of the model.

    Args:
        model: The model; its class is named.
        sizes: Its sizes, such as ``{"vocab_size": 31}``.
        data: The data module, with attributes of these names as far as it knows them.

    Raises:
        ValueError: Names the first that differs, and what to build.
    """
    for name, size in sizes.items():
        of_data = getattr(data, name, size)
        if of_data != size:
            raise ValueError(
                f"the model's {name} is {size} and the data's is {of_data}; build the "
                f"{type(model).__name__} with {name}={of_data}"
            )


def to_spec(factory: Callable[..., Any]) -> dict[str, Any]:
    """A class, or a ``partial`` of one with plain keywords, as class path and all its options.

    An option may be such a class or ``partial`` itself, as a head's geometry is; it is written down
    in the same way.

    Returns:
        ``{"class_path": ..., "init_args": {...}}``; class path None for any other function, or one
        among the options, which cannot be written down.
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
    written = {
        name: to_spec(value) if callable(value) else value for name, value in options.items()
    }
    if any(_is_spec(value) and value["class_path"] is None for value in written.values()):
        return {"class_path": None}
    return {"class_path": f"{cls.__module__}.{cls.__qualname__}", "init_args": written}


def build_from_spec(factory: Callable[..., Any] | dict[str, Any], name: str) -> Callable[..., Any]:
    """The factory that a spec describes; a factory is returned as it is.

    Raises:
        ValueError: The spec names no class.
    """
    if not isinstance(factory, dict):
        return factory
    if factory.get("class_path") is None:
        raise ValueError(
            f"the checkpoint does not say which {name} it holds, since it was built by a function; "
            f"pass {name}=... to load_from_checkpoint"
        )
    module, _, cls = factory["class_path"].rpartition(".")
    options = {
        key: build_from_spec(value, f"{name}.{key}") if _is_spec(value) else value
        for key, value in factory.get("init_args", {}).items()
    }
    return partial(getattr(importlib.import_module(module), cls), **options)


def _is_spec(value: Any) -> bool:
    return isinstance(value, dict) and "class_path" in value
