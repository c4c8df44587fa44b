"""The figure entries of the superposition and head studies, over their own grids, with 3 seeds."""

import itertools

import numpy as np
import pytest
import yaml

from glassbox.reproduction import figures as studies
from glassbox.reproduction.grid_point import GridPoint
from tests.helpers.paths import ROOT

FOLDER = ROOT / "configs" / "reproduce"
PATHS = sorted([*FOLDER.glob("superposition/*.yaml"), *FOLDER.glob("heads/*.yaml")])


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_study_draws_metrics_of_its_tables_over_its_grid(path):
    study = yaml.safe_load(path.read_text(encoding="utf-8"))
    (entry,) = study["figures"]
    metrics = entry["options"]["metrics"]
    assert set(metrics) <= {table["metric"] for table in study["tables"]}
    rng = np.random.default_rng(0)
    values = [[str(value) for value in axis] for axis in study["grid"].values()]
    points = [
        GridPoint(
            dict(zip(study["grid"], labels, strict=True)),
            [0, 1, 2],
            {metric: rng.uniform(0.1, 1, 3) for metric in metrics},
            {},
        )
        for labels in itertools.product(*values)
    ]
    package, name = entry["function"].rsplit(".", 1)
    assert package == studies.__name__
    figure = getattr(studies, name)(points, title=study["title"], **entry["options"])
    titles = [axes.get_title(loc="left").replace("\n", " ") for axes in figure.axes]
    assert titles == list(metrics.values())
