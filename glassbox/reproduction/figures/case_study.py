"""One task under several settings: accuracy over training, and the final embedding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from glassbox.plots.accuracy import sample_epochs
from glassbox.plots.arrays import Floats, quartiles, seed_segments
from glassbox.plots.colors import TEST, TRAIN, GroupKind, group_colors
from glassbox.plots.embedding_panel import MAX_LABELS, choose_marks, draw_panel
from glassbox.plots.style import (
    LABEL_SIZE,
    MUTED_COLOR,
    NOTE_SIZE,
    POINTS_PER_INCH,
    house_style,
    whole_number,
)
from glassbox.reproduction.figures.panel_grid import note_above, panel_grid, percent_axis
from glassbox.reproduction.figures.seed_counts import seeds_text
from glassbox.reproduction.figures.select_points import array_of, axis_values, numbers_of, point_at
from glassbox.reproduction.grid_point import GridPoint

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

LEAK = "data/leak_fraction"
EXPLAINED = "val/embedding/explained_variance_2"
TEST_EPOCH = "generalization/test_epoch"
SIDE, GAP = 2.35, 0.3  # inches: panels are square
SMALL_DOT = 4.0  # points, of dots with their numbers beside them
SMALL_PRINT: dict[str, Any] = {"size": NOTE_SIZE, "color": MUTED_COLOR, "labelpad": 3}
DASHED: dict[str, Any] = {"color": MUTED_COLOR, "linewidth": 0.9, "linestyle": (0, (4, 3))}
REMEMBERED = "test inputs that were trained on"  # the dashed line


def case_study(
    points: Sequence[GridPoint],
    *,
    title: str = "",
    seed: int | None = None,
    group_kind: GroupKind = "cyclic",
) -> Figure:
    """Draw accuracy over epochs above the final embedding, a column for each setting.

    After Figure 4 of the harmonic-loss paper, which shows one seed; here all seeds are drawn
    faintly behind it. Where test inputs occur in the training set, a dashed line shows their
    fraction, the accuracy of pure memorization. Points of an embedding carry their numbers, on
    discs or, if these would overlap, beside dots; numbers without room are counted.

    Args:
        points: With the axis "run", the arrays ``epochs``, ``train_accuracy``, ``test_accuracy``
            (S, N), nan past the end of a run, and ``coordinates`` (S, P, 2). Optional are the array
            ``groups`` (S, P) for the colors, and the metrics
            ``val/embedding/explained_variance_2``, ``data/leak_fraction`` and
            ``generalization/test_epoch``.
        seed: The seed whose curves are strong and whose embedding is drawn. With None, or if no run
            has it, the median curve, and the seed with the median explained variance.
        group_kind: See `group_colors`.
    """
    from matplotlib import rc_context

    runs = axis_values(points, "run")
    strong = "median" if seed is None else f"seed {seed}"
    if seed is not None and not any(seed in point.seeds for point in points):
        strong, seed = f"median, as seed {seed} has not been run", None
    leaky = any((_optional(point, LEAK) > 0).any() for point in points)
    whose = "median" if seed is None else f"seed {seed}"
    dashed = [f"{REMEMBERED}, {whose}"] if leaky else []
    seeds = seeds_text(len(point.seeds) for point in points)
    labels = ["train", "test", *dashed, f"strong: {strong}, faint: each of {seeds}"]
    with rc_context(house_style(box=True)):
        panels = panel_grid(
            rows=2,
            columns=len(runs),
            panel=(SIDE, SIDE),
            gap=(GAP, 0.6),
            left=0.7,
            right=0.24,
            bottom=0.28,
            caption=0.42,
            legend=labels,
            title=title,
        )
        for run, top, below in zip(runs, *panels.axes, strict=True):
            point = point_at(points, {"run": run})
            assert point is not None  # values are those of the points
            top.set_title(run, size=LABEL_SIZE, loc="center", pad=15)
            percent_axis(top, labels=top is panels.axes[0][0])
            top.set_xlabel("epoch", labelpad=2)
            _draw_accuracy(top, point, seed)
            _draw_embedding(below, point, seed, group_kind)
        panels.axes[0][0].set_ylabel("accuracy")
        panels.add_legend(_legend_handles(labels))
    return panels.figure


def _legend_handles(labels: Sequence[str]) -> list[Line2D]:
    """Lines for train, test and memorized inputs; the last label has no line."""
    from matplotlib.lines import Line2D

    looks: list[dict[str, Any]] = [{"color": TRAIN}, {"color": TEST}, DASHED][: len(labels) - 1]
    handles = [
        Line2D([], [], label=label, **look) for label, look in zip(labels, looks, strict=False)
    ]
    return [*handles, Line2D([], [], linestyle="", label=labels[-1])]


def _optional(point: GridPoint, metric: str) -> Floats:
    """The metric (S,); nan if the runs did not measure it."""
    if point.metric(metric) is not None:
        return numbers_of(point, metric)
    return np.full(len(point.seeds), np.nan)


def _draw_accuracy(axes: Axes, point: GridPoint, seed: int | None) -> None:
    from matplotlib.collections import LineCollection
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    epochs = _common_epochs(point)
    kept = sample_epochs(epochs, log=False)
    # Epochs are counted from 0: the last of 2,000 is 1,999, and 2,000 should be on the axis.
    axes.set_xlim(min(0, epochs[0]), epochs[-1] + 1)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(whole_number))
    row = None if seed is None else _row(point, seed)
    shown = seed is None or row is not None
    for name, color in (("train_accuracy", TRAIN), ("test_accuracy", TEST)):
        curves = array_of(point, name).astype(np.float64)[:, kept]
        faint = LineCollection(
            seed_segments(epochs[kept], curves), colors=color, linewidths=0.5, alpha=0.22, zorder=2
        )
        axes.add_collection(faint, autolim=False)
        strong = quartiles(curves)[1] if row is None else curves[row]
        if shown:
            axes.plot(epochs[kept], strong, color=color, label=name.split("_")[0], zorder=3)
    leak = _optional(point, LEAK)
    level = float(quartiles(leak[:, None])[1, 0] if row is None else leak[row])
    if shown and level > 0:
        axes.axhline(level, zorder=2.5, **DASHED)
    if point.metric(TEST_EPOCH) is not None:
        reached = int(np.isfinite(numbers_of(point, TEST_EPOCH)).sum())
        note_above(axes, f"{reached} of {len(point.seeds)} seeds hold 90 % on test inputs")


def _common_epochs(point: GridPoint) -> Floats:
    """Epochs (N,) of the longest run; shorter ones end in nan."""
    table = array_of(point, "epochs").astype(np.float64)
    longest = table[np.isfinite(table).sum(axis=1).argmax()]
    known = np.isfinite(table)
    if not np.isfinite(longest).all() or (table != longest)[known].any():
        raise ValueError(
            f"the seeds of run {point.labels['run']!r} were measured at different epochs; use one "
            f"stride of the probe Generalization"
        )
    return longest


def _draw_embedding(axes: Axes, point: GridPoint, seed: int | None, group_kind: GroupKind) -> None:
    explained = _optional(point, EXPLAINED)
    row = _row(point, seed) if seed is not None else _median_row(explained)
    if row is None:
        axes.set(xticks=[], yticks=[], xlim=(-1, 1), ylim=(-1, 1))
        axes.text(
            0, 0, f"seed {seed} is not finished", ha="center", size=NOTE_SIZE, color=MUTED_COLOR
        )
        return
    coordinates = array_of(point, "coordinates")[row].astype(np.float64)  # (P, 2)
    colors = None
    if point.array("groups") is not None:
        colors = group_colors(array_of(point, "groups")[row], group_kind)
    numbers = [str(index) for index in range(len(coordinates))]
    marks = choose_marks(coordinates[None], numbers, SIDE * POINTS_PER_INCH)
    if marks.mode == "none" and len(numbers) <= MAX_LABELS:
        marks = marks._replace(mode="beside", diameter=SMALL_DOT)
    left_out = draw_panel(axes, coordinates, colors, np.zeros((0, 2), np.int64), marks)
    if left_out:
        axes.set_xlabel(f"no room for {left_out} of {len(numbers)} numbers", **SMALL_PRINT)
    known = bool(np.isfinite(explained[row]))
    share = f"EV {100 * explained[row]:.0f} %" if known else "EV not known"
    which = "seed" if seed is not None or not known else "the median seed,"
    note_above(axes, f"embedding of {which} {point.seeds[row]} · {share}")


def _row(point: GridPoint, seed: int) -> int | None:
    """Row of the seed; None if its run is not finished."""
    return list(point.seeds).index(seed) if seed in point.seeds else None


def _median_row(explained: NDArray[np.float64]) -> int:
    """Row of the seed nearest to the median; the first if all are nan."""
    distance = np.abs(explained - quartiles(explained[:, None])[1, 0])
    return int(np.argmin(np.where(np.isfinite(distance), distance, np.inf)))
