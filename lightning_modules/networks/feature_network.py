"""The base class of networks: a module from inputs to features of a stated width."""

from __future__ import annotations

from torch import Tensor, nn


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
