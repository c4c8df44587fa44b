"""TextData: what data modules of labeled texts have in common."""

from __future__ import annotations

import difflib
import hashlib
from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import lightning as L
import numpy as np

from datamodules.common.run import check_resume_data, place, run_seed
from datamodules.texts.batches import (
    NOT_COUNTED,
    HeldOutTextBatches,
    NumberedTextBatches,
    TextBatch,
    TrainingTextBatches,
    bucketed_batches,
    padding_fraction,
    text_batch,
)
from datamodules.texts.encoding import CLASS_NAMES, EncodedTexts, LoadedTexts, Splits, load_texts
from datamodules.texts.vocabulary import SPECIAL_WORDS, UNK, Vocabulary

PAD_TO = ("batch", "max_length")


class TextData(L.LightningDataModule):
    """Texts of two classes in batches of like length, for a ``TextClassifier``.

    A subclass reads the texts. They are read and encoded when something first asks for the size of
    the vocabulary, and kept as arrays of tokens.

    Args:
        tokenizer: 'words' for the words of the training texts, cut at white space; or one of
            tiktoken's encodings, 'bytes', or a tokenizer file, for pieces of words.
        min_frequency: How often a word must occur in the training texts to be known.
        max_length: Longest text, in tokens; what is beyond is cut off.
        batch_size: Texts of one optimizer step, all devices together.
        pad_to: 'batch' pads to the longest text of a batch, 'max_length' always to that.
        bucket_batches: So many batches are drawn together and sorted by length, so that texts of a batch
            are of like length; 0 for batches of any length.
        seed: Of the order of the texts; null takes the run's seed_everything.

    Raises:
        ValueError: A number is out of range.
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
        at_least_one = {
            "min_frequency": min_frequency,
            "max_length": max_length,
            "batch_size": batch_size,
        }
        for name, value in at_least_one.items():
            if value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1")
        for name, number in (("bucket_batches", bucket_batches), ("seed", seed or 0)):
            if number < 0:
                raise ValueError(f"{name} is {number}; it must not be negative")
        choose("pad_to", pad_to, PAD_TO)
        self.tokenizer = tokenizer
        self.min_frequency = min_frequency
        self.max_length = max_length
        self.batch_size = batch_size
        self.pad_to = pad_to
        self.bucket_batches = bucket_batches
        self.seed = seed
        self._loaded: LoadedTexts | None = None

    # ---- what a data set says of itself ----------------------------------------------------------

    @abstractmethod
    def read(self) -> Splits:
        """Training, validation and test texts.

        Raises:
            ValueError: They cannot be read.
        """

    def normalize(self, text: str, counts: Counter[str] | None = None) -> str:
        """A text as words are cut out of it; a data set may clean it here, and count what."""
        return text

    def settings(self) -> dict[str, Any]:
        """Options that decide what the texts are, by their names."""
        return {}

    # ---- what the model must know ----------------------------------------------------------------

    @property
    def vocab_size(self) -> int:
        """Number of ids, padding (0) and the unknown word (1) among them."""
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

    # ---- what probes ask -------------------------------------------------------------------------

    @property
    def vocabulary(self) -> Vocabulary:
        """Turns words into tokens."""
        return self._data().vocabulary

    @property
    def unknown_token(self) -> int:
        """The id of an unknown word, which is what is left of a text without words."""
        return UNK

    def encode(self, texts: list[str]) -> TextBatch:
        """Any texts as one batch, cut as the data are; no label counts.

        Raises:
            ValueError: There is no text.
        """
        if not texts:
            raise ValueError("there are no texts to encode; give at least one")
        labels = [NOT_COUNTED] * len(texts)
        normal = map(self.normalize, texts)
        encoded = EncodedTexts(self.vocabulary, normal, labels, self.max_length)
        return text_batch(encoded, np.arange(len(texts)), pad_to=self._width())

    def split_words(self, text: str) -> list[str]:
        """The words of a text that ``encode`` keeps: those that the batch's ``words`` number."""
        words = self.normalize(text).split()
        _, numbers = self.vocabulary.tokens(words, self.max_length)
        return words[: numbers[-1] + 1] or [SPECIAL_WORDS[UNK]]

    @property
    def repeats(self) -> dict[str, int]:
        """How many texts occur where they should be new, as they are after ``normalize``.

        ``train_in_train`` of the training texts repeat an earlier one; ``val_in_train`` and
        ``test_in_train`` of the others are training texts.
        """
        return self._data().repeats

    @property
    def fingerprint(self) -> str:
        """12 hexadecimal digits: the same for two modules exactly if their encoded texts are.

        Of training, validation and test texts with their classes, in their order, and wherever
        the files lie.
        """
        data = self._data()
        parts = [part.fingerprint() for part in (data.train, data.val, data.test)]
        return hashlib.sha256("".join(parts).encode()).hexdigest()[:12]

    # ---- Lightning's hooks -----------------------------------------------------------------------

    def setup(self, stage: str | None = None) -> None:
        """Read and encode the texts, if nothing has yet.

        Raises:
            ValueError: Texts, options and devices do not fit together.
        """
        self._data()
        trainer: Any = self.trainer
        if trainer is None or stage != "fit":
            return
        if trainer.accumulate_grad_batches != 1:
            raise ValueError(
                f"trainer.accumulate_grad_batches is {trainer.accumulate_grad_batches}, and here "
                f"a batch is one optimizer step; leave it out, and set data.batch_size to the "
                f"texts of a step"
            )
        if self.batch_size < trainer.world_size:
            raise ValueError(
                f"data.batch_size is {self.batch_size} for {trainer.world_size} devices, and each "
                f"needs a text; raise it to at least {trainer.world_size}, or use fewer devices"
            )

    def train_dataloader(self) -> TrainingTextBatches:
        """One epoch of batches, from the step that is current."""
        rank, world, pin = place(self.trainer)
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
        """The validation texts, every one once."""
        return self._held_out(self._data().val)

    def test_dataloader(self) -> HeldOutTextBatches:
        """The test texts, every one once."""
        return self._held_out(self._data().test)

    def predict_dataloader(self) -> NumberedTextBatches:
        """The test texts, every one once, with their numbers in ``read().test``."""
        return NumberedTextBatches(*self._held_out_settings(self._data().test))

    def _held_out(self, texts: EncodedTexts) -> HeldOutTextBatches:
        return HeldOutTextBatches(*self._held_out_settings(texts))

    def _held_out_settings(
        self, texts: EncodedTexts
    ) -> tuple[EncodedTexts, int, int, int, int | None, bool]:
        rank, world, pin = place(self.trainer)
        return texts, self.batch_size, rank, world, self._width(), pin

    # ---- checkpoints -----------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """What the position in the data, an optimizer step, is counted in; and the vocabulary."""
        return {**self._position(), "vocabulary": self.vocabulary.fingerprint}

    def _position(self) -> dict[str, Any]:
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
        """Refuse a checkpoint that knows other words, and to go on with other data than it.

        Raises:
            ValueError: Ids stand for other words, or the same step would be another place in the
                data.
        """
        consequence = "so that the same step is another place in the data"
        check_resume_data(self.trainer, state_dict, self._position(), consequence)
        if state_dict.get("vocabulary", here := self.vocabulary.fingerprint) != here:
            raise ValueError(
                "the checkpoint was trained on other words than those of this vocabulary; use the "
                "data, data.tokenizer and data.min_frequency of its run"
            )

    def describe(self) -> dict[str, str]:
        """What the command `check` shows of the data."""
        data, pad_to = self._data(), self._width()
        lengths = data.train.lengths
        batches = bucketed_batches(
            lengths, run_seed(self.seed), 0, self.batch_size, self.bucket_batches
        )
        padding = padding_fraction(lengths, batches, pad_to)
        return {
            **data.describe(),
            "batch": f"{self.batch_size} texts a step, {padding:.1%} of its tokens are padding",
        }

    def __str__(self) -> str:
        """Lightning's own would go through the loaders."""
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


def choose(name: str, value: str, choices: Sequence[str]) -> None:
    """Refuse a value that is none of the choices, with the nearest one.

    Raises:
        ValueError: It is none of them.
    """
    if value not in choices:
        near = difflib.get_close_matches(value, choices, 1)
        suggestion = f"; did you mean {near[0]!r}?" if near else ""
        listed = ", ".join(map(repr, choices))
        raise ValueError(f"{name} is {value!r}{suggestion}; it must be one of {listed}")


def as_folder(data_dir: str | None) -> Path | None:
    """The folder that an option names, if it names one."""
    return None if data_dir is None else Path(data_dir).expanduser()
