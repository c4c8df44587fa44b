"""Networks that read numbers, such as the pixels of an image, instead of tokens."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.networks.feature_network import FeatureNetwork


class Identity(FeatureNetwork):
    """No network at all: the features are the inputs, so that a head is the one linear layer.

    The model of the harmonic-loss paper's §5 for MNIST: each row of the head's weight is then an
    image, of a class center under a harmonic head.

    Args:
        vocab_size: 0, as data without tokens say.
        num_inputs: Numbers per example, such as 784 pixels.

    Raises:
        ValueError: The data are tokens, or there are no inputs.
    """

    def __init__(self, vocab_size: int, num_inputs: int) -> None:
        super().__init__()
        _refuse_tokens(self, vocab_size, num_inputs)
        self.out_features = num_inputs

    def forward(self, inputs: Tensor) -> Tensor:
        """The inputs (..., num_inputs) themselves."""
        return inputs

    def pixel_weights(self) -> Tensor | None:
        """None: the head's rows are the weights on the inputs."""
        return None


class VectorMLP(FeatureNetwork):
    """Linear layers with ReLU; the head is the last layer, so that one of these makes two.

    Args:
        vocab_size: 0, as data without tokens say.
        num_inputs: Numbers per example, such as 784 pixels.
        hidden_dim: Width of the hidden layers and of the features.
        num_layers: Hidden layers.

    Raises:
        ValueError: The data are tokens, or a size is below 1.
    """

    def __init__(
        self, vocab_size: int, num_inputs: int, hidden_dim: int = 128, num_layers: int = 1
    ) -> None:
        super().__init__()
        _refuse_tokens(self, vocab_size, num_inputs)
        if min(hidden_dim, num_layers) < 1:
            raise ValueError(
                f"VectorMLP sizes must be at least 1; got hidden_dim {hidden_dim} and num_layers "
                f"{num_layers}"
            )
        self.out_features = hidden_dim
        widths = [num_inputs] + [hidden_dim] * (num_layers - 1)
        self.layers = nn.ModuleList(nn.Linear(width, hidden_dim) for width in widths)

    def forward(self, inputs: Tensor) -> Tensor:
        """Features (..., hidden_dim), none negative, of inputs (..., num_inputs)."""
        x = inputs
        for layer in self.layers:
            x = F.relu(layer(x))
        return x

    def pixel_weights(self) -> Tensor | None:
        """The first layer's weights on the inputs, (hidden_dim, num_inputs)."""
        first = self.layers[0]
        assert isinstance(first, nn.Linear)
        return first.weight


def _refuse_tokens(network: FeatureNetwork, vocab_size: int, num_inputs: int) -> None:
    """Refuse data of tokens, whose ids are no quantities.

    Raises:
        ValueError: There is a vocabulary, or no input.
    """
    name = type(network).__name__
    if vocab_size != 0:
        raise ValueError(
            f"{name} reads numbers, and the data are tokens of a vocabulary of {vocab_size}; take "
            f"a network with an embedding, such as MLP, or data such as MNIST"
        )
    if num_inputs < 1:
        raise ValueError(f"{name}: num_inputs is {num_inputs}; it must be at least 1")
