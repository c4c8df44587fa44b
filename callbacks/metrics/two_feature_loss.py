"""Expected loss of a trained model of two features in one dimension, without drawing any.

A held-out batch of 1,024 draws holds ten active features at an activity of 0.01, too few to tell
which of several seeds is the best; the expectation is an integral over the unit square.
"""

import torch
from torch import Tensor

from callbacks.metrics._tensors import as_points, like_input

POINTS = 64  # midpoints on [0, 1]: losses are exact to about 1e-4 of themselves


def two_feature_loss(
    weights: Tensor, biases: Tensor, activity: Tensor, importance: Tensor
) -> Tensor:
    """E[(x_1 - x̂_1)² + r (x_2 - x̂_2)²] of x̂ = max(0, W Wᵀ x + b), as of ``phase_diagram``.

    Each feature is active with probability p, independently, and then uniform on [0, 1]. The four
    cases (none active, either, both) are integrated by the midpoint rule.

    Args:
        weights: (..., 2, 1), a row a feature.
        biases: (..., 2).
        activity: p = 1 - S, in [0, 1]; broadcasts to (...).
        importance: r, of the second feature relative to the first's 1; broadcasts to (...).

    Returns:
        (...) summed over the two features, twice what training calls the loss; nan of a model that
        is not finite. float32, or float64 for float64 weights.

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
    nothing = torch.zeros(1, device=w.device, dtype=w.dtype)
    p = activity.detach().to(w).expand(w.shape[:-1])
    r = importance.detach().to(w).expand(w.shape[:-1])
    total = torch.zeros_like(p)
    for first, x in ((1 - p, nothing), (p, middles)):
        for second, y in ((1 - p, nothing), (p, middles)):
            hidden = w[..., :1, None] * x[:, None] + w[..., 1:, None] * y  # (..., X, Y)
            loss = torch.zeros_like(p)
            for i, (target, factor) in enumerate(((x[:, None], torch.ones_like(r)), (y, r))):
                output = (w[..., i, None, None] * hidden + b[..., i, None, None]).relu()
                loss = loss + factor * (target - output).square().mean(dim=(-2, -1))
            total = total + first * second * loss
    return like_input(total, weights)
