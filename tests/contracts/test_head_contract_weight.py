"""Weight of every loss head: shape, initial values, tying, padding rows."""

import math

import pytest
import torch

from tests.helpers.every_head import (
    CLASSES,
    WIDTH,
    build,
    each_head,
    examples,
    loss_and_gradients,
)

# ---- shape and initial values --------------------------------------------------------------------


@each_head
def test_sizes_and_shape_of_the_weight(cls):
    head = build(cls)
    assert (head.in_features, head.num_classes) == (WIDTH, CLASSES)
    assert isinstance(head.weight, torch.nn.Parameter)
    assert head.weight.shape == (CLASSES, WIDTH)
    assert dict(head.named_parameters())["weight"] is head.weight


@each_head
def test_initial_weight_is_uniform_as_in_a_linear_layer(cls):
    weight = build(cls, width=25, classes=400).weight.detach()
    assert weight.abs().max() <= 0.2
    assert weight.abs().max() > 0.199
    assert weight.std().item() == pytest.approx(0.2 / math.sqrt(3), rel=0.02)
    assert weight.mean().item() == pytest.approx(0.0, abs=0.005)


@each_head
@pytest.mark.parametrize("name", ["in_features", "num_classes"])
def test_sizes_below_one_raise(cls, name):
    sizes = {"in_features": 3, "num_classes": 3} | {name: 0}
    with pytest.raises(ValueError, match=name):
        cls(**sizes)


# ---- tying ---------------------------------------------------------------------------------------


@each_head
def test_tie_shares_one_parameter(cls):
    head = build(cls)
    embedding = torch.nn.Embedding(CLASSES, WIDTH)
    head.tie(embedding.weight)
    assert head.weight is embedding.weight
    features, targets = examples(6)
    head.loss(features, targets).backward()
    assert embedding.weight.grad is not None and embedding.weight.grad.abs().max() > 0


@each_head
@pytest.mark.parametrize(
    ("shape", "num_padding"),
    [
        ((CLASSES + 1, WIDTH), 0),
        ((CLASSES, WIDTH - 1), 0),
        ((CLASSES, WIDTH), 2),
        ((CLASSES + 3, WIDTH), 2),
    ],
)
def test_tie_rejects_another_shape_and_keeps_the_weight(cls, shape, num_padding):
    head = build(cls)
    weight = head.weight
    with pytest.raises(ValueError, match="tie_embedding"):
        head.tie(torch.nn.Parameter(torch.zeros(shape)), num_padding)
    assert head.weight is weight


# ---- padding -------------------------------------------------------------------------------------


# (width, classes) below and above the size from which the harmonic head uses matrix products.
each_size = pytest.mark.parametrize("sizes", [(WIDTH, CLASSES), (64, 300)], ids=["small", "large"])


def build_padded(cls, num_padding, width=WIDTH, classes=CLASSES):
    """A head tied to an embedding with further rows, and the same head without them."""
    plain, padded = build(cls, width, classes), build(cls, width, classes)
    rows = torch.randn(num_padding, width, generator=torch.Generator().manual_seed(6))
    embedding = torch.nn.Parameter(torch.cat([plain.weight.detach(), rows]))
    padded.tie(embedding, num_padding=num_padding)
    return padded, plain


@each_head
@each_size
def test_padding_rows_get_no_logit(cls, sizes):
    head, plain = build_padded(cls, 7, *sizes)
    features, _ = examples(3, 4, width=sizes[0])
    logits = head(features)
    assert logits.shape == (3, 4, sizes[1])
    torch.testing.assert_close(logits, plain(features))
    torch.testing.assert_close(head(features[1, 2]), plain(features[1, 2]))


@each_head
@each_size
def test_padding_rows_do_not_affect_the_loss_and_get_no_gradient(cls, sizes):
    head, plain = build_padded(cls, 7, *sizes)
    features, targets = examples(3, 4, width=sizes[0], classes=sizes[1])
    targets[1, 1] = -100
    loss, of_features, of_parameters = loss_and_gradients(head, features, targets)
    expected = loss_and_gradients(plain, features, targets)
    of_weight = of_parameters["weight"]
    assert of_weight.shape == (sizes[1] + 7, sizes[0])
    assert (of_weight[sizes[1] :] == 0).all()
    of_parameters["weight"] = of_weight[: sizes[1]]
    torch.testing.assert_close((loss, of_features, of_parameters), expected)


@each_head
def test_values_of_padding_rows_do_not_matter(cls):
    features, targets = examples(6)
    losses = []
    for value in (0.0, features[0], -1e10):
        head, _ = build_padded(cls, 2)
        with torch.no_grad():
            head.weight[CLASSES:] = value
        loss, _, of_parameters = loss_and_gradients(head, features, targets)
        losses.append(loss)
        assert (of_parameters["weight"][CLASSES:] == 0).all()
    torch.testing.assert_close(losses[1:], losses[:1] * 2)
