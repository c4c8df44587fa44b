"""MNIST: all images on the device, many seeds at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from datamodules.common.member_batches import (
    IGNORED,
    EpochBatch,
    EvaluationBatch,
    GatheredBatches,
    SingleBatchLoader,
)
from datamodules.common.member_data import MemberData
from datamodules.common.options import as_folder, check_at_least, choose
from datamodules.common.order import epoch_batches
from datamodules.images.mnist_files import LabeledImages, load_labeled_images, read_labeled_images

SCALINGS = ("unit", "standardized")

# Images evaluated at a time, summed over members: a head that forms every difference to ten
# centers needs 30 kB for each.
_EVALUATED_AT_A_TIME = 4096


class MNIST(MemberData):
    """Handwritten digits (LeCun et al. 1998), for a ``Classifier`` of one seed or many.

    60,000 training and 10,000 test images of 28 × 28 pixels; any data set of ten classes in its
    format will do. The images are converted once and stay on the device. A training "batch" is one
    epoch of all seeds; each optimizer step gathers its images when it is indexed. Every seed has
    its own order, a function of seed and epoch.

    Networks get an image as ``num_inputs`` numbers in rows from the top left; ``vocab_size`` is 0
    because they are not tokens (see ``Identity`` and ``VectorMLP``).

    Args:
        data_dir: Folder with the four idx files (.gz or not), or with torchvision's ``MNIST/raw``
            in it. Null loads the data set from the Hugging Face hub.
        dataset: Name of the data set on the hub, or a folder that the library can read.
        dataset_revision: Its branch or commit; null takes the newest.
        scaling: 'unit' divides gray values by 255 (torchvision's ``ToTensor``, as the harmonic-loss
            authors do); 'standardized' gives all training pixels together mean 0 and standard
            deviation 1.
        batch_size: Images per optimizer step (64 in the harmonic-loss paper).
        num_train: Train on the first images only, this many; null takes all.
        num_train_eval: Number of training images on which validation measures loss and accuracy,
            beside all test images; null takes all.
        seeds: One per member; null takes those of the model.

    Raises:
        ValueError: An option is out of range.
    """

    num_classes = 10
    vocab_size = 0

    def __init__(
        self,
        data_dir: str | None = None,
        dataset: str = "ylecun/mnist",
        dataset_revision: str | None = None,
        scaling: str = "unit",
        batch_size: int = 64,
        num_train: int | None = None,
        num_train_eval: int | None = 10_000,
        seeds: list[int] | None = None,
    ) -> None:
        super().__init__(seeds)
        check_at_least(1, batch_size=batch_size, num_train=num_train, num_train_eval=num_train_eval)
        choose("scaling", scaling, SCALINGS)
        self.data_dir = as_folder(data_dir)
        self.dataset = dataset
        self.dataset_revision = dataset_revision
        self.scaling = scaling
        self.batch_size = batch_size
        self.num_train = num_train
        self.num_train_eval = num_train_eval
        self._read: tuple[LabeledImages, LabeledImages] | None = None
        self._pixels = torch.empty(0)  # (N, pixels), training images first
        self._labels = torch.empty(0, dtype=torch.int64)  # (N,)

    # ---- sizes, which the command line links to the model's options ------------------------------

    @property
    def num_inputs(self) -> int:
        """Pixels of an image."""
        rows, columns = self.image_shape
        return rows * columns

    @property
    def image_shape(self) -> tuple[int, int]:
        """Rows and columns of an image."""
        _, rows, columns = self._parts()[0].images.shape
        return rows, columns

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in an epoch."""
        return -(-len(self._parts()[0].labels) // self.batch_size)

    # ---- for probes ------------------------------------------------------------------------------

    def class_means(self) -> Tensor:
        """Mean training image of each class as networks see it, (10, pixels) (after ``setup``).

        NaN for a class without images.
        """
        num_train = len(self._parts()[0].labels)
        pixels, labels = self._pixels[:num_train], self._labels[:num_train]
        sums = pixels.new_zeros(self.num_classes, pixels.shape[1]).index_add_(0, labels, pixels)
        return sums / labels.bincount(minlength=self.num_classes).unsqueeze(1)

    # ---- Lightning's hooks -----------------------------------------------------------------------

    def prepare_data(self) -> None:
        """Download on one process, before all processes read."""
        self._parts()

    def setup(self, stage: str | None = None) -> None:
        """Read the images if necessary, and move them to the device.

        Raises:
            ValueError: They cannot be read, or seeds differ from the model's.
        """
        super().setup(stage)
        if not len(self._pixels):
            parts = self._parts()
            images = torch.cat([part.images for part in parts])
            self._pixels = images.flatten(1).float().div_(255.0)  # (N, pixels)
            if self.scaling == "standardized":
                std, mean = torch.std_mean(self._pixels[: len(parts[0].labels)], correction=0)
                self._pixels.sub_(mean).div_(std)
            self._labels = torch.cat([part.labels for part in parts])
        if self.trainer is not None:
            device = self.trainer.strategy.root_device
            self._pixels, self._labels = self._pixels.to(device), self._labels.to(device)

    def train_dataloader(self) -> SingleBatchLoader[EpochBatch]:
        """One item per epoch, with all of its batches (after ``setup``)."""
        seeds = self.member_seeds
        sizes = [len(self._parts()[0].labels)] * len(seeds)

        def epoch() -> EpochBatch:
            order = epoch_batches(seeds, self.current_epoch, sizes, self.batch_size)
            order = order.to(self._pixels.device)  # (steps, S, B)
            targets = torch.where(order >= 0, self._labels[order.clamp_min(0)], IGNORED)
            return {"inputs": GatheredBatches(self._pixels, order), "targets": targets}

        return SingleBatchLoader(epoch)

    def val_dataloader(self) -> EvaluationImages:
        """``num_train_eval`` training images and all test images, once each (after ``setup``)."""
        num_members, num_train = len(self.member_seeds), len(self._parts()[0].labels)
        num_eval = num_train if self.num_train_eval is None else min(self.num_train_eval, num_train)
        return EvaluationImages(self._pixels, self._labels, num_train, num_eval, num_members)

    def state_dict(self) -> dict[str, Any]:
        """What determines the images of each step."""
        train = self._parts()[0]
        return {
            "scaling": self.scaling,
            "batch_size": self.batch_size,
            "training images": f"{len(train.labels):,} (checksum {train.fingerprint()})",
        }

    def describe(self) -> dict[str, str]:
        """Summary of the data for the command `check`."""
        train, test = self._parts()
        rows, columns = self.image_shape
        counts = f"{len(train.labels):,} for training, {len(test.labels):,} for testing"
        return {"images": f"{counts}, {rows} × {columns} pixels"}

    def _parts(self) -> tuple[LabeledImages, LabeledImages]:
        """Training images, limited to ``num_train``, and test images."""
        if self._read is None:
            train, test = self._read_part("train", "train"), self._read_part("t10k", "test")
            if train.images.shape[1:] != test.images.shape[1:]:
                raise ValueError(
                    f"images in {train.source} and {test.source} differ in size; use files of the "
                    f"same data set"
                )
            if self.num_train is not None and self.num_train > len(train.labels):
                raise ValueError(
                    f"data.num_train is {self.num_train:,} but {train.source} has "
                    f"{len(train.labels):,} images; lower it, or leave it at null to use all"
                )
            first = slice(self.num_train)
            train = LabeledImages(train.images[first], train.labels[first], train.source)
            self._read = train, test
        return self._read

    def _read_part(self, file_name: str, split: str) -> LabeledImages:
        if self.data_dir is not None:
            return read_labeled_images(self.data_dir, file_name, self.num_classes)
        return load_labeled_images(self.dataset, split, self.num_classes, self.dataset_revision)


class EvaluationImages:
    """Yields images that all members share in ``EvaluationBatch``es, training images first.

    All batches have one shape, because every new shape is compiled; the last one is padded.

    Args:
        pixels: Training and test images, (N, pixels).
        labels: Their classes, (N,).
        num_train: Number of training images.
        num_train_eval: Number of training images to evaluate.
        num_members: S.
    """

    def __init__(
        self, pixels: Tensor, labels: Tensor, num_train: int, num_train_eval: int, num_members: int
    ) -> None:
        self.pixels, self.labels = pixels, labels
        self.num_train, self.num_members = num_train, num_members
        train, test = torch.arange(num_train_eval), torch.arange(num_train, len(labels))
        self.indices = torch.cat([train, test]).to(pixels.device)
        self.batch_size = min(len(self.indices), max(1, _EVALUATED_AT_A_TIME // num_members))

    def __len__(self) -> int:
        return -(-len(self.indices) // self.batch_size)

    def __iter__(self) -> Iterator[EvaluationBatch]:
        for indices in self.indices.split(self.batch_size):
            padding = (0, self.batch_size - len(indices))
            targets = pad(self.labels[indices], padding, value=IGNORED)
            indices = pad(indices, padding)
            no = torch.zeros_like(targets, dtype=torch.bool)
            yield {
                "inputs": self._for_all_members(self.pixels[indices]),
                "targets": self._for_all_members(targets),
                "is_test": self._for_all_members(indices >= self.num_train),
                "leaked": self._for_all_members(no),
                "mirrored": self._for_all_members(no),
            }

    def _for_all_members(self, rows: Tensor) -> Tensor:
        """(n, ...) as (S, n, ...), without a copy."""
        return rows.expand(self.num_members, *rows.shape)
