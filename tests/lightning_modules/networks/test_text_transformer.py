"""The text transformer against torch's own encoder layer, and its padding against no padding."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from lightning_modules import CrossEntropyHead, TextTransformer, VariationalWordMask
from lightning_modules.networks.text_transformer import sinusoids
from tests.lightning_modules.networks.test_networks import torch_layer


def network(**options) -> TextTransformer:
    torch.manual_seed(0)
    sizes = {"width": 32, "num_heads": 4, "feedforward_dim": 64, "mask_dim": 24}
    return TextTransformer(50, 12, **{**sizes, **options}).eval()


def texts() -> tuple[torch.Tensor, torch.Tensor]:
    tokens = torch.tensor([[4, 9, 2, 30, 7, 8], [11, 3, 0, 0, 0, 0], [5, 0, 0, 0, 0, 0]])
    return tokens, tokens != 0


def test_parameter_count_of_the_paper_s_model():
    model = TextTransformer(1_000, 128)
    head = CrossEntropyHead(model.out_features, 2, bias=True)
    count = sum(p.numel() for part in (model, head) for p in part.parameters())
    assert count == 1_000 * 256 + 1_055_492


def test_layer_is_torch_s_post_norm_encoder_layer():
    model = network(vmask=False)
    layer = model.layers[0]
    x = torch.randn(3, 6, 32)
    _, mask = texts()
    theirs = torch_layer(layer, 32, 4, 64).eval()
    with torch.no_grad():
        expected = theirs(x, src_key_padding_mask=~mask)
        activations = layer(x, mask)
        _, weights = theirs.self_attn(x, x, x, key_padding_mask=~mask, average_attn_weights=False)
    # torch's fast path sets padded rows to zero.
    assert torch.allclose(activations["norm2"][mask], expected[mask], atol=1e-5)
    assert torch.allclose(activations["attention_weights"], weights, atol=1e-6)


def test_forward_pass_of_the_authors_code():
    """Embedding × √E, p · x, positions, torch's layer, mean over all positions."""
    model = network(pooling="all", padding_embedding=True)
    tokens, mask = (F.pad(part, (0, 6)) for part in texts())  # all 12 positions, as they have
    theirs = torch_layer(model.layers[0], 32, 4, 64).eval()
    mask_net = model.vmask
    x = model.embedding.weight[tokens] * math.sqrt(32)
    hidden = torch.tanh(F.linear(x, mask_net.hidden.weight, mask_net.hidden.bias))
    p = F.linear(hidden, mask_net.score.weight, mask_net.score.bias).softmax(-1)[..., 1]
    x = x * p.unsqueeze(-1) + sinusoids(12, 32)
    # With gradients torch takes its plain path, which computes padded rows as the authors' did.
    expected = theirs(x, src_key_padding_mask=~mask).mean(dim=1)
    assert torch.allclose(model(tokens, mask), expected, atol=1e-5)
    assert torch.allclose(
        model.forward_with_activations(tokens, mask)["features"], expected, atol=1e-5
    )
    assert not torch.allclose(network()(tokens, mask), expected, atol=1e-2)


def test_sinusoidal_positions():
    positions = sinusoids(7, 6)
    for place in range(7):
        for i in range(3):
            angle = place / 10_000 ** (2 * i / 6)
            assert positions[place, 2 * i] == pytest.approx(math.sin(angle), abs=1e-6)
            assert positions[place, 2 * i + 1] == pytest.approx(math.cos(angle), abs=1e-6)


@pytest.mark.parametrize("layers", [1, 2])
def test_padding_does_not_change_the_activations(layers):
    model = network(num_layers=layers)
    tokens, mask = texts()
    together = model.forward_with_activations(tokens, mask)
    for row, length in enumerate([6, 2, 1]):
        alone = model.forward_with_activations(tokens[row : row + 1, :length])
        assert torch.allclose(alone["features"][0], together["features"][row], atol=1e-6)
        for name in ("embedding", "vmask", "attention", "norm1", "ffn1", "ffn2", "norm2"):
            assert torch.allclose(alone[name][0], together[name][row, :length], atol=1e-5), name
        weights = together["attention_weights"][row, :, :length]
        assert torch.allclose(alone["attention_weights"][0], weights[..., :length], atol=1e-6)
        assert (weights[..., length:] == 0).all()


def test_no_gradient_reaches_padding():
    model = network()
    tokens, mask = texts()
    model(tokens, mask).square().sum().backward()
    assert (model.embedding.weight.grad[0] == 0).all()
    assert (model.embedding.weight.grad[9] != 0).any()


@pytest.mark.parametrize("layers", [1, 3])
def test_activations_without_attention_weights_are_the_same(layers):
    model = network(num_layers=layers)
    tokens, mask = texts()
    tokens, mask = F.pad(tokens, (0, 0, 0, 1)), F.pad(mask, (0, 0, 0, 1))  # and an empty text
    lean = model.forward_with_activations(tokens, mask, attention_weights=False)
    activations = model.forward_with_activations(tokens, mask)
    assert set(activations) - set(lean) == {
        name for name in activations if name.endswith("attention_weights")
    }
    for name, value in lean.items():
        assert torch.allclose(value, activations[name], atol=1e-5), name
    assert torch.allclose(model(tokens, mask), activations["features"], atol=1e-6)


def test_empty_text_has_finite_features_and_gradients():
    model = network()
    tokens = torch.tensor([[4, 9], [0, 0]])
    features = model(tokens)
    assert (features[1] == 0).all()
    features.sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_names_of_the_layers_activations():
    activations = network(num_layers=2).forward_with_activations(*texts())
    assert {"layer1/ffn1", "layer2/ffn1"} <= activations.keys()
    assert activations["ffn1"] is activations["layer2/ffn1"]
    assert not any(
        name.startswith("layer") for name in network().forward_with_activations(*texts())
    )


def test_without_a_word_mask_words_are_unchanged():
    activations = network(vmask=False).forward_with_activations(*texts())
    assert "vmask_probability" not in activations
    assert activations["vmask"] is activations["embedding"]


def test_initial_scale_of_the_features():
    torch.manual_seed(0)
    model = TextTransformer(5_000, 128).eval()
    features = model(torch.randint(1, 5_000, (32, 20)))
    rms = float(features.detach().square().mean().sqrt())
    assert rms == pytest.approx(model.initial_scale, rel=0.15)


def test_training_keeps_words_with_their_probability():
    torch.manual_seed(0)
    mask = VariationalWordMask(8, 16).train()
    x = torch.randn(1, 5, 8)
    draws = torch.stack([mask(x)[0] for _ in range(2_000)])  # (N, 1, 5, 8)
    through = draws.abs().sum(-1) > 0
    words = x.expand_as(draws)[through]
    assert torch.allclose(draws[through], words)  # whole, or not at all
    fraction = through.float().mean(dim=0)
    assert torch.allclose(fraction, mask(x)[1], atol=0.045)


def test_temperature_decreases_geometrically():
    mask = VariationalWordMask(8, 16, temperature=1.0, final_temperature=0.01)
    for progress, expected in ((0.0, 1.0), (0.5, 0.1), (1.0, 0.01), (2.0, 0.01)):
        mask.anneal(progress)
        assert mask.temperature == pytest.approx(expected)


@pytest.mark.parametrize(
    "options",
    [
        {"num_heads": 5},
        {"num_layers": 0},
        {"dropout": 1.0},
        {"pooling": "max"},
        {"temperature": 0.0},
    ],
    ids=str,
)
def test_options_out_of_range_raise(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        network(**options)


def test_text_longer_than_the_context_raises():
    with pytest.raises(ValueError, match="context_length"):
        network()(torch.ones(1, 13, dtype=torch.long))
