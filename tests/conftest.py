"""Shared by all tests: one thread, and a short way to run the command line in this process."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# The models here are tiny: a second thread costs more in waiting than it brings, above all on a
# machine that is shared. Set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).parent.parent


@pytest.fixture
def in_root(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The repository as working directory, as for someone who follows the README."""
    monkeypatch.chdir(ROOT)
    return ROOT


@pytest.fixture
def lightning_command(in_root: Path, tmp_path: Path) -> Callable[..., Path]:
    """Run `lightning ...` in this process, into a temporary folder; returns the run's folder."""
    from train import main

    def call(*arguments: str) -> Path:
        main([*arguments, "--trainer.default_root_dir", str(tmp_path / "runs")])
        folders = sorted(
            (tmp_path / "runs").glob("*/version_*"), key=lambda path: path.stat().st_mtime
        )
        return folders[-1] if folders else tmp_path

    return call


@pytest.fixture
def token_folder(tmp_path: Path) -> Callable[..., Path]:
    """Write nanoGPT's train.bin and val.bin, with so many windows; ids are random bytes."""

    def write(train: int = 22, val: int = 7, block_size: int = 16, name: str = "tokens") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        rng = np.random.default_rng(0)
        for split, windows in (("train", train), ("val", val)):
            # Some tokens more than whole windows, as text has them.
            tokens = rng.integers(0, 256, windows * block_size + 1 + block_size // 2)
            tokens.astype("<u2").tofile(folder / f"{split}.bin")
        return folder

    return write


@pytest.fixture(scope="session")
def spawn_ranks() -> Callable[..., None]:
    """Run ``function(rank, *arguments, port)`` in so many processes, and wait until all have ended.

    The port is for the function to meet the others on.
    """
    from torch import multiprocessing

    def spawn(function: Callable[..., None], ranks: int, *arguments: Any) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        spawned = multiprocessing.spawn(function, (*arguments, port), ranks, join=False)
        end = time.monotonic() + 400
        while not spawned.join(timeout=5):
            if time.monotonic() > end:
                for process in spawned.processes:
                    process.kill()
                pytest.fail("the ranks wait for each other")

    return spawn
