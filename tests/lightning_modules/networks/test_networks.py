"""The networks against loops and torch's own layers, and a network with its head."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from lightning_modules import (
    MLP,
    CrossEntropyHead,
    FeatureNetwork,
    HarmonicHead,
    NetworkWithHead,
    ToyTransformer,
)
from lightning_modules.networks.toy_transformer import EncoderLayer


def tokens(*shape, vocab_size=31, seed=0):
    return torch.randint(vocab_size, shape, generator=torch.Generator().manual_seed(seed))


def seeded(build, seed=0):
    torch.manual_seed(seed)
    return build()


def with_head(network, head, vocab_size=31, num_inputs=2, **options):
    body = network(vocab_size, num_inputs)
    return NetworkWithHead(body, head(body.out_features, vocab_size), **options)


def affine(weight, bias, x):
    """W x + b, element by element in float64."""
    return [
        math.fsum(w * v for w, v in zip(row, x, strict=True)) + b
        for row, b in zip(weight.tolist(), bias.tolist(), strict=True)
    ]


# ---- MLP -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_inputs", [1, 3])
def test_mlp_is_embed_concatenate_silu_linear(num_inputs):
    mlp = seeded(lambda: MLP(7, num_inputs, embedding_dim=4, hidden_dim=9))
    inputs = tokens(5, num_inputs, vocab_size=7)
    expected = []
    for example in inputs.tolist():
        x = [value for token in example for value in mlp.embedding.weight[token].tolist()]
        hidden = affine(mlp.hidden.weight, mlp.hidden.bias, x)
        hidden = [value / (1 + math.exp(-value)) for value in hidden]
        expected.append(affine(mlp.features.weight, mlp.features.bias, hidden))
    torch.testing.assert_close(mlp(inputs), torch.tensor(expected), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("network", [MLP, partial(ToyTransformer, dropout=0.0)])
def test_leading_dimensions_are_kept_and_examples_are_independent(network):
    body = seeded(lambda: network(31, 3))
    inputs = tokens(2, 4, 3)
    features = body(inputs)
    assert features.shape == (2, 4, body.out_features)
    torch.testing.assert_close(features[1, 2], body(inputs[1, 2]), rtol=1e-5, atol=1e-5)


def test_initial_mlp_embedding_is_uniform():
    embedding = seeded(lambda: MLP(2000, 2)).embedding.weight
    assert embedding.shape == (2000, 16)
    assert embedding.abs().max() <= 0.25
    assert embedding.std().item() == pytest.approx(0.25 / math.sqrt(3), rel=0.02)


# ---- sizes of the authors' models ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "head", "tied", "count"),
    [
        (MLP, HarmonicHead, True, 5412),
        (MLP, partial(CrossEntropyHead, bias=True), True, 5443),
        # The authors' counts without their unused layer of 527.
        (ToyTransformer, CrossEntropyHead, True, 7615 - 527),
        (ToyTransformer, HarmonicHead, False, 8111 - 527),
    ],
    ids=["harmonic_mlp", "mlp", "transformer", "harmonic_transformer"],
)
def test_parameter_counts_of_the_authors_models(network, head, tied, count):
    model = with_head(network, head, tie_embedding=tied)
    assert sum(parameter.numel() for parameter in model.parameters()) == count


# ---- transformer ---------------------------------------------------------------------------------


def torch_layer(layer, width, num_heads, feedforward_dim):
    """torch's own encoder layer with the weights of ours."""
    theirs = nn.TransformerEncoderLayer(
        width, num_heads, feedforward_dim, batch_first=True, dropout=0.0
    )
    names = {
        "self_attn.in_proj_weight": layer.qkv.weight,
        "self_attn.in_proj_bias": layer.qkv.bias,
        "self_attn.out_proj.weight": layer.out.weight,
        "self_attn.out_proj.bias": layer.out.bias,
        "linear1.weight": layer.fc_in.weight,
        "linear1.bias": layer.fc_in.bias,
        "linear2.weight": layer.fc_out.weight,
        "linear2.bias": layer.fc_out.bias,
        "norm1.weight": layer.norm1.weight,
        "norm1.bias": layer.norm1.bias,
        "norm2.weight": layer.norm2.weight,
        "norm2.bias": layer.norm2.bias,
    }
    theirs.load_state_dict({name: value.detach().clone() for name, value in names.items()})
    return theirs


def shake(module):
    """Perturb every parameter, so that none has its initial value of 0 or 1."""
    rng = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=rng)
    return module


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("num_layers", [1, 3])
def test_transformer_is_torch_s_encoder_layers_with_an_outer_residual(num_layers, training):
    ours = shake(seeded(lambda: ToyTransformer(31, 3, num_layers=num_layers, dropout=0.0)))
    ours.train(training)
    layers = [torch_layer(layer, 16, 2, 64) for layer in ours.layers]
    inputs = tokens(6, 3)
    x = ours.embedding.weight[inputs] + ours.position
    for layer in layers:
        x = layer(x) + x
    torch.testing.assert_close(ours(inputs), x[:, -1], rtol=1e-5, atol=1e-5)


def test_initial_transformer_embedding_and_positions():
    body = seeded(lambda: ToyTransformer(2000, 500))
    n = body.embedding.weight.numel()
    assert body.embedding.weight.std().item() == pytest.approx(0.25, abs=4 * 0.25 / (2 * n) ** 0.5)
    assert body.embedding.weight.mean().item() == pytest.approx(0, abs=4 * 0.25 / n**0.5)
    assert 0.8 < body.embedding.weight.abs().max() < 1.5  # not uniform
    n = body.position.numel()
    assert body.position.std().item() == pytest.approx(1.0, abs=4 / (2 * n) ** 0.5)


def test_initial_encoder_layer_matches_torch_s():
    layer = seeded(lambda: EncoderLayer(64, 2, 256, 0.0, False))
    torch.manual_seed(0)
    theirs = nn.TransformerEncoderLayer(64, 2, 256, batch_first=True)
    for ours, other in (
        (layer.qkv, (theirs.self_attn.in_proj_weight, theirs.self_attn.in_proj_bias)),
        (layer.out, (theirs.self_attn.out_proj.weight, theirs.self_attn.out_proj.bias)),
        (layer.fc_in, (theirs.linear1.weight, theirs.linear1.bias)),
        (layer.fc_out, (theirs.linear2.weight, theirs.linear2.bias)),
    ):
        assert ours.weight.std().item() == pytest.approx(other[0].std().item(), rel=0.05)
        assert ours.weight.abs().max().item() == pytest.approx(
            other[0].abs().max().item(), rel=0.01
        )
        assert (ours.bias == 0).all() == (other[1] == 0).all()


@pytest.mark.parametrize(
    ("network", "options"),
    [
        (MLP, {"vocab_size": 0}),
        (MLP, {"hidden_dim": 0}),
        (ToyTransformer, {"num_heads": 3}),
        (ToyTransformer, {"num_layers": 0}),
    ],
)
def test_sizes_out_of_range_raise(network, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        network(**{"vocab_size": 31, "num_inputs": 2, **options})


# ---- dropout -------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_evaluation", [False, True])
def test_transformer_dropout_in_training_and_evaluation(in_evaluation):
    body = seeded(lambda: ToyTransformer(31, 2, dropout=0.3, dropout_in_evaluation=in_evaluation))
    same = ToyTransformer(31, 2, dropout=0.0)
    same.load_state_dict(body.state_dict())
    inputs = tokens(20, 2)
    body.train()
    assert not torch.equal(body(inputs), body(inputs))
    body.eval()
    assert torch.equal(body(inputs), body(inputs)) != in_evaluation
    assert torch.equal(body(inputs), same(inputs)) != in_evaluation


# ---- network with head ---------------------------------------------------------------------------


@pytest.mark.parametrize("tied", [True, False])
def test_embedding_penalty_adds_the_mean_of_column_rms(tied):
    strength = 0.7
    plain, penalized = (
        seeded(partial(with_head, MLP, HarmonicHead, tie_embedding=tied, embedding_penalty=s))
        for s in (0.0, strength)
    )
    inputs, targets = tokens(9, 2), tokens(9, seed=1)
    before, after = plain(inputs, targets), penalized(inputs, targets)
    rows = plain.network.embedding.weight.tolist()
    columns = list(zip(*rows, strict=True))
    rms = [math.sqrt(math.fsum(value**2 for value in column) / len(column)) for column in columns]
    assert (after - before).item() == pytest.approx(strength * sum(rms) / len(rms), rel=1e-5)


@pytest.mark.parametrize("options", [{"tie_embedding": True}, {"embedding_penalty": 0.1}])
def test_tying_or_penalizing_a_missing_embedding_raises(options):
    class Identity(FeatureNetwork):
        def forward(self, inputs):
            return inputs[..., :4]

    head = HarmonicHead(4, 3)
    with pytest.raises(ValueError, match="tie_embedding"):
        NetworkWithHead(Identity(), head, **options)
    assert NetworkWithHead(Identity(), head)(torch.zeros(5, 6)).shape == (5, 3)


@pytest.mark.parametrize("shape", [(7,), (2, 5)], ids=str)
def test_score_is_negative_log_likelihood_and_correctness(shape):
    rng = torch.Generator().manual_seed(3)
    logits = torch.randn(*shape, 4, generator=rng) * 3
    targets = torch.randint(4, shape, generator=rng)
    targets.view(-1)[:3] = logits.view(-1, 4)[:3].argmax(-1)  # some are right
    targets.view(-1)[3] = -100
    losses, correct = NetworkWithHead.score(logits, targets)
    assert losses.shape == correct.shape == shape
    assert correct.dtype == torch.bool
    for row, target, loss, right in zip(
        logits.view(-1, 4).tolist(),
        targets.flatten().tolist(),
        losses.flatten().tolist(),
        correct.flatten().tolist(),
        strict=True,
    ):
        if target == -100:
            assert loss == 0 and not right
            continue
        nll = math.log(math.fsum(math.exp(value) for value in row)) - row[target]
        assert loss == pytest.approx(nll, rel=1e-5, abs=1e-6)
        assert right == (row[target] == max(row))
