"""When a probe measures and draws, and where its numbers and figures go."""

from __future__ import annotations

import sys
from datetime import timedelta
from types import SimpleNamespace

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from callbacks import EmbeddingGeometry, Probe
from glassbox.plots import new_figure
from tests.helpers.loggers import Unseen

VALUES = [3.0, 1.0, 10.0, 2.0, 5.0]


class TwoBatches:
    """A loader of two empty batches. (A list would mean two loaders.)"""

    def __len__(self) -> int:
        return 2

    def __iter__(self):
        return iter(torch.zeros(2, 1))


class OneWeight(L.LightningModule):
    """Trains a single number; two optimizer steps an epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def training_step(self, batch, batch_idx):
        return self.weight.square().sum()

    def validation_step(self, batch, batch_idx):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-3)


class Counting(Probe):
    name = "toy"
    not_logged = frozenset({"kept"})

    def __init__(self, *args, values=VALUES, **options) -> None:
        super().__init__(*args, **options)
        self.values = torch.tensor(values)
        self.measured, self.drawn, self.gradients = [], [], []

    def measure(self, trainer, module):
        self.measured.append(trainer.current_epoch)
        self.gradients.append(torch.is_grad_enabled())
        return {
            "score": self.values,
            "kept": self.values + 1,
            "weight": module.weight.detach().clone(),
            "shape": [f"shape {value:g}" for value in self.values.tolist()],
        }

    def figures(self, trainer, module):
        self.drawn.append(trainer.current_epoch)
        figure = new_figure(1.0, 1.0)
        figure.text(0.5, 0.5, str(trainer.current_epoch))
        return {"dot": figure}


class StopAfter(L.Callback):
    """Stops as early stopping does."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_train_epoch_end(self, trainer, pl_module):
        if trainer.current_epoch + 1 == self.epochs:
            trainer.should_stop = True


def make_trainer(tmp_path, *callbacks, **options) -> L.Trainer:
    return L.Trainer(
        **{
            "callbacks": list(callbacks),
            "logger": Unseen(),
            "accelerator": "cpu",
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "enable_checkpointing": False,
            "log_every_n_steps": 1,
            "num_sanity_val_steps": 2,
            "default_root_dir": tmp_path,
            **options,
        }
    )


def fit(tmp_path, probe, *more, **options) -> tuple[L.Trainer, OneWeight]:
    trainer, module = make_trainer(tmp_path, probe, *more, **options), OneWeight()
    trainer.fit(module, TwoBatches(), TwoBatches())
    return trainer, module


@pytest.mark.parametrize(
    ("stride", "epochs", "expected"),
    [
        (1, 3, [0, 1, 2]),
        (2, 4, [1, 3]),  # epochs count from 0: the second is number 1
        (3, 7, [2, 5, 6]),  # the last one is out of step
        (100, 4, [3]),
    ],
)
def test_measures_at_its_stride_and_after_the_last_epoch_and_never_in_the_sanity_check(
    tmp_path, stride, epochs, expected
):
    probe = Counting(stride)
    fit(tmp_path, probe, max_epochs=epochs)
    assert probe.measured == expected
    assert not any(probe.gradients)


def test_figures_are_drawn_once_at_the_end_unless_asked_for_earlier(tmp_path):
    late, early = Counting(1), Counting(4, 2)
    early.name = "another"
    fit(tmp_path, late, early, max_epochs=5)
    assert len(late.drawn) == 1
    assert early.drawn[:2] == [1, 3] and len(early.drawn) == 3
    assert early.measured == [3, 4]


def test_medians_and_quartiles_over_seeds_reach_the_loggers(tmp_path):
    trainer, _ = fit(tmp_path, Counting(1), max_epochs=1)
    logged = trainer.callback_metrics
    for suffix, percent in (("_q25", 25), ("", 50), ("_q75", 75)):
        expected = np.percentile(VALUES, percent)
        assert logged[f"val/toy/score{suffix}"].item() == pytest.approx(expected)


def test_one_seed_has_no_quartiles(tmp_path):
    trainer, _ = fit(tmp_path, Counting(1, values=[4.0]), max_epochs=1)
    logged = {name for name in trainer.callback_metrics if "score" in name}
    assert logged == {"val/toy/score"}
    assert trainer.callback_metrics["val/toy/score"].item() == 4.0


def test_a_seed_without_a_value_does_not_hide_the_others(tmp_path):
    trainer, _ = fit(tmp_path, Counting(1, values=[torch.nan, 1.0, 3.0]), max_epochs=1)
    assert trainer.callback_metrics["val/toy/score"].item() == 2.0


def test_a_value_that_no_seed_has_is_not_logged(tmp_path):
    trainer, _ = fit(tmp_path, Counting(1, values=[torch.nan, torch.nan]), max_epochs=1)
    assert not any("score" in name for name in trainer.callback_metrics)


def test_quiet_values_and_names_are_in_the_results_alone(tmp_path):
    probe = Counting(1)
    trainer, _ = fit(tmp_path, probe, max_epochs=1)
    assert set(probe.results) == {f"val/toy/{key}" for key in ("score", "kept", "weight", "shape")}
    assert probe.results["val/toy/kept"].tolist() == [value + 1 for value in VALUES]
    assert probe.results["val/toy/shape"][:2] == ["shape 3", "shape 1"]
    logged = {name.removesuffix("_q25").removesuffix("_q75") for name in trainer.callback_metrics}
    assert logged == {"val/toy/score", "val/toy/weight"}


@pytest.mark.parametrize(
    ("ending", "before"),
    [
        ({"max_steps": 9, "max_epochs": -1}, [2]),  # in the middle of the fifth epoch
        ({"max_steps": 8}, [2]),  # after the fourth; there would be a thousand
        ({"max_epochs": 50, "callbacks": 5}, [2]),  # should_stop, as early stopping sets it
    ],
    ids=["max_steps", "max_steps_at_an_epoch", "should_stop"],
)
@pytest.mark.filterwarnings("ignore:.*max_epochs. was not set.*")
def test_a_run_that_ends_between_strides_is_measured_at_its_end(tmp_path, ending, before):
    probe = Counting(3)
    more = [StopAfter(ending.pop("callbacks"))] if "callbacks" in ending else []
    trainer, module = fit(tmp_path, probe, *more, **ending)
    assert probe.measured[:-1] == before and len(probe.drawn) == 1
    assert trainer.current_epoch in (4, 5) and not any(probe.gradients)
    torch.testing.assert_close(probe.results["val/toy/weight"], module.weight.detach())
    assert module.weight.item() == pytest.approx(0.998**trainer.global_step)  # it was trained


def test_a_run_that_is_out_of_time_is_measured_at_its_end(tmp_path):
    probe = Counting(10**6)
    _, module = fit(tmp_path, probe, max_epochs=-1, max_time=timedelta(milliseconds=20))
    assert len(probe.measured) == len(probe.drawn) == 1
    torch.testing.assert_close(probe.results["val/toy/weight"], module.weight.detach())


def test_a_run_that_ends_on_its_stride_is_not_measured_twice(tmp_path):
    probe = Counting(3)
    fit(tmp_path, probe, max_epochs=-1, max_steps=12)
    assert probe.measured == [2, 5]


def test_validate_measures_logs_and_draws_whatever_the_stride(tmp_path):
    probe = Counting(100)
    trainer = make_trainer(tmp_path, probe)
    trainer.validate(OneWeight(), TwoBatches(), verbose=False)
    assert len(probe.measured) == len(probe.drawn) == 1
    assert trainer.callback_metrics["val/toy/score"].item() == np.median(VALUES)


@pytest.mark.parametrize("option", ["every_n_epochs", "figures_every_n_epochs"])
@pytest.mark.parametrize("stride", [0, -3])
def test_a_stride_below_one_is_refused(option, stride):
    with pytest.raises(ValueError, match=f"Counting: {option} is {stride}; it must be at least 1"):
        Counting(**{option: stride})


def test_figures_go_to_tensorboard_and_into_the_run_folder(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(tmp_path, name="run", version=7)
    fit(tmp_path, Counting(2, 2), max_epochs=5, logger=logger)
    folder = tmp_path / "run" / "version_7"
    assert (folder / "figures" / "dot.png").read_bytes().startswith(b"\x89PNG")
    events = EventAccumulator(str(folder), size_guidance={"images": 0}).Reload()
    images = events.Images("figures/dot")
    steps = [image.step for image in images]
    assert len(steps) == 3 and steps == sorted(set(steps))  # after two epochs, four and five
    assert all(image.encoded_image_string.startswith(b"\x89PNG") for image in images)
    assert "val/toy/score" in events.Tags()["scalars"]


def test_without_tensorboard_figures_go_into_the_run_folder(tmp_path):
    fit(tmp_path, Counting(1), max_epochs=1, logger=CSVLogger(tmp_path, name="run", version=0))
    names = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png")]
    assert names == ["run/version_0/figures/dot.png"]


def test_no_figure_is_left_open(tmp_path):
    fit(tmp_path, Counting(1, 1), max_epochs=3, logger=TensorBoardLogger(tmp_path))
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []


def test_other_ranks_measure_and_draw_nothing():
    probe = Counting(1)
    trainer = SimpleNamespace(
        is_global_zero=False, current_epoch=3, global_step=6, loggers=[], log_dir=None
    )
    probe.on_train_end(trainer, OneWeight())
    assert probe.measured == [3] and probe.drawn == []


def test_a_data_module_without_a_task_gives_a_sentence_before_training(tmp_path):
    class NoTask(L.LightningDataModule):
        def train_dataloader(self):
            return TwoBatches()

        val_dataloader = train_dataloader

    for data in (NoTask(), None):
        trainer = make_trainer(tmp_path, EmbeddingGeometry(100), max_epochs=3)
        loaders = {"datamodule": data} if data else {"train_dataloaders": TwoBatches()}
        if data is None:
            loaders["val_dataloaders"] = TwoBatches()
        with pytest.raises(ValueError, match="EmbeddingGeometry needs a data module with a task"):
            trainer.fit(OneWeight(), **loaders)
        assert trainer.global_step == 0


def test_the_last_epoch_is_drawn_once_where_it_is_on_the_stride(tmp_path):
    probe = Counting(2, 2)
    fit(tmp_path, probe, max_epochs=4)
    assert len(probe.drawn) == 2


def test_the_last_epoch_is_drawn_once_where_the_steps_run_out_on_the_stride(tmp_path):
    probe = Counting(2, 2)
    fit(tmp_path, probe, max_epochs=-1, max_steps=8)
    assert len(probe.drawn) == 2


def test_a_validation_before_the_run_does_not_stand_for_its_end(tmp_path):
    probe = Counting(3)
    trainer, module = make_trainer(tmp_path, probe, max_epochs=-1, max_steps=2), OneWeight()
    trainer.validate(module, TwoBatches(), verbose=False)
    trainer.fit(module, TwoBatches(), TwoBatches())
    torch.testing.assert_close(probe.results["val/toy/weight"], module.weight.detach())


def test_without_a_logger_no_file_is_written(tmp_path):
    probe = Counting(1)
    fit(tmp_path, probe, max_epochs=1, logger=False)
    assert list(tmp_path.rglob("*.png")) == []
    fit(tmp_path, Counting(1), max_epochs=1)
    assert list(tmp_path.rglob("*.png")) == []


def test_two_probes_that_would_log_under_one_name_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"two probes that log as val/toy/.*remove one Counting"):
        fit(tmp_path, Counting(), Counting(), max_epochs=1)


def test_a_stride_counts_validations_where_these_are_counted_in_steps(tmp_path):
    class Steps(Counting):
        def measure(self, trainer, module):
            self.measured.append(trainer.global_step)
            return {"score": self.values}

    probe = Steps(every_n_epochs=2)
    fit(
        tmp_path, probe, max_epochs=None, max_steps=10, val_check_interval=1,
        check_val_every_n_epoch=None,
    )  # fmt: skip
    assert probe.measured == [2, 4, 6, 8, 10]
