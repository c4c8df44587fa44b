"""Labeled images in MNIST's idx format, or from Hugging Face's ``datasets``."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from datamodules.common.options import one_line

_DIMENSIONS = {"images": 3, "labels": 1}  # of the array in a file


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
    """One part of MNIST, or of a data set in its format, from a folder."""
    paths = [find_idx(folder, part, content) for content in ("images", "labels")]
    images, labels = read_idx(paths[0], "images"), read_idx(paths[1], "labels")
    if len(images) != len(labels):
        raise ValueError(
            f"{paths[0]} has {len(images):,} images but {paths[1].name} has {len(labels):,} "
            f"labels; use files of the same data set"
        )
    return _checked(images, labels, num_classes, str(paths[0]), str(paths[1]))


def find_idx(folder: Path, part: str, content: str) -> Path:
    """The path of an idx file in a folder, compressed or not."""
    if not folder.is_dir():
        raise ValueError(
            f"folder {folder} does not exist; set --data.data_dir to the folder with the idx "
            f"files, or leave it at null to load from the Hugging Face hub"
        )
    # The original name, and the one with a dot that some copies have.
    names = [f"{part}-{content}{mark}idx{_DIMENSIONS[content]}-ubyte" for mark in "-."]
    for place in (".", "MNIST/raw", "raw"):
        for name in (f"{name}{suffix}" for name in names for suffix in ("", ".gz")):
            if (path := folder / place / name).is_file():
                return path
    raise ValueError(
        f"{folder} has no file {names[0]} or {names[0]}.gz, nor has its folder MNIST/raw; add the "
        f"file, or set --data.data_dir to another folder"
    )


def read_idx(path: Path, content: str) -> np.ndarray:
    """The array of an idx file, uint8: (N, rows, columns) of images, (N,) of labels.

    The header is 0, 0, 8 (for bytes), the number of dimensions, and each size as a big-endian
    32-bit integer (LeCun, Cortes and Burges).
    """
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is damaged ({one_line(error)}); download it again") from error
    dimensions = _DIMENSIONS[content]
    if raw[:4] != bytes([0, 0, 8, dimensions]):
        raise ValueError(f"{path} is not an idx file of {content}; replace it by the right file")
    header = 4 + 4 * dimensions
    shape = np.frombuffer(raw[4:header].ljust(header - 4, b"\0"), ">u4").astype(int)
    if len(raw) != header + shape.prod():
        raise ValueError(
            f"{path} has {len(raw):,} bytes, expected {header + shape.prod():,} from its header; "
            f"download it again"
        )
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape).copy()


def load_labeled_images(
    name: str, split: str, num_classes: int, revision: str | None = None
) -> LabeledImages:
    """A split of a data set of Hugging Face's ``datasets`` library."""
    source = f"split {split!r} of the data set {name}"
    try:
        import datasets

        table = datasets.load_dataset(name, split=split, revision=revision)
        columns = table.column_names
        rows = table.select_columns([c for c in ("image", "label") if c in columns])
        images = [np.asarray(image) for image in rows["image"]] if "image" in columns else []
        labels = np.asarray(list(rows["label"])) if "label" in columns else np.empty(0)
    except Exception as error:  # the library and the network raise many types
        raise ValueError(
            f"{source} could not be loaded ({type(error).__name__}: {one_line(error)}); check its "
            f"name and the network, or set --data.data_dir to a folder of idx files"
        ) from error
    if not {"image", "label"} <= set(columns):
        raise ValueError(f"{source} has columns {', '.join(columns)}; it needs image and label")
    shapes = {image.shape for image in images}
    if len(shapes) > 1 or any(len(shape) != 2 for shape in shapes):
        examples = " and ".join(map(str, sorted(shapes)[:2]))
        raise ValueError(f"{source} has images of shape {examples}; all must be gray and one size")
    pixels = np.stack(images).astype(np.uint8) if images else np.empty((0, 1, 1), np.uint8)
    return _checked(pixels, labels, num_classes, source, source)


def _checked(
    images: np.ndarray, labels: np.ndarray, num_classes: int, image_source: str, label_source: str
) -> LabeledImages:
    """Images and labels as tensors."""
    if images.size == 0:
        raise ValueError(f"{image_source} has no images; use other data")
    invalid = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(invalid):
        raise ValueError(
            f"label {invalid[0] + 1} in {label_source} is {labels[invalid[0]]}; labels must be "
            f"between 0 and {num_classes - 1}"
        )
    classes = torch.from_numpy(labels.astype(np.int64))
    return LabeledImages(torch.from_numpy(images), classes, image_source)
