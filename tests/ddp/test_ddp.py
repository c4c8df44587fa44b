"""Metrics are the same number on one rank and on two (gloo, CPU)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from lightning_modules.ensemble.metrics import EnsembleMetrics


def examples(count: int = 51) -> tuple[torch.Tensor, ...]:
    rng = torch.Generator().manual_seed(0)
    losses = torch.rand(3, count, generator=rng)
    correct, is_test, leaked, mirrored = (
        torch.rand(3, count, generator=rng) < 0.5 for _ in range(4)
    )
    targets = torch.randint(-1, 5, (3, count), generator=rng)
    return losses, correct, torch.where(targets < 0, -100, targets), is_test, leaked, mirrored


def score_on_rank(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    scores = EnsembleMetrics(3)
    share = slice(0, 20) if rank == 0 else slice(20, 51)  # uneven on purpose
    scores.update(*(column[:, share] for column in examples()))
    torch.save(scores.compute(), f"{folder}/rank_{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.ddp
def test_member_scores_are_the_same_on_one_rank_and_on_two(tmp_path: Path):
    alone = EnsembleMetrics(3)
    alone.update(*examples())
    mp.spawn(score_on_rank, args=(str(tmp_path),), nprocs=2)
    for rank in range(2):
        both = torch.load(tmp_path / f"rank_{rank}.pt", weights_only=True)
        torch.testing.assert_close(both, alone.compute())
