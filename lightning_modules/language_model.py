"""LanguageModel: GPT-2 with any loss head, trained on tokens."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torchmetrics import MeanMetric, SumMetric

from lightning_modules.gpt2.generate import generate
from lightning_modules.gpt2.hub_load import load_pretrained
from lightning_modules.heads import HarmonicHead, LossHead
from lightning_modules.networks import GPT2
from lightning_modules.training.lightning_counters import (
    last_step,
    limit_by_steps,
    rescale_batch_progress,
)
from lightning_modules.training.nonfinite import NonFiniteMonitor
from lightning_modules.training.optim import (
    clip_gradients,
    override_restored_hyperparameters,
    parameter_groups,
    warmup_cosine,
)
from lightning_modules.training.specs import build_from_spec, check_data_matches_model, to_spec


class LanguageModel(L.LightningModule):
    """A causal network and a loss head on its features, trained to tell the next token.

    Batches are ``{"inputs": (B, T), "targets": (B, T)}`` of token ids; a target of -100 does not
    count. AdamW with a linear warm-up and a cosine decay, per optimizer step.

    Args:
        network: Network class; called with (vocab_size, context_length).
        head: Loss head class; called with (width of the features, vocab_size).
        vocab_size: Number of tokens (filled in from the data on the command line).
        context_length: Longest context (likewise).
        tie_embedding: Let the head's unembedding be the network's token embedding.
        feature_scale_init: Scale of the features at the start, for heads that compare by distance: 'matched'
            gives them that of the unembedding, 'gpt2' leaves GPT-2's, which is 1/initial_std times
            larger. Other heads start as GPT-2 does.
        init_from: Folder or Hugging Face hub name of GPT-2 weights to begin with, as they are:
            ``feature_scale_init`` then changes nothing, and probes read what was trained there.
        learning_rate: AdamW's, at the end of the warm-up.
        final_learning_rate: At the end of the decay; null means a tenth of the peak.
        warmup_steps: Optimizer steps of the linear rise.
        decay_steps: Optimizer step at which the final rate is reached; null means the run's last.
        weight_decay: AdamW's, on matrices; vectors do not decay.
        betas: AdamW's decay rates of its two moments.
        clip_norm: Largest norm of the gradient; null for no clipping.
        compile: Compile network and head: 'auto' does so on a GPU.

    Raises:
        ValueError: A number is out of range.
    """

    # What progress bars and the closing table show.
    progress_unit = "step"
    progress_metrics = ("train/loss", "val/loss", "train/learning_rate")
    summary_metrics = ("train/loss", "val/loss", "val/perplexity", "val/step")

    def __init__(
        self,
        network: Callable[[int, int], GPT2] = GPT2,
        head: Callable[[int, int], LossHead] = HarmonicHead,
        vocab_size: int = 50257,
        context_length: int = 1024,
        tie_embedding: bool = True,
        feature_scale_init: Literal["matched", "gpt2"] = "matched",
        init_from: str | None = None,
        learning_rate: float = 6e-4,
        final_learning_rate: float | None = None,
        warmup_steps: int = 100,
        decay_steps: int | None = None,
        weight_decay: float = 0.1,
        betas: tuple[float, float] = (0.9, 0.95),
        clip_norm: float | None = 1.0,
        compile: Literal["auto", "always", "never"] = "auto",
    ) -> None:
        super().__init__()
        floor = 0.1 * learning_rate if final_learning_rate is None else final_learning_rate
        if not 0 <= floor <= learning_rate or not 0 < learning_rate < math.inf:
            raise ValueError(
                f"learning_rate is {learning_rate} and final_learning_rate {final_learning_rate}; "
                f"the first must be positive and the second between 0 and the first"
            )
        if warmup_steps < 0 or (decay_steps is not None and decay_steps <= warmup_steps):
            raise ValueError(
                f"warmup_steps is {warmup_steps} and decay_steps {decay_steps}; the first must not "
                f"be negative, the second larger than the first, or null for the run's last step"
            )
        if not weight_decay >= 0 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(
                f"weight_decay is {weight_decay} and betas are {betas}; the first must not be "
                f"negative, the others at least 0 and below 1"
            )
        if clip_norm is not None and not clip_norm > 0:
            raise ValueError(f"clip_norm is {clip_norm}; it must be positive, or null for none")
        for name, choice, choices in (
            ("feature_scale_init", feature_scale_init, ("matched", "gpt2")),
            ("compile", compile, ("auto", "always", "never")),
        ):
            if choice not in choices:
                raise ValueError(f"{name} is {choice!r}; choose one of {', '.join(choices)}")
        self.save_hyperparameters(logger=False)
        self.hparams["init_from"] = None  # a checkpoint brings its own weights
        for name, factory in (("network", network), ("head", head)):
            if callable(self.hparams.get(name)):
                self.hparams[name] = to_spec(factory)
        self.sizes = {"vocab_size": vocab_size, "context_length": context_length}
        self.learning_rate, self.final_fraction = learning_rate, floor / learning_rate
        self.warmup_steps, self.decay_steps = warmup_steps, decay_steps
        self.weight_decay, self.betas, self.clip_norm = weight_decay, betas, clip_norm
        self.compile_mode = compile

        self.network = build_from_spec(network, "network")(vocab_size, context_length)
        self.head = build_from_spec(head, "head")(self.network.out_features, vocab_size)
        embedding = self.network.token_embedding().weight
        if not tie_embedding:
            # Its own matrix, with the embedding's padding and its initial scale.
            embedding = torch.nn.Parameter(torch.empty_like(embedding))
            torch.nn.init.normal_(embedding, std=self.network.initial_std)
        self.head.tie(embedding, num_padding=len(embedding) - vocab_size)
        if feature_scale_init == "matched" and self.head.is_distance_based:
            self.network.set_feature_scale(float(embedding.detach().square().mean().sqrt()))
        if init_from is not None:
            load_pretrained(init_from, self.network, self.head)

        self._head_loss = self.head.loss
        # nan_strategy: any other would read the value, and wait for the device, at every step.
        self.train_loss = MeanMetric(nan_strategy="disable")
        # Sums, since torchmetrics' weighted mean forgets its weights with nan_strategy "disable".
        self.val_loss = SumMetric(nan_strategy="disable")
        self.val_tokens = SumMetric(nan_strategy="disable")
        self._scores: dict[str, Tensor] = {}
        self.divergence = NonFiniteMonitor(
            "lower model.learning_rate, lengthen model.warmup_steps, or raise the precision to "
            "32-true"
        )
        self._gradient_norm: Tensor | None = None
        self._rate = 0.0

    # ---- set-up --------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        trainer: Any = self.trainer
        check_data_matches_model(self, self.sizes, trainer.datamodule)
        clips_by = getattr(trainer.gradient_clip_algorithm, "value", None) or "norm"
        if clips_by != "norm":
            raise ValueError(
                f"trainer.gradient_clip_algorithm is {clips_by}; a LanguageModel clips by the norm "
                f"only, see model.clip_norm"
            )
        on_gpu = trainer.strategy.root_device.type == "cuda"
        if self.compile_mode == "always" or (self.compile_mode == "auto" and on_gpu):
            # In place, so that the keys of a checkpoint stay as they are.
            self.network.compile()
            self._head_loss = torch.compile(self.head.loss)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        trainer: Any = self.trainer
        # With float16 the gradients must be unscaled before they are clipped, and a fused AdamW
        # would unscale them later, by itself.
        fused = trainer.precision != "16-mixed"
        optimizer = torch.optim.AdamW(
            parameter_groups(self, self.weight_decay),
            lr=self.learning_rate,
            betas=self.betas,
            fused=fused,
        )
        last = self._last_step() if self.decay_steps is None else self.decay_steps
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer,
            lambda step: warmup_cosine(step, self.warmup_steps, last, self.final_fraction),
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def _last_step(self) -> int:
        """Number of optimizer steps of the whole run."""
        last = last_step(self.trainer)
        if last is None:
            raise ValueError(
                "the cosine decay needs an end: set trainer.max_steps, or model.decay_steps"
            )
        return last

    # ---- training ------------------------------------------------------------------------------

    def on_fit_start(self) -> None:
        self.divergence.start(self.device)
        self.train_loss.reset()
        limit_by_steps(self.trainer)

    def on_train_start(self) -> None:
        override_restored_hyperparameters(
            self, self.learning_rate, (self.weight_decay, 0.0), self.betas
        )

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Mean loss of a micro-batch, to be averaged over the micro-batches of a step."""
        loss = self._head_loss(self.network(batch["inputs"]), batch["targets"])
        with torch.no_grad():
            self.divergence.note(loss, self.global_step + 1)
            self.train_loss.update(loss)
        return loss

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        # Lightning 2.6's own refuses a fused AdamW under bf16-mixed.
        limit = self.clip_norm if gradient_clip_val is None else gradient_clip_val
        self._gradient_norm = clip_gradients(self, math.inf if limit is None else limit)
        self._rate = optimizer.param_groups[0]["lr"]
        if self.trainer.precision != "16-mixed":  # whose scaler passes over such a step
            self.divergence.note(self._gradient_norm, self.global_step + 1)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        trainer: Any = self.trainer
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        every = trainer.log_every_n_steps
        if not stepped or not every or self.global_step % every != 0:
            return
        self.stop_if_diverged()
        loss = self.train_loss.compute()  # over all ranks and micro-batches since the last time
        self.train_loss.reset()
        self._scores["train/loss"] = loss.detach().reshape(1)
        logged = {
            "train/loss": loss,
            "train/learning_rate": self._rate,
        }
        if self._gradient_norm is not None:
            logged["train/gradient_norm"] = self._gradient_norm
        self._log(logged)

    def on_train_end(self) -> None:
        self.stop_if_diverged()

    def stop_if_diverged(self) -> None:
        """Refuse to go on after a loss that is NaN or infinite.

        Raises:
            ValueError: Names the step.
        """
        self.divergence.stop_if_diverged(self)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # Before anything is written, so that a broken model never replaces a good one.
        self.stop_if_diverged()

    def rank_state(self) -> dict[str, Any]:
        """What this rank's resume needs beside weights: the losses since the last log, scores."""
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        begun_anew = every and self.global_step % every == 0
        loss = {} if begun_anew else dict(self.train_loss.metric_state)
        return {"train_loss": loss, "scores": dict(self._scores)}

    def load_rank_state(self, state: dict[str, Any]) -> None:
        for name, value in state["train_loss"].items():
            getattr(self.train_loss, name).copy_(value)
        self._scores = {name: value.to(self.device) for name, value in state["scores"].items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        rescale_batch_progress(self._trainer, checkpoint)

    # ---- evaluation ----------------------------------------------------------------------------

    def on_validation_epoch_start(self) -> None:
        self._reset_evaluation()

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        counted = (batch["targets"] != -100).sum()
        loss = self._head_loss(self.network(batch["inputs"]), batch["targets"])
        self.val_loss.update(loss * counted)
        self.val_tokens.update(counted)

    def _reset_evaluation(self) -> None:
        self.val_loss.reset()
        self.val_tokens.reset()

    def on_validation_epoch_end(self) -> None:
        if self.trainer.sanity_checking:
            return
        self._log_evaluation("val")

    def on_test_epoch_start(self) -> None:
        self._reset_evaluation()

    def test_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)

    def on_test_epoch_end(self) -> None:
        self._log_evaluation("test")

    def _log_evaluation(self, stage: str) -> None:
        loss = self.val_loss.compute() / self.val_tokens.compute()
        scores = {f"{stage}/loss": loss, f"{stage}/perplexity": loss.exp()}
        self._scores.update({name: value.reshape(1) for name, value in scores.items()})
        if self.trainer.state.fn == TrainerFn.FITTING:
            # A run may end between two validations: say of which step these are.
            self._scores[f"{stage}/step"] = torch.tensor([float(self.global_step)])
        self._log(scores)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (B, T, vocab_size) of token ids (B, T)."""
        return self.head(self.network(inputs))

    def generate(self, tokens: Tensor, num_new: int, seed: int = 0, **options: Any) -> Tensor:
        """Token ids (B, T) and ``num_new`` drawn ones behind each; see ``generation.generate``."""
        options["generator"] = torch.Generator().manual_seed(seed)
        return generate(self.network, self.head, tokens.to(self.device), num_new, **options)

    # ---- what callbacks read -------------------------------------------------------------------

    def scores(self) -> dict[str, Tensor]:
        """The last losses, (1,) each."""
        return self._scores

    def embedding_matrix(self) -> Tensor:
        """The embeddings of the tokens that exist, (1, V, E)."""
        return self.network.embedding_matrix().detach().unsqueeze(0)

    def class_centers(self) -> Tensor:
        """The unembedding without its padding, (1, V, E); a harmonic head's are class centers."""
        return self.head.weight[: self.head.num_classes].detach().unsqueeze(0)

    def hidden_states(self, inputs: Tensor) -> Tensor:
        """The features that the head reads, (1, B, T, E), of token ids (B, T)."""
        return self.network(inputs).unsqueeze(0)

    def tokens_in(self, batch: dict[str, Tensor]) -> int:
        """Number of tokens that a batch trains on."""
        return batch["inputs"].numel()

    def flops_per_token(self) -> float:
        """Floating-point operations of forward and backward for one token."""
        return self.network.flops_per_token()

    def _log(self, scores: dict[str, Any]) -> None:
        if self.trainer.state.fn == TrainerFn.FITTING:
            # Lightning's own step lags one behind the number of optimizer steps that were done.
            scores = {**scores, "step": float(self.global_step)}
        self.log_dict(scores, batch_size=1)
