import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.patches import StepPatch

from glassbox.metrics import coset_partitions
from glassbox.reproduction.figures import coset_null
from glassbox.reproduction.figures.coset_null import COLORS, coset_kinds, swarm
from glassbox.reproduction.grid_point import GridPoint

NULL = np.linspace(0.0, 0.1, 101)  # its 99 % quantile is 0.099
NAMES = ["S3 (fixes 2), left", "V4 normal, left = right", "A4, left = right"]


def model(name: str, scores=(0.5, 0.05, 0.3), names=tuple(NAMES)) -> GridPoint:
    metrics = {
        "val/embedding/coset_silhouette": np.array(scores),
        "val/embedding/best_coset": np.array(names),
    }
    return GridPoint({"model": name}, list(range(len(scores))), metrics, {})


def dots(figure) -> list[tuple[float, float, str]]:
    """x, y and color of every dot."""
    return [
        (float(x), float(y), to_hex(color))
        for item in figure.axes[0].collections
        if item.get_offsets().shape[0] and item.get_sizes().size
        for (x, y), color in zip(item.get_offsets(), item.get_facecolors(), strict=True)
    ]


def texts(figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_every_seed_is_a_dot_at_its_silhouette_in_the_color_of_its_subgroup():
    drawn = dots(coset_null([model("MLP")], null=NULL))
    assert sorted((x, color) for x, _, color in drawn) == [
        (0.05, COLORS["V4 normal"].lower()),
        (0.3, COLORS["A4"].lower()),
        (0.5, COLORS["S3"].lower()),
    ]


def test_the_line_is_at_the_quantile_and_seeds_beyond_it_are_counted():
    figure = coset_null([model("MLP")], null=NULL)
    (line,) = [line for line in figure.axes[0].lines if line.is_dashed()]
    assert line.get_xdata()[0] == pytest.approx(0.099)
    assert "2 of 3 above" in texts(figure)
    half = coset_null([model("MLP")], null=NULL, quantile=0.5)
    assert "50 % of random\nembeddings are below" in texts(half)
    (line,) = [line for line in half.axes[0].lines if line.is_dashed()]
    assert line.get_xdata()[0] == pytest.approx(0.05)


def test_null_may_be_a_tensor_and_its_histogram_holds_all_of_it():
    figure = coset_null([model("MLP")], null=torch.tensor(NULL))
    (steps,) = [item for item in figure.axes[0].patches if isinstance(item, StepPatch)]
    heights, edges, baseline = steps.get_data()
    shares = baseline - heights
    expected, _ = np.histogram(NULL, bins=edges)
    assert shares / shares.sum() == pytest.approx(expected / len(NULL))
    assert edges[0] <= 0.0 and edges[-1] >= 0.1


def test_every_partition_has_a_kind_with_a_color_of_its_own():
    kinds = set(coset_kinds([partition.name for partition in coset_partitions()]))
    assert kinds == {"A4", "D4", "S3", "V4 normal", "V4 non-normal", "C4", "C3", "C2"}
    assert len({COLORS[kind] for kind in kinds}) == 8
    for partition in coset_partitions():
        (kind,) = coset_kinds([partition.name])
        assert partition.subgroup.startswith(kind)


def test_dots_of_a_swarm_do_not_touch():
    values = np.random.default_rng(0).random(60)
    rows = swarm(values, diameter=0.05, rows=4)
    for row in range(-4, 5):
        assert (np.diff(np.sort(values[rows == row])) >= 0.05).all()
    assert swarm(np.array([0.0, 1.0, 2.0]), diameter=0.5, rows=4).tolist() == [0, 0, 0]
    assert np.abs(swarm(np.zeros(50), diameter=0.1, rows=2)).max() == 2
