"""Losses over large vocabularies that never store tokens × vocabulary logits."""

from lightning_modules.heads.fused.losses import fused_cross_entropy, fused_harmonic

__all__ = ["fused_cross_entropy", "fused_harmonic"]
