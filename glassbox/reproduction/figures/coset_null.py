"""Coset structure in embeddings of permutations, compared with random embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glassbox.plots.arrays import Floats, as_floats
from glassbox.plots.colors import CATEGORIES, MISSING
from glassbox.plots.style import (
    CHARACTER_WIDTH,
    GRID_COLOR,
    LABEL_SIZE,
    LINE,
    MUTED_COLOR,
    POINTS_PER_INCH,
    TICK_SIZE,
    house_style,
)
from glassbox.reproduction.figures.panel_grid import line_handle, note, panel_grid
from glassbox.reproduction.figures.select_points import axis_values, numbers_of, point_at, texts_of
from glassbox.reproduction.grid_point import GridPoint

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SILHOUETTE, BEST = "val/embedding/coset_silhouette", "val/embedding/best_coset"
# From coarse to fine; the two kinds of C2 are merged, as in the paper.
KINDS = ("A4", "D4", "S3", "V4 normal", "V4 non-normal", "C4", "C3", "C2")
COLORS = dict(zip(KINDS, (*CATEGORIES[:6], CATEGORIES[7], CATEGORIES[8]), strict=True))
RANDOM = "random embeddings"
STRIP, DOT = 0.52, 5.2  # height of a model's strip in inches, diameter of a dot in points
WIDTH = 4.6  # inches of the panel


def coset_null(
    points: Sequence[GridPoint],
    *,
    null: ArrayLike,
    title: str = "",
    quantile: float = 0.99,
) -> Figure:
    """Draw the best coset silhouette of every seed above that of random embeddings.

    For Appendix B of the harmonic-loss paper, which reads cosets off pictures. There is a strip per
    model and a dot per seed, in the color of the subgroup whose cosets fit best. Below, in gray, is
    the distribution of the best silhouette of random embeddings. Dots to the right of the dashed
    line show structure; their number stands on the right.

    Args:
        points: With the axis "model" and the metrics ``val/embedding/coset_silhouette`` and
            ``val/embedding/best_coset`` (names of :func:`glassbox.metrics.coset_partitions`). A
            seed without a silhouette counts as not above the line.
        null: (N,) best silhouettes of random embeddings, see
            :func:`glassbox.metrics.null_best_coset`.
        quantile: Of the null distribution, for the line; between 0 and 1.
    """
    from matplotlib import rc_context

    models = axis_values(points, "model")
    chance = as_floats(null, "null", (None,), "(draws,)")
    if not np.isfinite(chance).all():
        raise ValueError("null must be finite: the best silhouettes of random embeddings")
    if not 0 < quantile < 1:
        raise ValueError(f"quantile is {quantile}; it must be between 0 and 1")
    level = float(np.quantile(chance, quantile))
    scores: dict[str, tuple[Floats, list[str]]] = {}
    for model in models:
        point = point_at(points, {"model": model})
        assert point is not None  # values are those of the points
        scores[model] = (numbers_of(point, SILHOUETTE), coset_kinds(texts_of(point, BEST)))
    won = {kind for _, kinds in scores.values() for kind in kinds}
    present = [kind for kind in KINDS if kind in won]
    letter = CHARACTER_WIDTH * LABEL_SIZE / POINTS_PER_INCH
    with rc_context(house_style()):
        panels = panel_grid(
            rows=1,
            columns=1,
            panel=(WIDTH, STRIP * (len(models) + 1)),
            gap=(0, 0),
            left=0.3 + letter * max(map(len, [*models, RANDOM])),
            right=1.25,
            bottom=0.5,
            caption=0.3,
            legend=present,
            title=title,
        )
        axes = panels.axes[0][0]
        _prepare(axes, [values for values, _ in scores.values()], chance, models)
        _draw_null(axes, chance, len(models))
        axes.axvline(level, color=MUTED_COLOR, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1.5)
        text = f"{100 * quantile:g} % of random\nembeddings are below"
        where = ("data", "axes fraction")
        note(axes, text, (level, 1.0), where, (0, 3), ha="center", va="bottom")
        for place, (values, kinds) in enumerate(scores.values()):
            _draw_strip(axes, values, kinds, place, level)
        dot: dict[str, Any] = {"linestyle": "", "markersize": DOT}
        panels.add_legend([line_handle(COLORS[kind], kind, **dot) for kind in present])
    return panels.figure


def coset_kinds(names: Sequence[str]) -> list[str]:
    """Kind of subgroup of each name of a coset partition; empty where no partition fits."""
    from glassbox.metrics.s4 import coset_partitions

    kinds: Mapping[str, str] = {
        partition.name: partition.subgroup.partition(" (")[0] for partition in coset_partitions()
    }
    unknown = [name for name in names if name not in kinds and name not in ("none", "nan")]
    if unknown:
        raise ValueError(
            f"{BEST} has {unknown[0]!r}, expected the name of a coset partition such as "
            f"{next(iter(kinds))!r}"
        )
    return [kinds.get(name, "") for name in names]


def swarm(values: Floats, *, diameter: float, rows: int) -> NDArray[np.int64]:
    """Rows -rows..rows (S,) nearest to 0 in which dots of this diameter do not touch.

    Dots without a free row share the outermost one.
    """
    order = sorted(range(-rows, rows + 1), key=lambda row: (abs(row), row))
    ends: dict[int, float] = {}
    places = np.zeros(len(values), np.int64)
    for index in np.argsort(values, kind="stable").tolist():
        free = [row for row in order if values[index] - ends.get(row, -np.inf) >= diameter]
        places[index] = free[0] if free else order[-1]
        ends[int(places[index])] = float(values[index])
    return places


def _prepare(axes: Axes, scores: Sequence[Floats], null: Floats, models: Sequence[str]) -> None:
    seen = np.concatenate([*scores, null])
    seen = seen[np.isfinite(seen)]
    margin = 0.04 * float(np.ptp(seen)) or 0.05
    axes.set_xlim(min(float(seen.min()), 0.0) - margin, float(seen.max()) + margin)
    axes.set_ylim(len(models) + 0.5, -0.5)
    axes.set_yticks(range(len(models) + 1), [*models, RANDOM])
    axes.tick_params(axis="y", length=0, labelsize=LABEL_SIZE)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.set_xlabel("silhouette of the best of 54 coset partitions, in the first two components")


def _draw_null(axes: Axes, null: Floats, place: int) -> None:
    """Draw a histogram of the null distribution in its strip."""
    heights, edges = np.histogram(null, bins=min(60, max(8, len(null) // 20)))
    axes.stairs(
        place + 0.45 - 0.85 * heights / heights.max(),
        edges,
        baseline=place + 0.45,
        fill=True,
        color=LINE,
        zorder=2,
    )


def _draw_strip(axes: Axes, values: Floats, kinds: Sequence[str], place: int, level: float) -> None:
    if place % 2 == 0:
        axes.axhspan(place - 0.5, place + 0.5, color=GRID_COLOR, alpha=0.45, linewidth=0, zorder=0)
    known = np.isfinite(values)
    low, high = axes.get_xlim()
    diameter = (high - low) * DOT / (WIDTH * POINTS_PER_INCH)
    step = DOT / (STRIP * POINTS_PER_INCH)  # of a strip
    rows = swarm(values[known], diameter=diameter, rows=int(0.42 / step))
    axes.scatter(
        values[known],
        place + step * rows,
        s=DOT**2,
        color=[COLORS.get(kind, MISSING) for kind, keep in zip(kinds, known, strict=True) if keep],
        edgecolors="white",
        linewidths=0.4,
        clip_on=False,
        zorder=3,
    )
    above = int((values[known] > level).sum())
    text, where = f"{above} of {len(values)} above", ("axes fraction", "data")
    note(axes, text, (1.0, place), where, (8, 0), va="center", size=TICK_SIZE)
