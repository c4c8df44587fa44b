"""A corpus to prepare, what preparing it wrote, and preparing in a process of its own."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np

from tests.helpers.paths import ROOT


def corpus(path: Path, count: int = 300, seed: int = 0) -> list[str]:
    """A file of documents of all lengths, empty ones and copies among them."""
    source = random.Random(seed)
    words = ["one", "two", "Wörter", "日本", "<|endoftext|>", "\n\n", "3.14", "   "]
    texts = [" ".join(source.choices(words, k=source.randint(1, 60))) for _ in range(count)]
    texts[::17] = [""] * len(texts[::17])
    texts[5] = texts[6] = texts[count - 2]
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps({"text": text}) + "\n" for text in texts)
    return texts


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of every file of a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def tokens_of(folder: Path, split: str, dtype: str = "<u2") -> list[int]:
    """All ids of a split, one shard after the other."""
    paths = sorted(folder.glob(f"{split}_*.bin"))
    return [i for path in paths for i in np.fromfile(path, dtype).tolist()]


# The package without its __init__, which would import torch: these processes are many.
LEAN = f"""
import sys, types
package = types.ModuleType("datamodules")
package.__path__ = [{str(ROOT / "datamodules")!r}]
sys.modules["datamodules"] = package
"""


def run(script: str, *arguments: Path | int) -> subprocess.CompletedProcess[str]:
    """A script of its own process."""
    command = [sys.executable, "-c", LEAN + textwrap.dedent(script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)
