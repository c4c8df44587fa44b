"""Logits and loss of every head."""

import math

import pytest
import torch

from lightning_modules.heads import (
    CrossEntropyHead,
    HarmonicHead,
    LossHead,
    SphericalSoftmaxHead,
    SupervisedContrastiveHead,
)
from tests.helpers.every_head import (
    CLASSES,
    DOCUMENTED,
    WIDTH,
    build,
    each,
    each_head,
    examples,
    loss_and_gradients,
)


@each_head
@pytest.mark.parametrize("shape", [(), (5,), (2, 1, 3)], ids=str)
def test_logits_keep_every_leading_dimension(cls, shape):
    head = build(cls)
    features, _ = examples(*shape)
    logits = head(features)
    assert logits.shape == (*shape, CLASSES)
    assert logits.isfinite().all()


@each_head
@pytest.mark.parametrize("shape", [(1,), (7,), (2, 1, 3)], ids=str)
def test_loss_is_a_finite_scalar_with_finite_nonzero_gradients(cls, shape):
    head = build(cls)
    features, targets = examples(*shape)
    loss, of_features, of_parameters = loss_and_gradients(head, features, targets)
    assert loss.shape == ()
    assert loss.isfinite()
    assert of_features.shape == (*shape, WIDTH)
    assert of_features.isfinite().all() and of_parameters["weight"].isfinite().all()
    assert of_parameters["weight"].abs().max() > 0
    # A pairwise loss has no gradient if no two examples share a class.
    comparable = len(targets.unique()) < targets.numel()
    assert (of_features.abs().max() > 0) == (comparable or not head.uses_pairwise_loss)


@each_head
def test_loss_is_the_mean_over_examples_unless_it_compares_them(cls):
    head = build(cls)
    features, targets = examples(6)
    alone = [head.loss(features[i : i + 1], targets[i : i + 1]).item() for i in range(6)]
    together = head.loss(features, targets).item()
    is_mean = together == pytest.approx(sum(alone) / 6, rel=1e-5)
    assert is_mean != head.uses_pairwise_loss


@each_head
@pytest.mark.parametrize("ignore_index", [-100, -1, 4])
def test_ignored_positions_do_not_affect_loss_or_gradients(cls, ignore_index):
    head = build(cls)
    features, targets = examples(4, 5)
    targets = torch.where(targets == ignore_index, (ignore_index + 1) % CLASSES, targets)
    kept = torch.rand(4, 5, generator=torch.Generator().manual_seed(3)) < 0.6
    assert 0 < kept.sum() < 20
    masked = torch.where(kept, targets, ignore_index)
    loss, of_features, of_parameters = loss_and_gradients(
        head, features, masked, ignore_index=ignore_index
    )
    expected, of_kept, expected_of_parameters = loss_and_gradients(
        head, features[kept], targets[kept], ignore_index=ignore_index
    )
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(of_features[kept], of_kept)
    assert (of_features[~kept] == 0).all()
    for name, gradient in expected_of_parameters.items():
        torch.testing.assert_close(of_parameters[name], gradient)


@each_head
@pytest.mark.parametrize("value", [1e4, math.inf, math.nan])
def test_features_at_ignored_positions_affect_neither_loss_nor_gradients(cls, value):
    head = build(cls)
    features, targets = examples(6)
    targets[2:4] = -100
    changed = features.clone()
    changed[2] = value
    changed[3] = head.weight.detach()[0]  # on a class center
    before, after = (loss_and_gradients(head, x, targets) for x in (features, changed))
    torch.testing.assert_close(after[0], before[0])
    torch.testing.assert_close(after[1], before[1])
    torch.testing.assert_close(after[2], before[2])


@each_head
def test_loss_and_gradients_are_zero_if_every_target_is_ignored(cls):
    loss, of_features, of_parameters = loss_and_gradients(
        build(cls), examples(3, 4)[0], torch.full((3, 4), -100)
    )
    assert loss == 0
    assert (of_features == 0).all()
    assert all((gradient == 0).all() for gradient in of_parameters.values())


@each([CrossEntropyHead, HarmonicHead, SphericalSoftmaxHead, DOCUMENTED[0]])
@pytest.mark.parametrize("width, classes", [(WIDTH, CLASSES), (64, 300)], ids=["small", "large"])
def test_loss_is_the_negative_log_of_the_softmax_of_the_logits(cls, width, classes):
    head = build(cls, width, classes)
    features, targets = examples(8, width=width, classes=classes)
    logits = head(features).double()
    nll = 0.0
    for row, target in zip(logits.tolist(), targets.tolist(), strict=True):
        largest = max(row)
        log_sum = largest + math.log(sum(math.exp(value - largest) for value in row))
        nll += (log_sum - row[target]) / len(targets)
    assert head.loss(features, targets).item() == pytest.approx(nll, rel=1e-5)


@each_head
def test_fused_follows_the_option(cls):
    assert build(cls).uses_fused_loss() == getattr(cls, "keywords", {}).get("fused", False)


@each_head
def test_single_class_has_zero_loss(cls):
    head = build(cls, classes=1)
    features, targets = examples(4, classes=1)
    loss, of_features, of_parameters = loss_and_gradients(head, features, targets)
    if not isinstance(head, SupervisedContrastiveHead):  # compares examples all the same
        assert loss.item() == pytest.approx(0.0, abs=1e-6)
    assert loss.isfinite()
    assert of_features.isfinite().all() and of_parameters["weight"].isfinite().all()


# ---- default loss of a head that defines only forward --------------------------------------------


class Linear(LossHead):
    """Inner products in the dtype of the features."""

    def forward(self, features):
        return features @ self.weight[: self.num_classes].mT


class LinearWithPadding(LossHead):
    """Wrongly returns logits of padding rows."""

    def forward(self, features):
        return features @ self.weight.mT


def test_default_loss_of_inner_products_is_cross_entropy():
    ours, theirs = build(Linear), build(CrossEntropyHead)
    features, targets = examples(6)
    targets[2] = -100
    torch.testing.assert_close(
        loss_and_gradients(ours, features, targets), loss_and_gradients(theirs, features, targets)
    )


def test_default_loss_keeps_full_precision_of_a_small_loss():
    head = build(Linear, width=2, classes=3)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[40.0, 0.0], [0.0, 0.0], [0.0, 0.0]]))
    loss = head.loss(torch.tensor([[1.0, 0.0]]), torch.tensor([0]))
    assert loss.item() == pytest.approx(2 * math.exp(-40), rel=1e-5)  # log-softmax would give 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_default_loss_ignores_autocast(dtype):
    head = build(Linear)
    features, targets = examples(6)
    features = features.to(dtype)
    expected = head.loss(features.float(), targets)
    with torch.autocast("cpu", torch.bfloat16):
        assert head(features).dtype == torch.bfloat16
        loss = head.loss(features, targets)
    assert torch.equal(loss, expected)


def test_logits_of_padding_rows_raise():
    head = build(LinearWithPadding)
    head.tie(torch.nn.Parameter(torch.zeros(CLASSES + 3, WIDTH)), num_padding=3)
    with pytest.raises(ValueError, match="num_classes"):
        head.loss(*examples(6))
