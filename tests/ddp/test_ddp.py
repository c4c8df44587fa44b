"""What ranks reduce and gather is what one rank has alone (gloo, CPU)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from lightning_modules import MLP, CrossEntropyHead, Ensemble, NetworkWithHead
from lightning_modules.ensemble.metrics import EnsembleMetrics
from lightning_modules.ensemble.sharding import EnsembleShard

pytestmark = pytest.mark.ddp


def examples(count: int = 51) -> tuple[torch.Tensor, ...]:
    rng = torch.Generator().manual_seed(0)
    losses = torch.rand(3, count, generator=rng)
    correct, is_test, leaked, mirrored = (
        torch.rand(3, count, generator=rng) < 0.5 for _ in range(4)
    )
    targets = torch.randint(-1, 5, (3, count), generator=rng)
    return losses, correct, torch.where(targets < 0, -100, targets), is_test, leaked, mirrored


def scores(columns: slice) -> torch.Tensor:
    metrics = EnsembleMetrics(3)
    metrics.update(*(column[:, columns] for column in examples()))
    return metrics.compute()


class Scaled(MLP):
    """With a scalar parameter, a scalar buffer that training changes, and dropout's integer key."""

    def __init__(self) -> None:
        super().__init__(7, 2)
        self.scale = torch.nn.Parameter(torch.tensor(1.0))
        self.register_buffer("calls", torch.tensor(0))
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, tokens):
        features = super().forward(tokens) * self.scale
        self.calls += 1
        self.mean += features.detach().mean()
        return features


def trained(rank: int, ranks: int) -> dict[str, torch.Tensor]:
    """Every member's state after three steps, as one of several ranks holds it."""
    whole = Ensemble(lambda: NetworkWithHead(Scaled(), CrossEntropyHead(16, 7)), [0, 1, 2])
    shard = EnsembleShard(whole, rank, ranks)
    optimizer = torch.optim.AdamW(shard.ensemble.parameters(), lr=0.01)
    rng = torch.Generator().manual_seed(0)
    batch = {
        "inputs": torch.randint(7, (3, 8, 2), generator=rng),
        "targets": torch.randint(7, (3, 8), generator=rng),
    }
    mine = shard.shard_batch(batch, dim=0)
    for step in range(3):
        shard.ensemble.compute_gradients(mine["inputs"], mine["targets"], step)
        optimizer.step()
    shard.all_gather_parameters()
    state = shard.gather_optimizer_state(optimizer.state_dict())["state"]
    moments = {f"moment {index}": entry["exp_avg"] for index, entry in state.items()}
    return {**{name: value.clone() for name, value in whole.state_dict().items()}, **moments}


def on_rank(rank: int, folder: str, port: int) -> None:
    address = f"tcp://127.0.0.1:{port}"
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    uneven = slice(0, 20) if rank == 0 else slice(20, 51)
    torch.save({"scores": scores(uneven), **trained(rank, 2)}, f"{folder}/rank_{rank}.pt")


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory, spawn_ranks) -> list[dict[str, torch.Tensor]]:
    folder: Path = tmp_path_factory.mktemp("ranks")
    spawn_ranks(on_rank, 2, str(folder))
    return [torch.load(folder / f"rank_{rank}.pt", weights_only=True) for rank in range(2)]


def test_scores_are_the_same_on_one_rank_and_on_two(ranks):
    for rank in ranks:
        torch.testing.assert_close(rank["scores"], scores(slice(None)))


def test_scalar_parameters_buffers_and_moments_of_all_members_are_gathered(ranks):
    alone = trained(0, 1)
    assert alone["stacked.network.calls"].tolist() == [3, 3, 3]
    for rank in ranks:
        torch.testing.assert_close({name: rank[name] for name in alone}, alone)
