"""`--ckpt_path`, `last` or a file, and signals, as a user of the command line meets them."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import torch

from glassbox.cli.main import main
from lightning_modules import Classifier, LanguageModel

FEW_PROBES = ("--trainer.callbacks", "[{class_path: WeightNorms}]")  # figures take seconds
LM = (
    "--config", "configs/gpt2/gpt2_cpu.yaml",
    "--data.tokenizer", "bytes", "--data.block_size", "16",
    "--data.global_batch_size", "4", "--data.micro_batch_size", "2",
    "--model.network.num_layers", "1", "--model.network.num_heads", "1",
    "--model.network.width", "16", "--trainer.max_steps", "6", "--trainer.val_check_interval", "3",
    "--trainer.log_every_n_steps", "2", "--trainer.precision", "32-true",
    "--checkpoint.every_n_steps", "2", *FEW_PROBES,
)  # fmt: skip
SMALL = (
    "--config", "configs/quickstart.yaml", "--trainer.max_epochs", "6", "--model.num_seeds", "2",
    "--checkpoint.every_n_epochs", "2", *FEW_PROBES,
)  # fmt: skip


class Killed(BaseException):
    """Stands for the end of the process."""


def end_at(monkeypatch, module: type, call: int, how) -> None:
    """Do something at the n-th training step of a class of modules."""
    real, count = module.training_step, 0

    def training_step(self, batch, batch_idx):
        nonlocal count
        count += 1
        if count == call:
            how()
        return real(self, batch, batch_idx)

    monkeypatch.setattr(module, "training_step", training_step)


def die() -> None:
    raise Killed


def fit(root: Path, *arguments: str, subcommand: str = "fit") -> None:
    main([subcommand, *arguments, "--trainer.default_root_dir", str(root)])


def versions(root: Path) -> list[Path]:
    return sorted(root.glob("*/version_*"), key=lambda path: int(path.name[8:]))


def end(folder: Path) -> dict:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


def metrics(folder: Path) -> dict:
    values = json.loads((folder / "results.json").read_text())["metrics"]
    return {name: value for name, value in values.items() if not name.startswith("speed/")}


@pytest.fixture
def lm(token_folder, in_root) -> tuple[str, ...]:
    return (*LM, "--data.data_dir", str(token_folder()))


@pytest.mark.parametrize(
    "network", ["MLP", pytest.param("ToyTransformer", marks=pytest.mark.slow)]
)  # one without, one with dropout
def test_a_killed_classifier_resumes_with_ckpt_path_last(in_root, tmp_path, monkeypatch, network):
    run = (*SMALL, "--model.network", network, "--ckpt_path", "last")
    fit(tmp_path / "straight", *run)
    with monkeypatch.context() as patched:
        end_at(patched, Classifier, 6, die)
        with pytest.raises(Killed):
            fit(tmp_path / "killed", *run)
    fit(tmp_path / "killed", *run)
    (straight,), (killed, resumed) = versions(tmp_path / "straight"), versions(tmp_path / "killed")
    assert end(killed)["global_step"] == 4 * end(straight)["global_step"] // 6
    one, two = end(straight), end(resumed)
    assert one["global_step"] == two["global_step"]
    assert all(torch.equal(value, two["state_dict"][k]) for k, value in one["state_dict"].items())
    assert metrics(straight) == metrics(resumed)


def test_every_probe_s_and_callback_s_state_loads_without_code(lm, tmp_path):
    def callbacks(monitor: str, *names: str) -> tuple[str, str]:
        best = f"{{class_path: ModelCheckpoint, init_args: {{monitor: {monitor}, mode: max}}}}"
        every = (*names, "WeightNorms", "LearningRateMonitor", "ModelSummary")
        others = (f"{{class_path: {name}}}" for name in every)
        return "--trainer.callbacks", f"[{', '.join([best, *others])}]"

    fit(tmp_path, *SMALL, *callbacks("test/accuracy", "EmbeddingGeometry", "Generalization"))
    fit(
        tmp_path, *lm, *callbacks("val/loss", "Speed", "Parallelograms", "Analogies", "TextSamples")
    )
    written = list(tmp_path.glob("*/*/checkpoints/*.ckpt"))
    assert len(written) == 6  # last, previous and the best
    for path in written:
        torch.load(path, weights_only=True)


@pytest.mark.parametrize(("which", "code"), [(signal.SIGTERM, 143), (signal.SIGUSR1, 138)])
def test_a_signal_ends_the_command_with_its_code_and_last_resumes(
    lm, tmp_path, monkeypatch, capsys, which, code
):
    run = (*lm, "--ckpt_path", "last")
    with monkeypatch.context() as patched:
        end_at(patched, LanguageModel, 7, lambda: os.kill(os.getpid(), which))  # the fourth step
        with pytest.raises(SystemExit) as stop:
            fit(tmp_path, *run)
    assert stop.value.code == code
    fit(tmp_path, *run)
    stopped, resumed = versions(tmp_path)
    assert end(stopped)["global_step"] == 4 and (stopped / "results.json").exists()
    assert f"resuming from {stopped}/checkpoints/last.ckpt, step 4" in capsys.readouterr().out
    assert end(resumed)["global_step"] == 6


def test_last_starts_anew_without_a_checkpoint_and_measures_one(lm, tmp_path, capsys):
    for subcommand in ("validate", "test"):
        with pytest.raises(SystemExit) as stop:
            fit(tmp_path, *lm, "--ckpt_path", "last", subcommand=subcommand)
        assert stop.value.code == 2
        assert "error: ckpt_path" in capsys.readouterr().err
    fit(tmp_path, *lm, "--ckpt_path", "last")
    assert "there is no checkpoint of this run in" in capsys.readouterr().out
    trained = versions(tmp_path)[-1]
    fit(tmp_path, *lm, "--ckpt_path", "last", subcommand="validate")
    assert f"resuming from {trained}/checkpoints/last.ckpt, step 6" in capsys.readouterr().out
    scores = [metrics(folder)["val/loss"] for folder in versions(tmp_path)]
    assert scores[1] == pytest.approx(scores[0], rel=1e-6)
    fit(tmp_path, "--config", str(trained / "config.yaml"), "--ckpt_path", "last")
    assert "nothing to train" in capsys.readouterr().out


def test_a_damaged_last_checkpoint_is_skipped_for_the_one_before(lm, tmp_path, capsys):
    fit(tmp_path, *lm)
    (folder,) = versions(tmp_path)
    damaged = folder / "checkpoints" / "last.ckpt"
    damaged.write_bytes(damaged.read_bytes()[:-500])
    with pytest.warns(UserWarning, match=r"last\.ckpt"):
        fit(tmp_path, *lm, "--ckpt_path", "last")
    assert "previous.ckpt, step 4" in capsys.readouterr().out
    assert end(versions(tmp_path)[1])["global_step"] == 6


def groups(folder: Path, *names: str) -> list[list]:
    return [[g[n] for n in names] for g in end(folder)["optimizer_states"][0]["param_groups"]]


def test_settings_of_the_config_override_those_of_a_named_checkpoint(lm, tmp_path, caplog):
    fit(tmp_path, *lm, "--model.learning_rate", "1e-2")
    ckpt = str(versions(tmp_path)[0] / "checkpoints" / "previous.ckpt")
    constant = ("--model.warmup_steps", "0", "--model.final_learning_rate", "3e-3")
    options = ("--model.learning_rate", "3e-3", "--model.weight_decay", "0.3",
               "--model.betas", "[0.8, 0.9]", *constant)  # fmt: skip
    with caplog.at_level("INFO"):
        fit(tmp_path, *lm, *options, "--ckpt_path", ckpt)
    (note,) = [line for line in caplog.messages if "weight_decay" in line]
    for name, old, new in (("learning_rate", 0.01, 0.003), ("betas", (0.9, 0.95), (0.8, 0.9))):
        assert name in note and str(old) in note and str(new) in note
    names = ("lr", "initial_lr", "weight_decay", "betas")
    folder = versions(tmp_path)[1]
    assert groups(folder, *names) == [[3e-3, 3e-3, decay, (0.8, 0.9)] for decay in (0.3, 0.0)]
    assert end(folder)["lr_schedulers"][0]["base_lrs"] == [3e-3, 3e-3]


def test_members_of_a_checkpoint_resume_with_their_own_data(in_root, tmp_path, capsys):
    run = (*SMALL, "--data.num_samples", "200")
    other = ("--data.train_fraction", "[0.3, 0.5]")
    fit(tmp_path, *run, "--data.train_fraction", "[0.5, 0.5]")
    (folder,) = versions(tmp_path)
    named = ("--ckpt_path", str(folder / "checkpoints" / "previous.ckpt"))
    with pytest.raises(SystemExit) as stop:
        fit(tmp_path / "refused", *run, *other, *named)
    assert stop.value.code == 2 and "train_fraction" in capsys.readouterr().err
    # One fraction for all is the same data; another may be measured on.
    fit(tmp_path, *run, "--data.train_fraction", "0.5", *named)
    assert end(versions(tmp_path)[1])["global_step"] == end(folder)["global_step"]
    fit(tmp_path, *run, *other, *named, subcommand="validate")
    capsys.readouterr()
    fit(tmp_path, *run, *other, "--ckpt_path", "last")
    assert "data.train_fraction was [0.5, 0.5]" in capsys.readouterr().out


@pytest.mark.parametrize("subcommand", ["fit", "validate"])
def test_a_named_checkpoint_that_is_damaged_is_refused(lm, tmp_path, capsys, subcommand):
    bad = tmp_path / "bad.ckpt"
    bad.write_text("no checkpoint")
    with pytest.raises(SystemExit) as stop:
        fit(tmp_path / "runs", *lm, "--ckpt_path", str(bad), subcommand=subcommand)
    assert stop.value.code == 2 and "bad.ckpt" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
