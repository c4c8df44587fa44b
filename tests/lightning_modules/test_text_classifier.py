"""The TextClassifier's loss, term by term and over ranks, its resume and its options."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
import torch.nn.functional as F

from callbacks.run.exact_resume import ExactResume
from lightning_modules import CrossEntropyHead, HarmonicHead, TextClassifier, TextTransformer
from lightning_modules.regularizers import importance, interaction
from tests.helpers.language_model_runs import expected_warnings, rows_of
from tests.helpers.trainers import quiet_trainer

SMALL = partial(TextTransformer, width=16, num_heads=2, feedforward_dim=32, mask_dim=8, dropout=0.0)


def classifier(**options: Any) -> TextClassifier:
    """A small one in evaluation mode, so that the word mask draws no random numbers."""
    torch.manual_seed(0)
    model = TextClassifier(**{"network": SMALL, "vocab_size": 30, "context_length": 8, **options})
    model.eval()
    return model


def in_world(model: TextClassifier, world: int) -> TextClassifier:
    trainer = SimpleNamespace(world_size=world, strategy=None, global_step=0, current_epoch=0)
    model._trainer = trainer  # type: ignore[assignment]
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
    options = {"lambda_importance": 0.3, "lambda_interaction": 0.7}
    model = in_world(classifier(**options, importance_form=form, interaction_form=form), 1)
    given = batch()
    activations = model.network.forward_with_activations(given["tokens"], given["mask"])
    expected = (
        F.cross_entropy(model.head(activations["features"]), given["labels"])
        + 0.3 * importance(activations["vmask"], given["mask"], form)
        + 0.7 * interaction(activations["attention_weights"], given["mask"], form)
    )
    assert torch.allclose(model.training_step(given, 0), expected, atol=1e-6)


@pytest.mark.parametrize("form", ["masked", "paper", "code"])
def test_the_mean_over_ranks_is_the_loss_of_the_global_batch(form):
    options = {"lambda_importance": 0.3, "lambda_interaction": 0.7}
    model = classifier(**options, importance_form=form, interaction_form=form)
    given = batch()
    whole = in_world(model, 1).training_step(given, 0)
    parts = []
    for of_rank in ([0, 1, 3], [2]):
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


def test_class_centers_of_a_harmonic_head_begin_at_the_scale_of_the_features():
    model = classifier(head=HarmonicHead)
    rms = float(model.head.weight.detach().square().mean().sqrt())
    assert rms == pytest.approx(model.network.initial_scale, rel=1e-5)
    left = classifier(head=CrossEntropyHead)
    assert float(left.head.weight.detach().abs().max()) <= 16**-0.5


class Batches(L.LightningDataModule):
    """Six batches an epoch, the same ones in every epoch, that continue at the global step."""

    steps_per_epoch, pad_to, repeats = 6, "batch", {"val_in_train": 3}

    def train_dataloader(self) -> Any:
        return self

    def __len__(self) -> int:
        return 6

    def __iter__(self) -> Any:
        first = self.trainer.global_step % 6 if self.trainer else 0
        rows = torch.Generator().manual_seed(0)
        for number in range(6):
            tokens = torch.randint(1, 30, (4, 8), generator=rows)
            whole = {"tokens": tokens, "mask": tokens > 0, "labels": tokens[:, 0] % 2}
            if number >= first:
                yield {**whole, "global_size": torch.tensor([4, 32])}

    def state_dict(self) -> dict[str, Any]:
        return {}


def fit(folder: Path, ckpt_path: Path | None = None, **options: Any) -> L.Trainer:
    """Twelve steps of a classifier with a loss per term, logged every five steps."""
    logger = L.pytorch.loggers.CSVLogger(folder, "run")
    settings = {"log_every_n_steps": 5, "limit_val_batches": 0, "max_epochs": 2, **options}
    trainer = quiet_trainer(ExactResume(), logger=logger, **settings)
    model = classifier(lambda_importance=0.3, learning_rate=1e-2).train()
    trainer.fit(model, datamodule=Batches(), ckpt_path=ckpt_path, weights_only=True)
    return trainer


@expected_warnings
def test_a_resumed_run_logs_the_averages_of_one_that_was_not_interrupted(tmp_path):
    whole = fit(tmp_path)
    half = fit(tmp_path, max_steps=8)
    half.save_checkpoint(tmp_path / "half.ckpt")
    resumed = fit(tmp_path, tmp_path / "half.ckpt")
    for one, two in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(one, two)
    (row,) = rows_of(resumed.logger)  # steps 6 to 10, three of them before the interruption
    assert row == rows_of(whole.logger)[1]
    assert row["step"] == 10 and {"train/loss", "train/head_loss", "train/importance"} <= set(row)
    assert float(resumed.lightning_module.scores()["data/val_in_train"]) == 3


@pytest.mark.parametrize("form", ["importance_form", "interaction_form"])
def test_a_form_that_counts_padding_needs_a_fixed_length(form):
    model = classifier(lambda_importance=0.3, lambda_interaction=0.7, **{form: "code"})
    model._check_padding("max_length")
    with pytest.raises(ValueError, match="pad_to"):
        model._check_padding("batch")


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"lambda_importance": -1.0}, "lambda_importance"),
        ({"lambda_interaction": float("nan")}, "lambda_interaction"),
        ({"importance_form": "mask"}, "importance_form"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"clip_norm": 0.0}, "clip_norm"),
    ],
)
def test_a_value_out_of_range_is_refused(options, name):
    with pytest.raises(ValueError, match=name):
        classifier(**options)
