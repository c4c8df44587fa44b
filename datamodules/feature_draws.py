"""Random features that hide in few dimensions: sparse, in pairs, or on a circle."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, Self

import torch
from torch import Tensor

from datamodules.batching import generator
from datamodules.step_batches import StepBatches, as_slice

Pairs = Literal["none", "correlated", "anti-correlated"]

# Streams of random numbers beside those of batching.py: training and held-out draws.
FRESH, HELD_OUT = 3, 4

# Numbers that a CPU works on at a time: all passes over them then stay in a core's cache.
_AT_A_TIME = 2**16


def sparse_features(uniform: Tensor, probability: Tensor, pairs: Pairs = "none") -> Tensor:
    """Features that are mostly zero (Elhage et al. 2022, "Toy Models of Superposition").

    Feature i is active with ``probability`` p_i and then uniform on [0, 1), else 0. One uniform
    number decides both: u < p_i is that event, and u / p_i is uniform under it.

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
    if pairs == "anti-correlated":
        # u < p and 1 - u < p' exclude each other.
        first = uniform[..., 0::2]
        uniform = torch.stack([first, 1.0 - first], dim=-1).flatten(-2)
    features = uniform / probability
    if pairs == "correlated":
        active = (features[..., 0::2] < 1).repeat_interleave(2, dim=-1)
        features[..., 1::2] = uniform[..., 1::2]
        return features.mul_(active)
    return features.mul_(features < 1)


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
    points = torch.arange(num_features, device=uniform.device) / num_features
    turns = points - uniform[..., :1]  # (..., B, N)
    turns = (turns - turns.round()).abs_()  # |d|/2π, the short way around
    # The cosine of π/2 rounded to float32 is a little below 0, and 0 is meant.
    angle = (turns * (2.0 * math.pi / scale)).clamp_max_(math.pi / 2)
    return angle.cos_().clamp_min_(0.0).mul_(uniform[..., 1:])


class FreshDraws(StepBatches):
    """Batches (M, B, N) of features that are drawn anew for every optimizer step.

    A member's batch is a function of its seed, its setting and the number of the step, and of
    nothing else: neither of the other members, nor of which of them are drawn together, nor of the
    number of devices. Members of one seed get their features out of the same uniform numbers, so
    that they differ in nothing but the setting. (A GPU draws other numbers than a CPU.)

    Args:
        features: Makes features (L, B, N) out of uniform numbers (L, B, K) and settings (L, 1, ...)
            of any L members.
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
        uniform = torch.stack([self._uniform(seed, step) for seed in drawn])  # (U, B, K)
        uniform = uniform[:, as_slice(self.examples)]
        rows = torch.tensor([drawn[seed] for seed in seeds], device=self.device)  # (M,)
        settings = self.settings[as_slice(self.members)]
        shape = (len(seeds), len(self.examples), self.num_features)
        on_cpu = self.device.type == "cpu"
        at_a_time = max(1, _AT_A_TIME // (shape[1] * shape[2])) if on_cpu else shape[0]
        if at_a_time >= shape[0]:
            return self.features(uniform[rows], settings)
        batches = torch.empty(shape)
        for start in range(0, shape[0], at_a_time):
            part = slice(start, start + at_a_time)
            batches[part] = self.features(uniform[rows[part]], settings[part])
        return batches

    def to(self, device: torch.device | str) -> Self:
        moved = super().to(device)
        moved.settings = self.settings.to(device)
        return moved

    def _uniform(self, seed: int, step: int) -> Tensor:
        """Uniform numbers (B, K) of one seed at one step."""
        rng = generator(seed, self.stream, self.first_step + step)
        if self.device.type != "cpu":
            rng = torch.Generator(self.device).manual_seed(rng.initial_seed())
        return torch.rand(self.batch_size, self.num_uniforms, generator=rng, device=self.device)
