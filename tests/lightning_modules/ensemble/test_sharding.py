"""Which members a rank trains, and that they share the whole ensemble's memory."""

from __future__ import annotations

import pytest
import torch

from lightning_modules import MLP, Ensemble, HarmonicHead, NetworkWithHead, ToyTransformer
from lightning_modules.ensemble.sharding import EnsembleShard, member_range, shard_optimizer_state


def build(network=MLP) -> NetworkWithHead:
    body = network(7, 2)
    return NetworkWithHead(body, HarmonicHead(body.out_features, 7), tie_embedding=True)


@pytest.mark.parametrize(("members", "ranks"), [(20, 8), (5, 2), (3, 3), (1, 4), (6, 1)])
def test_every_member_has_one_rank_and_ranks_have_about_as_many(members, ranks):
    ranges = [member_range(members, rank, ranks) for rank in range(ranks)]
    if members == 1:
        assert ranges == [(0, 1)] * ranks
        return
    taken = [m for first, last in ranges for m in range(first, last)]
    assert taken == list(range(members))
    sizes = [last - first for first, last in ranges]
    assert max(sizes) - min(sizes) <= 1


def test_more_ranks_than_seeds_are_refused_with_both_numbers():
    with pytest.raises(ValueError, match=r"2 seeds cannot be spread over 3 devices; set"):
        member_range(2, 0, 3)


@pytest.mark.parametrize("network", [MLP, ToyTransformer])
def test_a_part_trains_the_members_of_the_whole_and_no_others(network):
    whole = Ensemble(lambda: build(network), [3, 4, 5, 6])
    before = {name: p.detach().clone() for name, p in whole.stacked.named_parameters()}
    first = whole.stacked.network.embedding_matrix().detach().clone()
    part = whole.slice(1, 3)
    assert part.seeds == [4, 5]
    rng = torch.Generator().manual_seed(0)
    inputs = torch.randint(7, (4, 8, 2), generator=rng)
    targets = torch.randint(7, (4, 8), generator=rng)

    alone = Ensemble(lambda: build(network), [4, 5])
    for ensemble in (part, alone):
        optimizer = torch.optim.AdamW(ensemble.parameters(), lr=0.01)
        for step in range(3):
            ensemble.compute_gradients(inputs[1:3], targets[1:3], step)
            optimizer.step()
    trained = dict(alone.stacked.named_parameters())
    for name, parameter in whole.stacked.named_parameters():
        assert torch.equal(parameter[[0, 3]], before[name][[0, 3]])
        assert torch.equal(parameter[1:3], trained[name])  # dropout masks go by seed
    assert not torch.equal(whole.member(1).network.embedding_matrix(), first[1])


def test_an_optimizer_state_is_cut_to_the_members_of_a_rank():
    ensemble = Ensemble(build, [0, 1, 2])
    optimizer = torch.optim.AdamW(ensemble.parameters(), lr=0.01)
    ensemble.compute_gradients(torch.zeros(3, 4, 2, dtype=torch.long), torch.zeros(3, 4).long(), 0)
    optimizer.step()
    state = optimizer.state_dict()
    part = shard_optimizer_state(state, 1, 3)
    for index, entry in state["state"].items():
        assert torch.equal(part["state"][index]["exp_avg"], entry["exp_avg"][1:3])
        assert torch.equal(part["state"][index]["step"], entry["step"])


def test_one_rank_takes_everything():
    ensemble = Ensemble(build, [0, 1])
    share = EnsembleShard(ensemble)
    batch = {"inputs": torch.arange(2 * 3).view(2, 3)}
    assert share.ensemble is ensemble
    assert torch.equal(share.shard_batch(batch, dim=0)["inputs"], batch["inputs"])
