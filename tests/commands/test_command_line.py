"""The command line as a user meets it: files left behind, and one sentence for every mistake."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys

import pytest
import torch
import yaml

from glassbox.cli.main import main

TINY = ("--trainer.max_epochs", "2", "--model.num_seeds", "2", "--data.num_samples", "80")
QUICK = ("fit", "--config", "configs/quickstart.yaml", *TINY)


def sentence(capsys, *arguments: str) -> str:
    """What `lightning ...` says when it fails: exit code 2, one line, no traceback."""
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    return errors[0]


def test_fit_leaves_config_metrics_events_results_checkpoint_and_figures(lightning_command):
    folder = lightning_command(*QUICK)
    assert folder.parent.name == "quickstart" and folder.name == "version_0"
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    assert {"config.yaml", "metrics.csv", "results.json", "checkpoints/last.ckpt"} <= names
    assert {f"figures/{f}.png" for f in ("embedding", "accuracy", "explained_variance")} <= names
    assert any("tfevents" in name for name in names)
    header = (folder / "metrics.csv").read_text().splitlines()[0]
    assert {"test/accuracy", "val/embedding/explained_variance_2"} <= set(header.split(","))


def test_results_hold_one_value_per_seed_and_null_for_never(lightning_command):
    folder = lightning_command(*QUICK, "--model.seeds", "[3, 52, 7]")
    results = json.loads((folder / "results.json").read_text())
    assert set(results) >= {
        "name", "config", "seeds", "metrics", "versions", "wall_time_seconds", "steps_per_second",
    }  # fmt: skip
    assert results["name"] == "quickstart" and results["seeds"] == [3, 52, 7]
    metrics = results["metrics"]
    for name in (
        "test/accuracy",
        "val/embedding/explained_variance_2",
        "val/weights/center_distance",
    ):
        assert len(metrics[name]) == 3
    assert metrics["generalization/test_epoch"] == [None] * 3  # two epochs cannot hold twenty
    assert results["config"]["model"]["init_args"]["head"]["init_args"]["exponent"] == 2
    assert results["versions"]["torch"] == torch.__version__


def test_one_seed_is_a_run_like_any_other(lightning_command):
    folder = lightning_command(*QUICK, "--model.num_seeds", "1")
    metrics = json.loads((folder / "results.json").read_text())["metrics"]
    assert len(metrics["test/accuracy"]) == len(metrics["generalization/test_epoch"]) == 1


def test_short_class_name_swaps_the_head(lightning_command):
    folder = lightning_command(*QUICK, "--model.head", "CrossEntropyHead")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["model"]["init_args"]["head"] == {
        "class_path": "lightning_modules.CrossEntropyHead",
        "init_args": {"bias": False, "fused": None},
    }


def test_runs_never_share_a_folder(lightning_command):
    assert lightning_command(*QUICK).name == "version_0"
    assert lightning_command(*QUICK).name == "version_1"


def test_saved_config_repeats_the_run_exactly_and_leaves_it_alone(lightning_command):
    first = lightning_command(*QUICK)
    before = {path: path.read_bytes() for path in first.rglob("*") if path.is_file()}
    again = lightning_command("fit", "--config", str(first / "config.yaml"))
    assert again.parent == first.parent and again.name == "version_1"
    assert {path: path.read_bytes() for path in first.rglob("*") if path.is_file()} == before
    one, two = (json.loads((f / "results.json").read_text())["metrics"] for f in (first, again))
    assert one == two


def test_refused_run_leaves_no_folder(in_root, tmp_path, capsys):
    sentence(
        capsys, *QUICK, "--model.num_seeds", "0", "--trainer.default_root_dir", str(tmp_path / "r")
    )
    assert not (tmp_path / "r").exists()


def test_run_ends_with_a_checkpoint_of_its_end(lightning_command):
    folder = lightning_command(
        *QUICK, "--trainer.max_epochs", "3", "--checkpoint.every_n_epochs", "2"
    )
    stored = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert stored["global_step"] == 3 * 2  # 64 of 80 examples in batches of 32, three times


def test_ctrl_c_ends_the_run_with_its_results_and_it_can_be_resumed(lightning_command, monkeypatch):
    from lightning_modules import Classifier

    straight = lightning_command(*QUICK, "--trainer.max_epochs", "5")
    step = Classifier.training_step

    def interrupted(self, batch, batch_idx):
        if self.current_epoch == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, batch, batch_idx)

    monkeypatch.setattr(Classifier, "training_step", interrupted)
    with pytest.raises(SystemExit) as stop:
        lightning_command(*QUICK, "--trainer.max_epochs", "5")
    assert stop.value.code == 130
    monkeypatch.setattr(Classifier, "training_step", step)
    half = straight.parent / "version_1"
    assert (half / "results.json").is_file() and (half / "figures" / "embedding.png").is_file()
    path = half / "checkpoints" / "last.ckpt"
    resumed = lightning_command(*QUICK, "--trainer.max_epochs", "5", "--ckpt_path", str(path))
    one, two = (
        json.loads((f / "results.json").read_text())["metrics"] for f in (straight, resumed)
    )
    assert one == two


def test_users_own_head_is_found_in_the_working_directory(lightning_command, tmp_path, monkeypatch):
    config = os.path.abspath("configs/quickstart.yaml")
    (tmp_path / "my_head_module.py").write_text(
        "from lightning_modules import CrossEntropyHead\n"
        "class MyHead(CrossEntropyHead):\n"
        "    pass\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    folder = lightning_command(
        "fit", "--config", config, *TINY, "--model.head", "my_head_module.MyHead"
    )
    assert "my_head_module.MyHead" in (folder / "config.yaml").read_text()


@pytest.mark.parametrize("switch", ["enable_progress_bar", "enable_checkpointing", "logger"])
def test_switch_of_the_trainer_can_be_turned_off(lightning_command, tmp_path, monkeypatch, switch):
    config = os.path.abspath("configs/quickstart.yaml")
    monkeypatch.chdir(tmp_path)
    folder = lightning_command("fit", "--config", config, *TINY, f"--trainer.{switch}", "false")
    left = {path.name for path in tmp_path.iterdir()} - {"runs"}
    assert left <= {"checkpoints"}  # Lightning's own, where there is no logger
    assert (folder / "results.json").exists() == (switch != "logger")


def test_a_callback_that_is_there_twice_is_named(in_root, capsys, token_folder):
    said = sentence(
        capsys, "check", "--config", "configs/gpt2/gpt2_cpu.yaml",
        "--trainer.callbacks+", "TextSamples",
        "--data.data_dir", str(token_folder(train=20, val=2, block_size=256)),
        "--data.tokenizer", "bytes",
    )  # fmt: skip
    assert "trainer.callbacks holds TextSamples twice" in said


def test_more_devices_than_seeds_are_refused_by_check_as_by_fit(in_root, capsys):
    arguments = ("--config", "configs/quickstart.yaml", "--trainer.num_nodes", "5")
    assert "4 seeds cannot be spread over 5 devices" in sentence(capsys, "check", *arguments)


def test_checkpoint_opens_without_the_command_line_and_gives_its_members(lightning_command):
    from lightning_modules import Classifier

    path = lightning_command(*QUICK) / "checkpoints" / "last.ckpt"
    torch.load(path, weights_only=True)  # holds no code
    model = Classifier.load_from_checkpoint(path, weights_only=True)
    inputs = torch.randint(25, (2, 7, 3))
    together = model(inputs)
    for index in range(2):
        torch.testing.assert_close(model.member(index).eval()(inputs[index]), together[index])


def test_validate_test_and_predict_read_a_checkpoint(lightning_command, capsys):
    trained = lightning_command(*QUICK)
    scores = json.loads((trained / "results.json").read_text())["metrics"]
    rest = ("--config", "configs/quickstart.yaml", *TINY[2:])
    checkpoint = ("--ckpt_path", str(trained / "checkpoints" / "last.ckpt"))
    for subcommand in ("validate", "test"):
        folder = lightning_command(subcommand, *rest, *checkpoint)
        again = json.loads((folder / "results.json").read_text())["metrics"]
        assert again["test/accuracy"] == scores["test/accuracy"]
    rows = (lightning_command("predict", *rest, *checkpoint) / "predictions.csv").read_text()
    rows = [row for row in rows.splitlines()[1:] if row.startswith("0,test")]
    right = sum(row.split('"')[-4] == row.split('"')[-2] for row in rows)
    assert right / len(rows) == pytest.approx(scores["test/accuracy"][0])


@pytest.mark.parametrize("network", ["MLP", "ToyTransformer"])  # one without, one with dropout
def test_resumed_run_ends_with_the_same_bits(lightning_command, network):
    run = (*QUICK, "--model.network", network)
    straight = lightning_command(*run, "--trainer.max_epochs", "4")
    half = lightning_command(*run)
    resumed = lightning_command(
        *run, "--trainer.max_epochs", "4", "--ckpt_path", str(half / "checkpoints" / "last.ckpt")
    )
    states = [
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
        for folder in (straight, resumed)
    ]
    assert states[0]["global_step"] == states[1]["global_step"]
    for name, value in states[0]["state_dict"].items():
        assert torch.equal(value, states[1]["state_dict"][name]), name
    one, two = (
        json.loads((f / "results.json").read_text())["metrics"] for f in (straight, resumed)
    )
    assert one == two


def test_check_counts_without_training(in_root, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["check", "--config", "configs/algorithmic/modular_addition.yaml"])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    assert "5,412 parameters × 20 seeds" in said
    assert (
        "24 an epoch, 168,000 in all" in said
    )  # 768 training pairs in batches of 32; 7,000 epochs


def test_nan_in_every_seed_stops_the_run_with_a_sentence(in_root, tmp_path, capsys):
    said = sentence(
        capsys, *QUICK, "--model.learning_rate", "1e30", "--trainer.default_root_dir", str(tmp_path)
    )
    assert "every seed is NaN or infinite in epoch" in said and "learning_rate" in said


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--model.learning_rat", "1"), ["'learning_rat'", "did you mean 'learning_rate'"]),
        (("--model.head", "HarmonicHed"), ["model.head", "'HarmonicHed'", "mean 'HarmonicHead'"]),
        (("--model.head.exponentt", "2"), ["HarmonicHead has no option 'exponentt'", "'exponent'"]),
        (("--model.head.exponent", "-1"), ["exponent is -1.0", "must be positive"]),
        (("--model", "Clasifier"), ["'Clasifier'", "did you mean 'Classifier'"]),
        (("--data", "Algorithmic"), ["'Algorithmic'", "AlgorithmicData"]),
        (("--data.task", "ModularAdition"), ["data.task", "did you mean 'ModularAddition'"]),
        (("--data.sampling", "foo"), ["sampling is 'foo'", "'with_replacement'"]),
        (("--data.batch_size", "zero"), ["data.batch_size is 'zero'", "must be int"]),
        (("--data.train_fraction", "1.5"), ["train_fraction is 1.5", "between 0 and 1"]),
        (("--model.num_seeds", "0"), ["num_seeds is 0", "at least 1"]),
        (("--model.seeds", "[1, 1]"), ["seeds are [1, 1]", "only once"]),
        (("--trainer.max_epoch", "3"), ["'trainer.max_epoch'", "mean 'trainer.max_epochs'"]),
        (("--trainr.max_epochs", "3"), ["'trainr.max_epochs'", "mean 'trainer.max_epochs'"]),
        (("--trainer.max_epochs", "x"), ["trainer.max_epochs is 'x'", "int"]),
        (("--trainer.callbacks+=WeightNorm",), ["'WeightNorm'", "mean 'WeightNorms'"]),
        (("stray",), ["'stray'"]),
        (("--data.task.side", "1"), ["side", "at least 2", "1"]),
        (("--seed_everything", "-5"), ["seed_everything is -5"]),
        (("--seed_everything", "true"), ["seed_everything is True"]),
        (("--model.betas", "[0.9]"), ["model.betas is '[0.9]'", "2 elements"]),
        (("--model.betas", "[0.9, 1.5]"), ["betas are (0.9, 1.5)", "below 1"]),
        (("--model.weight_decay", ".nan"), ["weight_decay is nan"]),
        (("--model.seeds", "[99999999999999999999]"), ["seeds are", "below 2^62"]),
        (("--config", "configs"), ["'configs' is no file"]),
        (("--model.network", "tests.nowhere.Net"), ["model.network", "'tests.nowhere.Net'"]),
        (("--ckpt_path", "nowhere.ckpt"), ["nowhere.ckpt", "no such file"]),
    ],
)
def test_mistake_on_the_command_line_gets_one_sentence(in_root, capsys, arguments, parts):
    said = sentence(capsys, "fit", "--config", "configs/quickstart.yaml", *arguments)
    for part in parts:
        assert part in said


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("num_seeds:", "num_seed:", ["'num_seed'", "did you mean 'num_seeds'", "run.yaml"]),
        ("max_epochs:", "max_epoch:", ["'trainer.max_epoch'", "did you mean 'trainer.max_epochs'"]),
        ("HarmonicHead", "HarmonicHat", ["model.head", "did you mean 'HarmonicHead'"]),
        ("EmbeddingGeometry", "Geometry", ["trainer.callbacks", "'Geometry'", "EmbeddingGeometry"]),
        ("seed_everything: 0", "seed_everything: [", ["run.yaml is no valid YAML near line"]),
    ],
)
def test_mistake_in_a_config_gets_one_sentence(in_root, tmp_path, capsys, old, new, parts):
    text = (in_root / "configs" / "quickstart.yaml").read_text()
    assert old in text
    (tmp_path / "run.yaml").write_text(text.replace(old, new))
    said = sentence(capsys, "fit", "--config", str(tmp_path / "run.yaml"))
    for part in parts:
        assert part in said


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("fti",), ["'fti'", "did you mean 'fit'"]),
        (
            ("--config", "configs/quickstart.yaml", "fit"),
            ["the subcommand comes first: lightning fit"],
        ),
        (("fit",), ["--config"]),
        (("fit", "--config", "nowhere.yaml"), ["no config file 'nowhere.yaml'"]),
    ],
)
def test_mistake_in_the_shape_of_the_command_gets_one_sentence(in_root, capsys, arguments, parts):
    said = sentence(capsys, *arguments)
    for part in parts:
        assert part in said


@pytest.mark.parametrize("content", [b"no checkpoint", None], ids=["foreign", "truncated"])
def test_damaged_checkpoint_gets_one_sentence(lightning_command, tmp_path, capsys, content):
    good = (lightning_command(*QUICK) / "checkpoints" / "last.ckpt").read_bytes()
    bad = tmp_path / "bad.ckpt"
    bad.write_bytes(content or good[: len(good) // 2])
    said = sentence(
        capsys, *QUICK, "--ckpt_path", str(bad), "--trainer.default_root_dir", str(tmp_path)
    )
    assert "damaged" in said


def test_checkpoint_of_other_sizes_gets_one_sentence(lightning_command, tmp_path, capsys):
    good = lightning_command(*QUICK) / "checkpoints" / "last.ckpt"
    said = sentence(
        capsys, *QUICK, "--model.num_seeds", "3", "--ckpt_path", str(good),
        "--trainer.default_root_dir", str(tmp_path),
    )  # fmt: skip
    assert "was trained with seeds [0, 1]" in said and "[0, 1, 2]" in said


def test_checkpoint_of_another_head_is_refused_though_its_shapes_fit(lightning_command, capsys):
    trained = lightning_command(*QUICK, "--model.head", "CrossEntropyHead")
    path = str(trained / "checkpoints" / "last.ckpt")
    said = sentence(capsys, "validate", *QUICK[1:3], *TINY[2:], "--ckpt_path", path)
    assert "CrossEntropyHead(bias=False)" in said and "HarmonicHead(exponent=2" in said


@pytest.mark.parametrize("flag", ["--version", "--help"])
def test_version_and_help_answer_in_a_second_and_a_half_of_cpu(in_root, flag):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "train.py", flag], capture_output=True, text=True, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime) < 1.5
    assert "glassbox" in done.stdout


def test_help_describes_every_option_of_ours(in_root, capsys):
    for owner, name in (("model", "Classifier"), ("data", "AlgorithmicData")):
        with pytest.raises(SystemExit):
            main(["fit", f"--{owner}.help", name])
        options = capsys.readouterr().out.split(f"\n  --{owner}.")[1:]
        assert len(options) > 5
        for option in options:
            text = option.partition("(type:")[0].split()
            if text[0].endswith(".help"):  # jsonargparse's own
                continue
            words = [word for word in text[1:] if word.lower() == word and "--" not in word]
            assert len(words) >= 3, f"{text} describes nothing"


def test_torch_keeps_few_kernels_unless_the_user_says_otherwise(monkeypatch):
    environment = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "9"}
    monkeypatch.setattr(os, "environ", environment)
    main(["--version"])
    assert environment == {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "9", "LRU_CACHE_CAPACITY": "64"}
