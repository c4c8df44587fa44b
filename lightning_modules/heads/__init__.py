"""Loss heads: one file each. A new head is a new file and a line here."""

from lightning_modules.heads.cross_entropy import CrossEntropyHead
from lightning_modules.heads.harmonic import HarmonicHead
from lightning_modules.heads.head import LossHead

__all__ = ["CrossEntropyHead", "HarmonicHead", "LossHead"]
