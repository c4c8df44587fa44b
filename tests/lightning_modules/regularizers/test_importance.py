from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lightning_modules.regularizers import importance

FORMS = ["masked", "paper", "code"]


def _texts(lengths: tuple[int, ...] = (5, 1, 7), width: int = 4) -> tuple[Tensor, Tensor]:
    h = torch.randn(
        len(lengths), max(lengths), width, dtype=torch.float64,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    return h, torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def _term(i: int, text: list[list[float]]) -> float:
    """√(P_i/E) with P_i of the paper's equation 2."""
    size = math.sqrt(sum(x * x for x in text[i]))
    unit = [x / size for x in text[i]]
    others = [row for j, row in enumerate(text) if j != i]
    p = sum(sum(x * y for x, y in zip(unit, row, strict=True)) ** 2 for row in others)
    return math.sqrt(p / len(unit))


def _loop(h: Tensor, mask: Tensor, form: str) -> float:
    total = 0.0
    for row, real in zip(h, mask, strict=True):
        text = (row if form == "code" else row[real]).tolist()
        total += sum(_term(i, text) for i in range(len(text)))
    divisor = {"masked": int(mask.sum()), "paper": len(h), "code": mask.numel()}[form]
    return total / divisor


@pytest.mark.parametrize("form", FORMS)
def test_matches_a_loop_over_texts_and_tokens(form):
    h, mask = _texts()
    assert importance(h, mask, form).item() == pytest.approx(_loop(h, mask, form), rel=1e-12)


@pytest.mark.parametrize("form", ["masked", "paper"])
def test_padding_is_not_read_and_gets_no_gradient(form):
    h, mask = _texts()
    broken = h.masked_fill(~mask[:, :, None], torch.nan).requires_grad_()
    result = importance(broken, mask, form)
    assert result == importance(h, mask, form)
    result.backward()
    assert broken.grad.isfinite().all()
    assert (broken.grad[~mask] == 0).all() and (broken.grad[0, :5] != 0).all()


def test_code_form_includes_padding():
    h, mask = _texts()
    longer = torch.cat([h, torch.ones(3, 3, 4, dtype=h.dtype)], dim=1).requires_grad_()
    longer_mask = torch.cat([mask, torch.zeros(3, 3, dtype=torch.bool)], dim=1)
    result = importance(longer, longer_mask, "code")
    assert abs(result - importance(h, mask, "code")) > 0.1
    result.backward()
    assert (longer.grad[~longer_mask] != 0).any()
    # Padding of zeros only increases the divisor.
    off = longer.detach().masked_fill(~longer_mask[:, :, None], 0.0)
    fraction = mask.sum() / longer_mask.numel()
    torch.testing.assert_close(
        importance(off, longer_mask, "code"), fraction * importance(h, mask, "masked")
    )


def test_mean_over_ranks_with_num_tokens_is_the_global_batch_s():
    h, mask = _texts()
    per_rank = mask.sum() / 2
    both = [importance(h[part], mask[part], num_tokens=per_rank) for part in ([0], [1, 2])]
    torch.testing.assert_close(sum(both) / 2, importance(h, mask))
    assert importance(h, mask, num_tokens=26) == importance(h, mask) / 2


@pytest.mark.parametrize("form", FORMS)
def test_gradients_match_finite_differences(form):
    h, mask = _texts()
    assert torch.autograd.gradcheck(lambda x: importance(x, mask, form), (h.requires_grad_(),))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "text",
    [
        [[0.0, 0.0], [0.0, 0.0]],  # all words masked
        [[3.0, 0.0], [0.0, 2.0]],  # orthogonal
        [[1.0, 1.0], [0.0, 0.0]],  # one word left
        [[5.0, 1.0]],
    ],
)
def test_no_overlap_gives_zero_loss_and_gradient(form, text):
    h = torch.tensor([text], requires_grad=True)
    result = importance(h, torch.ones(1, len(text), dtype=torch.bool), form)
    result.backward()
    assert result == 0 and (h.grad == 0).all()


@pytest.mark.parametrize("form", FORMS)
def test_masked_word_does_not_affect_the_gradients_of_others(form):
    h, mask = _texts((5, 3))
    zero = h.clone()
    zero[0, 2] = 0.0
    zero.requires_grad_()
    importance(zero, mask, form).backward()
    assert zero.grad.isfinite().all() and (zero.grad[0, 2] == 0).all()
    assert (zero.grad[0, [0, 1, 3, 4]] != 0).all()


@pytest.mark.parametrize("form", FORMS)
def test_half_precision_is_computed_in_float32(form):
    h, mask = _texts((20, 30), width=64)
    half = h.bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = importance(half, mask, form)
    assert result.dtype == torch.float32
    exact = importance(half.detach().double(), mask, form)
    torch.testing.assert_close(result.double(), exact, rtol=1e-5, atol=0)
    result.backward()
    assert half.grad.dtype == torch.bfloat16 and half.grad.isfinite().all()


def test_wrong_inputs_raise():
    h, mask = _texts()
    with pytest.raises(ValueError, match="form"):
        importance(h, mask, "authors")
    with pytest.raises(ValueError, match="mask"):
        importance(h, mask.long())
    with pytest.raises(ValueError, match="mask"):
        importance(h, mask[:, :6])
