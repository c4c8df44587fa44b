"""Regularisers: plain functions from tensors to a scalar."""

from lightning_modules.regularizers.embedding_norm import column_rms

__all__ = ["column_rms"]
