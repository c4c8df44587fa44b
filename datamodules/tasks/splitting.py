"""Train/test splits of a task, and how much of each test set leaks from training."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from datamodules.common.order import RandomStream, generator
from datamodules.tasks import Task

Sampling = Literal["distinct", "with_replacement"]


class TaskSplit(NamedTuple):
    """One seed's examples: K tokens in, one token out."""

    train_inputs: Tensor  # (N, K)
    train_targets: Tensor  # (N,)
    test_inputs: Tensor  # (M, K)
    test_targets: Tensor  # (M,)
    leaked: Tensor  # (M,) bool: this input is in the training set
    mirrored: Tensor  # (M,) bool: this input or its mirror image is in the training set


def split_examples(
    task: Task,
    seed: int,
    sampling: Sampling = "distinct",
    num_samples: int = 1000,
    train_fraction: float = 0.8,
) -> TaskSplit:
    """Draw a seed's examples and split them.

    ``distinct`` draws without replacement, so training and test set share no input.
    ``with_replacement`` is the authors' protocol: they draw a list first and split the list, which
    puts more than half of modular addition's test inputs into the training set.
    """
    rng = generator(seed, RandomStream.SPLIT)
    if sampling == "with_replacement":
        inputs, targets = task.draw(num_samples, rng)
    else:
        inputs, targets = task.examples()
        drawn = torch.randperm(len(inputs), generator=rng)[:num_samples]
        inputs, targets = inputs[drawn], targets[drawn]
    # 1e-9: a fraction such as 0.29 is stored a little too small, so 100 × 0.29 would give 28.
    num_train = int(len(inputs) * train_fraction + 1e-9)
    if not 0 < num_train < len(inputs):
        raise ValueError(
            f"train_fraction {train_fraction} of {len(inputs)} examples leaves {num_train} for "
            f"training and {len(inputs) - num_train} for testing; both must be at least 1"
        )
    train = torch.zeros(len(inputs), dtype=torch.bool)
    train[torch.randperm(len(inputs), generator=rng)[:num_train]] = True
    ids, facts = task.input_ids(inputs), task.equivalent_inputs(inputs)
    return TaskSplit(
        inputs[train],
        targets[train],
        inputs[~train],
        targets[~train],
        leaked=torch.isin(ids[~train], ids[train]),
        mirrored=torch.isin(facts[~train], facts[train]),
    )
