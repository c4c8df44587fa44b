"""TextData: base class of data modules of labeled texts."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections import Counter
from typing import Any, ClassVar

import lightning as L
import numpy as np

from datamodules.common.member_batches import IGNORED
from datamodules.common.options import check_at_least, choose
from datamodules.common.run import check_resume_data, rank_world_pin, run_seed
from datamodules.texts.batches import (
    HeldOutTextBatches,
    NumberedTextBatches,
    TextBatch,
    TrainingTextBatches,
    bucketed_batches,
    padding_fraction,
    text_batch,
)
from datamodules.texts.encoding import (
    CLASS_NAMES,
    EncodedTexts,
    LoadedTexts,
    TextSplits,
    load_texts,
)
from datamodules.texts.vocabulary import SPECIAL_WORDS, UNK, Vocabulary

PAD_TO = ("batch", "max_length")


class TextData(L.LightningDataModule):
    """Texts of two classes in batches of similar length, for a ``TextClassifier``.

    A subclass reads the texts. They are read and encoded when the size of the vocabulary is first
    asked for, and kept as arrays of tokens. ``SST2`` documents the options.
    """

    class_names: ClassVar[list[str]] = list(CLASS_NAMES)

    def __init__(
        self,
        tokenizer: str = "words",
        min_frequency: int = 2,
        max_length: int = 128,
        batch_size: int = 32,
        pad_to: str = "batch",
        bucket_batches: int = 50,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        check_at_least(1, min_frequency=min_frequency, max_length=max_length, batch_size=batch_size)
        check_at_least(0, bucket_batches=bucket_batches, seed=seed)
        choose("pad_to", pad_to, PAD_TO)
        self.tokenizer = tokenizer
        self.min_frequency = min_frequency
        self.max_length = max_length
        self.batch_size = batch_size
        self.pad_to = pad_to
        self.bucket_batches = bucket_batches
        self.seed = seed
        self._loaded: LoadedTexts | None = None

    # ---- what a subclass defines -----------------------------------------------------------------

    @abstractmethod
    def read(self) -> TextSplits:
        """Training, validation and test texts.

        Raises:
            ValueError: They cannot be read.
        """

    def normalize(self, text: str, counts: Counter[str] | None = None) -> str:
        """Clean a text before it is split into words; may count replacements by kind."""
        return text

    def settings(self) -> dict[str, Any]:
        """The subclass's options that determine the texts, by name."""
        return {}

    # ---- sizes, which the command line links to the model's options ------------------------------

    @property
    def vocab_size(self) -> int:
        """Number of ids, including padding (0) and the unknown word (1)."""
        return self.vocabulary.size

    @property
    def context_length(self) -> int:
        """Tokens of the longest text."""
        return self.max_length

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in an epoch."""
        return -(-len(self._data().train) // self.batch_size)

    # ---- for probes ------------------------------------------------------------------------------

    @property
    def vocabulary(self) -> Vocabulary:
        """Converts words to tokens."""
        return self._data().vocabulary

    @property
    def unknown_token(self) -> int:
        """The id of an unknown word, also the only token of a text without words."""
        return UNK

    def encode(self, texts: list[str]) -> TextBatch:
        """Any texts as one unlabeled batch.

        Raises:
            ValueError: There is no text.
        """
        if not texts:
            raise ValueError("texts is empty; give at least one text to encode")
        labels = [IGNORED] * len(texts)
        encoded = EncodedTexts(self.vocabulary, map(self.normalize, texts), labels, self.max_length)
        return text_batch(encoded, np.arange(len(texts)), pad_to=self._width())

    def split_words(self, text: str) -> list[str]:
        """The words of a text that ``encode`` keeps, to which the batch's ``words`` are indices."""
        words = self.normalize(text).split()
        _, indices = self.vocabulary.encode(words, self.max_length)
        return words[: indices[-1] + 1] or [SPECIAL_WORDS[UNK]]

    @property
    def repeats(self) -> dict[str, int]:
        """Number of duplicate texts, compared after ``normalize``.

        ``train_in_train``: training texts that repeat an earlier one. ``val_in_train`` and
        ``test_in_train``: held-out texts that are also training texts.
        """
        return self._data().repeats

    @property
    def fingerprint(self) -> str:
        """Checksum of all encoded texts and classes in order, 12 hexadecimal digits."""
        data = self._data()
        parts = [part.fingerprint() for part in (data.train, data.val, data.test)]
        return hashlib.sha256("".join(parts).encode()).hexdigest()[:12]

    # ---- Lightning's hooks -----------------------------------------------------------------------

    def prepare_data(self) -> None:
        """Download on one process, before all processes read."""
        self._data()

    def setup(self, stage: str | None = None) -> None:
        """Read and encode the texts if necessary.

        Raises:
            ValueError: Texts, options and devices are incompatible.
        """
        self._data()
        trainer = self.trainer
        if trainer is None or stage != "fit":
            return
        if trainer.accumulate_grad_batches != 1:
            raise ValueError(
                f"trainer.accumulate_grad_batches is {trainer.accumulate_grad_batches} but must be "
                f"1 here; set data.batch_size to the texts of one optimizer step instead"
            )
        if self.batch_size < trainer.world_size:
            raise ValueError(
                f"data.batch_size is {self.batch_size}; it must be at least the number of devices "
                f"({trainer.world_size})"
            )

    def train_dataloader(self) -> TrainingTextBatches:
        """One epoch of batches, from the current step."""
        rank, world, pin = rank_world_pin(self.trainer)
        return TrainingTextBatches(
            self._data().train,
            run_seed(self.seed),
            self.batch_size,
            self.bucket_batches,
            rank,
            world,
            lambda: self.trainer.global_step if self.trainer is not None else 0,
            self._width(),
            pin,
        )

    def val_dataloader(self) -> HeldOutTextBatches:
        """The validation texts, each once."""
        return HeldOutTextBatches(*self._held_out_options(self._data().val))

    def test_dataloader(self) -> HeldOutTextBatches:
        """The test texts, each once."""
        return HeldOutTextBatches(*self._held_out_options(self._data().test))

    def predict_dataloader(self) -> NumberedTextBatches:
        """The test texts, each once, with their indices in ``read().test``."""
        return NumberedTextBatches(*self._held_out_options(self._data().test))

    def _held_out_options(
        self, texts: EncodedTexts
    ) -> tuple[EncodedTexts, int, int, int, int | None, bool]:
        rank, world, pin = rank_world_pin(self.trainer)
        return texts, self.batch_size, rank, world, self._width(), pin

    # ---- checkpoints -----------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """What determines the texts of each step, and the vocabulary."""
        return {**self._resume_settings(), "vocabulary": self.vocabulary.fingerprint}

    def _resume_settings(self) -> dict[str, Any]:
        train = self._data().train
        return {
            **self.settings(),
            "min_frequency": self.min_frequency,
            "max_length": self.max_length,
            "batch_size": self.batch_size,
            "bucket_batches": self.bucket_batches,
            "seed": run_seed(self.seed),
            "training texts": f"{len(train):,} (checksum {train.fingerprint()[:12]})",
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Check that a checkpoint has this vocabulary and, to resume, was trained on this data.

        Raises:
            ValueError: It does not, or was not.
        """
        check_resume_data(self.trainer, state_dict, self._resume_settings())
        if state_dict.get("vocabulary", here := self.vocabulary.fingerprint) != here:
            raise ValueError(
                "the checkpoint was trained with another vocabulary; use the data, data.tokenizer "
                "and data.min_frequency of its run"
            )

    def describe(self) -> dict[str, str]:
        """Summary of the data for the command `check`."""
        data = self._data()
        lengths = data.train.lengths
        batches = bucketed_batches(
            lengths, run_seed(self.seed), 0, self.batch_size, self.bucket_batches
        )
        padding = padding_fraction(lengths, batches, self._width())
        return {
            **data.describe(),
            "batch": f"{self.batch_size} texts a step, {padding:.1%} of its tokens are padding",
        }

    def __str__(self) -> str:
        """Overrides Lightning's, which would iterate the loaders."""
        return f"{type(self).__name__}({self.tokenizer}, up to {self.max_length} tokens)"

    # ---- reading and encoding --------------------------------------------------------------------

    def _data(self) -> LoadedTexts:
        if self._loaded is None:
            self._loaded = load_texts(
                self.read(), self.normalize, self.tokenizer, self.min_frequency, self.max_length
            )
        return self._loaded

    def _width(self) -> int | None:
        return self.max_length if self.pad_to == "max_length" else None
