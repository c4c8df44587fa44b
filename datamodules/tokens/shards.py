"""Reading of token shards: windows of them, and checks of what they hold."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.tokens.meta import (
    AGAIN,
    DTYPES,
    META,
    Meta,
    SplitName,
    checked_shards,
    read_meta,
)

__all__ = ["Meta", "TokenShards", "check_ids", "read_meta", "verify"]

CHUNK = 1 << 22  # tokens that are looked at in one go


class TokenShards:
    """The tokens of one split, read from the disk where they are asked for.

    Opening checks what can be told without reading the files: that they are there, that their
    sizes are those of meta.json, and that the model knows the vocabulary.

    Args:
        folder: The folder of the shards.
        split: 'train' or 'val'.
        vocab_size: The model's vocabulary; null to take any.
        dtype: How a folder without meta.json stores its ids.

    Attributes:
        meta: What is known of the folder.
        num_tokens: Number of tokens of the split.

    Raises:
        ValueError: The shards are not there, not whole, or not for this vocabulary.
    """

    def __init__(
        self,
        folder: str | Path,
        split: SplitName,
        vocab_size: int | None = None,
        dtype: str = "uint16",
    ) -> None:
        self.folder = Path(folder)
        self.split = split
        self.meta = read_meta(folder, dtype)
        shards = checked_shards(self.folder, split, self.meta)
        if vocab_size is not None and self.meta.exact and self.meta.vocab_size > vocab_size:
            raise ValueError(
                f"the shards in {folder} are made with the tokenizer {self.meta.tokenizer!r} of "
                f"{self.meta.vocab_size} ids, and the model's vocabulary has {vocab_size}; give "
                f"the model at least {self.meta.vocab_size}, or {AGAIN} and another tokenizer"
            )
        self.dtype = DTYPES[self.meta.dtype]
        self.paths = [self.folder / shard.name for shard in shards]
        self.sizes = np.array([shard.tokens for shard in shards])
        self.num_tokens = int(self.sizes.sum())
        self._maps: dict[int, np.ndarray] = {}

    def num_windows(self, block_size: int) -> int:
        """Number of windows of ``block_size + 1`` tokens, one every ``block_size`` tokens.

        The last token of a window is the first of the next, so that every token but a shard's first
        is predicted once. No window reaches into the next shard.
        """
        return int(self._windows_per_shard(block_size).sum())

    def windows(self, indices: np.ndarray, block_size: int) -> np.ndarray:
        """Windows by their numbers.

        Args:
            indices: Numbers (N,) from 0 to ``num_windows(block_size) - 1``.
            block_size: See ``num_windows``.

        Returns:
            Token ids, int64 (N, block_size + 1).

        Raises:
            IndexError: There is no such window.
            ValueError: It holds an id that the vocabulary has not.
        """
        indices = np.asarray(indices, np.int64)
        ends = np.cumsum(self._windows_per_shard(block_size))
        if len(indices) and not 0 <= indices.min() <= indices.max() < ends[-1]:
            raise IndexError(
                f"windows {indices.min()} to {indices.max()} of the split {self.split!r} are asked "
                f"for, and it has {ends[-1]} of {block_size} tokens"
            )
        shards = np.searchsorted(ends, indices, side="right")
        result = np.empty((len(indices), block_size + 1), np.int64)
        for shard in np.unique(shards).tolist():
            chosen = shards == shard
            first = ends[shard - 1] if shard else 0
            windows = self._view(shard, block_size)[indices[chosen] - first]
            if (largest := int(windows.max())) >= self.meta.vocab_size:  # whatever meta.json says
                raise ValueError(_unknown_id(self.paths[shard], largest, "", self.meta.vocab_size))
            result[chosen] = windows
        return result

    def _windows_per_shard(self, block_size: int) -> np.ndarray:
        if block_size < 1:
            raise ValueError(f"block_size is {block_size}; it must be at least 1")
        return np.maximum(self.sizes - 1, 0) // block_size

    def _view(self, shard: int, block_size: int) -> np.ndarray:
        """All windows of a shard (W, block_size + 1), overlapping by a token; nothing is copied."""
        tokens = self._maps.get(shard)
        if tokens is None:
            # a plain array over the map: slices of np.memmap itself cost several times as much
            tokens = np.asarray(np.memmap(self.paths[shard], self.dtype, "r"))
            self._maps[shard] = tokens
        windows = np.lib.stride_tricks.sliding_window_view(tokens, block_size + 1)
        return windows[::block_size]

    def __getstate__(self) -> dict[str, Any]:
        """For other processes: without the maps, which would be pickled as the data themselves."""
        return {**self.__dict__, "_maps": {}}


def check_ids(folder: str | Path, split: SplitName, vocab_size: int, dtype: str = "uint16") -> None:
    """Refuse token ids that the model does not know.

    With meta.json the recorded largest ids are compared. Without it all ids are read once, which
    takes as long as reading the files.

    Args:
        folder: The folder of the shards.
        split: 'train' or 'val'.
        vocab_size: The model's vocabulary.
        dtype: How a folder without meta.json stores its ids.

    Raises:
        ValueError: An id is not below ``vocab_size``; or the shards are broken.
    """
    meta = read_meta(folder, dtype)
    for shard in checked_shards(Path(folder), split, meta):
        path = Path(folder) / shard.name
        if shard.largest >= vocab_size:
            raise ValueError(_unknown_id(path, shard.largest, "", vocab_size))
        if shard.largest >= 0:
            continue
        position = 0
        with path.open("rb") as file:
            while len(ids := np.fromfile(file, DTYPES[meta.dtype], CHUNK)):
                if ids.max() >= vocab_size:
                    first = int(np.argmax(ids >= vocab_size))
                    at = f" at token {position + first}"
                    raise ValueError(_unknown_id(path, int(ids[first]), at, vocab_size))
                position += len(ids)


def verify(folder: str | Path) -> list[str]:
    """Compute the checksums of all shards again and compare them with meta.json.

    Returns:
        Names of the files, all of which are as they were made.

    Raises:
        ValueError: A file has changed, or there is no meta.json to compare with.
    """
    folder = Path(folder)
    meta = read_meta(folder)
    if not meta.exact:
        raise ValueError(
            f"{folder} has no {META} and so no checksums to compare with; {AGAIN} to have them"
        )
    names = []
    for split, part in meta.splits.items():
        for shard in checked_shards(folder, split, meta) if part.shards else []:
            with (folder / shard.name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != shard.sha256:
                raise ValueError(
                    f"{folder / shard.name} has changed since it was made (sha256 {found[:12]}..., "
                    f"in {META} {shard.sha256[:12]}...); copy it again, or {AGAIN}"
                )
            names.append(shard.name)
    return names


def _unknown_id(path: Path, found: int, where: str, vocab_size: int) -> str:
    return (
        f"{path} holds the token id {found}{where}, and the model's vocabulary has {vocab_size}, "
        f"0 to {vocab_size - 1}; give the model a larger one, or {AGAIN} and its tokenizer"
    )
