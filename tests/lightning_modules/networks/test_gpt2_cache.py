"""GPT-2 that reads token by token: the features are those of reading everything at once."""

from __future__ import annotations

import pytest
import torch

from lightning_modules import GPT2

VOCAB, CONTEXT = 61, 12


def build(**options) -> GPT2:
    torch.manual_seed(0)
    model = GPT2(VOCAB, CONTEXT, num_layers=2, num_heads=4, width=32, **options)
    with torch.no_grad():  # every parameter a value of its own, also those that begin at 0 or 1
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape)
    return model.eval()


def tokens(*shape: int) -> torch.Tensor:
    return torch.randint(VOCAB, shape, generator=torch.Generator().manual_seed(1))


def in_pieces(model: GPT2, inputs: torch.Tensor, pieces: list[int], capacity=None) -> torch.Tensor:
    """Features of ``inputs`` (B, T), read in pieces of these lengths."""
    cache = model.new_cache(capacity)
    with torch.no_grad():
        return torch.cat([model(part, cache) for part in inputs.split(pieces, dim=1)], dim=1)


@pytest.mark.parametrize("pieces", [[1] * 12, [12], [5, 7], [7, 1, 1, 3], [1, 11], [11, 1]])
@pytest.mark.parametrize("bias", [False, True])
def test_pieces_have_the_features_of_the_whole(pieces, bias):
    model, inputs = build(bias=bias), tokens(3, CONTEXT)
    expected = model(inputs)
    assert expected.std() > 0.5
    torch.testing.assert_close(in_pieces(model, inputs, pieces), expected, rtol=1e-5, atol=1e-5)


def test_float64_agrees_to_its_last_digits():
    model, inputs = build().double(), tokens(2, CONTEXT)
    torch.testing.assert_close(
        in_pieces(model, inputs, [4, 1, 7]), model(inputs), rtol=1e-12, atol=1e-12
    )


def test_bfloat16_agrees_to_its_digits_and_the_cache_takes_its_type():
    model, inputs = build(), tokens(2, CONTEXT)
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


def test_the_last_token_alone_is_read_when_the_others_are_in_the_cache():
    model, inputs = build(), tokens(1, 6)
    cache = model.new_cache()
    with torch.no_grad():
        model(inputs[:, :5], cache)
        read = []
        hook = model.blocks[1].register_forward_pre_hook(lambda _, x: read.append(x[0].shape[1]))
        model(inputs[:, 5:], cache)
        hook.remove()
    assert read == [1] and cache.length == 6


def test_a_shorter_capacity_holds_as_many_tokens_and_no_more():
    model, inputs = build(), tokens(2, CONTEXT)
    features = in_pieces(model, inputs[:, :7], [3, 4], capacity=7)
    torch.testing.assert_close(features, model(inputs)[:, :7], rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="capacity"):
        in_pieces(model, inputs[:, :8], [7, 1], capacity=7)


def test_more_tokens_than_the_longest_context_raise():
    model = build()
    with pytest.raises(ValueError, match="context_length"):
        in_pieces(model, tokens(1, CONTEXT + 1), [CONTEXT, 1])


def test_a_cache_that_was_cleared_knows_nothing_of_what_it_had_seen():
    model, inputs = build(), tokens(2, CONTEXT)
    cache = model.new_cache()
    with torch.no_grad():
        model(tokens(2, CONTEXT).flip(1), cache)
        cache.clear()
        assert cache.length == 0
        features = torch.cat([model(inputs[:, :2], cache), model(inputs[:, 2:], cache)], dim=1)
    torch.testing.assert_close(features, model(inputs), rtol=1e-5, atol=1e-5)
