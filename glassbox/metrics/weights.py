"""Norms of weights, and how well features match the weight rows of their classes.

Under cross-entropy the weights of separable data grow without bound; under harmonic loss they
converge to class centers (harmonic-loss paper, toy cases and Figure 1).
"""

import torch
from torch import Tensor

from glassbox.metrics._tensors import as_labels, as_points, distances, like_input


def weight_norm(weights: Tensor) -> Tensor:
    """Frobenius norm of each weight matrix.

    Args:
        weights: (..., C, E).

    Returns:
        (...) at least 0; float32, or float64 for float64 weights.

    Raises:
        ValueError: ``weights`` is not a floating-point (..., C, E).

    Source: harmonic-loss paper, Figure 1.
    """
    return like_input(torch.linalg.matrix_norm(as_points(weights, "weights")), weights)


def _checked(features: Tensor, targets: Tensor, centers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """float64 features and centers, and the one-hot targets (..., N, C) between them."""
    feature = as_points(features, "features")
    center = as_points(centers, "centers")
    label = as_labels(targets, feature, "targets")
    classes = center.shape[-2]
    if feature.shape[-1] != center.shape[-1]:
        raise ValueError(
            f"features and centers must have the same last dimension, "
            f"got {feature.shape[-1]} and {center.shape[-1]}."
        )
    if classes < 2:
        raise ValueError(f"centers must have at least 2 rows, got {classes}.")
    if label.numel() and not 0 <= int(label.min()) <= int(label.max()) < classes:
        raise ValueError(
            f"targets must be between 0 and {classes - 1}, "
            f"got {int(label.min())} to {int(label.max())}."
        )
    return feature, center, torch.nn.functional.one_hot(label, classes).to(feature)


def center_alignment(features: Tensor, targets: Tensor, centers: Tensor) -> Tensor:
    """Mean cosine between the mean feature of a class and the center (weight row) of that class.

    Both sides are taken relative to their mean over the classes that occur, since a common shift
    does not distinguish classes. The cosine of a class exactly at that mean is 0.

    Args:
        features: (..., N, E) inputs of the last layer.
        targets: (..., N) integer classes in 0..C-1; leading dimensions broadcast.
        centers: (..., C, E) weight rows of the last layer.

    Returns:
        (...) in [-1, 1]: 1 if each class mean points to its own center, about 0 if they are
        unrelated, nan if fewer than two classes occur. Lengths play no role. float32, or float64
        for float64 features.

    Raises:
        ValueError: The shapes do not fit, there are fewer than 2 centers, or a target is not in
            0..C-1.

    Source: the self-duality of neural collapse (Papyan, Han, Donoho 2020) as a cosine.
    """
    feature, center, member = _checked(features, targets, centers)
    count = member.sum(dim=-2)[..., None]  # (..., C, 1)
    occurs = (count > 0).to(feature)
    num_occurring = occurs.sum(dim=-2)
    mean = member.mT @ feature / count.clamp_min(1)

    def directions(rows: Tensor) -> Tensor:
        return rows - (rows * occurs).sum(dim=-2, keepdim=True) / num_occurring[..., None]

    mean, center = directions(mean), directions(center)
    lengths = mean.norm(dim=-1) * center.norm(dim=-1)
    cosine = torch.where(lengths == 0, 0.0, (mean * center).sum(dim=-1) / lengths)
    average = (cosine * occurs[..., 0]).sum(dim=-1) / num_occurring[..., 0]
    return like_input(average.where(num_occurring[..., 0] >= 2, torch.nan), features)


def center_distance(features: Tensor, targets: Tensor, centers: Tensor) -> Tensor:
    """Mean distance of a feature to the center of its class, relative to the centers' distances.

    Args:
        features: (..., N, E) inputs of the last layer.
        targets: (..., N) integer classes in 0..C-1; leading dimensions broadcast.
        centers: (..., C, E) weight rows of the last layer. Their C x C distances are computed, so
            this is for tens or hundreds of classes, not for a vocabulary.

    Returns:
        (...) at least 0: 0 if every feature is at its center, to which harmonic loss converges; 1
        if features are as far from their center as centers from each other; inf if all centers
        coincide (nan if the features coincide with them). float32, or float64 for float64
        features.

    Raises:
        ValueError: The shapes do not fit, there are fewer than 2 centers, or a target is not in
            0..C-1.

    Source: ours, after the harmonic-loss paper's reading of weights as class centers.
    """
    feature, center, member = _checked(features, targets, centers)
    to_own = (feature - member @ center).norm(dim=-1).mean(dim=-1)
    classes = center.shape[-2]
    apart = distances(center).sum(dim=(-2, -1)) / (classes * (classes - 1))
    return like_input(to_own / apart, features)
