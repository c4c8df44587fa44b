"""The figures of FeatureGeometry: which plots a run gets, and which members they show."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Numbers = NDArray[np.floating]

# Scales of circular features in the feature-geometry paper.
FIGURE_4_SCALE = 0.8
FIGURE_7_SCALE = 0.05  # lower half

PAIRS = {
    "none": "",
    "correlated": "correlated: active together",
    "anti-correlated": "anti-correlated: never active together",
}


@dataclass(frozen=True)
class MemberHistory:
    """One member's weights and losses over training."""

    weights: Numbers  # (T, N, H)
    steps: NDArray[np.integer]  # (T,) optimizer steps
    losses: Numbers  # (K,) held-out
    loss_steps: NDArray[np.integer]  # (K,)
    title: str

    def draw(self, plot: Callable[..., Any]) -> Any:
        """Call ``weights_over_time`` or ``weight_frames`` with this history."""
        losses = {"losses": self.losses, "loss_steps": self.loss_steps}
        return plot(self.weights, self.steps, **losses, title=self.title)


def value_name(label: str) -> str:
    """A logger's label such as ``scale=0.02`` or ``sparsity=0.9,importance=0.7`` for a figure."""
    return label.replace(",", ", ").replace("scale=", "scale ℓ = ")


def sparse_figures(
    weights: Numbers,
    biases: Numbers,
    names: list[str],
    *,
    threshold: float,
    sweep: tuple[Numbers, Numbers] | None,
    hidden_relu: bool,
    pairs: str,
    title: str,
    which_seed: str,
) -> dict[str, Figure]:
    """Figures of sparse features, by file name.

    Args:
        weights: (V, N, H), one member per value of the sweep.
        biases: (V, N).
        names: Of the values.
        threshold: Norm above which a feature counts as represented.
        sweep: Weights (M, N, H) of all members and the activity of their features (M,), if the
            activity is swept.
        hidden_relu: Whether a ReLU follows the hidden layer: its neurons are then a privileged
            basis, and WᵀW is not what the outputs receive.
        pairs: The kind of pairs that features 2k and 2k + 1 are; ``none`` if independent.
        title: Of the figures.
        which_seed: Added to the title of figures of one member per value.
    """
    from glassbox.plots import (
        dimensionality_plot,
        gram_matrix,
        neuron_directions,
        superposition_sheet,
    )

    of_one = f"{title}{which_seed}"
    options: dict[str, Any] = {"names": names, "threshold": threshold, "title": of_one}
    figures = {"superposition": superposition_sheet(weights, **options)}
    if hidden_relu:
        figures["neuron_directions"] = neuron_directions(weights, **options)
    else:
        figures["gram_matrix"] = gram_matrix(
            weights, biases, names=names, pairs=PAIRS[pairs], title=of_one
        )
    if sweep is not None:
        seeds = len(sweep[0]) // len(weights)
        figures["dimensionality"] = dimensionality_plot(
            *sweep, threshold=threshold, title=title + f" · all {seeds} seeds" * (seeds > 1)
        )
    return figures


def ring_figures(
    weights: Numbers,
    biases: Numbers,
    names: list[str],
    *,
    captions: list[str] | None,
    scales: Sequence[float],
    histories: Sequence[MemberHistory],
    title: str,
) -> dict[str, Figure]:
    """Figures of features on a circle, by file name.

    The first features are those of the scale that is nearest to the paper's. Training is shown for
    the last scale, and for the one of the paper's Figure 7 if there is one within a quarter of it.

    Args:
        weights: (V, N, H), one member per scale.
        biases: (V, N).
        names: Of the scales.
        captions: Below the rings.
        scales: (V,).
        histories: (V,) of the members; empty before there is any.
        title: Of the figures.
    """
    from glassbox.plots import (
        feature_vectors,
        first_features,
        norms_and_biases,
        weights_over_time,
    )

    # Of two scales that are equally near the larger one, whose ring is smoother.
    nearest = min(
        range(len(scales)), key=lambda i: (round(abs(scales[i] - FIGURE_4_SCALE), 6), -scales[i])
    )
    figures = {
        "rings": feature_vectors(weights, names=names, captions=captions, title=title),
        "norms_and_biases": norms_and_biases(weights, biases, names=names, title=title),
        "first_features": first_features(
            weights[nearest], title=f"{title}, {value_name(f'scale={scales[nearest]:g}')}"
        ),
    }
    if not histories:
        return figures
    shown = {"weights_over_time": len(scales) - 1}
    near = min(range(len(scales)), key=lambda i: abs(math.log(scales[i] / FIGURE_7_SCALE)))
    if near != len(scales) - 1 and 0.8 < scales[near] / FIGURE_7_SCALE < 1.25:
        shown[f"weights_over_time_{scales[near]:g}"] = near
    for name, index in shown.items():
        figures[name] = histories[index].draw(weights_over_time)
    return figures
