"""GPT-2's features: causal, of any length, dropped out in training, compiled and in bfloat16."""

import pytest
import torch
import torch.nn.functional as F

from tests.helpers.small_gpt2 import CONTEXT, SMALL, VOCAB, build, shaken, tokens

# ---- causality and length ------------------------------------------------------------------------


@pytest.mark.parametrize("changed", [0, 3, CONTEXT - 1])
def test_features_are_causal(changed):
    model = shaken(build())
    inputs = tokens(2, CONTEXT)
    other = inputs.clone()
    other[:, changed] = (other[:, changed] + 1) % VOCAB
    before, after = model(inputs), model(other)
    assert torch.equal(before[:, :changed], after[:, :changed])
    difference = (before - after)[:, changed:].abs().amax(dim=-1)
    assert (difference > 1e-4).all()


@pytest.mark.parametrize("length", [1, CONTEXT - 1])
def test_features_of_a_shorter_input(length):
    model = shaken(build())
    inputs = tokens(2, CONTEXT)
    short = model(inputs[:, :length])
    assert short.shape == (2, length, SMALL["width"])
    torch.testing.assert_close(short, model(inputs)[:, :length], rtol=1e-4, atol=1e-5)


def test_input_longer_than_the_context_raises():
    with pytest.raises(ValueError, match="context_length"):
        build()(tokens(2, CONTEXT + 1))


# ---- dropout -------------------------------------------------------------------------------------


def test_dropout_acts_in_training_only():
    model, plain = shaken(build(dropout=0.3)), build()
    plain.load_state_dict(model.state_dict())
    inputs = tokens(2, CONTEXT)
    model.eval()
    assert torch.equal(model(inputs), plain(inputs))
    model.train()
    assert not torch.allclose(model(inputs), model(inputs))
    assert torch.equal(plain(inputs), plain(inputs))


@pytest.mark.parametrize("place", ["embedding", "attention weights", "attention", "network"])
def test_every_dropout_is_applied(place):
    model = shaken(build(dropout=0.5)).eval()
    inputs = tokens(2, CONTEXT)
    expected = model(inputs)
    block = model.blocks[0]
    if place == "attention weights":
        # Dropped by the attention itself; its output dropout stays off.
        block.attention.train()
        block.attention.dropout.eval()
    else:
        {
            "embedding": model.dropout,
            "attention": block.attention.dropout,
            "network": block.dropout,
        }[place].train()
    assert not torch.allclose(model(inputs), expected)


# ---- the compiler and bfloat16 -------------------------------------------------------------------


@pytest.mark.parametrize(
    "backend",
    [
        "aot_eager",
        pytest.param(
            "inductor",
            marks=[
                pytest.mark.slow,
                # torch 2.13's own compiler still imports code that it deprecates.
                pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.*:DeprecationWarning"),
            ],
        ),
    ],
)
def test_compiled_network_agrees_with_eager(backend):
    model = shaken(build(num_layers=1))
    inputs = tokens(2, 5)
    weights = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(4))
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    results = []
    for forward in (model, compiled):
        model.zero_grad()
        features = forward(inputs)
        (features * weights).sum().backward()
        results.append([features.detach(), *(p.grad.clone() for p in model.parameters())])
    for got, expected in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_bfloat16_autocast():
    model = shaken(build())
    inputs = tokens(2, CONTEXT)
    exact = model(inputs)
    with torch.autocast("cpu", torch.bfloat16):
        features = model(inputs)
    assert F.cosine_similarity(features.float(), exact, dim=-1).min() > 0.99
    assert not torch.equal(features.float(), exact)
