"""Speed on several ranks, which never ask one another."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from callbacks import Speed
from tests.helpers.speed_clock import FETCH, STEP, TOKENS, Clock, Counted, Loader, train


class Guarded(Speed):
    """Fails where one of its hooks talks to other ranks."""

    def __getattribute__(self, name):
        found = super().__getattribute__(name)
        if not name.startswith("on_"):
            return found

        def hook(*args, **kwargs):
            names = ("all_reduce", "all_gather", "broadcast", "barrier", "reduce", "gather")
            before = {name: getattr(dist, name) for name in names}

            def refuse(*args, **kwargs):
                raise AssertionError("a collective")

            for collective in names:
                setattr(dist, collective, refuse)
            try:
                return found(*args, **kwargs)
            finally:
                for collective, original in before.items():
                    setattr(dist, collective, original)

        return hook


def fit_on_rank(rank: int, port: int, folder: str) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0"}
    os.environ |= {"LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    clock = Clock()
    # The second rank's clock runs at another pace: each rank reads its own, and none asks.
    loader = Loader(clock, wait=FETCH * (1 + rank))
    callback = Guarded(warmup_steps=2, peak_flops=5e10)
    callback._clock = clock
    options = {"strategy": "ddp", "devices": 2, "use_distributed_sampler": False}
    trainer, logged = train(
        clock,
        callback,
        model=Counted(clock, slow_steps=2),
        loader=loader,
        val=Loader(clock, 2),
        val_check_interval=14,
        accumulate_grad_batches=4,
        max_steps=10,
        **options,
    )
    assert trainer.world_size == 2
    torch.save({"logged": logged, "summary": callback.summary}, f"{folder}/rank_{rank}.pt")


@pytest.mark.ddp
def test_two_ranks_train_twice_the_tokens(tmp_path: Path):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    mp.spawn(fit_on_rank, args=(port, str(tmp_path)), nprocs=2)
    first, second = (torch.load(tmp_path / f"rank_{rank}.pt") for rank in range(2))
    assert list(first["logged"]) == [5, 10] and second["logged"] == {}
    for figures in (*first["logged"].values(), first["summary"]):
        assert figures["tokens_per_second"] == 2 * TOKENS / (FETCH + STEP)
        assert figures["step_seconds"] == 4 * (FETCH + STEP)
        assert figures["dataloader_wait_fraction"] == FETCH / (FETCH + STEP)
        share = TOKENS / (FETCH + STEP) * 1e9 / 5e10  # of one rank's tokens in one device's peak
        assert figures["mfu"] == pytest.approx(share, rel=1e-12)
    assert first["summary"]["tokens"] == second["summary"]["tokens"] == 2 * 10 * 4 * TOKENS
    assert second["summary"]["dataloader_wait_fraction"] == 2 * FETCH / (2 * FETCH + STEP)
