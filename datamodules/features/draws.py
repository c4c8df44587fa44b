"""Random features that hide in few dimensions: sparse, in pairs, or on a circle."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, Self

import torch
from torch import Tensor

from datamodules.common.member_batches import StepBatches, as_slice
from datamodules.common.order import generator

Pairs = Literal["none", "correlated", "anti-correlated"]

# Streams of random numbers beside those of batching.py: training and held-out draws.
FRESH, HELD_OUT = 3, 4

# Numbers that a CPU works on at a time: all passes over them then stay in a core's cache.
_AT_A_TIME = 2**16


def sparse_features(uniform: Tensor, probability: Tensor, pairs: Pairs = "none") -> Tensor:
    """Features that are mostly zero (Elhage et al. 2022, "Toy Models of Superposition").

    Feature i is active with ``probability`` p_i and then uniform on (0, 1], else 0. One uniform
    number decides both: u < p_i is that event, and 1 − u / p_i is uniform under it, so that the
    feature is max(0, 1 − u / p_i).

    Pairs are features 2k and 2k + 1. 'correlated' ones are active together, with values of their
    own; of 'anti-correlated' ones at most one is. In each kind every feature alone is distributed
    as under 'none', so that E[x] = p/2 and E[x²] = p/3.

    Args:
        uniform: Uniform on [0, 1), (..., B, N).
        probability: 1 − sparsity, above 0 and at most 1; broadcasts, as (..., 1, N) does. Equal
            within correlated pairs; within anti-correlated ones the two add up to at most 1.
        pairs: See above; N is even but for 'none'.

    Returns:
        (..., B, N).
    """
    return sparse_features_(uniform.clone(), probability, pairs)


def sparse_features_(uniform: Tensor, probability: Tensor, pairs: Pairs = "none") -> Tensor:
    """``sparse_features`` in the memory of ``uniform``: a third of the time, of a sweep's draws."""
    if pairs == "anti-correlated":
        # u < p and 1 - u < p' exclude each other.
        uniform[..., 1::2] = 1.0 - uniform[..., 0::2]
    if pairs == "correlated":
        first, of_first = uniform[..., 0::2], probability.expand_as(uniform)[..., 0::2]
        first.mul_(-1.0 / of_first).add_(1.0).clamp_min_(0.0)
        uniform[..., 1::2].mul_(first > 0)
        return uniform
    return uniform.mul_(-1.0 / probability).add_(1.0).clamp_min_(0.0)


def circular_features(uniform: Tensor, scale: Tensor, num_features: int) -> Tensor:
    """Features that stand on a circle and are active on an arc around a random angle.

    Feature k has the angle φ_k = 2πk/N. With θ uniform on the circle, m uniform on [0, 1) and
    d = ((φ_k − θ + π) mod 2π) − π, x_k = m·cos(d/ℓ) where |d| ≤ πℓ/2, else 0. (The formula in
    print leaves the angle unwrapped, so that the arc breaks off at 0.) E[x] = ℓ/2π, E[x²] = ℓ/12,
    and Nℓ/2 features are active, rounded down or up.

    Args:
        uniform: Uniform on [0, 1), (..., B, 2): θ in turns, and m.
        scale: ℓ, above 0 and at most 2, where the arc is the whole circle; broadcasts, as
            (..., 1, 1) does.
        num_features: N.

    Returns:
        (..., B, N).
    """
    # Features by draws, the layout in memory of what ``FreshDraws`` makes.
    points = (torch.arange(num_features, device=uniform.device) / num_features).unsqueeze(-1)
    turns = points - uniform[..., :1].mT  # (..., N, B)
    turns = (turns - turns.round()).abs_()  # |d|/2π, the short way around
    # The cosine of π/2 rounded to float32 is a little below 0, and 0 is meant.
    angle = (turns * (2.0 * math.pi / scale)).clamp_max_(math.pi / 2)
    return angle.cos_().clamp_min_(0.0).mul_(uniform[..., 1:].mT).mT


class FreshDraws(StepBatches):
    """Batches (M, B, N) of features that are drawn anew for every optimizer step.

    A member's batch is a function of its seed, its setting and the number of the step, and of
    nothing else: neither of the other members, nor of which of them are drawn together, nor of the
    number of devices. Members of one seed get their features out of the same uniform numbers, so
    that they differ in nothing but the setting. (A GPU draws other numbers than a CPU.)

    In memory a feature's draws stand side by side, (M, N, B): B is long and the other sizes of a
    toy model are a few, so that its matrix products are three times as fast (docs/performance.md).

    Args:
        features: Makes features (L, B, N) out of uniform numbers (L, B, K) and settings (L, 1, ...)
            of any L members; may overwrite the numbers.
        settings: A row for each member, (M, 1, ...).
        seeds: One for each member.
        num_uniforms: K.
        num_features: N.
        batch_size: B.
        first_step: Number in the run of the first step; dropout, schedules and logs count alike.
        num_steps: Number of steps.
        stream: ``FRESH``, or ``HELD_OUT`` for what nobody trains on.
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
        stream: int = FRESH,
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

    def make(self, step: int) -> Tensor:
        seeds = [self.seeds[member] for member in self.members]
        drawn = {seed: row for row, seed in enumerate(dict.fromkeys(seeds))}
        # Drawn whole and cut then, so that a part of the examples is a part of the same batch.
        uniform = torch.stack([self._uniform(seed, step) for seed in drawn])  # (U, K, B)
        uniform = uniform[:, :, as_slice(self.examples)]
        rows = torch.tensor([drawn[seed] for seed in seeds], device=self.device)  # (M,)
        settings = self.settings[as_slice(self.members)]
        shape = (len(seeds), self.num_features, len(self.examples))
        numbers_of_a_member = shape[1] * shape[2]
        on_cpu = self.device.type == "cpu"
        at_a_time = max(1, _AT_A_TIME // numbers_of_a_member) if on_cpu else shape[0]
        batches = torch.empty(shape, device=self.device)  # (M, N, B)
        for start in range(0, shape[0], at_a_time):
            part = slice(start, start + at_a_time)
            place = batches[part]
            if self.num_uniforms == self.num_features:  # made where they will stand, if they can be
                numbers = torch.index_select(uniform, 0, rows[part], out=place)
            else:
                numbers = uniform[rows[part]]
            features = self.features(numbers.mT, settings[part]).mT
            if features.data_ptr() != place.data_ptr():
                place.copy_(features)
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
