"""A member of an ensemble trains as an ordinary module of its seed would, alone."""

import copy
import io
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from datamodules import AlgorithmicData, ModularAddition
from datamodules.common.order import epoch_batches
from lightning_modules import (
    MLP,
    CrossEntropyHead,
    Ensemble,
    HarmonicHead,
    NetworkWithHead,
    ToyTransformer,
)
from lightning_modules.ensemble.ensemble import compile_with_fallback

SEEDS = [3, 52, 7]
HARMONIC = partial(HarmonicHead, exponent=2, eps=1e-4)


def build(network, head, **options):
    body = network(31, 2)
    return NetworkWithHead(body, head(body.out_features, 31), **options)


def train_alone(build_one, seed, steps, batch_size=32):
    """The plain loop: an ordinary module, autograd, AdamW, the seed's own split and order."""
    data = AlgorithmicData(ModularAddition(), seeds=[seed], batch_size=batch_size)
    data.setup()
    split = data.splits[0]
    torch.manual_seed(seed)
    model = build_one()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    losses, step, epoch = [], 0, 0
    while step < steps:
        for rows in epoch_batches([seed], epoch, [len(split.train_inputs)], batch_size)[:, 0]:
            rows = rows[rows >= 0]
            loss = model(split.train_inputs[rows], split.train_targets[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            step += 1
            if step == steps:
                break
        epoch += 1
    return model, losses


def train_together(ensemble, steps, batch_size=32):
    data = AlgorithmicData(ModularAddition(), seeds=ensemble.seeds, batch_size=batch_size)
    data.setup()
    optimizer = torch.optim.AdamW(ensemble.parameters(), lr=2e-3, weight_decay=0.01)
    losses, epoch = [], 0
    while len(losses) < steps:
        data.trainer = SimpleNamespace(current_epoch=epoch)
        batch = next(iter(data.train_dataloader()))
        for inputs, targets in zip(batch["inputs"], batch["targets"], strict=True):
            losses.append(ensemble.compute_gradients(inputs, targets, len(losses)))
            optimizer.step()
            if len(losses) == steps:
                break
        epoch += 1
    return torch.stack(losses)


@pytest.mark.parametrize(
    ("network", "head", "tied", "steps"),
    [
        (MLP, HARMONIC, True, 40),
        (MLP, CrossEntropyHead, False, 40),
        (partial(ToyTransformer, dropout=0.0), HARMONIC, False, 20),
        (partial(ToyTransformer, dropout=0.0), CrossEntropyHead, True, 20),
    ],
)
def test_member_trains_as_its_seed_alone(network, head, tied, steps):
    # 50 examples a batch: the last of an epoch is short, and must weigh as a short batch does.
    build_one = partial(build, network, head, tie_embedding=tied, embedding_penalty=0.01)
    ensemble = Ensemble(build_one, SEEDS)
    together = train_together(ensemble, steps, batch_size=50)
    for index, seed in enumerate(SEEDS):
        alone, losses = train_alone(build_one, seed, steps, batch_size=50)
        torch.testing.assert_close(together[:, index], torch.tensor(losses), atol=1e-5, rtol=1e-5)
        # Logits rather than weights: a key's bias has no effect on attention, so that its gradient
        # is rounding noise, which Adam scales up to full steps.
        inputs = torch.cartesian_prod(torch.arange(31), torch.arange(31))
        member = ensemble.member(index).eval()
        torch.testing.assert_close(member(inputs), alone.eval()(inputs), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("network", "head"),
    [(MLP, HARMONIC), (partial(ToyTransformer, dropout=0.1), CrossEntropyHead)],
)
def test_a_lone_member_has_the_gradients_that_it_has_beside_others(network, head):
    build_one = partial(build, network, head, tie_embedding=True, embedding_penalty=0.01)
    beside, alone = Ensemble(build_one, SEEDS), Ensemble(build_one, SEEDS[1:2])
    inputs, targets = torch.randint(31, (len(SEEDS), 32, 2)), torch.randint(31, (len(SEEDS), 32))
    losses = beside.compute_gradients(inputs, targets, 7)
    lone = alone.compute_gradients(inputs[1:2], targets[1:2], 7)
    torch.testing.assert_close(lone[0], losses[1])
    for (name, one), other in zip(alone.named_parameters(), beside.parameters(), strict=True):
        assert one.grad.shape == one.shape, name
        torch.testing.assert_close(one.grad[0], other.grad[1], atol=1e-6, rtol=1e-4)


def test_features_give_the_logits_even_where_dropout_stays_on_in_evaluation():
    network = partial(ToyTransformer, dropout=0.3, dropout_in_evaluation=True)
    ensemble = Ensemble(partial(build, network, CrossEntropyHead), SEEDS)
    inputs = torch.randint(31, (3, 10, 2))
    features, logits = ensemble.features(inputs, step=5), ensemble(inputs, step=5)
    for index in range(3):
        torch.testing.assert_close(ensemble.member(index).head(features[index]), logits[index])
    assert not torch.allclose(logits, ensemble(inputs, step=6))


def test_dropout_of_a_member_does_not_depend_on_its_neighbors():
    build_one = partial(build, partial(ToyTransformer, dropout=0.3), HARMONIC)
    alone, together = Ensemble(build_one, [52]), Ensemble(build_one, [3, 52, 7])
    losses = [train_together(ensemble, 20) for ensemble in (alone, together)]
    torch.testing.assert_close(losses[0][:, 0], losses[1][:, 1], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(losses[1][:, 0], losses[1][:, 1])


@pytest.mark.slow
def test_compiles_more_sizes_of_groups_than_dynamo_does_by_itself():
    torch.compiler.reset()
    double = compile_with_fallback(lambda x: 2 * x)
    for size in range(2, 12):
        before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
        torch.testing.assert_close(double(torch.ones(size)), torch.full((size,), 2.0))
        assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == before + 1, size


def test_ensemble_trains_on_with_a_warning_where_the_compiler_fails(monkeypatch):
    build_one = partial(build, MLP, HARMONIC)
    expected = train_together(Ensemble(build_one, SEEDS), 30)

    def broken(function, **options):
        def compiled(*arguments):
            raise RuntimeError("no C++ compiler\nand a long story")

        return compiled

    monkeypatch.setattr(torch, "compile", broken)
    ensemble = Ensemble(build_one, SEEDS)
    ensemble.compile()
    with pytest.warns(UserWarning, match="continues uncompiled: no C\\+\\+ compiler$"):
        losses = train_together(ensemble, 30)
    torch.testing.assert_close(losses, expected, atol=0, rtol=0)


@pytest.mark.slow
def test_compiled_ensemble_trains_as_an_eager_one():
    build_one = partial(build, partial(ToyTransformer, dropout=0.1), HARMONIC, tie_embedding=True)
    eager, compiled = Ensemble(build_one, SEEDS), Ensemble(build_one, SEEDS)
    compiled.compile()
    torch.testing.assert_close(
        train_together(compiled, 60), train_together(eager, 60), atol=1e-4, rtol=1e-4
    )


def pickled(ensemble):
    buffer = io.BytesIO()
    torch.save(ensemble, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, pickled])
def test_a_copy_is_independent_of_the_original(duplicate):
    ensemble = Ensemble(partial(build, partial(ToyTransformer, dropout=0.5), HARMONIC), SEEDS)
    inputs, targets = torch.randint(31, (3, 8, 2)), torch.randint(31, (3, 8))
    train_together(ensemble, 2)  # in training mode from now on
    twin = duplicate(ensemble)
    logits = twin(inputs)
    losses = ensemble.compute_gradients(inputs, targets, 0)  # between two calls of the twin
    torch.testing.assert_close(twin(inputs), logits, rtol=0, atol=0)
    torch.testing.assert_close(twin.evaluate(inputs, targets), ensemble.evaluate(inputs, targets))
    torch.testing.assert_close(twin.compute_gradients(inputs, targets, 0), losses)
    before = ensemble(inputs)
    train_together(twin, 3)
    torch.testing.assert_close(ensemble(inputs), before, rtol=0, atol=0)
    assert not torch.allclose(twin(inputs), before)
    with torch.no_grad():
        ensemble.member(0)  # leaves the twin's mode alone
    torch.testing.assert_close(twin.slice(1, 2)(inputs[1:2]), twin(inputs)[1:2])


@pytest.mark.parametrize("head", [HarmonicHead, CrossEntropyHead])
def test_a_fused_loss_is_not_fused_in_an_ensemble_and_fused_in_a_member_taken_from_it(head):
    ensembles = [
        Ensemble(partial(build, MLP, partial(head, fused=fused)), SEEDS) for fused in (True, False)
    ]
    inputs, targets = torch.randint(31, (3, 8, 2)), torch.randint(31, (3, 8))
    losses = [ensemble.compute_gradients(inputs, targets, 0) for ensemble in ensembles]
    torch.testing.assert_close(losses[0], losses[1], rtol=0, atol=0)
    member = ensembles[0].member(1)
    assert member.head.uses_fused_loss()
    torch.testing.assert_close(member(inputs[1], targets[1]), losses[0][1])


def test_an_ensemble_needs_a_seed_and_leaves_the_global_generator_alone():
    with pytest.raises(ValueError, match="seeds"):
        Ensemble(partial(build, MLP, HARMONIC), [])
    before = torch.get_rng_state()
    Ensemble(partial(build, MLP, HARMONIC), SEEDS)
    assert torch.equal(before, torch.get_rng_state())


def test_member_has_its_own_buffers_and_a_buffer_may_have_any_name():
    class Projected(MLP):
        def __init__(self, vocab_size, num_inputs):
            super().__init__(vocab_size, num_inputs)
            self.register_buffer("key", torch.randn(16))

        def forward(self, tokens):
            return super().forward(tokens) * self.key

    ensemble = Ensemble(partial(build, Projected, CrossEntropyHead), SEEDS)
    inputs = torch.randint(31, (3, 10, 2))
    for index, logits in enumerate(ensemble(inputs)):
        torch.testing.assert_close(ensemble.member(index)(inputs[index]), logits)
    with pytest.raises(IndexError):
        ensemble.member(3)


@pytest.mark.parametrize("dropout", [torch.nn.Dropout, torch.nn.FeatureAlphaDropout])
def test_ordinary_dropout_is_refused_by_name(dropout):
    class Dropping(MLP):
        def __init__(self, vocab_size, num_inputs):
            super().__init__(vocab_size, num_inputs)
            self.drop = dropout(0.2)

    with pytest.raises(ValueError, match=r"network.drop .*SeededDropout\(0.2\)"):
        Ensemble(partial(build, Dropping, CrossEntropyHead), SEEDS)
