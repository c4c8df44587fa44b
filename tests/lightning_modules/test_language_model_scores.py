"""What LanguageModel reports: held-out losses, what is logged at which step; and its options."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor

from lightning_modules import CrossEntropyHead, HarmonicHead, LanguageModel
from tests.helpers.language_model_runs import (
    BLOCK,
    TINY,
    Losses,
    expected_warnings,
    make_data,
    make_model,
    make_trainer,
    rows_of,
    windows,
)

pytestmark = expected_warnings


# ---- evaluation ----------------------------------------------------------------------------------


@pytest.mark.parametrize("micro", [4, 2])  # seven held-out windows: the last batch is smaller
def test_validation_loss_is_the_mean_over_all_held_out_tokens(token_folder, micro):
    folder, model = token_folder(val=7), make_model()
    (scores,) = make_trainer(limit_val_batches=1.0).validate(
        model, make_data(folder, micro), verbose=False
    )
    model.eval()
    losses = []
    for window in windows(folder, "val"):  # a loop over tokens, in float64 from the logits on
        logits = model(window[None, :-1])[0].detach().double()
        for position, target in enumerate(window[1:].tolist()):
            losses.append(float(logits[position].logsumexp(0) - logits[position, target]))
    assert len(losses) == 7 * BLOCK
    assert scores["val/loss"] == pytest.approx(sum(losses) / len(losses), abs=1e-5)
    assert scores["val/perplexity"] == pytest.approx(math.exp(scores["val/loss"]), rel=1e-5)


def test_ignored_targets_have_no_weight_in_the_validation_loss():
    model = make_model().eval()
    ids = torch.randint(257, (2, BLOCK + 1))
    batches = [{"inputs": row[None, :-1], "targets": row[None, 1:].clone()} for row in ids]
    batches[1]["targets"][0, 3:] = -100
    trainer = make_trainer(limit_val_batches=1.0)
    loader = torch.utils.data.DataLoader(batches, batch_size=None)
    (scores,) = trainer.validate(model, dataloaders=loader, verbose=False)
    logits = model(ids[:, :-1])
    kept = torch.cat([logits[0], logits[1, :3]])
    expected = F.cross_entropy(kept, torch.cat([ids[0, 1:], ids[1, 1:4]]))
    assert scores["val/loss"] == pytest.approx(float(expected.detach()), abs=1e-5)


def test_dropout_is_off_and_a_test_reports_under_its_own_name(token_folder):
    folder, model = token_folder(), make_model(network=partial(TINY, dropout=0.5))
    first, again = (
        make_trainer(limit_test_batches=1.0).test(model, make_data(folder), verbose=False)[0]
        for _ in range(2)
    )
    assert first["test/loss"] == again["test/loss"] and "test/perplexity" in first


# ---- what is logged ------------------------------------------------------------------------------


@pytest.mark.parametrize("micro", [4, 1])
def test_rows_are_numbered_by_optimizer_steps_and_average_all_since_the_last_row(
    token_folder, tmp_path, micro
):
    logger, losses = CSVLogger(tmp_path, "run"), Losses()
    trainer = make_trainer(
        9, losses, logger=logger, log_every_n_steps=2, val_check_interval=3, limit_val_batches=1.0
    )
    trainer.fit(make_model(), make_data(token_folder(), micro))
    rows = rows_of(logger)
    trained = {row["step"]: row["train/loss"] for row in rows if "train/loss" in row}
    pairs = [sum(losses.per_step[i - 2 : i]) / 2 for i in (2, 4, 6, 8)]
    assert trained == pytest.approx(dict(zip([2, 4, 6, 8], pairs, strict=True)), abs=1e-5)
    assert [row["step"] for row in rows if "val/loss" in row] == [3, 6, 9]
    for row in rows:
        if "val/loss" in row:
            assert row["val/perplexity"] == pytest.approx(math.exp(row["val/loss"]), rel=1e-5)
        else:
            assert {"train/learning_rate", "train/gradient_norm"} <= set(row)


def test_the_learning_rate_that_is_logged_is_that_of_the_step(token_folder, tmp_path):
    logger = CSVLogger(tmp_path, "run")
    make_trainer(3, logger=logger).fit(make_model(), make_data(token_folder()))
    logged = {row["step"]: row["train/learning_rate"] for row in rows_of(logger)}
    assert logged == pytest.approx({1: 1e-2 / 3, 2: 2e-2 / 3, 3: 1e-2})


def test_scores_hold_the_last_losses_one_value_each(token_folder):
    model = make_model()
    options = {"val_check_interval": 2, "limit_val_batches": 1.0, "num_sanity_val_steps": 2}
    trainer = make_trainer(4, **options)
    trainer.fit(model, make_data(token_folder()))
    scores = model.scores()
    assert {name: tuple(value.shape) for name, value in scores.items()} == {
        "train/loss": (1,), "val/loss": (1,), "val/perplexity": (1,), "val/step": (1,)
    }  # fmt: skip
    assert float(scores.pop("val/step")) == 4
    for name, value in scores.items():
        assert float(value) == float(trainer.callback_metrics[name])


@pytest.mark.parametrize(
    "options", [{"log_every_n_steps": 0}, {"fast_dev_run": 2, "limit_val_batches": 1.0}]
)
def test_a_run_without_logging_and_a_fast_dev_run_end_at_their_last_step(token_folder, options):
    trainer = make_trainer(2, **options)
    trainer.fit(make_model(), make_data(token_folder(), micro=2))
    assert trainer.global_step == 2


# ---- options -------------------------------------------------------------------------------------


def rms(values: Tensor) -> float:
    return float(values.detach().square().mean().sqrt())


@pytest.mark.parametrize("tie", [True, False])
def test_embedding_and_unembedding_train_as_one_matrix_or_as_two(token_folder, tie):
    model = make_model(tie_embedding=tie)
    head, embedding = model.head.weight, model.network.embedding.weight
    assert (head is embedding) == tie
    assert head.shape == embedding.shape == (320, 16)  # 257 padded
    assert rms(head) == pytest.approx(0.02, rel=0.05)
    before = head.detach().clone()
    make_trainer(3).fit(model, make_data(token_folder()))
    assert torch.equal(model.head.weight, model.network.embedding.weight) == tie
    assert not torch.equal(model.head.weight, before)


@pytest.mark.parametrize(
    ("head", "init", "scale", "tie"),
    [
        (HarmonicHead, "matched", 0.02, True),
        (HarmonicHead, "matched", 0.02, False),
        (HarmonicHead, "gpt2", 1.0, True),
        (CrossEntropyHead, "matched", 1.0, True),
    ],
)
def test_initial_features_have_the_scale_of_the_centers_if_distances_count(head, init, scale, tie):
    model = make_model(head=head, feature_scale_init=init, tie_embedding=tie)
    features = model.network(torch.randint(257, (8, BLOCK)))
    assert rms(features) == pytest.approx(scale, rel=0.05)
    if scale != 1.0:
        assert rms(features) == pytest.approx(rms(model.class_centers()), rel=0.02)


def test_what_callbacks_read_has_no_padding():
    model, ids = make_model(), torch.zeros(2, 5, dtype=torch.long)
    assert model(ids).shape == (2, 5, 257)
    assert model.embedding_matrix().shape == model.class_centers().shape == (1, 257, 16)
    assert model.hidden_states(ids).shape == (1, 2, 5, 16)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"final_learning_rate": 1.0}, "final_learning_rate"),
        ({"final_learning_rate": -1.0}, "final_learning_rate"),
        ({"warmup_steps": -1}, "warmup_steps"),
        ({"warmup_steps": 5, "decay_steps": 5}, "decay_steps"),
        ({"clip_norm": 0.0}, "clip_norm"),
        ({"clip_norm": math.nan}, "clip_norm"),
        ({"feature_scale_init": "cold"}, "feature_scale_init"),
        ({"compile": "sometimes"}, "compile"),
    ],
)
def test_a_value_out_of_range_is_refused(options, name):
    with pytest.raises(ValueError, match=name):
        make_model(**options)


@pytest.mark.parametrize(("vocab_size", "length"), [(256, 16), (257, 32)])
def test_a_model_whose_sizes_differ_from_the_datas_is_refused(token_folder, vocab_size, length):
    model = LanguageModel(TINY, vocab_size=vocab_size, context_length=length)
    with pytest.raises(ValueError, match="vocab_size" if vocab_size == 256 else "context_length"):
        make_trainer(1).fit(model, make_data(token_folder()))
