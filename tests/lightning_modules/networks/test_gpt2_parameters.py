"""GPT-2's parameters: padding and tying, sizes, presets, initial values and FLOPs."""

import math

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lightning_modules import GPT2, CrossEntropyHead, HarmonicHead
from lightning_modules.networks.gpt2 import PRESETS
from tests.helpers.small_gpt2 import CONTEXT, VOCAB, build, shaken, tied, tokens

# ---- vocabulary ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vocab_size", "multiple", "rows"),
    [(50257, 64, 50304), (50257, 1, 50257), (50304, 64, 50304), (5, 64, 64), (65, 64, 128)],
)
def test_embedding_is_padded_to_a_multiple(vocab_size, multiple, rows):
    with torch.device("meta"):
        model = GPT2(vocab_size, 4, pad_vocab_to=multiple, num_layers=1, num_heads=1, width=2)
    assert model.embedding.weight.shape == (rows, 2)
    assert model.embedding_matrix().shape == (vocab_size, 2)
    assert model.vocab_size == vocab_size


def test_padding_does_not_affect_the_loss_and_gets_no_gradient():
    narrow, wide = shaken(build(pad_vocab_to=1)), build(pad_vocab_to=64)
    state = narrow.state_dict()
    state["embedding.weight"] = torch.cat([state["embedding.weight"], torch.randn(3, 32) * 100])
    wide.load_state_dict(state)
    inputs, targets = tokens(2, CONTEXT), tokens(2, CONTEXT, seed=3)
    for head in (CrossEntropyHead, HarmonicHead):
        wide.zero_grad()
        losses = [tied(model, head).loss(model(inputs), targets) for model in (narrow, wide)]
        torch.testing.assert_close(losses[1], losses[0])
        losses[1].backward()
        assert (wide.embedding.weight.grad[VOCAB:] == 0).all()
        assert (wide.embedding.weight.grad[:VOCAB].abs().amax(dim=1) > 0).all()


# ---- sizes and initial values --------------------------------------------------------------------


@pytest.mark.parametrize(("num_layers", "std"), [(8, 0.02), (2, 0.1)])
def test_initial_weights(num_layers, std):
    model = build(
        vocab_size=512, context_length=128, num_layers=num_layers, width=64, initial_std=std
    )
    residual = std / math.sqrt(2 * num_layers)
    for name, parameter in model.named_parameters():
        if "norm" in name:
            assert (parameter == (1.0 if name.endswith("weight") else 0.0)).all()
        elif name.endswith("bias"):
            assert (parameter == 0).all()
        else:
            expected = residual if name.endswith((".out.weight", ".fc_out.weight")) else std
            error = 4 / math.sqrt(2 * parameter.numel())  # four standard deviations
            assert parameter.std().item() == pytest.approx(expected, rel=error), name
            assert abs(parameter.mean()) < 4 * expected / math.sqrt(parameter.numel())
            assert parameter.abs().max() > 2.5 * expected  # not uniform


@pytest.mark.parametrize("preset", ["3M", "51M", "355M"])
def test_preset_has_the_number_of_parameters_in_its_name(preset):
    with torch.device("meta"):
        model = GPT2(50257, 1024, preset=preset, pad_vocab_to=1)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert f"{count / 1e6:.0f}M" == preset
    assert model.out_features == PRESETS[preset][2]


def test_sizes_override_the_preset():
    with torch.device("meta"):
        model = GPT2(100, 8, preset="7M", num_layers=5, width=64)
    assert len(model.blocks) == 5
    assert model.out_features == 64
    assert model.blocks[0].attention.num_heads == PRESETS["7M"][1]


def test_no_biases():
    model = build(bias=False)
    assert not [name for name, _ in model.named_parameters() if name.endswith("bias")]
    features = model(tokens(2, CONTEXT))  # the same as with biases of 0
    biased = build()
    biased.load_state_dict(model.state_dict(), strict=False)
    torch.testing.assert_close(biased(tokens(2, CONTEXT)), features, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", [0.02, 3.0])
def test_set_feature_scale(scale):
    model = build(initial_std=0.2)
    model.set_feature_scale(scale)
    features = model(tokens(4, CONTEXT))
    assert features.square().mean().sqrt().item() == pytest.approx(scale, rel=1e-3)
    assert (model.final_norm.bias == 0).all()


# ---- operations ----------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [False, True])
def test_flops_match_torch_s_counter(bias):
    # With attention written out, torch counts its products over all T² pairs of positions, whether
    # masked or not, twice as many backward as forward: PaLM's convention. (A flash kernel skips
    # masked blocks and forms one product again in backward.)
    model = build(bias=bias, pad_vocab_to=64)
    head = CrossEntropyHead(model.out_features, 64)  # padding goes through the product too
    head.tie(model.embedding.weight)
    inputs = tokens(2, CONTEXT)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        head.loss(model(inputs), inputs).backward()
    # Vectors go through no matrix product; they are in our count, 6 each, as in PaLM's.
    vectors = sum(p.numel() for p in model.parameters() if p.dim() == 1)
    counted = counter.get_total_flops() / inputs.numel()
    assert counted == model.flops_per_token() - 6 * vectors
    assert 6 * vectors < 0.05 * counted


def test_parameters_and_flops_of_gpt2_small():
    with torch.device("meta"):
        model = GPT2(50257, 1024, pad_vocab_to=1)
    # 124,439,808 parameters as in OpenAI's checkpoint.
    # nanoGPT's formula: 6 N + 12 L H Q T, with N = 123.65 million without positions.
    assert sum(parameter.numel() for parameter in model.parameters()) == 124_439_808
    expected = 6 * (124_439_808 - 1024 * 768) + 12 * 12 * 12 * 64 * 1024
    assert model.flops_per_token() == expected == 855_166_464


# ---- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"preset": "125M"},
        {"vocab_size": 0},
        {"context_length": 0},
        {"pad_vocab_to": 0},
        {"num_layers": -1},
        {"num_heads": 0},
        {"width": 0},
        {"width": 30},
        {"dropout": 1.0},
        {"dropout": math.nan},
        {"initial_std": 0.0},
    ],
    ids=str,
)
def test_options_out_of_range_raise(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        build(**options)
