"""RunProgress: one bar over epochs, closed whatever happens."""

from __future__ import annotations

import io

import lightning as L
import pytest
import torch
from tqdm import tqdm

from callbacks import RunProgress, run_progress


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

    make_trainer(tmp_path, RunProgress(), Talks(), max_epochs=1).fit(
        OneWeight(), Batch(), Batch()
    )
    assert "an 8\n" in capsys.readouterr().out


def test_a_log_file_gets_a_line_now_and_then(tmp_path, bars):
    make_trainer(tmp_path, RunProgress(4.0), max_epochs=1).fit(OneWeight(), Batch(), Batch())
    assert bars[0].options["mininterval"] == 10.0  # stderr is no terminal here


def test_a_terminal_is_refreshed_at_the_given_rate(tmp_path, bars, monkeypatch):
    monkeypatch.setattr(run_progress.sys, "stderr", type("Tty", (), {"isatty": lambda s: True})())
    RunProgress(4.0).on_train_start(
        L.Trainer(max_epochs=1, accelerator="cpu", logger=False), None
    )
    assert bars[0].options["mininterval"] == 0.25


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan")])
def test_a_rate_that_is_not_positive_is_refused(rate):
    with pytest.raises(ValueError, match=r"refreshes_per_second is .*must be positive"):
        RunProgress(rate)
