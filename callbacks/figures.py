"""Where figures go: to TensorBoard, and as PNG into the run's folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lightning as L
from lightning.pytorch.loggers import TensorBoardLogger

from callbacks.run_folder import run_folder

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
