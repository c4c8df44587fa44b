"""The harmonic head against the paper's equations 1 to 4, written out as a loop."""

import math
from decimal import Decimal, localcontext

import pytest
import torch

from lightning_modules.heads import HarmonicHead
from lightning_modules.heads import harmonic as module

# (width, classes) below and above the limit for computing distances from differences.
SMALL, LARGE = (16, 31), (64, 1000)
EXPONENTS = [1, 2, 28, 768, None]

each_size = pytest.mark.parametrize("size", [SMALL, LARGE], ids=["direct", "matrix_product"])
each_exponent = pytest.mark.parametrize("exponent", EXPONENTS, ids=str)


def probabilities_of_the_paper(x, centers, exponent, eps=0.0):
    """p_i = d_i^-n / sum_j d_j^-n, d_i = ||w_i - x||, as written, in 40 decimal digits.

    Decimals do not overflow at d^-768. ``eps`` is added to the squared distance.
    """
    with localcontext() as context:
        context.prec = 40
        powers = []
        for center in centers.double().tolist():
            squared = math.fsum((w - v) ** 2 for w, v in zip(center, x, strict=True)) + eps
            powers.append(Decimal(squared).sqrt() ** Decimal(-exponent))
        total = sum(powers)
        return [power / total for power in powers]


def loss_of_the_paper(features, centers, targets, exponent, eps=0.0):
    """Mean of -log p_target."""
    losses = []
    for x, target in zip(features.double().tolist(), targets.tolist(), strict=True):
        p = probabilities_of_the_paper(x, centers, exponent, eps)[target]
        with localcontext() as context:
            context.prec = 40
            if p < Decimal("0.5"):
                losses.append(float(-p.ln()))
            else:  # -log p to full precision where p is next to 1
                losses.append(-math.log1p(-float(1 - p)))
    return math.fsum(losses) / len(losses)


def gradients(head, features, targets):
    features = features.detach().clone().requires_grad_(True)
    loss = head.loss(features, targets)
    of_x, of_w = torch.autograd.grad(loss, (features, head.weight))
    return loss.item(), of_x, of_w


def make(size, exponent=None, distance=1.0, tokens=3, **options):
    """A head with centers and features on a cloud whose distances are about ``distance``."""
    width, classes = size
    rng = torch.Generator().manual_seed(7)
    head = HarmonicHead(width, classes, exponent, **options)
    scale = distance / math.sqrt(2 * width)
    with torch.no_grad():
        head.weight.copy_(torch.randn(classes, width, generator=rng) * scale)
    features = torch.randn(tokens, width, generator=rng) * scale
    return head, features, torch.randint(classes, (tokens,), generator=rng)


# ---- equations 1 to 4 ----------------------------------------------------------------------------


@each_size
@each_exponent
@pytest.mark.parametrize("eps", [1e-10, 0.1])
def test_loss_is_the_paper_s(size, exponent, eps):
    head, features, targets = make(size, exponent, tokens=2, eps=eps)
    n = math.sqrt(size[0]) if exponent is None else exponent
    expected = loss_of_the_paper(features, head.weight, targets, n, eps)
    tolerance = max(1e-5, n * 1e-6 / expected)
    assert head.loss(features, targets).item() == pytest.approx(expected, rel=tolerance)
    if eps == 0.1 and n >= 28:  # the tolerance is finer than what eps does
        without = loss_of_the_paper(features, head.weight, targets, n)
        assert abs(without - expected) > 10 * tolerance * expected


@each_size
@each_exponent
def test_softmax_of_the_logits_is_the_paper_s_distribution(size, exponent):
    head, features, _ = make(size, exponent, tokens=2)
    n = math.sqrt(size[0]) if exponent is None else exponent
    got = head(features).double().softmax(dim=-1)
    for row, x in zip(got, features.double().tolist(), strict=True):
        paper = torch.tensor([float(p) for p in probabilities_of_the_paper(x, head.weight, n)])
        assert (row - paper).abs().sum() < max(1e-5, 2e-6 * n)
        assert row.argmax() == paper.argmax()


def test_two_classes_at_distances_one_and_two_have_odds_of_two_to_the_n():
    head = HarmonicHead(1, 2, exponent=3)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0], [-2.0]]))
    p = head(torch.zeros(1, 1)).softmax(dim=-1)
    torch.testing.assert_close(p, torch.tensor([[8 / 9, 1 / 9]]))
    loss = head.loss(torch.zeros(1, 1), torch.tensor([1]))
    assert loss.item() == pytest.approx(math.log(9), rel=1e-6)


@pytest.mark.parametrize("width", [1, 16, 768])
def test_default_exponent_is_the_square_root_of_the_width(width):
    assert HarmonicHead(width, 3).exponent == pytest.approx(width**0.5)
    assert HarmonicHead(width, 3, exponent=5).exponent == 5.0
    assert HarmonicHead(width, 3).eps == 1e-10


@each_size
@pytest.mark.parametrize("authors_n", [1, 14])
def test_the_authors_formula_with_half_the_exponent_is_the_same_distribution(size, authors_n):
    eps = 1e-4
    head, features, targets = make(size, exponent=2 * authors_n, eps=eps)
    x, w = features.double(), head.weight.detach().double()
    squared = (w**2).sum(1) + (x**2).sum(1, keepdim=True) - 2 * x @ w.T + eps
    squared = squared / squared.min(dim=1, keepdim=True).values
    powers = squared ** (-authors_n)
    p = powers / powers.sum(dim=1, keepdim=True)
    torch.testing.assert_close(head(features).softmax(-1).double(), p, rtol=1e-4, atol=1e-8)
    expected = -p.log()[torch.arange(len(targets)), targets].mean()
    assert head.loss(features, targets).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("exponent", [1, 3.5, 28])
def test_gradients_match_finite_differences(exponent, monkeypatch):
    head, features, targets = make((5, 7), exponent, tokens=2)
    head.double()
    inputs = features.double().requires_grad_(True)

    weight = head.weight.detach().requires_grad_(True)
    del head.weight  # gradcheck sets it as a plain tensor

    def loss(x, weight):
        head.weight = weight
        return head.loss(x, targets)

    for limit in (module._DIRECT_LIMIT, 0):
        monkeypatch.setattr(module, "_DIRECT_LIMIT", limit)
        assert torch.autograd.gradcheck(loss, (inputs, weight))


# ---- at and near a center, float32 against float64 -----------------------------------------------


@each_size
@pytest.mark.parametrize("exponent", [1, 2, 28, 768])
@pytest.mark.parametrize("eps", [1e-10, 1e-4])
def test_loss_at_the_target_center_depends_on_eps(size, exponent, eps):
    head, features, targets = make(size, exponent, tokens=2, eps=eps)
    features = head.weight.detach()[targets].clone()
    expected = loss_of_the_paper(features, head.weight, targets, exponent, eps)
    loss, of_x, of_w = gradients(head, features, targets)
    # Below 1e-38 there is no normal float32; the loss is 0 then.
    assert loss == pytest.approx(expected, rel=1e-4, abs=1e-37)
    assert of_x.isfinite().all() and of_w.isfinite().all()


@pytest.mark.parametrize("eps", [1e-6, 1e-4])
def test_eps_bounds_the_gradient_near_a_wrong_center(eps):
    # One wrong center at 0, the right one far away: gradient n d / (d^2 + eps) <= n/(2 sqrt(eps)).
    head = HarmonicHead(2, 2, exponent=6, eps=eps)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[0.0, 0.0], [1000.0, 0.0]]))
    distances = torch.logspace(-6, 0, 200)
    steepest = 0.0
    for distance in distances.tolist():
        x = torch.tensor([[0.0, distance]])
        steepest = max(steepest, gradients(head, x, torch.tensor([1]))[1].norm().item())
    bound = 6 / (2 * math.sqrt(eps))
    assert 0.99 * bound < steepest < 1.001 * bound


@each_size
def test_distances_of_bfloat16_inputs_are_in_float32(size):
    head, features, targets = make(size, exponent=28)
    features, weight = features.bfloat16(), head.weight.detach().bfloat16()
    exact = HarmonicHead(*size, exponent=28)
    with torch.no_grad():
        exact.weight.copy_(weight)
    got = head.bfloat16().loss(features, targets)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, exact.loss(features.float(), targets))
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(exact.loss(features.float(), targets), got)
        assert exact(features.float()).dtype == torch.float32


# ---- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, 0.0, -1, -2.5, math.nan])
@pytest.mark.parametrize("name", ["exponent", "eps"])
def test_exponent_and_eps_must_be_positive(name, value):
    with pytest.raises(ValueError, match=name):
        HarmonicHead(4, 3, **{name: value})
