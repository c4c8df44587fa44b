"""Label smoothing, focal loss and smooth hinge against their formulas, written in float64."""

import copy
import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from lightning_modules.heads import (
    CrossEntropyHead,
    FocalHead,
    HarmonicHead,
    LabelSmoothingHead,
    SmoothHingeHead,
    SoftNearestNeighborHead,
    SphericalSoftmaxHead,
    SupervisedContrastiveHead,
)

WIDTH, CLASSES = 6, 5
OBJECTIVES = [LabelSmoothingHead, FocalHead, SmoothHingeHead]
FEATURE_OBJECTIVES = [SoftNearestNeighborHead, SupervisedContrastiveHead]
GEOMETRIES = [CrossEntropyHead, partial(HarmonicHead, exponent=3), SphericalSoftmaxHead]
each_geometry = pytest.mark.parametrize("geometry", GEOMETRIES, ids=["inner", "harmonic", "sphere"])
each_objective = pytest.mark.parametrize("cls", OBJECTIVES)
each_wrapping_head = pytest.mark.parametrize("cls", OBJECTIVES + FEATURE_OBJECTIVES)


def make(cls, geometry=CrossEntropyHead, scale=1.0, **options):
    rng = torch.Generator().manual_seed(11)
    head = cls(WIDTH, CLASSES, geometry, **options)
    with torch.no_grad():
        head.weight.copy_(torch.randn(CLASSES, WIDTH, generator=rng))
    features = torch.randn(7, WIDTH, generator=rng) * scale
    return head, features, torch.randint(CLASSES, (7,), generator=rng)


def with_logits(cls, logits, **options):
    """A head whose logits of the feature 1 are these."""
    head = cls(1, len(logits), **options)
    with torch.no_grad():
        head.weight.copy_(torch.tensor(logits).unsqueeze(1))
    return head, torch.ones(1, 1)


def mean_by_loop(loss_of_row, head, features, targets):
    rows = head(features).double().tolist()
    pairs = zip(rows, targets.tolist(), strict=True)
    return math.fsum(loss_of_row(row, c) for row, c in pairs) / len(rows)


def probabilities(row):
    powers = [math.exp(value - max(row)) for value in row]
    return [power / math.fsum(powers) for power in powers]


# ---- formulas ------------------------------------------------------------------------------------


@each_geometry
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7, 1.0])
def test_label_smoothing_is_cross_entropy_with_smoothed_targets(geometry, smoothing):
    head, features, targets = make(LabelSmoothingHead, geometry, smoothing=smoothing)

    def loss_of_row(row, c):
        q = [smoothing / CLASSES + (1 - smoothing) * (v == c) for v in range(CLASSES)]
        return -math.fsum(a * math.log(p) for a, p in zip(q, probabilities(row), strict=True))

    expected = mean_by_loop(loss_of_row, head, features, targets)
    assert head.loss(features, targets).item() == pytest.approx(expected, rel=1e-5)
    torchs = F.cross_entropy(head(features), targets, label_smoothing=smoothing)
    torch.testing.assert_close(head.loss(features, targets), torchs)


@each_geometry
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
def test_focal_loss_weights_by_a_power_of_the_other_probabilities(geometry, gamma):
    head, features, targets = make(FocalHead, geometry, gamma=gamma)

    def loss_of_row(row, c):
        p = probabilities(row)
        others = math.fsum(value for v, value in enumerate(p) if v != c)
        return others**gamma * -math.log(p[c])

    expected = mean_by_loop(loss_of_row, head, features, targets)
    assert head.loss(features, targets).item() == pytest.approx(expected, rel=1e-5)


def psi_gaussian(a, sigma):
    v = (1 - a) / sigma
    density = math.exp(-v * v / 2) / math.sqrt(2 * math.pi)
    return (1 - a) * 0.5 * (1 + math.erf(v / math.sqrt(2))) + sigma * density


def psi_algebraic(a, sigma):
    v = (1 - a) / sigma
    root = math.sqrt(1 + v * v)
    return (1 - a) * 0.5 * (1 + v / root) + sigma / (2 * root)


@each_geometry
@pytest.mark.parametrize("sigma", [0.1, 1.0, 3.0])
@pytest.mark.parametrize(
    ("form", "psi"), [("gaussian", psi_gaussian), ("algebraic", psi_algebraic)]
)
def test_smooth_hinge_sums_psi_over_the_other_classes(geometry, sigma, form, psi):
    head, features, targets = make(SmoothHingeHead, geometry, sigma=sigma, form=form)

    def loss_of_row(row, c):
        return math.fsum(psi(row[c] - row[v], sigma) for v in range(CLASSES) if v != c)

    expected = mean_by_loop(loss_of_row, head, features, targets)
    assert head.loss(features, targets).item() == pytest.approx(expected, rel=1e-5)


# ---- limits --------------------------------------------------------------------------------------


@each_geometry
@pytest.mark.parametrize("cls, option", [(LabelSmoothingHead, "smoothing"), (FocalHead, "gamma")])
def test_at_zero_the_loss_equals_the_geometry_s(geometry, cls, option):
    head, features, targets = make(cls, geometry, **{option: 0.0})
    targets[2] = -100
    features.requires_grad_(True)
    ours = torch.autograd.grad(head.loss(features, targets), (features, head.weight))
    theirs = torch.autograd.grad(head.geometry.loss(features, targets), (features, head.weight))
    torch.testing.assert_close(head.loss(features, targets), head.geometry.loss(features, targets))
    torch.testing.assert_close(ours, theirs)


def test_smooth_hinge_with_small_sigma_is_torch_s_multi_margin_loss():
    head, features, targets = make(SmoothHingeHead, sigma=1e-4)
    hinge = F.multi_margin_loss(head(features), targets) * CLASSES  # which divides by the classes
    torch.testing.assert_close(head.loss(features, targets), hinge, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
@pytest.mark.parametrize("margin", [5.0, 20.0])
def test_small_focal_loss_and_gradient_keep_full_precision(gamma, margin):
    head, x = with_logits(FocalHead, [margin, 0.0], gamma=gamma)
    loss = head.loss(x, torch.tensor([0]))
    (gradient,) = torch.autograd.grad(loss, head.weight)
    others = 1 / (1 + math.exp(margin))
    sure = math.log1p(math.exp(-margin))
    assert loss.item() == pytest.approx(others**gamma * sure, rel=1e-4)
    slope = -(others**gamma) * (gamma * (1 - others) * sure + others)
    assert gradient[0].item() == pytest.approx(slope, rel=1e-4)


@pytest.mark.parametrize("form, psi", [("gaussian", psi_gaussian), ("algebraic", psi_algebraic)])
def test_smooth_hinge_far_beyond_the_margin_is_small_and_not_negative(form, psi):
    head, x = with_logits(SmoothHingeHead, [1000.0, 0.0], form=form)
    loss = head.loss(x, torch.tensor([0])).item()
    exact = {"gaussian": 0.0, "algebraic": 0.5 / (math.hypot(999.0, 1.0) + 999.0)}[form]
    assert loss == pytest.approx(exact, rel=1e-5) and loss >= 0
    head, x = with_logits(SmoothHingeHead, [4.0, 0.0], form=form)
    assert head.loss(x, torch.tensor([0])).item() == pytest.approx(psi(4.0, 1.0), rel=1e-4)


@each_objective
def test_large_losses_and_their_gradients_are_finite(cls):
    head, features, targets = make(cls, partial(HarmonicHead, exponent=768))
    features = head.weight.detach()[(targets + 1) % CLASSES].requires_grad_(True)
    loss = head.loss(features, targets)
    loss.backward()
    assert loss.item() > 1000
    assert features.grad.isfinite().all() and head.weight.grad.isfinite().all()


# ---- wrapping ------------------------------------------------------------------------------------


@each_wrapping_head
@each_geometry
def test_weight_and_logits_equal_the_geometry_s(cls, geometry):
    torch.manual_seed(3)
    head = cls(WIDTH, CLASSES, geometry)
    torch.manual_seed(3)
    alone = geometry(WIDTH, CLASSES)
    assert torch.equal(head.weight, alone.weight)
    assert [p.shape for p in head.parameters()] == [p.shape for p in alone.parameters()]
    features = torch.randn(4, WIDTH)
    assert torch.equal(head(features), alone(features))
    assert head.is_distance_based == alone.is_distance_based
    assert (head.in_features, head.num_classes) == (WIDTH, CLASSES)


@each_wrapping_head
def test_weight_stays_one_parameter_when_tied_cast_copied_and_loaded(cls):
    head = cls(WIDTH, CLASSES, HarmonicHead)
    embedding = torch.nn.Parameter(torch.randn(CLASSES + 3, WIDTH))
    head.tie(embedding, num_padding=3)
    assert head.weight is head.geometry.weight is embedding
    for other in (copy.deepcopy(head), head.double()):
        assert other.weight is other.geometry.weight
    loaded = cls(WIDTH, CLASSES, HarmonicHead)
    loaded.tie(torch.nn.Parameter(torch.zeros(CLASSES + 3, WIDTH)), num_padding=3)
    loaded.load_state_dict(head.state_dict())
    assert loaded.weight is loaded.geometry.weight
    torch.testing.assert_close(loaded.weight.double(), head.weight.double())


@each_objective
@pytest.mark.parametrize("geometry", [FocalHead, SoftNearestNeighborHead])
def test_objective_as_geometry_raises(cls, geometry):
    with pytest.raises(ValueError, match="geometry"):
        cls(WIDTH, CLASSES, geometry)


@each_objective
def test_fused_geometry_raises(cls):
    with pytest.raises(ValueError, match="fused"):
        cls(WIDTH, CLASSES, partial(HarmonicHead, fused=True))
    assert not cls(2, 5000).uses_fused_loss()  # where a cross-entropy head would be fused


@pytest.mark.parametrize(
    ("cls", "option", "values"),
    [
        (LabelSmoothingHead, "smoothing", (-0.1, 1.1, math.nan)),
        (FocalHead, "gamma", (-1.0, math.inf, math.nan)),
        (SmoothHingeHead, "sigma", (0.0, -1.0, math.nan)),
        (SmoothHingeHead, "form", ("cubic",)),
        (SoftNearestNeighborHead, "temperature", (0.0, -1.0, math.nan)),
        (SupervisedContrastiveHead, "temperature", (0.0, -1.0, math.nan)),
    ],
)
def test_settings_out_of_range_raise(cls, option, values):
    for value in values:
        with pytest.raises(ValueError, match=option):
            cls(WIDTH, CLASSES, **{option: value})
