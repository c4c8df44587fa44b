"""Text classifiers' metrics as sums: against loops, over any split, on one rank and on two."""

from __future__ import annotations

import math
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torchmetrics import Metric

from callbacks.probes.word_capacity import MeanCapacity
from callbacks.probes.word_deletion import DeletionAccuracies

TEXTS, TOKENS, CLASSES = 50, 8, 3


class Accuracy(DeletionAccuracies):
    """Accuracy on whole texts, which need no module."""

    def __init__(self) -> None:
        super().__init__([], unknown=1)

    def update(self, logits, labels) -> None:
        super().update(None, {"labels": labels}, {"logits": logits})


METRICS = [Accuracy, MeanCapacity]


def _examples() -> dict[type[Metric], tuple[torch.Tensor, ...]]:
    """The arguments of each metric's update; some rows do not count, padding is nan."""
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(TEXTS, CLASSES, generator=rng)
    labels = torch.randint(0, CLASSES, (TEXTS,), generator=rng)
    logits[torch.arange(TEXTS), labels] += 1.0  # better than chance
    labels[torch.rand(TEXTS, generator=rng) < 0.2] = -100
    length = torch.randint(1, TOKENS + 1, (TEXTS, 1), generator=rng)
    mask = torch.arange(TOKENS) < length
    capacity = torch.rand(TEXTS, TOKENS, generator=rng).masked_fill(~mask, torch.nan)
    important = torch.rand(TEXTS, TOKENS, generator=rng) < 0.3
    return {Accuracy: (logits, labels), MeanCapacity: (capacity, important, mask, labels)}


def _computed(kind: type[Metric], splits: list[int]) -> Any:
    metric = kind()
    for first, last in pairwise([0, *splits, TEXTS]):
        metric.update(*(column[first:last] for column in _examples()[kind]))
    return metric.compute()


def test_accuracy_is_the_fraction_of_counted_texts_that_are_right():
    rows = zip(*(column.tolist() for column in _examples()[Accuracy]), strict=True)
    rights = [row.index(max(row)) == label for row, label in rows if label != -100]
    assert 0 < sum(rights) < len(rights) < TEXTS
    assert _computed(Accuracy, []).item() == pytest.approx(sum(rights) / len(rights))


def test_mean_capacity_counts_every_real_token_of_counted_texts_once():
    capacity, important, mask, labels = _examples()[MeanCapacity]
    groups: dict[str, list[float]] = {"all": [], "important": [], "other": []}
    for b in range(TEXTS):
        for t in range(TOKENS):
            if mask[b, t] and labels[b] != -100:
                groups["all"].append(float(capacity[b, t]))
                groups["important" if important[b, t] else "other"].append(float(capacity[b, t]))
    means = _computed(MeanCapacity, [])
    assert means.keys() == groups.keys()
    for name, values in groups.items():
        assert means[name].item() == pytest.approx(math.fsum(values) / len(values), rel=1e-12)


@pytest.mark.parametrize("kind", METRICS)
def test_any_split_into_batches_gives_the_same(kind):
    whole = _computed(kind, [])
    for splits in ([1], [20, 21, 40], list(range(1, TEXTS)), [50]):
        torch.testing.assert_close(_computed(kind, splits), whole, rtol=1e-14, atol=0)


def test_many_tokens_are_added_without_losing_digits():
    metric = MeanCapacity()
    every = torch.ones(100, 1000, dtype=torch.bool)
    for _ in range(20):  # a float32 sum would be off by 1e-4
        metric.update(torch.full((100, 1000), 0.1), every, every, torch.zeros(100))
    means = metric.compute()
    assert means["important"].item() == pytest.approx(float(torch.tensor(0.1)), rel=1e-10)
    assert means["other"].isnan()


def test_a_nan_stays_in_its_group_of_tokens():
    metric = MeanCapacity()
    mask = torch.ones(1, 2, dtype=torch.bool)
    metric.update(
        torch.tensor([[torch.nan, 0.5]]), torch.tensor([[True, False]]), mask, torch.zeros(1)
    )
    means = metric.compute()
    assert means["other"] == 0.5 and means["important"].isnan() and means["all"].isnan()


@pytest.mark.parametrize("kind", METRICS)
def test_nothing_counted_is_nan_also_after_a_reset(kind):
    examples, metric = _examples()[kind], kind()
    metric.update(*examples)
    metric.reset()
    metric.update(*examples[:-1], torch.full((TEXTS,), -100))
    values = metric.compute()
    assert all(v.isnan() for v in (values.values() if isinstance(values, dict) else [values]))


def test_logits_with_a_nan_are_wrong():
    metric = Accuracy()
    logits = torch.tensor([[torch.nan, 0.0], [0.0, torch.nan], [-torch.inf, 0.0]])
    metric.update(logits, torch.tensor([0, 1, 1]))
    assert metric.compute().item() == pytest.approx(1 / 3)


@pytest.mark.parametrize("kind", METRICS)
def test_sums_are_as_exact_in_a_module_of_half_precision(kind):
    module = torch.nn.Module()
    module.metric = kind()
    module.to(torch.bfloat16)
    module.metric.update(*_examples()[kind])
    torch.testing.assert_close(module.metric.compute(), _computed(kind, []), rtol=0, atol=0)


def _on_rank(rank: int, folder: str) -> None:
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2,
        timeout=timedelta(minutes=2),
    )  # fmt: skip
    shard = slice(0, 13) if rank == 0 else slice(13, TEXTS)  # uneven on purpose
    computed = {}
    try:
        for kind, examples in _examples().items():
            metric = kind()
            metric.update(*(column[shard] for column in examples))
            computed[kind.__name__] = metric.compute()
    finally:
        dist.destroy_process_group()
    torch.save(computed, f"{folder}/rank_{rank}.pt")


def _on_second_rank(_: int, folder: str) -> None:
    _on_rank(1, folder)


@pytest.mark.ddp
def test_metrics_are_the_same_on_one_rank_and_on_two(tmp_path: Path):
    # The first rank is this process: starting one costs seconds.
    other = mp.spawn(_on_second_rank, args=(str(tmp_path),), nprocs=1, join=False)
    _on_rank(0, str(tmp_path))
    while not other.join():
        pass
    for rank in range(2):
        both = torch.load(tmp_path / f"rank_{rank}.pt", weights_only=True)
        for kind in METRICS:
            torch.testing.assert_close(both[kind.__name__], _computed(kind, []), rtol=1e-14, atol=0)
