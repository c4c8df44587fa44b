"""How close each generation of a family tree is to a line."""

import torch
from torch import Tensor

from glassbox.metrics._tensors import as_flat_labels, as_points, like_input
from glassbox.metrics.explained_variance import principal_components

# Few points are close to a line by chance; with this limit levels 3 to 6 of a seven-level binary
# tree count.
_MIN_NODES = 5
# Below this fraction of the whole variance a generation is one point with rounding errors (1e-12 of
# the extent).
_COLLAPSED = 1e-24


def generation_one_dimensionality(points: Tensor, generations: Tensor) -> Tensor:
    """One minus the fraction of variance along a generation's main axis, averaged over generations.

    The nodes are projected on their first two principal components, and the main axis of each
    generation of at least five nodes is taken within that plane.

    Args:
        points: (..., V, E) embeddings of the nodes, E at least 2.
        generations: (V,) integer generation of each node.

    Returns:
        (...) in [0, 0.5]: 0 when each generation lies on a line, 0.5 when its variance is equal in
        both directions of the plane. Generations that collapse to one point are left out; if that
        leaves none, nan. float32, or float64 for float64 points.

    Raises:
        ValueError: ``points`` is not a floating-point (..., V, E) with E at least 2,
            ``generations`` is not (V,) integers, or no generation has five nodes.

    Source: the authors' family-tree metric (``crystal_metric.py``); not reported in the paper.
    """
    cloud = as_points(points)
    generations = as_flat_labels(generations, cloud, "generations")
    _, generation, counts = torch.unique(generations, return_inverse=True, return_counts=True)
    large = counts >= _MIN_NODES
    if not large.any():
        raise ValueError(
            f"generations must include one of at least {_MIN_NODES} nodes, "
            f"the largest has {int(counts.max())}."
        )
    plane = principal_components(cloud, 2)
    member = torch.nn.functional.one_hot(generation).to(plane).T  # (G, V)
    averager = member / counts[:, None]
    offset = plane - (averager @ plane)[..., generation, :]
    x, y = offset.unbind(dim=-1)
    moments = torch.stack((x * x, y * y, x * y), dim=-1)
    # Larger eigenvalue of the symmetric 2 x 2 covariance [[xx, xy], [xy, yy]] in closed form.
    xx, yy, xy = (averager @ moments)[..., large, :].unbind(dim=-1)
    total = xx + yy
    along = (total + torch.hypot(xx - yy, 2 * xy)) / (2 * total)

    whole = plane.square().sum(dim=-1).mean(dim=-1, keepdim=True)
    collapsed = total <= _COLLAPSED * whole
    deviation = torch.where(collapsed, 0.0, 1 - along)
    return like_input(deviation.sum(dim=-1) / (~collapsed).sum(dim=-1), points)
