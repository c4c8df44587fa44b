"""TextClassifier: a text network, any loss head, and SAFR's terms that move neurons."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, get_args

import lightning as L
import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torchmetrics import MeanMetric, SumMetric
from torchmetrics.classification import MulticlassAccuracy

from lightning_modules.heads import CrossEntropyHead, LossHead
from lightning_modules.networks import TextTransformer
from lightning_modules.regularizers import Form, importance, interaction
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
)
from lightning_modules.training.specs import build_from_spec, check_data_matches_model, to_spec

Batch = dict[str, Tensor]


class TextClassifier(L.LightningModule):
    """A network over words and a loss head on its pooled features, with SAFR's two terms.

    The loss is that of the head, plus ``lambda_importance`` times the importance term on the masked
    words, plus ``lambda_interaction`` times the interaction term on the attention weights (SAFR §3;
    the three forms are REFERENCE B.3's). The baseline is a network without a word mask and both
    weights 0. Batches are the text data modules': tokens (B, T), mask (B, T), words (B, T), labels
    (B,), and the size of the global batch. AdamW at a constant rate; without weight decay it is
    Adam.

    Args:
        network: Network class; called with (vocab_size, context_length).
        head: Loss head class; called with (width of the features, num_classes).
        vocab_size: Number of tokens (filled in from the data on the command line).
        context_length: Longest text (likewise).
        num_classes: Number of classes (likewise).
        lambda_importance: Weight of the importance term.
        lambda_interaction: Weight of the interaction term.
        importance_form: 'masked' counts real words only, 'paper' is the equations' sum over a text,
            'code' the authors' mean over all positions, padding included.
        interaction_form: Likewise. With several layers the term is about the last one's attention.
        learning_rate: AdamW's.
        weight_decay: AdamW's, on matrices; vectors do not decay.
        betas: AdamW's decay rates of its two moments.
        clip_norm: Largest norm of the gradient; null for no clipping.

    Raises:
        ValueError: A number is out of range, or a form is unknown.
    """

    progress_unit = "step"
    progress_metrics = (
        "train/loss",
        "val/accuracy",
        "val/deletion/srs",
        "val/capacity/ffn1_important",
        "val/capacity/ffn1_other",
    )
    summary_metrics = (
        "train/loss",
        "val/loss",
        "val/accuracy",
        "val/step",
        "test/loss",
        "test/accuracy",
    )

    def __init__(
        self,
        network: Callable[[int, int], TextTransformer] = TextTransformer,
        head: Callable[[int, int], LossHead] = CrossEntropyHead,
        vocab_size: int = 10_000,
        context_length: int = 128,
        num_classes: int = 2,
        lambda_importance: float = 0.0,
        lambda_interaction: float = 0.0,
        importance_form: Form = "masked",
        interaction_form: Form = "masked",
        learning_rate: float = 1e-4,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        clip_norm: float | None = None,
    ) -> None:
        super().__init__()
        for name, value in (
            ("lambda_importance", lambda_importance),
            ("lambda_interaction", lambda_interaction),
            ("weight_decay", weight_decay),
        ):
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} is {value}; it must be 0 or positive")
        if not 0 < learning_rate < math.inf or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(
                f"learning_rate is {learning_rate} and betas are {betas}; the first must be "
                f"positive, the others at least 0 and below 1"
            )
        if clip_norm is not None and not clip_norm > 0:
            raise ValueError(f"clip_norm is {clip_norm}; it must be positive, or null for none")
        for name, form in (
            ("importance_form", importance_form),
            ("interaction_form", interaction_form),
        ):
            if form not in get_args(Form):
                choices = ", ".join(get_args(Form))
                raise ValueError(f"{name} is {form!r}; choose one of {choices}")
        self.save_hyperparameters(logger=False)
        for name, factory in (("network", network), ("head", head)):
            if callable(self.hparams.get(name)):
                self.hparams[name] = to_spec(factory)
        self.sizes = {
            "vocab_size": vocab_size,
            "context_length": context_length,
            "num_classes": num_classes,
        }
        self.lambda_importance, self.lambda_interaction = lambda_importance, lambda_interaction
        self.importance_form: Form = importance_form
        self.interaction_form: Form = interaction_form
        self.learning_rate, self.weight_decay, self.betas = learning_rate, weight_decay, betas
        self.clip_norm = clip_norm

        self.network = build_from_spec(network, "network")(vocab_size, context_length)
        self.head = build_from_spec(head, "head")(self.network.out_features, num_classes)
        if self.head.is_distance_based:
            # Features and class centers begin at one scale, or all distances are the same.
            with torch.no_grad():
                rms = self.head.weight.square().mean().sqrt()
                self.head.weight.mul_(self.network.initial_scale / rms)

        self.divergence = NonFiniteMonitor("lower model.learning_rate, or set model.clip_norm")
        names = ("loss", *self._terms())
        self._means = {name: MeanMetric(nan_strategy="disable") for name in names}
        self.train_means = nn.ModuleDict(self._means)  # so that they move with the module
        self.evaluated_loss = SumMetric(nan_strategy="disable")
        self.evaluated_texts = SumMetric(nan_strategy="disable")
        self.accuracy = MulticlassAccuracy(num_classes, average="micro", ignore_index=-100)
        self._scores: dict[str, Tensor] = {}
        self._last_step: int | None = None

    # ---- set-up --------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        trainer: Any = self.trainer
        check_data_matches_model(self, self.sizes, trainer.datamodule)
        self._check_padding(getattr(trainer.datamodule, "pad_to", None))
        repeats = getattr(trainer.datamodule, "repeats", {})
        for name, number in repeats.items():  # texts that occur where they should be new
            self._scores[f"data/{name}"] = torch.tensor([float(number)])

    def _check_padding(self, pad_to: str | None) -> None:
        """What counts padding needs the same number of it for every text."""
        counts = {
            "model.network.pooling is 'all'": self.network.pooling == "all",
            "model.importance_form is 'code'": bool(self.lambda_importance)
            and self.importance_form == "code",
            "model.interaction_form is 'code'": bool(self.lambda_interaction)
            and self.interaction_form == "code",
        }
        for setting, is_so in counts.items():
            if is_so and pad_to == "batch":
                raise ValueError(
                    f"{setting}, which counts padding, and data.pad_to is 'batch', so that a text "
                    f"would depend on its neighbors in the batch; set data.pad_to to max_length"
                )

    def configure_optimizers(self) -> torch.optim.Optimizer:
        fused = self.trainer.precision != "16-mixed"  # whose scaler unscales before the clipping
        return torch.optim.AdamW(
            parameter_groups(self, self.weight_decay),
            lr=self.learning_rate,
            betas=self.betas,
            fused=fused,
        )

    def on_fit_start(self) -> None:
        self.divergence.start(self.device)
        for mean in self._means.values():
            mean.reset()
        self._last_step = last_step(self.trainer)
        limit_by_steps(self.trainer)

    def on_train_start(self) -> None:
        override_restored_hyperparameters(
            self, self.learning_rate, (self.weight_decay, 0.0), self.betas
        )

    # ---- training ------------------------------------------------------------------------------

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Logits (B, classes) of token ids (B, T)."""
        return self.head(self.network(tokens, mask))

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        if self.network.vmask is not None and self._last_step:
            self.network.vmask.anneal(self.global_step / self._last_step)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of this rank's share, such that the mean over ranks is the global batch's."""
        activations = self.network.forward_with_activations(batch["tokens"], batch["mask"])
        world = self.trainer.world_size
        texts, tokens = batch["global_size"].unbind()
        share = (batch["labels"] != -100).sum() * world / texts
        loss = self.head.loss(activations["features"], batch["labels"]) * share
        terms = self.regularizers(activations, batch["mask"], tokens / world, share)
        found = {"head_loss": loss, **{name: term for name, (_, term) in terms.items()}}
        for weight, term in terms.values():
            loss = loss + weight * term
        with torch.no_grad():
            self.divergence.note(loss, self.global_step + 1)
            for name, mean in self._means.items():
                mean.update({"loss": loss, **found}[name])
        return loss

    def _terms(self) -> list[str]:
        """Names of the parts of the loss; none where it is the head's alone."""
        weights = {
            "importance": self.lambda_importance,
            "interaction": self.lambda_interaction,
        }
        names = [name for name, weight in weights.items() if weight]
        return ["head_loss", *names] if names else []

    def regularizers(
        self, activations: dict[str, Tensor], mask: Tensor, num_tokens: Tensor, share: Tensor
    ) -> dict[str, tuple[float, Tensor]]:
        """The terms beside the head's loss that have a weight, by name: (weight, value).

        Args:
            activations: What the network's ``forward_with_activations`` returns.
            mask: (B, T), true on real tokens.
            num_tokens: Real tokens of the global batch, divided by the number of ranks.
            share: This rank's part of the global batch's texts, times the number of ranks.
        """
        terms: dict[str, tuple[float, Tensor]] = {}
        if self.lambda_importance:
            term = importance(activations["vmask"], mask, self.importance_form, num_tokens)
            by_text = self.importance_form != "masked"  # the others are means over texts
            terms["importance"] = (self.lambda_importance, term * share if by_text else term)
        if self.lambda_interaction:
            term = interaction(activations["attention_weights"], mask, self.interaction_form)
            terms["interaction"] = (self.lambda_interaction, term * share)
        return terms

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        # Lightning 2.6's own refuses a fused AdamW under bf16-mixed.
        limit = self.clip_norm if gradient_clip_val is None else gradient_clip_val
        if limit is not None:
            norm = clip_gradients(self, limit)
            if self.trainer.precision != "16-mixed":  # whose scaler passes over such a step
                self.divergence.note(norm, self.global_step + 1)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if not every or self.global_step % every != 0:
            return
        self.divergence.stop_if_diverged(self)
        logged = {}
        for name, mean in self._means.items():
            logged[f"train/{name}"] = mean.compute()  # over all ranks and steps since last time
            mean.reset()
        self._scores.update({name: value.detach().reshape(1) for name, value in logged.items()})
        self._log(logged)

    def on_train_end(self) -> None:
        self.divergence.stop_if_diverged(self)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # Before anything is written, so that a broken model never replaces a good one.
        self.divergence.stop_if_diverged(self)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        rescale_batch_progress(self._trainer, checkpoint)

    # ---- evaluation ----------------------------------------------------------------------------

    def on_validation_epoch_start(self) -> None:
        self.reset_evaluation()

    def on_test_epoch_start(self) -> None:
        self.reset_evaluation()

    def reset_evaluation(self) -> None:
        """Begin a pass over a data set."""
        for metric in (self.evaluated_loss, self.evaluated_texts, self.accuracy):
            metric.reset()

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Scores a batch; returns its ``representations``, so that probes need no second pass."""
        found = self.representations(batch)
        counted = (batch["labels"] != -100).sum()
        loss = self.head.loss(found["features"], batch["labels"])
        self.evaluated_loss.update(loss * counted)
        self.evaluated_texts.update(counted)
        self.accuracy.update(found["logits"], batch["labels"])
        return found

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """As for validation."""
        return self.validation_step(batch, batch_idx)

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """The probability of each class (B, classes), beside the texts' numbers and labels."""
        return {
            "numbers": batch["numbers"],
            "labels": batch["labels"],
            "probabilities": self.classify(batch).float().softmax(dim=-1),
        }

    def on_validation_epoch_end(self) -> None:
        if not self.trainer.sanity_checking:
            self._log(self.evaluation("val"))

    def on_test_epoch_end(self) -> None:
        self._log(self.evaluation("test"))

    def evaluation(self, stage: str) -> dict[str, Tensor]:
        """Loss and accuracy of the pass that has just ended, over all ranks."""
        loss = self.evaluated_loss.compute() / self.evaluated_texts.compute()
        scores = {f"{stage}/loss": loss, f"{stage}/accuracy": self.accuracy.compute()}
        self._scores.update({name: value.reshape(1) for name, value in scores.items()})
        if stage == "val" and self.trainer.state.fn == TrainerFn.FITTING:
            self._scores["val/step"] = torch.tensor([float(self.global_step)])
        return scores

    # ---- what callbacks read -------------------------------------------------------------------

    def representations(self, batch: Batch) -> dict[str, Tensor]:
        """The network's steps by name (``TextTransformer.forward_with_activations``), and the ``logits``."""
        found = self.network.forward_with_activations(batch["tokens"], batch["mask"])
        found["logits"] = self.head(found["features"])
        return found

    def classify(self, batch: Batch) -> Tensor:
        """Logits (B, classes) of a batch."""
        return self(batch["tokens"], batch["mask"])

    def scores(self) -> dict[str, Tensor]:
        """The last losses and accuracies, (1,) each."""
        return self._scores

    def embedding_matrix(self) -> Tensor:
        """The embeddings of the words, (1, V, E)."""
        return self.network.embedding_matrix().detach().unsqueeze(0)

    def class_centers(self) -> Tensor:
        """The head's weights, (1, classes, E)."""
        return self.head.weight.detach().unsqueeze(0)

    def tokens_in(self, batch: Batch) -> int:
        """Number of positions that a batch trains on, padding included."""
        return batch["tokens"].numel()

    def _log(self, scores: dict[str, Any]) -> None:
        if self.trainer.state.fn == TrainerFn.FITTING:
            # Lightning's own step lags one behind the number of optimizer steps that were done.
            scores = {**scores, "step": float(self.global_step)}
        self.log_dict(scores, batch_size=1)
