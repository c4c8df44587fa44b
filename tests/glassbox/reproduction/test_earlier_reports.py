"""Numbers of an earlier report: the same ones as of the runs, and only where they belong."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from glassbox.reproduction.earlier_reports import ReportedStudy, read_reported, with_reported
from glassbox.reproduction.grid_point import GridPoint
from glassbox.reproduction.report_manifest import write_origin
from glassbox.reproduction.run_store import Finished, identity_hash
from glassbox.reproduction.seeds_csv import PartialMetrics, write_seeds
from glassbox.reproduction.study import Study

VARIANCE, EPOCH, COSET, DRAWN = "val/variance", "val/own_epochs", "val/best_coset", "val/drawn"
STUDY = Study(
    name="paper/figure_9",
    title="A figure",
    source="A paper",
    config=Path("a.yaml"),
    seeds=[0, 1, 2, 5],
    axes={"task": {"lattice": {}, 'a, "b"': {}}},
    protocols={"authors": {}, "careful": {}},
    tables=[{"name": "v", "metric": VARIANCE}, {"name": "e", "metric": EPOCH, "unit": "epochs"}],
    claims=[{"says": "cosets", "metric": COSET}],
    figures=[{"name": "figure_9", "draw": "f", "metrics": [DRAWN]}],
)
LABELS = {json.dumps([*point.values()]): point for point in STUDY.points()}
IDENTITIES = {labels: {"model": place} for place, labels in enumerate(LABELS)}
LATTICE, OTHER = '["lattice", "authors"]', json.dumps(['a, "b"', "authors"])
# Numbers that ten digits do not bring back, a seed without a value, and one that got there never.
VALUES = np.array([1 / 3, np.float32(0.1), math.nan, 2e-17])
EPOCHS = np.array([7.0, math.nan, math.inf, 1e6])
NEVER = np.full(4, math.nan)
COSETS = np.array(["A4, left = right", "", 'V4, "normal"', "none"])


def grid_point(labels, metrics, seeds=STUDY.seeds) -> GridPoint:
    return GridPoint({"task": LABELS[labels]["task"]}, seeds, metrics, {})


def write(folder: Path, *points: GridPoint) -> Path:
    """A report of these points under the authors' protocol."""
    folder.mkdir(parents=True, exist_ok=True)
    write_seeds(folder / "seeds.csv", STUDY, {"authors": points})
    write_origin(
        folder,
        {"file": STUDY.name},
        {STUDY.name: IDENTITIES},
        sum(len(point.seeds) for point in points),
    )
    return folder


@pytest.fixture
def report(tmp_path) -> Path:
    """Of two points; the second one measures neither cosets nor what is drawn."""
    first = {VARIANCE: VALUES, EPOCH: EPOCHS, COSET: COSETS, DRAWN: NEVER}
    other = {VARIANCE: VALUES[::-1], EPOCH: NEVER}
    return write(tmp_path / STUDY.name, grid_point(LATTICE, first), grid_point(OTHER, other))


def read(report: Path, study: Study = STUDY, identities=IDENTITIES) -> ReportedStudy:
    found = read_reported(report.parents[1], study.name, [study], {study.name: identities})
    return found[study.name]


def name_of(labels: str) -> str:
    return identity_hash(IDENTITIES[labels])


def test_every_bit_of_what_was_measured_comes_back(report):
    found = read(report)
    # The careful protocol is not reported.
    assert set(found.points) == {name_of(LATTICE), name_of(OTHER)}
    assert found.told[name_of(LATTICE)] == {VARIANCE, EPOCH, COSET, DRAWN}
    lattice = found.points[name_of(LATTICE)]
    assert lattice.seeds == STUDY.seeds == found.seeds_of(name_of(LATTICE))
    assert found.seeds_of("another point") == []
    assert lattice.metrics[VARIANCE].tobytes() == VALUES.tobytes()
    assert lattice.metrics[EPOCH].tobytes() == EPOCHS.tobytes()
    assert lattice.metrics[COSET].tolist() == COSETS.tolist()
    assert np.isnan(lattice.metrics[DRAWN]).all()  # measured, and without a value
    assert lattice.arrays == {} and lattice.seconds == 0


def test_what_was_not_measured_is_told_from_what_has_no_value(report):
    other = read(report).points[name_of(OTHER)]
    assert set(other.metrics) == {VARIANCE, EPOCH}
    assert np.isnan(other.metrics[EPOCH]).all()
    # Whichever seeds are asked for: one that has no value was measured all the same.
    lattice = read(report, replace(STUDY, seeds=[2])).points[name_of(LATTICE)]
    assert lattice.seeds == [2] and np.isnan(lattice.metrics[VARIANCE]).all()
    unmeasured = write(report, grid_point(LATTICE, {VARIANCE: VALUES}))
    assert set(read(unmeasured).points[name_of(LATTICE)].metrics) == {VARIANCE}


def rewritten(report: Path, change: Callable[[list[list[str]]], object]) -> Path:
    with open(report / "seeds.csv", newline="") as file:
        lines = [*csv.reader(file)]
    change(lines)
    with open(report / "seeds.csv", "w", newline="") as file:
        csv.writer(file).writerows(lines)
    return report


def test_reports_of_the_first_format_left_cells_empty(report):
    def emptied(lines: list[list[str]]) -> None:
        lines[:] = [["" if cell == "no value" else cell for cell in line] for line in lines]

    rewritten(report, emptied)
    origin = json.loads((report / "study.json").read_text())
    assert origin.pop("seeds_csv") == 2
    (report / "study.json").write_text(json.dumps(origin))
    found = read(report).points
    assert found[name_of(LATTICE)].metrics[VARIANCE].tobytes() == VALUES.tobytes()
    assert np.isnan(found[name_of(OTHER)].metrics[EPOCH]).all()  # an epoch: it never got there
    assert DRAWN not in found[name_of(LATTICE)].metrics  # of others there is no telling


def test_what_a_report_does_not_tell_stays_untold_in_the_next_one(report):
    """Of a metric that figures ask for, in a column that an older report lacks."""

    def without_drawn(lines: list[list[str]]) -> None:
        lines[:] = [line[:-1] for line in lines]

    older = read(rewritten(report, without_drawn))
    name = name_of(LATTICE)
    assert older.told[name] == {VARIANCE, EPOCH, COSET} and DRAWN not in older.points[name].metrics
    taken = grid_point(LATTICE, PartialMetrics(older.points[name].metrics, older.told[name]))
    own = grid_point(OTHER, {VARIANCE: VALUES, EPOCH: EPOCHS, DRAWN: VALUES})
    found = read(write(report, taken, own))
    assert found.told[name] == {VARIANCE, EPOCH, COSET}
    assert found.points[name].metrics[VARIANCE].tobytes() == VALUES.tobytes()
    assert found.points[name_of(OTHER)].metrics[DRAWN].tobytes() == VALUES.tobytes()


def test_only_seeds_of_the_study_are_taken(report):
    found = read(report, replace(STUDY, seeds=[5, 0, 9])).points[name_of(LATTICE)]
    assert found.seeds == [0, 5]
    assert found.metrics[VARIANCE].tolist() == [VALUES[0], VALUES[3]]


def test_a_study_is_found_in_its_own_report_and_in_that_of_a_collection(report, tmp_path):
    collection = tmp_path / "paper" / "figures"
    write(collection, grid_point(LATTICE, {VARIANCE: 1 + VALUES, EPOCH: EPOCHS}))
    (collection / "seeds.csv").rename(collection / "figure_9_seeds.csv")
    (collection / "seeds.csv").write_text("of nothing\n")
    for ending in ("png", "pdf"):
        (report / f"figure_9.{ending}").touch()
        (collection / f"figure_9_more.{ending}").touch()
    (report / "half.png").touch()
    other = replace(STUDY, name="paper/figure_8")
    of = {STUDY.name: IDENTITIES, other.name: IDENTITIES}

    both = read_reported(tmp_path, "paper/figures", [other, STUDY], of)
    assert set(both) == {STUDY.name}  # the collection was without the other one
    found = both[STUDY.name]
    assert set(found.points) == {name_of(LATTICE), name_of(OTHER)}
    assert found.points[name_of(LATTICE)].metrics[VARIANCE].tobytes() == VALUES.tobytes()
    assert found.figure(STUDY, "figure_9") == report / "figure_9"
    assert found.figure(STUDY, "figure_9_more") == collection / "figure_9_more"
    assert found.figure(STUDY, "half") is None

    (report / "study.json").unlink()
    alone = read_reported(tmp_path, "paper/figures", [STUDY], of)[STUDY.name]
    assert set(alone.points) == {name_of(LATTICE)}
    assert alone.points[name_of(LATTICE)].metrics[VARIANCE][0] == 1 + VALUES[0]
    assert read_reported(tmp_path, "paper/figure_9", [STUDY], of) == {}


def finished(seeds, metrics, arrays=None, seconds=10.0) -> Finished:
    return Finished(seeds, metrics, arrays or {}, seconds, [{"torch": "2"} for _ in seeds])


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


def test_a_name_that_no_run_has_stays_empty_beside_names():
    runs = finished([0], {COSET: np.array([math.nan])})  # as the store reads None
    both = with_reported(runs, finished([1, 2], {COSET: np.array(["A4", "V4"])}))
    assert both is not None and both.metrics[COSET].tolist() == ["", "A4", "V4"]


def test_a_figure_may_only_ask_for_what_reports_tell():
    told = PartialMetrics({"a": VALUES}, frozenset({"a", "not measured"}))
    assert told["a"] is VALUES and told.get("a") is VALUES and "a" in told
    assert "not measured" not in told and told.get("not measured", 3) == 3
    with pytest.raises(KeyError):
        told["not measured"]
    for ask in (lambda: "b" in told, lambda: told["b"], lambda: told.get("b")):
        with pytest.raises(ValueError, match="do not tell b"):
            ask()


def test_a_report_that_cannot_be_trusted_is_refused_in_one_sentence(report):
    def refused(study=STUDY, identities=IDENTITIES) -> str:
        with pytest.raises(ValueError) as error:
            read(report, study, identities)
        assert "\n" not in str(error.value)
        return str(error.value)

    other = {**IDENTITIES, LATTICE: {"model": "other settings"}}
    assert "another version of this study (lattice, authors was run" in refused(identities=other)
    asked = [*STUDY.tables, {"name": "new", "metric": "val/new"}]
    assert "has no column 'val/new'" in refused(replace(STUDY, tables=asked))
    table = report / "seeds.csv"
    whole = table.read_text()
    table.write_text(whole[:-5])  # within the last number
    assert "is cut short" in refused()
    table.write_text("".join(whole.splitlines(keepends=True)[:-1]))
    assert f"has lines of {len(whole.splitlines()) - 2} networks, and" in refused()
    table.write_text(whole.replace("lattice", "latice"))
    assert "has a line of latice, authors, of which" in refused()
    table.write_text(whole)
    origin = (report / "study.json").read_text()
    (report / "study.json").write_text(origin.replace('"seeds_csv": 2', '"seeds_csv": 3'))
    assert "of a newer version" in refused()
    (report / "study.json").write_text(origin)
    rewritten(report, lambda lines: lines.append(lines[1]))
    assert "has seed 0 of a point twice, in line 10" in refused()
    rewritten(report, lambda lines: lines[2].pop())
    assert "is damaged in line 3" in refused()
    (report / "seeds.csv").write_bytes(b"task\xff")
    assert "cannot be read" in refused()
    (report / "seeds.csv").unlink()
    assert "cannot be read" in refused()
    (report / "study.json").write_text('{"points": {"paper/figure_8": {}}}')
    assert "of another study than paper/figure_9" in refused()
    (report / "study.json").write_text("{")
    assert "is damaged" in refused()


def test_a_number_that_is_none_is_refused_with_its_place(report):
    def change(lines) -> None:
        lines[3][lines[0].index(VARIANCE)] = "0.3x"

    with pytest.raises(ValueError, match=r"seeds\.csv: val/variance of one seed is '0\.3x'"):
        read(rewritten(report, change))


def test_a_table_saved_by_a_spreadsheet_is_read_too(report):
    text = (report / "seeds.csv").read_text()
    (report / "seeds.csv").write_text(text, encoding="utf-8-sig", newline="\r\n")
    assert read(report).points[name_of(LATTICE)].metrics[VARIANCE].tobytes() == VALUES.tobytes()
