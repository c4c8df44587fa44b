"""StepModule: base of the LightningModules that take one optimizer step per global batch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torchmetrics import MeanMetric, SumMetric

from lightning_modules.training.base_module import BaseModule
from lightning_modules.training.lightning_counters import (
    last_step,
    limit_by_steps,
    rescale_batch_progress,
)
from lightning_modules.training.optim import AdamWSettings, parameter_groups


class StepModule(BaseModule):
    """A module that Lightning trains with AdamW, and that resumes in the middle of an epoch.

    Matrices decay, vectors do not. Gradients are clipped by norm. The run stops at the first
    non-finite loss or gradient, before a checkpoint is written. A subclass implements
    ``training_step``, which calls ``observe_losses`` with the ``train_losses``, and
    ``validation_step``, which calls ``observe_evaluation``. The trainer's ``gradient_clip_val``
    takes precedence over ``clip_norm``. ``hint`` ends the message about a loss that is NaN.
    """

    progress_unit = "step"

    def __init__(
        self,
        optimizer: AdamWSettings,
        clip_norm: float | None,
        hint: str,
        train_losses: Sequence[str] = ("loss",),
    ) -> None:
        super().__init__()
        if clip_norm is not None and not clip_norm > 0:
            raise ValueError(f"clip_norm is {clip_norm}; it must be positive, or null for none")
        self.optimizer_settings = optimizer
        self.clip_norm = clip_norm
        self.hint = hint
        # The first step with a non-finite loss or gradient, on the device: no step waits for it.
        self._first_bad_step = torch.tensor(math.inf)
        # nan_strategy: any other would read the value, and wait for the device, at every step.
        self._means = {name: MeanMetric(nan_strategy="disable") for name in train_losses}
        self.train_means = nn.ModuleDict(self._means)  # so that they move with the module
        # Sums, since torchmetrics' weighted mean ignores its weights with nan_strategy "disable".
        self.evaluated_loss = SumMetric(nan_strategy="disable")
        self.evaluated_targets = SumMetric(nan_strategy="disable")
        self._scores: dict[str, Tensor] = {}
        self._last_step: int | None = None  # of the run; None if it is unlimited or unknown
        self._step_of_last_batch = 0
        self._gradient_norm: Tensor | None = None  # of the last step, before clipping
        self._rate = 0.0  # learning rate of the last step

    def setup(self, stage: str) -> None:
        super().setup(stage)
        if getattr(self.trainer.gradient_clip_algorithm, "value", None) == "value":
            raise ValueError(
                f"trainer.gradient_clip_algorithm is value; a {type(self).__name__} clips by norm "
                f"only; leave it at null and set model.clip_norm"
            )

    def configure_optimizers(self) -> OptimizerLRScheduler:
        # With float16 the gradients must be unscaled before they are clipped; a fused AdamW would
        # unscale them later, by itself.
        return self.optimizer_settings.optimizer(
            parameter_groups(self, self.optimizer_settings.weight_decay),
            fused=self.trainer.precision != "16-mixed",
        )

    def on_fit_start(self) -> None:
        super().on_fit_start()
        self._first_bad_step = torch.tensor(math.inf, device=self.device)
        self._reset_means()
        self._last_step = last_step(self.trainer)
        limit_by_steps(self.trainer)

    def on_train_start(self) -> None:
        super().on_train_start()
        self._step_of_last_batch = self.global_step

    @torch.no_grad()
    def observe_losses(self, losses: Mapping[str, Tensor]) -> None:
        """Add a micro-batch to the training losses that are logged; "loss" must be finite."""
        self._check_finite(losses["loss"])
        for name, loss in losses.items():
            self._means[name].update(loss)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        # Lightning 2.6's own refuses a fused AdamW under bf16-mixed.
        limit = self.clip_norm if gradient_clip_val is None else gradient_clip_val
        if limit is None:
            gradients = [p.grad for p in self.parameters() if p.grad is not None]
            self._gradient_norm = nn.utils.get_total_norm(gradients)
        else:
            self._gradient_norm = nn.utils.clip_grad_norm_(self.parameters(), limit)
        self._rate = optimizer.param_groups[0]["lr"]
        if self.trainer.precision != "16-mixed":  # whose scaler skips a step that overflows
            self._check_finite(self._gradient_norm)

    def _check_finite(self, value: Tensor) -> None:
        bad = torch.where(value.detach().isfinite(), math.inf, float(self.global_step + 1))
        self._first_bad_step = torch.minimum(self._first_bad_step, bad)

    def _raise_if_diverged(self) -> None:
        """Raise if any rank had a non-finite value; its gradients spoil the weights of all."""
        trainer = self.attached_trainer()
        if trainer is None:  # saved outside of a run
            return
        first = self._first_bad_step.to(self.device, copy=True)
        step = float(trainer.strategy.reduce(first, reduce_op="min"))
        if math.isfinite(step):
            raise ValueError(
                f"the training loss is NaN or infinite at optimizer step {int(step)}; checkpoints "
                f"from before that step are kept; {self.hint}"
            )

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        stepped = self.global_step != self._step_of_last_batch
        self._step_of_last_batch = self.global_step
        if not stepped or not self._logs_this_step():
            return
        self._raise_if_diverged()
        # Over all ranks and steps since the last log.
        losses = {f"train/{name}": mean.compute() for name, mean in self._means.items()}
        self._reset_means()
        self._store_scores(losses)
        self._log({**losses, **self._step_metrics()})

    def _reset_means(self) -> None:
        for mean in self._means.values():
            mean.reset()

    def _logs_this_step(self) -> bool:
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        return bool(every) and self.global_step % every == 0

    def _step_metrics(self) -> dict[str, Any]:
        """What is logged of a training step beside the losses."""
        return {}

    def on_train_end(self) -> None:
        self._raise_if_diverged()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # Before anything is written, so that a broken model never replaces a good one.
        self._raise_if_diverged()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        rescale_batch_progress(self.attached_trainer(), checkpoint)

    def rank_state(self) -> dict[str, Any]:
        """What this rank needs for an exact resume: the losses since the last log, and scores."""
        means = {} if self._logs_this_step() else self._means
        return {
            "train_means": {name: dict(mean.metric_state) for name, mean in means.items()},
            "scores": dict(self._scores),
        }

    def load_rank_state(self, state: dict[str, Any]) -> None:
        # Earlier versions kept the one loss of a LanguageModel.
        means = state["train_means"] if "train_means" in state else {"loss": state["train_loss"]}
        for name in means.keys() & self._means.keys():
            for part, value in means[name].items():
                getattr(self._means[name], part).copy_(value)
        self._scores = {name: value.to(self.device) for name, value in state["scores"].items()}

    def observe_evaluation(self, loss: Tensor, targets: Tensor) -> None:
        """Add a batch's mean loss to the evaluation; a target of -100 does not count."""
        count = (targets != -100).sum()
        self.evaluated_loss.update(loss * count)
        self.evaluated_targets.update(count)

    def reset_evaluation(self) -> None:
        """Start a pass over a data set."""
        self.evaluated_loss.reset()
        self.evaluated_targets.reset()

    def evaluation(self, stage: str) -> dict[str, Tensor]:
        """Scores of the pass that has just ended, over all ranks."""
        loss = self.evaluated_loss.compute() / self.evaluated_targets.compute()
        scores = {f"{stage}/loss": loss, **self._evaluation_metrics(stage, loss)}
        self._store_scores(scores)
        if stage == "val" and self.trainer.state.fn == TrainerFn.FITTING:
            # A run may end between two validations: store the step of these scores.
            self._scores["val/step"] = torch.tensor([float(self.global_step)])
        return scores

    def _evaluation_metrics(self, stage: str, loss: Tensor) -> dict[str, Tensor]:
        """What is logged of an evaluation beside the loss."""
        return {}

    def on_validation_epoch_start(self) -> None:
        self.reset_evaluation()

    on_test_epoch_start = on_validation_epoch_start

    def on_validation_epoch_end(self) -> None:
        if not self.trainer.sanity_checking:
            self._log(self.evaluation("val"))

    def test_step(self, batch: dict[str, Tensor], batch_idx: int) -> Any:
        return self.validation_step(batch, batch_idx)

    def on_test_epoch_end(self) -> None:
        self._log(self.evaluation("test"))

    def scores(self) -> dict[str, Tensor]:
        """The last losses and metrics, (1,) each."""
        return self._scores

    def _store_scores(self, scores: Mapping[str, Tensor]) -> None:
        self._scores.update({name: value.detach().reshape(1) for name, value in scores.items()})

    def _log(self, scores: dict[str, Any]) -> None:
        if self.trainer.state.fn == TrainerFn.FITTING:
            # Lightning's own step is one less than the number of optimizer steps that were done.
            scores = {**scores, "step": float(self.global_step)}
        self.log_dict(scores, batch_size=1)
