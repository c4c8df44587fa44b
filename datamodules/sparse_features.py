"""Sparse features as a LightningDataModule: the data of Toy Models of Superposition."""

from __future__ import annotations

import warnings
from itertools import product
from typing import Any

import torch
from torch import Tensor

from datamodules.features.base import DrawnFeatures
from datamodules.features.draws import Pairs, sparse_features_
from datamodules.texts.base import choose

PAIRS = ("none", "correlated", "anti-correlated")

# One value for all features, or a list of swept values, each for all or with one for each feature.
Swept = float | list[float | list[float]]


class SparseFeatures(DrawnFeatures):
    """Independent sparse features, or pairs of them (Elhage et al. 2022).

    A feature is 0 with probability S, its sparsity, else uniform on (0, 1]. Its importance I_i
    weights its squared error. Sparsities and importances may be swept, both in a grid with
    importance as the inner axis: see ``DrawnFeatures`` for how members share them out.

    Args:
        num_features: N (20 in the published notebook).
        sparsity: S; or a list of values to sweep. A value that is a list itself has a sparsity for
            each feature.
        importance: A number r for I_i = r^i with i from 0 (0.7 in the published notebook; 1 makes
            features equal); or a list of values to sweep. A value that is a list itself has an
            importance for each feature.
        pairs: 'correlated' features 2k and 2k + 1 are active together, of 'anti-correlated' ones at
            most one is; 'none' makes all independent. Each feature alone keeps its sparsity.
        batch_size: Examples of one optimizer step.
        steps_per_epoch: Optimizer steps of one epoch, which is one Lightning batch.
        val_steps: Held-out batches of ``batch_size`` examples.
        seeds: One per member; null takes those of the model that is trained.

    Raises:
        ValueError: A number is out of range, a list has not one entry for each feature, or pairs
            do not fit the features.
    """

    def __init__(
        self,
        num_features: int = 20,
        sparsity: Swept = 0.9,
        importance: Swept = 1.0,
        pairs: str = "none",
        batch_size: int = 1024,
        steps_per_epoch: int = 100,
        val_steps: int = 10,
        seeds: list[int] | None = None,
    ) -> None:
        super().__init__(num_features, batch_size, steps_per_epoch, val_steps, seeds)
        choose("pairs", pairs, PAIRS)
        self.sparsity = sparsity
        self.importance = importance
        self.pairs: Pairs = pairs  # type: ignore[assignment]  # checked above
        self._values = [
            {"sparsity": s, "importance": i}
            for s, i in product(
                _swept(sparsity, "sparsity", num_features),
                _swept(importance, "importance", num_features),
            )
        ]
        _refuse_sparsities(self.value_sparsity(), sparsity, self.pairs)
        weights = self.value_importance()
        if not (weights >= 0).all() or not weights.isfinite().all():
            raise ValueError(f"importance is {importance}; it must be finite and not negative")

    @property
    def values(self) -> list[dict[str, Any]]:
        """The grid of sparsity and importance."""
        return self._values

    @property
    def num_uniforms(self) -> int:
        """One for each feature."""
        return self.num_features

    def value_sparsity(self) -> Tensor:
        """The sparsity of each feature, (V, N)."""
        rows = [_row(value["sparsity"], self.num_features) for value in self._values]
        return torch.tensor(rows, dtype=torch.float64)

    def value_settings(self) -> Tensor:
        """How probable it is that a feature is active, (V, 1, N)."""
        return (1.0 - self.value_sparsity()).float().unsqueeze(1)

    def value_importance(self) -> Tensor:
        """I_i of each value, (V, N)."""
        powers = torch.arange(self.num_features, dtype=torch.float64)
        rows = [
            torch.tensor(importance, dtype=torch.float64)
            if isinstance(importance := value["importance"], tuple)
            else torch.tensor(importance, dtype=torch.float64) ** powers
            for value in self._values
        ]
        return torch.stack(rows).float()

    def member_priority(self) -> Tensor:
        """Importance of each feature times how often it is active, (M, N) (after ``setup``)."""
        priority = self.value_importance() * (1.0 - self.value_sparsity()).float()
        return priority.repeat_interleave(self._members_of_a_value(), dim=0)

    def features(self, uniform: Tensor, settings: Tensor) -> Tensor:
        """Sparse features of uniform numbers and probabilities, in the numbers' memory."""
        return sparse_features_(uniform, settings, self.pairs)

    def settings(self) -> dict[str, Any]:
        """Sparsity, importance and pairs."""
        return {
            "sparsity": self.sparsity,
            "importance": self.importance,
            "pairs": self.pairs,
        }


def _swept(option: Swept, name: str, num_features: int) -> list[Any]:
    """The values of an option: numbers, and a tuple where each feature has its own.

    Raises:
        ValueError: There is none, or a value has not one entry for each feature.
    """
    values = option if isinstance(option, list) else [option]
    if not values:
        raise ValueError(f"{name} is an empty list; give a number, or a list of values to sweep")
    numbers = [n for value in values for n in (value if isinstance(value, list) else [value])]
    if not all(isinstance(n, int | float) and not isinstance(n, bool) for n in numbers):
        raise ValueError(f"{name} is {option}; give a number, or a list of values to sweep")
    if len(values) == num_features > 2 and not any(isinstance(v, list) for v in values):
        warnings.warn(
            f"{name} is a list of {num_features} numbers, as many as there are features: it is "
            f"taken as {num_features} values to sweep; for one number a feature write it in "
            f"brackets of its own, [[...]]",
            stacklevel=3,
        )
    for value in values:
        if isinstance(value, list) and len(value) != num_features:
            raise ValueError(
                f"{name} has a value with {len(value)} entries for {num_features} features; give "
                f"one each, or one number for all"
            )
    return [tuple(value) if isinstance(value, list) else value for value in values]


def _row(value: Any, num_features: int) -> list[float]:
    return list(value) if isinstance(value, tuple) else [value] * num_features


def _refuse_sparsities(sparsity: Tensor, option: Swept, pairs: Pairs) -> None:
    """Refuse sparsities (V, N) that are none, or that the pairs cannot have.

    Raises:
        ValueError: Says which.
    """
    if not ((sparsity >= 0) & (sparsity < 1)).all():
        raise ValueError(
            f"sparsity is {option}; it must be at least 0 and below 1, where no feature would ever "
            f"be active"
        )
    if pairs == "none":
        return
    num_features = sparsity.shape[1]
    if num_features % 2:
        raise ValueError(
            f"num_features is {num_features} and pairs is {pairs!r}; give an even number"
        )
    first, second = sparsity[:, 0::2], sparsity[:, 1::2]
    if pairs == "correlated" and not torch.equal(first, second):
        raise ValueError(
            f"sparsity is {option} and pairs is 'correlated'; features 2k and 2k + 1 are active "
            f"together, so give both the same"
        )
    if pairs == "anti-correlated" and (first + second < 1 - 1e-9).any():
        raise ValueError(
            f"sparsity is {option} and pairs is 'anti-correlated'; at most one feature of a pair "
            f"is active, so their two sparsities must add up to at least 1"
        )
