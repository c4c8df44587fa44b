"""The description of a folder of token shards, meta.json, and checks of file sizes.

A folder has ``train*.bin`` and ``val*.bin``: little-endian ids of 16 bits (32 for vocabularies
above 65536) and nothing else. ``meta.json`` states the tokenizer, the vocabulary, and for every
shard its number of tokens, largest id and checksum. A folder without it is read as nanoGPT's.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

META = "meta.json"
PROGRESS = "progress.json"  # exists while the folder is being prepared
SPLITS = ("train", "val")
FORMAT = "glassbox tokens 1"
DTYPES: dict[str, np.dtype[Any]] = {"uint16": np.dtype("<u2"), "uint32": np.dtype("<u4")}
PREPARE_HINT = "make the shards again with `lightning prepare --config ...`"

SplitName = Literal["train", "val"]


@dataclass
class Shard:
    """One file of a split."""

    name: str
    tokens: int
    sha256: str  # empty while the shard is being written
    largest: int  # largest id, -1 if unknown


@dataclass
class ShardSplit:
    """One split: its documents, tokens and files."""

    documents: int = 0
    tokens: int = 0
    shards: list[Shard] = field(default_factory=list)


@dataclass
class Meta:
    """The content of meta.json.

    Attributes:
        tokenizer: Name of the tokenizer.
        vocab_size: Number of its ids.
        end_of_text: The id after every document.
        dtype: 'uint16' or 'uint32'.
        splits: 'train' and 'val'.
        skipped: Number of empty documents, which were left out.
        text_bytes: Size of all text in UTF-8.
        settings: Source and options of the preparation, to distinguish data sets.
        exact: False if there is no meta.json and nanoGPT's values are assumed.
    """

    tokenizer: str
    vocab_size: int
    end_of_text: int
    dtype: str
    splits: dict[str, ShardSplit] = field(default_factory=dict)
    skipped: int = 0
    text_bytes: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    exact: bool = True

    def to_json(self) -> str:
        """The content of meta.json."""
        values = {"format": FORMAT, **asdict(self)}
        del values["exact"]
        return json.dumps(values, indent=2) + "\n"


def token_dtype(vocab_size: int) -> str:
    """'uint16' if it can hold every id of a vocabulary, otherwise 'uint32'."""
    return "uint16" if vocab_size <= 1 << 16 else "uint32"


def read_meta(folder: str | Path) -> Meta:
    """The content of a folder's meta.json, or nanoGPT's values if there is none.

    Raises:
        ValueError: There is no such folder, its preparation is unfinished, or meta.json is broken
            or of another program.
    """
    folder = Path(folder)
    path = folder / META
    if not folder.is_dir():
        raise ValueError(
            f"folder {folder} with token shards does not exist; create it with "
            f"`lightning prepare --config ...`, or set --data.data_dir to another folder"
        )
    if path.exists():
        return load_meta(path)
    if (folder / PROGRESS).exists():
        raise ValueError(
            f"the preparation of {folder} is unfinished; run the same "
            f"`lightning prepare --config ...` again to resume it"
        )
    return _nanogpt_meta(folder)


def load_meta(path: Path) -> Meta:
    """The content of a meta.json, or of the progress record of a preparation (same format)."""
    try:
        values = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}); {PREPARE_HINT}") from error
    if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
        raise ValueError(
            f"{path} is not of the format {FORMAT!r}; {PREPARE_HINT}, or delete it if the shards "
            f"are nanoGPT's"
        )
    try:
        splits = {
            name: ShardSplit(
                part["documents"], part["tokens"], [Shard(**shard) for shard in part["shards"]]
            )
            for name, part in values.pop("splits").items()
        }
        meta = Meta(**values, splits=splits)
        inconsistency = _inconsistency(meta)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} has missing or unknown keys ({error}); {PREPARE_HINT}") from error
    if inconsistency:
        raise ValueError(f"{path} is inconsistent: {inconsistency}; {PREPARE_HINT}")
    return meta


def _inconsistency(meta: Meta) -> str:
    """What contradicts itself in a meta.json, or nothing."""
    if meta.dtype not in DTYPES:
        return f"dtype is {meta.dtype!r}, expected 'uint16' or 'uint32'"
    if meta.vocab_size > np.iinfo(DTYPES[meta.dtype]).max + 1:
        return f"{meta.dtype} is too small for a vocabulary of {meta.vocab_size}"
    for name, split in meta.splits.items():
        if sum(shard.tokens for shard in split.shards) != split.tokens:
            return f"the shards of {name!r} do not sum to {split.tokens} tokens"
        for shard in split.shards:
            if Path(shard.name).name != shard.name:
                return f"the shard {shard.name!r} is not a file of this folder"
            if shard.largest >= meta.vocab_size:
                return (
                    f"the largest id of {shard.name} is {shard.largest} but the vocabulary has "
                    f"{meta.vocab_size} ids"
                )
    return ""


def _nanogpt_meta(folder: Path) -> Meta:
    """GPT-2's vocabulary, and all files train*.bin and val*.bin."""
    splits = {}
    for name in SPLITS:
        files = sorted(folder.glob(f"{name}*.bin"))
        shards = [Shard(path.name, path.stat().st_size // 2, "", -1) for path in files]
        splits[name] = ShardSplit(0, sum(shard.tokens for shard in shards), shards)
    return Meta("gpt2", 50257, 50256, "uint16", splits, exact=False)


def checked_shards(folder: Path, split: str, meta: Meta) -> list[Shard]:
    """The shards of a split, after a check that their files have the expected sizes."""
    part = meta.splits.get(split)
    if part is None or not part.shards:
        hint = f"{PREPARE_HINT} and a larger val_fraction" if split == "val" else PREPARE_HINT
        raise ValueError(
            f"{folder} has no shards of the split {split!r} ({split}*.bin); {hint}, or set "
            f"--data.data_dir to another folder"
        )
    itemsize = DTYPES[meta.dtype].itemsize
    for shard in part.shards:
        path = folder / shard.name
        if not path.is_file():
            raise ValueError(f"{path} is missing; copy it again, or {PREPARE_HINT}")
        size = path.stat().st_size
        if size == 0 or size % itemsize or (meta.exact and size != shard.tokens * itemsize):
            expected = str(shard.tokens * itemsize) if meta.exact else f"a multiple of {itemsize}"
            raise ValueError(
                f"{path} is empty or truncated: it has {size} bytes, expected {expected}; copy it "
                f"again, or {PREPARE_HINT}"
            )
    return part.shards
