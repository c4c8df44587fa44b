"""Loss heads: one file each. A new head is a new file and an import line here."""

from lightning_modules.heads.base import LossHead
from lightning_modules.heads.cross_entropy import CrossEntropyHead
from lightning_modules.heads.focal import FocalHead
from lightning_modules.heads.harmonic import HarmonicHead
from lightning_modules.heads.label_smoothing import LabelSmoothingHead
from lightning_modules.heads.smooth_hinge import SmoothHingeHead
from lightning_modules.heads.soft_nearest_neighbor import SoftNearestNeighborHead
from lightning_modules.heads.spherical_softmax import SphericalSoftmaxHead
from lightning_modules.heads.supervised_contrastive import SupervisedContrastiveHead

__all__ = [
    "CrossEntropyHead",
    "FocalHead",
    "HarmonicHead",
    "LabelSmoothingHead",
    "LossHead",
    "SmoothHingeHead",
    "SoftNearestNeighborHead",
    "SphericalSoftmaxHead",
    "SupervisedContrastiveHead",
]
