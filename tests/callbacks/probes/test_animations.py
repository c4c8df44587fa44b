"""Animations: what a probe gives when training ends becomes a GIF in the run's folder, no more."""

from __future__ import annotations

import lightning as L
import numpy as np
import torch
from lightning.pytorch.loggers import CSVLogger
from PIL import Image

from callbacks import FeatureGeometry, Probe
from datamodules import CircularFeatures
from lightning_modules import FeatureAutoencoder

COLORS = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]


class Moving(Probe):
    name = "moving"

    def __init__(self, pictures) -> None:
        super().__init__(1, 1)
        self.pictures, self.asked = pictures, 0

    def measure(self, trainer, module):
        return {"one": torch.ones(1)}

    def animations(self, trainer, module):
        self.asked += 1
        return {"course": self.pictures}


def square(*colors) -> np.ndarray:
    """One picture (8, 8 n, 3) of squares side by side."""
    return np.concatenate([np.full((8, 8, 3), color, np.uint8) for color in colors], axis=1)


def fit(tmp_path, probe, epochs=3, logger=True, data=None, **options):
    data = data or CircularFeatures(12, batch_size=8, steps_per_epoch=2, val_steps=1)
    model = FeatureAutoencoder(12, len(data.values), 3, compile="never", **options)
    trainer = L.Trainer(
        max_epochs=epochs, accelerator="cpu", enable_checkpointing=False, callbacks=[probe],
        enable_progress_bar=False, enable_model_summary=False, log_every_n_steps=1,
        logger=CSVLogger(tmp_path, name="", version="run") if logger else False,
        use_distributed_sampler=False, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(model, datamodule=data)
    return tmp_path / "run" / "figures"


def test_pictures_become_the_frames_of_a_gif_that_repeats_and_rests_on_the_last(tmp_path):
    # Pictures share the palette of the first, the middle one and the last.
    pictures = [square(color, (255, 255, 255), (0, 0, 0)) for color in COLORS]
    pictures.append(square(*COLORS))
    probe = Moving(pictures)
    with Image.open(fit(tmp_path, probe) / "course.gif") as image:
        assert image.n_frames == 4 and image.info["loop"] == 0 and image.size == (24, 8)
        durations = []
        for frame, color in enumerate(COLORS):
            image.seek(frame)
            durations.append(image.info["duration"])
            assert image.convert("RGB").getpixel((2, 2)) == color
        image.seek(3)
        assert durations == [1500, 1500, 1500] and image.info["duration"] == 1500
    assert probe.asked == 1  # not at each of the three validations


def test_many_pictures_take_six_seconds_and_the_last_stands_longer(tmp_path):
    pictures = [square(COLORS[i % 3], *COLORS) for i in range(60)]
    with Image.open(fit(tmp_path, Moving(pictures)) / "course.gif") as image:
        durations = []
        for frame in range(image.n_frames):
            image.seek(frame)
            durations.append(image.info["duration"])
    assert len(durations) == 60 and set(durations[:-1]) == {100} and durations[-1] == 1500


def test_the_background_keeps_its_exact_color_beside_many_near_ones(tmp_path):
    shades = np.random.default_rng(0).integers(240, 256, (64, 64, 3)).astype(np.uint8)
    shades[:4] = 255
    pictures = [shades, np.flipud(shades).copy()]
    pictures[1][:4] = 255
    with Image.open(fit(tmp_path, Moving(pictures)) / "course.gif") as image:
        for frame, picture in enumerate(pictures):
            image.seek(frame)
            found = np.asarray(image.convert("RGB"))
            white = (picture == 255).all(axis=-1)
            assert (found[white] == 255).all()
            assert np.abs(found.astype(int) - picture).max() < 24


def test_one_picture_or_none_is_no_error(tmp_path):
    folder = fit(tmp_path, Moving([square(COLORS[0])]))
    with Image.open(folder / "course.gif") as image:
        assert getattr(image, "n_frames", 1) == 1
    assert not (fit(tmp_path / "none", Moving([])) / "course.gif").exists()


def test_without_a_folder_nobody_draws_pictures(tmp_path):
    probe = Moving([square(COLORS[0])])
    fit(tmp_path, probe, logger=False)
    assert probe.asked == 0


def test_the_training_of_a_ring_is_a_small_animation_of_every_measurement(tmp_path):
    data = CircularFeatures(12, [1.0, 0.3], batch_size=8, steps_per_epoch=2, val_steps=1)
    folder = fit(tmp_path, FeatureGeometry(every_n_epochs=1), data=data)
    with Image.open(folder / "training.gif") as image:
        assert image.n_frames == 4  # before training, and after each epoch
    assert (folder / "training.gif").stat().st_size < 2_000_000
    assert (folder / "first_features.png").is_file()
