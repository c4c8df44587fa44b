"""What one rank trains of an ensemble, and members with different numbers of steps."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

from datamodules import AlgorithmicData, ModularAddition
from lightning_modules import (
    MLP,
    Classifier,
    CrossEntropyHead,
    Ensemble,
    HarmonicHead,
    NetworkWithHead,
    ToyTransformer,
)
from lightning_modules.ensemble.sharding import member_range
from tests.helpers.trainers import quiet_trainer

# ---- members of a rank ---------------------------------------------------------------------------


def build(network=MLP) -> NetworkWithHead:
    body = network(7, 2)
    return NetworkWithHead(body, HarmonicHead(body.out_features, 7), tie_embedding=True)


@pytest.mark.parametrize(("members", "ranks"), [(20, 8), (3, 3), (1, 4)])
def test_every_member_has_one_rank_and_ranks_have_about_as_many(members, ranks):
    ranges = [member_range(members, rank, ranks) for rank in range(ranks)]
    if members == 1:
        assert ranges == [(0, 1)] * ranks
        return
    taken = [m for first, last in ranges for m in range(first, last)]
    assert taken == list(range(members))
    sizes = [last - first for first, last in ranges]
    assert max(sizes) - min(sizes) <= 1


def test_more_ranks_than_seeds_are_refused():
    with pytest.raises(ValueError, match=r"trainer\.devices"):
        member_range(2, 0, 3)


def test_a_slice_trains_the_members_of_the_whole_and_no_others():
    whole = Ensemble(lambda: build(ToyTransformer), [3, 4, 5, 6])
    before = {name: p.detach().clone() for name, p in whole.stacked.named_parameters()}
    part = whole.slice(1, 3)
    assert part.seeds == [4, 5]
    rng = torch.Generator().manual_seed(0)
    inputs = torch.randint(7, (4, 8, 2), generator=rng)
    targets = torch.randint(7, (4, 8), generator=rng)
    alone = Ensemble(lambda: build(ToyTransformer), [4, 5])
    for ensemble in (part, alone):
        optimizer = torch.optim.AdamW(ensemble.parameters(), lr=0.01)
        for step in range(3):
            ensemble.compute_gradients(inputs[1:3], targets[1:3], step)
            optimizer.step()
    trained = dict(alone.stacked.named_parameters())
    for name, parameter in whole.stacked.named_parameters():
        assert torch.equal(parameter[[0, 3]], before[name][[0, 3]])
        assert torch.equal(parameter[1:3], trained[name])  # dropout masks go by seed
        assert not torch.equal(parameter[1:3], before[name][1:3])


# ---- members that differ in more than their seed -------------------------------------------------

SEEDS = [3, 3, 7, 7, 3]
FRACTIONS = [0.2, 0.8, 0.8, 0.2, 0.5]
SAMPLINGS = ["distinct", "distinct", "with_replacement", "distinct", "with_replacement"]
EXPONENTS = [2.0, 1.0, 2.0, 2.0, 4.0]


def fit(model, data, epochs=3, **resumed: Any):
    trainer = quiet_trainer(max_epochs=epochs, num_sanity_val_steps=2)
    trainer.fit(model, datamodule=data, **resumed)
    return trainer


def together(network=MLP, **options):
    head = partial(HarmonicHead, eps=1e-4)
    return Classifier(network, head, seeds=SEEDS, head_settings={"exponent": EXPONENTS}, **options)


def data_of(sampling, fraction):
    return AlgorithmicData(ModularAddition(), sampling, 150, fraction)


def alone(index, network=MLP):
    head = partial(HarmonicHead, exponent=EXPONENTS[index], eps=1e-4)
    model = Classifier(network, head, seeds=[SEEDS[index]])
    fit(model, data_of(SAMPLINGS[index], FRACTIONS[index]))
    return model


def test_members_that_differ_in_fraction_sampling_and_exponent_train_as_alone():
    network = partial(ToyTransformer, dropout=0.1)
    model = together(network)
    fit(model, data_of(SAMPLINGS, FRACTIONS))
    scores = model.scores()
    for index in range(len(SEEDS)):
        single = alone(index, network)
        expected = dict(single.member(0).named_parameters())
        for name, parameter in model.member(index).named_parameters():
            ours, theirs = parameter, expected[name]
            if name.endswith("qkv.bias"):
                # A key's bias has no effect on attention: its gradient is rounding noise, which
                # Adam scales up to whole steps.
                ours, theirs = (
                    torch.cat([bias[:16], bias[32:]]) for bias in (parameter, expected[name])
                )
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
        for name, value in single.scores().items():
            torch.testing.assert_close(
                scores[name][index], value[0], atol=1e-5, rtol=1e-4, equal_nan=True
            )


def test_member_with_fewer_examples_takes_fewer_optimizer_steps():
    model = together()
    trainer = fit(model, data_of("distinct", FRACTIONS), epochs=2)
    optimizer = trainer.optimizers[0]
    steps = [float(optimizer.state[p]["step"]) for p in optimizer.param_groups[0]["params"]]
    # 30, 120, 30 and 75 examples in batches of 32, two epochs, five tensors a network; seeds 3 and
    # 7 with 0.8 are neighbors and form one group.
    assert steps == [2.0] * 5 + [8.0] * 5 + [2.0] * 5 + [6.0] * 5


def test_run_of_members_with_different_steps_resumes_to_the_same_bits(tmp_path):
    def run(epochs, **resumed):
        model = together()
        return model, fit(model, data_of(SAMPLINGS, FRACTIONS), epochs, **resumed)

    whole, _ = run(4)
    _, trainer = run(2)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    resumed, _ = run(4, ckpt_path=tmp_path / "half.ckpt", weights_only=True)
    for ours, theirs in zip(resumed.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_large_ensemble_is_the_same_as_its_members_in_chunks(monkeypatch):
    results = []
    for at_a_time in (2, 100):
        monkeypatch.setattr("lightning_modules.ensemble.ensemble._AT_A_TIME", at_a_time)
        model = Classifier(MLP, HarmonicHead, seeds=[1, 2, 3, 4, 5])
        fit(model, data_of("distinct", 0.8), epochs=3)
        results.append(torch.cat([p.flatten() for p in model.parameters()]))
    torch.testing.assert_close(results[0], results[1], atol=1e-6, rtol=1e-5)


class Derived(HarmonicHead):
    """Computes something from the exponent once, and so cannot have it differ between members."""

    def __init__(self, in_features, num_classes, exponent=2.0):
        super().__init__(in_features, num_classes, exponent)
        self.half = -0.5 * exponent


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"seeds": [1, 1]}, "seeds"),
        ({"head_settings": {"exponent": [1.0]}}, r"head_settings\.exponent"),
        ({"head_settings": {"slope": [1.0, 2.0]}}, "'slope'"),
        ({"head": CrossEntropyHead, "head_settings": {"bias": [0, 1]}}, "'bias'"),
        ({"head": Derived, "head_settings": {"exponent": [1, 2]}}, "'exponent'"),
    ],
)
def test_invalid_members_are_refused(options, name):
    with pytest.raises(ValueError, match=name):
        fit(Classifier(**{"seeds": [1, 2], **options}), data_of("distinct", 0.8), epochs=1)
