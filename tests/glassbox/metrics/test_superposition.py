from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from glassbox.metrics import capacity, interference, polysemanticity

MEASURES = [interference, polysemanticity, capacity]
PER_TOKEN = [polysemanticity, capacity]


def _texts(lengths: tuple[int, ...] = (5, 1, 7), width: int = 4, seed: int = 0) -> tuple:
    """Representations of texts with noise at padding, and their mask."""
    h = torch.randn(
        len(lengths), max(lengths), width, dtype=torch.float64,
        generator=torch.Generator().manual_seed(seed),
    )  # fmt: skip
    return h, torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def _loops(text: list[list[float]]) -> dict[str, list]:
    """Equations 1 to 3 for one text, in Python's floats."""

    def dot(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True))

    n = range(len(text))
    overlap = [[dot(text[i], text[j]) ** 2 for j in n] for i in n]
    unit = [[x / dot(row, row) ** 0.5 for x in row] for row in text]
    others = [sum(dot(unit[i], text[j]) ** 2 for j in n if j != i) for i in n]
    fraction = [overlap[i][i] / sum(overlap[i]) for i in n]
    return {"interference": overlap, "polysemanticity": others, "capacity": fraction}


@pytest.mark.parametrize("measure", MEASURES)
def test_metrics_agree_with_the_equations_and_are_zero_at_padding(measure):
    h, mask = _texts()
    result = measure(h, mask)
    expected = torch.zeros_like(result)
    for b, row in enumerate(mask):
        n = int(row.sum())
        values = torch.tensor(_loops(h[b, :n].tolist())[measure.__name__], dtype=torch.float64)
        expected[b][(slice(n),) * values.dim()] = values
    torch.testing.assert_close(result, expected, rtol=1e-12, atol=1e-14)
    assert (result == 0).sum() == (expected == 0).sum() > 0


@pytest.mark.parametrize("measure", MEASURES)
def test_padding_is_not_read_and_gets_no_gradient(measure):
    h, mask = _texts()
    broken = h.clone()
    broken[~mask] = torch.nan
    broken.requires_grad_()
    result = measure(broken, mask)
    assert torch.equal(result, measure(h, mask))
    result.sum().backward()
    assert broken.grad is not None and broken.grad.isfinite().all()
    assert (broken.grad[~mask] == 0).all() and (broken.grad[mask] != 0).any()


@pytest.mark.parametrize("rank", [1, 2, 3, 5])
def test_total_capacity_is_between_one_and_the_rank(rank):
    generator = torch.Generator().manual_seed(rank)
    left, right = (
        torch.randn(50, *shape, dtype=torch.float64, generator=generator)
        for shape in ((8, rank), (rank, 6))
    )
    each = capacity(left @ right)
    assert (each >= 0).all() and (each <= 1).all()
    total = each.sum(dim=-1)
    assert (total >= 1 - 1e-12).all() and (total <= rank + 1e-12).all()
    if rank == 1:
        torch.testing.assert_close(total, torch.ones_like(total))


def test_zero_vector():
    h, _ = _texts((4,))
    with_zero = torch.cat([h, torch.zeros(1, 1, 4, dtype=h.dtype)], dim=1).requires_grad_()
    for measure in PER_TOKEN:
        result = measure(with_zero)
        assert result[0, 4] == 0
        torch.testing.assert_close(result[:, :4], measure(h))
        (gradient,) = torch.autograd.grad(result.sum(), with_zero)
        assert gradient.isfinite().all()
    assert torch.equal(capacity(torch.zeros(3, 2)), torch.zeros(3))


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32_and_autocast_is_ignored(measure, dtype):
    # Products up to 1e4: their squares are beyond float16, their sums beyond bfloat16's digits.
    h = (100 * _texts((20,), width=64)[0]).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result, from_float = measure(h), measure(h.float())
    assert result.dtype == torch.float32 and result.isfinite().all()
    assert torch.equal(result, from_float)
    torch.testing.assert_close(result.double(), measure(h.double()), rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("measure", MEASURES)
def test_gradients_match_finite_differences(measure: Callable[..., Tensor]):
    h, mask = _texts()
    assert torch.autograd.gradcheck(lambda x: measure(x, mask), (h.requires_grad_(),))


def test_wrong_input_raises():
    h, mask = _texts()
    for measure in MEASURES:
        with pytest.raises(ValueError, match="h must"):
            measure(h.long(), mask)
        with pytest.raises(ValueError, match="mask"):
            measure(h, mask.long())
        with pytest.raises(ValueError, match="mask"):
            measure(h, mask[:, :6])
