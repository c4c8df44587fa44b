"""Writing the shards of one split such that writing can be killed at any time and resumed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np

from datamodules.tokens.meta import DTYPES, Shard, ShardSplit

RESTART_HINT = "delete the folder and prepare it from the beginning"


class SplitWriter:
    """Appends token ids to the shards of a split.

    A shard is a ``.partial`` file until it is full, so a ``.bin`` is always complete.
    """

    def __init__(
        self, folder: Path, split: str, dtype: str, shard_tokens: int, state: ShardSplit
    ) -> None:
        self.folder = folder
        self.split = split
        self.dtype = DTYPES[dtype]
        self.shard_tokens = shard_tokens
        self.documents = state.documents
        self.tokens = state.tokens
        self._complete = [shard for shard in state.shards if shard.sha256]
        self._current: tuple[Shard, IO[bytes]] | None = None  # the shard being written
        self._delete_newer(state)
        for shard in state.shards:
            if not shard.sha256:
                self._reopen(replace(shard))

    def write(self, ids: np.ndarray) -> None:
        """Append ids, which must be of the shards' dtype."""
        while len(ids):
            if self._current is None:
                shard = Shard(f"{self.split}_{len(self._complete):06d}.bin", 0, "", -1)
                self._current = shard, self._partial(shard).open("wb")
            shard, file = self._current
            part = ids[: self.shard_tokens - shard.tokens]
            with _error_names(self._partial(shard)):
                file.write(part.data)
            shard.tokens += len(part)
            shard.largest = max(shard.largest, int(part.max()))
            self.tokens += len(part)
            if shard.tokens == self.shard_tokens:
                self.finish()
            ids = ids[len(part) :]

    def checkpoint(self) -> ShardSplit:
        """Flush to disk; returns the state to resume from."""
        shards = list(self._complete)
        if self._current is not None:
            self._sync()
            shards.append(replace(self._current[0]))
        return ShardSplit(self.documents, self.tokens, shards)

    def finish(self) -> None:
        """Complete the current shard."""
        if self._current is None:
            return
        self._sync()
        shard, file = self._current
        file.close()
        with self._partial(shard).open("rb") as written:
            shard.sha256 = hashlib.file_digest(written, "sha256").hexdigest()
        os.replace(self._partial(shard), self.folder / shard.name)
        self._complete.append(shard)
        self._current = None

    def close(self) -> None:
        """Close the file and leave it as it is."""
        if self._current is not None:
            shard, file = self._current
            self._current = None
            with _error_names(self._partial(shard)):
                file.close()

    def _partial(self, shard: Shard) -> Path:
        return self.folder / f"{shard.name}.partial"

    def _sync(self) -> None:
        assert self._current is not None
        shard, file = self._current
        with _error_names(self._partial(shard)):
            file.flush()
            os.fsync(file.fileno())

    def _delete_newer(self, state: ShardSplit) -> None:
        """Delete shards started after the recorded state; check the complete ones."""
        recorded = {shard.name for shard in state.shards}
        for path in self.folder.glob(f"{self.split}_*.bin*"):
            if path.name.removesuffix(".partial") not in recorded:
                path.unlink()
        for shard in self._complete:
            path = self.folder / shard.name
            if not path.is_file() or path.stat().st_size != shard.tokens * self.dtype.itemsize:
                raise ValueError(
                    f"{path}, written by an earlier run, is missing or changed; {RESTART_HINT}"
                )

    def _reopen(self, shard: Shard) -> None:
        """Continue a shard, which may have been completed after the state was recorded."""
        partial = self._partial(shard)
        if (self.folder / shard.name).exists():
            os.replace(self.folder / shard.name, partial)
        size = shard.tokens * self.dtype.itemsize
        if not partial.exists() or partial.stat().st_size < size:
            raise ValueError(
                f"{partial} is missing or has fewer than its {shard.tokens} recorded tokens; "
                f"{RESTART_HINT}"
            )
        os.truncate(partial, size)
        self._current = shard, partial.open("ab")


@contextmanager
def _error_names(path: Path) -> Iterator[None]:
    """Add the file name to errors of an open file, which lack it."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
