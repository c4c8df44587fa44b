"""RunCheckpoint: a run always ends with a checkpoint of its end."""

from __future__ import annotations

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint


class RunCheckpoint(ModelCheckpoint):
    """Keeps ``checkpoints/last.ckpt``: every so many epochs, and when training ends.

    Lightning's own callback writes at the end only if it has never written before, so that a run of
    750 epochs with a checkpoint every 500 would end with that of epoch 500.

    Args:
        every_n_epochs: Write after every so many epochs.
        save_top_k: Keep so many further checkpoints, the best by ``monitor``; -1 keeps all.
        monitor: Name of the logged metric that says which are best.
        mode: 'min' if a low value is good, 'max' if a high one is.
        filename: Name of these further checkpoints.
    """

    def __init__(
        self,
        every_n_epochs: int = 500,
        save_top_k: int = 0,
        monitor: str | None = None,
        mode: str = "min",
        filename: str = "epoch_{epoch}",
    ) -> None:
        super().__init__(
            every_n_epochs=every_n_epochs,
            save_top_k=save_top_k,
            monitor=monitor,
            mode=mode,
            filename=filename,
            save_last=True,
            auto_insert_metric_name=False,
        )

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # Lightning copies all metrics first and then sees that nothing is due.
        if (trainer.current_epoch + 1) % self._every_n_epochs == 0:
            super().on_train_epoch_end(trainer, pl_module)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if (trainer.current_epoch + 1) % self._every_n_epochs == 0:
            super().on_validation_end(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.fast_dev_run and self._last_global_step_saved != trainer.global_step:  # type: ignore[attr-defined]
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))
