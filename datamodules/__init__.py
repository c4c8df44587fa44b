"""Data modules and the algorithmic tasks, by their short names."""

from datamodules.algorithmic import AlgorithmicData
from datamodules.openwebtext import OpenWebText
from datamodules.tasks import (
    EquivalenceClasses,
    Genealogy,
    GreaterThan,
    LatticeCompletion,
    ModularAddition,
    PermutationComposition,
    Task,
)

__all__ = [
    "AlgorithmicData",
    "EquivalenceClasses",
    "Genealogy",
    "GreaterThan",
    "LatticeCompletion",
    "ModularAddition",
    "OpenWebText",
    "PermutationComposition",
    "Task",
]
