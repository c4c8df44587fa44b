"""RunProgress: one bar over the run, in epochs or optimizer steps, closed whatever happens."""

from __future__ import annotations

import io

import lightning as L
import pytest
import torch
from tqdm import tqdm

from callbacks import RunProgress
from callbacks.run import progress_bar
from tests.helpers.trainers import quiet_trainer

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers.*")


def batches_of(length: int) -> torch.utils.data.DataLoader:
    return torch.utils.data.DataLoader(torch.zeros(length, 1), batch_size=1)


class Epochs(L.LightningModule):
    def __init__(self, fails_in: int | None = None) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.fails_in = fails_in

    def training_step(self, batch, batch_idx):
        if self.current_epoch == self.fails_in:
            raise RuntimeError("on purpose")
        return self.weight.sum()

    def validation_step(self, batch, batch_idx):
        self.log("test/accuracy", 0.25 * (self.current_epoch + 1), batch_size=1)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Steps(Epochs):
    """A module that logs after every second optimizer step, as a language model does."""

    progress_unit = "step"
    progress_metrics = ("train/loss", "val/loss", "train/learning_rate")

    def on_train_batch_end(self, outputs, batch, batch_idx):
        if self.global_step % 2 == 0:
            metrics = {"train/loss": float(self.global_step), "train/learning_rate": 6e-4}
            self.log_dict(metrics, batch_size=1)

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", 0.5, batch_size=1)


@pytest.fixture
def bars(monkeypatch):
    """Every bar that is opened; each draws at once, into its own `text`."""
    opened = []

    class Recorded(tqdm):
        def __init__(self, **options) -> None:
            self.text = io.StringIO()
            self.closed = False
            self.options = dict(options)
            super().__init__(file=self.text, **{**options, "mininterval": 0})
            opened.append(self)

        def close(self) -> None:
            self.closed = True
            super().close()

    monkeypatch.setattr(progress_bar, "tqdm", Recorded)
    return opened


def fit(module, *callbacks, progress=None, batches=1, ckpt_path=None, data=None, **options):
    progress = progress or RunProgress(1e9)
    options = {"enable_progress_bar": True, "max_epochs": -1, **options}
    trainer = quiet_trainer(progress, *callbacks, **options)
    loaders = () if data else (batches_of(batches), batches_of(batches))
    trainer.fit(module, *loaders, datamodule=data, ckpt_path=ckpt_path)
    return trainer


# ---- epochs --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "total"), [({"max_epochs": 3}, 3), ({"max_epochs": -1, "max_steps": 3}, None)]
)
def test_the_bar_counts_epochs_and_ends_with_the_last_metrics(bars, limits, total):
    fit(Epochs(), **limits)
    (bar,) = bars  # none for the sanity check or for validation
    assert (bar.n, bar.total, bar.closed) == (3, total, True)
    assert "test=0.750" in bar.text.getvalue()


def test_metrics_are_read_no_more_often_than_the_bar_is_refreshed(bars):
    class Reads(L.Callback):
        def __init__(self) -> None:
            self.seen = []

        def on_train_epoch_end(self, trainer, pl_module):
            self.seen.append(bars[-1].postfix)

    always, seldom = Reads(), Reads()
    for rate, reads in ((1e9, always), (0.1, seldom)):
        fit(Epochs(), reads, progress=RunProgress(rate), max_epochs=3)
    assert always.seen == ["test=0.250", "test=0.500", "test=0.750"]
    assert seldom.seen == ["test=0.250"] * 3


def test_the_bar_is_closed_when_training_fails(bars):
    progress = RunProgress()
    with pytest.raises(RuntimeError, match="on purpose"):
        fit(Epochs(fails_in=2), progress=progress, max_epochs=5)
    assert bars[0].closed and bars[0].n == 2
    progress.print("after the run")  # to the terminal, not to the closed bar
    assert "after the run" not in bars[0].text.getvalue()
    RunProgress().on_exception(None, None, RuntimeError())  # before training there is no bar


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan")])
def test_a_rate_that_is_not_positive_is_refused(rate):
    with pytest.raises(ValueError, match="refreshes_per_second"):
        RunProgress(rate)


# ---- optimizer steps -----------------------------------------------------------------------------


@pytest.mark.parametrize(("accumulate", "steps"), [(1, 8), (2, 4)])
def test_the_bar_counts_optimizer_steps_and_not_micro_batches(bars, accumulate, steps):
    fit(Steps(), batches=8, max_epochs=1, accumulate_grad_batches=accumulate, limit_val_batches=0)
    (bar,) = bars
    assert (bar.n, bar.options["unit"], bar.closed) == (steps, "step", True)


@pytest.mark.parametrize(
    ("limits", "total"),
    [({"max_steps": 5}, 5), ({"max_epochs": 2}, 16), ({"max_epochs": 2, "max_steps": 9}, 9)],
)
def test_the_total_is_the_limit_that_ends_the_run(bars, limits, total):
    class Data(L.LightningDataModule):
        steps_per_epoch = 8

        def train_dataloader(self):
            return batches_of(8)

        val_dataloader = train_dataloader

    fit(Steps(), data=Data(), **limits)
    assert (bars[0].n, bars[0].total) == (total, total)


@pytest.mark.parametrize(("module", "unit"), [(Epochs, "max_epochs"), (Steps, "max_steps")])
def test_a_resumed_bar_starts_where_the_first_run_ended(tmp_path, bars, module, unit):
    fit(module(), **{unit: 2}).save_checkpoint(tmp_path / "half.ckpt")
    fit(module(), ckpt_path=tmp_path / "half.ckpt", **{unit: 5})
    assert (bars[1].initial, bars[1].n, bars[1].total) == (2, 5, 5)


def test_metrics_of_steps_and_validations_are_shown_from_the_next_step_on(bars):
    class Shown(L.Callback):
        def __init__(self) -> None:
            self.seen = []

        def on_train_batch_end(self, *args):
            self.seen.append(bars[-1].postfix)

    shown = Shown()
    options = {"batches": 8, "max_steps": 5, "log_every_n_steps": 2}
    fit(Steps(), shown, limit_val_batches=0, **options)
    two, four = (f"train loss={value}, rate=6.0e-04" for value in ("2.000", "4.000"))
    # The order of callbacks: the bar, this one, the module, which logs.
    assert shown.seen == [None, None, two, two, four]
    assert four in bars[0].text.getvalue()

    shown.seen.clear()
    fit(Steps(), shown, val_check_interval=3, **options)
    assert "val loss=0.500" in shown.seen[3] and "val loss" not in (shown.seen[2] or "")


def test_tokens_per_second_are_shown_where_they_are_measured(bars):
    class Measures(L.Callback):
        tokens_per_second = 12345.6

    fit(Steps(), Measures(), max_steps=4)
    assert "tokens/s=12,346" in bars[0].text.getvalue()
