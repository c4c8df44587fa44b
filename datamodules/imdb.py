"""IMDB: long film reviews, positive or negative, cleaned of HTML and wrong encodings."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor

from datamodules.common.options import as_folder, check_at_least
from datamodules.common.order import RandomStream, generator
from datamodules.texts.base import TextData
from datamodules.texts.cleaning import clean as clean_text
from datamodules.texts.cleaning import separate_punctuation
from datamodules.texts.encoding import TextSplits
from datamodules.texts.reading import (
    LabeledTexts,
    find_file,
    load_labeled_texts,
    read_labeled_texts,
)


class IMDB(TextData):
    """The Large Movie Review Dataset (Maas et al. 2011), part of its training set held out.

    20,000 / 5,000 / 25,000 reviews for training, validation and test, as in SAFR. The validation
    texts are drawn with their own seed. HTML line breaks and wrong encodings are repaired and
    counted; reviews that are in both training and test set are counted too.

    Args:
        data_dir: Folder with files train and test (.tsv or .jsonl, optionally .gz), with fields
            text and label. Null loads the data set from the Hugging Face hub.
        dataset: Name of the data set on the hub, or a folder that the library can read.
        dataset_revision: Its branch or commit; null takes the newest.
        val_size: Reviews of the training set that are held out for validation.
        split_seed: Seed of the choice of validation texts.
        split_punctuation: Make each punctuation mark a word. The paper's words are split at white
            space alone, so that 'film' and 'film.' are two.
        clean: Repair HTML and wrong encodings. False leaves the texts unchanged, as SAFR's authors
            presumably did: 'film.<br' and '/>The' are words then.
        tokenizer: 'words' for the words of the training texts, split at white space; or one of
            tiktoken's encodings, 'bytes', or a tokenizer file, for subwords.
        min_frequency: With 'words', how often a word must occur in the training texts to be known
            (2 in the paper).
        max_length: Longest review, in tokens (256 in the authors' code); the rest is cut off.
        batch_size: Reviews of one optimizer step, all devices together (32 in the paper).
        pad_to: 'batch' pads to the longest text of a batch, 'max_length' always to that.
        bucket_batches: Number of batches that are drawn together and sorted by length, so that the
            texts of a batch have similar lengths; 0 for batches of any length.
        seed: Seed of the order of the texts; null takes the run's seed_everything.

    Raises:
        ValueError: An option is out of range.
    """

    def __init__(
        self,
        data_dir: str | None = None,
        dataset: str = "stanfordnlp/imdb",
        dataset_revision: str | None = None,
        val_size: int = 5000,
        split_seed: int = 0,
        split_punctuation: bool = False,
        clean: bool = True,
        tokenizer: str = "words",
        min_frequency: int = 2,
        max_length: int = 256,
        batch_size: int = 32,
        pad_to: str = "batch",
        bucket_batches: int = 50,
        seed: int | None = None,
    ) -> None:
        super().__init__(
            tokenizer, min_frequency, max_length, batch_size, pad_to, bucket_batches, seed
        )
        check_at_least(1, val_size=val_size)
        check_at_least(0, split_seed=split_seed)
        self.data_dir = as_folder(data_dir)
        self.dataset = dataset
        self.dataset_revision = dataset_revision
        self.val_size = val_size
        self.split_seed = split_seed
        self.split_punctuation = split_punctuation
        self.clean = clean

    def settings(self) -> dict[str, Any]:
        """The split, and how texts are cleaned and split into words."""
        return {
            "val_size": self.val_size,
            "split_seed": self.split_seed,
            "split_punctuation": self.split_punctuation,
            "clean": self.clean,
        }

    def describe(self) -> dict[str, str]:
        """Summary of the data for the command `check`."""
        lines = super().describe()
        if not self.clean:
            lines["cleaned"] = "nothing, since data.clean is false"
        return lines

    def normalize(self, text: str, counts: Counter[str] | None = None) -> str:
        """Apply ``clean`` and ``split_punctuation``."""
        text = clean_text(text, counts) if self.clean else text
        return separate_punctuation(text) if self.split_punctuation else text

    def read(self) -> TextSplits:
        """Training, validation and test reviews.

        Raises:
            ValueError: They cannot be read, or none would be left for training.
        """
        train, test = (
            load_labeled_texts(self.dataset, split, self.dataset_revision)
            if self.data_dir is None
            else read_labeled_texts(find_file(self.data_dir, (split,)))
            for split in ("train", "test")
        )
        size = len(train.texts)
        if self.val_size >= size:
            raise ValueError(
                f"data.val_size is {self.val_size:,} but {train.source} has only {size:,} texts; "
                f"lower it"
            )
        order = torch.randperm(size, generator=generator(self.split_seed, RandomStream.SPLIT))
        held_out, rest = order[: self.val_size], order[self.val_size :]
        return TextSplits(_subset(train, rest), _subset(train, held_out), test)


def _subset(part: LabeledTexts, indices: Tensor) -> LabeledTexts:
    """The texts at some indices, in their original order."""
    chosen = sorted(indices.tolist())
    texts, labels = [part.texts[i] for i in chosen], [part.labels[i] for i in chosen]
    return LabeledTexts(texts, labels, part.source)
