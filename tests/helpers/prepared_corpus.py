"""A corpus to prepare, the content of prepared folders, and scripts in separate processes."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np

from datamodules.documents.sources import Documents
from tests.helpers.paths import ROOT


def corpus(path: Path, count: int = 300, seed: int = 0) -> list[str]:
    """Write documents of all lengths, including empty ones and copies; returns their texts."""
    source = random.Random(seed)
    words = ["one", "two", "Wörter", "日本", "<|endoftext|>", "\n\n", "3.14", "   "]
    texts = [" ".join(source.choices(words, k=source.randint(1, 60))) for _ in range(count)]
    texts[::17] = [""] * len(texts[::17])
    texts[5] = texts[6] = texts[count - 2]
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps({"text": text}) + "\n" for text in texts)
    return texts


def texts_of(documents: Documents) -> list[str]:
    """The text of every document."""
    return [document() for document in documents.documents()]


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of every file of a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def tokens_of(folder: Path, split: str, dtype: str = "<u2") -> list[int]:
    """All ids of a split, one shard after the other."""
    paths = sorted(folder.glob(f"{split}_*.bin"))
    return [i for path in paths for i in np.fromfile(path, dtype).tolist()]


# The package without its __init__, which would import torch: there are many of these processes.
LEAN = f"""
import sys, types
package = types.ModuleType("datamodules")
package.__path__ = [{str(ROOT / "datamodules")!r}]
sys.modules["datamodules"] = package
"""


def run(script: str, *arguments: Path | int) -> subprocess.CompletedProcess[str]:
    """Run a script in a separate process."""
    command = [sys.executable, "-c", LEAN + textwrap.dedent(script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)
