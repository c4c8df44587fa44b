"""How compact the classes of an embedding are."""

import torch
from torch import Tensor

from glassbox.metrics._tensors import as_flat_labels, as_points, distances, like_input


def class_compactness(points: Tensor, labels: Tensor) -> Tensor:
    """Mean distance within classes over mean distance between classes.

    The mean within classes is over ordered pairs, including each point with itself, and drops
    distances that are not below the mean between classes. Both are the authors' choices and both
    lower the value: the n points of a class contribute n zeros to n^2 pairs, and a class in two
    distant halves looks compact. :func:`~glassbox.metrics.silhouette` has neither property.

    Args:
        points: (..., V, E) embeddings.
        labels: (V,) integer class of each point, at least two classes.

    Returns:
        (...) in [0, 1): 0 when each class is one point; about 0.67 for a Gaussian cloud in 16
        dimensions with classes of eight. If all classes share one point, nan. float32, or float64
        for float64 points.

    Raises:
        ValueError: ``points`` is not a floating-point (..., V, E), or ``labels`` is not (V,)
            integers with at least two different values.

    Source: the authors' equivalence metric (``crystal_metric.py``); not reported in the paper. They
    score all 42 rows, the two answer tokens included, but plot only the 40 elements.
    """
    cloud = as_points(points)
    labels = as_flat_labels(labels, cloud)
    same = labels[:, None] == labels
    if bool(same.all()):
        raise ValueError(f"labels must have at least two different values, got {int(labels[0])}.")
    length = distances(cloud)
    between = length[..., ~same].mean(dim=-1)
    within = length[..., same]
    kept = within < between[..., None]
    total = torch.where(kept, within, 0.0).sum(dim=-1)
    return like_input(total / kept.sum(dim=-1) / between, points)
