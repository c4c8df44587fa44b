"""Two features in one hidden dimension: phases that theory predicts and that models train to.

Features x_1 and x_2 are independently active with probability p and then uniform on [0, 1]; errors
of the second weigh r times those of the first. A ReLU output model can use its one dimension in
three ways, called phases here, each with a loss in closed form to compare trained models with.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from glassbox.metrics._tensors import as_points, like_input

PHASES = ("first alone", "second alone", "antipodal pair")
POINTS = 64  # midpoints on [0, 1]: losses are exact to about 1e-4 of themselves
TIE = 1e-6  # relative: phases whose losses differ by less are equally good


class PhaseDiagramResult(NamedTuple):
    """Expected losses and best phase of each cell of activity and importance."""

    losses: Tensor  # (..., 3), expected loss of each of PHASES, summed over the two features
    phase: Tensor  # (...), int64 index into PHASES of the smallest; the first of equal ones


def phase_diagram(activity: Tensor, importance: Tensor) -> PhaseDiagramResult:
    """Losses of the three ways to represent two features in one dimension, and the best way.

    - The first alone, W = (1, 0): the second is predicted as its mean p/2, which leaves r times
      its variance, r(p/3 - p²/4).
    - The second alone, W = (0, 1): p/3 - p²/4.
    - Antipodal, W = (1, -1): exact while one is active. If both are, the smaller is lost and
      subtracted from the larger: p² (1 + r) E[min²] = p² (1 + r)/6.

    So the pair is best below p = 4r/(2 + 5r) for r <= 1. Weights are fixed at 1 and -1: where both
    features are often active, training can adjust weights and biases and do a little better.

    Args:
        activity: (...) p = 1 - S, in [0, 1].
        importance: (...) r, relative to the first feature's 1; at least 0. The two broadcast, so
            that (R, 1) and (P,) give a diagram (R, P).

    Returns:
        Losses (..., 3), float32, or float64 for a float64 activity; phase (...).

    Raises:
        ValueError: an activity is not in [0, 1] or an importance is negative or not finite.

    Source: Elhage et al. 2022, "Superposition as a phase change"; the closed forms are ours.
    """
    if not bool(((activity >= 0) & (activity <= 1)).all()):
        raise ValueError("activity must be a probability in [0, 1], everywhere.")
    if not bool(((importance >= 0) & importance.isfinite()).all()):
        raise ValueError("importance must be finite and at least 0, everywhere.")
    p, r = torch.broadcast_tensors(activity.detach().double(), importance.detach().double())
    variance = p / 3 - p.square() / 4
    losses = torch.stack([r * variance, variance, p.square() * (1 + r) / 6], dim=-1)
    return PhaseDiagramResult(
        like_input(losses, activity), losses.argmin(dim=-1).to(activity.device)
    )


def trained_phase(weights: Tensor, threshold: float = 0.5) -> Tensor:
    """Which of the three phases a trained model is in.

    Args:
        weights: (..., 2, 1), one row per feature.
        threshold: a feature is represented if its weight is larger in magnitude; at least 0.

    Returns:
        (...) int64 index into PHASES; -1 where neither is represented, both are with one sign, or
        the model is not finite.

    Raises:
        ValueError: ``weights`` is not a floating-point (..., 2, 1), or ``threshold`` is negative.

    Source: ours, to compare with :func:`phase_diagram`.
    """
    if not threshold >= 0:  # nan is refused too
        raise ValueError(f"threshold must be at least 0, got {threshold}.")
    cloud = as_points(weights, "weights")
    if cloud.shape[-2:] != (2, 1):
        raise ValueError(
            f"weights must be (..., 2, 1), two features and one neuron, "
            f"got shape {tuple(weights.shape)}."
        )
    first, second = cloud[..., 0, 0], cloud[..., 1, 0]
    # A nan is above no threshold, so a model that is not finite has neither.
    has_first, has_second = first.abs() > threshold, second.abs() > threshold
    phase = torch.full(first.shape, -1, device=cloud.device)
    phase = phase.masked_fill(has_first & ~has_second, 0).masked_fill(has_second & ~has_first, 1)
    opposite = has_first & has_second & (first * second < 0)
    return phase.masked_fill(opposite, 2).to(weights.device)


def agreement(trained: Tensor, losses: Tensor) -> Tensor:
    """Which cells hold a phase of the smallest expected loss; of equal phases either agrees.

    Args:
        trained: (...) int64 of :func:`trained_phase`.
        losses: (..., 3) of :func:`phase_diagram`.

    Returns:
        (...) bool; false where ``trained`` is -1.

    Source: ours, to compare trained models with :func:`phase_diagram`.
    """
    own = losses.gather(-1, trained.clamp_min(0).unsqueeze(-1)).squeeze(-1)
    return (trained >= 0) & (own <= losses.amin(dim=-1) * (1 + TIE))


def two_feature_loss(
    weights: Tensor, biases: Tensor, activity: Tensor, importance: Tensor
) -> Tensor:
    """E[(x_1 - x̂_1)² + r (x_2 - x̂_2)²] of a model x̂ = max(0, W Wᵀ x + b).

    The four cases (none active, either, both) are integrated by the midpoint rule.

    Args:
        weights: (..., 2, 1), one row per feature.
        biases: (..., 2).
        activity: p = 1 - S, in [0, 1]; broadcasts to (...).
        importance: r, of the second feature relative to the first's 1; broadcasts to (...).

    Returns:
        (...) at least 0, summed over the two features (training logs their mean); nan for a model
        that is not finite. float32, or float64 for float64 weights.

    Raises:
        ValueError: ``weights`` is not a floating-point (..., 2, 1), or ``biases`` does not fit.
    """
    cloud = as_points(weights, "weights")
    if cloud.shape[-2:] != (2, 1) or biases.shape != cloud.shape[:-1]:
        raise ValueError(
            f"weights must be (..., 2, 1) and biases (..., 2), two features and one neuron, got "
            f"shapes {tuple(weights.shape)} and {tuple(biases.shape)}."
        )
    w, b = cloud[..., 0], biases.detach().to(cloud)  # (..., 2) each
    middles = (torch.arange(POINTS, device=w.device, dtype=w.dtype) + 0.5) / POINTS
    inactive = torch.zeros(1, device=w.device, dtype=w.dtype)
    p = activity.detach().to(w).expand(w.shape[:-1])
    r = importance.detach().to(w).expand(w.shape[:-1])
    total = torch.zeros_like(p)
    for first, x in ((1 - p, inactive), (p, middles)):
        for second, y in ((1 - p, inactive), (p, middles)):
            hidden = w[..., :1, None] * x[:, None] + w[..., 1:, None] * y  # (..., X, Y)
            loss = torch.zeros_like(p)
            for i, (target, factor) in enumerate(((x[:, None], torch.ones_like(r)), (y, r))):
                output = (w[..., i, None, None] * hidden + b[..., i, None, None]).relu()
                loss = loss + factor * (target - output).square().mean(dim=(-2, -1))
            total = total + first * second * loss
    return like_input(total, weights)


def widest_gap(weights: Tensor) -> Tensor:
    """The widest interval between two neighboring feature norms: how sudden the change of phase is.

    If a feature's norm grows gradually with its importance, models on a grid of settings have
    norms everywhere between 0 and 1; if it jumps, there is a gap.

    Args:
        weights: (M, N, H) of models on a grid; features that are not finite are left out.

    Returns:
        (2,): lower and upper end of the widest gap between the norms of all features; nan if there
        are fewer than two.

    Source: ours, for Bowcott §6, observation 4.
    """
    norms = weights.norm(dim=-1).flatten()
    norms = norms[norms.isfinite()].sort().values
    if len(norms) < 2:
        return torch.full((2,), torch.nan, dtype=norms.dtype)
    place = int(norms.diff().argmax())
    return norms[place : place + 2]
