"""Algorithmic tasks: for each, the rule, the vocabulary, and the shape its embedding should take.

A new task is a new file beside this one, one import line below and one in ``datamodules``; the
contract tests find it by its file. ``X as X`` marks a deliberate re-export, so that no second list
has to be kept.
"""

from datamodules.tasks.equivalence_classes import EquivalenceClasses as EquivalenceClasses
from datamodules.tasks.genealogy import Genealogy as Genealogy
from datamodules.tasks.greater_than import GreaterThan as GreaterThan
from datamodules.tasks.lattice_completion import LatticeCompletion as LatticeCompletion
from datamodules.tasks.modular_addition import ModularAddition as ModularAddition
from datamodules.tasks.permutation_composition import (
    PermutationComposition as PermutationComposition,
)
from datamodules.tasks.task import Task as Task
