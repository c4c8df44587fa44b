"""The studies that come with Glassbox: each gives a whole report of its quick version."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import yaml

from glassbox.cli.main import main
from tests.helpers.idx_digits import write_digits
from tests.helpers.paths import ROOT

FOLDER = ROOT / "configs" / "reproduce"
STUDIES = sorted(str(path.relative_to(FOLDER).with_suffix("")) for path in FOLDER.rglob("*.yaml"))


@pytest.fixture(scope="session")
def shared_runs(tmp_path_factory) -> Path:
    """One folder of finished runs, as studies share them."""
    return tmp_path_factory.mktemp("shipped") / "runs"


def parts(name: str) -> list[dict]:
    """The files of a study, or of those that it names."""
    content = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    if "studies" not in content:
        return [content]
    return [part for n in content["studies"] for part in parts(str(Path(name).parent / n))]


def protocols(name: str, part: dict) -> list[str]:
    """Those of a study, which may have the runs of another."""
    while "runs_of" in part:
        (part,) = parts(str(Path(name).parent / part["runs_of"]))
    return [*part.get("protocols", ("authors", "careful"))]


def quick_keeps(name: str, part: dict) -> dict[str, list[str]]:
    """Axis -> the values that its quick version has, where it leaves some out."""
    while "runs_of" in part:
        (part,) = parts(str(Path(name).parent / part["runs_of"]))
    return part.get("quick", {}).get("keep", {})


def entry_is_kept(entry: dict, keeps: dict[str, list[str]]) -> bool:
    """Whether a quick version has points of a table or of a claim's first side."""
    of = {**entry.get("where", {}), **entry.get("greater", entry.get("less", {}))}
    sides = {axis: value if isinstance(value, list) else [value] for axis, value in of.items()}
    return all(set(sides[axis]) & set(keeps[axis]) for axis in set(sides) & set(keeps))


def check_quick_report(name: str, runs: Path, reports: Path, *options: str) -> str:
    """Run a study's quick version, and look at all that it leaves."""
    main(["reproduce", name, "--quick", "--runs", str(runs), "--output", str(reports), *options])
    folder = reports / f"{name}_quick"
    report = (folder / "report.md").read_text()
    assert "**Quick version: " in report.split("\n## ")[0]
    # Nothing is left out: no run, no figure, no metric, no table, no claim.
    assert "Not complete" not in report and "No run has the metric" not in report
    figures = {path.stem for path in folder.glob("*.png")}
    assert figures == {path.stem for path in folder.glob("*.pdf")}
    for part in parts(name):
        of_part = protocols(name, part)
        for figure in part.get("figures", []):
            for protocol in of_part:
                file = f"{figure['name']}_{protocol}" if len(of_part) > 1 else figure["name"]
                drawn = [stem for stem in figures if stem.endswith(file)]
                assert len(drawn) == 1 and f"{drawn[0]}.png" in report
                assert (folder / f"{drawn[0]}.png").stat().st_size > 5000
        for table in part.get("tables", []):
            assert f"## {table['name']}".lower() in report.lower()
        for claim in part.get("claims", []):
            assert claim["statement"].rstrip(".") in report
    measured: set[str] = set()
    for path in folder.glob("*seeds.csv"):
        with open(path) as file:
            rows = list(csv.DictReader(file))
        assert {row["protocol"] for row in rows} == {
            protocol for part in parts(name) for protocol in protocols(name, part)
        }
        measured |= set(rows[0])
    wanted = [
        entry
        for part in parts(name)
        for entry in part.get("tables", []) + part.get("claims", [])
        if entry_is_kept(entry, quick_keeps(name, part))
    ]
    assert wanted or any(part.get("figures") for part in parts(name))
    assert {entry["metric"] for entry in wanted} <= measured
    points = json.loads((folder / "study.json").read_text())["points"]
    assert len(points) == len(parts(name))
    return report


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
def test_every_study_gives_a_whole_report_of_its_quick_version(
    name, shared_runs, tmp_path, in_root, text_folder
):
    folder = None
    if name.startswith("safr/"):
        folder = text_folder / ("imdb" if "imdb" in name else "sst")
    elif name in ("harmonic_loss/figure_5", "heads/mnist"):
        folder = write_digits(tmp_path / "digits", train=60)
    options = [] if folder is None else ["--data_dir", str(folder)]
    check_quick_report(name, shared_runs, tmp_path, *options)


def test_a_study_gives_a_whole_report_of_its_quick_version(tmp_path, in_root):
    """The one that costs least."""
    report = check_quick_report("harmonic_loss/exponents", tmp_path / "runs", tmp_path)
    assert "lightning reproduce harmonic_loss/exponents --quick" in report
