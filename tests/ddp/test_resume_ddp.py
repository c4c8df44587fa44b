"""Two ranks (gloo, CPU) are killed or stopped and resumed; also as one rank, or from one."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import torch.nn.functional as F

from callbacks import GracefulStop
from callbacks.run.exact_resume import KEY, reseed
from glassbox.cli.main import main
from tests.commands.test_resume import (
    KILLED,
    assert_same_end,
    assert_same_rows,
    command,
    equal,
    fit,
    last,
    stored,
    versions,
    write_tokens,
)
from tests.helpers.paths import ROOT
from tests.helpers.ranks import free_port, rank_environment, set_rank

pytestmark = [pytest.mark.ddp, pytest.mark.xdist_group("resume_ddp")]
TIME_LIMIT = 400
TWO = (
    "--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.accelerator", "cpu",
    "--data.micro_batch_size", "1",
)  # fmt: skip
KILLS = {  # name: (moment, step of the checkpoint)
    "mid_step": (("train", 7, 1), 6),
    "validation": (("validate", 8, 0), 6),
}


class Notes(L.Callback):
    """The batches that a rank reads, its first dropout mask, and how often it broadcasts."""

    def __init__(self) -> None:
        self.batches: dict[str, list[int]] = {}
        self.mask: list[float] = []
        self.broadcasts = 0
        self._broadcast = torch.distributed.broadcast

    def on_train_start(self, trainer, pl_module):
        def counting(*arguments, **options):
            self.broadcasts += 1
            return self._broadcast(*arguments, **options)

        torch.distributed.broadcast = counting

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if not self.mask:
            with torch.random.fork_rng():
                self.mask = F.dropout(torch.ones(64)).tolist()
        # The sum of a window identifies it.
        sums = batch["inputs"].sum(1).tolist()
        self.batches.setdefault(str(trainer.global_step), []).extend(sums)

    def on_train_end(self, trainer, pl_module):
        torch.distributed.broadcast = self._broadcast


class SignalAt(L.Callback):
    """Sends SIGTERM to one rank in the middle of a step."""

    def __init__(self, rank: int = 1, step: int = 5) -> None:
        self.rank, self.step = rank, step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        micro = batch_idx % trainer.accumulate_grad_batches
        if (trainer.global_rank, trainer.global_step, micro) == (self.rank, self.step, 1):
            os.kill(os.getpid(), signal.SIGTERM)


def run_command(folder: Path, *arguments: str) -> tuple[Any, str]:
    """Exit code and output of this rank's `lightning fit`."""
    out, code = io.StringIO(), 0
    with contextlib.redirect_stdout(out):
        try:
            main(command(folder / "tokens", folder / "command", *TWO, *arguments))
        except SystemExit as stop:
            code = stop.code
    return code, out.getvalue()


def on_rank(rank: int, folder: str, port: int) -> None:
    set_rank(rank, 2, port)
    here, tokens = Path(folder), Path(folder) / "tokens"

    notes = Notes()
    fit(tokens, "straight", 1, world=2, callbacks=(notes, GracefulStop()))
    for name, (moment, _) in KILLS.items():
        fit(tokens, f"{name}_killed", 1, moment, world=2, callbacks=(GracefulStop(),))
    stopped = GracefulStop()
    fit(tokens, "stopped_killed", 1, world=2, callbacks=(SignalAt(), stopped))
    for name in (*KILLS, "stopped"):
        killed = last(here / f"{name}_killed" / "version_0")
        fit(tokens, f"{name}_resumed", 1, ckpt=killed, seed=1, world=2)

    from_one = Notes()
    ckpt = last(here / "one" / "version_0")
    fit(tokens, "one_on_two", 1, ckpt=ckpt, seed=1, world=2, callbacks=(from_one,))

    rarely = GracefulStop()
    options = {"log_every_n_steps": 100, "val_check_interval": 100, "max_steps": 60}
    fit(tokens, "rarely", 1, world=2, callbacks=(SignalAt(), rarely), **options)

    signal_at = ("--trainer.callbacks+", "tests.ddp.test_resume_ddp.SignalAt")
    commands = [run_command(here, *args) for args in (signal_at, ("--ckpt_path", "last"))]

    # The last, because it leaves a process group in the middle of a collective.
    ckpt = last(here / ("mid_step_killed" if rank else "validation_killed") / "version_0")
    with pytest.raises(ValueError) as error:
        fit(tokens, "apart", 1, ckpt=ckpt.with_name("previous.ckpt") if rank else ckpt, world=2)
    results = {
        "batches": notes.batches,
        "mask": notes.mask,
        "from_one": from_one.batches,
        # The second run has no GracefulStop.
        "broadcasts": [notes.broadcasts, from_one.broadcasts],
        "signals": [stopped.signal, rarely.signal],
        "commands": commands,
        "apart": str(error.value),
    }
    Path(folder, f"rank_{rank}.json").write_text(json.dumps(results))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("resume_ddp")
    write_tokens(folder / "tokens")
    return folder


@pytest.fixture(scope="module")
def ranks(folder, spawn_ranks) -> list[dict[str, Any]]:
    """What each of two ranks recorded."""
    fit(folder / "tokens", "one", 2, max_steps=6)
    with contextlib.chdir(ROOT):
        spawn_ranks(on_rank, 2, str(folder))
    return [json.loads((folder / f"rank_{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize("name", [*KILLS, "stopped"])
def test_two_ranks_killed_or_stopped_log_and_end_as_two_uninterrupted_ones(folder, ranks, name):
    straight, killed, resumed = (
        folder / part / "version_0" for part in ("straight", f"{name}_killed", f"{name}_resumed")
    )
    step = KILLS[name][1] if name in KILLS else 6  # the next logging step after the signal
    assert stored(last(killed))["global_step"] == step
    assert_same_end(straight, resumed)
    assert_same_rows(straight, killed, resumed, step)


def test_a_signal_to_one_rank_stops_both_within_50_steps(folder, ranks):
    assert [rank["signals"] for rank in ranks] == [[signal.SIGTERM] * 2] * 2
    assert stored(last(folder / "rarely" / "version_0"))["global_step"] == 50


def test_each_rank_draws_its_own_dropout_masks_a_function_of_seed_and_rank(folder, ranks):
    masks = [rank["mask"] for rank in ranks]
    assert masks[0] != masks[1]
    with torch.random.fork_rng():
        reseed(0, 1)
        assert masks[1] == F.dropout(torch.ones(64)).tolist()
    states = stored(last(folder / "straight" / "version_0"))[KEY]["ranks"]
    assert len(states) == 2 and not equal(states[0]["random"], states[1]["random"])


def test_ranks_do_not_broadcast_a_flag_before_every_micro_batch(ranks):
    # Lightning alone does so in the second run: six steps of two micro-batches.
    assert [rank["broadcasts"] for rank in ranks] == [[0, 12], [0, 12]]


def test_resumed_on_another_number_of_ranks_the_data_order_is_the_same(folder, ranks):
    def merged(key: str) -> dict[str, list[int]]:
        return {step: sorted(ranks[0][key][step] + ranks[1][key][step]) for step in ranks[0][key]}

    rest = {step: sums for step, sums in merged("batches").items() if int(step) >= 6}
    assert merged("from_one") == rest and len(rest) == 6
    notes = Notes()
    killed = last(folder / "mid_step_killed" / "version_0")
    fit(folder / "tokens", "two_on_one", 2, seed=1, callbacks=(notes,), ckpt=killed)
    assert {step: sorted(sums) for step, sums in notes.batches.items()} == rest
    one = stored(last(folder / "two_on_one" / "version_0"))
    assert one["global_step"] == 12 and len(one[KEY]["ranks"]) == 1


def test_the_command_ends_with_143_on_both_ranks_and_is_resumed_with_ckpt_path_last(folder, ranks):
    (first, second), (other, resumed) = (rank["commands"] for rank in ranks)
    assert first[0] == other[0] == 128 + signal.SIGTERM
    assert second[0] == resumed[0] == 0
    before, after = versions(folder / "command")
    assert stored(last(before))["global_step"] == 6  # the next logging step
    assert f"{last(before)}, step 6" in second[1]
    assert resumed[1] == ""  # one rank prints
    assert stored(last(after))["global_step"] == 16


def test_ranks_that_loaded_different_checkpoints_do_not_start(ranks):
    for rank in ranks:
        assert all(name in rank["apart"] for name in ("ckpt_path", "previous.ckpt", "last.ckpt"))


@pytest.mark.slow
@pytest.mark.parametrize("count", [13, 24])  # micro-batches of a rank: after a step, and within
def test_kill_9_of_a_rank_and_the_same_command_again(folder, in_root, count):
    def start(root: str, *program: str, arguments: tuple[str, ...] = ()) -> list[int]:
        port = free_port()
        words = [*program, *command(folder / "tokens", folder / root, *TWO, *arguments)]
        processes = [
            subprocess.Popen(
                [sys.executable, *words], cwd=in_root,
                env={**os.environ, **rank_environment(rank, 2, port), "PYTHONPATH": "."},
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )
            for rank in range(2)
        ]  # fmt: skip
        end = time.monotonic() + TIME_LIMIT
        while all(process.poll() is None for process in processes) and time.monotonic() < end:
            time.sleep(0.1)
        if any(process.poll() for process in processes):  # as a launcher does
            for process in processes:
                process.kill()
        return [process.wait(TIME_LIMIT) for process in processes]

    last_one = ("--ckpt_path", "last")
    if not versions(folder / "complete"):
        assert start("complete", "train.py") == [0, 0]
    killing = ("-c", KILLED, "step", str(count))
    assert -signal.SIGKILL in start(f"killed_{count}", *killing, arguments=last_one)
    assert start(f"killed_{count}", "train.py", arguments=last_one) == [0, 0]
    (complete,) = versions(folder / "complete")
    killed, resumed = versions(folder / f"killed_{count}")
    step = count // 4 * 2
    assert stored(last(killed))["global_step"] == step
    assert_same_end(complete, resumed)
    assert_same_rows(complete, killed, resumed, step)
