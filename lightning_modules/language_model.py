"""LanguageModel: GPT-2 with any loss head, trained on tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from lightning_modules.gpt2.generate import generate
from lightning_modules.gpt2.hub_load import load_pretrained
from lightning_modules.heads import HarmonicHead, LossHead
from lightning_modules.networks import GPT2
from lightning_modules.training.lightning_counters import last_step
from lightning_modules.training.optim import AdamWSettings, CompileMode, check_choice, warmup_cosine
from lightning_modules.training.specs import build_from_spec
from lightning_modules.training.step_module import StepModule


class LanguageModel(StepModule):
    """A causal network and a loss head on its features, trained to predict the next token.

    Batches are ``{"inputs": (B, T), "targets": (B, T)}`` of token ids; a target of -100 does not
    count. AdamW with a linear warm-up and a cosine decay, per optimizer step.

    Args:
        network: Network class; called with (vocab_size, context_length).
        head: Loss head class; called with (width of the features, vocab_size).
        vocab_size: Number of tokens (taken from the data on the command line).
        context_length: Longest context (taken from the data on the command line).
        tie_embedding: Use the network's token embedding as the head's unembedding.
        feature_scale_init: Initial scale of the features, for heads that depend on distances:
            'matched' is that of the unembedding, 'gpt2' is GPT-2's, which is 1/initial_std times
            larger. Other heads start as GPT-2 does.
        init_from: Folder or Hugging Face hub name of GPT-2 weights to start from. They are not
            rescaled: ``feature_scale_init`` has no effect then.
        learning_rate: AdamW's learning rate at the end of the warm-up.
        final_learning_rate: Learning rate at the end of the decay; null means a tenth of the peak.
        warmup_steps: Optimizer steps of the linear rise.
        decay_steps: Optimizer step at which the final rate is reached; null means the run's last.
        weight_decay: AdamW's weight decay, on matrices; vectors do not decay.
        betas: AdamW's decay rates of the two moments.
        clip_norm: Largest norm of the gradient; null for no clipping.
        compile: Compile network and head: 'auto' does so on a GPU.

    Raises:
        ValueError: An option is out of range.
    """

    # What progress bars and the summary table show.
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
        compile: CompileMode = "auto",
    ) -> None:
        super().__init__(
            AdamWSettings(learning_rate, weight_decay, betas),
            clip_norm,
            hint="lower model.learning_rate, lengthen model.warmup_steps, or raise the precision "
            "to 32-true",
        )
        floor = 0.1 * learning_rate if final_learning_rate is None else final_learning_rate
        if not 0 <= floor <= learning_rate:
            raise ValueError(
                f"final_learning_rate is {final_learning_rate}; it must be between 0 and "
                f"learning_rate ({learning_rate})"
            )
        if warmup_steps < 0:
            raise ValueError(f"warmup_steps is {warmup_steps}; it must not be negative")
        if decay_steps is not None and decay_steps <= warmup_steps:
            raise ValueError(
                f"decay_steps is {decay_steps}; it must be larger than warmup_steps "
                f"({warmup_steps}), or null for the run's last step"
            )
        check_choice("feature_scale_init", feature_scale_init, ("matched", "gpt2"))
        check_choice("compile", compile, get_args(CompileMode))
        self.save_hyperparameters(logger=False)
        self.hparams["init_from"] = None  # a checkpoint contains its own weights
        self._describe_in_checkpoint(network=network, head=head)
        self.sizes = {"vocab_size": vocab_size, "context_length": context_length}
        self.final_fraction = floor / learning_rate
        self.warmup_steps, self.decay_steps = warmup_steps, decay_steps
        self.compile_mode = compile

        network = build_from_spec(network, "network")
        head = build_from_spec(head, "head", LossHead)
        self.network: GPT2 = network(vocab_size, context_length)
        self.head: LossHead = head(self.network.out_features, vocab_size)
        embedding = self.network.token_embedding().weight
        if not tie_embedding:
            # A matrix of its own, with the embedding's padding and initial scale.
            embedding = nn.Parameter(torch.empty_like(embedding))
            nn.init.normal_(embedding, std=self.network.initial_std)
        self.head.tie(embedding, num_padding=len(embedding) - vocab_size)
        if feature_scale_init == "matched" and self.head.is_distance_based:
            self.network.set_feature_scale(float(embedding.detach().square().mean().sqrt()))
        if init_from is not None:
            load_pretrained(init_from, self.network, self.head)
        self._head_loss: Callable[[LossHead, Tensor, Tensor], Tensor] = _head_loss

    # ---- set-up --------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        super().setup(stage)
        on_gpu = self.trainer.strategy.root_device.type == "cuda"
        if self.compile_mode == "always" or (self.compile_mode == "auto" and on_gpu):
            # In place, so that the keys of a checkpoint stay as they are.
            self.network.compile()
            self._head_loss = torch.compile(_head_loss)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = super().configure_optimizers()
        assert isinstance(optimizer, torch.optim.Optimizer)
        last = last_step(self.trainer) if self.decay_steps is None else self.decay_steps
        if last is None:
            raise ValueError(
                "the cosine decay has no last step; set trainer.max_steps or model.decay_steps"
            )
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer,
            lambda step: warmup_cosine(step, self.warmup_steps, last, self.final_fraction),
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    # ---- training and evaluation ---------------------------------------------------------------

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Mean loss of a micro-batch, to be averaged over the micro-batches of a step."""
        loss = self._batch_loss(batch)
        self.observe_losses({"loss": loss})
        return loss

    def _step_metrics(self) -> dict[str, Any]:
        return {"train/learning_rate": self._rate, "train/gradient_norm": self._gradient_norm}

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self.observe_evaluation(self._batch_loss(batch), batch["targets"])

    def _batch_loss(self, batch: dict[str, Tensor]) -> Tensor:
        return self._head_loss(self.head, self.network(batch["inputs"]), batch["targets"])

    def _evaluation_metrics(self, stage: str, loss: Tensor) -> dict[str, Tensor]:
        return {f"{stage}/perplexity": loss.exp()}

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (B, T, vocab_size) of token ids (B, T)."""
        return self.head(self.network(inputs))

    def generate(self, tokens: Tensor, num_new: int, seed: int = 0, **options: Any) -> Tensor:
        """Token ids (B, T), and after each row ``num_new`` sampled ones; see ``gpt2.generate``."""
        options["generator"] = torch.Generator().manual_seed(seed)
        return generate(self.network, self.head, tokens.to(self.device), num_new, **options)

    # ---- what callbacks read -------------------------------------------------------------------

    def embedding_matrix(self) -> Tensor:
        """The token embeddings without padding, (1, V, E)."""
        return self.network.embedding_matrix().detach().unsqueeze(0)

    def class_centers(self) -> Tensor:
        """The unembedding without padding, (1, V, E); class centers if the head is harmonic."""
        return self.head.weight[: self.head.num_classes].detach().unsqueeze(0)

    def hidden_states(self, inputs: Tensor) -> Tensor:
        """The head's input features, (1, B, T, E), of token ids (B, T)."""
        return self.network(inputs).unsqueeze(0)

    def tokens_in(self, batch: dict[str, Tensor]) -> int:
        """Number of tokens that a batch trains on."""
        return batch["inputs"].numel()

    def flops_per_token(self) -> float:
        """Floating-point operations of forward and backward pass for one token."""
        return self.network.flops_per_token()


def _head_loss(head: LossHead, features: Tensor, targets: Tensor) -> Tensor:
    """The head is an argument, so that a compiled loss is that of the present head."""
    return head.loss(features, targets)
