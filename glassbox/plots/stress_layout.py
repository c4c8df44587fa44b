"""Places in the plane for labeled circles, as close to given distances as a plane allows.

The layout is deterministic: the same distances give the same picture.
"""

from __future__ import annotations

import numpy as np

from glassbox.plots.arrays import Floats

ITERATIONS = 300
ROUNDS = 12  # of separating boxes and restoring distances


def stress_layout(distances: Floats, boxes: Floats) -> Floats:
    """Points (N, 2) at about the given distances, whose boxes do not overlap.

    Minimizes the stress Σ_{i<j} (‖x_i − x_j‖ − d_ij)² / d_ij² by majorization (SMACOF, de Leeuw
    1977; the weights of Kamada and Kawai 1989, so that short distances count most), from two
    starts: classical scaling, and the points on a circle in their order. The better one is rotated
    so that it is widest along x, and boxes that overlap are then pushed apart.

    Args:
        distances: (N, N) symmetric and positive off the diagonal, in typographic points.
        boxes: (N, 4) extent of each point's box to its left, down, right and up.
    """
    size = len(distances)
    if size < 2:
        return np.zeros((size, 2))
    candidates = [
        majorize(distances, start)
        for start in (classical_scaling(distances), _circle(size, float(distances.max())))
    ]
    points = min(candidates, key=lambda candidate: stress(distances, candidate))
    points = _widest_along_x(points - points.mean(axis=0))
    for _ in range(ROUNDS):  # restores distances between boxes that moved too far
        points = majorize(distances, push_apart(points, boxes, sweeps=30), iterations=3)
    return push_apart(points, boxes)


def stress(distances: Floats, points: Floats) -> float:
    """Sum over pairs of the squared relative errors of the distances between points (N, 2)."""
    upper = np.triu_indices(len(points), 1)
    wanted = distances[upper]
    return float((((_between(points)[upper] - wanted) / wanted) ** 2).sum())


def majorize(distances: Floats, start: Floats, iterations: int = ITERATIONS) -> Floats:
    """Points (N, 2) of lower stress than `start` (N, 2), by Guttman transforms."""
    size = len(distances)
    weights = np.zeros_like(distances)
    off = ~np.eye(size, dtype=bool)
    weights[off] = distances[off] ** -2.0
    laplacian = np.diag(weights.sum(axis=1)) - weights
    inverse = np.linalg.pinv(laplacian, hermitian=True)
    points = start
    for _ in range(iterations):
        between = _between(points)
        pull = np.zeros_like(weights)
        near = off & (between > 1e-9)
        pull[near] = weights[near] * distances[near] / between[near]
        points = inverse @ ((np.diag(pull.sum(axis=1)) - pull) @ points)
    return points


def classical_scaling(distances: Floats) -> Floats:
    """The two leading coordinates (N, 2) of Torgerson's scaling, with fixed signs."""
    size = len(distances)
    center = np.eye(size) - 1.0 / size
    values, vectors = np.linalg.eigh(-0.5 * center @ distances**2 @ center)
    points = vectors[:, [-1, -2]] * np.sqrt(np.maximum(values[[-1, -2]], 0.0))
    largest = np.argmax(np.abs(points), axis=0)
    return points * np.where(points[largest, [0, 1]] < 0, -1.0, 1.0)


def push_apart(points: Floats, boxes: Floats, sweeps: int = 3000) -> Floats:
    """Move the points (N, 2) until their boxes (N, 4) do not overlap, in at most `sweeps` sweeps.

    Two boxes that overlap both move along the axis of the smaller overlap.
    """
    half = (boxes[:, 2:] + boxes[:, :2]) / 2
    offset = (boxes[:, 2:] - boxes[:, :2]) / 2
    centers = points + offset
    room = half[:, None] + half[None]  # (N, N, 2)
    order = np.sign(np.arange(len(points))[None, :] - np.arange(len(points))[:, None])
    off = order != 0
    for _ in range(sweeps):
        gap = centers[None] - centers[:, None]  # (N, N, 2), from i to j
        overlap = np.where(off[..., None], room - np.abs(gap), 0.0)
        hit = (overlap > 0).all(axis=-1)
        if not hit.any():
            break
        axis = np.argmin(overlap, axis=-1)[..., None]
        depth = np.take_along_axis(overlap, axis, axis=-1)[..., 0]
        along = np.take_along_axis(gap, axis, axis=-1)[..., 0]
        direction = np.where(along != 0, np.sign(along), order)
        shift = np.where(hit, direction * (0.5 * depth + 0.05), 0.0)
        step = np.zeros_like(points)
        for dimension in (0, 1):
            # Total push on box i from all others, damped where many push at once.
            parts = np.where(axis[..., 0] == dimension, shift, 0.0)
            step[:, dimension] = -parts.sum(axis=1) / np.sqrt(np.maximum(1, (parts != 0).sum(1)))
        centers = centers + step
    return centers - offset


def _between(points: Floats) -> Floats:
    return np.asarray(np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1)))


def _circle(size: int, diameter: float) -> Floats:
    angle = 2 * np.pi * np.arange(size) / size
    return np.column_stack([np.cos(angle), np.sin(angle)]) * diameter / 2


def _widest_along_x(points: Floats) -> Floats:
    """The points turned about the origin by principal axes, with fixed signs."""
    _, vectors = np.linalg.eigh(points.T @ points)
    turned = points @ vectors[:, ::-1]
    largest = np.argmax(np.abs(turned), axis=0)
    return turned * np.where(turned[largest, [0, 1]] < 0, -1.0, 1.0)
