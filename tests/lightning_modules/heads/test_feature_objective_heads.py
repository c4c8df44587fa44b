"""Soft nearest neighbors and supervised contrast against their formulas, and their gradients."""

import math
from functools import partial

import pytest
import torch

from lightning_modules.heads import (
    CrossEntropyHead,
    FocalHead,
    HarmonicHead,
    SoftNearestNeighborHead,
    SupervisedContrastiveHead,
)

WIDTH, CLASSES = 4, 3
HEADS = [SoftNearestNeighborHead, SupervisedContrastiveHead]
each_head = pytest.mark.parametrize("cls", HEADS)
# Classes of three, two and one example, and an example that does not count.
TARGETS = torch.tensor([0, 1, 0, 2, 1, -100, 0])


def make(cls, scale=1.0, **options):
    rng = torch.Generator().manual_seed(5)
    torch.manual_seed(0)
    head = cls(WIDTH, CLASSES, **options)
    return head, torch.randn(len(TARGETS), WIDTH, generator=rng) * scale


def squared_distance(x, y):
    return math.fsum((a - b) ** 2 for a, b in zip(x, y, strict=True))


def cosine(x, y):
    product = math.fsum(a * b for a, b in zip(x, y, strict=True))
    return product / math.sqrt(squared_distance(x, [0] * WIDTH) * squared_distance(y, [0] * WIDTH))


def mean_over_anchors(features, targets, loss_of):
    """Mean over examples that share their class; ``loss_of`` gets x, i, own and other indices."""
    x, y = features.double().tolist(), targets.tolist()
    losses = []
    for i in range(len(x)):
        others = [j for j in range(len(x)) if j != i and y[j] != -100]
        own = [j for j in others if y[j] == y[i]]
        if y[i] != -100 and own:
            losses.append(loss_of(x, i, own, others))
    return math.fsum(losses) / len(losses)


def nearest_neighbor_loss(features, targets, temperature):
    def loss_of(x, i, own, others):
        weight = {j: math.exp(-squared_distance(x[i], x[j]) / temperature) for j in others}
        return -math.log(math.fsum(weight[j] for j in own) / math.fsum(weight.values()))

    return mean_over_anchors(features, targets, loss_of)


def contrastive_loss(features, targets, temperature):
    def loss_of(x, i, own, others):
        weight = {j: math.exp(cosine(x[i], x[j]) / temperature) for j in others}
        total = math.fsum(weight.values())
        return -math.fsum(math.log(weight[p] / total) for p in own) / len(own)

    return mean_over_anchors(features, targets, loss_of)


FORMULAS = {
    SoftNearestNeighborHead: nearest_neighbor_loss,
    SupervisedContrastiveHead: contrastive_loss,
}


@each_head
@pytest.mark.parametrize("temperature", [0.1, 1.0, 20.0])
def test_feature_loss_is_the_paper_s(cls, temperature):
    head, features = make(cls, temperature=temperature)
    expected = FORMULAS[cls](features, TARGETS, temperature)
    assert head.feature_loss(features, TARGETS).item() == pytest.approx(expected, rel=1e-5)


@each_head
def test_feature_loss_gradients_match_finite_differences(cls):
    head, features = make(cls)
    features = features.double().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: head.feature_loss(x, TARGETS), (features,))


@each_head
@pytest.mark.parametrize("geometry", [CrossEntropyHead, partial(HarmonicHead, exponent=2)])
def test_readout_loss_has_no_gradient_for_the_features(cls, geometry):
    head, features = make(cls, geometry=geometry)
    features.requires_grad_(True)
    of_features, of_weight = torch.autograd.grad(
        head.loss(features, TARGETS), (features, head.weight)
    )
    (expected_of_features,) = torch.autograd.grad(head.feature_loss(features, TARGETS), features)
    own_loss = head.geometry.loss(features, TARGETS)
    (expected_of_weight,) = torch.autograd.grad(own_loss, head.weight)
    torch.testing.assert_close(of_features, expected_of_features)
    torch.testing.assert_close(of_weight, expected_of_weight)
    torch.testing.assert_close(
        head.loss(features, TARGETS), own_loss + head.feature_loss(features, TARGETS)
    )


@each_head
@pytest.mark.parametrize(
    "targets", [[0, 1, 2], [0], [-100, 1], [-100, -100], []], ids=lambda t: str(len(t))
)
def test_feature_loss_is_zero_without_two_examples_of_a_class(cls, targets):
    head, features = make(cls)
    features = features[: len(targets)].requires_grad_(True)
    loss = head.feature_loss(features, torch.tensor(targets, dtype=torch.long))
    loss.backward()
    assert loss == 0 and (features.grad == 0).all()


def test_contrast_of_a_single_class_is_smallest_for_parallel_features():
    head, features = make(SupervisedContrastiveHead)
    targets = torch.zeros(len(features), dtype=torch.long)
    least = math.log(len(features) - 1)
    assert head.feature_loss(features, targets).item() > least + 1
    together = torch.outer(torch.arange(1.0, 8.0), features[0])
    assert head.feature_loss(together, targets).item() == pytest.approx(least, rel=1e-5)


def test_small_neighbor_loss_keeps_full_precision():
    # Two pairs at distance 8: the wrong pair has odds of 2 e^-64 against the own neighbor's 1.
    x = torch.tensor([[0.0], [0.0], [8.0], [8.0]])
    head = SoftNearestNeighborHead(1, 2)
    loss = head.feature_loss(x, torch.tensor([0, 0, 1, 1]))
    assert loss.item() == pytest.approx(2 * math.exp(-64), rel=1e-4)


def test_neighbor_loss_far_from_the_origin_is_precise():
    head, features = make(SoftNearestNeighborHead)
    shift = torch.full((WIDTH,), 256.0)
    shifted = features + shift  # exact to 2e-5
    expected = nearest_neighbor_loss(features, TARGETS, 1.0)
    counted = TARGETS != -100
    got = head.feature_loss(shifted[counted], TARGETS[counted])
    assert got.item() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("scale", [1e-8, 1e4])
def test_neighbor_loss_is_finite_at_any_distance(scale):
    head, features = make(SoftNearestNeighborHead, scale)
    features.requires_grad_(True)
    loss = head.feature_loss(features, TARGETS)
    loss.backward()
    assert loss.isfinite() and features.grad.isfinite().all()


@each_head
def test_zero_and_equal_features_have_finite_gradients(cls):
    head, features = make(cls)
    features[0] = 0.0
    features[2] = 0.0
    features[4] = features[1]
    features.requires_grad_(True)
    head.feature_loss(features, TARGETS).backward()
    assert features.grad.isfinite().all() and features.grad.abs().max() < 100


@each_head
def test_readout_accepts_a_logit_objective_but_no_feature_objective(cls):
    head, features = make(cls, geometry=partial(FocalHead, geometry=HarmonicHead))
    assert head.loss(features, TARGETS).isfinite() and head.is_distance_based
    with pytest.raises(ValueError, match="geometry"):
        cls(WIDTH, CLASSES, SoftNearestNeighborHead)


@each_head
def test_readout_may_be_fused(cls):
    assert cls(2, 5000).uses_fused_loss()
    head, features = make(cls, geometry=partial(HarmonicHead, fused=True))
    plain, _ = make(cls, geometry=HarmonicHead)
    assert head.uses_fused_loss() and not plain.uses_fused_loss()
    torch.testing.assert_close(head.loss(features, TARGETS), plain.loss(features, TARGETS))
