"""Ctrl-C twice ends `lightning fit` at once, with 130, on one device and on several."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

# The second step of every process never ends; a file shows that it has begun.
PROGRAM = """
import os, sys, time
from pathlib import Path
from lightning_modules import Classifier
from glassbox.cli.main import main

step, count = Classifier.training_step, 0

def training_step(self, batch, batch_idx):
    global count
    count += 1
    if count == 2:
        Path(os.environ["BEGUN"], str(os.getpid())).touch()
        time.sleep(300)
    return step(self, batch, batch_idx)

Classifier.training_step = training_step
main(sys.argv[1:])
"""
TIME_LIMIT = 120


def wait_for(condition) -> None:
    end = time.monotonic() + TIME_LIMIT
    while not condition():
        assert time.monotonic() < end, "nothing happens"
        time.sleep(0.1)


def alive(pid: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="looks at processes as Linux has it"
)
@pytest.mark.parametrize(
    ("devices", "to_all"),
    [
        (1, True),
        pytest.param(2, True, marks=pytest.mark.ddp),  # as a terminal sends it
        pytest.param(2, False, marks=pytest.mark.ddp),  # as `kill -INT` does
    ],
)
def test_ctrl_c_twice_ends_with_130_and_leaves_no_process(in_root, tmp_path, devices, to_all):
    program, begun = tmp_path / "program.py", tmp_path / "begun"
    program.write_text(PROGRAM)
    begun.mkdir()
    several = ("--trainer.devices", "2", "--trainer.strategy", "ddp") if devices == 2 else ()
    process = subprocess.Popen(
        [
            sys.executable, str(program), "fit", "--config", "configs/quickstart.yaml",
            "--model.num_seeds", "2", "--trainer.accelerator", "cpu",
            "--trainer.callbacks", "[]",
            "--trainer.default_root_dir", str(tmp_path / "runs"), *several,
        ],
        cwd=in_root, env={**os.environ, "PYTHONPATH": str(in_root), "BEGUN": str(begun)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        wait_for(lambda: len(list(begun.iterdir())) == devices or process.poll() is not None)
        pids = [int(path.name) for path in begun.iterdir()]
        for _ in range(2):
            time.sleep(0.5)
            if to_all:
                os.killpg(process.pid, signal.SIGINT)
            else:
                process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=TIME_LIMIT)
        assert process.returncode == 130, errors
        assert "Traceback" not in errors and errors.count("Ctrl-C again") == 1, errors
        wait_for(lambda: not any(alive(pid) for pid in pids))
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
