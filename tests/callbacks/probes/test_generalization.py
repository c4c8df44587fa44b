"""Generalization: first sustained epochs as a plain loop finds them, across interruptions too."""

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


class Scripted:
    """A module whose accuracy follows a script."""

    def __init__(self, train, test) -> None:
        self.curves = {
            "train/accuracy": torch.tensor(train, dtype=torch.float32),  # (S, epochs)
            "test/accuracy": torch.tensor(test, dtype=torch.float32),
        }
        self.epoch = 0

    def scores(self):
        return {name: curve[:, self.epoch] for name, curve in self.curves.items()}


def follow(probe, train, test, epochs=None):
    """Validate once an epoch, as the trainer does (without figures)."""
    module = Scripted(train, test)
    for epoch in epochs or range(len(train[0])):
        module.epoch = epoch
        probe.on_validation_epoch_end(a_trainer(epoch), module)
    return probe


def a_trainer(epoch=0, sanity_checking=False, fn=TrainerFn.FITTING):
    return SimpleNamespace(
        current_epoch=epoch,
        sanity_checking=sanity_checking,
        state=SimpleNamespace(fn=fn),
        loggers=[],
        log_dir=None,
        is_global_zero=True,
        datamodule=SimpleNamespace(task=ModularAddition()),
    )


def values(probe):
    return {name: tensor.tolist() for name, tensor in probe.measure(None, None).items()}


def test_epochs_and_delay_of_known_curves():
    probe = follow(Generalization(threshold=0.9, patience=3), TRAIN, TEST)
    found = values(probe)
    assert set(found) == set(EXPECTED)
    for name, expected in EXPECTED.items():
        np.testing.assert_array_equal(found[name], expected)


@pytest.mark.parametrize("threshold", [0.3, 0.7])
@pytest.mark.parametrize("patience", [1, 2, 5])
def test_random_curves_agree_with_a_loop(threshold, patience):
    curves = torch.rand(2, 8, 30, generator=torch.Generator().manual_seed(patience)).sqrt()
    probe = follow(Generalization(threshold, patience), *curves.tolist())
    found = values(probe)
    for name, part in zip(("train_epoch", "test_epoch"), curves.tolist(), strict=True):
        expected = [by_loop(curve, threshold, patience) for curve in part]
        np.testing.assert_array_equal(found[name], expected)
    assert not np.isnan(found["train_epoch"]).all()


def test_an_accuracy_at_the_threshold_is_not_above_it():
    found = values(follow(Generalization(0.5, 1), [[0.5, 0.75]], [[0.5, 0.5]]))
    assert found["train_epoch"] == [1] and math.isnan(found["test_epoch"][0])


def test_a_run_shorter_than_the_patience_never_generalizes():
    found = values(follow(Generalization(patience=3), [[1.0, 1.0]], [[1.0, 1.0]]))
    assert all(math.isnan(value) for value in (*found["train_epoch"], *found["delay"]))


def test_sanity_check_and_validate_leave_no_trace():
    probe, module = Generalization(), Scripted(TRAIN, TEST)
    probe.on_validation_epoch_end(a_trainer(sanity_checking=True), module)
    probe.on_validation_epoch_end(a_trainer(fn=TrainerFn.VALIDATING), module)
    assert probe.epochs == []
    probe.on_train_end(a_trainer(), module)  # a run without an epoch
    assert probe.results == {}


def test_history_survives_a_checkpoint_and_the_run_goes_on_as_if_never_interrupted(tmp_path):
    whole = follow(Generalization(0.9, 3), TRAIN, TEST)
    half = follow(Generalization(0.9, 3), TRAIN, TEST, range(5))
    torch.save(half.state_dict(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)  # plain types and tensors only
    resumed = Generalization(0.9, 3)
    resumed.load_state_dict(state)
    assert resumed.epochs == half.epochs == [0, 1, 2, 3, 4]
    torch.testing.assert_close(resumed.accuracy(), half.accuracy())
    follow(resumed, TRAIN, TEST, range(5, 10))
    assert resumed.epochs == whole.epochs
    torch.testing.assert_close(resumed.accuracy(), whole.accuracy())
    np.testing.assert_equal(values(resumed), values(whole))


def test_an_empty_history_survives_a_checkpoint(tmp_path):
    torch.save(Generalization().state_dict(), tmp_path / "state.pt")
    resumed = Generalization(0.9, 3)
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    np.testing.assert_equal(values(follow(resumed, TRAIN, TEST)), EXPECTED)


def test_saved_history_is_not_changed_by_later_epochs():
    probe = follow(Generalization(), TRAIN, TEST, range(2))
    state = probe.state_dict()
    follow(probe, TRAIN, TEST, range(2, 4))
    assert state["epochs"] == [0, 1] and state["accuracy"].shape == (2, 4, 2)


def test_recorded_accuracy_is_not_that_of_a_later_epoch():
    # The module may reuse the memory of its scores.
    scores = {name: torch.zeros(2) for name in ("train/accuracy", "test/accuracy")}
    probe = Generalization()
    for epoch in range(3):
        for value in scores.values():
            value.fill_(epoch / 10)
        module = SimpleNamespace(scores=lambda: scores)
        probe.on_validation_epoch_end(a_trainer(epoch), module)
    torch.testing.assert_close(probe.accuracy()[0, 0], torch.tensor([0.0, 0.1, 0.2]))


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"threshold": 0.0}, "threshold is 0.0"),
        ({"threshold": 1.0}, "threshold is 1.0"),
        ({"threshold": math.nan}, "threshold is nan"),
        ({"patience": 0}, "patience 0"),
    ],
)
def test_a_threshold_or_patience_that_makes_no_sense_is_refused(options, part):
    with pytest.raises(ValueError, match=f"^Generalization: .*{part}"):
        Generalization(**options)


class Batch:
    """A loader of one empty batch."""

    def __len__(self) -> int:
        return 1

    def __iter__(self):
        yield torch.zeros(1)


class ScriptedModule(L.LightningModule, Scripted):
    def __init__(self) -> None:
        L.LightningModule.__init__(self)
        Scripted.__init__(self, TRAIN, TEST)
        self.weight = torch.nn.Parameter(torch.ones(1))

    def training_step(self, batch, batch_idx):
        return self.weight.sum()

    def validation_step(self, batch, batch_idx):
        self.epoch = self.current_epoch

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class ScriptedData(L.LightningDataModule):
    def __init__(self, task=None) -> None:
        super().__init__()
        self.task = task

    def train_dataloader(self):
        return Batch()

    val_dataloader = train_dataloader


def fit(tmp_path, probe, task, **options):
    trainer = L.Trainer(
        callbacks=[probe],
        logger=options.pop("logger", False),
        max_epochs=10,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        log_every_n_steps=1,
        default_root_dir=tmp_path,
        **options,
    )
    trainer.fit(ScriptedModule(), datamodule=ScriptedData(task))


def test_a_whole_run_gives_results_headlines_and_figures(tmp_path):
    probe = Generalization(0.9, 3)
    logger = CSVLogger(tmp_path, name="run", version=0)
    fit(tmp_path, probe, ModularAddition(), logger=logger)
    assert probe.epochs == list(range(10))
    found = {name: value.tolist() for name, value in probe.results.items()}
    np.testing.assert_equal(found, {f"generalization/{k}": v for k, v in EXPECTED.items()})
    assert probe.summary_metrics == ["generalization/train_epoch", "generalization/test_epoch"]
    names = {path.name for path in (tmp_path / "run" / "version_0" / "figures").iterdir()}
    assert names == {"accuracy.png", "generalization.png"}


def test_a_data_module_without_a_task_is_no_obstacle_or_refused_before_training(tmp_path):
    probe = Generalization(0.9, 3)
    try:
        fit(tmp_path, probe, None)
    except ValueError:
        assert probe.epochs == []


def test_epochs_are_counted_where_not_every_one_is_validated(tmp_path):
    probe = Generalization(0.9, 1)
    fit(tmp_path, probe, ModularAddition(), check_val_every_n_epoch=2)
    assert probe.epochs == [1, 3, 5, 7, 9]
    assert probe.results["generalization/test_epoch"][0] == 7


def test_a_second_run_from_the_start_has_a_history_of_its_own(tmp_path):
    probe = Generalization(0.9, 3)
    for _ in range(2):
        fit(tmp_path, probe, ModularAddition())
    assert probe.epochs == list(range(10))
