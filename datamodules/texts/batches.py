"""Batches of labeled texts: of like length, padded together, the same on any ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor

from datamodules.common.order import BATCH_ORDER, epoch_order, generator
from datamodules.texts.encoding import EncodedTexts
from datamodules.texts.vocabulary import PAD

NOT_COUNTED = -100  # label of a row that no loss and no score counts
NO_WORD = -1  # number of the word at padding
NO_TEXT = -1  # number of the text of a row that does not count


class TextBatch(TypedDict):
    """A rank's rows of a global batch of texts."""

    tokens: Tensor  # (B, T) int64 ids, 0 at padding
    mask: Tensor  # (B, T) bool, true on real tokens
    words: Tensor  # (B, T) int64: to which word of its text a token belongs, -1 at padding
    labels: Tensor  # (B,) int64, -100 for rows that do not count
    global_size: Tensor  # (2,) int64: examples that count, real tokens, in the global batch


def text_batch(
    texts: EncodedTexts,
    indices: np.ndarray[Any, Any],
    rank: int = 0,
    world: int = 1,
    pad_to: int | None = None,
    pin_memory: bool = False,
) -> TextBatch:
    """A rank's rows of the global batch of the texts at ``indices``: every ``world``-th.

    A rank for which no row is left gets one that is all padding and does not count, so that it can
    take part in whatever the ranks do together.

    Args:
        texts: The encoded texts.
        indices: Of the global batch (G,), at least one.
        rank: This rank.
        world: Number of ranks.
        pad_to: T; null takes what the longest text of the global batch needs.
        pin_memory: Give tensors that a GPU can fetch while the processor goes on.
    """
    lengths = texts.lengths[indices]
    counted = np.count_nonzero(texts.labels[indices] != NOT_COUNTED)
    own = indices[rank::world]
    nothing = len(own) == 0
    own = indices[:1] if nothing else own
    columns = np.arange(batch_width(texts.lengths, indices) if pad_to is None else pad_to)
    mask = columns < np.where(nothing, 0, texts.lengths[own, None])  # (B, T)
    at = np.where(mask, texts.offsets[own, None] + columns, 0)
    batch = {
        "tokens": np.where(mask, texts.tokens[at], PAD).astype(np.int64),
        "mask": mask,
        "words": np.where(mask, texts.words[at], NO_WORD).astype(np.int64),
        "labels": np.where(nothing, NOT_COUNTED, texts.labels[own]),
        "global_size": np.array([counted, lengths.sum()]),
    }
    tensors = {name: torch.from_numpy(values) for name, values in batch.items()}
    if pin_memory:
        tensors = {name: tensor.pin_memory() for name, tensor in tensors.items()}
    return TextBatch(**tensors)  # type: ignore[typeddict-item]


def batch_width(lengths: np.ndarray[Any, Any], indices: np.ndarray[Any, Any]) -> int:
    """Positions T of the batch of the texts at ``indices``, of all that are ``lengths`` long.

    The longest of the batch; above 64 it goes up to a multiple of 32, but never beyond the longest
    text that there is. torch keeps kernels for every shape it has seen: 200 widths of bfloat16
    batches of 32 texts hold more than 3 GB, 7 of them a few hundred MB.
    """
    longest = int(lengths[indices].max())
    if longest <= 64:
        return longest
    return min(-(-longest // 32) * 32, int(lengths.max()))


def bucketed_batches(
    lengths: np.ndarray[Any, Any], seed: int, epoch: int, batch_size: int, bucket_batches: int
) -> list[np.ndarray[Any, Any]]:
    """The batches of an epoch, in their order: a pure function of seed and epoch.

    The epoch's permutation is cut into windows of ``bucket_batches`` batches; a window is sorted by
    length and cut into batches; then all batches are shuffled. So texts of a batch are of like
    length, batches come in any order, and every text is in one of them.

    Args:
        lengths: Tokens of each text (n,).
        seed: Of the order.
        epoch: Number of the epoch.
        batch_size: Texts of a batch; one batch of the epoch may have fewer.
        bucket_batches: Batches of a window; 0 or 1 for batches of texts of any length.
    """
    order = epoch_order(seed, epoch, len(lengths)).numpy()
    if bucket_batches > 1:
        window = bucket_batches * batch_size
        for start in range(0, len(order), window):
            part = order[start : start + window]
            order[start : start + window] = part[np.argsort(lengths[part], kind="stable")]
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    if bucket_batches > 1:
        shuffled = torch.randperm(len(batches), generator=generator(seed, BATCH_ORDER, epoch))
        batches = [batches[i] for i in shuffled.tolist()]
    return batches


def padding_fraction(
    lengths: np.ndarray[Any, Any], batches: list[np.ndarray[Any, Any]], pad_to: int | None = None
) -> float:
    """Share of the positions of batches that is padding."""
    widths = [(batch_width(lengths, batch) if pad_to is None else pad_to) for batch in batches]
    positions = sum(w * len(batch) for w, batch in zip(widths, batches, strict=True))
    return 1 - float(lengths.sum()) / positions


class TrainingTextBatches:
    """One epoch of batches, each text once, from the step that is current.

    The position is read when the first batch is asked for and not before, since Lightning builds
    loaders before it restores its counters on resume.

    Args:
        texts: The training texts.
        seed: Of the order.
        batch_size: Texts of one optimizer step, all ranks together.
        bucket_batches: See ``bucketed_batches``.
        rank: This rank.
        world: Number of ranks.
        step: Tells the number of optimizer steps done.
        pad_to: T; null takes what the longest of each global batch needs.
        pin_memory: As for ``text_batch``.
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
        self.rank, self.world = rank, world
        self.step = step
        self.pad_to = pad_to
        self.pin_memory = pin_memory

    def __len__(self) -> int:
        return -(-len(self.texts) // self.batch_size)

    def __iter__(self) -> Iterator[TextBatch]:
        epoch, first = divmod(self.step(), len(self))
        batches = bucketed_batches(
            self.texts.lengths, self.seed, epoch, self.batch_size, self.bucket_batches
        )
        for indices in batches[first:]:
            yield text_batch(
                self.texts, indices, self.rank, self.world, self.pad_to, self.pin_memory
            )

    # Lightning takes a loader with these two for one that goes on where it stopped. This one does,
    # by the step; it has nothing of its own to keep.
    def state_dict(self) -> dict[str, Any]:
        """Nothing: the position is the optimizer step."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing to restore."""


class NumberedTextBatch(TextBatch):
    """A batch that says which texts it holds."""

    numbers: Tensor  # (B,) int64: places in the texts' own order, -1 for rows that do not count


class HeldOutTextBatches:
    """Every text once over all ranks, in batches of like length and always the same order.

    The ranks share out each batch, so that all have the same number of them; in a short batch
    a rank may have a row that does not count. The order is mixed, so that the first batches, which
    ``trainer.limit_val_batches`` may leave alone, are of all lengths.

    Args:
        texts: The texts.
        batch_size: Texts of a batch, all ranks together.
        rank: This rank.
        world: Number of ranks.
        pad_to: T; null takes what the longest of each global batch needs.
        pin_memory: As for ``text_batch``.
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
        self.pad_to = pad_to
        self.pin_memory = pin_memory
        everything = -(-len(texts) // batch_size)  # one window: sorted as a whole
        self.batches = bucketed_batches(texts.lengths, 0, 0, batch_size, max(2, everything))

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[TextBatch]:
        for indices in self.batches:
            yield text_batch(
                self.texts, indices, self.rank, self.world, self.pad_to, self.pin_memory
            )


class NumberedTextBatches(HeldOutTextBatches):
    """As ``HeldOutTextBatches``, with the number of every text, for who wants to name them."""

    def __iter__(self) -> Iterator[NumberedTextBatch]:
        for indices, batch in zip(self.batches, super().__iter__(), strict=True):
            own = indices[self.rank :: self.world]
            numbers = torch.from_numpy(own if len(own) else np.array([NO_TEXT]))
            yield NumberedTextBatch(**batch, numbers=numbers)
