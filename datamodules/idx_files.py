"""Reads MNIST's idx files: a header of sizes, then one byte a number."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from datamodules.document_files import one_line

# torchvision's folder below its root, and the files as they are.
_PLACES = (".", "MNIST/raw", "raw")
# How many dimensions the array in a file has, by what it holds.
_DIMENSIONS = {"images": 3, "labels": 1}


def find_idx(folder: Path, part: str, content: str) -> Path:
    """A file of the data set in a folder, compressed or not.

    Args:
        folder: The folder with the files, or one with torchvision's ``MNIST/raw`` in it.
        part: 'train' or 't10k'.
        content: 'images' or 'labels'.

    Raises:
        ValueError: There is no such folder or file.
    """
    if not folder.is_dir():
        raise ValueError(
            f"there is no folder {folder}; name the one that holds the idx files with "
            f"--data.data_dir, or leave data.data_dir at null to load from the Hugging Face hub"
        )
    dimensions = _DIMENSIONS[content]
    # The original name, and the one with a dot that other copies have.
    names = [f"{part}-{content}{mark}idx{dimensions}-ubyte" for mark in "-."]
    for place in _PLACES:
        for name in (f"{name}{suffix}" for name in names for suffix in ("", ".gz")):
            if (path := folder / place / name).is_file():
                return path
    raise ValueError(
        f"{folder} holds no file {names[0]}, with or without .gz, nor does its folder MNIST/raw; "
        f"put it there, or name another folder with --data.data_dir"
    )


def read_idx(path: Path, content: str) -> np.ndarray:
    """The array of an idx file, uint8: (N, rows, columns) of images, (N,) of labels.

    The file begins with 0, 0, 8 (bytes follow) and the number of dimensions, then has each size in
    four bytes, the highest first (LeCun, Cortes and Burges).

    Args:
        path: The file; one that ends with .gz is decompressed.
        content: 'images' or 'labels'.

    Raises:
        ValueError: It cannot be read, holds something else, or is not as long as it says.
    """
    try:
        raw = path.read_bytes()
        if path.suffix == ".gz":
            raw = gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(
            f"{path} cannot be read ({one_line(error)}); it is cut off or damaged: get it again"
        ) from error
    dimensions = _DIMENSIONS[content]
    header = 4 + 4 * dimensions
    expected = bytes([0, 0, 8, dimensions])
    if raw[:4] != expected:
        raise ValueError(
            f"{path} is no idx file of {content}: it begins with the bytes {raw[:4].hex(' ')!r} "
            f"and not with {expected.hex(' ')!r}; put the right file there"
        )
    shape = [int(size) for size in np.frombuffer(raw[4 : len(raw[:header]) // 4 * 4], ">u4")]
    if len(shape) < dimensions or len(raw) != header + math.prod(shape):
        there_is = f"{len(raw):,} bytes"
        should_be = (
            f"{header + math.prod(shape):,} ({' × '.join(map(str, shape))} after its header)"
            if len(shape) == dimensions
            else f"a header of {header}"
        )
        raise ValueError(
            f"{path} has {there_is} and should have {should_be}; it is cut off or damaged: get it "
            f"again"
        )
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape).copy()
