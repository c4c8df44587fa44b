"""`lightning check`: eight GPUs on a machine without any, and what it refuses."""

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


def said(capsys, code: int, *arguments: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(["check", *arguments])
    captured = capsys.readouterr()
    assert stop.value.code == code, captured.err
    if code == 0:
        return captured.out
    (line,) = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    return line


def check(capsys, folder: str, *arguments: str, code: int = 0) -> str:
    data = ("--config", CONFIG, *TINY, "--data.data_dir", folder)
    return said(capsys, code, *data, *arguments)


def line(text: str, name: str) -> str:
    (found,) = [line for line in text.splitlines() if line.startswith(f"{name} ")]
    return found


def test_eight_gpus_are_checked_on_a_machine_without_any(in_root, capsys, folder, tmp_path):
    text = check(capsys, folder, "--trainer.default_root_dir", str(tmp_path / "runs"))
    assert "480 × 16 = 7,680 tokens a step, 12 windows at a time, 5 times on each of 8 devices" in (
        line(text, "batch")
    )
    # 1,000 windows hold two steps of 480; 10,000 steps are 5,000 such epochs.
    assert line(text, "steps").endswith(
        "2 an epoch, 10,000 in all: 76,800,000 tokens, 5,000.00 epochs"
    )
    assert line(text, "devices").endswith("8 × gpu, bf16-mixed, compiled")
    block = 12 * 16 * 16 + 2 * 16  # without biases
    embeddings, others = (320 + 16) * 16, 2 * block + 16
    assert (
        f"{embeddings + others:,} parameters, {embeddings:,} in embeddings and {others:,} elsewhere"
        in line(text, "model")
    )
    for part in ("MiB a device (estimate)", "weights", "gradients", "moments", "activations"):
        assert part in line(text, "memory")
    assert "buckets" not in line(text, "memory")  # the config lets gradients be views of them
    assert not (tmp_path / "runs").exists()


def test_time_follows_from_the_operations_of_a_token(in_root, capsys, folder):
    text = line(check(capsys, folder, "--trainer.max_steps", "30000000000"), "compute")
    # PaLM's count: 6 a weight that is not a position's, 12 a layer, channel and position.
    weights = 320 * 16 + 2 * (12 * 16 * 16 + 2 * 16) + 16
    flops = (6 * weights + 12 * 2 * 16 * 16) * 7680 * 3e10
    hours = flops / (8 * 312e12 * 0.4) / 3600
    assert hours > 2 and f"{flops:.3g} FLOP in all" in text and f"{hours:.1f} h (A100)" in text


def test_the_papers_gpus_are_named_for_float16(in_root, capsys, folder):
    assert "V100" not in line(check(capsys, folder), "compute")
    text = check(capsys, folder, "--trainer.precision", "16-mixed")
    assert "V100" in line(text, "compute") and "16-mixed" in line(text, "devices")


def test_buckets_of_ddp_count_where_gradients_are_copied(in_root, capsys, folder):
    assert "DDP's buckets" in line(check(capsys, folder, "--trainer.strategy", "ddp"), "memory")
    one = ("--trainer.strategy", "auto", "--trainer.devices", "1")
    assert "DDP's buckets" not in line(check(capsys, folder, *one), "memory")


def test_nodes_count_as_devices_do(in_root, capsys, folder):
    two = ("--trainer.num_nodes", "2", "--data.micro_batch_size", "15")
    text = check(capsys, folder, *two)
    assert "15 windows at a time, 2 times on each of 16 devices" in line(text, "batch")
    assert "8 × gpu on each of 2 nodes" in line(text, "devices")


def test_all_gpus_of_another_machine_are_said_to_be_unknown(in_root, capsys, folder, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    text = check(capsys, folder, "--trainer.devices", "auto")
    assert "counted as 1 here" in line(text, "devices") and "40 times" in line(text, "batch")


def test_processes_on_a_cpu_are_no_gpus(in_root, capsys, folder):
    cpu = ("--trainer.accelerator", "cpu", "--trainer.devices", "2")
    text = check(capsys, folder, *cpu)
    assert line(text, "devices").endswith("2 × cpu, bf16-mixed, not compiled")
    assert "GPU" not in text and "20 times on each of 2 devices" in text


@pytest.mark.parametrize(
    ("arguments", "environ", "parts"),
    [
        (("--trainer.devices", "7"), {},
         ["global_batch_size (480)", "(12 × 7)", "420, 504"]),
        (("--trainer.num_nodes", "2"), {}, ["(12 × 16)", "1, 2, 3, 5"]),
        (("--data.val_windows", "7"), {}, ["validation has 7 windows", "at least 8"]),
        (("--trainer.devices", "0"), {}, ["trainer.devices is"]),
        ((), {"WORLD_SIZE": "4"}, ["WORLD_SIZE is 4", "are 8"]),
        ((), {"TORCHELASTIC_RUN_ID": "a", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"},
         ["LOCAL_WORLD_SIZE is 4", "trainer.devices is 8"]),
        ((), {"SLURM_NTASKS": "4"}, ["SLURM_NTASKS is 4", "--ntasks-per-node=8"]),
        (("--trainer.precison", "32"), {}, ["did you mean 'trainer.precision'"]),
        (("--data.data_dir", "nowhere"), {}, ["nowhere", "lightning prepare"]),
        (("--trainer.callbacks", "[{class_path: Parallelograms, init_args: {components: 9999}}]"),
         {}, ["components is 9999"]),
        (("--trainer.strategy", "fsdp"), {}, ["trainer.strategy is fsdp", "use auto, ddp"]),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_with_one_sentence(
    in_root, capsys, folder, monkeypatch, arguments, environ, parts
):
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    text = check(capsys, folder, *arguments, code=2)
    for part in parts:
        assert part in text


@pytest.mark.filterwarnings("ignore:.*untrained")
@pytest.mark.parametrize("subcommand", ["fit", "validate"])
def test_launch_unlike_the_config_is_refused_before_anything_is_built(
    in_root, capsys, tmp_path, monkeypatch, subcommand
):
    monkeypatch.setenv("WORLD_SIZE", "4")  # the folder of the data does not exist either
    data = ("--data.data_dir", str(tmp_path / "nowhere"))
    with pytest.raises(SystemExit) as stop:
        main([subcommand, "--config", CONFIG, *data])
    assert stop.value.code == 2
    assert "error: WORLD_SIZE is 4" in capsys.readouterr().err


def test_seeds_are_counted_as_before(in_root, capsys):
    text = said(capsys, 0, "--config", "configs/algorithmic/modular_addition.yaml")
    assert "5,412 parameters × 20 seeds" in line(text, "model")
    assert line(text, "devices").endswith("1 × cpu, 32-true") and "memory" not in text


@pytest.mark.parametrize(
    ("fractions", "devices", "refused"),
    [
        ("[0.3, 0.8]", 2, True),
        ("[0.3, 0.8]", 1, False),
        ("[0.82, 0.83]", 2, False),  # of 1,000 examples 26 batches of 32 either way
    ],
)
def test_members_with_other_steps_are_refused_on_two_devices_as_fit_refuses_them(
    in_root, capsys, fractions, devices, refused
):
    text = said(
        capsys, 2 if refused else 0, "--config", "configs/quickstart.yaml",
        "--model.num_seeds", "2", "--data.train_fraction", fractions,
        "--trainer.accelerator", "cpu", "--trainer.devices", str(devices),
    )  # fmt: skip
    sentence = (
        "error: members that differ in their training fraction train on one device, not on 2; "
        "set trainer.devices to 1"
    )
    assert (text == sentence) == refused


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
