"""Variational word mask: which words a text classifier lets through (Chen and Ji 2020)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MaskedWords(NamedTuple):
    """What a word mask makes of embedded words."""

    states: Tensor  # (B, T, E), the words that were let through
    probability: Tensor  # (B, T), of being let through


class VariationalWordMask(nn.Module):
    """A probability for each word, from its embedding alone, to be let through to the network.

    VMASK as SAFR uses it (SAFR §3, "Importance-Based Regularization"; its architecture from the
    authors' code, REFERENCE B.1): two layers with tanh between give two scores; in training a
    hard Gumbel-softmax draws 0 or 1 and lets its gradient straight through, in evaluation a word is
    multiplied by its probability.

    Args:
        width: Width of the embeddings, E.
        hidden_dim: Width of the hidden layer.
        temperature: Of the Gumbel-softmax at the start of training.
        final_temperature: At its end; null keeps the first. In between it falls geometrically.

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
                f"a word mask of width {width}, hidden_dim {hidden_dim} and temperatures "
                f"{temperature} and {final} cannot be; sizes must be at least 1, temperatures "
                f"positive"
            )
        self.hidden = nn.Linear(width, hidden_dim)
        self.score = nn.Linear(hidden_dim, 2)
        self.temperatures = (float(temperature), float(final))
        self.temperature = float(temperature)

    def anneal(self, progress: float) -> None:
        """Set the temperature that belongs to a share of training, 0 to 1."""
        start, end = self.temperatures
        self.temperature = start * (end / start) ** min(max(progress, 0.0), 1.0)

    def forward(self, embedded: Tensor) -> MaskedWords:
        """Masked words (B, T, E) and probabilities (B, T) of embedded words (B, T, E)."""
        scores = self.score(torch.tanh(self.hidden(embedded))).float()  # (B, T, 2)
        probability = scores.softmax(dim=-1)[..., 1]
        let_through = probability
        if self.training:
            let_through = F.gumbel_softmax(scores, tau=self.temperature, hard=True)[..., 1]
        return MaskedWords(embedded * let_through.unsqueeze(-1).to(embedded.dtype), probability)
