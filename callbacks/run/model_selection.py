"""ModelSelection: end a run with the weights that scored best on the validation set."""

from __future__ import annotations

import itertools
import math
from typing import Any, Literal

import lightning as L
import torch
from torch import Tensor
from tqdm import tqdm

from callbacks.probes.text_probe import TextProbe
from callbacks.trainer_state import is_fitting
from lightning_modules.training.renamed import rename_parameters


class ModelSelection(L.Callback):
    """Copy the best weights during training; at the end restore them and measure the test set.

    The weights are copied by value. (The authors of SAFR keep a reference, and so test the last
    epoch.) The test set is measured once, with the restored weights, and every text probe takes
    part. Checkpoints contain the last weights, to resume from, and the best weights, which
    ``lightning test --ckpt_path`` measures.

    Args:
        monitor: Logged validation metric to select by. Of equal values the first wins; nan and
            infinity never do.
        mode: 'max' if a high value is good, 'min' if a low one is.
        test: Measure the test set at the end of ``fit``.
        restore_best: False keeps the last weights and measures those, as the authors' code does;
            the best weights are still saved and reported.

    Raises:
        ValueError: ``mode`` is neither max nor min.
    """

    def __init__(
        self,
        monitor: str = "val/accuracy",
        mode: Literal["max", "min"] = "max",
        test: bool = True,
        restore_best: bool = True,
    ) -> None:
        if mode not in ("max", "min"):
            raise ValueError(f"ModelSelection: mode is {mode!r}; choose max or min")
        self.monitor, self.mode, self.test, self.restore_best = monitor, mode, test, restore_best
        self.best: dict[str, Tensor] = {}
        self.score: float | None = None
        self.step = 0
        self.epochs = 0.0
        self.results: dict[str, Tensor] = {}
        self.summary_metrics: list[str] = []
        self._last: dict[str, Tensor] = {}  # set while the best weights are restored

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._last = {}

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.sanity_checking or not is_fitting(trainer):
            return
        if self.monitor not in trainer.callback_metrics:
            logged = sorted(name for name in trainer.callback_metrics if name.startswith("val/"))
            raise ValueError(
                f"ModelSelection: validation did not log monitor {self.monitor!r}; choose one of "
                f"{', '.join(logged)}"
            )
        score = float(trainer.callback_metrics[self.monitor])
        sign = 1.0 if self.mode == "max" else -1.0
        if not math.isfinite(score) or (
            self.score is not None and sign * (score - self.score) <= 0
        ):
            return
        self.score, self.step = score, trainer.global_step
        per_epoch = getattr(trainer.datamodule, "steps_per_epoch", None)  # type: ignore[attr-defined]
        self.epochs = self.step / per_epoch if per_epoch else trainer.current_epoch + 1.0
        self.best = _copy_weights(pl_module)

    def on_train_end(self, trainer: Any, pl_module: L.LightningModule) -> None:
        if self.score is None:
            return
        if self.restore_best:
            self._last = _copy_weights(pl_module)
            self._restore_best(pl_module)
        self._set_results(self.score)
        if not self.test or trainer.fast_dev_run:
            return
        if any(getattr(callback, "stopped", False) for callback in trainer.callbacks):
            if trainer.is_global_zero:  # a signal leaves little time
                print("test set not measured, because the run was stopped; use `lightning test`")
            return
        if self.restore_best and trainer.is_global_zero:
            print(f"test/* uses the best weights (epoch {self.epochs:g}), val/* the last")
        self._measure_test_set(trainer, pl_module)

    def _restore_best(self, module: L.LightningModule) -> None:
        rename_parameters(self.best, module.state_dict().keys())  # from an old checkpoint
        module.load_state_dict(self.best)

    def _set_results(self, score: float) -> None:
        self.results["best/score"] = torch.tensor([score])
        self.results["best/epoch"] = torch.tensor([self.epochs])
        self.summary_metrics = ["best/epoch", "best/score"]

    def _measure_test_set(self, trainer: Any, module: Any) -> None:
        """One pass over the test set, shared by the model's metrics and all text probes.

        ``trainer.test`` would run too late: results.json, table and figures are written by then.
        """
        loader = trainer.datamodule.test_dataloader()
        probes = [callback for callback in trainer.callbacks if isinstance(callback, TextProbe)]
        module.eval()
        module.reset_evaluation()
        for probe in probes:
            probe.start_pass(trainer, module, "test")
        limit = trainer.limit_test_batches
        limit = limit if isinstance(limit, int) else math.ceil(limit * len(loader))
        batches = tqdm(
            itertools.islice(loader, limit),
            total=limit,
            desc="test set",
            mininterval=10.0,
            disable=trainer.progress_bar_callback is None or not trainer.is_global_zero,
        )
        for index, batch in enumerate(batches):
            batch = trainer.strategy.batch_to_device(batch)
            with torch.no_grad(), trainer.precision_plugin.val_step_context():
                outputs = module.test_step(batch, index)
            for probe in probes:
                probe.take(trainer, module, batch, outputs)
        metrics = dict(module.evaluation("test"))
        for probe in probes:
            values = probe.end_pass(trainer, module)
            metrics.update({name: v for name, v in values.items() if isinstance(v, Tensor)})
        scalars = {name: float(value) for name, value in metrics.items() if value.numel() == 1}
        for logger in trainer.loggers:
            logger.log_metrics(scalars, step=trainer.global_step)

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if self._last:  # a run resumes from the last weights, not from the best
            checkpoint["state_dict"] = dict(self._last)

    def state_dict(self) -> dict[str, Any]:
        """The best weights so far, their score and when they were reached."""
        best = {"score": self.score, "step": self.step, "epochs": self.epochs}
        return {**best, "weights": dict(self.best)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = dict(state_dict["weights"])
        self.score, self.step = state_dict["score"], state_dict["step"]
        self.epochs = state_dict["epochs"]

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not is_fitting(trainer):
            self.on_test_start(trainer, pl_module)

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.score is None or not self.restore_best:
            return
        self._restore_best(pl_module)
        self._set_results(self.score)
        if trainer.is_global_zero:
            print(
                f"using the weights of epoch {self.epochs:.4g}, the best by {self.monitor} "
                f"({self.score:.4g})"
            )

    on_predict_start = on_test_start


def _copy_weights(module: L.LightningModule) -> dict[str, Tensor]:
    """A copy of a module's weights on the CPU, which further training does not change."""
    return {name: value.detach().cpu().clone() for name, value in module.state_dict().items()}
