"""The SAFR classifier's loss, term by term, and how ranks share a batch."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from lightning_modules import CrossEntropyHead, HarmonicHead, TextClassifier, TextTransformer
from lightning_modules.regularizers import importance, information, interaction

SMALL = partial(TextTransformer, width=16, num_heads=2, feedforward_dim=32, mask_dim=8, dropout=0.0)


def classifier(**options: Any) -> TextClassifier:
    """A small one that computes without drawing: the mask as in evaluation."""
    torch.manual_seed(0)
    model = TextClassifier(**{"network": SMALL, "vocab_size": 30, "context_length": 8, **options})
    model.eval()
    return model


def in_world(model: TextClassifier, world: int) -> TextClassifier:
    trainer = SimpleNamespace(world_size=world, strategy=None, global_step=0, current_epoch=0)
    model._trainer = trainer  # type: ignore[assignment]
    model.nonfinite.start(torch.device("cpu"))
    return model


def batch() -> dict[str, torch.Tensor]:
    tokens = torch.tensor(
        [[4, 9, 2, 7, 8, 3], [11, 3, 0, 0, 0, 0], [5, 6, 7, 0, 0, 0], [9, 9, 1, 2, 0, 0]]
    )
    mask = tokens != 0
    return {
        "tokens": tokens,
        "mask": mask,
        "labels": torch.tensor([1, 0, 0, 1]),
        "global_size": torch.tensor([4, int(mask.sum())]),
    }


def test_without_weights_the_loss_is_the_heads():
    model = in_world(classifier(), 1)
    given = batch()
    logits = model(given["tokens"], given["mask"])
    expected = F.cross_entropy(logits, given["labels"])
    assert torch.allclose(model.training_step(given, 0), expected, atol=1e-6)


@pytest.mark.parametrize("form", ["masked", "paper", "code"])
def test_the_loss_is_the_heads_plus_the_weighted_terms(form):
    model = in_world(
        classifier(
            lambda_importance=0.3,
            lambda_interaction=0.7,
            importance_form=form,
            interaction_form=form,
            lambda_information=0.05,
        ),
        1,
    )
    given = batch()
    activations = model.network.forward_with_activations(given["tokens"], given["mask"])
    expected = (
        F.cross_entropy(model.head(activations["features"]), given["labels"])
        + 0.3 * importance(activations["vmask"], given["mask"], form)
        + 0.7 * interaction(activations["attention_weights"], given["mask"], form)
        + 0.05 * information(activations["vmask_probability"], given["mask"])
    )
    assert torch.allclose(model.training_step(given, 0), expected, atol=1e-6)


@pytest.mark.parametrize("form", ["masked", "paper", "code"])
@pytest.mark.parametrize("rows", [([0, 2], [1, 3]), ([0, 1, 3], [2])])
def test_the_mean_over_ranks_is_the_loss_of_the_global_batch(form, rows):
    options = {"lambda_importance": 0.3, "lambda_interaction": 0.7, "lambda_information": 0.1}
    model = classifier(**options, importance_form=form, interaction_form=form)
    given = batch()
    whole = in_world(model, 1).training_step(given, 0)
    parts = []
    for of_rank in rows:
        part = {k: v if k == "global_size" else v[of_rank] for k, v in given.items()}
        parts.append(in_world(model, 2).training_step(part, 0))
    assert torch.allclose(torch.stack(parts).mean(), whole, atol=1e-6)


def test_a_rank_without_a_text_takes_part_with_nothing():
    model = classifier(lambda_importance=0.3, lambda_interaction=0.7)
    given = {k: v[:1] if k != "global_size" else torch.tensor([1, 6]) for k, v in batch().items()}
    empty = {
        **given,
        "mask": torch.zeros_like(given["mask"]),
        "labels": torch.tensor([-100]),
    }
    whole = in_world(model, 1).training_step(given, 0)
    parts = [in_world(model, 2).training_step(part, 0) for part in (given, empty)]
    assert float(parts[1].detach()) == 0.0
    assert torch.allclose(torch.stack(parts).mean(), whole, atol=1e-6)
    parts[1].backward()
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert all((grad == 0).all() for grad in grads)


def test_the_masks_own_term_loses_weight_down_to_its_floor():
    model = classifier(lambda_information=1.0, information_decay=0.099, information_floor=0.01)
    for epoch, weight in ((0, 1.0), (1, 0.901), (10, 0.01), (50, 0.01)):
        model._trainer = SimpleNamespace(current_epoch=epoch)  # type: ignore[assignment]
        assert model._information_weight() == pytest.approx(weight)


def test_class_centers_of_a_harmonic_head_begin_at_the_scale_of_the_features():
    model = classifier(head=HarmonicHead)
    rms = float(model.head.weight.detach().square().mean().sqrt())
    assert rms == pytest.approx(model.network.initial_scale, rel=1e-5)
    left = classifier(head=CrossEntropyHead)
    assert float(left.head.weight.detach().abs().max()) <= 16**-0.5


def test_representations_hold_the_logits_that_classify_gives():
    model, given = classifier(), batch()
    found = model.representations(given)
    torch.testing.assert_close(found["logits"], model.classify(given))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"lambda_importance": -1.0}, "lambda_importance is -1.0; it must be 0 or positive"),
        ({"lambda_interaction": float("nan")}, "lambda_interaction is nan"),
        ({"importance_form": "mask"}, "importance_form is 'mask'; choose one of masked, paper"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"clip_norm": 0.0}, "clip_norm is 0.0"),
        (
            {"lambda_information": 0.1, "network": partial(SMALL, vmask=False)},
            "the network has no word mask",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        classifier(**options)
