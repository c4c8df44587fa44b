"""Files are complete or missing, whatever happens while they are written."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import time
from pathlib import Path

import lightning as L
import pytest
import torch

from callbacks import RunCheckpoint
from callbacks.run.checkpoint_io import AtomicCheckpointIO, remove_abandoned, write_json


def save(step: int, path: Path, **more: object) -> None:
    content = {"state_dict": {"weight": torch.full((300,), float(step))}, "global_step": step}
    AtomicCheckpointIO().save_checkpoint({**content, **more}, path)


def steps(folder: Path) -> dict[str, int]:
    """The step of every checkpoint; fails if there is any other file."""
    return {p.name: torch.load(p, weights_only=True)["global_step"] for p in folder.iterdir()}


def test_the_previous_checkpoint_is_kept_and_other_files_are_replaced(tmp_path):
    for step in (1, 2, 3):
        save(step, tmp_path / "new" / "last.ckpt")
        save(step, tmp_path / "new" / "step_1.ckpt")
    assert steps(tmp_path / "new") == {"last.ckpt": 3, "previous.ckpt": 2, "step_1.ckpt": 3}


@pytest.mark.parametrize("fraction", [0.0, 0.9])
def test_a_failed_write_leaves_both_checkpoints_as_they_were(tmp_path, monkeypatch, fraction):
    path = tmp_path / "last.ckpt"
    for step in (1, 2):
        save(step, path)
    complete = path.read_bytes()

    def write_part(content, file):
        file.write(complete[: int(fraction * len(complete))])
        raise OSError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", write_part)
        with pytest.raises(OSError, match="no space"):
            save(3, path)
    assert steps(tmp_path) == {"last.ckpt": 2, "previous.ckpt": 1}
    save(4, path)
    assert steps(tmp_path) == {"last.ckpt": 4, "previous.ckpt": 2}


@pytest.mark.parametrize("ending", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_while_pickling_is_raised_as_such(tmp_path, ending):
    """Not as the RuntimeError that PyTorch's writer raises about half a file."""

    class Interrupting:
        def __reduce__(self):
            os.kill(os.getpid(), signal.SIGINT)
            return dict, ()

    def handler(signum, frame):
        raise ending

    path = tmp_path / "last.ckpt"
    save(1, path)
    before = signal.signal(signal.SIGINT, handler)
    try:
        with pytest.raises(ending):
            save(2, path, x=Interrupting())
    finally:
        signal.signal(signal.SIGINT, before)
    assert steps(tmp_path) == {"last.ckpt": 1}


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize(
    ("call", "expected"),
    [  # flush, rename to previous, rename to last, flush of the folder, and beyond
        (1, {"last.ckpt": 2, "previous.ckpt": 1}),
        (2, {"last.ckpt": 2, "previous.ckpt": 1}),
        (3, {"previous.ckpt": 2}),
        (4, {"last.ckpt": 3, "previous.ckpt": 2}),
        (5, {"last.ckpt": 3, "previous.ckpt": 2}),
    ],
)
def test_a_process_killed_at_any_system_call_leaves_a_complete_checkpoint(
    tmp_path, monkeypatch, call, expected
):
    count = 0
    for step in (1, 2):
        save(step, tmp_path / "last.ckpt")

    def killing(function):
        def call_or_kill(*arguments):
            nonlocal count
            count += 1
            if count == call:
                raise Killed
            return function(*arguments)

        return call_or_kill

    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, killing(getattr(os, name)))
    with pytest.raises(Killed) if call < 5 else contextlib.nullcontext():
        save(3, tmp_path / "last.ckpt")
    assert steps(tmp_path) == expected


def test_temporary_files_of_killed_runs_are_removed_when_a_run_of_that_name_starts(tmp_path):
    def leave(run: str, version: int, seconds_ago: float) -> Path:
        path = tmp_path / run / f"version_{version}" / "checkpoints" / "last.ckpt.partial"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"PK")
        os.utime(path, (time.time() - seconds_ago,) * 2)
        return path

    old, writing, other = leave("a", 0, 7200), leave("a", 1, 60), leave("b", 0, 7200)
    callback = RunCheckpoint()
    callback.dirpath = str(tmp_path / "a" / "version_2" / "checkpoints")
    callback.setup(L.Trainer(accelerator="cpu", logger=False), L.LightningModule(), "fit")
    assert [path.exists() for path in (old, writing, other)] == [False, True, True]
    remove_abandoned(tmp_path / "b")  # a folder of the user's own
    assert other.exists()


def test_a_checkpoint_plugin_of_the_user_stays_in_place(tmp_path):
    class Own(AtomicCheckpointIO):
        pass

    for plugins, expected in (([Own()], Own), ([], AtomicCheckpointIO)):
        trainer = L.Trainer(
            accelerator="cpu", logger=False, plugins=plugins, default_root_dir=tmp_path
        )
        RunCheckpoint().setup(trainer, L.LightningModule(), "fit")
        assert type(trainer.strategy.checkpoint_io) is expected


def test_json_files_are_replaced_as_a_whole_and_refuse_nan(tmp_path):
    path = tmp_path / "results.json"
    for content in ({"a": list(range(1000))}, {"b": None}):
        write_json(path, content)
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": math.nan})
    assert json.loads(path.read_text()) == {"b": None}
    assert list(tmp_path.iterdir()) == [path]
