"""Titles of figures and names of models in them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from glassbox.protocols import HasMembers, StructuredTask

if TYPE_CHECKING:
    from glassbox.metrics import Projection


def loss_label(module: object) -> str:
    """'harmonic', 'cross-entropy', 'focal (harmonic)'; 'model' for a module without a head."""
    head = getattr(module, "head", None)
    if head is None:
        return "model"
    geometry = getattr(head, "geometry", None)
    label = _class_in_words(head)
    return label if geometry is None else f"{label} ({_class_in_words(geometry)})"


def model_title(module: object, task: StructuredTask | None) -> str:
    """Task, head and network, such as 'lattice · harmonic MLP'; 'training' without a task."""
    task_name = task.name.replace("_", " ") if task is not None else "training"
    if not isinstance(module, HasMembers):
        return task_name
    member = module.member(0)
    return f"{task_name} · {loss_label(member)} {type(member.network).__name__}"


def projection_title(model: str, space: Projection, components: int | None) -> str:
    """The model, and how much of its variance the principal components explain."""
    if components is None:
        return f"{model} · whole space"
    percent = 100 * float(space.fractions[0].sum())
    return f"{model} · {components} principal components with {percent:.0f} % of the variance"


def _class_in_words(head: object) -> str:
    """'label-smoothing' of a LabelSmoothingHead."""
    words = re.findall(r"[A-Z][a-z0-9]*", type(head).__name__.removesuffix("Head"))
    return "-".join(words).lower()
