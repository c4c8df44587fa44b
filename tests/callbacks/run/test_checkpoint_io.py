"""Checkpoint files are complete or not there, whatever happens while they are written."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from pathlib import Path

import lightning as L
import pytest
import torch

from callbacks import RunCheckpoint
from callbacks.run.checkpoint_io import AtomicCheckpointIO, remove_abandoned
from glassbox.cli.checkpoints import read_checkpoint


def content(step: int) -> dict[str, object]:
    return {"state_dict": {"weight": torch.full((300,), float(step))}, "global_step": step}


def steps(folder: Path) -> dict[str, int]:
    return {path.name: read_checkpoint(str(path))["global_step"] for path in folder.glob("*.ckpt")}


def test_the_checkpoint_before_is_kept_beside_the_last(tmp_path):
    for step in (1, 2, 3):
        AtomicCheckpointIO().save_checkpoint(content(step), tmp_path / "new" / "last.ckpt")
    assert steps(tmp_path / "new") == {"last.ckpt": 3, "previous.ckpt": 2}
    assert len(list((tmp_path / "new").iterdir())) == 2  # nothing else is left


def test_other_checkpoints_are_written_over(tmp_path):
    for step in (1, 2):
        AtomicCheckpointIO().save_checkpoint(content(step), tmp_path / "step_2.ckpt")
    assert steps(tmp_path) == {"step_2.ckpt": 2}


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_write_that_fails_half_way_leaves_both_that_were_there(tmp_path, monkeypatch, share):
    path = tmp_path / "last.ckpt"
    for step in (1, 2):
        AtomicCheckpointIO().save_checkpoint(content(step), path)
    whole = path.read_bytes()

    def half(content, file):
        file.write(whole[: int(share * len(whole))])
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(OSError, match="no space"):
        AtomicCheckpointIO().save_checkpoint(content(3), path)
    monkeypatch.undo()
    assert steps(tmp_path) == {"last.ckpt": 2, "previous.ckpt": 1}
    assert len(list(tmp_path.iterdir())) == 2  # nothing is left over
    AtomicCheckpointIO().save_checkpoint(content(4), path)
    assert steps(tmp_path) == {"last.ckpt": 4, "previous.ckpt": 2}
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("ending", [KeyboardInterrupt, SystemExit])
def test_ctrl_c_in_the_middle_of_a_write_ends_as_such_and_leaves_nothing(tmp_path, ending):
    """And not as the RuntimeError of PyTorch's writer, which finds half a file."""

    class Interrupting:
        """A signal comes while this part is turned into bytes."""

        def __reduce__(self):
            os.kill(os.getpid(), signal.SIGINT)
            return dict, ()

    def handler(signum, frame):
        raise ending

    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(content(1), path)
    before = signal.signal(signal.SIGINT, handler)
    try:
        with pytest.raises(ending):
            AtomicCheckpointIO().save_checkpoint({**content(2), "x": Interrupting()}, path)
    finally:
        signal.signal(signal.SIGINT, before)
    assert [each.name for each in tmp_path.iterdir()] == ["last.ckpt"]
    assert steps(tmp_path) == {"last.ckpt": 1}


def test_ctrl_c_while_numbers_are_written_ends_as_such_too(tmp_path, ctrl_c):
    """At whatever moment of a large write it comes."""
    large = {"state_dict": {str(i): torch.ones(2**20) for i in range(12)}, "global_step": 1}
    interrupted = 0
    for delay in (0.002, 0.01, 0.02):
        timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT))
        try:
            timer.start()
            AtomicCheckpointIO().save_checkpoint(large, tmp_path / "step_1.ckpt")
            timer.join()
            time.sleep(0.01)  # for the signal, if the write was faster
        except KeyboardInterrupt:
            interrupted += 1
        timer.join()
        assert not list(tmp_path.glob("*.partial"))
    assert interrupted == 3


def test_what_killed_runs_left_is_removed_when_a_run_of_that_name_starts(tmp_path):
    def leave(run: str, version: int, seconds_ago: float) -> Path:
        path = tmp_path / run / f"version_{version}" / "checkpoints" / "last.ckpt.partial"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"PK")
        os.utime(path, (time.time() - seconds_ago,) * 2)
        return path

    old, writing, other = leave("a", 0, 7200), leave("a", 1, 60), leave("b", 0, 7200)
    trainer = L.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    callback = RunCheckpoint()
    callback.dirpath = str(tmp_path / "a" / "version_2" / "checkpoints")
    callback.setup(trainer, L.LightningModule(), "fit")
    assert [path.exists() for path in (old, writing, other)] == [False, True, True]
    callback.dirpath = str(tmp_path / "b")  # a folder of the user's own
    remove_abandoned(Path(callback.dirpath))
    assert other.exists()


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("call", range(1, 6))
def test_a_process_killed_at_any_step_of_writing_leaves_a_whole_checkpoint(
    tmp_path, monkeypatch, call
):
    """At the n-th of flush, rename, rename, and flush of the folder; at 5 it is through."""
    path, count = tmp_path / "last.ckpt", 0
    for step in (1, 2):
        AtomicCheckpointIO().save_checkpoint(content(step), path)

    def killing(real):
        def killed_or(*arguments):
            nonlocal count
            count += 1
            if count == call:
                raise Killed
            return real(*arguments)

        return killed_or

    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, killing(getattr(os, name)))
    with pytest.raises(Killed) if call < 5 else contextlib.nullcontext():
        AtomicCheckpointIO().save_checkpoint(content(3), path)
    expected = {
        1: {"last.ckpt": 2, "previous.ckpt": 1},
        2: {"last.ckpt": 2, "previous.ckpt": 1},
        3: {"previous.ckpt": 2},
        4: {"last.ckpt": 3, "previous.ckpt": 2},
        5: {"last.ckpt": 3, "previous.ckpt": 2},
    }
    assert steps(tmp_path) == expected[call]


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.999])
def test_a_file_that_was_cut_short_is_known_as_damaged(tmp_path, share):
    path = tmp_path / "last.ckpt"
    torch.save(content(1), path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match=r"last\.ckpt is damaged"):
        read_checkpoint(str(path))


def test_a_number_that_has_changed_on_the_disk_is_noticed(tmp_path):
    path = tmp_path / "last.ckpt"
    torch.save(content(1), path)
    data = path.read_bytes()
    place = data.index(torch.ones(20).numpy().tobytes())
    path.write_bytes(data[:place] + b"\x01" + data[place + 1 :])
    torch.load(path, weights_only=True)  # PyTorch does not see it
    with pytest.raises(ValueError, match=r"damaged.*has changed"):
        read_checkpoint(str(path))


@pytest.mark.parametrize("other", [[1, 2], {"weights": 1}, torch.ones(3)])
def test_a_file_of_another_kind_is_no_checkpoint(tmp_path, other):
    torch.save(other, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match="no checkpoint at all"):
        read_checkpoint(str(tmp_path / "x.ckpt"))


class Code:
    """Unpickling it would make a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_a_checkpoint_that_holds_code_is_refused_and_the_code_not_run(tmp_path):
    path, made = tmp_path / "x.ckpt", tmp_path / "made"
    torch.save({**content(1), "callbacks": Code(made)}, path)
    with pytest.raises(ValueError) as error:
        read_checkpoint(str(path))
    said = str(error.value)
    assert "x.ckpt holds code (posix.mkdir), which is never run" in said and "\n" not in said
    assert not made.exists()
    torch.load(path, weights_only=False)  # it would have been
    assert made.exists()


def test_a_user_s_own_way_of_writing_is_left_to_the_user(tmp_path):
    class Own(AtomicCheckpointIO):
        pass

    own = Own()
    for plugins, expected in (([own], Own), ([], AtomicCheckpointIO)):
        trainer = L.Trainer(
            accelerator="cpu", logger=False, plugins=plugins, default_root_dir=tmp_path,
            enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        RunCheckpoint().setup(trainer, L.LightningModule(), "fit")
        assert type(trainer.strategy.checkpoint_io) is expected
