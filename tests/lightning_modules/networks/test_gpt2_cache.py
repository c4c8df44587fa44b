"""GPT-2 with a key-value cache computes the same features as without one."""

from __future__ import annotations

import pytest
import torch

from lightning_modules import GPT2
from tests.helpers.small_gpt2 import CONTEXT, build, shaken, tokens


def in_pieces(model: GPT2, inputs: torch.Tensor, pieces: list[int], capacity=None) -> torch.Tensor:
    """Features of ``inputs`` (B, T), read in pieces of these lengths."""
    cache = model.new_cache(capacity)
    with torch.no_grad():
        return torch.cat([model(part, cache) for part in inputs.split(pieces, dim=1)], dim=1)


@pytest.mark.parametrize("pieces", [[1] * 12, [12], [7, 1, 1, 3]])
@pytest.mark.parametrize("bias", [False, True])
def test_reading_in_pieces_gives_the_same_features(pieces, bias):
    model, inputs = shaken(build(bias=bias)).eval(), tokens(3, CONTEXT)
    expected = model(inputs)
    assert expected.std() > 0.5
    torch.testing.assert_close(in_pieces(model, inputs, pieces), expected, rtol=1e-5, atol=1e-5)


def test_bfloat16_autocast():
    model, inputs = shaken(build()).eval(), tokens(2, CONTEXT)
    exact = model(inputs)
    with torch.autocast("cpu", torch.bfloat16):
        whole = model(inputs)
        pieces = in_pieces(model, inputs, [5, *[1] * 7])
        cache = model.new_cache()
        model(inputs, cache)
    keys, _ = cache.blocks[0].extend(*[torch.zeros(2, 4, 0, 8, dtype=torch.bfloat16)] * 2)
    assert keys.dtype == torch.bfloat16
    error = (whole - exact).abs().max()
    assert 0 < (pieces - exact).abs().max() < 2 * error


def test_cached_tokens_are_not_read_again():
    model, inputs = shaken(build()).eval(), tokens(1, 6)
    cache = model.new_cache()
    with torch.no_grad():
        model(inputs[:, :5], cache)
        read = []
        hook = model.blocks[1].register_forward_pre_hook(lambda _, x: read.append(x[0].shape[1]))
        model(inputs[:, 5:], cache)
        hook.remove()
    assert read == [1] and cache.length == 6


def test_capacity_limits_the_number_of_tokens():
    model, inputs = shaken(build()).eval(), tokens(2, CONTEXT)
    features = in_pieces(model, inputs[:, :7], [3, 4], capacity=7)
    torch.testing.assert_close(features, model(inputs)[:, :7], rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="capacity"):
        in_pieces(model, inputs[:, :8], [7, 1], capacity=7)


def test_more_tokens_than_the_context_raise():
    model = build().eval()
    with pytest.raises(ValueError, match="context_length"):
        in_pieces(model, tokens(1, CONTEXT + 1), [CONTEXT, 1])


def test_cleared_cache_is_empty():
    model, inputs = shaken(build()).eval(), tokens(2, CONTEXT)
    cache = model.new_cache()
    with torch.no_grad():
        model(tokens(2, CONTEXT).flip(1), cache)
        cache.clear()
        assert cache.length == 0
        features = torch.cat([model(inputs[:, :2], cache), model(inputs[:, 2:], cache)], dim=1)
    torch.testing.assert_close(features, model(inputs), rtol=1e-5, atol=1e-5)
