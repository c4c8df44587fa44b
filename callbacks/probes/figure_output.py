"""Where figures go: to TensorBoard, and as PNG, or GIF if they move, into the run's folder."""

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


def show_figure(trainer: L.Trainer, name: str, figure: Figure) -> None:
    """Show a figure at the current step in every logger that can, and keep its last state as PNG.

    Args:
        trainer: Its loggers say where; without one the figure goes nowhere.
        name: File name without ending.
        figure: A figure made without pyplot (pyplot would keep it in memory for ever).
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


def save_animation(
    trainer: L.Trainer,
    name: str,
    pictures: Sequence[NDArray[np.uint8]],
    seconds: float = 6.0,
    rest: float = 1.5,
) -> None:
    """Keep an animation as a GIF that repeats for ever in the run's folder.

    Args:
        trainer: Without a logger the animation goes nowhere.
        name: File name without ending.
        pictures: (height, width, 3), red, green and blue from 0 to 255, all of one size.
        seconds: That all pictures take together.
        rest: Seconds for which the last one stands before the first comes again.
    """
    from PIL import Image

    folder = run_folder(trainer)
    if folder is None or not pictures:
        return
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    # One palette for all, of three of them: with one each, colors flicker and files are larger.
    some = [pictures[0], pictures[len(pictures) // 2], pictures[-1]]
    palette = Image.fromarray(np.concatenate(some)).quantize(dither=Image.Dither.NONE)
    # Pillow's nearest color is a near one; the background, a corner's color, is to be exact.
    corner = pictures[0][0, 0]
    entries, white = palette.getpalette() or [], palette.getpixel((0, 0))
    assert isinstance(white, int)  # an index into the palette
    entries[3 * white : 3 * white + 3] = corner.tolist()
    palette.putpalette(entries)
    frames = []
    for picture in pictures:
        frame = Image.fromarray(picture).quantize(palette=palette, dither=Image.Dither.NONE)
        background = (picture == corner).all(axis=-1)
        frame.paste(white, mask=Image.fromarray(255 * background.astype(np.uint8)))
        frames.append(frame)
    first, *others = frames
    durations = [round(1000 * seconds / len(pictures))] * len(pictures)
    durations[-1] = max(durations[-1], round(1000 * rest))
    first.save(
        folder / "figures" / f"{name}.gif",
        save_all=True,
        append_images=others,
        duration=durations if others else durations[0],
        loop=0,
    )
