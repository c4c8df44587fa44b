"""Damaged files, other files and files with code are not read as checkpoints."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from glassbox.cli.checkpoints import read_checkpoint

CONTENT = {"state_dict": {"weight": torch.ones(300)}, "global_step": 1}


@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_reported_as_damaged(tmp_path, fraction):
    path = tmp_path / "last.ckpt"
    torch.save(CONTENT, path)
    path.write_bytes(path.read_bytes()[: int(fraction * path.stat().st_size)])
    with pytest.raises(ValueError, match=r"last\.ckpt"):
        read_checkpoint(str(path))


def test_a_changed_byte_is_reported_as_damaged(tmp_path):
    path = tmp_path / "last.ckpt"
    torch.save(CONTENT, path)
    data = path.read_bytes()
    place = data.index(torch.ones(20).numpy().tobytes())
    path.write_bytes(data[:place] + b"\x01" + data[place + 1 :])
    torch.load(path, weights_only=True)  # PyTorch does not notice
    with pytest.raises(ValueError, match=r"last\.ckpt"):
        read_checkpoint(str(path))


@pytest.mark.parametrize("other", [[1, 2], {"weights": 1}, torch.ones(3)])
def test_a_file_without_weights_is_refused(tmp_path, other):
    torch.save(other, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match=r"x\.ckpt"):
        read_checkpoint(str(tmp_path / "x.ckpt"))


class Code:
    """Unpickling it would make a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    path, made = tmp_path / "x.ckpt", tmp_path / "made"
    torch.save({**CONTENT, "callbacks": Code(made)}, path)
    with pytest.raises(ValueError, match=r"posix\.mkdir"):
        read_checkpoint(str(path))
    assert not made.exists()
    torch.load(path, weights_only=False)  # the test can fail
    assert made.exists()
