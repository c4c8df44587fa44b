"""Two "nodes" on this machine, each started by its own torchrun, as on a cluster without SLURM."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from glassbox.cli.main import main
from tests.helpers.paths import ROOT
from tests.helpers.ranks import free_port

pytestmark = [pytest.mark.ddp, pytest.mark.xdist_group("two_nodes")]
BIN = Path(sys.executable).parent
NODES, TIME_LIMIT, BLOCK = 2, 300, 16
FIT = (
    "fit", "--config", "configs/gpt2/gpt2_cpu.yaml",
    "--data.tokenizer", "bytes", "--data.block_size", str(BLOCK),
    "--data.global_batch_size", "4", "--data.micro_batch_size", "1",
    "--model.network.num_layers", "1", "--model.network.num_heads", "1",
    "--model.network.width", "16", "--model.learning_rate", "1e-2", "--model.warmup_steps", "2",
    "--model.decay_steps", "12", "--trainer.val_check_interval", "4",
    "--trainer.log_every_n_steps", "1", "--trainer.precision", "32-true",
    "--trainer.accelerator", "cpu", "--checkpoint.every_n_steps", "4", "--trainer.max_steps", "12",
)  # fmt: skip
TWO = ("--trainer.num_nodes", str(NODES), "--trainer.devices", "1", "--trainer.strategy", "ddp")


def torchrun(folder: Path, *arguments: str) -> list[str]:
    """Run `lightning ...` on every node until all have ended; returns what each printed."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "PL_GLOBAL_SEED"):
        environment.pop(name, None)
    port, nodes = free_port(), []
    for node in range(NODES):
        command = [
            str(BIN / "torchrun"), "--nnodes", str(NODES), "--node-rank", str(node),
            "--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-id", "test",
            "--rdzv-endpoint", f"127.0.0.1:{port}", "--no-python", str(BIN / "lightning"),
            *arguments,
        ]  # fmt: skip
        with (folder / f"node_{node}.txt").open("w") as output:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT
            )
        nodes.append(process)
    end, printed = time.monotonic() + TIME_LIMIT, []
    for node, process in enumerate(nodes):
        try:
            code = process.wait(max(1.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            code = None
        if code != 0:
            for other in nodes:
                other.kill()
                other.wait()
        printed.append((folder / f"node_{node}.txt").read_text())
        assert code == 0, printed[-1][-3000:]
    return printed


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("two_nodes")
    (path / "tokens").mkdir()
    rng = np.random.default_rng(0)
    for split, windows in (("train", 22), ("val", 7)):  # held-out windows: four and three
        tokens = rng.integers(0, 256, windows * BLOCK + 1).astype("<u2")
        tokens.tofile(path / "tokens" / f"{split}.bin")
    return path


def options(folder: Path, name: str) -> tuple[str, ...]:
    root = ("--trainer.default_root_dir", str(folder / name))
    return (*root, "--data.data_dir", str(folder / "tokens"))


@pytest.fixture(scope="module")
def alone(folder) -> Path:
    """The folder of twelve steps on one node with one process."""
    with contextlib.chdir(ROOT):
        main([*FIT, *options(folder, "one")])
    return folder / "one" / "gpt2_cpu" / "version_0"


@pytest.fixture(scope="module")
def printed(folder, alone) -> list[str]:
    """What two nodes print that resume the run of one process at its eighth step."""
    at_8 = alone / "checkpoints" / "previous.ckpt"
    return torchrun(folder, *FIT, *TWO, *options(folder, "two"), "--ckpt_path", str(at_8))


@pytest.fixture(scope="module")
def both(folder, printed) -> Path:
    """The folder of the two nodes."""
    return folder / "two" / "gpt2_cpu" / "version_0"


def logged(run: Path, name: str) -> dict[int, float]:
    """A metric of metrics.csv by optimizer step."""
    with (run / "metrics.csv").open() as file:
        return {int(row["step"]): float(row[name]) for row in csv.DictReader(file) if row[name]}


def test_two_nodes_resume_train_and_validate_like_one(both, alone):
    for name, limit, steps in (("train/loss", 1e-4, 4), ("val/loss", 1e-5, 1)):
        expected = {step: value for step, value in logged(alone, name).items() if step > 8}
        assert len(expected) == steps and max(expected) == 12
        assert logged(both, name) == pytest.approx(expected, rel=limit), name


def test_one_node_writes_and_its_checkpoint_is_that_of_one_process(both, alone):
    assert [path.name for path in both.parent.iterdir()] == ["version_0"]
    one, two = (
        torch.load(run / "checkpoints" / "last.ckpt", weights_only=True) for run in (alone, both)
    )
    assert one["global_step"] == two["global_step"] == 12
    for name, value in one["state_dict"].items():
        if not name.endswith("qkv.bias"):  # a key's bias has no effect
            torch.testing.assert_close(two["state_dict"][name], value, rtol=1e-4, atol=1e-5)


def test_only_the_first_node_prints_the_table_and_writes_the_results(both, printed):
    assert "val/loss" in printed[0] and "run folder:" in printed[0]
    assert "run folder:" not in printed[1]
    assert json.loads((both / "results.json").read_text())["metrics"]["val/step"] == [12.0]
