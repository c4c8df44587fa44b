"""Images and their classes: from a folder of idx files, or by Hugging Face's ``datasets``."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from datamodules.documents.files import one_line

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


class LabeledImages(NamedTuple):
    """Gray images and the class of each."""

    images: Tensor  # (N, rows, columns), uint8, 0 is black
    labels: Tensor  # (N,), int64
    source: str  # the file or data set, for messages

    def fingerprint(self) -> str:
        """A checksum of images and labels."""
        check = zlib.crc32(self.images.numpy().tobytes())
        return f"{zlib.crc32(self.labels.numpy().tobytes(), check):08x}"


def read_labeled_images(folder: Path, part: str, num_classes: int) -> LabeledImages:
    """A part of MNIST, or of a data set in its format, out of a folder.

    Args:
        folder: The folder with the idx files, or one with torchvision's ``MNIST/raw`` in it.
        part: 'train' or 't10k'.
        num_classes: Labels are below it.

    Raises:
        ValueError: A file is missing or broken, or images and labels do not fit together.
    """
    paths = [find_idx(folder, part, content) for content in ("images", "labels")]
    images, labels = read_idx(paths[0], "images"), read_idx(paths[1], "labels")
    if len(images) != len(labels):
        raise ValueError(
            f"{paths[0]} holds {len(images):,} images and {paths[1].name} {len(labels):,} labels; "
            f"put files there that belong together"
        )
    return _checked(images, labels, num_classes, str(paths[0]), str(paths[1]))


def load_labeled_images(
    name: str, split: str, num_classes: int, revision: str | None = None
) -> LabeledImages:
    """A split of a data set of Hugging Face's ``datasets`` library.

    Args:
        name: Name on the hub, or a local folder of files that the library reads.
        split: 'train' or 'test'.
        num_classes: Labels are below it.
        revision: Branch or commit; null takes the newest of the main branch.

    Raises:
        ValueError: It cannot be loaded, or has no columns image and label of gray images of one
            size and of classes.
    """
    source = f"split {split!r} of the data set {name}"
    try:
        import datasets

        table = datasets.load_dataset(name, split=split, revision=revision)
        columns = table.column_names
        rows = table.select_columns([c for c in ("image", "label") if c in columns])
        images = [np.asarray(image) for image in rows["image"]] if "image" in columns else []
        labels = np.asarray(list(rows["label"])) if "label" in columns else np.empty(0)
    except Exception as error:  # the library and the network raise all kinds
        raise ValueError(
            f"the {source} could not be loaded ({type(error).__name__}: {one_line(error)}); check "
            f"its name and the network and try again, or name a folder of idx files with "
            f"--data.data_dir"
        ) from error
    if not {"image", "label"} <= set(columns):
        raise ValueError(
            f"the {source} has the columns {', '.join(columns)}; it needs image and label"
        )
    shapes = {image.shape for image in images}
    if len(shapes) > 1 or any(len(shape) != 2 for shape in shapes):
        found = " and ".join(map(str, sorted(shapes)[:2]))
        raise ValueError(
            f"the {source} has images of shape {found}; they must be gray and of one size"
        )
    pixels = np.stack(images).astype(np.uint8) if images else np.empty((0, 1, 1), np.uint8)
    return _checked(pixels, labels, num_classes, source, source)


def _checked(
    images: np.ndarray, labels: np.ndarray, num_classes: int, of_images: str, of_labels: str
) -> LabeledImages:
    """As tensors.

    Raises:
        ValueError: There is no image, or a label is no class.
    """
    if images.size == 0:
        raise ValueError(f"there are no images in {of_images}; name other data")
    strange = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(strange):
        raise ValueError(
            f"label {strange[0] + 1} in {of_labels} is {labels[strange[0]]}; labels must lie "
            f"between 0 and {num_classes - 1}"
        )
    as_classes = torch.from_numpy(labels.astype(np.int64))
    return LabeledImages(torch.from_numpy(images), as_classes, of_images)
