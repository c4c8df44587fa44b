"""Variational word mask: a learned selection of a text's words (Chen and Ji 2020)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class VariationalWordMask(nn.Module):
    """Keep each word with a probability that depends on its embedding alone.

    VMASK as SAFR uses it (SAFR §3, "Importance-Based Regularization"; architecture from the
    authors' code): two linear layers with tanh between them give two scores. In training a hard
    Gumbel-softmax samples 0 or 1 with a straight-through gradient; in evaluation a word is
    multiplied by its probability.

    Args:
        width: Width of the embeddings, E.
        hidden_dim: Width of the hidden layer.
        temperature: Temperature of the Gumbel-softmax at the start of training.
        final_temperature: Temperature at the end; null keeps the first. In between it changes
            geometrically.

    Raises:
        ValueError: A size is below 1, or a temperature is not positive.
    """

    def __init__(
        self,
        width: int,
        hidden_dim: int = 1024,
        temperature: float = 1.0,
        final_temperature: float | None = None,
    ) -> None:
        super().__init__()
        final = temperature if final_temperature is None else final_temperature
        if min(width, hidden_dim) < 1 or not (temperature > 0 and final > 0):
            raise ValueError(
                f"word mask: width {width} and hidden_dim {hidden_dim} must be at least 1, "
                f"temperature {temperature} and final_temperature {final} positive"
            )
        self.hidden = nn.Linear(width, hidden_dim)
        self.score = nn.Linear(hidden_dim, 2)
        self.temperatures = (float(temperature), float(final))
        self.temperature = float(temperature)

    def anneal(self, progress: float) -> None:
        """Set the temperature for a fraction of training, 0 to 1."""
        start, end = self.temperatures
        self.temperature = start * (end / start) ** min(max(progress, 0.0), 1.0)

    def forward(self, embedded: Tensor) -> tuple[Tensor, Tensor]:
        """Masked words (B, T, E) and keep probabilities (B, T) of embedded words (B, T, E)."""
        scores = self.score(torch.tanh(self.hidden(embedded))).float()  # (B, T, 2)
        probability = scores.softmax(dim=-1)[..., 1]
        kept = probability
        if self.training:
            kept = F.gumbel_softmax(scores, tau=self.temperature, hard=True)[..., 1]
        return embedded * kept.unsqueeze(-1).to(embedded.dtype), probability
