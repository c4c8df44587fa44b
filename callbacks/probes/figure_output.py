"""Show figures in TensorBoard, and save them as PNG or GIF in the run's folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import lightning as L
import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger
from numpy.typing import NDArray

from callbacks.trainer_state import run_folder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SECONDS = 6.0  # of an animation
LAST_FRAME_SECONDS = 1.5


def show_figure(trainer: L.Trainer, name: str, figure: Figure) -> None:
    """Show a figure at the current step in TensorBoard, and save it as PNG.

    Args:
        trainer: Its loggers decide where; without one nothing is written.
        name: File name without ending; an earlier figure of this name is replaced.
        figure: Made without pyplot, which would keep it in memory.
    """
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_figure(
                f"figures/{name}", figure, global_step=trainer.global_step, close=False
            )
    folder = run_folder(trainer)
    if folder is not None:
        (folder / "figures").mkdir(parents=True, exist_ok=True)
        figure.savefig(folder / "figures" / f"{name}.png", dpi=150)


def save_animation(trainer: L.Trainer, name: str, frames: Sequence[NDArray[np.uint8]]) -> None:
    """Save an endless GIF of six seconds, whose last frame stays for a second and a half.

    Args:
        trainer: Without a logger nothing is written.
        name: File name without ending.
        frames: (height, width, 3) RGB, all of one size.
    """
    from PIL import Image

    folder = run_folder(trainer)
    if folder is None or not frames:
        return
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    # One palette for all frames, made from three of them: with one palette each, colors flicker and
    # files are larger.
    some = [frames[0], frames[len(frames) // 2], frames[-1]]
    palette = Image.fromarray(np.concatenate(some)).quantize(dither=Image.Dither.NONE)
    # Pillow maps colors only approximately; the background, the color of a corner, must be exact.
    corner = frames[0][0, 0]
    entries, background = palette.getpalette() or [], palette.getpixel((0, 0))
    assert isinstance(background, int)  # an index into the palette
    entries[3 * background : 3 * background + 3] = corner.tolist()
    palette.putpalette(entries)
    images = []
    for frame in frames:
        image = Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE)
        is_background = (frame == corner).all(axis=-1)
        image.paste(background, mask=Image.fromarray(255 * is_background.astype(np.uint8)))
        images.append(image)
    durations = [round(1000 * SECONDS / len(frames))] * len(frames)  # milliseconds
    durations[-1] = max(durations[-1], round(1000 * LAST_FRAME_SECONDS))
    images[0].save(
        folder / "figures" / f"{name}.gif",
        save_all=True,
        append_images=images[1:],
        duration=durations if len(images) > 1 else durations[0],
        loop=0,
    )
