"""When probes measure and draw, where numbers and figures go, and which runs they refuse."""

from __future__ import annotations

import sys
from datetime import timedelta
from types import SimpleNamespace

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from PIL import Image

from callbacks import (
    Analogies,
    EmbeddingGeometry,
    Generalization,
    Parallelograms,
    Probe,
    TextSamples,
    WeightNorms,
)
from glassbox.plots import new_figure
from lightning_modules import Classifier
from tests.helpers.loggers import Unseen
from tests.helpers.planted_words import planted_data, small_classifier
from tests.helpers.trainers import quiet_trainer

VALUES = [3.0, 1.0, 10.0, 2.0, 5.0]
COLORS = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]


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


class TenStepsABatch(OneWeight):
    """Manual optimization: ten optimizer steps per batch, as Classifier takes an epoch of them."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        for _ in range(10):
            self.optimizers().step()


class Counting(Probe):
    name = "toy"
    not_logged = frozenset({"kept"})

    def __init__(self, *args, values=VALUES, frames=(), **options) -> None:
        super().__init__(*args, **options)
        self.values, self.frames = torch.tensor(values), frames
        self.measured, self.drawn, self.gradients, self.animated = [], [], [], 0

    def measure(self, trainer, module):
        self.measured.append(trainer.current_epoch)
        self.gradients.append(torch.is_grad_enabled())
        self.steps = trainer.global_step
        return {
            "score": self.values,
            "kept": self.values + 1,
            "weight": module.weight.detach().clone(),
            "shape": [f"shape {value:g}" for value in self.values.tolist()],
        }

    def figures(self, trainer, module):
        assert self.steps == trainer.global_step  # never drawn from outdated values
        self.drawn.append(trainer.current_epoch)
        figure = new_figure(1.0, 1.0)
        figure.text(0.5, 0.5, str(trainer.current_epoch))
        return {"dot": figure}

    def animations(self, trainer, module):
        self.animated += 1
        return {"motion": self.frames}


class StopAfter(L.Callback):
    """Stops as early stopping does."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_train_epoch_end(self, trainer, pl_module):
        trainer.should_stop = trainer.current_epoch + 1 == self.epochs


def fit(probe, *more, module=None, **options) -> tuple[L.Trainer, OneWeight]:
    settings = {"logger": Unseen(), "num_sanity_val_steps": 2, **options}
    trainer, module = quiet_trainer(probe, *more, **settings), module or OneWeight()
    trainer.fit(module, TwoBatches(), TwoBatches())
    return trainer, module


# ---- the schedule --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stride", "epochs", "expected"),
    [
        (1, 3, [0, 1, 2]),
        (2, 4, [1, 3]),  # epochs count from 0: the second is number 1
        (3, 7, [2, 5, 6]),  # the last one is not on the stride
        (100, 4, [3]),
    ],
)
def test_measures_at_its_stride_and_after_the_last_epoch_but_not_in_the_sanity_check(
    stride, epochs, expected
):
    probe = Counting(stride)
    fit(probe, max_epochs=epochs)
    assert probe.measured == expected
    assert not any(probe.gradients)


@pytest.mark.parametrize(
    ("strides", "measured", "drawn"),
    [
        ((1, None), [0, 1, 2, 3, 4], [5]),
        ((4, 2), [1, 3, 4], [1, 3, 5]),
        ((100, 2), [1, 3, 4], [1, 3, 5]),
        ((2, 3), [1, 2, 3, 4], [2, 5]),
    ],
)
def test_a_probe_measures_whenever_it_draws(strides, measured, drawn):
    probe = Counting(*strides)
    fit(probe, max_epochs=5)
    assert probe.measured == measured
    assert probe.drawn == drawn  # at the end of training Lightning has counted the last epoch


@pytest.mark.parametrize("ending", [{"max_epochs": 4}, {"max_epochs": -1, "max_steps": 8}])
def test_the_last_epoch_is_measured_and_drawn_once_where_it_is_on_the_stride(ending):
    probe = Counting(2, 2)
    fit(probe, **ending)
    assert probe.measured == [1, 3] and len(probe.drawn) == 2


@pytest.mark.parametrize(
    ("ending", "before"),
    [
        ({"max_steps": 9, "max_epochs": -1}, [2]),  # in the middle of the fifth epoch
        ({"max_steps": 8, "max_epochs": None}, [2]),  # after the fourth of a thousand
        ({"max_epochs": 50, "callbacks": 5}, [2]),  # as early stopping does
    ],
    ids=["max_steps", "max_steps_at_an_epoch", "should_stop"],
)
@pytest.mark.filterwarnings("ignore:.*max_epochs. was not set.*")
def test_a_run_that_ends_between_strides_is_measured_at_its_end(ending, before):
    probe, ending = Counting(3), dict(ending)
    more = [StopAfter(ending.pop("callbacks"))] if "callbacks" in ending else []
    trainer, module = fit(probe, *more, **ending)
    assert probe.measured[:-1] == before and len(probe.drawn) == 1
    torch.testing.assert_close(probe.results["val/toy/weight"], module.weight.detach())
    assert module.weight.item() == pytest.approx(0.998**trainer.global_step)


def test_a_run_that_is_out_of_time_is_measured_at_its_end():
    probe = Counting(10**6)
    _, module = fit(probe, max_epochs=-1, max_time=timedelta(milliseconds=20))
    assert len(probe.measured) == len(probe.drawn) == 1
    torch.testing.assert_close(probe.results["val/toy/weight"], module.weight.detach())


def test_a_stride_counts_validations_where_these_are_scheduled_by_batches():
    for module, steps in ((OneWeight(), 1), (TenStepsABatch(), 10)):
        probe, measured_at = Counting(every_n_epochs=2), []
        probe.measure = lambda trainer, _, at=measured_at: at.append(trainer.global_step) or {}
        probe.figures = lambda *_: {}
        fit(
            probe, module=module, max_epochs=None, max_steps=20 * steps, val_check_interval=3,
            check_val_every_n_epoch=None,
        )  # fmt: skip
        assert measured_at == [6 * steps, 12 * steps, 18 * steps, 20 * steps]


def test_validate_measures_logs_and_draws_whatever_the_stride():
    probe = Counting(100)
    trainer = quiet_trainer(probe, logger=Unseen())
    trainer.validate(OneWeight(), TwoBatches(), verbose=False)
    assert len(probe.measured) == len(probe.drawn) == 1
    assert trainer.callback_metrics["val/toy/score"].item() == np.median(VALUES)


def test_a_validation_before_a_run_does_not_replace_the_measurement_at_its_end():
    probe = Counting(3)
    trainer, module = quiet_trainer(probe, max_epochs=-1, max_steps=2), OneWeight()
    trainer.validate(module, TwoBatches(), verbose=False)
    trainer.fit(module, TwoBatches(), TwoBatches())
    torch.testing.assert_close(probe.results["val/toy/weight"], module.weight.detach())


def test_ranks_other_than_zero_measure_and_do_not_draw():
    probe = Counting(1)
    trainer = SimpleNamespace(
        is_global_zero=False, current_epoch=3, global_step=6, loggers=[], log_dir=None
    )
    probe.on_train_end(trainer, OneWeight())
    assert probe.measured == [3] and probe.drawn == []


# ---- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (VALUES, {"_q25": 2.0, "": 3.0, "_q75": 5.0}),
        ([4.0], {"": 4.0}),
        ([torch.nan, 1.0, 3.0], {"_q25": 1.5, "": 2.0, "_q75": 2.5}),
        ([torch.nan, torch.nan], {}),
    ],
)
def test_median_and_quartiles_over_seeds_reach_the_loggers(values, expected):
    probe = Counting(1, values=values)
    trainer, _ = fit(probe)
    logged = {k: v.item() for k, v in trainer.callback_metrics.items() if "score" in k}
    assert logged == pytest.approx({f"val/toy/score{k}": v for k, v in expected.items()})
    # not_logged keys and strings are in the results only.
    assert set(probe.results) == {f"val/toy/{key}" for key in ("score", "kept", "weight", "shape")}
    assert probe.results["val/toy/shape"][0] == f"shape {values[0]:g}"
    assert not any("kept" in name or "shape" in name for name in trainer.callback_metrics)


# ---- figures and animations ----------------------------------------------------------------------


def test_figures_go_to_tensorboard_and_into_the_run_folder(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    fit(Counting(2, 2), max_epochs=5, logger=TensorBoardLogger(tmp_path, name="run", version=7))
    folder = tmp_path / "run" / "version_7"
    assert (folder / "figures" / "dot.png").read_bytes().startswith(b"\x89PNG")
    events = EventAccumulator(str(folder), size_guidance={"images": 0}).Reload()
    images = events.Images("figures/dot")
    assert [image.step for image in images] == [4, 8, 10]  # after two epochs, four and five
    assert all(image.encoded_image_string.startswith(b"\x89PNG") for image in images)
    assert "val/toy/score" in events.Tags()["scalars"]
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []


@pytest.mark.parametrize("logger", [False, True])
def test_without_a_logger_no_file_is_written(tmp_path, logger):
    probe = Counting(1)
    fit(
        probe, default_root_dir=tmp_path,
        logger=CSVLogger(tmp_path, name="run", version=0) if logger else False,
    )  # fmt: skip
    names = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png")]
    assert names == ["run/version_0/figures/dot.png"] * logger
    assert probe.animated == logger


def square(*colors) -> np.ndarray:
    """One frame (8, 8 n, 3) of squares side by side."""
    return np.concatenate([np.full((8, 8, 3), color, np.uint8) for color in colors], axis=1)


def animation(tmp_path, frames) -> tuple[list[int], list[np.ndarray]]:
    """Duration and RGB image of each frame of the GIF."""
    probe = Counting(1, 1, frames=frames)
    fit(probe, max_epochs=3, logger=CSVLogger(tmp_path, name="", version="run"))
    assert probe.animated == 1  # only at the end
    durations, images = [], []
    with Image.open(tmp_path / "run" / "figures" / "motion.gif") as image:
        assert len(frames) == 1 or image.info["loop"] == 0
        for frame in range(getattr(image, "n_frames", 1)):
            image.seek(frame)
            durations.append(image.info["duration"])
            images.append(np.asarray(image.convert("RGB")))
    return durations, images


def test_frames_become_an_endless_gif_of_six_seconds_that_rests_on_the_last(tmp_path):
    frames = [square(COLORS[i % 3], *COLORS) for i in range(60)]
    durations, images = animation(tmp_path, frames)
    assert durations == [100] * 59 + [1500]
    for image, frame in zip(images, frames, strict=True):
        assert (image[2, 2] == frame[2, 2]).all()


def test_a_single_frame_is_a_gif_too_and_none_is_no_file(tmp_path):
    assert len(animation(tmp_path, [square(COLORS[0])])[1]) == 1
    fit(Counting(1), logger=CSVLogger(tmp_path / "none", name="", version="run"))
    assert not list((tmp_path / "none").rglob("*.gif"))


def test_the_background_keeps_its_exact_color_beside_many_similar_ones(tmp_path):
    shades = np.random.default_rng(0).integers(240, 256, (64, 64, 3)).astype(np.uint8)
    shades[:4] = 255
    frames = [shades, np.flipud(shades).copy()]
    frames[1][:4] = 255
    for image, frame in zip(animation(tmp_path, frames)[1], frames, strict=True):
        assert (image[(frame == 255).all(axis=-1)] == 255).all()
        assert np.abs(image.astype(int) - frame).max() < 24


# ---- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["every_n_epochs", "figures_every_n_epochs"])
@pytest.mark.parametrize("stride", [0, -3])
def test_a_stride_below_one_is_refused(option, stride):
    with pytest.raises(ValueError, match=option):
        Counting(**{option: stride})


def test_two_probes_that_would_log_under_one_name_are_refused():
    with pytest.raises(ValueError, match=r"trainer\.callbacks"):
        fit(Counting(), Counting())


@pytest.mark.parametrize(
    "callback",
    [WeightNorms, Generalization, EmbeddingGeometry, Parallelograms, Analogies, TextSamples],
)
@pytest.mark.parametrize("command", ["fit", "validate", "test"])
def test_a_callback_for_other_models_is_refused_before_anything_runs(trained, callback, command):
    trainer, data = quiet_trainer(callback()), planted_data(trained.folder)
    with pytest.raises(ValueError, match=rf"{callback.__name__}.*trainer\.callbacks") as error:
        getattr(trainer, command)(small_classifier(data), datamodule=data)
    assert "\n" not in str(error.value) and trainer.global_step == 0


def test_a_module_without_summary_metrics_is_treated_as_a_classifier():
    module = Classifier(vocab_size=25, num_inputs=3, num_classes=25, compile="never")
    assert not hasattr(module, "summary_metrics")
    Generalization().setup(quiet_trainer(), module, "fit")
