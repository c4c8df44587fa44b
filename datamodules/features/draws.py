"""Distributions of synthetic features (sparse, in pairs, on a circle), and batches of draws."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, Self

import torch
from torch import Tensor

from datamodules.common.member_batches import StepBatches, as_slice
from datamodules.common.order import RandomStream, generator

Pairs = Literal["none", "correlated", "anti-correlated"]

# Numbers that a CPU processes at a time, so that all passes over them stay in a core's cache.
_CHUNK = 2**16


def sparse_features(uniform: Tensor, probability: Tensor, pairs: Pairs = "none") -> Tensor:
    """Features that are mostly zero (Elhage et al. 2022, "Toy Models of Superposition").

    Feature i is active with ``probability`` p_i and then uniform on (0, 1], else 0. One uniform
    number u decides both: it is active if u < p_i, and given that, 1 − u / p_i is uniform. So the
    feature is max(0, 1 − u / p_i).

    Pairs are features 2k and 2k + 1. 'correlated' features are active together, with independent
    values; of 'anti-correlated' features at most one is active. In each kind every single feature
    is distributed as under 'none', so that E[x] = p/2 and E[x²] = p/3.

    Args:
        uniform: Uniform on [0, 1), (..., B, N).
        probability: 1 − sparsity, above 0 and at most 1; broadcasts, as (..., 1, N) does. Equal
            within correlated pairs; within anti-correlated ones the two sum to at most 1.
        pairs: See above; N must be even unless it is 'none'.

    Returns:
        (..., B, N).
    """
    return sparse_features_(uniform.clone(), probability, pairs)


def sparse_features_(uniform: Tensor, probability: Tensor, pairs: Pairs = "none") -> Tensor:
    """In-place version of ``sparse_features``; three times as fast for a sweep."""
    if pairs == "anti-correlated":
        # u < p and 1 - u < p' exclude each other.
        uniform[..., 1::2] = 1.0 - uniform[..., 0::2]
    if pairs == "correlated":
        first, first_p = uniform[..., 0::2], probability.expand_as(uniform)[..., 0::2]
        first.mul_(-1.0 / first_p).add_(1.0).clamp_min_(0.0)
        uniform[..., 1::2].mul_(first > 0)
        return uniform
    return uniform.mul_(-1.0 / probability).add_(1.0).clamp_min_(0.0)


def circular_features(uniform: Tensor, scale: Tensor, num_features: int) -> Tensor:
    """Features on a circle that are active on an arc around a random angle.

    Feature k has the angle φ_k = 2πk/N. With θ uniform on the circle, m uniform on [0, 1) and
    d = ((φ_k − θ + π) mod 2π) − π, x_k = m·cos(d/ℓ) if |d| ≤ πℓ/2, else 0. (The published formula
    does not wrap the angle, so its arc ends at 0.) E[x] = ℓ/2π, E[x²] = ℓ/12, and Nℓ/2 features are
    active, rounded down or up.

    Args:
        uniform: Uniform on [0, 1), (..., B, 2): θ in turns, and m.
        scale: ℓ, above 0 and at most 2, where the arc is the whole circle; broadcasts, as
            (..., 1, 1) does.
        num_features: N.

    Returns:
        (..., B, N).
    """
    # (N, B) in memory, the layout of LazyFeatureBatches.
    points = (torch.arange(num_features, device=uniform.device) / num_features).unsqueeze(-1)
    turns = points - uniform[..., :1].mT  # (..., N, B)
    turns = (turns - turns.round()).abs_()  # |d|/2π, the short way around
    angle = (turns * (2.0 * math.pi / scale)).clamp_max_(math.pi / 2)
    # cos(π/2) is slightly negative in float32, hence clamp_min.
    return angle.cos_().clamp_min_(0.0).mul_(uniform[..., 1:].mT).mT


class LazyFeatureBatches(StepBatches):
    """Batches (M, B, N) of features, drawn anew for every optimizer step.

    A member's batch is a function of its seed, its setting and the step alone, independent of the
    other members and of the number of devices. Members with the same seed use the same uniform
    numbers, so they differ in their setting only. (A GPU draws other numbers than a CPU.)

    The memory layout is (M, N, B): B is long and the other sizes of a toy model are small, which
    makes its matrix products three times as fast (docs/performance.md).

    Args:
        features: Computes features (L, B, N) of any L members from uniform numbers (L, B, K), which
            it may overwrite, and settings (L, 1, ...).
        settings: One row per member, (M, 1, ...).
        seeds: One per member.
        num_uniforms: K.
        num_features: N.
        batch_size: B.
        first_step: Number of the first step, counted from the start of the run.
        num_steps: Number of steps.
        stream: Training or held-out features.
    """

    def __init__(
        self,
        features: Callable[[Tensor, Tensor], Tensor],
        settings: Tensor,
        seeds: Sequence[int],
        num_uniforms: int,
        num_features: int,
        batch_size: int,
        first_step: int,
        num_steps: int,
        stream: RandomStream = RandomStream.TRAINING_FEATURES,
    ) -> None:
        super().__init__(num_steps, len(seeds), batch_size)
        self.features = features
        self.settings = settings
        self.seeds = list(seeds)
        self.num_uniforms = num_uniforms
        self.num_features = num_features
        self.batch_size = batch_size
        self.first_step = first_step
        self.stream = stream

    def materialize(self, step: int) -> Tensor:
        seeds = [self.seeds[member] for member in self.members]
        row_of = {seed: row for row, seed in enumerate(dict.fromkeys(seeds))}
        # Draw whole batches and slice them, so that a slice has the numbers of the whole.
        uniform = torch.stack([self._uniform(seed, step) for seed in row_of])  # (U, K, B)
        uniform = uniform[:, :, as_slice(self.examples)]
        rows = torch.tensor([row_of[seed] for seed in seeds], device=self.device)  # (M,)
        settings = self.settings[as_slice(self.members)]
        shape = (len(seeds), self.num_features, len(self.examples))
        batches = torch.empty(shape, device=self.device)  # (M, N, B)
        on_cpu = self.device.type == "cpu"
        members_at_a_time = max(1, _CHUNK // (shape[1] * shape[2])) if on_cpu else shape[0]
        for start in range(0, shape[0], members_at_a_time):
            part = slice(start, start + members_at_a_time)
            out = batches[part]
            if self.num_uniforms == self.num_features:  # compute in place
                numbers = torch.index_select(uniform, 0, rows[part], out=out)
            else:
                numbers = uniform[rows[part]]
            features = self.features(numbers.mT, settings[part]).mT
            if features.data_ptr() != out.data_ptr():
                out.copy_(features)
        return batches.mT

    def to(self, device: torch.device | str) -> Self:
        moved = super().to(device)
        moved.settings = self.settings.to(device)
        return moved

    def _uniform(self, seed: int, step: int) -> Tensor:
        """Uniform numbers (K, B) of one seed at one step."""
        rng = generator(seed, self.stream, self.first_step + step)
        if self.device.type != "cpu":
            rng = torch.Generator(self.device).manual_seed(rng.initial_seed())
        return torch.rand(self.num_uniforms, self.batch_size, generator=rng, device=self.device)
