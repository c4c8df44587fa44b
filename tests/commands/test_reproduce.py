"""`lightning reproduce`: runs what is missing and writes a report."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

# Of the small study: two tasks under two protocols, two seeds each; tasks are runs of their own.
POINTS, NETWORKS, RUNS = 4, 8, 2
FIGURE: dict[str, Any] = {"name": "own", "function": "figures_of_mine.draw"}


def written(runs: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in runs.glob("*/seeds_*")}


RUNS_FOLDER = Path("runs/reproduce")


def test_a_study_runs_once_and_leaves_a_report_with_figure_and_numbers(
    finished, reproduce, small_study
):
    study = small_study(figures=[FIGURE])
    said = reproduce(study)
    assert "0 of 8 networks are finished; runs to go: 2" in said
    assert "run 2 of 2 done" in said and "about 0 s left" in said
    folder = Path("reports/small")
    assert f"report: {folder}/report.md (8 networks" in said
    names = {path.name for path in folder.iterdir()}
    figures = {f"own_{protocol}.{kind}" for protocol in ("authors", "careful") for kind in
               ("png", "pdf")}  # fmt: skip
    assert names == {"report.md", "summary.csv", "seeds.csv", "claims.csv", "study.json"} | figures
    report = (folder / "report.md").read_text()
    assert "# A small grid" in report and f"\nlightning reproduce {study}\n" in report
    assert "Not complete" not in report and "Quick version" not in report
    assert all(f"![own {protocol}]" in report for protocol in ("authors", "careful"))
    assert len(finished(RUNS_FOLDER)) == NETWORKS
    assert not [*RUNS_FOLDER.glob("logs/*.log")]  # kept of runs that fail
    with open(folder / "seeds.csv") as file:
        seeds = list(csv.DictReader(file))
    assert {row["seed"] for row in seeds} == {"0", "1"} and len(seeds) == NETWORKS

    before = written(RUNS_FOLDER)
    text = (folder / "report.md").read_text()
    said = reproduce(study)
    assert "8 of 8 networks are finished; runs to go: 0" in said
    assert written(RUNS_FOLDER) == before
    assert (folder / "report.md").read_text() == text

    (folder / "report.md").unlink()
    assert "runs to go" not in reproduce(study, "--report_only")
    assert (folder / "report.md").read_text().replace(" --report_only", "") == text


def test_more_seeds_train_only_those_and_a_part_of_the_grid_only_that(
    finished, reproduce, small_study
):
    study = small_study()
    said = reproduce(study, "--seeds", "1", "--only", "{task: addition}")
    assert "0 of 2 networks are finished; runs to go: 1" in said
    first = written(RUNS_FOLDER)
    assert {name for _, name in finished(RUNS_FOLDER)} == {0}
    said = reproduce(study, "--only", "{task: [addition], protocol: careful}")
    assert "1 of 2 networks are finished" in said
    said = reproduce(study)
    assert "3 of 8 networks are finished" in said
    after = written(RUNS_FOLDER)
    assert {name: after[name] for name in first} == first
    assert len(finished(RUNS_FOLDER)) == NETWORKS


def test_the_quick_version_has_its_own_report_with_a_warning(finished, reproduce, small_study):
    study = small_study()
    said = reproduce(study, "--quick")
    assert "0 of 2 networks are finished; runs to go: 1" in said
    report = Path("reports/small_quick/report.md").read_text()
    assert f"\nlightning reproduce {study} --quick\n" in report
    assert "**Quick version: 1 seed, 2 epochs." in report
    assert "lattice" not in report.split("## How to read")[0].split("verdict |")[1]
    # What it trained are other runs than those of the whole study.
    assert "0 of 8 networks are finished" in reproduce(study)
    assert len(finished(RUNS_FOLDER)) == 2 + NETWORKS
    # Of a part that it would leave out there is a quick version too.
    assert "0 of 1 networks" in reproduce(
        study, "--quick", "--only", "{task: lattice, protocol: careful}"
    )


def test_a_list_has_progress_and_cost(reproduce, small_study):
    study = small_study(minutes=40)
    reproduce(study, "--only", "{task: addition}")
    (line,) = (line for line in reproduce(study, "--list").splitlines() if "A small grid" in line)
    assert line.split()[:6] == ["small", "4", "of", "8", "40", "20"]


def test_shards_are_merged_by_copying_and_equal_the_whole(finished, reproduce, small_study):
    study = small_study()
    reproduce(study, "--runs", "whole")
    for shard in ("1/2", "2/2"):
        said = reproduce(study, "--shard", shard, "--runs", f"runs_{shard[0]}", "--output", "parts")
        assert "0 of 4 networks are finished; runs to go: 1" in said
        assert f"parts are done: lightning reproduce {study}" in said
        assert not Path("parts/small").exists()  # a report of a part would be taken for the whole
    shutil.copytree("runs_2", "runs_1", dirs_exist_ok=True)
    assert finished(Path("runs_1")) == finished(Path("whole"))
    said = reproduce(study, "--runs", "runs_1", "--output", "parts")
    assert "8 of 8 networks are finished" in said
    assert "Not complete" not in Path("parts/small/report.md").read_text()
    # More shards than runs: the last ones have nothing to do.
    assert "networks" not in reproduce(study, "--shard", "3/3").split("report:")[0]


def test_a_point_trained_beside_others_is_as_trained_alone(finished, reproduce, small_study):
    """Members of one run that differ in fraction, sampling and exponent."""
    study = small_study(
        seeds=[1, 3],
        grid={
            "fraction": {0.3: {"data.train_fraction": 0.3}, 0.8: {}},
            "exponent": {1: {"model.head.exponent": 1}, 2: {}},
        },
        settings=[{"when": {}, "set": {"trainer.max_epochs": 5, "data.num_samples": 80}}],
        tables=[],
        claims=[],
        quick=None,
    )
    assert "runs to go: 1" in reproduce(study, "--runs", "together")
    together = finished(Path("together"))
    assert len(together) == 16
    for fraction, exponent, protocol in ((0.3, 1, "authors"), (0.8, 2, "careful")):
        only = f"{{fraction: {fraction}, exponent: {exponent}, protocol: {protocol}}}"
        reproduce(study, "--only", only, "--runs", "alone", "--output", "alone")
    alone = finished(Path("alone"))
    assert len(alone) == 4 and alone.keys() < together.keys()
    for name in alone:
        for metric, value in alone[name][0].items():
            assert together[name][0][metric] == pytest.approx(value, abs=1e-5), (name, metric)
        one, two = (np.frombuffer(of[name][1]["embedding"], np.float32) for of in (alone, together))
        assert np.allclose(one, two, atol=1e-5) and one.std() > 0


def test_two_studies_in_a_collection_share_runs_and_one_report(reproduce, small_study, tmp_path):
    small_study("a", title="First")
    small_study("b", title="Second", seeds=3)
    (tmp_path / "both.yaml").write_text("title: Both together\nstudies: [a, b]\n")
    assert "0 of 12 networks are finished; runs to go: 2" in reproduce("both.yaml")
    report = Path("reports/both/report.md").read_text()
    assert "# Both together" in report and "# First" in report and "# Second" in report
    assert "Not complete" not in report


def test_a_report_lists_networks_of_different_versions(reproduce, small_study):
    study = small_study()
    assert "different versions" not in reproduce(study)
    record = next(RUNS_FOLDER.glob("*/seeds_*.json"))
    content = json.loads(record.read_text())
    now, content["versions"]["torch"] = content["versions"]["torch"], "1.0"
    record.write_text(json.dumps(content))
    line = f"versions, which may change last digits: 6 networks with torch {now}, 2 networks with "
    assert f"{line}torch 1.0." in reproduce(study, "--report_only")
    report = Path("reports/small/report.md").read_text()
    assert f"To note:\n\n- Trained with different {line}torch 1.0.\n" in report


def test_one_seed_models_have_a_run_for_each_seed(
    finished, reproduce, small_study, token_folder, tmp_path
):
    """Of a language model, whose seeds are runs that would not fit into one."""
    tokens = token_folder()
    config = tmp_path / "tiny.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "model": {
                    "class_path": "LanguageModel",
                    "init_args": {
                        "network": {
                            "class_path": "GPT2",
                            "init_args": {"num_layers": 1, "num_heads": 1, "width": 8},
                        },
                        "warmup_steps": 1,
                        "decay_steps": 3,
                    },
                },
                "data": {
                    "class_path": "OpenWebText",
                    "init_args": {
                        "data_dir": str(tokens), "tokenizer": "bytes", "block_size": 16,
                        "global_batch_size": 2, "micro_batch_size": 2,
                    },
                },
                "trainer": {"max_steps": 2, "val_check_interval": 2, "accelerator": "cpu"},
            }
        )
    )  # fmt: skip
    study = small_study(
        config=str(config),
        grid={"rate": {"high": {"model.learning_rate": 1e-2}, "low": {}}},
        settings=None, protocols=None, quick=None, tables=[], claims=[],
    )  # fmt: skip
    said = reproduce(study)
    assert "0 of 4 networks are finished; runs to go: 4" in said
    networks = finished(RUNS_FOLDER)
    assert len(networks) == 4 and {seed for _, seed in networks} == {0, 1}
    losses = [metrics["val/loss"] for metrics, _ in networks.values()]
    assert len(set(losses)) == 4 and all(losses)


@pytest.mark.slow
def test_two_jobs_give_what_one_gives(finished, reproduce, small_study):
    study = small_study()
    reproduce(study, "--runs", "one")
    reproduce(study, "--runs", "two", "--jobs", "2")
    assert finished(Path("one")) == finished(Path("two"))
    assert os.environ["OMP_NUM_THREADS"] == "1"  # of both


def test_numbers_of_an_earlier_report_replace_deleted_runs(finished, reproduce, small_study):
    Path("from_arrays.py").write_text(
        "from figures_of_mine import draw as draw_any\n\n"
        "def draw(points, *, title):\n"
        "    if not all(point.arrays for point in points):\n"
        "        raise ValueError('no arrays')\n"
        "    return draw_any(points, title=title)\n"
    )
    study = small_study(figures=[FIGURE, {"name": "held", "function": "from_arrays.draw"}])
    reproduce(study, "--only", "{protocol: authors}")
    reproduce(study, "--report_only", "--output", "docs")
    earlier = Path("docs/small")
    drawn = {path.name: path.read_bytes() for path in earlier.glob("*.p*")}
    numbers = {path.name: path.read_bytes() for path in earlier.glob("*.csv")}
    shutil.rmtree(RUNS_FOLDER)

    assert "--runs" in reproduce(study, "--report_only", code=2)
    said = reproduce(study, "--report_only", "--reported", "docs")
    assert "4 networks, 0.0 minutes of training" in said
    assert {p.name: p.read_bytes() for p in Path("reports/small").glob("*.csv")} == numbers
    assert {p.name: p.read_bytes() for p in Path("reports/small").glob("*.p*")} == drawn
    report = Path("reports/small/report.md").read_text()
    assert "held_authors is the earlier report's" in report
    assert all(f"({name}_authors.png)" in report for name in ("own", "held"))
    assert "4 of 4 networks come from an earlier report" in report
    assert f"\nlightning reproduce {study} --reported docs\n" in report

    # What is not in that report is run, and nothing else; both together are the whole.
    said = reproduce(study, "--reported", "docs")
    assert "reusing 4 networks from docs\n" in said
    assert "0 of 4 networks are finished" in said
    assert len(finished(RUNS_FOLDER)) == 4
    whole = Path("reports/small/seeds.csv").read_text().splitlines()
    assert len(whole) == 1 + NETWORKS
    assert set(numbers["seeds.csv"].decode().splitlines()) < set(whole)
    report = Path("reports/small/report.md").read_text()
    assert all(f"({name}_careful.png)" in report for name in ("own", "held"))


def test_a_part_of_a_reported_study_has_its_own_figures_or_none(reproduce, small_study):
    study = small_study(figures=[{"name": "held", "function": "figures_of_mine.draw"}])
    reproduce(study, "--output", "docs")
    shutil.rmtree(RUNS_FOLDER)
    only = ["--only", "{task: addition, protocol: careful}", "--seeds", "1"]
    said = reproduce(study, "--reported", "docs", *only)  # one point is too few for that figure
    assert "reusing 1 networks" in said and "networks are finished" not in said
    report = Path("reports/small_part/report.md").read_text()
    assert "held_careful is not drawn: one point" in report and ".png" not in report
    # A shard trains its share of what is left.
    study.write_text(study.read_text().replace("seeds: 2", "seeds: 3"))
    said = reproduce(study, "--reported", "docs", "--shard", "1/2")
    assert "reusing 8 networks" in said and "0 of 2 networks are finished" in said
    assert f"lightning reproduce {study} --reported docs" in said


def test_a_missing_report_is_named_before_anything_runs(reproduce, small_study):
    study = small_study()
    assert "nowhere" in reproduce(study, "--reported", "nowhere", code=2)
    assert "quick" in reproduce(study, "--quick", "--reported", "docs", code=2)
    assert not RUNS_FOLDER.exists()
