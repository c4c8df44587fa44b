import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_rgb

from glassbox.plots import group_colors
from glassbox.plots.colors import MISSING
from glassbox.reproduction.figures import embeddings_by_model
from glassbox.reproduction.grid_point import GridPoint

EV = "val/embedding/explained_variance_2"
SIZES = {"lattice": 4, "permutation": 6}


def point(task: str, model: str, seeds=(0, 1, 2)) -> GridPoint:
    """Points of a seed lie on a line x = index, y = seed, and its EV is (seed + 1) / 10."""
    size = SIZES[task]
    rows = [np.column_stack([np.arange(size), np.full(size, seed)]) for seed in seeds]
    arrays = {
        "coordinates": np.array(rows, dtype=np.float64),
        "groups": np.tile(np.arange(size) % 2, (len(seeds), 1)),
        "edges": np.tile([[0, 1], [2, 3]], (len(seeds), 1, 1)),
    }
    values = np.array([(seed + 1) / 10 for seed in seeds])
    return GridPoint({"task": task, "model": model}, list(seeds), {EV: values}, arrays)


def grid(**seeds_of) -> list[GridPoint]:
    models = ["standard MLP", "harmonic MLP"]
    return [point(task, model, **seeds_of) for task in SIZES for model in models]


def panel(figure, row: int, column: int, columns: int = 3):
    return figure.axes[row * columns + column]


def dots(axes) -> np.ndarray:
    parts = [item for item in axes.collections if isinstance(item, PathCollection)]
    return np.concatenate([np.asarray(item.get_offsets()) for item in parts] or [np.zeros((0, 2))])


def texts(axes) -> list[str]:
    written = [axes.get_title(), *(text.get_text() for text in axes.texts)]
    return [text for text in written if text.strip()]


def written(figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def test_rows_are_tasks_then_models_as_they_first_appear_and_columns_are_seeds():
    shuffled = [grid()[index] for index in (3, 0, 1, 2)]
    figure = embeddings_by_model(shuffled, title="embeddings")
    assert len(figure.axes) == 2 * 2 * 3
    names = [text for text in written(figure) if text in {*SIZES, "standard MLP", "harmonic MLP"}]
    assert names == [
        "permutation", "harmonic MLP", "standard MLP",
        "lattice", "harmonic MLP", "standard MLP",
    ]  # fmt: skip
    assert [len(dots(panel(figure, row, 0))) for row in range(4)] == [6, 6, 4, 4]
    assert [dots(panel(figure, 2, seed))[0, 1] for seed in range(3)] == [0, 1, 2]


def test_median_explained_variance_is_that_of_all_seeds_also_of_those_not_drawn():
    figure = embeddings_by_model([point("lattice", "MLP", seeds=range(7))], columns=2)
    assert len(figure.axes) == 2
    assert "median EV of\n7 seeds: 40 %" in written(figure)  # of 10, 20, ... 70 %


def test_points_carry_the_colors_of_their_groups_and_edges_join_them():
    figure = embeddings_by_model(grid(), group_kinds={"lattice": "sequential"})
    (scatter,) = [item for item in figure.axes[0].collections if isinstance(item, PathCollection)]
    colors = np.asarray(scatter.get_facecolors())[:, :3]
    assert colors == pytest.approx(group_colors([0, 1, 0, 1], "sequential")[:, :3])
    (edges,) = [item for item in figure.axes[0].collections if isinstance(item, LineCollection)]
    joined = np.array(edges.get_segments())
    assert joined.tolist() == [[[0, 0], [1, 0]], [[2, 0], [3, 0]]]


def test_panels_of_missing_seeds_and_points_are_empty():
    points = grid()
    points[1] = point("lattice", "harmonic MLP", seeds=(0, 2))
    figure = embeddings_by_model(points[:3])
    figure.canvas.draw()
    assert len(figure.axes) == 12
    assert texts(panel(figure, 1, 1)) == ["not run"]
    assert dots(panel(figure, 1, 2))[0, 1] == 2  # seed 2 stays in its own column
    for column in range(3):
        assert texts(panel(figure, 3, column)) == ["not run"]
        assert len(dots(panel(figure, 3, column))) == 0


def test_a_run_that_diverged_is_named_and_left_out_of_the_median():
    diverged = point("lattice", "MLP")
    diverged.arrays["coordinates"][1] = np.nan
    diverged.metrics[EV][:] = [0.2, np.nan, 0.6]
    figure = embeddings_by_model([diverged])
    assert texts(figure.axes[1]) == ["seed 1", "EV –", "diverged"]
    assert len(dots(figure.axes[1])) == 0
    assert "median EV of\n2 seeds: 40 %" in written(figure)


def test_panels_of_seeds_without_structure_beyond_chance_are_gray_and_a_note_says_so():
    lattice, cosets = point("lattice", "MLP"), point("permutation", "MLP")
    cosets.metrics["val/embedding/coset_silhouette"] = np.array([0.5, 0.1, np.nan])
    figure = embeddings_by_model([lattice, cosets], chance=0.133)
    colors = [np.asarray(axes.collections[-1].get_facecolors()) for axes in figure.axes]
    assert [len(np.unique(color, axis=0)) for color in colors] == [2, 2, 2, 2, 1, 1]
    for color in colors[4:]:
        assert color[0, :3] == pytest.approx(np.array(to_rgb(MISSING)))
    (note,) = [text for text in written(figure) if "Gray" in text]
    assert note == "Gray: no coset structure beyond chance (silhouette below 0.133)."
