"""Which examples of a task a seed trains on, which it is tested on, and what leaks between them."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from datamodules.common.order import SPLIT, generator
from datamodules.tasks import Task

Sampling = Literal["distinct", "with_replacement"]


class Split(NamedTuple):
    """One seed's examples: K tokens in, one token out."""

    train_inputs: Tensor  # (N, K)
    train_targets: Tensor  # (N,)
    test_inputs: Tensor  # (M, K)
    test_targets: Tensor  # (M,)
    leaked: Tensor  # (M,) bool: the very input is in the training set
    mirrored: Tensor  # (M,) bool: the input or its mirror image is in the training set


def split_examples(
    task: Task,
    seed: int,
    sampling: Sampling = "distinct",
    num_samples: int = 1000,
    train_fraction: float = 0.8,
    keep_pairs_together: bool = False,
) -> Split:
    """Draw a seed's examples and split them.

    ``distinct`` draws without replacement, so that training and test set share no input.
    ``with_replacement`` is the authors' protocol: they draw a list first and split the list, which
    puts more than half of modular addition's test inputs into the training set.

    Args:
        task: The task.
        seed: Decides the draw and the split, together with nothing else.
        sampling: See above.
        num_samples: Examples drawn; where a task has fewer distinct ones, all of them.
        train_fraction: Share of the examples that is trained on; rounded down.
        keep_pairs_together: Put (x, y) and (y, x) of a symmetric task on the same side, so that no
            test fact is known by its mirror image. Only for ``distinct``.

    Raises:
        ValueError: A side of the split would be empty, or pairs are to be kept together under
            ``with_replacement`` or in a task without symmetry.
    """
    if keep_pairs_together and (sampling != "distinct" or not task.symmetric):
        raise ValueError(
            f"keep_pairs_together needs sampling 'distinct' and a symmetric task; got sampling "
            f"{sampling!r} and {type(task).__name__} (symmetric: {task.symmetric})"
        )
    rng = generator(seed, SPLIT)
    if sampling == "with_replacement":
        inputs, targets = task.draw(num_samples, rng)
    else:
        inputs, targets = task.examples()
        chosen = torch.randperm(len(inputs), generator=rng)[:num_samples]
        inputs, targets = inputs[chosen], targets[chosen]
    # Rounded down, and not by one too many where the fraction is stored a little too small.
    num_train = int(len(inputs) * train_fraction + 1e-9)
    if not 0 < num_train < len(inputs):
        raise ValueError(
            f"train_fraction {train_fraction} of {len(inputs)} examples leaves {num_train} to "
            f"train on and {len(inputs) - num_train} to test on; both must be at least 1"
        )
    if keep_pairs_together:
        train = _whole_groups(task.equivalent_inputs(inputs), num_train, rng)
    else:
        train = torch.zeros(len(inputs), dtype=torch.bool)
        train[torch.randperm(len(inputs), generator=rng)[:num_train]] = True
    ids, facts = task.input_ids(inputs), task.equivalent_inputs(inputs)
    return Split(
        inputs[train],
        targets[train],
        inputs[~train],
        targets[~train],
        leaked=torch.isin(ids[~train], ids[train]),
        mirrored=torch.isin(facts[~train], facts[train]),
    )


def _whole_groups(groups: Tensor, size: int, rng: torch.Generator) -> Tensor:
    """A random choice of ``size`` rows, as a mask (N,), that takes groups of one or two whole.

    Groups come in random order, and a pair that would overshoot is passed over. If that leaves one
    row to fill and pairs alone to fill it with, a single is given back for a pair, so that every
    seed trains on equally many examples.
    """
    _, group_of, sizes = torch.unique(groups, return_inverse=True, return_counts=True)
    order = torch.randperm(len(sizes), generator=rng).tolist()
    chosen = torch.zeros(len(sizes), dtype=torch.bool)
    left = size
    for group in order:
        if sizes[group] <= left:
            chosen[group] = True
            left -= int(sizes[group])
    if left == 1:
        single = next((g for g in order if chosen[g] and sizes[g] == 1), None)
        pair = next((g for g in order if not chosen[g] and sizes[g] == 2), None)
        if single is not None and pair is not None:
            chosen[single], chosen[pair] = False, True
    return chosen[group_of]
