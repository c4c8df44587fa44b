import pytest
import torch

from glassbox.metrics import received_attention

LENGTHS = torch.tensor([4, 1, 6])
MASK = torch.arange(6) < LENGTHS[:, None]


def _weights() -> torch.Tensor:
    """Attention of 2 heads in which padding attends to real tokens, as in a network."""
    scores = torch.randn(
        3, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    return scores.masked_fill(~MASK[:, None, None], -torch.inf).softmax(dim=-1)


def test_matches_a_loop_over_heads_and_tokens():
    weights = _weights()
    result = received_attention(weights, MASK)
    expected = torch.zeros_like(result)
    for b, n in enumerate(LENGTHS.tolist()):
        for j in range(n):
            total = sum(float(weights[b, head, i, j]) for head in range(2) for i in range(n))
            expected[b, j] = total / 2
    torch.testing.assert_close(result, expected)
    torch.testing.assert_close(result.sum(dim=1), LENGTHS.double())


def test_padding_has_no_effect():
    weights = _weights()
    broken = weights.masked_fill(~(MASK[:, None, :, None] & MASK[:, None, None]), torch.nan)
    assert torch.equal(received_attention(weights, MASK), received_attention(broken, MASK))
    assert (received_attention(broken, MASK)[~MASK] == 0).all()


def test_half_precision_is_computed_in_float32():
    weights = torch.full((1, 1, 300, 300), 1.0, dtype=torch.bfloat16)
    result = received_attention(weights, torch.ones(1, 300, dtype=torch.bool))
    assert result.dtype == torch.float32 and (result == 300).all()


def test_mask_of_another_length_raises():
    with pytest.raises(ValueError, match="mask"):
        received_attention(_weights(), MASK[:, :5])
