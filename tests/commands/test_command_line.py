"""The command line as a user meets it: what a run leaves behind, resume, and the user's folder."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import lightning as L
import pytest
import torch

from glassbox.cli.main import main
from glassbox.cli.warning_filters import silence_harmless_warnings
from lightning_modules import Classifier
from tests.helpers.paths import ROOT

PROBE = ("--trainer.callbacks", "[{class_path: WeightNorms}]")  # figures take seconds
TINY = ("--trainer.max_epochs", "2", "--model.num_seeds", "2", "--data.num_samples", "80")
QUICK = ("fit", "--config", "configs/quickstart.yaml", *TINY)


def results(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


def stored(folder: Path) -> dict:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory) -> Path:
    """The folder of a run of the quickstart, of three named seeds, with every probe."""
    root = tmp_path_factory.mktemp("quickstart")
    with contextlib.chdir(ROOT):
        main([*QUICK, "--model.seeds", "[3, 52, 7]", "--trainer.default_root_dir", str(root)])
    (folder,) = root.glob("*/*")
    return folder


def test_fit_leaves_config_metrics_events_results_checkpoint_and_figures(quickstart):
    assert quickstart.parent.name == "quickstart" and quickstart.name == "version_0"
    names = {path.relative_to(quickstart).as_posix() for path in quickstart.rglob("*")}
    assert {"config.yaml", "metrics.csv", "results.json", "checkpoints/last.ckpt"} <= names
    assert {f"figures/{f}.png" for f in ("embedding", "accuracy", "explained_variance")} <= names
    assert any("tfevents" in name for name in names)
    header = (quickstart / "metrics.csv").read_text().splitlines()[0]
    assert {"test/accuracy", "val/embedding/explained_variance_2"} <= set(header.split(","))


def test_results_hold_one_value_per_seed_and_null_for_never(quickstart):
    content = results(quickstart)
    assert set(content) >= {
        "name", "config", "seeds", "metrics", "versions", "wall_time_seconds", "steps_per_second",
    }  # fmt: skip
    assert content["name"] == "quickstart" and content["seeds"] == [3, 52, 7]
    for name in ("test/accuracy", "val/embedding/explained_variance_2", "train/loss"):
        assert len(content["metrics"][name]) == 3
    # Two epochs cannot hold twenty.
    assert content["metrics"]["generalization/test_epoch"] == [None] * 3
    assert content["config"]["model"]["init_args"]["head"]["init_args"]["exponent"] == 2
    assert content["versions"]["torch"] == torch.__version__


def test_a_saved_config_repeats_the_run_exactly_in_a_folder_of_its_own(quickstart, in_root):
    before = {path: path.read_bytes() for path in quickstart.rglob("*") if path.is_file()}
    root = str(quickstart.parents[1])
    main(["fit", "--config", str(quickstart / "config.yaml"), "--trainer.default_root_dir", root])
    assert {path: path.read_bytes() for path in before} == before
    assert results(quickstart)["metrics"] == results(quickstart.parent / "version_1")["metrics"]


def test_a_checkpoint_loads_without_the_command_line_and_gives_its_members(quickstart):
    path = quickstart / "checkpoints" / "last.ckpt"
    model = Classifier.load_from_checkpoint(path, weights_only=True)
    inputs = torch.randint(25, (3, 7, 3))
    together = model(inputs)
    for index in range(3):
        torch.testing.assert_close(model.member(index).eval()(inputs[index]), together[index])


def test_validate_test_and_predict_read_a_checkpoint(quickstart, lightning_command):
    accuracy = results(quickstart)["metrics"]["test/accuracy"]
    rest = ("--config", str(quickstart / "config.yaml"), *PROBE)
    checkpoint = ("--ckpt_path", str(quickstart / "checkpoints" / "last.ckpt"))
    for subcommand in ("validate", "test"):
        folder = lightning_command(subcommand, *rest, *checkpoint)
        assert results(folder)["metrics"]["test/accuracy"] == accuracy
    rows = (lightning_command("predict", *rest, *checkpoint) / "predictions.csv").read_text()
    rows = [row for row in rows.splitlines()[1:] if row.startswith("3,test")]
    right = sum(row.split('"')[-4] == row.split('"')[-2] for row in rows)
    assert right / len(rows) == pytest.approx(accuracy[0])


def test_a_checkpoint_of_another_model_is_refused(quickstart, in_root, capsys):
    config = str(quickstart / "config.yaml")
    arguments = ["validate", "--config", config, "--model.head", "CrossEntropyHead"]
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--ckpt_path", str(quickstart / "checkpoints" / "last.ckpt")])
    assert stop.value.code == 2
    assert "trained with head " in capsys.readouterr().err


@pytest.mark.parametrize("switches", [("enable_progress_bar", "enable_checkpointing"), ("logger",)])
def test_switches_of_the_trainer_can_be_turned_off(
    lightning_command, monkeypatch, tmp_path, switches
):
    config = os.path.abspath("configs/quickstart.yaml")
    monkeypatch.chdir(tmp_path)
    options = (*TINY, *PROBE, *(f"--trainer.{switch}=false" for switch in switches))
    folder = lightning_command("fit", "--config", config, *options)
    assert {path.name for path in tmp_path.iterdir()} <= {"runs", "checkpoints"}  # Lightning's own
    assert (folder / "results.json").exists() == ("logger" not in switches)


def test_nan_in_every_seed_ends_the_run_with_one_line(in_root, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*QUICK, *PROBE, "--model.learning_rate", "1e30",
              "--trainer.default_root_dir", str(tmp_path)])  # fmt: skip
    assert stop.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "learning_rate" in line


def test_ctrl_c_keeps_the_results_and_the_resumed_run_ends_with_the_same_bits(
    lightning_command, monkeypatch
):
    run = (*QUICK, *PROBE, "--model.network", "ToyTransformer", "--trainer.max_epochs", "4")
    straight = lightning_command(*run)
    step = Classifier.training_step

    def interrupted(self, batch, batch_idx):
        if self.current_epoch == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patched:
        patched.setattr(Classifier, "training_step", interrupted)
        with pytest.raises(SystemExit) as stop:
            lightning_command(*run)
    assert stop.value.code == 130
    half = straight.parent / "version_1"
    assert (half / "results.json").is_file()
    checkpoint = str(half / "checkpoints" / "last.ckpt")
    resumed = lightning_command(*run, "--ckpt_path", checkpoint)
    one, two = stored(straight), stored(resumed)
    assert one["global_step"] == two["global_step"] == 2 * stored(half)["global_step"]
    for name, value in one["state_dict"].items():
        assert torch.equal(value, two["state_dict"][name]), name
    assert results(straight)["metrics"] == results(resumed)["metrics"]


# ---- the working directory and the environment ---------------------------------------------------


def command(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    """`lightning ...` as the installed script: its own folder is searched, not the working one."""
    script = Path(sys.executable).parent / "lightning"
    return subprocess.run([script, *arguments], capture_output=True, text=True, **options)


def test_files_of_the_working_directory_do_not_replace_ours_and_can_be_named(tmp_path):
    for name in ("callbacks", "datamodules", "lightning_modules", "glassbox"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('the wrong package')\n")
    for name in ("train.py", "yaml.py", "tqdm.py"):
        (tmp_path / name).write_text("raise ImportError('the wrong module')\n")
    (tmp_path / "my_heads.py").write_text(
        "from lightning_modules import CrossEntropyHead\n"
        "class MyHead(CrossEntropyHead):\n"
        "    pass\n"
    )
    config = str(ROOT / "configs" / "quickstart.yaml")
    options = ("--model.head", "my_heads.MyHead", *TINY)
    done = command("check", "--config", config, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "parameters × 2 seeds" in done.stdout


@pytest.mark.parametrize("flag", ["--version", "--help"])
def test_version_and_help_answer_at_once(flag):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = command(flag)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0 and "glassbox" in done.stdout
    assert (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime) < 1.5


def test_help_describes_every_option_of_ours(in_root, capsys):
    for owner, name in (
        ("model", "Classifier"), ("data", "AlgorithmicData"), ("model", "LanguageModel"),
        ("data", "OpenWebText"), ("model.network", "GPT2"),
    ):  # fmt: skip
        with pytest.raises(SystemExit):
            main(["fit", "--model", "LanguageModel", f"--{owner}.help", name])
        options = capsys.readouterr().out.split(f"\n  --{owner.rpartition('.')[2]}.")[1:]
        assert len(options) > 5
        for option in options:
            text = option.partition("(type:")[0].split()
            if text[0].endswith(".help"):  # jsonargparse's own
                continue
            words = [word for word in text[1:] if word.lower() == word and "--" not in word]
            assert len(words) >= 2, f"{text} describes nothing"


def test_torch_caches_few_kernels_unless_the_user_says_otherwise(monkeypatch):
    environment = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "9"}
    monkeypatch.setattr(os, "environ", environment)
    main(["--version"])
    assert environment == {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "9", "LRU_CACHE_CAPACITY": "64"}


@pytest.mark.parametrize("in_job", [True, False])
def test_srun_is_recommended_within_a_slurm_job_only(tmp_path, monkeypatch, in_job):
    (tmp_path / "srun").write_text("#!/bin/sh\n")
    (tmp_path / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    if in_job:
        monkeypatch.setenv("SLURM_JOB_ID", "1")
    with warnings.catch_warnings(record=True) as caught:
        warnings.resetwarnings()
        silence_harmless_warnings()
        L.Trainer(accelerator="cpu", fast_dev_run=1)
    assert any("srun" in str(one.message) for one in caught) == in_job
