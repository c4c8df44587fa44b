from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lightning_modules.regularizers import interaction
from lightning_modules.regularizers.interaction import _CACHED

FORMS = ["masked", "paper", "code"]
EXAMPLE = torch.tensor([[[[0.75, 0.25], [0.5, 0.5]]]])
EXAMPLE_MASK = torch.ones(1, 2, dtype=torch.bool)


def _weights(lengths: tuple[int, ...] = (4, 1, 6), heads: int = 2) -> tuple[Tensor, Tensor]:
    """Attention weights: none on padding, but padding tokens attend to real ones."""
    size = max(lengths)
    mask = torch.arange(size) < torch.tensor(lengths)[:, None]
    scores = torch.randn(
        len(lengths), heads, size, size, dtype=torch.float64,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    return scores.masked_fill(~mask[:, None, None], -torch.inf).softmax(dim=-1), mask


def _head(a: list[list[float]], form: str) -> float:
    """One head of one text: Σ_ij A_ij (1 − overlap of A_i and A_j), divided by n²."""
    total, n = 0.0, len(a)
    for i in range(n):
        for j in range(n):
            overlap = sum(a[i][k] * a[j][k] for k in range(n))
            if form == "paper":
                overlap = overlap**2
            elif i == j:
                overlap = 0.0
            total += a[i][j] * (1 - overlap)
    return total / n**2


def _loop(attention: Tensor, mask: Tensor, form: str) -> float:
    total = 0.0
    for text, real in zip(attention, mask, strict=True):
        n = len(real) if form == "code" else int(real.sum())
        total += sum(_head(head[:n, :n].tolist(), form) for head in text)
    return total / len(attention) / (1 if form == "paper" else attention.shape[1])


@pytest.mark.parametrize("form", FORMS)
def test_matches_a_loop_over_texts_heads_and_pairs(form):
    attention, mask = _weights()
    result = interaction(attention, mask, form)
    assert result.item() == pytest.approx(_loop(attention, mask, form), rel=1e-12)


@pytest.mark.parametrize(
    ("form", "expected"), [("code", 0.40625), ("masked", 0.40625), ("paper", 0.3486328)]
)
def test_worked_example(form, expected):
    assert interaction(EXAMPLE, EXAMPLE_MASK, form).item() == pytest.approx(expected, abs=1e-6)
    # The paper sums over heads, the other forms average.
    if form == "masked":
        assert interaction(EXAMPLE, EXAMPLE_MASK).item() == pytest.approx(expected)  # the default
    twice = interaction(EXAMPLE.expand(3, 2, 2, 2), EXAMPLE_MASK.expand(3, 2), form)
    heads = 2 if form == "paper" else 1
    assert twice.item() == pytest.approx(heads * expected, abs=1e-6)


@pytest.mark.parametrize("form", ["masked", "paper"])
def test_padding_is_not_read_and_gets_no_gradient(form):
    attention, mask = _weights()
    real = (mask[:, None, :, None] & mask[:, None, None]).expand_as(attention)
    broken = attention.masked_fill(~real, torch.nan).requires_grad_()
    result = interaction(broken, mask, form)
    assert result == interaction(attention, mask, form)
    result.backward()
    assert broken.grad.isfinite().all()
    assert (broken.grad[~real] == 0).all() and (broken.grad[2] != 0).any()


def test_code_form_includes_padding():
    attention, mask = _weights((4, 4))
    before = interaction(attention, mask, "code")
    longer = torch.zeros(2, 2, 8, 8, dtype=attention.dtype)
    longer[:, :, :4, :4] = attention
    longer[:, :, 4:, 0] = 1.0  # padding attends to the first token
    longer.requires_grad_()
    longer_mask = torch.arange(8).expand(2, 8) < 4
    after = interaction(longer, longer_mask, "code")
    assert 0 < after < 0.6 * before
    after.backward()
    assert (longer.grad[:, :, 4:] != 0).any()


@pytest.mark.parametrize("form", FORMS)
def test_chunks_of_texts_give_the_same_result(form):
    attention, mask = _weights((160, 90, 130), heads=24)
    assert attention[:2].numel() > _CACHED  # one text at a time
    leaf = attention.float().requires_grad_()
    result = interaction(leaf, mask, form)
    alone = [interaction(leaf[b : b + 1], mask[b : b + 1], form) for b in range(3)]
    torch.testing.assert_close(result, torch.stack(alone).mean())
    (gradient,) = torch.autograd.grad(result, leaf)
    (expected,) = torch.autograd.grad(torch.stack(alone).mean(), leaf)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("form", FORMS)
def test_gradients_match_finite_differences(form):
    attention, mask = _weights((3, 1, 4))
    assert torch.autograd.gradcheck(
        lambda x: interaction(x, mask, form), (attention.requires_grad_(),)
    )


@pytest.mark.parametrize("form", ["masked", "paper"])
def test_empty_text_contributes_zero(form):
    attention, mask = _weights()
    empty = torch.cat([mask, torch.zeros(1, 6, dtype=torch.bool)])
    leaf = torch.cat([attention, attention[:1]]).requires_grad_()
    result = interaction(leaf, empty, form)
    torch.testing.assert_close(result, interaction(attention, mask, form) * 3 / 4)
    result.backward()
    assert leaf.grad.isfinite().all() and (leaf.grad[3] == 0).all()


@pytest.mark.parametrize("form", FORMS)
def test_half_precision_and_autocast(form):
    attention, mask = _weights((30, 20))
    half = attention.bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = interaction(half, mask, form)
    assert result.dtype == torch.float32
    leaf = half.detach().double().requires_grad_()
    exact = interaction(leaf, mask, form)
    torch.testing.assert_close(result.double(), exact, rtol=1e-4, atol=0)
    assert interaction(half, mask, form).item() == pytest.approx(exact.item(), rel=1e-6)
    (exact_gradient,) = torch.autograd.grad(exact, leaf)
    (gradient,) = torch.autograd.grad(result, half)
    assert (gradient.double() - exact_gradient).norm() < 0.004 * exact_gradient.norm()


def test_wrong_inputs_raise():
    attention, mask = _weights()
    with pytest.raises(ValueError, match="form"):
        interaction(attention, mask, None)
    with pytest.raises(ValueError, match="mask"):
        interaction(attention, mask.float())
    with pytest.raises(ValueError, match="mask"):
        interaction(attention, mask[:, :5])
