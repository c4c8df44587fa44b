"""A report is overwritten by its own study only."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from glassbox.reproduction.report_manifest import (
    IncompleteReportError,
    check_report_is_replaceable,
    check_report_is_richer,
    manifest,
    report_origin,
)
from glassbox.reproduction.schema import Rule, Table
from glassbox.reproduction.study import Study

TABLES = [Table(name, "m", Rule("absolute", 1, 2), None) for name in ("accuracy", "epochs")]
STUDY = Study(
    name="sweep",
    title="A sweep",
    source="A paper, Figure 1",
    config=Path("lattice.yaml"),
    seeds=[0],
    axes={"task": {"lattice": {}}},
    protocols={"authors": {}, "careful": {}},
    tables=TABLES,
)
OTHERS = {
    "title": replace(STUDY, title="Another sweep"),
    "source": replace(STUDY, source="A paper, Figure 2"),
    "tables": replace(STUDY, tables=TABLES[:1]),
}


def points(**settings):
    """One point of the study by its labels."""
    return {"sweep": {'["lattice", "authors"]': {"model": {}, **settings}}}


@pytest.fixture
def place(tmp_path) -> Path:
    folder = tmp_path / "reports" / "sweep"
    folder.mkdir(parents=True)
    return folder


def write_manifest(place, origin, identities, networks):
    content = manifest(origin, identities, networks)
    (place / "study.json").write_text(json.dumps(content))


def origin(place, study=STUDY, path="mine/sweep.yaml", **options):
    return report_origin(place, place.parents[1] / path, "sweep", [study], **options)


def refused(place, of, identities) -> str:
    with pytest.raises(ValueError) as caught:
        check_report_is_replaceable(place, of, identities)
    message = str(caught.value)
    assert message.startswith(f"{place} ") and "\n" not in message
    assert "--output" in message
    return message


def test_the_same_study_replaces_its_report(place):
    check_report_is_replaceable(place, origin(place), points())
    write_manifest(place, origin(place), points(), networks=1)
    check_report_is_replaceable(place, origin(place), points())


@pytest.mark.parametrize(
    ("what", "values"),
    [
        ("title", ["'A sweep'", "'Another sweep'"]),
        ("source", ["'A paper, Figure 1'", "'A paper, Figure 2'"]),
        ("tables", ["'accuracy, epochs'", "'accuracy'"]),
    ],
)
def test_another_file_that_shows_something_else_is_another_study(place, what, values):
    write_manifest(place, origin(place), points(), networks=1)
    other = origin(place, OTHERS[what], "yours/sweep.yaml")
    message = refused(place, other, points())
    assert "another study" in message and all(value in message for value in values)


@pytest.mark.parametrize("what", OTHERS)
def test_a_users_own_study_may_change_title_and_tables(place, what):
    write_manifest(place, origin(place), points(), networks=1)
    check_report_is_replaceable(place, origin(place, OTHERS[what]), points())
    # But not new words and only new points, which is what it takes to be another study.
    other = points(steps=7)
    assert "another study" in refused(place, origin(place, OTHERS[what]), other)


def test_a_project_that_is_moved_keeps_its_studies(place, tmp_path):
    write_manifest(place, origin(place), points(), networks=1)
    (tmp_path / "moved").mkdir()
    moved = (tmp_path / "reports").rename(tmp_path / "moved" / "reports") / "sweep"
    check_report_is_replaceable(moved, origin(moved, OTHERS["title"]), points())
    assert str(tmp_path) not in (moved / "study.json").read_text()


def test_points_of_the_same_labels_run_with_other_settings_are_another_version(place):
    write_manifest(place, origin(place), points(), networks=1)
    message = refused(place, origin(place), points(steps=7))
    assert "another version" in message and "lattice, authors" in message


def test_a_report_of_an_older_version_has_points_only(place):
    write_manifest(place, origin(place), points(), networks=1)
    stored = json.loads((place / "study.json").read_text())
    (place / "study.json").write_text(json.dumps({"points": stored["points"], "versions": {}}))
    check_report_is_replaceable(place, origin(place, OTHERS["title"], "yours/sweep.yaml"), points())
    assert "another version" in refused(place, origin(place), points(steps=7))


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"points": {}, "networks": null}', '{"points": 3}', '{"points": {"a": 1}}'],
)
def test_a_damaged_file_is_named(place, content):
    (place / "study.json").write_text(content)
    with pytest.raises(ValueError, match=r"study\.json"):
        check_report_is_replaceable(place, origin(place), points())


def test_a_report_is_not_replaced_by_one_of_fewer_networks(tmp_path):
    place, runs = tmp_path / "reports", tmp_path / "typo"
    with pytest.raises(IncompleteReportError, match="--runs"):
        check_report_is_richer(place, 0, runs, failed=False)
    check_report_is_richer(place, 1, runs, failed=False)
    place.mkdir()
    write_manifest(place, origin(place), points(), networks=8)
    with pytest.raises(IncompleteReportError, match=r"8 networks.* 7"):
        check_report_is_richer(place, 7, runs, failed=True)
    check_report_is_richer(tmp_path, 0, runs, failed=True)  # a first report, of what failed
    with pytest.raises(IncompleteReportError, match=r"8 networks.*typo has 7.*--runs"):
        check_report_is_richer(place, 7, runs, failed=False)
    check_report_is_richer(place, 8, runs, failed=False)
