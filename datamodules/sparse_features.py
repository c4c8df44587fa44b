"""SparseFeatures: the data of Toy Models of Superposition."""

from __future__ import annotations

import warnings
from itertools import product
from typing import Any, cast, get_args

import torch
from torch import Tensor

from datamodules.common.options import choose
from datamodules.features.base import SyntheticFeatures
from datamodules.features.draws import Pairs, sparse_features_

# One value for all features, or a list of values to sweep, each for all or with one per feature.
Sweep = float | list[float | list[float]]


class SparseFeatures(SyntheticFeatures):
    """Independent sparse features, or pairs of them (Elhage et al. 2022).

    A feature is 0 with probability S, its sparsity, else uniform on (0, 1]. Its importance I_i
    weights its squared error. A sweep over both is a grid with importance as the inner axis; see
    ``SyntheticFeatures`` for how its values are assigned to members.

    Args:
        num_features: N (20 in the published notebook).
        sparsity: S; or a list of values to sweep. A value that is a list itself has one sparsity
            per feature.
        importance: A number r for I_i = r^i with i from 0 (0.7 in the published notebook; 1 makes
            all features equal); or a list of values to sweep. A value that is a list itself has one
            importance per feature.
        pairs: 'correlated' features 2k and 2k + 1 are active together, of 'anti-correlated' ones at
            most one is; 'none' makes all independent. Each feature alone keeps its sparsity.
        batch_size: Examples of one optimizer step.
        steps_per_epoch: Optimizer steps of one epoch, which is one Lightning batch.
        val_steps: Held-out batches of ``batch_size`` examples.
        seeds: One per member; null takes those of the model.

    Raises:
        ValueError: A number is out of range, a list does not have one entry per feature, or the
            features do not allow such pairs.
    """

    def __init__(
        self,
        num_features: int = 20,
        sparsity: Sweep = 0.9,
        importance: Sweep = 1.0,
        pairs: str = "none",
        batch_size: int = 1024,
        steps_per_epoch: int = 100,
        val_steps: int = 10,
        seeds: list[int] | None = None,
    ) -> None:
        super().__init__(num_features, batch_size, steps_per_epoch, val_steps, seeds)
        choose("pairs", pairs, get_args(Pairs))
        self.sparsity = sparsity
        self.importance = importance
        self.pairs = cast(Pairs, pairs)
        self._values = [
            {"sparsity": s, "importance": i}
            for s, i in product(
                _sweep_values("sparsity", sparsity, num_features),
                _sweep_values("importance", importance, num_features),
            )
        ]
        _check_sparsity(self.value_sparsity(), sparsity, self.pairs)
        weights = self.value_importance()
        if not (weights >= 0).all() or not weights.isfinite().all():
            raise ValueError(f"importance is {importance}; it must be finite and not negative")

    @property
    def values(self) -> list[dict[str, Any]]:
        """The grid of sparsity and importance."""
        return self._values

    @property
    def num_uniforms(self) -> int:
        """One per feature."""
        return self.num_features

    def value_sparsity(self) -> Tensor:
        """Sparsity of each feature, (V, N)."""
        rows = [value["sparsity"] for value in self._values]
        full = [row if isinstance(row, tuple) else [row] * self.num_features for row in rows]
        return torch.tensor(full, dtype=torch.float64)

    def value_settings(self) -> Tensor:
        """Probability that a feature is active, (V, 1, N)."""
        return (1.0 - self.value_sparsity()).float().unsqueeze(1)

    def value_importance(self) -> Tensor:
        """I_i of each value, (V, N)."""
        powers = torch.arange(self.num_features, dtype=torch.float64)
        rows = []
        for value in self._values:
            importance = torch.tensor(value["importance"], dtype=torch.float64)
            rows.append(importance if importance.ndim else importance**powers)
        return torch.stack(rows).float()

    def member_priority(self) -> Tensor:
        """Importance times the probability of being active, (M, N) (after ``setup``)."""
        priority = self.value_importance() * (1.0 - self.value_sparsity()).float()
        return priority.repeat_interleave(self._members_per_value(), dim=0)

    def features(self, uniform: Tensor, settings: Tensor) -> Tensor:
        """Sparse features from uniform numbers and probabilities, in place."""
        return sparse_features_(uniform, settings, self.pairs)

    def settings(self) -> dict[str, Any]:
        """Sparsity, importance and pairs."""
        return {"sparsity": self.sparsity, "importance": self.importance, "pairs": self.pairs}


def _sweep_values(name: str, option: Sweep, num_features: int) -> list[Any]:
    """The values of an option: numbers, or tuples with one number per feature.

    Raises:
        ValueError: There is no value, or one is not a number or of another length.
    """
    values = option if isinstance(option, list) else [option]
    numbers = [n for value in values for n in (value if isinstance(value, list) else [value])]
    if not values or not all(
        isinstance(n, int | float) and not isinstance(n, bool) for n in numbers
    ):
        raise ValueError(f"{name} is {option}; give a number, or a list of values to sweep")
    if len(values) == num_features > 2 and not any(isinstance(v, list) for v in values):
        warnings.warn(
            f"{name} is a list of {num_features} numbers, one per feature: this is read as "
            f"{num_features} values to sweep; to give each feature its own, write [[...]]",
            stacklevel=3,
        )
    for value in values:
        if isinstance(value, list) and len(value) != num_features:
            raise ValueError(
                f"{name} has a value with {len(value)} entries for {num_features} features; give "
                f"one per feature, or one number for all"
            )
    return [tuple(value) if isinstance(value, list) else value for value in values]


def _check_sparsity(sparsity: Tensor, option: Sweep, pairs: Pairs) -> None:
    """Check that sparsities (V, N) are probabilities below 1 that the pairs allow.

    Raises:
        ValueError: They are not.
    """
    if not ((sparsity >= 0) & (sparsity < 1)).all():
        raise ValueError(f"sparsity is {option}; it must be at least 0 and below 1")
    if pairs == "none":
        return
    num_features = sparsity.shape[1]
    if num_features % 2:
        raise ValueError(f"num_features is {num_features}; it must be even if pairs is {pairs!r}")
    first, second = sparsity[:, 0::2], sparsity[:, 1::2]
    if pairs == "correlated" and not torch.equal(first, second):
        raise ValueError(
            f"sparsity is {option}, but correlated features 2k and 2k + 1 are active together; "
            f"give both the same sparsity, or set pairs to 'none'"
        )
    if pairs == "anti-correlated" and (first + second < 1 - 1e-9).any():
        raise ValueError(
            f"sparsity is {option}, but at most one of two anti-correlated features is active, so "
            f"their sparsities must sum to at least 1"
        )
