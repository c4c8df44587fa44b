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
from glassbox.reproduction.identity import identity_hash
from glassbox.reproduction.report_manifest import manifest
from glassbox.reproduction.run_store import PointResults
from glassbox.reproduction.schema import Claim, FigureSpec, Rule, Table
from glassbox.reproduction.seeds_csv import write_seeds
from glassbox.reproduction.study import Study

VARIANCE, EPOCH, COSET, DRAWN = "val/variance", "val/own_epochs", "val/best_coset", "val/drawn"
RULE = Rule("ratio", 2, 3)
STUDY = Study(
    name="paper/figure_9",
    title="A figure",
    source="A paper",
    config=Path("a.yaml"),
    seeds=[0, 1, 2, 5],
    axes={"task": {"lattice": {}, 'a, "b"': {}}},
    protocols={"authors": {}, "careful": {}},
    tables=[Table("v", VARIANCE, RULE, None), Table("e", EPOCH, RULE, None, unit="epochs")],
    claims=[Claim("cosets", COSET, than=1)],
    figures=[FigureSpec("figure_9", "f", metrics=[DRAWN])],
)
LABELS = {json.dumps([*point.values()]): point for point in STUDY.points()}
IDENTITIES = {labels: {"model": place} for place, labels in enumerate(LABELS)}
LATTICE, OTHER = '["lattice", "authors"]', json.dumps(['a, "b"', "authors"])
# Numbers that ten digits do not bring back, a seed without a value, and one that got there never.
VALUES = np.array([1 / 3, np.float32(0.1), math.nan, 2e-17])
EPOCHS = np.array([7.0, math.nan, math.inf, 1e6])
NEVER = np.full(4, math.nan)
COSETS = np.array(["A4, left = right", "", 'V4, "normal"', "none"])


def grid_point(labels, metrics, known_metrics=None) -> GridPoint:
    return GridPoint({"task": LABELS[labels]["task"]}, STUDY.seeds, metrics, {}, known_metrics)


def write(folder: Path, *points: GridPoint) -> Path:
    """A report of these points under the authors' protocol."""
    folder.mkdir(parents=True, exist_ok=True)
    write_seeds(folder / "seeds.csv", STUDY, {"authors": points})
    networks = sum(len(point.seeds) for point in points)
    content = manifest({"file": STUDY.name}, {STUDY.name: IDENTITIES}, networks)
    (folder / "study.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def report(tmp_path) -> Path:
    """Of two points; the second one measures neither cosets nor what is drawn."""
    first = {VARIANCE: VALUES, EPOCH: EPOCHS, COSET: COSETS, DRAWN: NEVER}
    other = {VARIANCE: VALUES[::-1], EPOCH: NEVER}
    return write(tmp_path / STUDY.name, grid_point(LATTICE, first), grid_point(OTHER, other))


def read(report: Path, study: Study = STUDY, identities=IDENTITIES) -> ReportedStudy:
    reported = read_reported(report.parents[1], study.name, [study], {study.name: identities})
    return reported[study.name]


def name_of(labels: str) -> str:
    return identity_hash(IDENTITIES[labels])


def test_numbers_are_read_back_bit_for_bit(report):
    reported = read(report)
    # The careful protocol is not reported.
    assert set(reported.points) == {name_of(LATTICE), name_of(OTHER)}
    assert reported.known_metrics[name_of(LATTICE)] == {VARIANCE, EPOCH, COSET, DRAWN}
    lattice = reported.points[name_of(LATTICE)]
    assert lattice.seeds == STUDY.seeds == reported.seeds_of(name_of(LATTICE))
    assert reported.seeds_of("another point") == []
    assert lattice.metrics[VARIANCE].tobytes() == VALUES.tobytes()
    assert lattice.metrics[EPOCH].tobytes() == EPOCHS.tobytes()
    assert lattice.metrics[COSET].tolist() == COSETS.tolist()
    assert np.isnan(lattice.metrics[DRAWN]).all()  # measured, and without a value
    assert lattice.arrays == {} and lattice.seconds == 0


def test_not_measured_differs_from_no_value(report):
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


def test_format_1_left_cells_empty(report):
    def emptied(lines: list[list[str]]) -> None:
        lines[:] = [["" if cell == "no value" else cell for cell in line] for line in lines]

    rewritten(report, emptied)
    origin = json.loads((report / "study.json").read_text())
    assert origin.pop("seeds_csv") == 2
    (report / "study.json").write_text(json.dumps(origin))
    reported = read(report).points
    assert reported[name_of(LATTICE)].metrics[VARIANCE].tobytes() == VALUES.tobytes()
    assert np.isnan(reported[name_of(OTHER)].metrics[EPOCH]).all()  # an epoch, never reached
    assert DRAWN not in reported[name_of(LATTICE)].metrics  # of others there is no telling


def test_a_metric_that_a_report_does_not_cover_stays_unknown_in_the_next(report):
    """Of a metric that figures ask for, in a column that an older report lacks."""

    def without_drawn(lines: list[list[str]]) -> None:
        lines[:] = [line[:-1] for line in lines]

    older = read(rewritten(report, without_drawn))
    name = name_of(LATTICE)
    assert (
        older.known_metrics[name] == {VARIANCE, EPOCH, COSET}
        and DRAWN not in older.points[name].metrics
    )
    taken = grid_point(LATTICE, older.points[name].metrics, older.known_metrics[name])
    own = grid_point(OTHER, {VARIANCE: VALUES, EPOCH: EPOCHS, DRAWN: VALUES})
    reported = read(write(report, taken, own))
    assert reported.known_metrics[name] == {VARIANCE, EPOCH, COSET}
    assert reported.points[name].metrics[VARIANCE].tobytes() == VALUES.tobytes()
    assert reported.points[name_of(OTHER)].metrics[DRAWN].tobytes() == VALUES.tobytes()


def test_only_seeds_of_the_study_are_taken(report):
    reported = read(report, replace(STUDY, seeds=[5, 0, 9])).points[name_of(LATTICE)]
    assert reported.seeds == [0, 5]
    assert reported.metrics[VARIANCE].tolist() == [VALUES[0], VALUES[3]]


def test_a_study_is_read_from_its_own_report_and_a_collection(report, tmp_path):
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
    reported = both[STUDY.name]
    assert set(reported.points) == {name_of(LATTICE), name_of(OTHER)}
    assert reported.points[name_of(LATTICE)].metrics[VARIANCE].tobytes() == VALUES.tobytes()
    assert reported.figure(STUDY, "figure_9") == report / "figure_9"
    assert reported.figure(STUDY, "figure_9_more") == collection / "figure_9_more"
    assert reported.figure(STUDY, "half") is None

    (report / "study.json").unlink()
    alone = read_reported(tmp_path, "paper/figures", [STUDY], of)[STUDY.name]
    assert set(alone.points) == {name_of(LATTICE)}
    assert alone.points[name_of(LATTICE)].metrics[VARIANCE][0] == 1 + VALUES[0]
    assert read_reported(tmp_path, "paper/figure_9", [STUDY], of) == {}


def finished(seeds, metrics, arrays=None, seconds=10.0) -> PointResults:
    return PointResults(seeds, metrics, arrays or {}, seconds, [{"torch": "2"} for _ in seeds])


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


def test_a_point_of_an_earlier_report_raises_for_what_the_report_does_not_cover():
    point = grid_point(LATTICE, {"a": VALUES}, frozenset({"a", "not measured"}))
    assert point.metric("a") is VALUES and point.metric("not measured") is None
    with pytest.raises(ValueError, match="metric b"):
        point.metric("b")
    with pytest.raises(ValueError, match="array embedding"):
        point.array("embedding")


def test_a_damaged_or_foreign_report_raises_one_line(report):
    def error(study=STUDY, identities=IDENTITIES) -> str:
        with pytest.raises(ValueError) as caught:
            read(report, study, identities)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    other = {**IDENTITIES, LATTICE: {"model": "other settings"}}
    assert "lattice, authors" in error(identities=other)
    assert "'val/new'" in error(
        replace(STUDY, tables=[*STUDY.tables, Table("new", "val/new", RULE, None)])
    )
    table, manifest_file = report / "seeds.csv", report / "study.json"
    whole, origin = table.read_text(), manifest_file.read_text()
    table.write_text(whole[:-5])  # within the last number
    assert "truncated" in error()
    table.write_text("".join(whole.splitlines(keepends=True)[:-1]))
    assert f"{len(whole.splitlines()) - 2} networks" in error()
    table.write_text(whole.replace("lattice", "latice"))
    assert "latice, authors" in error()
    table.write_text(whole)
    manifest_file.write_text(origin.replace('"seeds_csv": 2', '"seeds_csv": 3'))
    assert "newer version" in error()
    manifest_file.write_text(origin)
    rewritten(report, lambda lines: lines.append(lines[1]))
    assert "line 10" in error()
    rewritten(report, lambda lines: lines[2].pop())
    assert "line 3" in error()
    table.write_bytes(b"task\xff")
    assert "unreadable" in error()
    table.unlink()
    assert "unreadable" in error()
    for content in ('{"points": {"paper/figure_8": {}}}', "{"):
        manifest_file.write_text(content)
        assert str(manifest_file) in error()


def test_text_among_numbers_raises(report):
    def change(lines) -> None:
        lines[3][lines[0].index(VARIANCE)] = "0.3x"

    with pytest.raises(ValueError, match=r"val/variance is '0\.3x'"):
        read(rewritten(report, change))
