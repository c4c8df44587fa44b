"""Regularizers: plain functions from tensors to a scalar."""

from lightning_modules.regularizers.embedding_norm import column_rms
from lightning_modules.regularizers.importance import Form, importance
from lightning_modules.regularizers.interaction import interaction

__all__ = ["Form", "column_rms", "importance", "interaction"]
