"""The figures of FeatureGeometry: which of the plots a run's features get, and of which members."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Numbers = NDArray[np.floating]

PAPER_SCALE = 0.8  # of the feature-geometry paper's Figure 4
PAPER_TRAINING = 0.05  # of the lower half of its Figure 7


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


def value_name(label: str) -> str:
    """A value of a sweep as figures call it; of a circle's scale with the symbol of the paper.

    Args:
        label: As loggers have it, such as ``scale=0.02`` or ``sparsity=0.9,importance=0.7``.
    """
    return label.replace(",", ", ").replace("scale=", "scale ℓ = ")


def feature_figures(
    weights: Numbers,
    biases: Numbers,
    names: list[str],
    *,
    threshold: float,
    sweep: tuple[Numbers, Numbers] | None,
    hidden_relu: bool,
    pairs: str,
    title: str,
    chosen: str,
) -> dict[str, Figure]:
    """Figures of sparse features, by file name.

    Args:
        weights: (V, N, H), one member of each value.
        biases: (V, N).
        names: Of the values.
        threshold: Norm above which a feature counts as represented.
        sweep: Weights (M, N, H) of all members and how often their features are active (M,), if
            that is swept.
        hidden_relu: Whether a ReLU follows the hidden layer, so that its neurons stand out, and
            WᵀW is not what the outputs hear.
        pairs: The kind of pairs that features 2k and 2k + 1 are, ``none`` of independent ones.
        title: Of the figures.
        chosen: For the titles of figures of one member of each value: which one that is.
    """
    from glassbox.plots import (
        dimensionality_plot,
        gram_matrix,
        neuron_directions,
        superposition_sheet,
    )

    of_one = f"{title}{chosen}"
    options: dict[str, Any] = {"names": names, "threshold": threshold, "title": of_one}
    found = {"superposition": superposition_sheet(weights, **options)}
    if hidden_relu:
        found["neuron_directions"] = neuron_directions(weights, **options)
    else:
        found["gram_matrix"] = gram_matrix(
            weights, biases, names=names, pairs=PAIRS[pairs], title=of_one
        )
    if sweep is not None:
        seeds = len(sweep[0]) // len(weights)
        found["dimensionality"] = dimensionality_plot(
            *sweep, threshold=threshold, title=title + f" · all {seeds} seeds" * (seeds > 1)
        )
    return found


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

    Args:
        weights: (V, N, H), one member of each value.
        biases: (V, N).
        names: Of the values.
        captions: Below the rings.
        scales: (V,); the first features are shown of the value that is closest to the paper's.
        histories: Of these members, from the last of which the training is shown, and from that of
            the other scale of the paper's Figure 7 if there is one near; empty before there is any.
        title: Of the figures.
    """
    from glassbox.plots import (
        feature_vectors,
        first_features,
        norms_and_biases,
        weights_over_time,
    )

    rings = feature_vectors(weights, names=names, captions=captions, title=title)
    # Of two that are equally close the larger, whose ring is the smoother.
    nearest = min(
        range(len(scales)), key=lambda i: (round(abs(scales[i] - PAPER_SCALE), 6), -scales[i])
    )
    found = {
        "rings": rings,
        "norms_and_biases": norms_and_biases(weights, biases, names=names, title=title),
        "first_features": first_features(
            weights[nearest], title=f"{title}, {value_name(f'scale={scales[nearest]:g}')}"
        ),
    }
    shown = {"weights_over_time": len(scales) - 1} if histories else {}
    near = min(range(len(scales)), key=lambda i: abs(math.log(scales[i] / PAPER_TRAINING)))
    if histories and near != len(scales) - 1 and 0.8 < scales[near] / PAPER_TRAINING < 1.25:
        shown[f"weights_over_time_{scales[near]:g}"] = near
    for name, index in shown.items():
        history = histories[index]
        found[name] = weights_over_time(
            history.weights,
            history.steps,
            losses=history.losses,
            loss_steps=history.loss_steps,
            title=history.title,
        )
    return found


def ring_animation(history: MemberHistory) -> list[NDArray[np.uint8]]:
    """The pictures of one member's training, at most 60."""
    from glassbox.plots import weight_frames

    return weight_frames(
        history.weights,
        history.steps,
        losses=history.losses,
        loss_steps=history.loss_steps,
        title=history.title,
    )
