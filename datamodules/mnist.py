"""MNIST as a LightningDataModule: all images on the device, many seeds at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypedDict

import lightning as L
import torch
from torch import Tensor

from datamodules.algorithmic import EvaluationBatch
from datamodules.common.member_batches import GatheredBatches
from datamodules.common.order import epoch_batches
from datamodules.common.run import check_resume_data, member_seeds
from datamodules.images.mnist_files import (
    LabeledImages,
    load_labeled_images,
    read_labeled_images,
)
from datamodules.texts.base import as_folder, choose

SCALINGS = ("unit", "standardized")

# Images that are scored at a time, counted once for each seed: a head that forms every difference
# to ten centers needs 30 kB for each.
_SCORED_AT_A_TIME = 4096


class ImageEpoch(TypedDict):
    """One epoch of optimizer steps for S members."""

    inputs: GatheredBatches  # (steps, S, B, pixels): len() of it steps, each gathered when taken
    targets: Tensor  # (steps, S, B) classes, -100 where a short batch is filled up


class MNIST(L.LightningDataModule):
    """Handwritten digits (LeCun et al. 1998), for a ``Classifier`` of one seed or many.

    60,000 training and 10,000 test images of 28 × 28 pixels; any data set of ten classes in its
    format will do. They are converted once and stay on the device; a training "batch" is one epoch
    of every seed, of which each optimizer step gathers its images when it is taken out. Every seed
    has an order of its own, a function of seed and epoch.

    Networks read an image as ``num_inputs`` numbers in rows from the top left; ``vocab_size`` is 0,
    since they are no tokens (see ``Identity`` and ``VectorMLP``).

    Args:
        data_dir: Folder with the four idx files (.gz or not), or with torchvision's ``MNIST/raw``
            in it. Null loads the data set from the Hugging Face hub.
        dataset: Name of the data set on the hub, or a folder that the library reads.
        dataset_revision: Its branch or commit; null takes the newest.
        scaling: 'unit' divides gray values by 255 (torchvision's ``ToTensor``, as the harmonic-loss
            authors do); 'standardized' gives all training pixels together mean 0 and deviation 1.
        batch_size: Images per optimizer step (64 in the harmonic-loss paper).
        num_train: Train on the first so many images only; null on all.
        num_train_eval: Of so many training images loss and accuracy are measured at validation, beside
            those of all test images; null of all.
        seeds: One per member; null takes those of the model that is trained.

    Raises:
        ValueError: A number is below 1, or there is no such scaling.
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
        super().__init__()
        at_least_one = {
            "batch_size": batch_size,
            "num_train": num_train,
            "num_train_eval": num_train_eval,
        }
        for name, number in at_least_one.items():
            if number is not None and number < 1:
                raise ValueError(f"{name} is {number}; it must be at least 1")
        choose("scaling", scaling, SCALINGS)
        self.data_dir = as_folder(data_dir)
        self.dataset = dataset
        self.dataset_revision = dataset_revision
        self.scaling = scaling
        self.batch_size = batch_size
        self.num_train = num_train
        self.num_train_eval = num_train_eval
        self.seeds = seeds
        self._read: tuple[LabeledImages, LabeledImages] | None = None
        self._member_seeds: list[int] = []
        self._pixels = torch.empty(0)
        self._labels = torch.empty(0, dtype=torch.int64)

    # ---- what the model must know ----------------------------------------------------------------

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

    # ---- what probes read ------------------------------------------------------------------------

    def class_means(self) -> Tensor:
        """The mean training image of each class as the networks see it, (10, pixels).

        NaN for a class that has none (after ``setup``).
        """
        num_train = len(self._parts()[0].labels)
        pixels, labels = self._pixels[:num_train], self._labels[:num_train]
        sums = pixels.new_zeros(self.num_classes, pixels.shape[1]).index_add_(0, labels, pixels)
        return sums / labels.bincount(minlength=self.num_classes).unsqueeze(1)

    # ---- Lightning's hooks -----------------------------------------------------------------------

    def setup(self, stage: str | None = None) -> None:
        """Read the images, if nothing has yet, and bring them to the device.

        Raises:
            ValueError: They cannot be read, or seeds differ from the model's.
        """
        self._member_seeds = member_seeds(self.seeds, self.trainer)
        trainer: Any = self.trainer
        device = trainer.strategy.root_device if trainer is not None else torch.device("cpu")
        if not len(self._pixels):
            parts = self._parts()
            images = torch.cat([part.images for part in parts])
            self._pixels = images.flatten(1).float().div_(255.0)  # (N, pixels)
            if self.scaling == "standardized":
                spread, mean = torch.std_mean(self._pixels[: len(parts[0].labels)], correction=0)
                self._pixels.sub_(mean).div_(spread)
            self._labels = torch.cat([part.labels for part in parts])
        self._pixels, self._labels = self._pixels.to(device), self._labels.to(device)

    def train_dataloader(self) -> ImageEpochLoader:
        """One item an epoch: all of the epoch's batches.

        Raises:
            RuntimeError: ``setup`` has not been called.
        """
        self._must_be_set_up()
        num_train = len(self._parts()[0].labels)
        return ImageEpochLoader(
            self._pixels,
            self._labels,
            num_train,
            self._member_seeds,
            self.batch_size,
            lambda: self.trainer.current_epoch if self.trainer is not None else 0,
        )

    def val_dataloader(self) -> ScoredImages:
        """``num_train_eval`` training images and all test images, every one once.

        Raises:
            RuntimeError: ``setup`` has not been called.
        """
        self._must_be_set_up()
        num_train = len(self._parts()[0].labels)
        scored = num_train if self.num_train_eval is None else min(self.num_train_eval, num_train)
        return ScoredImages(self._pixels, self._labels, num_train, scored, len(self._member_seeds))

    def test_dataloader(self) -> ScoredImages:
        """The same as for validation; the scores of the two parts are kept apart."""
        return self.val_dataloader()

    def predict_dataloader(self) -> ScoredImages:
        """The same as for validation."""
        return self.val_dataloader()

    def state_dict(self) -> dict[str, Any]:
        """What decides which images a seed is trained on at which step."""
        train = self._parts()[0]
        return {
            "scaling": self.scaling,
            "batch_size": self.batch_size,
            "training images": f"{len(train.labels):,} (checksum {train.fingerprint()})",
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Refuse to go on with other data than those of the run that wrote a checkpoint.

        Raises:
            ValueError: The same step would be another place in the data.
        """
        consequence = "so that the same step has other images"
        check_resume_data(self.trainer, state_dict, self.state_dict(), consequence)

    def describe(self) -> dict[str, str]:
        """What the command `check` shows of the data."""
        train, test = self._parts()
        rows, columns = self.image_shape
        counts = f"{len(train.labels):,} to train on and {len(test.labels):,} to test on"
        return {"images": f"{counts}, {rows} × {columns} pixels"}

    def __str__(self) -> str:
        """Lightning's own would look for a data set in every batch."""
        return f"MNIST({self.data_dir or self.dataset})"

    def _must_be_set_up(self) -> None:
        if not self._member_seeds:
            raise RuntimeError("call setup() before asking for a data loader")

    def _parts(self) -> tuple[LabeledImages, LabeledImages]:
        """Training images, as many as are trained on, and test images."""
        if self._read is None:
            train, test = (self._read_part(*names) for names in (("train",) * 2, ("t10k", "test")))
            if train.images.shape[1:] != test.images.shape[1:]:
                raise ValueError(
                    f"images in {train.source} and {test.source} are of different sizes; name data "
                    f"that belong together"
                )
            if self.num_train is not None and self.num_train > len(train.labels):
                raise ValueError(
                    f"data.num_train is {self.num_train:,} and {train.source} holds "
                    f"{len(train.labels):,} images; lower it, or leave it at null to train on all"
                )
            chosen = slice(self.num_train)
            train = LabeledImages(train.images[chosen], train.labels[chosen], train.source)
            self._read = train, test
        return self._read

    def _read_part(self, file_name: str, split: str) -> LabeledImages:
        if self.data_dir is not None:
            return read_labeled_images(self.data_dir, file_name, self.num_classes)
        return load_labeled_images(self.dataset, split, self.num_classes, self.dataset_revision)


class ImageEpochLoader:
    """Yields one ``ImageEpoch``: the batches of the epoch that is current when it is asked.

    The epoch is read at that moment and not before, since Lightning builds loaders before it
    restores its counters on resume.
    """

    def __init__(
        self,
        pixels: Tensor,
        labels: Tensor,
        num_train: int,
        seeds: Sequence[int],
        batch_size: int,
        current_epoch: Callable[[], int],
    ) -> None:
        self.pixels = pixels  # (N, pixels), training images first
        self.labels = labels  # (N,)
        self.num_train = num_train
        self.seeds = list(seeds)
        self.batch_size = batch_size
        self.current_epoch = current_epoch

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[ImageEpoch]:
        sizes = [self.num_train] * len(self.seeds)
        order = epoch_batches(self.seeds, self.current_epoch(), sizes, self.batch_size)
        order = order.to(self.pixels.device)  # (steps, S, B)
        targets = torch.where(order >= 0, self.labels[order.clamp_min(0)], -100)
        yield {"inputs": GatheredBatches(self.pixels, order), "targets": targets}


class ScoredImages:
    """Yields images in ``EvaluationBatch``es that all members share, training images first.

    Batches have one shape, since every shape is compiled for itself; the last one is filled up with
    targets of -100, which do not count.
    """

    def __init__(
        self, pixels: Tensor, labels: Tensor, num_train: int, num_train_eval: int, num_members: int
    ) -> None:
        self.pixels, self.labels = pixels, labels
        self.num_train, self.num_members = num_train, num_members
        train, test = torch.arange(num_train_eval), torch.arange(num_train, len(labels))
        self.numbers = torch.cat([train, test]).to(pixels.device)
        self.rows = min(len(self.numbers), max(1, _SCORED_AT_A_TIME // num_members))

    def __len__(self) -> int:
        return -(-len(self.numbers) // self.rows)

    def __iter__(self) -> Iterator[EvaluationBatch]:
        for start in range(0, len(self.numbers), self.rows):
            chosen = self.numbers[start : start + self.rows]
            missing = self.rows - len(chosen)
            targets = torch.nn.functional.pad(self.labels[chosen], (0, missing), value=-100)
            chosen = torch.nn.functional.pad(chosen, (0, missing))
            no = torch.zeros_like(targets, dtype=torch.bool)
            yield {
                "inputs": self._for_all(self.pixels[chosen]),
                "targets": self._for_all(targets),
                "is_test": self._for_all(chosen >= self.num_train),
                "leaked": self._for_all(no),
                "mirrored": self._for_all(no),
            }

    def _for_all(self, rows: Tensor) -> Tensor:
        """(n, ...) as (S, n, ...), without a copy."""
        return rows.expand(self.num_members, *rows.shape)
