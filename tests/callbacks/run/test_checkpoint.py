"""RunCheckpoint writes at the steps and epochs it should, whatever the validation schedule."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

from callbacks import RunCheckpoint
from datamodules import AlgorithmicData
from lightning_modules import MLP, Classifier, CrossEntropyHead
from tests.helpers.trainers import quiet_trainer

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers.*")


class Scored(L.LightningModule):
    """A module whose `val/loss` is 1 / step, so that it falls with every validation."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def training_step(self, batch, batch_idx):
        return self.layer(batch).square().mean()

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", 1.0 / self.global_step)


class Saves(L.Callback):
    """The steps at which checkpoints are written; ends training at the start of an epoch."""

    def __init__(self, end_at: int | None = None) -> None:
        self.steps: list[int] = []
        self.end_at = end_at

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == self.end_at:
            raise KeyError("dead")

    def on_save_checkpoint(self, trainer, pl_module, checkpoint):
        self.steps.append(trainer.global_step)


def fit(folder: Path, checkpoint: RunCheckpoint, *callbacks: L.Callback, batches=3, **options):
    checkpoint.dirpath = str(folder)
    loader = torch.utils.data.DataLoader(torch.ones(batches, 2), batch_size=1)
    trainer = quiet_trainer(checkpoint, *callbacks, enable_checkpointing=True, **options)
    trainer.fit(Scored(), loader, loader)


def steps(folder: Path) -> dict[str, int]:
    return {p.stem: torch.load(p, weights_only=True)["global_step"] for p in folder.glob("*.ckpt")}


@pytest.mark.parametrize(
    "options",
    [
        {"check_val_every_n_epoch": 50},  # longer than the run
        {"check_val_every_n_epoch": 2},
        {"limit_val_batches": 0},
        {"check_val_every_n_epoch": None, "val_check_interval": 4},  # not at ends of epochs
        {},
    ],
)
def test_every_third_epoch_and_the_end_are_saved_whatever_the_stride_of_validations(
    tmp_path, options
):
    saves = Saves()
    fit(tmp_path, RunCheckpoint(every_n_epochs=3), saves, max_epochs=13, **options)
    assert saves.steps == [9, 18, 27, 36, 39]
    assert steps(tmp_path) == {"last": 39, "previous": 36}


def test_a_killed_run_has_the_newest_checkpoint(tmp_path):
    with pytest.raises(KeyError, match="dead"):
        fit(tmp_path, RunCheckpoint(every_n_epochs=3), Saves(end_at=7), max_epochs=20)
    assert steps(tmp_path) == {"last": 18, "previous": 9}


@pytest.mark.parametrize(
    ("batches", "accumulate", "expected"),
    [
        (10, 4, [3, 6, 9, 12]),  # the third step of an epoch ends with its last batch
        (3, 4, [3, 4]),  # every step ends with the last batch of an epoch
        (6, 1, [3, 6, 9, 12, 15, 18, 21, 24]),
    ],
)
def test_steps_are_counted_where_an_epoch_does_not_divide_into_whole_steps(
    tmp_path, batches, accumulate, expected
):
    saves = Saves()
    fit(
        tmp_path, RunCheckpoint(every_n_steps=3), saves, batches=batches, max_epochs=4,
        accumulate_grad_batches=accumulate, limit_val_batches=0,
    )  # fmt: skip
    assert saves.steps == expected


def test_the_best_checkpoints_are_lightnings_and_their_scores_are_their_own(tmp_path):
    """Lightning's ModelCheckpoint works beside a RunCheckpoint."""
    best = ModelCheckpoint(
        tmp_path, "step_{step}", monitor="val/loss", save_top_k=2, auto_insert_metric_name=False
    )
    fit(tmp_path, RunCheckpoint(every_n_steps=2), best, max_epochs=3)
    assert steps(tmp_path) == {"last": 9, "previous": 8, "step_6": 6, "step_9": 9}
    scores = {Path(path).stem: float(score) for path, score in best.best_k_models.items()}
    assert scores == pytest.approx({"step_6": 1 / 6, "step_9": 1 / 9})


@pytest.mark.parametrize("option", ["every_n_epochs", "every_n_steps"])
def test_a_stride_below_one_is_refused(option):
    with pytest.raises(ValueError, match=f"checkpoint.{option}"):
        RunCheckpoint(**{option: 0})


def test_a_classifier_resumes_from_an_epoch_without_a_validation_with_the_same_bits(tmp_path):
    def train(name: str, epochs: int, ckpt: Path | None = None) -> dict[str, Any]:
        callback = RunCheckpoint(every_n_epochs=3)
        callback.dirpath = str(tmp_path / name)
        options = {"max_epochs": epochs, "check_val_every_n_epoch": 4}
        trainer = quiet_trainer(callback, enable_checkpointing=True, **options)
        torch.manual_seed(0)
        network = partial(MLP, hidden_dim=20)
        model = Classifier(network, CrossEntropyHead, num_seeds=2, compile="never")
        data = AlgorithmicData(num_samples=60, seeds=[0, 1])
        trainer.fit(model, data, ckpt_path=ckpt, weights_only=True)
        return torch.load(tmp_path / name / "last.ckpt", weights_only=True)

    complete = train("complete", 9)
    assert train("half", 6)["epoch"] == 5
    resumed = train("resumed", 9, tmp_path / "half" / "last.ckpt")
    assert resumed["global_step"] == complete["global_step"]
    for name, value in complete["state_dict"].items():
        assert torch.equal(value, resumed["state_dict"][name]), name
