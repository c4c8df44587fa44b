"""What a figure or a table calls a model: by its loss head."""

from __future__ import annotations

from typing import Any


def head_name(module: Any) -> str:
    """'harmonic', 'cross-entropy' or another head's name; 'model' for a module without a head."""
    head = getattr(module, "head", None)
    if head is None:
        return "model"
    name = type(head).__name__.removesuffix("Head")
    return {"CrossEntropy": "cross-entropy"}.get(name, name.lower())
