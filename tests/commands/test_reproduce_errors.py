"""`lightning reproduce`: what cannot be is said in a sentence, and nothing that is done is lost."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from glassbox.cli.commands import reproduce as runner

FIGURE: dict[str, Any] = {"name": "own", "function": "figures_of_mine.draw"}
RUNS_FOLDER = Path("runs/reproduce")


def test_a_run_that_fails_is_reported_the_others_are_done_and_the_code_is_1(
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
    assert "holds a report of 8 networks, and without the failed runs there are 0; it stays" in said
    assert said.count("No space left on device") >= 2 and "Traceback" not in said
    assert {path: path.read_bytes() for path in Path("reports/small").iterdir()} == before


def test_a_damaged_record_that_is_copied_there_meanwhile_costs_itself_only(
    reproduce, small_study, monkeypatch
):
    study = small_study()
    reproduce(study)
    (record, *_) = sorted(RUNS_FOLDER.glob("*latticecompletion*/seeds_*.json"))
    copied = record.read_text()
    shutil.rmtree(RUNS_FOLDER)
    train, number = runner._train, []

    def train_one(*arguments):
        number.append(train(*arguments))
        if len(number) == 1 and not record.exists():
            record.parent.mkdir(parents=True, exist_ok=True)
            record.write_text(copied)  # before its arrays

    monkeypatch.setattr(runner, "_train", train_one)
    grid = {"task": {"addition": {"data.task": "ModularAddition", "data.task.modulus": 23},
                     "lattice": {}}}  # fmt: skip
    study.write_text(yaml.safe_dump({**yaml.safe_load(study.read_text()), "grid": grid}))
    said = reproduce(study, "--output", "other", code=1)
    assert "has no arrays beside it" in said and "Traceback" not in said
    # The other run is finished, of two protocols, and kept.
    assert len([*RUNS_FOLDER.glob("*modularaddition*/seeds_*.npz")]) == 2


def test_an_array_that_cannot_be_made_does_not_lose_the_report(reproduce, small_study):
    Path("broken_array.py").write_text(
        "from figures_of_mine import draw as draw_any\n\n"
        "def make():\n    raise ValueError('no null')\n\n"
        "def draw(points, *, title, null):\n    return draw_any(points, title=title)\n"
    )
    study = small_study(
        figures=[{"name": "own", "function": "broken_array.draw"}],
        arrays={"null": {"function": "broken_array.make"}},
    )
    assert "own_authors is not drawn: no null" in reproduce(study)
    assert "## Explained variance" in Path("reports/small/report.md").read_text()


def test_a_figure_that_cannot_be_drawn_does_not_lose_the_report(reproduce, small_study):
    figures = [FIGURE, {**FIGURE, "name": "odd", "options": {"sides": 2}}]
    study = small_study(figures=figures)
    said = reproduce(study, "--only", "{task: addition}")
    report = Path("reports/small_part/report.md").read_text()
    for text in (said, report):
        assert "own_authors is not drawn: one point is no figure" in text
    assert "![own" not in report and "## Explained variance" in report
    said = reproduce(study)
    assert "odd_careful is not drawn: KeyError: 2" in said and "own_" not in said
    assert Path("reports/small/own_careful.png").is_file()


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("return None", "returned None, which is no figure"),
        (r"return Figure().suptitle(r'$\frac{1}$').figure", "frac"),
    ],
)
def test_a_figure_that_cannot_be_saved_does_not_lose_the_report(
    reproduce, small_study, body, sentence
):
    source = f"from matplotlib.figure import Figure\n\ndef draw(points, *, title):\n    {body}\n"
    name = f"broken_{len(body)}"
    Path(f"{name}.py").write_text(source)
    study = small_study(figures=[{"name": "own", "draw": f"{name}.draw"}], quick=None)
    said = reproduce(study, "--only", "{task: addition, protocol: careful}")
    assert "own_careful is not drawn: " in said and sentence in said
    assert "## Explained variance" in Path("reports/small_part/report.md").read_text()


def test_a_report_is_not_overwritten_from_the_wrong_folder_of_runs(reproduce, small_study):
    study = small_study()
    reproduce(study)
    before = Path("reports/small/report.md").read_text()
    said = reproduce(study, "--report_only", "--runs", "typo", code=2)
    assert "nothing of it is finished in typo; name the runs with --runs" in said
    assert not Path("typo").exists()
    shutil.copytree(RUNS_FOLDER, "fewer")
    shutil.rmtree(next(Path("fewer").glob("*addition*")))
    said = reproduce(study, "--report_only", "--runs", "fewer", code=2)
    assert "report of 8 networks, of which fewer has 6" in said
    assert Path("reports/small/report.md").read_text() == before


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "name a study, such as harmonic_loss/figure_7; --list shows them all"),
        (["harmonic_loss/figur_7"], "did you mean harmonic_loss/figure_7?"),
        (["gone.yaml"], "there is no study 'gone.yaml'"),
        (["--list", "nothing"], "there is no study 'nothing'"),
        (["--quick", "nothing", "--jobs", "2"], "there is no study 'nothing'"),
        (["small.yaml", "--seeds", "0"], "seeds is 0; it must be at least 1"),
        (["small.yaml", "--seeds", "3"], "seeds is 3, of which the first are taken; small has 2"),
        (["small.yaml", "--quick", "--seeds", "2"], "are taken; small (quick) has 1"),
        (
            ["small.yaml", "--shard", "1/2", "--report_only"],
            "shard is 1/2, which runs a part; leave",
        ),
        (["small.yaml", "--data_dir", "."], "small.yaml reads no data from a folder; leave out"),
        (["small.yaml", "--jobs", "0"], "jobs is 0"),
        (["small.yaml", "--jobs", "two"], "jobs is 'two'; it must be int"),
        *(
            (["small.yaml", "--shard", shard], f"shard is '{shard}'; it must be i/n with i from 1")
            for shard in ("0/2", "3/2", "1", "1/2/3", "a/b", "/2")
        ),
        (["small.yaml", "--only", "{model: [MLP]}"], "small: only: there is no axis 'model'; axes"),
        (["small.yaml", "--only", "{task: latice}"], "has no value 'latice'; it has lattice, add"),
        (["small.yaml", "--only", "{task: []}"], "only leaves no value of the axis 'task'"),
        (["small.yaml", "--only", "lattice"], "only is 'lattice'; it must be"),
        (["small.yaml", "--seed", "1"], "there is no key 'seed'; did you mean 'seeds'?"),
        (["small.yaml", "figure_7"], "'figure_7' stands alone"),
    ],
)
def test_options_that_cannot_be(reproduce, small_study, arguments, sentence):
    small_study()
    said = reproduce(*arguments, code=2)
    assert said.startswith("error: ") and said.count("\n") == 1
    assert sentence in said
    assert not Path("runs").exists() and not Path("reports").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"data.tsak": "ModularAddition"},
            ["data: AlgorithmicData has no option 'tsak'", "small, at broken"],
        ),
        ({"modle.head": "HarmonicHead"}, ["modle.head", "small, at broken, authors"]),
        ({"data.task": "Latice"}, ["data.task: there is no class 'Latice'", "small, at broken"]),
        ({"model.head.exponnt": 2}, ["exponnt", "did you mean 'exponent'?"]),
        ({"trainer.max_epochs": "many"}, ["trainer.max_epochs is 'many'", "small, at broken"]),
    ],
)
def test_an_axis_that_names_no_config_key_is_refused_before_anything_runs(
    reproduce, small_study, changes, words
):
    grid = {"task": {"lattice": {}, "broken": changes}}
    study = small_study(grid=grid, settings=[], tables=[], claims=[], quick=None)
    said = reproduce(study, code=2)
    assert said.startswith("error: ") and said.count("\n") == 1
    assert all(word in said for word in words), said
    assert not Path("runs").exists() and not Path("reports").exists()


def test_what_a_folder_holds_is_looked_at_before_anything_runs(reproduce, small_study):
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
    assert "holds the report of another version of this study (" in said
    assert report.read_text() == text and len(finished(RUNS_FOLDER)) == networks
    (report.parent / "study.json").write_text("{}")
    assert "study.json is damaged; delete it" in reproduce(study, code=2)


def test_another_study_of_the_same_file_name_does_not_overwrite_a_report(
    reproduce, small_study, tmp_path
):
    study, other = small_study(), tmp_path / "elsewhere" / "small.yaml"
    reproduce(study, "--quick")
    text = Path("reports/small_quick/report.md").read_text()
    other.parent.mkdir()
    other.write_text(study.read_text().replace("A small grid", "Another grid"))
    said = reproduce(other, "--quick", code=2)
    assert "holds the report of another study (title 'A small grid', and here 'Another " in said
    assert Path("reports/small_quick/report.md").read_text() == text
    study.write_text(other.read_text())  # one's own may be given another title
    reproduce(study, "--quick", "--report_only")
    assert "# Another grid" in Path("reports/small_quick/report.md").read_text()


def test_of_many_studies_the_one_whose_data_are_missing_is_left_out(
    reproduce, small_study, tmp_path, monkeypatch
):
    monkeypatch.setattr(runner, "STUDIES", tmp_path)
    (tmp_path / "paper").mkdir()
    small_study("paper/points")
    small_study(
        "paper/digits",
        config=str(runner.STUDIES.parent / "mnist_harmonic.yaml"),
        grid={"rate": {"low": {"model.learning_rate": 1e-4}, "high": {}}},
        settings=None, quick=None, tables=[], claims=[], protocols=None,
    )  # fmt: skip
    sentence = "there is no folder gone; name the data's with --data_dir"
    said = reproduce("paper", "--data_dir", "gone", code=1)
    assert f"left out: paper/digits: {sentence}" in said
    assert Path("reports/paper/points/report.md").is_file()
    assert "digits" not in Path("reports/paper/points/report.md").read_text()
    assert sentence in reproduce("paper/digits", "--data_dir", "gone", code=2)
