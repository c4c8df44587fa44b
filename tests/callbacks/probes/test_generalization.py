"""Generalization: first sustained epochs as in a plain loop, across interruptions too."""

from __future__ import annotations

import math
from types import SimpleNamespace

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.trainer.states import TrainerFn

from callbacks import Generalization
from datamodules import ModularAddition
from tests.helpers.trainers import quiet_trainer

# Accuracy over ten epochs of four seeds; threshold 0.9 and patience 3 below.
TRAIN = [
    [0.1, 0.95, 0.95, 0.95, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0],  # from 1
    [0.1, 0.95, 0.95, 0.2, 1.0, 1.0, 1.0, 0.3, 0.3, 0.3],  # two epochs do not count; from 4
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0],  # from 0
    [0.1, 0.2, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3],  # never
]
TEST = [
    [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.95, 0.95, 0.95],  # from 7, the last chance
    [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.95, 0.95],  # too late
    [0.5, 0.95, 0.95, 0.95, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1],  # from 1, whatever follows
    [0.1, 0.2, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3],  # never
]
EXPECTED = {
    "train_epoch": [1, 4, 0, math.nan],
    "test_epoch": [7, math.nan, 1, math.nan],
    "delay": [6, math.nan, 1, math.nan],
}


def by_loop(curve, threshold, patience):
    for epoch in range(len(curve) - patience + 1):
        if all(value > threshold for value in curve[epoch : epoch + patience]):
            return epoch
    return math.nan


def trainer_at(epoch=0, sanity_checking=False, fn=TrainerFn.FITTING):
    return SimpleNamespace(
        current_epoch=epoch, sanity_checking=sanity_checking, state=SimpleNamespace(fn=fn)
    )


def follow(probe, train, test, epochs=None):
    """Validate once an epoch, with accuracies (S, epochs), and measure."""
    # The module reuses the memory of its scores.
    scores = {name: torch.empty(len(train)) for name in ("train/accuracy", "test/accuracy")}
    for epoch in epochs or range(len(train[0])):
        for values, curves in zip(scores.values(), (train, test), strict=True):
            values.copy_(torch.tensor(curves)[:, epoch])
        module = SimpleNamespace(scores=lambda: scores)
        probe.on_validation_epoch_end(trainer_at(epoch), module)
    return {name: tensor.tolist() for name, tensor in probe.measure(None, None).items()}


def test_epochs_and_delay_of_known_curves():
    np.testing.assert_equal(follow(Generalization(0.9, 3), TRAIN, TEST), EXPECTED)


@pytest.mark.parametrize("threshold", [0.3, 0.7])
@pytest.mark.parametrize("patience", [1, 2, 5])
def test_random_curves_agree_with_a_loop(threshold, patience):
    curves = torch.rand(2, 8, 30, generator=torch.Generator().manual_seed(patience)).sqrt()
    values = follow(Generalization(threshold, patience), *curves.tolist())
    for name, part in zip(("train_epoch", "test_epoch"), curves.tolist(), strict=True):
        expected = [by_loop(curve, threshold, patience) for curve in part]
        np.testing.assert_array_equal(values[name], expected)
    assert not np.isnan(values["train_epoch"]).all()


def test_an_accuracy_at_the_threshold_does_not_exceed_it():
    values = follow(Generalization(0.5, 1), [[0.5, 0.75]], [[0.5, 0.5]])
    assert values["train_epoch"] == [1] and math.isnan(values["test_epoch"][0])


def test_a_run_shorter_than_the_patience_never_generalizes():
    values = follow(Generalization(patience=3), [[1.0, 1.0]], [[1.0, 1.0]])
    assert all(math.isnan(value) for value in (*values["train_epoch"], *values["delay"]))


def test_sanity_check_and_validate_are_not_recorded():
    probe = Generalization()
    for trainer in (trainer_at(sanity_checking=True), trainer_at(fn=TrainerFn.VALIDATING)):
        probe.on_validation_epoch_end(trainer, None)
    assert probe.epochs == []
    probe.on_train_end(trainer_at(), None)  # a run without an epoch
    assert probe.results == {}


@pytest.mark.parametrize("split", [0, 5])
def test_an_interrupted_run_continues_its_history(tmp_path, split):
    half = Generalization(0.9, 3)
    if split:
        follow(half, TRAIN, TEST, range(split))
    state = half.state_dict()
    torch.save(state, tmp_path / "state.pt")
    if split:  # a saved history does not change with later epochs
        follow(half, TRAIN, TEST, range(split, 10))
        assert len(state["epochs"]) == state["accuracy"].shape[-1] == split
    resumed = Generalization(0.9, 3)
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert resumed.epochs == list(range(split))
    values = follow(resumed, TRAIN, TEST, range(split, 10))
    np.testing.assert_equal(values, EXPECTED)
    torch.testing.assert_close(resumed.accuracy(), torch.tensor([TRAIN, TEST]))


@pytest.mark.parametrize(
    "options", [{"threshold": 0.0}, {"threshold": 1.0}, {"threshold": math.nan}, {"patience": 0}]
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Generalization(**options)


# ---- whole runs ----------------------------------------------------------------------------------


class Batch:
    """A loader of one empty batch."""

    def __len__(self) -> int:
        return 1

    def __iter__(self):
        yield torch.zeros(1)


class ScriptedModule(L.LightningModule):
    """Its accuracies are those of TRAIN and TEST."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def scores(self):
        curves = {"train/accuracy": TRAIN, "test/accuracy": TEST}
        return {name: torch.tensor(curve)[:, self.epoch] for name, curve in curves.items()}

    def training_step(self, batch, batch_idx):
        return self.weight.sum()

    def validation_step(self, batch, batch_idx):
        self.epoch = self.current_epoch

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class ScriptedData(L.LightningDataModule):
    def train_dataloader(self):
        return Batch()

    val_dataloader = train_dataloader


def fit(probe, task=None, **options):
    data = ScriptedData()
    data.task = task
    quiet_trainer(probe, max_epochs=10, **options).fit(ScriptedModule(), datamodule=data)


@pytest.mark.parametrize("task", [ModularAddition(), None])
def test_a_whole_run_has_results_summary_and_figures(tmp_path, task):
    probe = Generalization(0.9, 3)
    for run in range(2):  # the second has a history of its own
        fit(probe, task, logger=CSVLogger(tmp_path, name="run", version=run))
        assert probe.epochs == list(range(10))
        values = {name: value.tolist() for name, value in probe.results.items()}
        np.testing.assert_equal(values, {f"generalization/{k}": v for k, v in EXPECTED.items()})
    assert probe.summary_metrics == ["generalization/train_epoch", "generalization/test_epoch"]
    names = {path.name for path in (tmp_path / "run" / "version_0" / "figures").iterdir()}
    assert names == {"accuracy.png", "generalization.png"}


def test_epochs_are_those_of_training_where_not_every_one_is_validated():
    probe = Generalization(0.9, 1)
    fit(probe, check_val_every_n_epoch=2)
    assert probe.epochs == [1, 3, 5, 7, 9]
    assert probe.results["generalization/test_epoch"][0] == 7
