"""Every plot function: legible text, reproducible files, no global state, clear errors."""

from __future__ import annotations

import io
import itertools
import subprocess
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text

from glassbox import plots
from glassbox.metrics import phase_diagram

RNG = np.random.default_rng(0)
LONG = "A title that is too long for one line of the figure " * 3
WORDS = ["a", "gorgeous", ",", "witty", ",", "seductive", "movie", "seriously", "$5", "日本", "\\x"]
MARKED = np.arange(len(WORDS)) % 3 == 1


class Example(NamedTuple):
    """One call of a plot function, and arguments of which each must be refused by its name."""

    draw: Callable[..., Figure]
    arguments: dict[str, Any]
    refused: dict[str, Any]


def ring(count: int = 90) -> np.ndarray:
    angle = 2 * np.pi * np.arange(count) / count
    return 0.3 * np.column_stack([np.cos(angle), np.sin(angle), 0.4 * np.cos(2 * angle)])


def states(count: int) -> np.ndarray:
    return RNG.normal(size=(count, 12)) * RNG.uniform(0.5, 2, (count, 1))


def accuracy() -> dict[str, Any]:
    epochs = np.arange(1, 2001)
    start = RNG.uniform(50, 900, (20, 1))
    test = 1 / (1 + (start / epochs) ** 4)
    test_epoch = np.where(start[:, 0] > 700, np.nan, 2 * start[:, 0])
    return {"epochs": epochs, "train": test**0.2, "test": test, "test_epoch": test_epoch}


def deletion(seeds: int) -> plots.DeletionCurve:
    fall = np.linspace(0.8, 0.5, 10)
    noise = 0.05 * RNG.random((seeds, 4, 10))
    return plots.DeletionCurve(fall - noise[:, 0], fall**0.2 - noise[:, 1], fall**0.5 - noise)


def losses(count: int = 5) -> dict[str, dict[str, np.ndarray]]:
    tasks = ["present-past", "singular_plural", "antonym", "synonym", "capitals"][:count]
    return {
        m: {t: RNG.gamma(2, s, 400) for t in tasks}
        for m, s in (("standard", 0.8), ("harmonic", 0.4))
    }


def ranked() -> plots.RankedParallelograms:
    corners = np.array([[0, 0], [1, 0.4], [0.2, 1], [1.2, 1.3]]) + 0.1 * RNG.normal(size=(4, 4, 2))
    return plots.RankedParallelograms(
        corners, [["jump", "jumped", "win", "won"]] * 4, [0.1, 0.2, 0.3, 0.4], [0, 1, 10, 100]
    )


def phases() -> dict[str, Any]:
    activity, importance = np.geomspace(0.01, 1, 7), np.geomspace(0.1, 10, 5)
    theory = phase_diagram(torch.tensor(activity), torch.tensor(importance)[:, None])
    trained = theory.phase.numpy().copy()
    trained[1, 2] = -1
    arrays = {"trained": trained, "losses": theory.losses.numpy()}
    return arrays | {"importance": importance, "activity": activity}


def word_measures() -> dict[str, Any]:
    layers = ("embedding", "attention", "ffn1")
    products = {name: (h := states(len(WORDS))) @ h.T for name in layers}
    return {
        "interference": {name: p**2 for name, p in products.items()},
        "polysemanticity": {
            name: (p**2).sum(1) / np.diag(p) - np.diag(p) for name, p in products.items()
        },
        "words": WORDS,
    }


def circles() -> dict[str, Any]:
    h = states(len(WORDS))
    products = h @ h.T
    capacity = np.diag(products) ** 2 / (products**2).sum(axis=1)
    return {"capacity": capacity, "products": products, "words": WORDS, "important": MARKED}


def decisions(seeds: int) -> dict[str, Any]:
    return {
        "regions": RNG.integers(0, 4, (seeds, 20, 20)),
        "window": [-2, 2, -2, 2],
        "points": RNG.uniform(-1.5, 1.5, (seeds, 5, 2)),
        "targets": np.tile([0, 1, 2, 3, 0], (seeds, 1)),
        "weights": RNG.uniform(-1.5, 1.5, (seeds, 4, 2)),
        "seeds": list(range(seeds)),
        "accuracy": np.ones(seeds),
    }


def embedding(seeds: int) -> dict[str, Any]:
    angle = 2 * np.pi * np.arange(31) / 31
    circle = np.column_stack([np.cos(angle), np.sin(angle)])
    return {
        "coordinates": np.stack([circle * (seed + 1) for seed in range(seeds)]),
        "labels": [str(number) for number in range(31)],
        "groups": np.arange(31),
        "group_kind": "cyclic",
        "explained": RNG.random(seeds),
        "seeds": list(range(seeds)),
        "titles": ["cosets of V4"] * seeds,
    }


FEATURES = RNG.normal(size=(6, 20, 5))
FEATURES[2, 4, 1] = np.nan
NAMES = [f"1−S = {1 / 2**i:.2g}" for i in range(6)]
RINGS = np.stack([ring(), 0.5 * ring(), 2 * ring()])
STEPS = np.array([0, 10, 20, 50, 100, 200, 500, 1000])
GROWING = ring(12)[None] * np.linspace(0, 1, 8)[:, None, None]
CURVE = {"losses": 1 / (1 + np.arange(500)), "loss_steps": 2.0 * np.arange(500)}
PERCENT = np.arange(0, 100, 10)
CAPACITY = {name: RNG.random(len(WORDS)) for name in ("embedding", "ffn1", "ffn2")}

EXAMPLES = {
    "accuracy_curves": Example(
        plots.accuracy_curves, accuracy(), {"train": np.ones(3), "test_epoch": [1.0]}
    ),
    "explained_variance": Example(
        plots.cumulative_explained_variance,
        {"ratios": np.tile(0.5 ** np.arange(1, 17), (20, 1)) * RNG.uniform(0.8, 1, (20, 1))},
        {"ratios": np.ones(4)},
    ),
    "generalization_scatter": Example(
        plots.generalization_scatter,
        {
            "train_epoch": [100, 200, np.nan, 300, 150],
            "test_epoch": [1000, np.nan, np.nan, 2000, 900],
        },
        {"train_epoch": [[1.0]], "test_epoch": [1.0]},
    ),
    "norms_and_biases": Example(
        plots.norms_and_biases,
        {"weights": RINGS, "biases": -0.1 * RNG.random((3, 90)), "names": NAMES[:3]},
        {"weights": np.ones(3), "biases": np.ones(90), "names": ["one"]},
    ),
    "capacity_bars": Example(
        plots.capacity_bars,
        {"capacity": CAPACITY, "words": WORDS, "important": MARKED},
        {"capacity": {"ffn1": [0.1]}, "important": [1, 0]},
    ),
    "deletion_curve": Example(
        plots.deletion_curve,
        {"percent": PERCENT, "models": {"SAFR": deletion(1)}, "marked_percent": 30},
        {"percent": PERCENT[::-1], "marked_percent": 35},
    ),
    "deletion_curve of two models": Example(
        plots.deletion_curve,
        {"percent": PERCENT, "models": {"SAFR": deletion(5), "baseline": deletion(5)}},
        {},
    ),
    "parallelogram_distributions": Example(
        plots.parallelogram_distributions, {"losses": losses()}, {}
    ),
    "parallelogram_scatter": Example(plots.parallelogram_scatter, {"losses": losses()}, {}),
    "parallelogram_scatter of one task": Example(
        plots.parallelogram_scatter, {"losses": losses(1)}, {}
    ),
    "ranked_parallelograms": Example(
        plots.ranked_parallelograms,
        {"models": {"standard": ranked(), "harmonic": ranked()}, "note": "smallest losses first"},
        {},
    ),
    "gram_matrix": Example(
        plots.gram_matrix,
        {
            "weights": FEATURES,
            "biases": RNG.normal(size=(6, 20)),
            "names": NAMES,
            "pairs": "correlated: active together",
        },
        {"weights": np.ones(3), "biases": np.ones(20), "names": ["one"]},
    ),
    "dimensionality_plot": Example(
        plots.dimensionality_plot,
        {"weights": FEATURES, "activity": [0.01, 0.01, 0.1, 0.1, 1, 1]},
        {"weights": np.ones(3), "activity": [0.1]},
    ),
    "phase_diagram_plot": Example(
        plots.phase_diagram_plot,
        phases(),
        {"trained": np.full((5, 7), 9), "losses": np.ones((5, 7)), "activity": np.ones(7)},
    ),
    "superposition_sheet": Example(
        plots.superposition_sheet,
        {"weights": FEATURES, "names": NAMES},
        {"weights": np.ones(3), "names": ["one"]},
    ),
    "neuron_directions": Example(
        plots.neuron_directions,
        {"weights": FEATURES, "names": NAMES},
        {"weights": np.ones(3), "names": ["one"]},
    ),
    "embedding_grid": Example(
        plots.embedding_grid,
        embedding(12),
        {
            "coordinates": np.ones((31, 2)),
            "explained": [0.5],
            "labels": ["a"],
            "seeds": [1],
            "titles": [],
            "groups": np.zeros(5),
            "group_kind": "rainbow",
            "edges": [[0, 31]],
        },
    ),
    "embedding_grid of one seed": Example(plots.embedding_grid, embedding(1), {}),
    "decision_maps": Example(
        plots.decision_maps,
        decisions(3),
        {
            "window": [0, 1],
            "points": np.ones((3, 5, 1)),
            "targets": np.ones((3, 4)),
            "weights": np.ones((1, 4, 2)),
            "seeds": [1],
            "accuracy": [1.0],
        },
    ),
    "feature_vectors": Example(
        plots.feature_vectors,
        {
            "weights": RINGS,
            "names": NAMES[:3],
            "captions": ["explained 93 %"] * 3,
        },
        {"weights": np.ones(3), "names": ["one"], "captions": ["one"]},
    ),
    "first_features": Example(
        plots.first_features, {"weights": ring()}, {"weights": np.ones((2, 5, 3))}
    ),
    "weights_over_time": Example(
        plots.weights_over_time,
        {"weights": GROWING, "steps": STEPS, **CURVE},
        {"weights": np.ones((2, 3)), "steps": [0, 1], "loss_steps": np.zeros(500)},
    ),
    "weight_images": Example(
        plots.weight_images,
        {
            "weights": RNG.normal(size=(10, 64)),
            "image_shape": (8, 8),
            "means": RNG.random((10, 64)),
        },
        {"weights": np.ones((2, 3)), "means": np.ones(3), "captions": ["one"]},
    ),
    "allocation_circle": Example(
        plots.allocation_circle,
        circles(),
        {"capacity": [0.5], "products": np.eye(3), "important": [True]},
    ),
    "word_heatmap": Example(
        plots.word_heatmap,
        word_measures() | {"important": MARKED},
        {"interference": {"ffn1": np.eye(3)}, "polysemanticity": {}, "important": [True]},
    ),
}


def draw(name: str, **changes: Any) -> Figure:
    example = EXAMPLES[name]
    return example.draw(**example.arguments, **changes)


def drawn_texts(figure: Figure, monkeypatch: pytest.MonkeyPatch) -> list[Text]:
    """The texts that reach the paper; ticks outside an axis' limits exist, but are not drawn."""
    texts: list[Text] = []
    monkeypatch.setattr(Text, "draw", lambda self, renderer: texts.append(self))
    figure.canvas.draw()
    return [text for text in texts if text.get_visible() and text.get_text().strip()]


def save(figure: Figure) -> bytes:
    with io.BytesIO() as file:
        figure.savefig(file)
        return file.getvalue()


@pytest.mark.parametrize("title", ["", LONG], ids=["no title", "long title"])
@pytest.mark.parametrize("name", EXAMPLES)
def test_text_lies_inside_the_figure_and_does_not_overlap_other_text(name, title, monkeypatch):
    figure = draw(name, title=title)
    texts = drawn_texts(figure, monkeypatch)
    width, height = figure.canvas.get_width_height()
    boxes = [text.get_window_extent() for text in texts]
    for text, box in zip(texts, boxes, strict=True):
        inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
        assert inside, text.get_text()
    upright = [
        (text, box.padded(-1))
        for text, box in zip(texts, boxes, strict=True)
        if text.get_rotation() % 90 == 0
    ]
    for (one, one_box), (two, two_box) in itertools.combinations(upright, 2):
        assert not one_box.overlaps(two_box), (one.get_text(), two.get_text())


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_same_arrays_give_the_same_file_and_no_settings_change(name):
    settings = dict(matplotlib.rcParams)
    assert save(draw(name)) == save(draw(name))
    assert dict(matplotlib.rcParams) == settings


@pytest.mark.parametrize(
    ("name", "argument"),
    [(name, argument) for name, example in EXAMPLES.items() for argument in example.refused],
)
def test_an_argument_that_does_not_fit_is_refused_by_its_name(name, argument):
    example = EXAMPLES[name]
    with pytest.raises(ValueError, match=argument.rstrip("s")) as error:
        example.draw(**example.arguments | {argument: example.refused[argument]})
    assert "\n" not in str(error.value)


def test_matplotlib_is_loaded_by_the_first_figure_and_pyplot_never():
    code = (
        "import sys, glassbox.plots as plots\n"
        "assert not {'matplotlib', 'torch', 'lightning'} & set(sys.modules)\n"
        "plots.generalization_scatter([1.0], [2.0]).savefig(sys.argv[1])\n"
        "assert 'matplotlib.figure' in sys.modules and 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, "/dev/null"], check=True)
