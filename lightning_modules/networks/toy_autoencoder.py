"""The toy model of superposition: many features through few hidden dimensions and back."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.networks.feature_network import check_sizes

Activation = Literal["none", "output", "hidden_and_output"]


class ToyAutoencoder(nn.Module):
    """x -> x W Wᵀ + b, optionally with ReLU (Elhage et al. 2022; Bowcott §6).

    ``weight`` is W (N, H); the paper writes its transpose. Row W_i is the direction that feature i
    adds to the hidden layer, and that it is read from.

    Args:
        num_features: N.
        hidden_dim: H.
        activation: Where ReLU is applied: 'none' is x W Wᵀ + b, 'output' max(0, x W Wᵀ + b), and
            'hidden_and_output' max(0, max(0, x W) Wᵀ + b).
        initial_scale: Standard deviation of the initial weights; null takes Xavier's for one model,
            √(2 / (N + H)). (The published notebooks apply Xavier to a stack of models, so their
            scale depends on the number of models.)

    Raises:
        ValueError: A size is below 1, the scale is not positive, or the activation is unknown.
    """

    def __init__(
        self,
        num_features: int,
        hidden_dim: int,
        activation: Activation = "output",
        initial_scale: float | None = None,
    ) -> None:
        super().__init__()
        check_sizes(self, num_features=num_features, hidden_dim=hidden_dim)
        if activation not in get_args(Activation):
            raise ValueError(
                f"activation is {activation!r}; choose one of {', '.join(get_args(Activation))}"
            )
        if initial_scale is not None and not 0 < initial_scale < math.inf:
            raise ValueError(f"initial_scale is {initial_scale}; it must be positive, or null")
        self.activation = activation
        scale = math.sqrt(2.0 / (num_features + hidden_dim))
        scale = scale if initial_scale is None else initial_scale
        self.weight = nn.Parameter(torch.randn(num_features, hidden_dim) * scale)
        self.bias = nn.Parameter(torch.zeros(num_features))

    def forward(self, inputs: Tensor, targets: Tensor | None = None) -> Tensor:
        """The reconstruction (..., B, N) of features (..., B, N).

        With ``targets``, the importance I (N,) of the features, the scalar loss instead: the mean
        over samples and features of I_i (x_i − x̂_i)².
        """
        # Samples are the last dimension, since there are many of them and few features.
        features = inputs.mT  # (..., N, B)
        hidden = self.weight.mT @ features  # (..., H, B)
        if self.activation == "hidden_and_output":
            hidden = F.relu(hidden)
        output = self.weight @ hidden + self.bias.unsqueeze(-1)  # (..., N, B)
        if self.activation != "none":
            output = F.relu(output)
        if targets is None:
            return output.mT
        return (targets.unsqueeze(-1) * (features - output).square()).mean()
