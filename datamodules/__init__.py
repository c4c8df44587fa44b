"""Data modules and the algorithmic tasks, by their short names."""

from datamodules.algorithmic import AlgorithmicData
from datamodules.imdb import IMDB
from datamodules.openwebtext import OpenWebText
from datamodules.sst2 import SST2
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
    "IMDB",
    "SST2",
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
