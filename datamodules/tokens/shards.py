"""Reading windows of tokens from shards, and checking their ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from datamodules.tokens.meta import DTYPES, PREPARE_HINT, SplitName, checked_shards, read_meta

CHUNK = 1 << 22  # tokens read at once by check_ids


class TokenShards:
    """The tokens of one split, memory-mapped.

    Opening checks what can be checked without reading the tokens: that the files exist, have the
    sizes in meta.json, and that the model's vocabulary is large enough.

    Args:
        folder: The folder of the shards.
        split: 'train' or 'val'.
        vocab_size: The model's vocabulary; None accepts any.

    Attributes:
        meta: Description of the folder.
        num_tokens: Number of tokens of the split.

    Raises:
        ValueError: The shards are missing, incomplete, or of a larger vocabulary.
    """

    def __init__(self, folder: str | Path, split: SplitName, vocab_size: int | None = None) -> None:
        self.folder = Path(folder)
        self.split = split
        self.meta = read_meta(folder)
        shards = checked_shards(self.folder, split, self.meta)
        if vocab_size is not None and self.meta.exact and self.meta.vocab_size > vocab_size:
            raise ValueError(
                f"the model's vocab_size is {vocab_size} but the tokenizer of the shards in "
                f"{folder}, {self.meta.tokenizer!r}, has {self.meta.vocab_size} ids; raise it, or "
                f"{PREPARE_HINT} and another tokenizer"
            )
        self.dtype = DTYPES[self.meta.dtype]
        self.paths = [self.folder / shard.name for shard in shards]
        self.sizes = np.array([shard.tokens for shard in shards])
        self.num_tokens = int(self.sizes.sum())
        self._maps: dict[int, np.ndarray] = {}

    def num_windows(self, block_size: int) -> int:
        """Number of windows of ``block_size + 1`` tokens, one every ``block_size`` tokens.

        The last token of a window is the first of the next, so every token except a shard's first
        is predicted once. Windows do not cross shards.
        """
        return int(self._windows_per_shard(block_size).sum())

    def windows(self, indices: np.ndarray, block_size: int) -> np.ndarray:
        """Windows by index.

        Args:
            indices: (N,), from 0 to ``num_windows(block_size) - 1``.
            block_size: See ``num_windows``.

        Returns:
            Token ids, int64 (N, block_size + 1).
        """
        indices = np.asarray(indices, np.int64)
        ends = np.cumsum(self._windows_per_shard(block_size))
        if len(indices) and not 0 <= indices.min() <= indices.max() < ends[-1]:
            raise IndexError(
                f"window {indices.max()} or {indices.min()} is out of range: split {self.split!r} "
                f"has {ends[-1]} windows of {block_size} tokens"
            )
        shards = np.searchsorted(ends, indices, side="right")
        result = np.empty((len(indices), block_size + 1), np.int64)
        for shard in np.unique(shards).tolist():
            in_shard = shards == shard
            first = ends[shard - 1] if shard else 0
            windows = self._view(shard, block_size)[indices[in_shard] - first]
            if (largest := int(windows.max())) >= self.meta.vocab_size:  # damaged, or nanoGPT's
                raise ValueError(_unknown_id(self.paths[shard], largest, self.meta.vocab_size))
            result[in_shard] = windows
        return result

    def _windows_per_shard(self, block_size: int) -> np.ndarray:
        return np.maximum(self.sizes - 1, 0) // block_size

    def _view(self, shard: int, block_size: int) -> np.ndarray:
        """All windows of a shard (W, block_size + 1), overlapping by one token, without a copy."""
        tokens = self._maps.get(shard)
        if tokens is None:
            # A plain array over the map: slicing np.memmap itself is several times slower.
            tokens = np.asarray(np.memmap(self.paths[shard], self.dtype, "r"))
            self._maps[shard] = tokens
        windows = np.lib.stride_tricks.sliding_window_view(tokens, block_size + 1)
        return windows[::block_size]

    def __getstate__(self) -> dict[str, Any]:
        """Leaves out the maps, which would be pickled as whole arrays."""
        return {**self.__dict__, "_maps": {}}


def check_ids(folder: str | Path, split: SplitName, vocab_size: int) -> None:
    """Check that all token ids are in the model's vocabulary.

    Compares the largest ids in meta.json. Without meta.json all tokens are read once.
    """
    meta = read_meta(folder)
    for shard in checked_shards(Path(folder), split, meta):
        path = Path(folder) / shard.name
        largest = shard.largest
        if not meta.exact:
            tokens = np.memmap(path, DTYPES[meta.dtype], "r")
            starts = range(0, len(tokens), CHUNK)
            largest = max(int(tokens[start : start + CHUNK].max()) for start in starts)
        if largest >= vocab_size:
            raise ValueError(_unknown_id(path, largest, vocab_size))


def _unknown_id(path: Path, token_id: int, vocab_size: int) -> str:
    return (
        f"{path} has the token id {token_id} but the model's vocab_size is {vocab_size}; raise it, "
        f"or {PREPARE_HINT} and the model's tokenizer"
    )
