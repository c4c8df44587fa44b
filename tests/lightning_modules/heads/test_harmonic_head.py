"""The harmonic head against the paper's equations 1 to 4, written out as a loop."""

import math
from decimal import Decimal, localcontext

import pytest
import torch

from lightning_modules.heads import HarmonicHead
from lightning_modules.heads import harmonic as module

# (width, classes) on either side of the limit up to which all differences are formed.
SMALL, LARGE = (16, 31), (64, 1000)
EXPONENTS = [1, 2, 28, 768, None]

each_size = pytest.mark.parametrize("size", [SMALL, LARGE], ids=["direct", "matrix_product"])
each_exponent = pytest.mark.parametrize("exponent", EXPONENTS, ids=str)


def probabilities_of_the_paper(x, centers, exponent, eps=0.0):
    """p_i = d_i^-n / sum_j d_j^-n, d_i = ||w_i - x||, as written, in 40 decimal digits.

    Decimals have no overflow to speak of: d^-768 is a number like any other. ``eps`` is added to
    the squared distance.
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


def reference(features, centers, targets, exponent, eps):
    """Loss and gradients in float64: log(1 + sum over others of (d_c^2 / d_j^2)^(n/2))."""
    x = features.detach().double().requires_grad_(True)
    w = centers.detach().double().requires_grad_(True)
    losses = []
    for row, target in zip(x, targets.tolist(), strict=True):
        squared = ((w - row) ** 2).sum(dim=1) + eps
        others = torch.arange(len(w)) != target
        ratios = (squared[target] / squared[others]) ** (exponent / 2)
        losses.append(torch.log1p(ratios.sum()))
    loss = torch.stack(losses).mean()
    of_x, of_w = torch.autograd.grad(loss, (x, w))
    return loss.item(), of_x, of_w


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


def relative_error(got, expected):
    return ((got.double() - expected).norm() / expected.norm()).item()


# ---- equations 1 to 4 ----------------------------------------------------------------------------


@each_size
@each_exponent
def test_loss_is_the_paper_s_where_distances_are_about_one(size, exponent):
    head, features, targets = make(size, exponent)
    n = math.sqrt(size[0]) if exponent is None else exponent
    expected = loss_of_the_paper(features, head.weight, targets, n)
    # A float32 distance is good to some 1e-7, which the exponent multiplies.
    tolerance = max(1e-5, n * 1e-6 / expected)
    assert head.loss(features, targets).item() == pytest.approx(expected, rel=tolerance)


@each_size
@each_exponent
@pytest.mark.parametrize("eps", [1e-4, 0.1])
def test_eps_is_added_to_every_squared_distance(size, exponent, eps):
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
def test_the_exponent_is_the_root_of_the_width_unless_given(width):
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


@each_size
@pytest.mark.parametrize("exponent", [1, 28])
@pytest.mark.parametrize("alpha", [0.3, 8.0, 1000.0])
def test_scaling_features_and_centers_leaves_the_loss(size, exponent, alpha):
    head, features, targets = make(size, exponent, eps=1e-20)
    before = head.loss(features, targets).item()
    with torch.no_grad():
        head.weight *= alpha
    assert head.loss(features * alpha, targets).item() == pytest.approx(before, rel=1e-5)
    if exponent == 28:  # scaling one of the two alone does not
        assert head.loss(features * alpha * 1.5, targets).item() != pytest.approx(before, rel=1e-3)


@each_size
def test_shifting_features_and_centers_leaves_the_loss(size):
    head, features, targets = make(size, exponent=2)
    before = head.loss(features, targets).item()
    shift = torch.full((size[0],), 0.25)
    with torch.no_grad():
        head.weight += shift
    assert head.loss(features + shift, targets).item() == pytest.approx(before, rel=1e-5)


@pytest.mark.parametrize("exponent", [1, 28])
def test_both_ways_to_form_distances_agree(exponent, monkeypatch):
    head, features, targets = make(SMALL, exponent)
    with torch.no_grad():
        features[0] = head.weight[5] + 1e-3
        targets[0] = 5
    expected = gradients(head, features, targets)
    logits = head(features)
    monkeypatch.setattr(module, "_DIRECT_LIMIT", 0)
    torch.testing.assert_close(gradients(head, features, targets), expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(head(features), logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("exponent", [1, 3.5, 28])
def test_gradients_are_those_of_finite_differences(exponent, monkeypatch):
    head, features, targets = make((5, 7), exponent, tokens=2)
    head.double()
    inputs = features.double().requires_grad_(True)

    def loss(x, weight):
        return torch.func.functional_call(wrapped, {"head.weight": weight}, (x,))

    class Loss(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.head = head

        def forward(self, x):
            return self.head.loss(x, targets)

    wrapped = Loss()
    for limit in (module._DIRECT_LIMIT, 0):
        monkeypatch.setattr(module, "_DIRECT_LIMIT", limit)
        assert torch.autograd.gradcheck(loss, (inputs, head.weight.detach().requires_grad_(True)))


# ---- at and near a center, float32 against float64 -----------------------------------------------


@each_size
@pytest.mark.parametrize("exponent", [1, 2, 28, 768])
@pytest.mark.parametrize("eps", [1e-10, 1e-4])
def test_on_its_own_center_the_loss_is_the_floor_that_eps_sets(size, exponent, eps):
    head, features, targets = make(size, exponent, tokens=2, eps=eps)
    features = head.weight.detach()[targets].clone()
    expected = loss_of_the_paper(features, head.weight, targets, exponent, eps)
    loss, of_x, of_w = gradients(head, features, targets)
    # Below 1e-38 there is no normal float32; the loss is 0 then.
    assert loss == pytest.approx(expected, rel=1e-4, abs=1e-37)
    assert of_x.isfinite().all() and of_w.isfinite().all()
    floor = sum(
        math.fsum(
            (eps / (((head.weight.detach()[j] - x).double() ** 2).sum().item() + eps))
            ** (exponent / 2)
            for j in range(size[1])
            if j != target
        )
        for x, target in zip(features, targets.tolist(), strict=True)
    ) / len(targets)
    if floor < 1e-3:
        assert loss == pytest.approx(floor, rel=1e-3, abs=1e-37)


@each_size
@pytest.mark.parametrize("exponent", [1, 28])
def test_no_feature_has_less_loss_than_the_one_on_its_center(size, exponent):
    head, features, targets = make(size, exponent, tokens=1, eps=1e-4)
    center = head.weight.detach()[targets].clone()
    at_center = head.loss(center, targets).item()
    for distance in (0.03, 0.1, 0.3):
        direction = torch.nn.functional.normalize(features, dim=-1)
        for sign in (-1, 1):
            assert head.loss(center + sign * distance * direction, targets).item() >= at_center


@pytest.mark.parametrize("eps", [1e-6, 1e-4])
def test_the_push_of_a_wrong_center_is_bounded_by_eps(eps):
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
def test_in_bfloat16_only_the_inputs_are_rounded_not_the_distances(size):
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
