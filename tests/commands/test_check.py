"""`lightning check`: eight GPUs on a machine without any, and the errors that `fit` would raise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from glassbox.cli.main import main

CONFIG = "configs/gpt2/gpt2_openwebtext_harmonic.yaml"
# 480 windows of 16 bytes at a time, and a network that is built at once.
TINY = (
    "--data.tokenizer", "bytes", "--data.block_size", "16", "--model.network.num_layers", "2",
    "--model.network.num_heads", "2", "--model.network.width", "16",
)  # fmt: skip


@pytest.fixture
def folder(token_folder) -> str:
    """nanoGPT's files with 1,000 training and 40 held-out windows."""
    return str(token_folder(train=1000, val=40))


def refused(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    return capsys.readouterr().err


def arguments(folder: str, *more: str) -> list[str]:
    return ["check", "--config", CONFIG, *TINY, "--data.data_dir", folder, *more]


def check(capsys, folder: str, *more: str) -> str:
    main(arguments(folder, *more))
    return capsys.readouterr().out


def line(text: str, name: str) -> str:
    (match,) = [line for line in text.splitlines() if line.startswith(f"{name} ")]
    return match


def test_eight_gpus_are_checked_on_a_machine_without_any(in_root, capsys, folder, tmp_path):
    text = check(capsys, folder, "--trainer.default_root_dir", str(tmp_path / "runs"))
    assert "480 × 16 = 7,680 tokens a step, 12 windows at a time, 5 times on each of 8 devices" in (
        line(text, "batch")
    )
    # 1,000 windows hold two steps of 480; 10,000 steps are 5,000 such epochs.
    assert line(text, "steps").endswith(
        "2 per epoch, 10,000 in total: 76,800,000 tokens, 5,000.00 epochs"
    )
    assert line(text, "devices").endswith("8 × gpu, bf16-mixed, compiled")
    block = 12 * 16 * 16 + 2 * 16  # without biases
    embeddings, rest = (320 + 16) * 16, 2 * block + 16
    assert (
        f"{embeddings + rest:,} parameters, {embeddings:,} in embeddings and {rest:,} elsewhere"
        in line(text, "model")
    )
    for part in ("MiB per device (estimate)", "weights", "gradients", "moments", "activations"):
        assert part in line(text, "memory")
    assert "buckets" not in line(text, "memory")  # the config lets gradients be views of them
    assert not (tmp_path / "runs").exists()


def test_time_follows_from_the_operations_of_a_token(in_root, capsys, folder):
    text = line(check(capsys, folder, "--trainer.max_steps", "30000000000"), "compute")
    # PaLM's count: 6 a weight that is not a position's, 12 a layer, channel and position.
    weights = 320 * 16 + 2 * (12 * 16 * 16 + 2 * 16) + 16
    flops = (6 * weights + 12 * 2 * 16 * 16) * 7680 * 3e10
    hours = flops / (8 * 312e12 * 0.4) / 3600
    assert hours > 2 and f"{flops:.3g} FLOP in total" in text and f"{hours:.1f} h (A100)" in text


def test_the_number_of_all_gpus_is_unknown_on_another_machine(in_root, capsys, folder, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    text = check(capsys, folder, "--trainer.devices", "auto")
    assert "counted as 1 here" in line(text, "devices") and "40 times" in line(text, "batch")


@pytest.mark.parametrize(
    ("options", "name", "shown"),
    [
        ("--trainer.precision 16-mixed", "compute", "(V100"),  # bfloat16 does not list it
        ("--trainer.strategy ddp", "memory", "DDP's buckets"),  # gradients are copied into them
        ("--trainer.num_nodes 2 --data.micro_batch_size 15", "batch", "2 times on each of 16"),
        ("--trainer.num_nodes 2 --data.micro_batch_size 15", "devices", "gpu on each of 2 nodes"),
        ("--trainer.accelerator cpu --trainer.devices 2", "devices", "cpu, bf16-mixed, not comp"),
    ],
)
def test_a_line_shows_the_options_of_the_run(in_root, capsys, folder, options, name, shown):
    assert shown in line(check(capsys, folder, *options.split()), name)


@pytest.mark.parametrize(
    ("options", "environ", "named"),
    [
        (("--trainer.devices", "7"), {}, "global_batch_size"),
        (("--data.val_windows", "7"), {}, "data.val_windows"),
        ((), {"WORLD_SIZE": "4"}, "WORLD_SIZE"),
        (("--trainer.callbacks", "[{class_path: Parallelograms, init_args: {components: 9999}}]"),
         {}, "components"),
    ],
)  # fmt: skip
def test_a_run_that_would_fail_is_refused(
    in_root, capsys, folder, monkeypatch, options, environ, named
):
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert named in refused(capsys, *arguments(folder, *options))


def test_a_launch_unlike_the_config_is_refused_before_anything_is_built(
    in_root, capsys, tmp_path, monkeypatch
):
    monkeypatch.setenv("WORLD_SIZE", "4")  # the folder of the data does not exist either
    data = ("--data.data_dir", str(tmp_path / "nowhere"))
    assert "error: WORLD_SIZE" in refused(capsys, "fit", "--config", CONFIG, *data)


def test_parameters_and_steps_of_a_classifier_are_counted_per_seed(in_root, capsys):
    main(["check", "--config", "configs/algorithmic/modular_addition.yaml"])
    text = capsys.readouterr().out
    assert "5,412 parameters × 20 seeds" in line(text, "model")
    # 768 training pairs in batches of 32, 7,000 epochs
    assert line(text, "steps").endswith("24 per epoch, 168,000 in total")
    assert line(text, "devices").endswith("1 × cpu, 32-true") and "memory" not in text


@pytest.mark.parametrize(
    ("options", "fits"),
    [
        (("--data.train_fraction", "[0.3, 0.8]", "--trainer.devices", "2"), False),
        # of 1,000 examples 26 batches of 32 either way
        (("--data.train_fraction", "[0.82, 0.83]", "--trainer.devices", "2"), True),
        (("--trainer.num_nodes", "5"), False),  # more devices than seeds
    ],
)
def test_seeds_that_do_not_fit_the_devices_are_refused_as_by_fit(in_root, capsys, options, fits):
    words = ("check", "--config", "configs/quickstart.yaml", "--trainer.accelerator", "cpu",
             "--model.num_seeds", "2", *options)  # fmt: skip
    if fits:
        main(words)
    else:
        assert "device" in refused(capsys, *words)


@pytest.mark.slow
@pytest.mark.ddp
def test_strategy_of_the_config_trains_on_two_processes(in_root, folder, tmp_path):
    # The script, as a user has it: Lightning starts the second process by calling it again.
    script = Path(sys.executable).parent / "lightning"
    settings = (
        "--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.max_steps", "2",
        "--trainer.val_check_interval", "1", "--trainer.log_every_n_steps", "1",
        "--trainer.precision", "32-true", "--trainer.default_root_dir", str(tmp_path / "runs"),
    )  # fmt: skip
    data = ("--config", CONFIG, *TINY, "--data.data_dir", folder)
    done = subprocess.run([script, "fit", *data, *settings], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "runs").glob("*/*")
    strategy = yaml.safe_load((run / "config.yaml").read_text())["trainer"]["strategy"]
    assert strategy["class_path"] == "lightning.pytorch.strategies.DDPStrategy"
    assert strategy["init_args"]["gradient_as_bucket_view"] is True
    assert (run / "checkpoints" / "last.ckpt").is_file() and (run / "results.json").is_file()
