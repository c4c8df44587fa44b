"""Numbers of an earlier report: the same ones as of the runs, and only where they belong."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from callbacks.plots.grid_point import GridPoint
from callbacks.studies.report_csv import write_seeds
from callbacks.studies.report_origin import write_origin
from callbacks.studies.reported import read_reported, with_reported
from callbacks.studies.store import Finished, identity_hash
from callbacks.studies.study import Study

VARIANCE, EPOCH, COSET = "val/variance", "generalization/test_epoch", "val/best_coset"
STUDY = Study(
    name="paper/figure_9",
    title="A figure",
    source="A paper",
    config=Path("a.yaml"),
    seeds=[0, 1, 2, 5],
    axes={"task": {"lattice": {}, 'a, "b"': {}}},
    protocols={"authors": {}, "careful": {}},
    tables=[{"name": "v", "metric": VARIANCE}, {"name": "e", "metric": EPOCH}],
    claims=[{"says": "cosets", "metric": COSET}],
)
LABELS = {json.dumps([*point.values()]): point for point in STUDY.points()}
IDENTITIES = {labels: {"model": place} for place, labels in enumerate(LABELS)}
LATTICE, OTHER = '["lattice", "authors"]', json.dumps(['a, "b"', "authors"])
# Numbers that ten digits do not bring back, a seed without a value, and one that got there never.
VALUES = np.array([1 / 3, np.float32(0.1), math.nan, 2e-17])
EPOCHS = np.array([7.0, math.nan, math.inf, 1e6])
COSETS = np.array(["A4, left = right", "", 'V4, "normal"', "none"])


def finished(seeds, metrics, arrays=None, seconds=10.0) -> Finished:
    return Finished(seeds, metrics, arrays or {}, seconds, [{"torch": "2"} for _ in seeds])


def grid_point(labels, metrics, seeds=STUDY.seeds) -> GridPoint:
    return GridPoint({"task": LABELS[labels]["task"]}, seeds, metrics, {})


@pytest.fixture
def report(tmp_path) -> Path:
    """Of two points under the authors' protocol; the second one measures no cosets."""
    points = [
        grid_point(LATTICE, {VARIANCE: VALUES, EPOCH: EPOCHS, COSET: COSETS}),
        grid_point(OTHER, {VARIANCE: VALUES[::-1], EPOCH: np.full(4, math.nan)}),
    ]
    write_seeds(tmp_path / "seeds.csv", STUDY, {"authors": points})
    write_origin(tmp_path, {"file": STUDY.name}, {STUDY.name: IDENTITIES}, 8)
    return tmp_path


def read(folder: Path, study: Study = STUDY, identities=IDENTITIES) -> dict[str, Finished]:
    """As the report of the study, or of a collection that has this one among others."""
    found = read_reported(folder.parent, folder.name, [study], {study.name: identities})
    assert found.folders == {study.name: folder}
    return dict(found.points[study.name])


def name_of(labels: str) -> str:
    return identity_hash(IDENTITIES[labels])


def test_every_bit_of_what_was_measured_comes_back(report):
    found = read(report)
    assert set(found) == {name_of(LATTICE), name_of(OTHER)}  # the careful protocol is not reported
    lattice = found[name_of(LATTICE)]
    assert lattice.seeds == STUDY.seeds
    assert lattice.metrics[VARIANCE].tobytes() == VALUES.tobytes()
    assert lattice.metrics[EPOCH].tolist() == pytest.approx(EPOCHS.tolist(), nan_ok=True, abs=0)
    assert lattice.metrics[COSET].tolist() == COSETS.tolist()
    assert lattice.arrays == {} and lattice.seconds == 0


def test_what_was_never_measured_is_told_from_what_was_never_reached(report):
    other = read(report)[name_of(OTHER)]
    assert COSET not in other.metrics
    assert np.isnan(other.metrics[EPOCH]).all()


def test_only_seeds_of_the_study_are_taken(report):
    found = read(report, replace(STUDY, seeds=[5, 0, 9]))[name_of(LATTICE)]
    assert found.seeds == [5, 0]
    assert found.metrics[VARIANCE].tolist() == [VALUES[3], VALUES[0]]


def test_a_report_of_several_studies_has_files_of_each(report):
    (report / "seeds.csv").rename(report / "figure_9_seeds.csv")
    (report / "seeds.csv").write_text("of another study\n")
    assert read(report)[name_of(LATTICE)].seeds == STUDY.seeds


def test_a_report_of_several_finds_those_of_its_studies(report):
    own = report / STUDY.name
    own.mkdir(parents=True)
    for path in report.glob("*.*"):
        path.rename(own / path.name)
    (own / "figure_9_authors.png").touch()
    other = replace(STUDY, name="paper/figure_8")
    of = {STUDY.name: IDENTITIES, other.name: IDENTITIES}
    found = read_reported(report, "paper/figures", [other, STUDY], of)
    assert set(found.points) == {STUDY.name} and found.num_networks == 8
    assert found.seeds_of(STUDY.name, name_of(LATTICE)) == STUDY.seeds
    assert found.seeds_of(other.name, name_of(LATTICE)) == []
    assert found.figure(STUDY, "figure_9_authors") == own / "figure_9_authors"
    assert found.figure(STUDY, "else") is None and found.figure(other, "else") is None


def test_runs_come_before_reported_numbers_and_keep_their_order():
    runs = finished([1, 7], {VARIANCE: np.array([10.0, 70.0]), "own": np.zeros(2)}, {"a": VALUES})
    reported = finished([0, 1, 9], {VARIANCE: np.array([0.0, 1.0, 9.0]), EPOCH: np.zeros(3)})
    both = with_reported(runs, reported)
    assert both is not None
    assert both.seeds == [0, 1, 7, 9]
    assert both.metrics[VARIANCE].tolist() == [0, 10, 70, 9]
    assert set(both.metrics) == {VARIANCE}  # half of the seeds would have the others
    assert both.arrays == {} and both.seconds == 10
    assert with_reported(runs, finished([7], {VARIANCE: np.zeros(1)})) is runs
    assert with_reported(None, reported) is reported and with_reported(runs, None) is runs
    assert with_reported(None, None) is None


def rewritten(report: Path, change) -> Path:
    with open(report / "seeds.csv", newline="") as file:
        lines = [*csv.reader(file)]
    change(lines)
    with open(report / "seeds.csv", "w", newline="") as file:
        csv.writer(file).writerows(lines)
    return report


def test_a_report_that_cannot_be_trusted_is_refused_in_one_sentence(report, tmp_path):
    def refused(folder=report, study=STUDY, identities=IDENTITIES) -> str:
        with pytest.raises(ValueError) as error:
            read(folder, study, identities)
        assert "\n" not in str(error.value)
        return str(error.value)

    assert read_reported(tmp_path, "nowhere", [STUDY], {STUDY.name: IDENTITIES}).folders == {}
    other = {**IDENTITIES, LATTICE: {"model": "other settings"}}
    assert "another version of this study (lattice, authors was run" in refused(identities=other)
    assert "of another study than paper/x" in refused(study=replace(STUDY, name="paper/x"))
    asked = [*STUDY.tables, {"name": "new", "metric": "val/new"}]
    assert "has no column 'val/new'" in refused(study=replace(STUDY, tables=asked))
    rewritten(report, lambda lines: lines[2].pop())
    assert "is damaged in line 3" in refused()
    (report / "seeds.csv").write_bytes(b"task\xff")
    assert "cannot be read" in refused()
    (report / "seeds.csv").unlink()
    assert "cannot be read" in refused()
    (report / "study.json").write_text("{")
    assert "is damaged" in refused()


def test_a_number_that_is_none_is_refused_with_its_place(report):
    def change(lines) -> None:
        lines[3][lines[0].index(VARIANCE)] = "0.3x"

    with pytest.raises(ValueError, match=r"seeds\.csv.*val/variance.*0\.3x"):
        read(rewritten(report, change))
