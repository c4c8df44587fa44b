"""What a network is to a loss head: a module from inputs to features of a stated width."""

from __future__ import annotations

from torch import Tensor, nn


class FeatureNetwork(nn.Module):
    """Base class of the networks that a ``Classifier`` trains.

    A subclass takes (vocab_size, num_inputs) first, sets ``out_features`` and maps inputs
    (..., num_inputs) to features (..., out_features). One with token embeddings holds them as
    ``embedding``, an ``nn.Embedding``. One with dropout takes ``SeededDropout``, so that every seed
    draws its own masks.

    Attributes:
        out_features: Width of the features.
    """

    out_features: int

    def embedding_matrix(self) -> Tensor:
        """The token embeddings, (vocab_size, width).

        Raises:
            ValueError: The network has none.
        """
        return self.token_embedding().weight

    def token_embedding(self) -> nn.Embedding:
        """The embedding module, as for ``embedding_matrix``."""
        embedding = getattr(self, "embedding", None)
        if not isinstance(embedding, nn.Embedding):
            raise ValueError(
                f"{type(self).__name__} has no token embedding; set tie_embedding to false and "
                f"embedding_penalty to 0, and remove probes of the embedding"
            )
        return embedding
