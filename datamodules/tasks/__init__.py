"""Algorithmic tasks: for each, the rule, the vocabulary, and the expected shape of its embedding.

To add a task, add a file here and an import below; the contract tests discover it.
"""

from datamodules.tasks.equivalence_classes import EquivalenceClasses
from datamodules.tasks.genealogy import Genealogy
from datamodules.tasks.greater_than import GreaterThan
from datamodules.tasks.lattice_completion import LatticeCompletion
from datamodules.tasks.modular_addition import ModularAddition
from datamodules.tasks.permutation_composition import PermutationComposition
from datamodules.tasks.task import Task

__all__ = [
    "EquivalenceClasses",
    "Genealogy",
    "GreaterThan",
    "LatticeCompletion",
    "ModularAddition",
    "PermutationComposition",
    "Task",
]
