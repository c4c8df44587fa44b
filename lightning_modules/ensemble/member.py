"""A network and its loss head as one plain module: what one seed trains."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.heads.base import LossHead
from lightning_modules.networks.feature_network import FeatureNetwork
from lightning_modules.regularizers import column_rms


class NetworkWithHead(nn.Module):
    """inputs -> features -> logits, and with targets the loss.

    Args:
        network: Plain module from inputs to features (..., out_features).
        head: Loss head on these features.
        tie_embedding: Use the network's token embedding as the head's unembedding.
        embedding_penalty: Weight of the harmonic-loss authors' embedding regularizer in the
            training loss: the mean over the embedding's columns of the column's root mean square.
            (The paper calls it L2; the authors' MLPs compute it without a gradient.)

    Raises:
        ValueError: The embedding is tied or penalized, and the network has no token embedding.
    """

    def __init__(
        self,
        network: FeatureNetwork,
        head: LossHead,
        tie_embedding: bool = False,
        embedding_penalty: float = 0.0,
    ) -> None:
        super().__init__()
        self.network = network
        self.head = head
        self.embedding_penalty = embedding_penalty
        if tie_embedding:
            head.tie(network.token_embedding().weight)  # type: ignore[arg-type]
        if embedding_penalty:
            network.token_embedding()  # raises here rather than at the first step

    def forward(self, inputs: Tensor, targets: Tensor | None = None) -> Tensor:
        """Logits (..., classes); with ``targets`` (...) the scalar training loss instead."""
        features = self.network(inputs)
        if targets is None:
            return self.head(features)
        loss = self.head.loss(features, targets)
        if self.embedding_penalty:
            loss = loss + self.embedding_penalty * column_rms(self.network.embedding_matrix())
        return loss

    @staticmethod
    def score(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Negative log-likelihood (0 if ignored) and correctness of every example, each (...).

        Every head's logits are log-probabilities up to a constant, so this is its likelihood.
        """
        losses = F.cross_entropy(
            logits.flatten(0, -2).float(), targets.flatten(), ignore_index=-100, reduction="none"
        )
        return losses.view_as(targets), logits.argmax(dim=-1) == targets
