"""Two ranks (gloo, CPU) are killed, told to stop and resumed; and resumed as one, or from one."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from callbacks import GracefulStop
from callbacks.run.exact_resume import KEY, reseed
from tests.commands.test_resume import (
    BLOCK,
    KILLED,
    STEPS_PER_EPOCH,
    assert_same_end,
    command,
    equal,
    fit,
    last,
    rows,
    stored,
    versions,
)
from tests.helpers.paths import ROOT

pytestmark = [pytest.mark.ddp, pytest.mark.filterwarnings("ignore:.*The dirpath has changed.*")]
TIME_LIMIT = 400


class Notes(L.Callback):
    """What a rank reads and draws, and how often it tells the others something."""

    def __init__(self) -> None:
        self.batches: dict[int, list[int]] = {}
        self.mask: list[float] = []
        self.broadcasts = 0
        self._real = torch.distributed.broadcast

    def on_train_start(self, trainer, pl_module):
        def counting(*arguments, **options):
            self.broadcasts += 1
            return self._real(*arguments, **options)

        torch.distributed.broadcast = counting

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if not self.mask:
            with torch.random.fork_rng():
                self.mask = F.dropout(torch.ones(64)).tolist()
        # The sum of a window tells it from the others.
        self.batches.setdefault(trainer.global_step, []).extend(batch["inputs"].sum(1).tolist())

    def on_train_end(self, trainer, pl_module):
        torch.distributed.broadcast = self._real


class SignalAt(L.Callback):
    """SIGTERM to one rank in the middle of a step."""

    def __init__(self, rank: int = 1, step: int = 5) -> None:
        self.rank, self.step = rank, step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        micro = batch_idx % trainer.accumulate_grad_batches
        if (trainer.global_rank, trainer.global_step, micro) == (self.rank, self.step, 1):
            os.kill(os.getpid(), signal.SIGTERM)


def tell_rank(rank: int, port: int) -> dict[str, str]:
    """The environment that torchrun gives a process."""
    return {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
        "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "test", "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1", "PL_GLOBAL_SEED": "0",
    }  # fmt: skip


def command_on_two(folder: Path, *arguments: str) -> tuple[Any, str]:
    """Exit code and output of this rank's `lightning fit`."""
    from glassbox.cli.main import main

    out, code = io.StringIO(), 0
    with contextlib.redirect_stdout(out):
        try:
            main(
                command(
                    folder / "tokens", folder / "command", "--trainer.devices", "2",
                    "--trainer.strategy", "ddp", "--trainer.accelerator", "cpu",
                    "--data.micro_batch_size", "1", "--progress.refreshes_per_second", "1",
                    *arguments,
                )
            )  # fmt: skip
        except SystemExit as stop:
            code = stop.code
    return code, out.getvalue()


def on_rank(rank: int, folder: str, port: int) -> None:
    os.environ.update(tell_rank(rank, port))
    torch.set_num_threads(1)
    here, found = Path(folder), {}
    tokens = here / "tokens"

    notes, stop = Notes(), GracefulStop()
    fit(tokens, "straight", 1, world=2, callbacks=(notes, stop))
    found["batches"], found["mask"], found["broadcasts"] = (
        {str(step): sums for step, sums in notes.batches.items()}, notes.mask, notes.broadcasts,
    )  # fmt: skip
    for name, moment in {
        "mid_step": ("train", 7, 1), "new_epoch": ("train", 10, 0), "validation": ("validate", 8, 0)
    }.items():  # fmt: skip
        killed = here / f"{name}_killed" / "version_0"
        fit(tokens, f"{name}_killed", 1, moment, world=2, callbacks=(GracefulStop(),))
        fit(tokens, f"{name}_resumed", 1, ckpt=last(killed), seed=1, world=2)

    notes, from_one = Notes(), here / "one" / "version_0" / "checkpoints" / "step_6.ckpt"
    fit(tokens, "one_on_two", 1, ckpt=from_one, seed=1, world=2, callbacks=(notes,))
    found["from_one"] = {str(step): sums for step, sums in notes.batches.items()}
    found["broadcasts_of_lightning"] = notes.broadcasts  # without a GracefulStop

    stop = GracefulStop()
    fit(
        tokens, "stopped", 1, world=2, callbacks=(SignalAt(), stop), log_every_n_steps=100,
        val_check_interval=100, max_steps=60,
    )  # fmt: skip
    found["signal"] = stop.signal

    found["commands"] = []
    kill = ("--trainer.callbacks+", "tests.ddp.test_resume_ddp.SignalAt")
    for arguments in (kill, ("--ckpt_path", "last")):
        found["commands"].append(command_on_two(here, *arguments))

    # The last, since it leaves a process group in the middle of something.
    ckpt = last(here / ("mid_step_killed" if rank else "validation_killed") / "version_0")
    try:
        fit(tokens, "apart", 1, ckpt=ckpt.with_name("previous.ckpt") if rank else ckpt, world=2)
        found["apart"] = "none"
    except ValueError as error:
        found["apart"] = str(error)
    Path(folder, f"rank_{rank}.json").write_text(json.dumps(found))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("resume_ddp")
    (folder / "tokens").mkdir()
    rng = np.random.default_rng(0)
    for split, windows in (("train", 4 * STEPS_PER_EPOCH + 2), ("val", 7)):
        tokens = rng.integers(0, 256, windows * BLOCK + 1)
        tokens.astype("<u2").tofile(folder / "tokens" / f"{split}.bin")
    return folder


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def ranks(folder, spawn_ranks) -> list[dict[str, Any]]:
    """What two ranks found."""
    fit(folder / "tokens", "one", 2, checkpoint={"save_top_k": -1})
    with contextlib.chdir(ROOT):
        spawn_ranks(on_rank, 2, str(folder))
    return [json.loads((folder / f"rank_{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize(
    ("name", "step"), [("mid_step", 6), ("new_epoch", 10), ("validation", 6)]
)  # fmt: skip
def test_two_ranks_that_were_killed_log_and_end_as_two_that_were_not(folder, ranks, name, step):
    straight, killed, resumed = (
        folder / part / "version_0" for part in ("straight", f"{name}_killed", f"{name}_resumed")
    )
    assert stored(last(killed))["global_step"] == step
    assert_same_end(straight, resumed)
    assert [row for row in rows(killed) if row[0] <= step] + rows(resumed) == rows(straight)


def test_each_rank_draws_its_own_dropout_masks_a_function_of_seed_and_rank(folder, ranks):
    masks = [found["mask"] for found in ranks]
    assert masks[0] != masks[1]
    with torch.random.fork_rng():
        reseed(0, 1)
        assert masks[1] == F.dropout(torch.ones(64)).tolist()
    states = stored(last(folder / "straight" / "version_0"))[KEY]["ranks"]
    assert len(states) == 2 and not equal(states[0]["random"], states[1]["random"])


def test_no_rank_waits_for_another_s_flag_at_every_micro_batch(ranks):
    assert [found["broadcasts"] for found in ranks] == [0, 0]
    assert [found["broadcasts_of_lightning"] for found in ranks] == [20, 20]  # 10 steps of two


def test_resumed_on_another_number_of_ranks_the_data_go_on_in_the_same_order(folder, ranks):
    def merged(key: str) -> dict[int, list[int]]:
        return {
            int(step): sorted(ranks[0][key][step] + ranks[1][key][step]) for step in ranks[0][key]
        }

    straight = merged("batches")
    assert merged("from_one") == {step: straight[step] for step in range(6, 16)}
    notes = Notes()
    fit(
        folder / "tokens", "two_on_one", 2, seed=1, callbacks=(notes,),
        ckpt=last(folder / "mid_step_killed" / "version_0"),
    )  # fmt: skip
    found = {step: sorted(sums) for step, sums in notes.batches.items()}
    assert found == {step: straight[step] for step in range(6, 16)}
    one = stored(last(folder / "two_on_one" / "version_0"))
    assert one["global_step"] == 16 and len(one[KEY]["ranks"]) == 1


def test_a_signal_to_one_rank_stops_both_within_50_steps(folder, ranks):
    assert [found["signal"] for found in ranks] == [signal.SIGTERM] * 2
    assert stored(last(folder / "stopped" / "version_0"))["global_step"] == 50


def test_the_command_ends_with_143_on_both_ranks_and_goes_on_with_ckpt_path_last(folder, ranks):
    (first, second), (other, resumed) = (found["commands"] for found in ranks)
    assert first[0] == other[0] == 128 + signal.SIGTERM
    assert second[0] == resumed[0] == 0
    stopped, went_on = versions(folder / "command")
    assert stored(last(stopped))["global_step"] == 6  # the next that is logged
    assert f"resuming from {last(stopped)}, step 6" in second[1]
    assert resumed[1] == ""  # one rank speaks
    assert stored(last(went_on))["global_step"] == 16


def test_ranks_that_found_different_checkpoints_do_not_start(ranks):
    for found in ranks:
        assert "found different checkpoints" in found["apart"]
        assert "previous.ckpt" in found["apart"] and "last.ckpt" in found["apart"]


@pytest.mark.slow
@pytest.mark.parametrize("count", [13, 24])  # micro-batches of a rank: behind a step, and within
def test_kill_9_of_a_rank_and_the_same_command_again(folder, in_root, count):
    def start(root: str, *program: str, arguments: tuple[str, ...] = ()) -> list[int]:
        port = free_port()
        options = (
            "--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.accelerator", "cpu",
            "--data.micro_batch_size", "1", *arguments,
        )  # fmt: skip
        processes = [
            subprocess.Popen(
                [sys.executable, *program, *command(folder / "tokens", folder / root, *options)],
                env={**os.environ, **tell_rank(rank, port), "PYTHONPATH": "."}, cwd=in_root,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )
            for rank in range(2)
        ]  # fmt: skip
        # A launcher kills the others when it finds one dead.
        end = time.monotonic() + TIME_LIMIT
        while all(process.poll() is None for process in processes) and time.monotonic() < end:
            time.sleep(0.1)
        if any(process.poll() for process in processes):
            for process in processes:
                process.kill()
        return [process.wait(TIME_LIMIT) for process in processes]

    assert start(f"whole_{count}", "train.py") == [0, 0]
    killing = ("-c", KILLED, "step", str(count))
    codes = start(f"killed_{count}", *killing, arguments=("--ckpt_path", "last"))
    assert -signal.SIGKILL in codes
    assert start(f"killed_{count}", "train.py", arguments=("--ckpt_path", "last")) == [0, 0]
    (whole,) = versions(folder / f"whole_{count}")
    killed, resumed = versions(folder / f"killed_{count}")
    step = count // 4 * 2
    assert stored(last(killed))["global_step"] == step
    assert_same_end(whole, resumed)
    assert [row for row in rows(killed) if row[0] <= step] + rows(resumed) == rows(whole)
