"""`lightning reproduce`: errors are one line, and nothing that is finished is lost."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from glassbox.cli.commands import reproduce as runner

FIGURE: dict[str, Any] = {"name": "own", "function": "figures_of_mine.draw"}
RUNS_FOLDER = Path("runs/reproduce")


def test_a_failed_run_is_reported_with_exit_code_1_and_the_others_are_done(
    finished, reproduce, small_study
):
    grid = {
        "task": {
            "broken": {"data.batch_size": -3},
            "lattice": {},
        }
    }
    study = small_study(grid=grid, tables=[], claims=[], quick=None)
    said = reproduce(study, code=1)
    assert "failed: " in said and "batch_size" in said and "Traceback" not in said
    assert "broken, authors: " in said and "broken, careful: " in said  # which points they are
    assert len(finished(RUNS_FOLDER)) == 4
    report = Path("reports/small/report.md").read_text()
    assert "Not complete" in report and "batch_size" in report
    assert "4 of 8 networks are not run" in report
    (log,) = RUNS_FOLDER.glob("logs/*.log")
    assert str(log) in said and "Traceback" in log.read_text()


def test_runs_that_fail_do_not_cost_a_fuller_report(reproduce, small_study, monkeypatch):
    study = small_study()
    reproduce(study)
    before = {path: path.read_bytes() for path in Path("reports/small").iterdir()}
    shutil.rmtree(RUNS_FOLDER)

    def full(*arguments):
        raise OSError(28, "No space left on device", "disk")

    monkeypatch.setattr(runner, "_train", full)
    said = reproduce(study, code=1)
    assert "8 networks" in said and "No space left on device" in said and "Traceback" not in said
    assert {path: path.read_bytes() for path in Path("reports/small").iterdir()} == before


def test_a_damaged_record_that_appears_during_a_run_costs_only_itself(
    reproduce, small_study, monkeypatch
):
    study = small_study()
    reproduce(study)
    (record, *_) = sorted(RUNS_FOLDER.glob("*latticecompletion*/seeds_*.json"))
    copied = record.read_text()
    shutil.rmtree(RUNS_FOLDER)
    train = runner._train

    def train_one(*arguments):
        trained = train(*arguments)
        if not record.exists():
            record.parent.mkdir(parents=True, exist_ok=True)
            record.write_text(copied)  # before its arrays
        return trained

    monkeypatch.setattr(runner, "_train", train_one)
    grid = {"task": {"addition": {"data.task": "ModularAddition", "data.task.modulus": 23},
                     "lattice": {}}}  # fmt: skip
    study.write_text(yaml.safe_dump({**yaml.safe_load(study.read_text()), "grid": grid}))
    said = reproduce(study, "--output", "other", code=1)
    assert "lacks its arrays" in said and "Traceback" not in said
    # The other run is finished, of two protocols, and kept.
    assert len([*RUNS_FOLDER.glob("*modularaddition*/seeds_*.npz")]) == 2


@pytest.mark.parametrize(
    ("make", "draw", "reason"),
    [
        ("pass", "return None", "returned None"),
        ("pass", r"return Figure().suptitle(r'$\frac{1}$').figure", "frac"),
        ("pass", "raise KeyError(2)", "KeyError: 2"),
        ("raise ValueError('no null')", "return Figure()", "no null"),
    ],
)
def test_a_failing_figure_or_array_does_not_lose_the_report(
    reproduce, small_study, make, draw, reason
):
    module = f"broken_{abs(hash((make, draw)))}"
    Path(f"{module}.py").write_text(
        "from matplotlib.figure import Figure\n\n"
        f"def make():\n    {make}\n\ndef draw(points, *, title, null):\n    {draw}\n"
    )
    study = small_study(
        figures=[{"name": "own", "function": f"{module}.draw"}],
        arrays={"null": {"function": f"{module}.make"}},
        quick=None,
    )
    said = reproduce(study, "--only", "{task: addition, protocol: careful}")
    report = Path("reports/small_part/report.md").read_text()
    for text in (said, report):
        assert "own_careful is not drawn: " in text and reason in text
    assert "![own" not in report and "## Explained variance" in report


def test_a_report_is_not_overwritten_from_the_wrong_folder_of_runs(reproduce, small_study):
    study = small_study()
    reproduce(study)
    before = Path("reports/small/report.md").read_text()
    said = reproduce(study, "--report_only", "--runs", "typo", code=2)
    assert "--runs" in said
    assert not Path("typo").exists()
    shutil.copytree(RUNS_FOLDER, "fewer")
    shutil.rmtree(next(Path("fewer").glob("*addition*")))
    said = reproduce(study, "--report_only", "--runs", "fewer", code=2)
    assert "8 networks" in said and "fewer has 6" in said
    assert Path("reports/small/report.md").read_text() == before


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        ([], "--list"),
        (["harmonic_loss/figur_7"], "harmonic_loss/figure_7?"),
        (["gone.yaml"], "'gone.yaml'"),
        (["--list", "nothing"], "'nothing'"),
        (["--quick", "nothing", "--jobs", "2"], "'nothing'"),
        *((["small.yaml", "--seeds", seeds], "seeds") for seeds in ("0", "3")),
        (["small.yaml", "--quick", "--seeds", "2"], "seeds"),
        (["small.yaml", "--shard", "1/2", "--report_only"], "shard"),
        (["small.yaml", "--data_dir", "."], "data_dir"),
        *((["small.yaml", "--jobs", jobs], "jobs") for jobs in ("0", "two")),
        *(
            (["small.yaml", "--shard", shard], "shard")
            for shard in ("0/2", "3/2", "1", "1/2/3", "a/b", "/2")
        ),
        *(
            (["small.yaml", "--only", only], "only")
            for only in ("{model: [MLP]}", "{task: latice}", "{task: []}", "lattice")
        ),
        (["small.yaml", "--seed", "1"], "'seeds'"),
        (["small.yaml", "figure_7"], "'figure_7'"),
    ],
)
def test_an_invalid_option_is_named_in_one_line(reproduce, small_study, arguments, option):
    small_study()
    said = reproduce(*arguments, code=2)
    assert said.startswith("error: ") and said.count("\n") == 1
    assert option in said
    assert not Path("runs").exists() and not Path("reports").exists()


@pytest.mark.parametrize(
    ("changes", "option"),
    [
        ({"data.tsak": "ModularAddition"}, "'tsak'"),
        ({"modle.head": "HarmonicHead"}, "modle.head"),
        ({"data.task": "Latice"}, "'Latice'"),
        ({"model.head.exponnt": 2}, "'exponent'"),
        ({"trainer.max_epochs": "many"}, "trainer.max_epochs"),
    ],
)
def test_an_invalid_config_key_of_an_axis_is_named_before_anything_runs(
    reproduce, small_study, changes, option
):
    grid = {"task": {"lattice": {}, "broken": changes}}
    study = small_study(grid=grid, settings=[], tables=[], claims=[], quick=None)
    said = reproduce(study, code=2)
    assert said.startswith("error: ") and said.count("\n") == 1
    assert "small, at broken" in said and option in said
    assert not Path("runs").exists() and not Path("reports").exists()


def test_damaged_records_are_named_before_anything_runs(reproduce, small_study):
    study = small_study()
    reproduce(study, "--only", "{task: addition}")
    before = {*RUNS_FOLDER.glob("*/seeds_*")}
    record = next(RUNS_FOLDER.glob("*/seeds_*.json"))
    for path in (record, record.with_suffix(".npz")):
        whole = path.read_bytes()
        path.write_bytes(whole[:-20])
        assert f"{path} is damaged" in reproduce(study, code=2)
        path.write_bytes(whole)
    assert {*RUNS_FOLDER.glob("*/seeds_*")} == before


def test_a_report_of_another_version_of_the_study_is_not_overwritten(
    finished, reproduce, small_study
):
    study = small_study()
    reproduce(study)
    report, networks = Path("reports/small/report.md"), len(finished(RUNS_FOLDER))
    text = report.read_text()
    content = yaml.safe_load(study.read_text())
    content["settings"][0]["set"]["trainer.max_epochs"] = 5
    study.write_text(yaml.safe_dump(content))
    said = reproduce(study, code=2)
    assert "another version" in said
    assert report.read_text() == text and len(finished(RUNS_FOLDER)) == networks
    (report.parent / "study.json").write_text("{}")
    assert "study.json" in reproduce(study, code=2)


def test_of_many_studies_the_one_whose_data_are_missing_is_left_out(
    finished, reproduce, small_study, tmp_path, monkeypatch
):
    configs = runner.STUDIES.parent
    monkeypatch.setattr(runner, "STUDIES", tmp_path)
    (tmp_path / "paper").mkdir()
    small_study("paper/points")
    small_study(
        "paper/digits",
        config=str(configs / "mnist" / "mnist_harmonic.yaml"),
        grid={"rate": {"low": {"model.learning_rate": 1e-4}, "high": {}}},
        settings=None, quick=None, tables=[], claims=[], protocols=None,
    )  # fmt: skip
    said = reproduce("paper", "--data_dir", "gone", code=1)
    assert "left out: paper/digits: folder gone does not exist" in said
    assert Path("reports/paper/points/report.md").is_file()
    assert "digits" not in Path("reports/paper/points/report.md").read_text()
    assert "--data_dir" in reproduce("paper/digits", "--data_dir", "gone", code=2)
    # Machines with and without the data cut the same shards.
    shutil.rmtree(RUNS_FOLDER)
    for shard in ("1/2", "2/2"):
        reproduce("paper", "--data_dir", "gone", "--shard", shard, code=1)
    assert len(finished(RUNS_FOLDER)) == 8


def test_a_failed_group_keeps_its_log_when_other_points_succeed(reproduce, small_study):
    """Points of one run, of which one cannot be trained."""
    grid = {"fraction": {"bad": {"data.train_fraction": 7.0}, "good": {}}}
    study = small_study(grid=grid, tables=[], claims=[], quick=None, protocols={"careful": {}})
    said = reproduce(study, code=1)
    assert "1 of 2 points: bad, careful: " in said
    (log,) = RUNS_FOLDER.glob("logs/*.log")
    assert str(log) in said and "Traceback" in log.read_text()


def test_a_list_names_a_damaged_record_and_lists_the_other_studies(
    reproduce, small_study, tmp_path, monkeypatch
):
    monkeypatch.setattr(runner, "STUDIES", tmp_path)
    study = small_study("damaged")
    small_study("whole", seeds=3, title="Another grid")
    reproduce(study, "--only", "{task: addition, protocol: careful}")
    (record,) = RUNS_FOLDER.glob("*/seeds_*.json")
    record.write_text(record.read_text()[:-20])
    lines = reproduce("--list").splitlines()
    assert sum("is damaged" in line for line in lines) == 2  # both studies use the record
    record.unlink()
    assert [line.split()[:4] for line in reproduce("--list").splitlines()[1:3]] == [
        ["damaged", "0", "of", "8"],
        ["whole", "0", "of", "12"],
    ]
