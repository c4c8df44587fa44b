"""What a folder of token shards holds: its meta.json, and the checks that cost no reading.

A folder holds ``train*.bin`` and ``val*.bin``, little-endian ids of 16 bits (32 for vocabularies
above 65536) and nothing else. ``meta.json`` tells the tokenizer, the vocabulary, and for every
shard its number of tokens, its largest id and its checksum. A folder without it is taken for
nanoGPT's.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

META = "meta.json"
PROGRESS = "progress.json"  # there while the folder is being prepared
SPLITS = ("train", "val")
FORMAT = "glassbox tokens 1"
DTYPES: dict[str, np.dtype[Any]] = {"uint16": np.dtype("<u2"), "uint32": np.dtype("<u4")}
AGAIN = "make the shards again with `lightning prepare --config ...`"

SplitName = Literal["train", "val"]


@dataclass
class Shard:
    """One file of a split."""

    name: str
    tokens: int
    sha256: str
    largest: int  # largest id, -1 where unknown


@dataclass
class SplitMeta:
    """One split: its documents, tokens and files."""

    documents: int = 0
    tokens: int = 0
    shards: list[Shard] = field(default_factory=list)


@dataclass
class Meta:
    """What meta.json says.

    Attributes:
        tokenizer: Name of the tokenizer.
        vocab_size: Number of its ids.
        end_of_text: The id after every document.
        dtype: 'uint16' or 'uint32'.
        splits: 'train' and 'val'.
        skipped: Empty documents, which were left out.
        text_bytes: Size of all text in UTF-8.
        settings: What the shards were made from and how, to tell one data set from another.
        exact: False where there was no meta.json and the numbers are nanoGPT's.
    """

    tokenizer: str
    vocab_size: int
    end_of_text: int
    dtype: str
    splits: dict[str, SplitMeta] = field(default_factory=dict)
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
    """'uint16' where it can hold every id of a vocabulary, otherwise 'uint32'."""
    return "uint16" if vocab_size <= 1 << 16 else "uint32"


def read_meta(folder: str | Path, dtype: str = "uint16") -> Meta:
    """What meta.json says, or what nanoGPT's files are where there is none.

    Args:
        folder: The folder of the shards.
        dtype: How a folder without meta.json stores its ids.

    Raises:
        ValueError: There is no such folder, its preparation is not finished, or its meta.json is
            broken or not Glassbox's.
    """
    folder = Path(folder)
    path = folder / META
    if not folder.is_dir():
        raise ValueError(
            f"there is no folder {folder} with token shards; make it with "
            f"`lightning prepare --config ...`, or name another folder"
        )
    if not path.exists():
        if (folder / PROGRESS).exists():
            raise ValueError(
                f"the preparation of {folder} is not finished; run the same "
                f"`lightning prepare --config ...` again, it goes on where it stopped"
            )
        if dtype not in DTYPES:
            raise ValueError(f"dtype is {dtype!r}; choose 'uint16' or 'uint32'")
        return _nanogpt_meta(folder, dtype)
    return load_meta(path)


def load_meta(path: Path) -> Meta:
    """What a meta.json says, or the record of a preparation, which looks the same.

    Raises:
        ValueError: It is broken, contradicts itself, or is something else.
    """
    try:
        values = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is no valid JSON ({error}); {AGAIN}") from error
    if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
        raise ValueError(
            f"{path} is not a description of token shards that this version reads "
            f"(its format is not {FORMAT!r}); {AGAIN}, or take it away if the shards are nanoGPT's"
        )
    try:
        splits = {
            name: SplitMeta(
                part["documents"], part["tokens"], [Shard(**shard) for shard in part["shards"]]
            )
            for name, part in values.pop("splits").items()
        }
        meta = Meta(**values, splits=splits)
        _check_meta(path, meta)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} lacks a part or has one too many ({error}); {AGAIN}") from error
    return meta


def _check_meta(path: Path, meta: Meta) -> None:
    """Refuse a meta.json that contradicts itself."""
    wrong = ""
    if meta.dtype not in DTYPES:
        wrong = f"its dtype is {meta.dtype!r} and neither 'uint16' nor 'uint32'"
    elif meta.vocab_size > np.iinfo(DTYPES[meta.dtype]).max + 1:
        wrong = f"{meta.dtype} cannot hold a vocabulary of {meta.vocab_size}"
    for name, split in meta.splits.items():
        if sum(shard.tokens for shard in split.shards) != split.tokens:
            wrong = f"the shards of {name!r} do not add up to its {split.tokens} tokens"
        for shard in split.shards:
            if Path(shard.name).name != shard.name:
                wrong = f"the shard {shard.name!r} is not a file of this folder"
            elif shard.largest >= meta.vocab_size:
                wrong = (
                    f"the largest id of {shard.name} is {shard.largest}, and the vocabulary "
                    f"has {meta.vocab_size}"
                )
    if wrong:
        raise ValueError(f"{path} contradicts itself: {wrong}; {AGAIN}")


def _nanogpt_meta(folder: Path, dtype: str) -> Meta:
    """GPT-2's vocabulary, and whatever train*.bin and val*.bin there are."""
    size = DTYPES[dtype].itemsize
    splits = {}
    for name in SPLITS:
        files = sorted(folder.glob(f"{name}*.bin"))
        shards = [Shard(path.name, path.stat().st_size // size, "", -1) for path in files]
        splits[name] = SplitMeta(0, sum(shard.tokens for shard in shards), shards)
    return Meta("gpt2", 50257, 50256, dtype, splits, exact=False)


def checked_shards(folder: Path, split: str, meta: Meta) -> list[Shard]:
    """The shards of a split, which are there and have the sizes they should have.

    Raises:
        ValueError: There are none, or one is missing or cut off.
    """
    part = meta.splits.get(split)
    if part is None or not part.shards:
        have = [name for name, other in meta.splits.items() if other.shards]
        remedy = f"{AGAIN} and a larger val_fraction" if split == "val" else AGAIN
        raise ValueError(
            f"{folder} has no split {split!r} ({split}*.bin), only "
            f"{' and '.join(map(repr, have)) or 'none at all'}; {remedy}, or name another folder"
        )
    size = DTYPES[meta.dtype].itemsize
    for shard in part.shards:
        path = folder / shard.name
        if not path.is_file():
            raise ValueError(f"{path} is missing, which {META} names; copy it again, or {AGAIN}")
        found = path.stat().st_size
        if found == 0:
            raise ValueError(f"{path} is empty; copy it again, or {AGAIN}")
        if found % size or (meta.exact and found != shard.tokens * size):
            expected = f"{shard.tokens * size} ({shard.tokens} tokens of {meta.dtype})"
            if not meta.exact:
                expected = f"a multiple of {size} (tokens of {meta.dtype})"
            raise ValueError(
                f"{path} has {found} bytes and should have {expected}, so it is cut off or no file "
                f"of tokens; copy it again, or {AGAIN}"
            )
    return part.shards
