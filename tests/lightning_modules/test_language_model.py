"""LanguageModel: it trains as a plain PyTorch loop does, and resumes with the same bits."""

from __future__ import annotations

import copy
import csv
import math
import os
import signal
from functools import partial
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn

from callbacks import GracefulStop, RunCheckpoint
from datamodules import OpenWebText
from datamodules.batching import epoch_order
from lightning_modules import GPT2, CrossEntropyHead, HarmonicHead, LanguageModel

BLOCK, BATCH = 16, 4
TINY = partial(GPT2, num_layers=1, num_heads=1, width=16)

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*The dirpath has changed.*",  # a resumed run has a folder of its own
    "ignore:.*callbacks used to create the checkpoint.*",  # and may write at other steps
    "ignore:.*does not have many workers.*",
)


def make_model(seed: int = 0, head=HarmonicHead, **options) -> LanguageModel:
    torch.manual_seed(seed)
    settings = {"learning_rate": 1e-2, "warmup_steps": 3, **options}
    settings.setdefault("network", TINY)
    return LanguageModel(head=head, vocab_size=257, num_tokens=BLOCK, **settings)


def make_data(folder, micro: int = BATCH, **options) -> OpenWebText:
    options = {"tokenizer": "bytes", "block_size": BLOCK, "global_batch_size": BATCH, **options}
    return OpenWebText(str(folder), micro_batch_size=micro, seed=0, **options)


def make_trainer(steps: int = 7, *callbacks, **options) -> L.Trainer:
    settings = {
        "max_steps": steps,
        "limit_val_batches": 0,
        "check_val_every_n_epoch": None,
        "log_every_n_steps": 1,
        "logger": False,
        "enable_checkpointing": any(isinstance(c, RunCheckpoint) for c in callbacks),
        "num_sanity_val_steps": 0,
    }
    return L.Trainer(
        accelerator="cpu",
        devices=1,
        callbacks=list(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        **{**settings, **options},
    )


class Losses(L.Callback):
    """The loss of every optimizer step.

    Lightning has divided the loss of a micro-batch by their number.
    """

    def __init__(self) -> None:
        self.per_step: list[float] = []
        self._of_step: list[float] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self._of_step.append(float(outputs["loss"]))
        if (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            self.per_step.append(sum(self._of_step))
            self._of_step.clear()


def windows(folder: Path, split: str) -> Tensor:
    """All windows of a split in the order of the file, (W, BLOCK + 1)."""
    tokens = torch.from_numpy(np.fromfile(folder / f"{split}.bin", "<u2").astype(np.int64))
    return torch.stack(
        [tokens[i : i + BLOCK + 1] for i in range(0, len(tokens) - BLOCK, BLOCK)]
    )  # fmt: skip


def nll(model, batch: Tensor) -> Tensor:
    """Mean negative log-likelihood of windows (B, T + 1), by way of the logits."""
    logits = model["head"](model["network"](batch[:, :-1]))
    return F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())


def plain_loop(model: LanguageModel, folder: Path, steps: int) -> tuple[nn.Module, list[float]]:
    """What nanoGPT does: AdamW with two groups, warm-up and cosine, clipping; the global batch."""
    plain = nn.ModuleDict({"network": model.network, "head": model.head})
    plain = copy.deepcopy(plain)
    plain["head"].weight = plain["network"].embedding.weight
    vectors = [p for p in plain.parameters() if p.dim() == 1]
    matrices = [p for p in plain.parameters() if p.dim() == 2]
    groups = [
        {"params": matrices, "weight_decay": 0.1},
        {"params": vectors, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1.0, betas=(0.9, 0.95), fused=False, foreach=False)
    all_windows = windows(folder, "train")
    per_epoch = len(all_windows) // BATCH
    losses = []
    for step in range(steps):
        if step < 3:
            rate = 1e-2 * (step + 1) / 3
        else:
            rate = 1e-3 + 9e-3 * (1 + math.cos(math.pi * (step - 3) / (steps - 3))) / 2
        for group in optimizer.param_groups:
            group["lr"] = rate
        epoch, place = divmod(step, per_epoch)
        chosen = epoch_order(0, epoch, len(all_windows))[place * BATCH : (place + 1) * BATCH]
        loss = nll(plain, all_windows[chosen])
        loss.backward()
        norm = math.sqrt(sum(float(p.grad.square().sum()) for p in plain.parameters()))
        for parameter in plain.parameters():
            parameter.grad *= min(1.0, 1.0 / norm)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return plain, losses


# ---- training --------------------------------------------------------------------------------


@pytest.mark.parametrize("head", [HarmonicHead, CrossEntropyHead])
@pytest.mark.parametrize("micro", [4, 1])
def test_training_is_that_of_a_plain_pytorch_loop(token_folder, head, micro):
    folder = token_folder(train=22)  # five steps an epoch, and two windows left out
    model = make_model(head=head)
    plain, expected = plain_loop(model, folder, 7)
    losses = Losses()
    make_trainer(7, losses).fit(model, make_data(folder, micro))
    assert losses.per_step == pytest.approx(expected, abs=1e-6 if micro == 4 else 1e-5)
    assert losses.per_step[0] != pytest.approx(losses.per_step[-1], abs=1e-2)  # it moved
    for name, parameter in plain["network"].named_parameters():
        if name.endswith("queries_keys_values.bias"):
            continue  # a key's bias has no effect, and AdamW makes steps of its rounding errors
        torch.testing.assert_close(
            model.network.get_parameter(name), parameter, rtol=1e-4, atol=1e-5
        )


def test_losses_do_not_depend_on_how_a_global_batch_is_divided(token_folder):
    found = []
    for micro in (4, 2, 1):
        losses = Losses()
        make_trainer(7, losses).fit(make_model(), make_data(token_folder(name=str(micro)), micro))
        found.append(losses.per_step)
    assert found[1] == pytest.approx(found[0], abs=1e-5)
    assert found[2] == pytest.approx(found[0], abs=1e-5)


def test_learning_rate_of_every_step_follows_warm_up_and_cosine(token_folder):
    class Rates(L.Callback):
        def __init__(self) -> None:
            self.seen: list[float] = []

        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            self.seen.append(optimizer.param_groups[0]["lr"])

    rates = Rates()
    model = make_model(warmup_steps=2, decay_steps=6, final_learning_rate=2e-3)
    make_trainer(8, rates).fit(model, make_data(token_folder(), micro=2))
    cosine = [2e-3 + 8e-3 * (1 + math.cos(math.pi * i / 4)) / 2 for i in range(5)]
    assert rates.seen == pytest.approx([5e-3, 1e-2, *cosine, 2e-3])


@pytest.mark.parametrize(
    ("limits", "last"), [({"max_steps": 9}, 9), ({"max_steps": -1, "max_epochs": 2}, 10),
                         ({"max_steps": 9, "max_epochs": 1}, 5)]
)  # fmt: skip
def test_decay_ends_with_the_run_whether_steps_or_epochs_limit_it(token_folder, limits, last):
    model = make_model(warmup_steps=0)
    trainer = make_trainer(**limits)
    trainer.fit(model, make_data(token_folder(train=22)))
    assert trainer.global_step == last
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(1e-3)  # a tenth


def test_a_decay_without_an_end_is_refused(token_folder):
    with pytest.raises(ValueError, match=r"trainer.max_steps, or model.decay_steps"):
        make_trainer(-1, max_epochs=-1).fit(make_model(), make_data(token_folder()))


def test_gradients_are_clipped_with_fused_adamw_in_half_precision(token_folder):
    class Norms(L.Callback):
        def __init__(self) -> None:
            self.seen: list[float] = []

        def on_before_zero_grad(self, trainer, pl_module, optimizer):
            gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
            if gradients:
                self.seen.append(float(torch.cat([g.flatten() for g in gradients]).norm()))

    norms = Norms()
    trainer = make_trainer(3, norms, precision="bf16-mixed")
    model = make_model(clip_norm=0.01)
    trainer.fit(model, make_data(token_folder()))
    assert trainer.optimizers[0].defaults["fused"] is True
    assert len(norms.seen) >= 2 and norms.seen == pytest.approx([0.01] * len(norms.seen), rel=1e-3)
    assert float(model._gradient_norm) > 0.1


def test_without_a_limit_gradients_are_measured_and_not_clipped(token_folder):
    norms = []
    for clip in (None, 1e6):
        model = make_model(clip_norm=clip)
        trainer = make_trainer(3)
        trainer.fit(model, make_data(token_folder(name=str(clip))))
        norms.append(float(trainer.callback_metrics["train/gradient_norm"]))
    assert norms[0] == norms[1] > 1.0


def test_the_trainer_s_own_limit_comes_before_the_model_s(token_folder):
    folder, weights = token_folder(), []
    for clip, options in ((1e-3, {}), (None, {"gradient_clip_val": 1e-3}), (None, {})):
        model = make_model(clip_norm=clip)
        make_trainer(3, **options).fit(model, make_data(folder))
        weights.append(model.head.weight.detach())
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


# ---- heads and embeddings --------------------------------------------------------------------


def test_a_tied_embedding_is_one_matrix_and_trains_as_one(token_folder):
    model = make_model()
    make_trainer(3).fit(model, make_data(token_folder()))
    assert model.head.weight is model.network.embedding.weight


def test_an_untied_unembedding_has_the_embedding_s_shape_and_scale_and_trains_alone(token_folder):
    model = make_model(tie_embedding=False)
    head, embedding = model.head.weight, model.network.embedding.weight
    assert head.shape == embedding.shape == (320, 16)  # 257 padded
    assert rms(head) == pytest.approx(0.02, rel=0.05) and not torch.equal(head, embedding)
    assert head.requires_grad
    before = head.detach().clone()
    make_trainer(3).fit(model, make_data(token_folder()))
    assert not torch.equal(model.head.weight, model.network.embedding.weight)
    assert not torch.equal(model.head.weight, before)


def rms(values: Tensor) -> float:
    return float(values.detach().square().mean().sqrt())


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize(
    ("head", "start", "scale"),
    [(HarmonicHead, "matched", 0.02), (HarmonicHead, "gpt2", 1.0),
     (CrossEntropyHead, "matched", 1.0), (CrossEntropyHead, "gpt2", 1.0)],
)  # fmt: skip
def test_features_start_at_the_scale_of_the_centers_where_distances_count(head, start, scale, tie):
    model = make_model(head=head, start=start, tie_embedding=tie)
    features = model.network(torch.randint(257, (8, BLOCK)))
    assert rms(features) == pytest.approx(scale, rel=0.05)
    if scale != 1.0:
        assert rms(features) == pytest.approx(rms(model.class_centers()), rel=0.02)


def test_padding_of_the_vocabulary_gets_no_probability():
    model = make_model()
    assert model(torch.zeros(2, 5, dtype=torch.long)).shape == (2, 5, 257)
    assert model.embedding_matrix().shape == model.class_centers().shape == (1, 257, 16)
    assert model.hidden_states(torch.zeros(2, 5, dtype=torch.long)).shape == (1, 2, 5, 16)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"learning_rate": math.nan}, "learning_rate is nan"),
        ({"learning_rate": math.inf}, "learning_rate is inf"),
        ({"final_learning_rate": 1.0}, "final_learning_rate 1.0"),
        ({"final_learning_rate": -1.0}, "final_learning_rate -1.0"),
        ({"warmup_steps": -1}, "warmup_steps is -1"),
        ({"warmup_steps": 5, "decay_steps": 5}, "decay_steps 5"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1"),
        ({"weight_decay": math.nan}, "weight_decay is nan"),
        ({"betas": (0.9, 1.0)}, "betas are (0.9, 1.0)"),
        ({"clip_norm": 0.0}, "clip_norm is 0.0"),
        ({"clip_norm": math.nan}, "clip_norm is nan"),
        ({"start": "cold"}, "start is 'cold'"),
    ],
)
def test_a_setting_out_of_range_is_refused(options, part):
    with pytest.raises(ValueError) as error:
        make_model(**options)
    assert part in str(error.value)


@pytest.mark.parametrize(
    ("model", "part"),
    [({"vocab_size": 256, "num_tokens": 16}, "vocab_size=257"),
     ({"vocab_size": 257, "num_tokens": 32}, "num_tokens=16")],
)  # fmt: skip
def test_a_model_of_other_sizes_than_the_data_is_refused(token_folder, model, part):
    with pytest.raises(ValueError, match=part):
        make_trainer(1).fit(LanguageModel(TINY, **model), make_data(token_folder()))


# ---- evaluation ------------------------------------------------------------------------------


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


def test_targets_that_do_not_count_have_no_weight():
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


def test_test_reports_under_its_own_name(token_folder):
    trainer = make_trainer()
    (scores,) = trainer.test(make_model(), make_data(token_folder()), verbose=False)
    assert {"test/loss", "test/perplexity"} <= set(scores)


def test_dropout_is_off_in_validation(token_folder):
    folder = token_folder()
    model = make_model(network=partial(TINY, dropout=0.5))
    first, again = (
        make_trainer(limit_val_batches=1.0).validate(model, make_data(folder), verbose=False)[0]
        for _ in range(2)
    )
    assert first["val/loss"] == again["val/loss"]


def test_a_sanity_check_leaves_no_score_behind(token_folder, tmp_path):
    logger = CSVLogger(tmp_path, "run")
    trainer = make_trainer(
        2, num_sanity_val_steps=2, limit_val_batches=1.0, val_check_interval=100, logger=logger
    )
    model = make_model()
    trainer.fit(model, make_data(token_folder()))
    assert set(model.scores()) == {"train/loss"}


# ---- what is logged --------------------------------------------------------------------------


def rows_of(logger: CSVLogger) -> list[dict[str, float]]:
    with open(Path(logger.log_dir) / "metrics.csv") as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]


@pytest.mark.parametrize("micro", [4, 2, 1])
def test_rows_stand_at_optimizer_steps_and_average_all_since_the_last(
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
    trainer = make_trainer(4, val_check_interval=2, limit_val_batches=1.0)
    trainer.fit(model, make_data(token_folder()))
    scores = model.scores()
    assert {name: tuple(value.shape) for name, value in scores.items()} == {
        "train/loss": (1,), "val/loss": (1,), "val/perplexity": (1,), "val/step": (1,)
    }  # fmt: skip
    assert float(scores.pop("val/step")) == 4
    for name, value in scores.items():
        assert float(value) == float(trainer.callback_metrics[name])


def test_logging_can_be_switched_off(token_folder):
    make_trainer(2, log_every_n_steps=0).fit(make_model(), make_data(token_folder()))


def test_a_fast_dev_run_goes_through(token_folder):
    make_trainer(2, fast_dev_run=2, limit_val_batches=1.0).fit(
        make_model(), make_data(token_folder(), micro=2)
    )


# ---- a loss that is no number ----------------------------------------------------------------


class Poison(L.Callback):
    """Makes a weight NaN before a given optimizer step."""

    def __init__(self, step: int, micro_batch: int = 0, value: float = math.nan) -> None:
        self.step, self.micro_batch, self.value = step, micro_batch, value

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        due = batch_idx % trainer.accumulate_grad_batches == self.micro_batch
        if trainer.global_step == self.step and due:
            with torch.no_grad():
                pl_module.network.blocks[0].expand.weight[0, 0] = self.value


@pytest.mark.parametrize("log_every", [1, 2, 50])
@pytest.mark.parametrize("micro", [4, 2])
def test_a_loss_that_is_nan_stops_the_run_and_keeps_the_last_good_checkpoint(
    token_folder, tmp_path, log_every, micro
):
    folder = token_folder()
    checkpoint = RunCheckpoint(every_n_steps=2)
    checkpoint.dirpath = str(tmp_path / "checkpoints")
    model = make_model()
    trainer = make_trainer(
        9, checkpoint, Poison(5, micro_batch=4 // micro - 1), log_every_n_steps=log_every
    )
    with pytest.raises(ValueError) as error:
        trainer.fit(model, make_data(folder, micro))
    message = str(error.value)
    assert "NaN or infinite at optimizer step 6;" in message and "\n" not in message
    assert trainer.global_step == 6  # the next checkpoint would have been broken
    path = tmp_path / "checkpoints" / "last.ckpt"
    stored = torch.load(path, weights_only=True)
    assert stored["global_step"] == 4
    assert {file.name for file in path.parent.iterdir()} == {"last.ckpt", "previous.ckpt"}
    assert all(value.isfinite().all() for value in stored["state_dict"].values())
    good = LanguageModel.load_from_checkpoint(path, weights_only=True)
    assert good(torch.zeros(1, 3, dtype=torch.long)).isfinite().all()


def test_an_infinite_loss_counts_as_one_that_is_nan(token_folder, monkeypatch):
    model = make_model()
    loss = model._head_loss
    model._head_loss = lambda x, y: loss(x, y) + (math.inf if model.global_step == 2 else 0.0)
    with pytest.raises(ValueError, match="at optimizer step 3;"):
        make_trainer(5).fit(model, make_data(token_folder()))


def test_a_run_whose_last_step_is_nan_writes_no_checkpoint_of_it(token_folder, tmp_path):
    checkpoint = RunCheckpoint(every_n_steps=100)
    checkpoint.dirpath = str(tmp_path / "checkpoints")
    with pytest.raises(ValueError, match="at optimizer step 5;"):
        make_trainer(5, checkpoint, Poison(4), log_every_n_steps=50).fit(
            make_model(), make_data(token_folder())
        )
    assert not list(tmp_path.glob("checkpoints/*"))


def test_gradients_that_are_no_numbers_do_not_get_into_a_checkpoint(token_folder, tmp_path):
    class BadGradient(L.Callback):  # with a loss that is finite, as where a root meets zero
        def on_after_backward(self, trainer, pl_module):
            if trainer.global_step == 3:
                pl_module.network.positions.weight.grad[0, 0] = math.nan

    checkpoint = RunCheckpoint(every_n_steps=2)
    checkpoint.dirpath = str(tmp_path / "checkpoints")
    with pytest.raises(ValueError, match="NaN or infinite"):
        make_trainer(6, checkpoint, BadGradient(), log_every_n_steps=50).fit(
            make_model(), make_data(token_folder())
        )
    stored = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert all(value.isfinite().all() for value in stored["state_dict"].values())


def test_a_run_that_is_sound_again_after_a_failed_one_is_not_stopped(token_folder):
    model, folder = make_model(), token_folder()
    good = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match="NaN"):
        make_trainer(3, Poison(1)).fit(model, make_data(folder))
    model.load_state_dict(good)
    make_trainer(3).fit(model, make_data(folder))
    assert math.isfinite(float(model.scores()["train/loss"]))


# ---- stopping and going on -------------------------------------------------------------------


def checkpoints(folder: Path, every: int = 1) -> RunCheckpoint:
    """Every step's checkpoint as step_N.ckpt, and last.ckpt."""
    callback = RunCheckpoint(every_n_steps=every, save_top_k=-1)
    callback.dirpath = str(folder)
    return callback


def assert_same_end(one: Path, two: Path) -> None:
    """Two checkpoints with the same bits in weights, optimizer and schedule."""
    a, b = (torch.load(path, weights_only=True) for path in (one, two))
    assert a["global_step"] == b["global_step"]
    for name, value in a["state_dict"].items():
        assert torch.equal(value, b["state_dict"][name]), name
    (first,), (second,) = a["optimizer_states"], b["optimizer_states"]
    assert first["param_groups"] == second["param_groups"]
    for index, state in first["state"].items():
        for key, value in state.items():
            assert torch.equal(value, second["state"][index][key]), (index, key)
    assert a["lr_schedulers"] == b["lr_schedulers"]


LIMITS = [{"max_steps": 12}, {"max_steps": -1, "max_epochs": 3}]


@pytest.mark.parametrize("limits", LIMITS, ids=["steps", "epochs"])
@pytest.mark.parametrize("micro", [4, 2])
def test_resumed_run_ends_with_the_same_bits(token_folder, tmp_path, limits, micro):
    folder = token_folder(train=22)  # five steps an epoch
    options = {**limits, "val_check_interval": 2, "limit_val_batches": 1.0}
    straight = make_trainer(0, checkpoints(tmp_path / "straight"), **options)
    straight.fit(make_model(), make_data(folder, micro))
    last = straight.global_step
    for step in (2, 5, 8):  # in the middle of an epoch, where one ends, and in a later one
        place = tmp_path / f"from_{step}"
        trainer = make_trainer(0, checkpoints(place), **options)
        trainer.fit(
            make_model(seed=1), make_data(folder, micro),
            ckpt_path=tmp_path / "straight" / f"step_{step}.ckpt", weights_only=True,
        )  # fmt: skip
        assert trainer.global_step == last
        assert_same_end(tmp_path / "straight" / "last.ckpt", place / "last.ckpt")


@pytest.mark.parametrize("stage", ["training_step", "validation_step"])
@pytest.mark.parametrize(
    "limits",
    LIMITS,
    ids=["steps", "epochs"],
)  # fmt: skip
def test_run_that_was_stopped_between_micro_batches_goes_on_with_the_same_bits(
    token_folder, tmp_path, monkeypatch, limits, stage
):
    folder = token_folder(train=22)
    options = {**limits, "val_check_interval": 2, "limit_val_batches": 1.0}
    straight = make_trainer(0, checkpoints(tmp_path / "straight", 100), **options)
    straight.fit(make_model(), make_data(folder, 2))

    method, calls = getattr(LanguageModel, stage), []
    # The first micro-batch of the eighth step, or the validation after the sixth.
    moment = 7 if stage == "training_step" else 6

    def interrupted(self, batch, batch_idx):
        calls.append(self.global_step)
        if calls[-1] == moment and calls.count(moment) == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return method(self, batch, batch_idx)

    monkeypatch.setattr(LanguageModel, stage, interrupted)
    stop = GracefulStop()
    half = make_trainer(0, checkpoints(tmp_path / "half", 100), stop, **options)
    half.fit(make_model(), make_data(folder, 2))
    monkeypatch.setattr(LanguageModel, stage, method)
    assert stop.stopped and half.global_step == moment + 1

    resumed = make_trainer(0, checkpoints(tmp_path / "resumed", 100), **options)
    resumed.fit(
        make_model(seed=1), make_data(folder, 2), ckpt_path=tmp_path / "half" / "last.ckpt",
        weights_only=True,
    )  # fmt: skip
    assert_same_end(tmp_path / "straight" / "last.ckpt", tmp_path / "resumed" / "last.ckpt")


def test_run_that_ended_in_the_middle_of_an_epoch_can_be_lengthened(token_folder, tmp_path):
    folder = token_folder(train=22)
    settings = {"decay_steps": 50}
    straight = make_trainer(12, checkpoints(tmp_path / "straight", 100))
    straight.fit(make_model(**settings), make_data(folder, 2))
    make_trainer(7, checkpoints(tmp_path / "half", 100)).fit(
        make_model(**settings), make_data(folder, 2)
    )
    make_trainer(12, checkpoints(tmp_path / "resumed", 100)).fit(
        make_model(seed=1, **settings), make_data(folder, 2),
        ckpt_path=tmp_path / "half" / "last.ckpt", weights_only=True,
    )  # fmt: skip
    assert_same_end(tmp_path / "straight" / "last.ckpt", tmp_path / "resumed" / "last.ckpt")


@pytest.mark.parametrize(
    ("first", "then", "step"), [(4, 2, 3), (4, 2, 5), (4, 1, 8), (1, 4, 3), (2, 1, 8)]
)
def test_a_run_can_be_resumed_with_another_size_of_micro_batches(
    token_folder, tmp_path, first, then, step
):
    # As on another number of devices: the steps have the same global batches.
    folder = token_folder(train=22)
    straight, losses = Losses(), Losses()
    options = {"val_check_interval": 2, "limit_val_batches": 1.0}
    make_trainer(12, checkpoints(tmp_path / "first"), straight, **options).fit(
        make_model(), make_data(folder, first)
    )
    logger = CSVLogger(tmp_path, "run")
    trainer = make_trainer(12, losses, logger=logger, **options)
    trainer.fit(
        make_model(seed=1), make_data(folder, then),
        ckpt_path=tmp_path / "first" / f"step_{step}.ckpt", weights_only=True,
    )  # fmt: skip
    assert losses.per_step == pytest.approx(straight.per_step[step:], abs=1e-4)
    validated = [row["step"] for row in rows_of(logger) if "val/loss" in row]
    assert validated == [even for even in (2, 4, 6, 8, 10, 12) if even > step]


@pytest.mark.filterwarnings("ignore:.*no `val_dataloader`.*")
def test_a_plain_loader_will_do():
    ids = torch.randint(257, (8, BLOCK + 1))
    batches = [{"inputs": row[:, :-1], "targets": row[:, 1:]} for row in ids.split(2)]
    loader = torch.utils.data.DataLoader(batches, batch_size=None)
    losses = Losses()
    make_trainer(8, losses).fit(make_model(), loader)
    assert losses.per_step[-1] < losses.per_step[0]


def test_a_resumed_run_writes_no_checkpoint_between_micro_batches(token_folder, tmp_path):
    # Where the step that it resumed from, a multiple of `every`, would seem to be due again. Who
    # resumed from such a checkpoint would not end with the same bits.
    folder, written = token_folder(train=22), []
    make_trainer(6, checkpoints(tmp_path / "first", 6)).fit(make_model(), make_data(folder, 1))

    class Moments(L.Callback):
        def on_save_checkpoint(self, trainer, pl_module, checkpoint):
            loop = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
            written.append((checkpoint["global_step"], loop["current"]["ready"] % 4))

    make_trainer(14, checkpoints(tmp_path / "second", 6), Moments()).fit(
        make_model(seed=1), make_data(folder, 1), ckpt_path=tmp_path / "first" / "step_6.ckpt",
        weights_only=True,
    )  # fmt: skip
    assert set(written) == {(12, 0), (14, 0)}


def test_a_resumed_run_logs_and_validates_at_the_same_steps(token_folder, tmp_path):
    folder, steps = token_folder(train=22), []
    for ckpt in (None, tmp_path / "run_0" / "step_7.ckpt"):
        logger = CSVLogger(tmp_path / f"csv_{len(steps)}", "run")
        trainer = make_trainer(
            14, checkpoints(tmp_path / f"run_{len(steps)}"), logger=logger,
            log_every_n_steps=2, val_check_interval=3, limit_val_batches=1.0,
        )  # fmt: skip
        trainer.fit(make_model(), make_data(folder, 2), ckpt_path=ckpt, weights_only=True)
        steps.append([(row["step"], "val/loss" in row) for row in rows_of(logger)])
    assert [s for s, is_val in steps[0] if is_val] == [3, 6, 9, 12]
    assert [s for s, is_val in steps[0] if not is_val] == [2, 4, 6, 8, 10, 12, 14]
    assert steps[1] == [(s, is_val) for s, is_val in steps[0] if s > 7]


@pytest.mark.parametrize("micro", [4, 2])
def test_the_best_checkpoints_are_chosen_by_their_own_validation(token_folder, tmp_path, micro):
    """Not by that of the validation before, which is what is known when the step ends."""

    class Scores(L.Callback):
        def __init__(self) -> None:
            self.of_step: dict[int, float] = {}

        def on_validation_end(self, trainer, pl_module):
            self.of_step[trainer.global_step] = float(trainer.callback_metrics["val/loss"])

    scores = Scores()
    checkpoint = RunCheckpoint(every_n_steps=2, save_top_k=1, monitor="val/loss")
    checkpoint.dirpath = str(tmp_path / "checkpoints")
    trainer = make_trainer(8, scores, checkpoint, val_check_interval=2, limit_val_batches=1.0)
    trainer.fit(make_model(), make_data(token_folder(), micro))
    assert list(scores.of_step) == [2, 4, 6, 8]
    best = min(scores.of_step, key=scores.of_step.__getitem__)
    assert best > 2  # else the validation before would tell the same
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {
        "last.ckpt",
        "previous.ckpt",
        f"step_{best}.ckpt",
    }
    assert float(checkpoint.best_model_score) == pytest.approx(scores.of_step[best])


# ---- checkpoints -----------------------------------------------------------------------------


@pytest.mark.parametrize("head", [HarmonicHead, partial(CrossEntropyHead, bias=True)])
@pytest.mark.parametrize("tie", [True, False])
def test_checkpoint_says_how_to_build_its_model(token_folder, tmp_path, head, tie):
    model = make_model(head=head, tie_embedding=tie)
    trainer = make_trainer(2, checkpoints(tmp_path / "kept"))
    trainer.fit(model, make_data(token_folder()))
    paths = list((tmp_path / "kept").glob("*.ckpt"))
    names = {"step_1.ckpt", "step_2.ckpt", "last.ckpt", "previous.ckpt"}
    assert {path.name for path in paths} == names
    for path in paths:
        torch.load(path, weights_only=True)
    again = LanguageModel.load_from_checkpoint(paths[0].parent / "last.ckpt", weights_only=True)
    assert (again.head.weight is again.network.embedding.weight) == tie
    assert type(again.head) is type(model.head) and again.hparams == model.hparams
    ids = torch.randint(257, (2, BLOCK))
    assert torch.equal(again.eval()(ids), model.eval()(ids))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Inductor's
def test_compiling_leaves_the_names_in_a_checkpoint_and_the_losses(token_folder, tmp_path):
    found = []
    for mode in ("never", "always"):
        losses = Losses()
        trainer = make_trainer(4, losses, checkpoints(tmp_path / mode, 100))
        model = make_model(compile=mode)
        trainer.fit(model, make_data(token_folder(name=mode), micro=2))
        stored = torch.load(tmp_path / mode / "last.ckpt", weights_only=True)
        found.append((list(stored["state_dict"]), losses.per_step))
    assert found[0][0] == found[1][0]
    assert found[0][1] == pytest.approx(found[1][1], abs=1e-5)
