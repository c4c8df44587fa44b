"""RunProgress: one bar over epochs, closed whatever happens."""

from __future__ import annotations

import io

import lightning as L
import pytest
import torch
from tqdm import tqdm

from callbacks import RunProgress
from callbacks.run import progress_bar as run_progress


class Batch:
    """A loader of one empty batch."""

    def __len__(self) -> int:
        return 1

    def __iter__(self):
        yield torch.zeros(1)


class OneWeight(L.LightningModule):
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


@pytest.fixture
def bars(monkeypatch):
    """Every bar that is opened, drawn at once, into its own `file`."""
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

    monkeypatch.setattr(run_progress, "tqdm", Recorded)
    return opened


def make_trainer(tmp_path, progress, *callbacks, **options) -> L.Trainer:
    return L.Trainer(
        callbacks=[progress, *callbacks],
        logger=False,
        accelerator="cpu",
        enable_model_summary=False,
        enable_checkpointing=False,
        log_every_n_steps=1,
        default_root_dir=tmp_path,
        **options,
    )


def test_counts_every_epoch(tmp_path, bars):
    make_trainer(tmp_path, RunProgress(), max_epochs=3).fit(OneWeight(), Batch(), Batch())
    (bar,) = bars  # none for the sanity check or for validation
    assert (bar.n, bar.total, bar.closed) == (3, 3, True)
    assert "3/3" in bar.text.getvalue()


def test_the_bar_that_is_left_behind_shows_the_last_score(tmp_path, bars):
    make_trainer(tmp_path, RunProgress(), max_epochs=3).fit(OneWeight(), Batch(), Batch())
    assert "test=0.750" in bars[0].text.getvalue()


def test_scores_are_read_no_more_often_than_the_bar_is_refreshed(tmp_path, bars):
    class Reads(L.Callback):
        def __init__(self) -> None:
            self.seen = []

        def on_train_epoch_end(self, trainer, pl_module):
            self.seen.append(bars[-1].postfix)

    always, seldom = Reads(), Reads()
    for rate, reads in ((1e9, always), (0.1, seldom)):
        trainer = make_trainer(tmp_path, RunProgress(rate), reads, max_epochs=3)
        trainer.fit(OneWeight(), Batch(), Batch())
    assert always.seen == ["test=0.250", "test=0.500", "test=0.750"]
    assert seldom.seen == ["test=0.250"] * 3


def test_counts_epochs_without_an_end_when_steps_decide(tmp_path, bars):
    trainer = make_trainer(tmp_path, RunProgress(), max_epochs=-1, max_steps=4)
    trainer.fit(OneWeight(), Batch(), Batch())
    (bar,) = bars
    assert (bar.n, bar.total, bar.closed) == (4, None, True)


def test_a_run_without_validation_has_a_bar_without_scores(tmp_path, bars):
    make_trainer(tmp_path, RunProgress(), max_epochs=2, limit_val_batches=0).fit(
        OneWeight(), Batch(), Batch()
    )
    assert bars[0].n == 2 and "test=" not in bars[0].text.getvalue()


def test_a_resumed_run_goes_on_where_the_first_one_ended(tmp_path, bars):
    trainer = make_trainer(tmp_path, RunProgress(), max_epochs=2)
    trainer.fit(OneWeight(), Batch(), Batch())
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    resumed = make_trainer(tmp_path, RunProgress(), max_epochs=5)
    resumed.fit(OneWeight(), Batch(), Batch(), ckpt_path=tmp_path / "half.ckpt")
    assert (bars[1].initial, bars[1].n, bars[1].total) == (2, 5, 5)


def test_the_bar_is_closed_when_training_fails(tmp_path, bars):
    progress = RunProgress()
    with pytest.raises(RuntimeError, match="on purpose"):
        make_trainer(tmp_path, progress, max_epochs=5).fit(OneWeight(fails_in=2), Batch(), Batch())
    assert bars[0].closed and bars[0].n == 2
    progress.print("after the run")  # goes to the terminal, not to the closed bar
    assert "after the run" not in bars[0].text.getvalue()


def test_a_failure_before_training_starts_needs_no_bar():
    RunProgress().on_exception(None, None, RuntimeError())


def test_a_disabled_bar_stays_silent(tmp_path, bars):
    progress = RunProgress()
    progress.disable()
    make_trainer(tmp_path, progress, max_epochs=2).fit(OneWeight(), Batch(), Batch())
    assert bars[0].text.getvalue() == ""
    progress.enable()
    assert progress.enabled


def test_text_printed_while_training_does_not_break_the_bar(tmp_path, bars, capsys):
    class Talks(L.Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            trainer.progress_bar_callback.print("an", 8)

    make_trainer(tmp_path, RunProgress(), Talks(), max_epochs=1).fit(OneWeight(), Batch(), Batch())
    assert "an 8\n" in capsys.readouterr().out


def test_a_log_file_gets_a_line_now_and_then(tmp_path, bars):
    make_trainer(tmp_path, RunProgress(4.0), max_epochs=1).fit(OneWeight(), Batch(), Batch())
    assert bars[0].options["mininterval"] == 10.0  # stderr is no terminal here


def test_a_terminal_is_refreshed_at_the_given_rate(tmp_path, bars, monkeypatch):
    monkeypatch.setattr(run_progress.sys, "stderr", type("Tty", (), {"isatty": lambda s: True})())
    RunProgress(4.0).on_train_start(L.Trainer(max_epochs=1, accelerator="cpu", logger=False), None)
    assert bars[0].options["mininterval"] == 0.25


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan")])
def test_a_rate_that_is_not_positive_is_refused(rate):
    with pytest.raises(ValueError, match=r"refreshes_per_second is .*must be positive"):
        RunProgress(rate)


# ---- counting optimizer steps ----------------------------------------------------------------


class Steps(OneWeight):
    """A module that logs after each optimizer step, as a language model does."""

    progress_unit = "step"
    progress_metrics = ("train/loss", "val/loss", "train/learning_rate")

    def on_train_batch_end(self, outputs, batch, batch_idx):
        if (
            self.global_step % 2 == 0
            and (batch_idx + 1) % self.trainer.accumulate_grad_batches == 0
        ):
            self.log_dict(
                {"train/loss": float(self.global_step), "train/learning_rate": 6e-4}, batch_size=1
            )

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", 0.5, batch_size=1)


class Batches(Batch):
    """A loader of eight empty batches."""

    def __len__(self) -> int:
        return 8

    def __iter__(self):
        return iter([torch.zeros(1)] * 8)


class Shown(L.Callback):
    """The scores behind the bar at the end of each batch."""

    def __init__(self, bars) -> None:
        self.bars, self.seen = bars, []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.seen.append((self.bars[-1].n, self.bars[-1].postfix))


def by_step(tmp_path, *callbacks, **options) -> L.Trainer:
    settings = {"limit_val_batches": 0, **options}
    return make_trainer(tmp_path, RunProgress(1e9), *callbacks, **settings)


@pytest.mark.parametrize(("accumulate", "steps"), [(1, 8), (2, 4)])
def test_counts_optimizer_steps_and_not_micro_batches(tmp_path, bars, accumulate, steps):
    trainer = by_step(tmp_path, max_epochs=1, accumulate_grad_batches=accumulate)
    trainer.fit(Steps(), Batches(), Batches())
    (bar,) = bars
    assert (bar.n, bar.options["unit"], bar.closed) == (steps, "step", True)


def test_total_is_the_number_of_steps_that_limits_the_run(tmp_path, bars):
    by_step(tmp_path, max_steps=5).fit(Steps(), Batches(), Batches())
    assert (bars[0].n, bars[0].total) == (5, 5)

    class Data(L.LightningDataModule):
        steps_per_epoch = 8

        def train_dataloader(self):
            return Batches()

        def val_dataloader(self):
            return Batches()

    for limits, total in (({"max_epochs": 2}, 16), ({"max_epochs": 2, "max_steps": 9}, 9)):
        by_step(tmp_path, **limits).fit(Steps(), datamodule=Data())
        assert (bars[-1].n, bars[-1].total) == (total, total)


def test_goes_on_at_the_step_where_a_resumed_run_is(tmp_path, bars):
    trainer = by_step(tmp_path, max_steps=3)
    trainer.fit(Steps(), Batches(), Batches())
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    with pytest.warns(UserWarning, match="not resumable"):
        by_step(tmp_path, max_steps=7).fit(
            Steps(), Batches(), Batches(), ckpt_path=tmp_path / "half.ckpt"
        )
    assert (bars[1].initial, bars[1].n, bars[1].total) == (3, 7, 7)


def test_scores_of_a_step_are_shown_from_the_next_step_on(tmp_path, bars):
    shown = Shown(bars)
    trainer = by_step(tmp_path, shown, max_steps=5)
    trainer.log_every_n_steps = 2
    trainer.fit(Steps(), Batches(), Batches())
    two, four = ("train loss=" + text + ", rate=6.0e-04" for text in ("2.000", "4.000"))
    # (Callbacks are called in this order: the bar, these lines, the module.)
    assert shown.seen == [(1, None), (2, None), (3, two), (4, two), (5, four)]
    assert four in bars[0].text.getvalue()


def test_scores_of_a_validation_are_shown_too(tmp_path, bars):
    shown = Shown(bars)
    by_step(tmp_path, shown, max_steps=4, val_check_interval=3, limit_val_batches=1.0).fit(
        Steps(), Batches(), Batches()
    )
    assert "val loss=0.500" in shown.seen[3][1] and "val loss" not in (shown.seen[2][1] or "")


def test_tokens_per_second_are_shown_where_they_are_measured(tmp_path, bars):
    class Measures(L.Callback):
        tokens_per_second = 12345.6

    by_step(tmp_path, Measures(), max_steps=4).fit(Steps(), Batches(), Batches())
    assert "tokens/s=12,346" in bars[0].text.getvalue()


def test_a_bar_needs_no_logging(tmp_path, bars):
    trainer = by_step(tmp_path, max_steps=4)
    trainer.log_every_n_steps = 0
    trainer.fit(Steps(), Batches(), Batches())
    assert bars[0].n == 4
