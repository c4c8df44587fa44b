"""The text transformer against torch's own encoder layer, and its padding against no padding."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lightning_modules import CrossEntropyHead, TextTransformer, VariationalWordMask
from lightning_modules.networks.text_transformer import TextLayer, sinusoids


def network(**options) -> TextTransformer:
    torch.manual_seed(0)
    sizes = {"width": 32, "num_heads": 4, "feedforward_dim": 64, "mask_dim": 24}
    return TextTransformer(50, 12, **{**sizes, **options}).eval()


def texts() -> tuple[torch.Tensor, torch.Tensor]:
    tokens = torch.tensor([[4, 9, 2, 30, 7, 8], [11, 3, 0, 0, 0, 0], [5, 0, 0, 0, 0, 0]])
    return tokens, tokens != 0


def encoder_layer(layer: TextLayer, width: int, heads: int) -> nn.TransformerEncoderLayer:
    """torch's layer with the weights of ours."""
    hidden = layer.fc_in.out_features
    theirs = nn.TransformerEncoderLayer(width, heads, hidden, 0.1, batch_first=True).eval()
    theirs.load_state_dict(
        {
            "self_attn.in_proj_weight": layer.qkv.weight,
            "self_attn.in_proj_bias": layer.qkv.bias,
            "self_attn.out_proj.weight": layer.out.weight,
            "self_attn.out_proj.bias": layer.out.bias,
            **{
                f"linear{i}.{n}": p
                for i, part in ((1, "fc_in"), (2, "fc_out"))
                for n, p in _parts(layer, part)
            },
            **{f"norm{i}.{n}": p for i in (1, 2) for n, p in _parts(layer, f"norm{i}")},
        }
    )
    return theirs


def _parts(layer: nn.Module, name: str) -> list[tuple[str, torch.Tensor]]:
    return list(getattr(layer, name).named_parameters())


def test_paper_sizes_have_the_number_of_parameters_of_the_authors_model():
    model = TextTransformer(1_000, 128)
    head = CrossEntropyHead(model.out_features, 2, bias=True)
    count = sum(p.numel() for part in (model, head) for p in part.parameters())
    assert count == 1_000 * 256 + 1_055_492


def test_a_layer_is_torchs_post_norm_encoder_layer():
    model = network(vmask=False)
    layer = model.layers[0]
    x = torch.randn(3, 6, 32)
    _, mask = texts()
    theirs = encoder_layer(layer, 32, 4)
    with torch.no_grad():
        expected = theirs(x, src_key_padding_mask=~mask)
        found = layer(x, mask)["norm2"]
        _, weights = theirs.self_attn(x, x, x, key_padding_mask=~mask, average_attn_weights=False)
    # torch's fast path leaves padded rows at zero.
    assert torch.allclose(found[mask], expected[mask], atol=1e-5)
    assert torch.allclose(layer(x, mask)["attention_weights"], weights, atol=1e-6)


def test_the_authors_forward_pass_comes_out_with_their_switches():
    """Embedding × √E, p · x, positions, torch's layer, mean over all positions."""
    model = network(pooling="all", padding_embedding=True)
    tokens, mask = (F.pad(part, (0, 6)) for part in texts())  # all 12 positions, as they have
    theirs = encoder_layer(model.layers[0], 32, 4)
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


def test_pooling_over_padding_is_over_the_longest_text_that_there_may_be():
    model = network(pooling="all", padding_embedding=True)
    tokens, mask = texts()
    padded = F.pad(tokens, (0, 6)), F.pad(mask, (0, 6))
    assert torch.allclose(
        model(tokens, mask), model.forward_with_activations(*padded)["features"], atol=1e-6
    )


def test_positions_are_those_of_the_transformer_paper():
    found = sinusoids(7, 6)
    for place in range(7):
        for i in range(3):
            angle = place / 10_000 ** (2 * i / 6)
            assert found[place, 2 * i] == pytest.approx(math.sin(angle), abs=1e-6)
            assert found[place, 2 * i + 1] == pytest.approx(math.cos(angle), abs=1e-6)


@pytest.mark.parametrize("layers", [1, 2])
def test_a_text_alone_and_in_a_padded_batch_has_the_same_representations(layers):
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
def test_evaluation_without_attention_weights_computes_the_same(layers):
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


def test_a_text_without_any_token_gives_finite_features_and_gradients():
    model = network()
    tokens = torch.tensor([[4, 9], [0, 0]])
    features = model(tokens)
    assert (features[1] == 0).all()
    features.sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_layers_are_named_by_number_and_the_last_one_by_itself():
    found = network(num_layers=2).forward_with_activations(*texts())
    assert {"layer1/ffn1", "layer2/ffn1"} <= found.keys()
    assert found["ffn1"] is found["layer2/ffn1"]
    assert not any(
        name.startswith("layer") for name in network().forward_with_activations(*texts())
    )


def test_without_a_word_mask_the_words_pass_as_they_are():
    found = network(vmask=False).forward_with_activations(*texts())
    assert "vmask_probability" not in found
    assert found["vmask"] is found["embedding"]


def test_features_begin_near_the_scale_that_the_network_tells():
    torch.manual_seed(0)
    model = TextTransformer(5_000, 128).eval()
    features = model(torch.randint(1, 5_000, (32, 20)))
    rms = float(features.detach().square().mean().sqrt())
    assert rms == pytest.approx(model.initial_scale, rel=0.15)


def test_training_lets_words_through_as_often_as_their_probability_says():
    torch.manual_seed(0)
    mask = VariationalWordMask(8, 16).train()
    x = torch.randn(1, 5, 8)
    draws = torch.stack([mask(x).states for _ in range(4_000)])  # (N, 1, 5, 8)
    through = draws.abs().sum(-1) > 0
    words = x.expand_as(draws)[through]
    assert torch.allclose(draws[through], words)  # whole, or not at all
    share = through.float().mean(dim=0)
    assert torch.allclose(share, mask(x).probability, atol=0.03)


def test_the_masks_gradient_goes_through_the_draw():
    torch.manual_seed(0)
    mask = VariationalWordMask(8, 16).train()
    mask(torch.randn(2, 5, 8)).states.sum().backward()
    assert mask.score.weight.grad.abs().sum() > 0


def test_temperature_falls_geometrically_to_its_end():
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


def test_a_text_longer_than_the_context_raises():
    with pytest.raises(ValueError, match="context_length"):
        network()(torch.ones(1, 13, dtype=torch.long))
