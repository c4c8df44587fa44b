"""Batches of labeled texts of similar length, identical for any number of ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor

from datamodules.common.member_batches import IGNORED
from datamodules.common.order import RandomStream, epoch_order, generator
from datamodules.texts.encoding import EncodedTexts
from datamodules.texts.vocabulary import PAD

NO_WORD = -1  # word index at padding
NO_TEXT = -1  # text index of an ignored row


class TextBatch(TypedDict):
    """A rank's rows of a global batch of texts."""

    tokens: Tensor  # (B, T) int64 ids, 0 at padding
    mask: Tensor  # (B, T) bool, true on real tokens
    words: Tensor  # (B, T) int64, index of the token's word in its text, -1 at padding
    labels: Tensor  # (B,) int64, -100 in ignored rows
    global_size: Tensor  # (2,) int64: labeled texts, and real tokens, in the global batch


class NumberedTextBatch(TextBatch):
    """A batch with the index of each text."""

    numbers: Tensor  # (B,) int64, index in the data set, -1 in ignored rows


def text_batch(
    texts: EncodedTexts,
    indices: np.ndarray,
    rank: int = 0,
    world: int = 1,
    pad_to: int | None = None,
    pin_memory: bool = False,
) -> TextBatch:
    """A rank's rows of the global batch of the texts at ``indices``: every ``world``-th.

    A rank without rows gets one ignored row of padding, so that it can take part in collective
    operations.

    Args:
        texts: The encoded texts.
        indices: Indices of the global batch (G,), at least one.
        rank: This rank.
        world: Number of ranks.
        pad_to: T; None takes the length of the longest text of the global batch.
        pin_memory: Put the batch into pinned memory, for asynchronous copies to a GPU.
    """
    lengths = texts.lengths[indices]
    num_labeled = np.count_nonzero(texts.labels[indices] != IGNORED)
    own = indices[rank::world]
    is_empty = len(own) == 0
    own = indices[:1] if is_empty else own
    columns = np.arange(batch_width(texts.lengths, indices) if pad_to is None else pad_to)
    mask = columns < np.where(is_empty, 0, texts.lengths[own, None])  # (B, T)
    at = np.where(mask, texts.offsets[own, None] + columns, 0)
    arrays = {
        "tokens": np.where(mask, texts.tokens[at], PAD).astype(np.int64),
        "mask": mask,
        "words": np.where(mask, texts.words[at], NO_WORD).astype(np.int64),
        "labels": np.where(is_empty, IGNORED, texts.labels[own]),
        "global_size": np.array([num_labeled, lengths.sum()]),
    }
    tensors = {name: torch.from_numpy(values) for name, values in arrays.items()}
    if pin_memory:
        tensors = {name: tensor.pin_memory() for name, tensor in tensors.items()}
    return TextBatch(**tensors)  # type: ignore[typeddict-item]


def batch_width(lengths: np.ndarray, indices: np.ndarray) -> int:
    """Width T of the batch of the texts at ``indices``, given the lengths of all texts.

    The longest of the batch; above 64 rounded up to a multiple of 32, but at most the longest of
    all texts. torch caches kernels for every shape: 200 widths of bfloat16 batches of 32 texts take
    more than 3 GB, 7 widths a few hundred MB.
    """
    longest = int(lengths[indices].max())
    if longest <= 64:
        return longest
    return min(-(-longest // 32) * 32, int(lengths.max()))


def bucketed_batches(
    lengths: np.ndarray, seed: int, epoch: int, batch_size: int, bucket_batches: int
) -> list[np.ndarray]:
    """The batches of an epoch, in order: a pure function of seed and epoch.

    The epoch's permutation is cut into windows of ``bucket_batches`` batches; each window is sorted
    by length and cut into batches; then all batches are shuffled. So the texts of a batch have
    similar lengths, batches come in random order, and every text is in one of them.
    """
    order = epoch_order(seed, epoch, len(lengths)).numpy()
    if bucket_batches > 1:
        window = bucket_batches * batch_size
        for start in range(0, len(order), window):
            part = order[start : start + window]
            order[start : start + window] = part[np.argsort(lengths[part], kind="stable")]
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    if bucket_batches > 1:
        rng = generator(seed, RandomStream.BATCH_ORDER, epoch)
        batches = [batches[i] for i in torch.randperm(len(batches), generator=rng).tolist()]
    return batches


def padding_fraction(
    lengths: np.ndarray, batches: list[np.ndarray], pad_to: int | None = None
) -> float:
    """Fraction of the positions of batches that is padding."""
    widths = [(batch_width(lengths, batch) if pad_to is None else pad_to) for batch in batches]
    positions = sum(w * len(batch) for w, batch in zip(widths, batches, strict=True))
    return 1 - float(lengths.sum()) / positions


class TrainingTextBatches:
    """One epoch of batches, each text once, from the current step.

    The step is read when iteration starts, because Lightning creates loaders before it restores its
    counters on resume.
    """

    def __init__(
        self,
        texts: EncodedTexts,
        seed: int,
        batch_size: int,
        bucket_batches: int,
        rank: int,
        world: int,
        step: Callable[[], int],
        pad_to: int | None = None,
        pin_memory: bool = False,
    ) -> None:
        self.texts = texts
        self.seed, self.batch_size, self.bucket_batches = seed, batch_size, bucket_batches
        self.step = step
        self.batch_options = (rank, world, pad_to, pin_memory)

    def __len__(self) -> int:
        return -(-len(self.texts) // self.batch_size)

    def __iter__(self) -> Iterator[TextBatch]:
        epoch, first = divmod(self.step(), len(self))
        batches = bucketed_batches(
            self.texts.lengths, self.seed, epoch, self.batch_size, self.bucket_batches
        )
        for indices in batches[first:]:
            yield text_batch(self.texts, indices, *self.batch_options)

    # With these two methods Lightning skips no batches on resume: the loader does, by the step.
    def state_dict(self) -> dict[str, Any]:
        """Empty: the position is the optimizer step."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing to restore."""


class HeldOutTextBatches:
    """Every text once over all ranks, in batches of similar length, always in the same order.

    Ranks divide each batch, so that all have the same number of batches; in a short batch a rank
    may have an ignored row. The order is shuffled, so that the first batches, to which
    ``trainer.limit_val_batches`` may limit validation, have all lengths.
    """

    def __init__(
        self,
        texts: EncodedTexts,
        batch_size: int,
        rank: int,
        world: int,
        pad_to: int | None = None,
        pin_memory: bool = False,
    ) -> None:
        self.texts = texts
        self.rank, self.world = rank, world
        self.batch_options = (rank, world, pad_to, pin_memory)
        num_batches = -(-len(texts) // batch_size)  # one window, sorted as a whole
        self.batches = bucketed_batches(texts.lengths, 0, 0, batch_size, max(2, num_batches))

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[TextBatch]:
        for indices in self.batches:
            yield text_batch(self.texts, indices, *self.batch_options)


class NumberedTextBatches(HeldOutTextBatches):
    """``HeldOutTextBatches`` with the index of every text."""

    def __iter__(self) -> Iterator[NumberedTextBatch]:
        for indices, batch in zip(self.batches, super().__iter__(), strict=True):
            own = indices[self.rank :: self.world]
            numbers = torch.from_numpy(own if len(own) else np.array([NO_TEXT]))
            yield NumberedTextBatch(**batch, numbers=numbers)
