"""Batches of texts: each once, of similar length, the same for any number of ranks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from datamodules.texts.batches import (
    IGNORED,
    HeldOutTextBatches,
    NumberedTextBatches,
    TrainingTextBatches,
    batch_width,
    bucketed_batches,
    padding_fraction,
    text_batch,
)
from datamodules.texts.encoding import EncodedTexts
from datamodules.texts.vocabulary import SubwordVocabulary, WordVocabulary
from datamodules.tokens.tokenizers import ByteTokenizer

RNG = np.random.default_rng(0)
LENGTHS = RNG.integers(1, 30, 103)
# Text i begins with the word i, which identifies the text of a row.
TEXTS = [" ".join([f"w{i}", *["x"] * (n - 1)]) for i, n in enumerate(LENGTHS)]
VOCABULARY = WordVocabulary.from_texts(TEXTS, 1)


@pytest.fixture(scope="module")
def texts() -> EncodedTexts:
    return EncodedTexts(VOCABULARY, TEXTS, [i % 2 for i in range(len(TEXTS))], 64)


def which(batch) -> list[int]:
    """Indices of the texts of a batch, without ignored rows."""
    firsts = batch["tokens"][batch["labels"] != -100, 0].tolist()
    return [int(VOCABULARY.words[i][1:]) for i in firsts]


def training(texts, rank=0, world=1, step=0, **options) -> TrainingTextBatches:
    settings = {"seed": 0, "batch_size": 8, "bucket_batches": 4, **options}
    return TrainingTextBatches(texts, rank=rank, world=world, step=lambda: step, **settings)


# ---- one batch -------------------------------------------------------------------------------


def test_a_batch_is_that_of_a_plain_loop():
    vocabulary = SubwordVocabulary(ByteTokenizer())
    raw = ["good film", "no", "a b c d"]
    encoded = EncodedTexts(vocabulary, raw, [1, 0, 1], 7)
    batch = text_batch(encoded, np.array([2, 0, 1]))
    rows = [vocabulary.encode(raw[i].split(), 7) for i in (2, 0, 1)]
    assert batch["tokens"].shape == (3, 7)
    for row, (ids, numbers) in enumerate(rows):
        padding = 7 - len(ids)
        assert batch["tokens"][row].tolist() == ids + [0] * padding
        assert batch["words"][row].tolist() == numbers + [-1] * padding
        assert batch["mask"][row].tolist() == [True] * len(ids) + [False] * padding
    assert batch["labels"].tolist() == [1, 1, 0]
    assert batch["global_size"].tolist() == [3, sum(len(ids) for ids, _ in rows)]
    assert {name: tensor.dtype for name, tensor in batch.items()} == {
        "tokens": torch.int64,
        "mask": torch.bool,
        "words": torch.int64,
        "labels": torch.int64,
        "global_size": torch.int64,
    }


def test_texts_are_padded_to_the_longest_of_the_global_batch_or_to_a_fixed_length(texts):
    indices = np.array([3, 40, 77])
    longest = max(LENGTHS[indices])
    assert text_batch(texts, indices)["tokens"].shape == (3, longest)
    short = int(np.argmin(LENGTHS[indices]))
    assert text_batch(texts, indices, short, 3)["tokens"].shape == (1, longest)
    assert text_batch(texts, indices, pad_to=64)["tokens"].shape == (3, 64)


@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_ranks_divide_the_rows_of_a_global_batch(texts, world):
    indices = np.array([5, 9, 2, 60])
    parts = [text_batch(texts, indices, rank, world) for rank in range(world)]
    assert [which(part) for part in parts] == [
        indices[rank::world].tolist() for rank in range(world)
    ]
    whole = text_batch(texts, indices)
    for part in parts:
        assert torch.equal(part["global_size"], whole["global_size"])
        assert part["tokens"].shape[1] == whole["tokens"].shape[1]
    assert sum(int(part["mask"].sum()) for part in parts) == int(whole["global_size"][1])


def test_a_rank_without_a_text_has_one_ignored_row(texts):
    batch = text_batch(texts, np.array([4]), 1, 2)
    assert batch["labels"].tolist() == [-100]
    assert not batch["mask"].any() and not batch["tokens"].any()
    assert (batch["words"] == -1).all()
    for name in ("tokens", "mask", "words"):
        assert batch[name].shape == (1, LENGTHS[4])


# ---- an epoch --------------------------------------------------------------------------------


@pytest.mark.parametrize("bucket_batches", [0, 1, 4, 1000])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_every_text_is_trained_on_once_an_epoch_on_any_number_of_ranks(
    texts, world, bucket_batches
):
    loaders = [training(texts, rank, world, bucket_batches=bucket_batches) for rank in range(world)]
    ranks = [[which(batch) for batch in loader] for loader in loaders]
    assert all(len(batches) == len(loader) == 13 for batches in ranks for loader in loaders)
    seen = [i for batches in ranks for batch in batches for i in batch]
    assert sorted(seen) == list(range(103))
    alone = [set(which(batch)) for batch in training(texts, bucket_batches=bucket_batches)]
    assert [{i for part in parts for i in part} for parts in zip(*ranks, strict=True)] == alone


def test_order_is_a_pure_function_of_seed_and_epoch(texts):
    def order(**options) -> list[list[int]]:
        torch.rand(3)  # the global generator is not used
        return [which(batch) for batch in training(texts, **options)]

    assert order() == order()
    assert order() != order(seed=1) and order() != order(step=13)
    assert order(step=13) == order(step=13)


def test_an_epoch_starts_at_the_current_step(texts):
    whole = [which(batch) for batch in training(texts, step=13)]
    assert [which(batch) for batch in training(texts, step=13 + 5)] == whole[5:]


def test_batches_are_runs_of_windows_sorted_by_length():
    batches = bucketed_batches(LENGTHS, 3, 2, 8, 4)
    plain = np.concatenate(bucketed_batches(LENGTHS, 3, 2, 8, 0))
    expected = []
    for start in range(0, 103, 32):
        window = sorted(plain[start : start + 32].tolist(), key=lambda i: LENGTHS[i])
        expected += [window[i : i + 8] for i in range(0, len(window), 8)]
    order = [batch.tolist() for batch in batches]
    assert sorted(order) == sorted(expected)
    assert order != expected  # the batches are shuffled


def test_without_buckets_batches_are_the_plain_permutation():
    from datamodules.common.order import epoch_order

    for bucket_batches in (0, 1):
        order = np.concatenate(bucketed_batches(LENGTHS, 5, 1, 8, bucket_batches))
        assert order.tolist() == epoch_order(5, 1, 103).tolist()


def test_buckets_reduce_padding():
    def fraction(bucket_batches: int) -> float:
        batches = bucketed_batches(LENGTHS, 0, 0, 8, bucket_batches)
        padded = sum(len(batch) * max(LENGTHS[batch]) for batch in batches)
        expected = 1 - sum(LENGTHS) / padded
        assert padding_fraction(LENGTHS, batches) == pytest.approx(expected)
        return expected

    assert fraction(13) < 0.2 * fraction(0)
    whole = padding_fraction(LENGTHS, bucketed_batches(LENGTHS, 0, 0, 8, 0), 64)
    assert whole == pytest.approx(1 - sum(LENGTHS) / (103 * 64))


# ---- held-out texts --------------------------------------------------------------------------


@pytest.mark.parametrize("world", [1, 2, 3, 11])
def test_every_held_out_text_comes_once_and_ranks_have_equally_many_batches(texts, world):
    loaders = [HeldOutTextBatches(texts, 8, rank, world) for rank in range(world)]
    ranks = [[which(batch) for batch in loader] for loader in loaders]
    assert {len(batches) for batches in ranks} == {13} == {len(loader) for loader in loaders}
    assert sorted(i for batches in ranks for batch in batches for i in batch) == list(range(103))
    assert ranks == [[which(batch) for batch in loader] for loader in loaders]


@pytest.mark.parametrize("world", [1, 2, 11])
def test_numbers_identify_the_text_of_each_row(texts, world):
    for rank in range(world):
        plain = HeldOutTextBatches(texts, 8, rank, world)
        numbered = NumberedTextBatches(texts, 8, rank, world)
        assert len(numbered) == len(plain)
        for batch, other in zip(numbered, plain, strict=True):
            numbers = batch.pop("numbers")
            assert batch.keys() == other.keys() and numbers.shape == batch["labels"].shape
            assert all(torch.equal(batch[name], other[name]) for name in batch)
            assert numbers[numbers >= 0].tolist() == which(other)
            assert torch.equal(numbers < 0, batch["labels"] == IGNORED)


def test_held_out_batches_have_similar_lengths_in_shuffled_order(texts):
    widths = [batch["tokens"].shape[1] for batch in HeldOutTextBatches(texts, 8, 0, 1)]
    batches = sorted(sorted(LENGTHS)[i : i + 8][-1] for i in range(0, 103, 8))
    assert sorted(widths) == batches and widths != sorted(widths)


@pytest.mark.parametrize(
    ("longest", "width"), [(1, 1), (20, 20), (64, 64), (65, 96), (97, 128), (130, 150), (150, 150)]
)
def test_long_batches_have_few_widths_up_to_the_longest_text(longest, width):
    lengths = np.array([longest, 1, 150])
    assert batch_width(lengths, np.array([0, 1])) == width
