"""The base class of networks: a module from inputs to features of a fixed width."""

from __future__ import annotations

from torch import Tensor, nn


def check_sizes(module: nn.Module, **sizes: int) -> None:
    """Raise a ValueError if a size, given by the option's name, is below 1."""
    for name, value in sizes.items():
        if value < 1:
            raise ValueError(f"{type(module).__name__}: {name} is {value}; it must be at least 1")


class FeatureNetwork(nn.Module):
    """Base class of the networks whose features a loss head reads.

    A subclass for a ``Classifier`` takes (vocab_size, num_inputs) as first arguments, sets
    ``out_features`` and maps inputs (..., num_inputs) to features (..., out_features). Token
    embeddings are an ``nn.Embedding`` named ``embedding``. Dropout is ``SeededDropout``, so that
    every seed has its own masks.

    Attributes:
        out_features: Width of the features.
    """

    out_features: int

    def embedding_matrix(self) -> Tensor:
        """The token embeddings, (vocab_size, width).

        Raises:
            ValueError: The network has no token embedding.
        """
        return self.token_embedding().weight

    def token_embedding(self) -> nn.Embedding:
        """The embedding module; raises as ``embedding_matrix``."""
        embedding = getattr(self, "embedding", None)
        if not isinstance(embedding, nn.Embedding):
            raise ValueError(
                f"{type(self).__name__} has no token embedding; set tie_embedding to false and "
                f"embedding_penalty to 0, and remove probes of the embedding"
            )
        return embedding
