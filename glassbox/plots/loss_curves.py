"""Training and validation loss of several language models over the tokens they have seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from glassbox.plots.arrays import Floats, as_floats
from glassbox.plots.colors import model_colors
from glassbox.plots.style import house_style, new_figure, place_axes, wrap_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class LossCurve(NamedTuple):
    """One model's losses in nats a token, each with the tokens seen so far, (N,)."""

    train_tokens: ArrayLike
    train: ArrayLike
    val_tokens: ArrayLike
    val: ArrayLike


def loss_curves(
    curves: Mapping[str, LossCurve], *, title: str = "", top_loss: float | None = None
) -> Figure:
    """Draw losses over tokens: training faintly, validation as a line through its points.

    As the top left of Figure 6 of the harmonic-loss paper, with the last validation losses written
    at the curves' ends, since they lie close together.

    Args:
        curves: By the models' names, which decide the colors where they say harmonic or standard.
        title: Of the figure.
        top_loss: Upper end of the axis; by default the first validation loss.

    Raises:
        ValueError: There is no curve, or losses and tokens differ in number.
    """
    from matplotlib import rc_context
    from matplotlib.ticker import FuncFormatter

    if not curves:
        raise ValueError("there is no loss curve to draw.")
    heading = wrap_title(title, 5.4)
    top = 0.3 + 0.19 * len(heading)
    with rc_context(house_style()):
        figure = new_figure(6.4, 3.4 + top)
        axes = place_axes(figure, left=0.62, right=1.0, bottom=0.48, top=top)
        axes.set_title("\n".join(heading), y=1.0, pad=10)
        ends: list[tuple[float, str, str]] = []
        first, furthest, low = 0.0, 0.0, np.inf
        for (name, curve), color in zip(curves.items(), model_colors(list(curves)), strict=True):
            train_x, train = _pair(name, curve.train_tokens, curve.train)
            val_x, val = _pair(name, curve.val_tokens, curve.val)
            axes.plot(train_x, train, color=color, linewidth=0.7, alpha=0.35)
            axes.plot(val_x, val, color=color, marker="o", markersize=3, label=name)
            ends.append((float(val[-1]), f"{val[-1]:.3f}", color))
            first, furthest = max(first, float(val[0])), max(furthest, float(val_x[-1]))
            low = min(low, float(train.min()), float(val.min()))
        high = first if top_loss is None else top_loss
        axes.set_ylim(low - 0.06 * (high - low), high + 0.02 * (high - low))
        axes.set_xlim(0, furthest)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1e6:g}"))
        axes.set_xlabel("million tokens")
        axes.set_ylabel("loss, nats a token")
        axes.grid(axis="y")
        axes.legend(loc="upper right", title="dots: held-out text; thin: training")
        _write_ends(axes, ends, gap=0.05 * (high - low))
    return figure


def _pair(name: str, tokens: ArrayLike, losses: ArrayLike) -> tuple[Floats, Floats]:
    x = as_floats(tokens, f"tokens of {name}", (None,), "(points,)")
    return x, as_floats(losses, f"losses of {name}", (len(x),), "(points,)")


def _write_ends(axes: Axes, ends: list[tuple[float, str, str]], gap: float) -> None:
    """Final losses at the right margin, moved apart where they would overlap."""
    height = -np.inf
    for end, text, color in sorted(ends):
        height = max(end, height + gap)
        axes.annotate(
            text,
            (1.0, height),
            xycoords=("axes fraction", "data"),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            color=color,
        )
