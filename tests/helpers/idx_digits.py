"""Write idx files in MNIST's format."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np

NAMES = {
    ("train", "images"): "train-images-idx3-ubyte",
    ("train", "labels"): "train-labels-idx1-ubyte",
    ("t10k", "images"): "t10k-images-idx3-ubyte",
    ("t10k", "labels"): "t10k-labels-idx1-ubyte",
}


def idx_bytes(array: np.ndarray) -> bytes:
    """The big-endian header and the numbers."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + bytes(array.astype(np.uint8).flatten().tolist())


def digits(size: int, seed: int, rows: int = 4, columns: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Random images whose brightness depends on their class, and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, size)
    images = rng.integers(0, 130, (size, rows, columns)) + 12 * labels[:, None, None]
    return images.astype(np.uint8), labels.astype(np.uint8)


def write_digits(folder: Path, train: int = 23, test: int = 9, compressed: bool = True) -> Path:
    """Write all four files; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, size, seed in (("train", train, 0), ("t10k", test, 1)):
        for content, array in zip(("images", "labels"), digits(size, seed), strict=True):
            raw, name = idx_bytes(array), NAMES[part, content]
            if compressed:
                (folder / f"{name}.gz").write_bytes(gzip.compress(raw))
            else:
                (folder / name).write_bytes(raw)
    return folder
