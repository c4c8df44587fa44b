"""ModelSelection: a run ends with the weights that were best on the validation set."""

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


class ModelSelection(L.Callback):
    """Keeps a copy of the best weights; at the end puts them back and measures the test set.

    The copy is a real one (the authors of SAFR keep a reference, and test the last epoch). The test
    set is looked at once, with these weights, and every probe of texts takes part. Checkpoints hold
    the last weights, to go on from, and the best ones beside them: ``lightning test --ckpt_path``
    measures the best.

    Args:
        monitor: Logged metric of the validation that decides.
        mode: 'max' if a high value is good, 'min' if a low one is.
        test: Measure the test set at the end of ``fit``.
        restore_best: False leaves the last weights in place and measures them, as the authors' code
            does; the best are still kept and told.

    Raises:
        ValueError: The mode is neither max nor min.
    """

    def __init__(
        self,
        monitor: str = "val/accuracy",
        mode: Literal["max", "min"] = "max",
        test: bool = True,
        restore_best: bool = True,
    ) -> None:
        if mode not in ("max", "min"):
            raise ValueError(f"ModelSelection: mode is {mode!r}; choose one of max, min")
        self.monitor, self.mode, self.test, self.restore_best = monitor, mode, test, restore_best
        self.best: dict[str, Tensor] = {}
        self.score: float | None = None
        self.step = 0
        self.epochs = 0.0
        self.results: dict[str, Tensor] = {}
        self.summary_metrics: list[str] = []
        self._last: dict[str, Tensor] = {}  # while the best weights are in place

    # ---- keeping -------------------------------------------------------------------------------

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._last = {}

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.sanity_checking or not is_fitting(trainer):
            return
        if self.monitor not in trainer.callback_metrics:
            known = ", ".join(sorted(n for n in trainer.callback_metrics if n.startswith("val/")))
            raise ValueError(
                f"ModelSelection: monitor is {self.monitor!r}, which no validation has logged; "
                f"those there are: {known}"
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
        self.best = _copy(pl_module)

    # ---- the end of a run ----------------------------------------------------------------------

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.score is None:
            return
        if self.restore_best:
            self._last = _copy(pl_module)
            pl_module.load_state_dict(self.best)
        self._describe()
        callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        stopped = any(getattr(callback, "stopped", False) for callback in callbacks)
        if stopped and self.test and trainer.is_global_zero:  # a signal leaves little time
            print("the run was stopped: the test set is not measured; `lightning test` does so")
        if self.test and not stopped and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            if self.restore_best and trainer.is_global_zero:
                print(
                    f"test/* is of the weights of epoch {self.epochs:g}, which did best; val/* is "
                    f"the last epoch's"
                )
            self._measure_test_set(trainer, pl_module)

    def _describe(self) -> None:
        assert self.score is not None
        self.results["best/score"] = torch.tensor([self.score])
        self.results["best/epoch"] = torch.tensor([self.epochs])
        self.summary_metrics = ["best/epoch", "best/score"]

    def _measure_test_set(self, trainer: Any, module: Any) -> None:
        """One pass over the test set, shared by the model's scores and all probes of texts."""
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
                found = module.test_step(batch, index)
            for probe in probes:
                probe.take(trainer, module, batch, found)
        scores = dict(module.evaluation("test"))
        for probe in probes:
            values = probe.end_pass(trainer, module)
            scores.update({name: v for name, v in values.items() if isinstance(v, Tensor)})
        plain = {name: float(v) for name, v in scores.items() if v.numel() == 1}
        for logger in trainer.loggers:
            logger.log_metrics(plain, step=trainer.global_step)

    # ---- checkpoints ---------------------------------------------------------------------------

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if self._last:  # the run goes on from the last weights, not from the best
            checkpoint["state_dict"] = dict(self._last)

    def state_dict(self) -> dict[str, Any]:
        """The best weights so far, and when they were found."""
        found = {"score": self.score, "step": self.step, "epochs": self.epochs}
        return {**found, "weights": dict(self.best)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = dict(state_dict["weights"])
        self.score, self.step = state_dict["score"], state_dict["step"]
        self.epochs = state_dict["epochs"]

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not is_fitting(trainer):
            self._take_best(trainer, pl_module)

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._take_best(trainer, pl_module)

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._take_best(trainer, pl_module)

    def _take_best(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if self.score is None or not self.restore_best:
            return
        module.load_state_dict(self.best)
        self._describe()
        if trainer.is_global_zero:
            print(
                f"with the weights of epoch {self.epochs:.4g}, the best by {self.monitor} "
                f"({self.score:.4g})"
            )


def _copy(module: L.LightningModule) -> dict[str, Tensor]:
    """A module's weights on the processor, which go on changing without them."""
    return {name: value.detach().cpu().clone() for name, value in module.state_dict().items()}
