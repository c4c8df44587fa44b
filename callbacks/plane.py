"""What a Classifier answers in the plane of two input numbers: at its points, and on a map."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

# Half of a map's side over that of the square that holds all points.
MARGIN = 1.7


def points_of(trainer: Any, module: Any) -> tuple[Tensor, Tensor]:
    """The first validation batch: inputs (S, N, 2) and classes (S, N), fillers left out."""
    loader: Any = trainer.val_dataloaders
    if loader is None:  # validation has not begun, or is switched off
        loader = trainer.datamodule.val_dataloader()
    batch = next(iter(loader))
    device = module.class_centers().device
    inputs, targets = (batch[key].to(device) for key in ("inputs", "targets"))
    full = (targets != -100).all(dim=0)
    return inputs[:, full], targets[:, full]


def decision_regions(module: Any, window: Tensor, resolution: int) -> Tensor:
    """The class that each seed sees at each place of a square map.

    Args:
        module: Called with inputs (S, N, 2), gives logits (S, N, C).
        window: Left, right, lower and upper end, (4,).
        resolution: R places along each side, at the centres of R x R equal cells.

    Returns:
        (S, R, R) class numbers, the lowest row first.
    """
    left, right, low, high = window.tolist()
    cells = (torch.arange(resolution, device=window.device) + 0.5) / resolution
    x, y = left + (right - left) * cells, low + (high - low) * cells
    places = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).reshape(1, -1, 2)
    members = len(module.class_centers())
    classes = module(places.expand(members, -1, -1)).argmax(dim=-1)
    small = torch.uint8 if int(classes.max()) < 256 else torch.int64
    return classes.reshape(members, resolution, resolution).to(small)


def losses_and_correct(module: Any, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Negative log-likelihood (float64) and correctness of every point.

    Args:
        module: Called with inputs (S, N, 2), gives logits (S, N, C).
        inputs: (S, N, 2).
        targets: (S, N) classes.

    Returns:
        Both (S, N).
    """
    logits = module(inputs)
    # Every logit is right to a millionth; the sum over classes needs more digits, since
    # 1 + 1e-9 is 1 in float32.
    log_p = logits.double().log_softmax(dim=-1)
    losses = -log_p.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    return losses, logits.argmax(dim=-1) == targets


def window_around(inputs: Tensor) -> Tensor:
    """A square around all points (S, N, 2) with a margin: left, right, lower, upper end, (4,)."""
    flat = inputs.reshape(-1, 2)
    low, high = flat.amin(dim=0), flat.amax(dim=0)
    half = ((high - low).max() / 2).item() * MARGIN or 1.0
    x, y = ((low + high) / 2).tolist()
    return torch.tensor([x - half, x + half, y - half, y + half], device=inputs.device)
