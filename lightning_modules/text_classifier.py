"""TextClassifier: a text network, any loss head, and SAFR's regularizers of its neurons."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import get_args

import torch
from torch import Tensor
from torchmetrics.classification import MulticlassAccuracy

from glassbox.protocols import PaddedTexts
from lightning_modules.heads import CrossEntropyHead, LossHead
from lightning_modules.networks import TextTransformer
from lightning_modules.regularizers import Form, importance, interaction
from lightning_modules.training.optim import AdamWSettings, check_choice
from lightning_modules.training.specs import build_from_spec
from lightning_modules.training.step_module import StepModule

Batch = dict[str, Tensor]


class TextClassifier(StepModule):
    """A network over words and a loss head on its pooled features, with SAFR's two terms.

    The loss is the head's, plus ``lambda_importance`` times the importance term on the masked
    words, plus ``lambda_interaction`` times the interaction term on the attention weights (SAFR
    §3). The baseline is a network without a word mask and both weights 0. Batches are those of the
    text data modules: tokens (B, T), mask (B, T), words (B, T), labels (B,), and the size of the
    global batch. AdamW at a constant rate; without weight decay it is Adam.

    Args:
        network: Network class; called with (vocab_size, context_length).
        head: Loss head class; called with (width of the features, num_classes).
        vocab_size: Number of tokens (taken from the data on the command line).
        context_length: Longest text (taken from the data on the command line).
        num_classes: Number of classes (taken from the data on the command line).
        lambda_importance: Weight of the importance term.
        lambda_interaction: Weight of the interaction term.
        importance_form: 'masked' counts real words only, 'paper' is the equations' sum over a text,
            'code' is the authors' mean over all positions, padding included.
        interaction_form: The same for the interaction term. With several layers the term reads the
            last layer's attention.
        learning_rate: AdamW's learning rate.
        weight_decay: AdamW's weight decay, on matrices; vectors do not decay.
        betas: AdamW's decay rates of the two moments.
        clip_norm: Largest norm of the gradient; null for no clipping.

    Raises:
        ValueError: An option is out of range, or the name of a form is unknown.
    """

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
        weights = {"importance": lambda_importance, "interaction": lambda_interaction}
        terms = [name for name, weight in weights.items() if weight]
        super().__init__(
            AdamWSettings(learning_rate, weight_decay, betas),
            clip_norm,
            hint="lower model.learning_rate, or set model.clip_norm",
            train_losses=["loss", *(["head_loss", *terms] if terms else [])],
        )
        for name, weight in weights.items():
            if not 0 <= weight < math.inf:
                raise ValueError(f"lambda_{name} is {weight}; it must not be negative")
        check_choice("importance_form", importance_form, get_args(Form))
        check_choice("interaction_form", interaction_form, get_args(Form))
        self.save_hyperparameters(logger=False)
        self._describe_in_checkpoint(network=network, head=head)
        self.sizes = {
            "vocab_size": vocab_size,
            "context_length": context_length,
            "num_classes": num_classes,
        }
        self.lambda_importance, self.lambda_interaction = lambda_importance, lambda_interaction
        self.importance_form: Form = importance_form
        self.interaction_form: Form = interaction_form

        network = build_from_spec(network, "network")
        head = build_from_spec(head, "head", LossHead)
        self.network: TextTransformer = network(vocab_size, context_length)
        self.head: LossHead = head(self.network.out_features, num_classes)
        if self.head.is_distance_based:
            # Otherwise all distances are the same at the start.
            with torch.no_grad():
                rms = self.head.weight.square().mean().sqrt()
                self.head.weight.mul_(self.network.initial_scale / rms)
        self.accuracy = MulticlassAccuracy(num_classes, average="micro", ignore_index=-100)

    # ---- set-up --------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        super().setup(stage)
        data = self.data()
        if isinstance(data, PaddedTexts):
            self._check_padding(data.pad_to)
            for name, number in data.repeats.items():
                self._scores[f"data/{name}"] = torch.tensor([float(number)])

    def _check_padding(self, pad_to: str) -> None:
        """Raise if padding enters the computation and depends on the other texts of the batch."""
        counts_padding = {
            "model.network.pooling is 'all'": self.network.pooling == "all",
            "model.importance_form is 'code'": bool(self.lambda_importance)
            and self.importance_form == "code",
            "model.interaction_form is 'code'": bool(self.lambda_interaction)
            and self.interaction_form == "code",
        }
        for setting, active in counts_padding.items():
            if active and pad_to == "batch":
                raise ValueError(
                    f"{setting}, which counts padding, but data.pad_to is 'batch', so a text's "
                    f"padding would depend on its batch; set data.pad_to to max_length"
                )

    # ---- training ------------------------------------------------------------------------------

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Logits (B, classes) of token ids (B, T)."""
        return self.head(self.network(tokens, mask))

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        if self.network.vmask is not None and self._last_step:
            self.network.vmask.anneal(self.global_step / self._last_step)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """This rank's loss, scaled so that the mean over ranks is the loss of the global batch."""
        activations = self.network.forward_with_activations(batch["tokens"], batch["mask"])
        world = self.trainer.world_size
        texts, tokens = batch["global_size"].unbind()
        fraction = (batch["labels"] != -100).sum() * world / texts
        loss = self.head.loss(activations["features"], batch["labels"]) * fraction
        terms = self.regularizers(activations, batch["mask"], tokens / world, fraction)
        losses = {name: term for name, (_, term) in terms.items()}
        if terms:
            losses["head_loss"] = loss
        for weight, term in terms.values():
            loss = loss + weight * term
        self.observe_losses({"loss": loss, **losses})
        return loss

    def regularizers(
        self, activations: dict[str, Tensor], mask: Tensor, num_tokens: Tensor, fraction: Tensor
    ) -> dict[str, tuple[float, Tensor]]:
        """The terms that have a weight, by name: (weight, value).

        ``num_tokens`` is the global batch's real tokens divided by the number of ranks, and
        ``fraction`` this rank's fraction of its texts times the number of ranks.
        """
        terms: dict[str, tuple[float, Tensor]] = {}
        if self.lambda_importance:
            term = importance(activations["vmask"], mask, self.importance_form, num_tokens)
            by_text = self.importance_form != "masked"  # the other forms are means over texts
            terms["importance"] = (self.lambda_importance, term * fraction if by_text else term)
        if self.lambda_interaction:
            term = interaction(activations["attention_weights"], mask, self.interaction_form)
            terms["interaction"] = (self.lambda_interaction, term * fraction)
        return terms

    # ---- evaluation ----------------------------------------------------------------------------

    def reset_evaluation(self) -> None:
        super().reset_evaluation()
        self.accuracy.reset()

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Returns the batch's ``representations``, so that probes need no second pass."""
        result = self.representations(batch)
        loss = self.head.loss(result["features"], batch["labels"])
        self.observe_evaluation(loss, batch["labels"])
        self.accuracy.update(result["logits"], batch["labels"])
        return result

    def _evaluation_metrics(self, stage: str, loss: Tensor) -> dict[str, Tensor]:
        return {f"{stage}/accuracy": self.accuracy.compute()}

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """The probability of each class (B, classes), with the texts' numbers and labels."""
        return {
            "numbers": batch["numbers"],
            "labels": batch["labels"],
            "probabilities": self.classify(batch).float().softmax(dim=-1),
        }

    # ---- what callbacks read -------------------------------------------------------------------

    def representations(self, batch: Batch) -> dict[str, Tensor]:
        """Activations by name (``TextTransformer.forward_with_activations``), and ``logits``."""
        result = self.network.forward_with_activations(batch["tokens"], batch["mask"])
        result["logits"] = self.head(result["features"])
        return result

    def classify(self, batch: Batch) -> Tensor:
        """Logits (B, classes) of a batch."""
        return self(batch["tokens"], batch["mask"])

    def embedding_matrix(self) -> Tensor:
        """The word embeddings, (1, V, E)."""
        return self.network.embedding_matrix().detach().unsqueeze(0)

    def class_centers(self) -> Tensor:
        """The head's weights, (1, classes, E)."""
        return self.head.weight.detach().unsqueeze(0)

    def tokens_in(self, batch: Batch) -> int:
        """Number of positions that a batch trains on, padding included."""
        return batch["tokens"].numel()
