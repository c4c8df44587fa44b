"""Checkpoints by epochs, whatever the stride of the validations."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import nn

from callbacks import RunCheckpoint
from datamodules import AlgorithmicData
from lightning_modules import MLP, Classifier, CrossEntropyHead

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*The dirpath has changed.*"),
]


class Scored(L.LightningModule):
    """Three steps an epoch; `val/loss` falls with every validation and tells its step."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def training_step(self, batch, batch_idx):
        loss = self.layer(batch).square().mean()
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", 1.0 / max(1, self.global_step))  # 0: sanity check


def files(folder: Path) -> dict[str, int]:
    """Name and epoch of each checkpoint; the epoch is that which ended."""
    found = {}
    for path in (folder / "checkpoints").glob("*.ckpt"):
        epochs, rest = divmod(torch.load(path, weights_only=True)["global_step"], 3)
        assert rest == 0  # the end of an epoch
        found[path.stem] = epochs - 1
    return found


def run(folder: Path, epochs: int, checkpoint: dict[str, Any], **options: Any) -> RunCheckpoint:
    callback = RunCheckpoint(**checkpoint)
    callback.dirpath = str(folder / "checkpoints")
    batches = torch.utils.data.DataLoader(torch.ones(3, 2), batch_size=1)
    trainer = L.Trainer(
        accelerator="cpu", logger=False, max_epochs=epochs, callbacks=[callback],
        enable_progress_bar=False, enable_model_summary=False, log_every_n_steps=1, **options,
    )  # fmt: skip
    trainer.fit(Scored(), batches, batches)
    return callback


@pytest.mark.parametrize(
    "options",
    [
        {"check_val_every_n_epoch": 10},
        {"check_val_every_n_epoch": 50},  # longer than the run
        {"check_val_every_n_epoch": 2},
        {"check_val_every_n_epoch": 10, "limit_val_batches": 0},
        {"limit_val_batches": 0},
        {"check_val_every_n_epoch": None, "val_check_interval": 4},  # not at ends of epochs
        {"val_check_interval": 1},  # after every step
        {},
    ],
)
def test_every_third_epoch_is_kept_whatever_the_stride_of_validations(tmp_path, options):
    run(tmp_path, 13, {"every_n_epochs": 3, "save_top_k": -1}, **options)
    expected = {f"epoch_{epoch}": epoch for epoch in (2, 5, 8, 11)}
    # The last epoch has its checkpoint too.
    assert files(tmp_path) == {**expected, "last": 12, "previous": 11}


class Die(L.Callback):
    """Ends everything at the start of an epoch."""

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == 7:
            raise KeyError("dead")


@pytest.mark.parametrize("stride", [1, 10])
def test_last_is_there_and_the_newest_when_a_run_is_killed(tmp_path, stride):
    callback = RunCheckpoint(every_n_epochs=3)
    callback.dirpath = str(tmp_path / "checkpoints")
    batches = torch.utils.data.DataLoader(torch.ones(3, 2), batch_size=1)
    trainer = L.Trainer(
        accelerator="cpu", logger=False, max_epochs=20, callbacks=[callback, Die()],
        enable_progress_bar=False, enable_model_summary=False, check_val_every_n_epoch=stride,
    )  # fmt: skip
    with pytest.raises(KeyError, match="dead"):
        trainer.fit(Scored(), batches, batches)
    assert files(tmp_path) == {"last": 5, "previous": 2}


@pytest.mark.parametrize("stride", [1, 3])
def test_with_equal_strides_each_further_checkpoint_has_its_own_epoch_s_score(tmp_path, stride):
    options = {"every_n_epochs": stride, "save_top_k": 2, "monitor": "val/loss"}
    callback = run(tmp_path, 9, options, check_val_every_n_epoch=stride)
    ends = (9 - stride - 1, 8)
    assert files(tmp_path) == {
        **{f"epoch_{epoch}": epoch for epoch in ends}, "last": 8, "previous": 8 - stride,
    }  # fmt: skip
    scores = {Path(path).stem: float(score) for path, score in callback.best_k_models.items()}
    assert scores == pytest.approx({f"epoch_{epoch}": 1 / (3 * (epoch + 1)) for epoch in ends})


def test_a_ranked_checkpoint_waits_for_the_next_validation_and_last_does_not(tmp_path):
    options = {"every_n_epochs": 3, "save_top_k": -1, "monitor": "val/loss"}
    callback = run(tmp_path, 12, options, check_val_every_n_epoch=5)
    # Due in epochs 2, 5, 8 and 11; validations end epochs 4 and 9.
    assert files(tmp_path) == {"epoch_4": 4, "epoch_9": 9, "last": 11, "previous": 9}
    scores = {Path(path).stem: float(score) for path, score in callback.best_k_models.items()}
    assert scores == pytest.approx({"epoch_4": 1 / 15, "epoch_9": 1 / 30})


def test_a_metric_of_training_waits_for_nothing(tmp_path):
    options = {"every_n_epochs": 3, "save_top_k": -1, "monitor": "train/loss"}
    run(tmp_path, 6, options, check_val_every_n_epoch=5)
    assert files(tmp_path) == {"epoch_2": 2, "epoch_5": 5, "last": 5, "previous": 2}


@pytest.mark.parametrize("ended", [3, 6])
def test_a_classifier_goes_on_from_an_epoch_without_a_validation_with_the_same_bits(
    tmp_path, ended
):
    def fit(name: str, epochs: int, ckpt: str | None = None) -> dict[str, Any]:
        callback = RunCheckpoint(every_n_epochs=3)
        callback.dirpath = str(tmp_path / name)
        trainer = L.Trainer(
            accelerator="cpu", logger=False, max_epochs=epochs, callbacks=[callback],
            enable_progress_bar=False, enable_model_summary=False, check_val_every_n_epoch=4,
        )  # fmt: skip
        torch.manual_seed(0)
        model = Classifier(
            partial(MLP, hidden_dim=20), CrossEntropyHead, num_seeds=2, compile="never"
        )
        data = AlgorithmicData(num_samples=60, seeds=[0, 1])
        trainer.fit(model, data, ckpt_path=ckpt, weights_only=True)
        return torch.load(tmp_path / name / "last.ckpt", weights_only=True)

    whole = fit("whole", 9)
    assert fit("half", ended)["epoch"] == ended - 1
    rest = fit("rest", 9, str(tmp_path / "half" / "last.ckpt"))
    assert rest["global_step"] == whole["global_step"]
    for name, value in whole["state_dict"].items():
        assert torch.equal(value, rest["state_dict"][name]), name
