from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lightning_modules.regularizers import information

MASK = torch.arange(7) < torch.tensor([5, 1, 7])[:, None]


def _probability() -> Tensor:
    return torch.rand(3, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def _loop(probability: Tensor, mask: Tensor) -> float:
    terms = [
        p * math.log(p) + (1 - p) * math.log(1 - p) if 0 < p < 1 else 0.0
        for p in probability[mask].tolist()
    ]
    return sum(terms) / len(terms)


def test_it_is_the_mean_over_real_tokens():
    probability = _probability()
    expected = _loop(probability, MASK)
    assert information(probability, MASK).item() == pytest.approx(expected, rel=1e-12)


def test_it_is_least_at_one_half_and_zero_at_certainty():
    mask = torch.ones(1, 2, dtype=torch.bool)
    assert information(torch.tensor([[0.5, 0.5]]), mask).item() == pytest.approx(-math.log(2))
    assert information(torch.tensor([[0.0, 1.0]]), mask) == 0


def test_at_certainty_the_gradient_is_finite_and_lowering_the_term_leads_inwards():
    probability = torch.tensor([[0.0, 1.0, 1e-30, 0.5]], requires_grad=True)
    information(probability, torch.ones(1, 4, dtype=torch.bool)).backward()
    assert probability.grad.isfinite().all()
    signs = probability.grad.sign().tolist()
    assert signs[0] == [-1, 1, -1, 0] and probability.grad.abs().max() < 5


def test_padding_is_not_read_and_gets_no_gradient():
    probability = _probability()
    broken = probability.masked_fill(~MASK, torch.nan).requires_grad_()
    result = information(broken, MASK)
    assert result == information(probability, MASK)
    result.backward()
    assert (broken.grad[~MASK] == 0).all() and (broken.grad[MASK] != 0).all()


def test_ranks_that_divide_by_the_global_number_of_tokens_average_to_the_global_batch():
    probability = _probability()
    per_rank = MASK.sum() / 2
    both = [information(probability[p], MASK[p], per_rank) for p in ([0], [1, 2])]
    torch.testing.assert_close(sum(both) / 2, information(probability, MASK))


def test_the_gradient_is_right():
    probability = (0.02 + 0.96 * _probability()).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: information(p, MASK), (probability,))


def test_a_batch_without_real_tokens_is_zero():
    probability = torch.rand(2, 3, requires_grad=True)
    result = information(probability, torch.zeros(2, 3, dtype=torch.bool))
    result.backward()
    assert result == 0 and (probability.grad == 0).all()


def test_half_precision_is_raised_and_autocast_has_no_say():
    half = _probability().bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = information(half, MASK)
    assert result.dtype == torch.float32
    assert result.item() == pytest.approx(_loop(half, MASK), rel=1e-6)


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"mask must have shape \(3, 7\), got \(3, 6\)"):
        information(_probability(), MASK[:, :6])
