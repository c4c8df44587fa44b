"""What a figure or a table calls a model: by its loss head."""

from __future__ import annotations

import re
from typing import Any


def loss_label(module: Any) -> str:
    """'harmonic', 'cross-entropy', 'focal (harmonic)'; 'model' for a module without a head."""
    head = getattr(module, "head", None)
    if head is None:
        return "model"
    geometry = getattr(head, "geometry", None)
    return _spelled(head) if geometry is None else f"{_spelled(head)} ({_spelled(geometry)})"


def _spelled(head: Any) -> str:
    """A head's class in words: 'label-smoothing' of LabelSmoothingHead."""
    words = re.findall(r"[A-Z][a-z0-9]*", type(head).__name__.removesuffix("Head"))
    return "-".join(words).lower()
