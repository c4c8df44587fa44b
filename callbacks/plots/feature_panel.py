"""One panel of features as directions: the frame it is seen in, and how its rows are drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from callbacks.plots.arrays import Floats
from callbacks.plots.colors import group_colors
from callbacks.plots.feature_weights import clusters_of
from callbacks.plots.style import FAINT, INK, LINE, NOTE_SIZE, QUIET, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

View = Literal["oblique", "top", "side"]
VIEWS: dict[View, str] = {
    "oblique": "from 25° above",
    "top": "first and second principal direction",
    "side": "first and third principal direction",
}
ELEVATION, AZIMUTH = np.deg2rad(25), np.deg2rad(-65)
MOST_ARROWS, MOST_NUMBERS, MOST_CLUSTERS = 60, 12, 14


class Look(NamedTuple):
    """How the features of all panels of a figure are drawn."""

    colors: Floats  # (N, 4)
    circular: bool  # features lie on a circle: consecutive ones are joined
    arrows: bool  # arrows from the origin rather than points
    panel: float  # inches


def feature_look(num_features: int, *, circular: bool, panel: float) -> Look:
    """The look of N features: circular ones as points in a ring, few others as arrows."""
    colors = group_colors(np.arange(num_features), "cyclic" if circular else "sequential")
    return Look(colors, circular, not circular and num_features <= MOST_ARROWS, panel)


def principal_frame(rows: Floats, *, circular: bool) -> Floats:
    """Three orthonormal directions (H, 3) to look at rows (N, H) in; zeros where H is below 3.

    Of up to two dimensions they are the neurons themselves. Else they are the principal directions
    about the origin, and of circular features the first two are turned so that the first feature
    lies at the right and the order runs counter-clockwise, which makes panels comparable.
    """
    hidden = rows.shape[1]
    frame = np.eye(hidden, 3)
    if hidden < 3 or not np.isfinite(rows).all() or not rows.any():
        return frame
    frame = np.linalg.svd(rows, full_matrices=True)[2][:3].T
    if circular:
        x, y = (rows @ frame[:, :2]).T
        cross = x * np.roll(y, -1) - y * np.roll(x, -1)
        if cross.sum() < 0:
            frame[:, 1], y = -frame[:, 1], -y
        angle = np.arctan2(y[0], x[0])
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        frame[:, :2] = frame[:, :2] @ turn
    if np.linalg.norm(rows @ frame[:, 2]) > 0 and (rows @ frame[:, 2])[0] < 0:
        frame[:, 2] = -frame[:, 2]
    return frame


def project(rows: Floats, frame: Floats, view: View) -> tuple[Floats, Floats]:
    """Places (N, 2) on the paper and nearness to the eye (N,) of rows (N, H)."""
    x, y, z = (rows @ frame).T
    if view == "top":
        return np.column_stack([x, y]), z
    if view == "side":
        return np.column_stack([x, z]), -y
    right = np.cos(AZIMUTH) * y - np.sin(AZIMUTH) * x
    back = -(np.cos(AZIMUTH) * x + np.sin(AZIMUTH) * y)
    up = np.cos(ELEVATION) * z + np.sin(ELEVATION) * back
    return np.column_stack([right, up]), np.sin(ELEVATION) * z - np.cos(ELEVATION) * back


def draw_features(
    axes: Axes,
    rows: Floats,
    frame: Floats,
    view: View,
    look: Look,
    *,
    reach: float | None = None,
    shown: int | None = None,
    counts: bool = False,
) -> None:
    """Draw rows (N, H) as points or arrows in a square panel about the origin.

    Args:
        axes: Drawn into.
        rows: A row a feature; not finite ones leave a word instead.
        frame: (H, 3), see `principal_frame`.
        view: From where.
        look: Of all panels.
        reach: From the origin to the panel's edge; by default a little beyond the longest row.
        shown: Draw the first so many in colour and the others as grey dots.
        counts: Write at every tight cluster how many features it holds.
    """
    axes.set(xticks=[], yticks=[], aspect="equal")
    for side in ("left", "bottom", "top", "right"):
        axes.spines[side].set_visible(False)
    axes.set(xlim=(-1, 1), ylim=(-1, 1))
    if not np.isfinite(rows).all():
        axes.text(0, 0, "not finite", ha="center", va="center", size=NOTE_SIZE, color=QUIET)
        return
    longest = float(np.linalg.norm(rows, axis=1).max())
    if reach is None:
        reach = 1.16 * longest
    reach = reach if reach > 0 else 1.0
    places, near = project(rows, frame, view)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach))
    _draw_axes(axes, frame, view, longest)
    last = len(rows) if shown is None else min(shown, len(rows))
    if last < len(rows):
        axes.scatter(*places[last:].T, s=3, color=LINE, linewidths=0, zorder=1.5, clip_on=False)
    if look.circular:
        _join(axes, places[:last], look, closed=last == len(rows))
    if look.arrows:
        _draw_arrows(axes, places[:last], look.colors[:last], reach)
    else:
        _draw_points(axes, places[:last], near[:last], look.colors[:last], look.panel)
    if counts:
        _write_counts(axes, rows[:last], places[:last], reach)


def _draw_axes(axes: Axes, frame: Floats, view: View, longest: float) -> None:
    """The axes of the frame through the origin, as long as the longest row."""
    for direction in np.eye(3)[: min(3, len(frame))]:
        tip, _ = project(direction[None] * longest, np.eye(3), view)
        if np.linalg.norm(tip) > 1e-9:
            (x, y) = tip[0]
            axes.plot([-x, x], [-y, y], color=FAINT, linewidth=0.7, zorder=1)


def _join(axes: Axes, places: Floats, look: Look, *, closed: bool) -> None:
    """Lines from each feature to the next, and from the last to the first if all are there."""
    from matplotlib.collections import LineCollection

    path = np.vstack([places, places[:1]]) if closed else places
    if len(path) < 2:
        return
    segments = np.stack([path[:-1], path[1:]], axis=1)
    axes.add_collection(
        LineCollection(
            list(segments),
            colors=look.colors[: len(segments)],
            linewidths=0.7,
            alpha=0.45,
            zorder=2,
        ),
        autolim=False,
    )


def _draw_points(axes: Axes, places: Floats, near: Floats, colors: Floats, panel: float) -> None:
    """Points, the nearer the larger, the nearest last."""
    spread = np.ptp(near)
    depth = (near - near.min()) / spread if spread > 1e-9 else np.full(len(near), 0.5)
    diameter = float(np.clip(22 * panel / np.sqrt(len(places)), 2.2, 6.0)) * (0.75 + 0.5 * depth)
    order = np.argsort(near, kind="stable")
    axes.scatter(
        *places[order].T,
        s=diameter[order] ** 2,
        c=colors[order],
        edgecolors="white",
        linewidths=0.25,
        zorder=3,
        clip_on=False,
    )


def _draw_arrows(axes: Axes, places: Floats, colors: Floats, reach: float) -> None:
    lengths = np.linalg.norm(places, axis=1)
    for index in np.argsort(-lengths, kind="stable").tolist():
        if lengths[index] < 0.02 * reach:
            axes.scatter(*places[index : index + 1].T, s=7, color=colors[index], zorder=3)
            continue
        axes.annotate(
            "",
            xy=(places[index, 0], places[index, 1]),
            xytext=(0, 0),
            arrowprops={
                "arrowstyle": "-|>,head_width=0.16,head_length=0.32",
                "color": colors[index],
                "linewidth": 1.2,
                "shrinkA": 0,
                "shrinkB": 0,
            },
            zorder=3,
            annotation_clip=False,
        )
        if len(places) <= MOST_NUMBERS and lengths[index] > 0.15 * reach:
            x, y = places[index] / lengths[index]
            axes.annotate(
                f"{index}",
                (places[index, 0], places[index, 1]),
                xytext=(5.5 * x, 5.5 * y),
                textcoords="offset points",
                ha="center",
                va="center",
                size=NOTE_SIZE - 0.5,
                annotation_clip=False,
            )


def _write_counts(axes: Axes, rows: Floats, places: Floats, reach: float) -> None:
    found = clusters_of(rows) if rows.any() else []
    if len(found) > MOST_CLUSTERS:
        return
    for indices in found:
        centre = places[indices].mean(axis=0)
        length = float(np.linalg.norm(centre))
        x, y = centre / length if length > 0.05 * reach else np.array([0.0, 1.0])
        axes.annotate(
            f"{len(indices)}",
            (centre[0], centre[1]),
            xytext=(8 * x, 8 * y),
            textcoords="offset points",
            ha="center",
            va="center",
            size=NOTE_SIZE - 0.5,
            color=INK,
            annotation_clip=False,
            zorder=4,
        )


def name_panel(axes: Axes, name: str, caption: str, width: float) -> None:
    """Write a panel's name in bold above it, and the caption between the two."""
    from callbacks.plots.words import drawable

    for text, offset, size, color, weight in (
        (name, 13.0, NOTE_SIZE + 0.8, INK, "bold"),
        (caption, 4.0, NOTE_SIZE - 0.5, QUIET, "normal"),
    ):
        if not text:
            continue
        axes.annotate(
            shorten(drawable(text, " "), width, size),
            (0.5, 1.0),
            xycoords="axes fraction",
            xytext=(0, offset),
            textcoords="offset points",
            ha="center",
            va="baseline",
            size=size,
            color=color,
            weight=weight,
            annotation_clip=False,
        )


def draw_feature_key(figure: Figure, look: Look, *, left: float, bottom: float) -> None:
    """A strip of the features' colours, with the first and last feature at its ends, in inches."""
    width, height = figure.get_size_inches()
    strip = figure.add_axes((left / width, bottom / height, 1.5 / width, 0.08 / height))
    strip.imshow(look.colors[None], aspect="auto", interpolation="nearest")
    strip.set(xticks=[], yticks=[])
    for side in strip.spines.values():
        side.set_visible(False)
    last = len(look.colors) - 1
    order = "round the circle" if look.circular else "in order"
    font = {"size": NOTE_SIZE - 0.5, "color": QUIET, "va": "center"}
    ends = (
        ("feature 0", -0.04, "right"),
        (f"{last}, {order}" if last else "the only feature", 1.04, "left"),
    )
    for text, x, align in ends:
        strip.annotate(
            text, (x, 0.5), xycoords="axes fraction", ha=align, annotation_clip=False, **font
        )
