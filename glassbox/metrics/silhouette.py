"""Mean silhouette coefficient, for many clouds and many labelings at once."""

import torch
from torch import Tensor

from glassbox.metrics._tensors import as_labels, as_points, distances, like_input


def silhouette(points: Tensor, labels: Tensor) -> Tensor:
    """Mean over points of (b - a) / max(a, b).

    a is the mean distance to the other points of the same cluster, b the smallest mean distance to
    the points of another cluster. A point that is alone in its cluster counts 0.

    Args:
        points: (..., V, E).
        labels: (..., V) integers. Leading dimensions broadcast against those of ``points``:
            points (S, 1, V, E) and labels (P, V) give (S, P), and the distances of each cloud are
            computed once for all P labelings.

    Returns:
        (...) in [-1, 1]: 1 when clusters are points apart from each other, 0 when they overlap,
        negative when points are closer to another cluster than to their own. float32, or float64
        for float64 points.

    Raises:
        ValueError: ``points`` is not a floating-point (..., V, E), ``labels`` are not integers, one
            a point, or a labeling has fewer than 2 or more than V - 1 different labels.

    Source: Rousseeuw (1987), with the conventions of ``sklearn.metrics.silhouette_score``.
    """
    cloud = as_points(points)
    _, dense = torch.unique(as_labels(labels, cloud), return_inverse=True)
    member = torch.nn.functional.one_hot(dense).to(cloud)  # (..., V, C)
    size = member.sum(dim=-2)  # (..., C); zero for labels that only other labelings use
    used = (size > 0).sum(dim=-1)
    if bool(((used < 2) | (used >= cloud.shape[-2])).any()):
        worst = int(used.min()) if int(used.min()) < 2 else int(used.max())
        raise ValueError(
            f"A labeling of {cloud.shape[-2]} points must have between 2 and "
            f"{cloud.shape[-2] - 1} different labels, got {worst}."
        )
    # matmul would copy the distances once per labeling; einsum does not.
    reach = torch.einsum("...ij,...jc->...ic", distances(cloud), member)
    own_size = (member * size[..., None, :]).sum(dim=-1)
    a = (reach * member).sum(dim=-1) / (own_size - 1).clamp_min(1)
    elsewhere = (member == 0) & (size[..., None, :] > 0)
    b = torch.where(elsewhere, reach / size[..., None, :], torch.inf).amin(dim=-1)
    larger = torch.maximum(a, b)
    score = torch.where((own_size == 1) | (larger == 0), 0.0, (b - a) / larger)
    return like_input(score.mean(dim=-1), points)
