"""Positions of labels beside their points, without drawing them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from glassbox.plots.arrays import finite_rows

DIGIT_WIDTH = 0.64  # of a DejaVu Sans digit, in ems
GAP = 2.2  # points between two labels side by side
DOT = 3.0  # points: half the width of a cluster of dots, which labels avoid
ANGLES = (0, 30, -30, 60, -60, 90, -90, 130, -130)  # degrees, from outward of a dot
Box = tuple[float, float, float, float]  # left, bottom, right, top


def compact(label: str) -> str:
    """Drop brackets and commas from a tuple of single characters: (2,3) becomes 23."""
    parts = [part for part in re.split(r"[\s,;()\[\]]+", label) if part]
    return "".join(parts) if parts and all(len(part) == 1 for part in parts) else label


def uncovered(positions: NDArray[np.float64], distance: float) -> NDArray[np.bool_]:
    """Mask of points (P, 2) to label such that no two labels are closer than `distance`.

    Greedy in the order of the points; points that are not finite get no label.
    """
    keep = np.zeros(len(positions), dtype=bool)
    for index, point in enumerate(positions):
        if np.isfinite(point).all():
            gaps = np.hypot(*(positions[keep] - point).T)
            keep[index] = bool((gaps >= distance).all())
    return keep


def beside(
    positions: NDArray[np.float64],
    labels: Sequence[str],
    *,
    size: float,
    diameter: float,
    half_width: float,
) -> list[tuple[int, float, float]]:
    """Labels that fit next to their points, as (index, x, y) of the center of the text.

    positions (P, 2), the font size, the diameter of a dot and half the width of the panel (whose
    center is the origin) are all in typographic points. Each label tries the four sides of its dot
    and is left out if each would touch a dot, the frame or another label (9 and 7 side by side read
    as 97).
    """
    radius = diameter / 2
    finite = finite_rows(positions)
    dots = [(x - radius, y - radius, x + radius, y + radius) for x, y in positions[finite]]
    taken: list[Box] = []  # by labels
    placed: list[tuple[int, float, float]] = []
    for index, (x, y) in enumerate(positions):
        if not finite[index]:
            continue
        width, height = DIGIT_WIDTH * size * len(labels[index]), 0.8 * size
        aside, above = radius + width / 2 + 0.6, radius + height / 2 + 0.8
        for dx, dy in ((0.0, above), (aside, 0.0), (0.0, -above), (-aside, 0.0)):
            center = (x + dx, y + dy)
            half = np.array([width, height]) / 2
            box = _box(np.array(center), half)
            wide = _box(np.array(center), half + np.array([GAP, 0.0]))
            inside = max(abs(edge) for edge in box) < half_width - 1
            free = not any(_overlap(box, dot) for dot in dots)
            if inside and free and not any(_overlap(wide, other) for other in taken):
                taken.append(box)
                placed.append((index, *center))
                break
    return placed


def spread_labels(
    positions: NDArray[np.float64], labels: Sequence[str], *, size: float
) -> NDArray[np.float64]:
    """Offsets (P, 2) of the labels' centers from their dots.

    positions (P, 2) about the origin and the font size are in typographic points. A label is placed
    outward of its dot if there is room, else at the nearest angle where it touches no dot and no
    label, else where it touches the fewest.
    """
    dots = [_box(place, np.array([DOT, DOT])) for place in positions]
    around = np.array([GAP, 0.5])
    taken: list[Box] = []
    offsets = np.zeros((len(positions), 2))
    for index, place in enumerate(positions):
        outward = np.arctan2(place[1], place[0]) if np.hypot(*place) > size else np.pi / 2
        half = np.array([DIGIT_WIDTH * size * len(labels[index]), 0.8 * size]) / 2
        fewest = np.inf
        for farther, turn in product((1.0, 3.5, 6.0), ANGLES):
            angle = outward + np.deg2rad(turn)
            toward = np.array([np.cos(angle), np.sin(angle)])
            offset = toward * (DOT + np.abs(toward) @ half + farther)
            box, wide = _box(place + offset, half), _box(place + offset, half + around)
            touched = sum(_overlap(box, dot) for dot in dots)
            touched += 3 * sum(
                _overlap(wide, other) for other in taken
            )  # adjacent labels read as one
            if touched < fewest:
                fewest, offsets[index] = touched, offset
        taken.append(_box(place + offsets[index], half))
    return offsets


def _box(center: NDArray[np.float64], half: NDArray[np.float64]) -> Box:
    (left, bottom), (right, top) = center - half, center + half
    return left, bottom, right, top


def _overlap(one: Box, two: Box) -> bool:
    return one[0] < two[2] and two[0] < one[2] and one[1] < two[3] and two[1] < one[3]
