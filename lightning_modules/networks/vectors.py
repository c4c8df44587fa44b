"""Networks for vector inputs, such as points or the pixels of an image, instead of tokens."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.networks.feature_network import FeatureNetwork, check_sizes


class Identity(FeatureNetwork):
    """The identity: the features are the inputs, so the head is the only layer.

    The model of the harmonic-loss paper's §5 for MNIST: each row of the head's weight is an image,
    under a harmonic head that of a class center.

    Args:
        vocab_size: 0, which marks data of vectors.
        num_inputs: Numbers per example, such as 2 coordinates or 784 pixels.

    Raises:
        ValueError: The data are tokens, or num_inputs is below 1.
    """

    def __init__(self, vocab_size: int, num_inputs: int) -> None:
        super().__init__()
        _check_vector_data(self, vocab_size, num_inputs)
        self.out_features = num_inputs

    def forward(self, inputs: Tensor) -> Tensor:
        """The inputs (..., num_inputs) themselves."""
        return inputs

    def pixel_weights(self) -> Tensor | None:
        """None: the head's rows are the weights on the inputs."""
        return None


class VectorMLP(FeatureNetwork):
    """Linear layers with ReLU on vectors; the head adds the output layer.

    Args:
        vocab_size: 0, which marks data of vectors.
        num_inputs: Numbers per example, such as 2 coordinates or 784 pixels.
        hidden_dim: Width of the hidden layers and of the features.
        num_layers: Number of hidden layers.

    Raises:
        ValueError: The data are tokens, or a size is below 1.
    """

    def __init__(
        self, vocab_size: int, num_inputs: int, hidden_dim: int = 128, num_layers: int = 1
    ) -> None:
        super().__init__()
        _check_vector_data(self, vocab_size, num_inputs)
        check_sizes(self, hidden_dim=hidden_dim, num_layers=num_layers)
        self.out_features = hidden_dim
        widths = [num_inputs] + [hidden_dim] * (num_layers - 1)
        self.layers = nn.ModuleList(nn.Linear(width, hidden_dim) for width in widths)

    def forward(self, inputs: Tensor) -> Tensor:
        """Non-negative features (..., hidden_dim) of inputs (..., num_inputs)."""
        x = inputs
        for layer in self.layers:
            x = F.relu(layer(x))
        return x

    def pixel_weights(self) -> Tensor | None:
        """The first layer's weights on the inputs, (hidden_dim, num_inputs)."""
        first = self.layers[0]
        assert isinstance(first, nn.Linear)
        return first.weight


def _check_vector_data(network: FeatureNetwork, vocab_size: int, num_inputs: int) -> None:
    """Raise if the data are tokens, whose ids are not quantities, or have no inputs."""
    if vocab_size != 0:
        raise ValueError(
            f"{type(network).__name__} needs data of vectors, but the data are tokens (vocab_size "
            f"{vocab_size}); use a network with an embedding, such as MLP"
        )
    check_sizes(network, num_inputs=num_inputs)
