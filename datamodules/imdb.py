"""IMDB: long film reviews, positive or negative, cleaned of what web pages leave in them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor

from datamodules.common.order import SPLIT, generator
from datamodules.texts.base import TextData, as_folder
from datamodules.texts.cleaning import clean as cleaned
from datamodules.texts.cleaning import separate_punctuation
from datamodules.texts.encoding import Splits
from datamodules.texts.reading import (
    LabeledTexts,
    find_file,
    load_labeled_texts,
    read_labeled_texts,
)


class IMDB(TextData):
    """The Large Movie Review Dataset (Maas et al. 2011), with a part of the training set held out.

    20,000 / 5,000 / 25,000 reviews for training, validation and test, as in SAFR. Which ones are
    held out is drawn, by a seed of its own. Line breaks of HTML and wrong encodings are mended and
    counted; some reviews are in both training and test set, which is counted too.

    Args:
        data_dir: Folder with files train and test (.tsv or .jsonl, maybe .gz), with fields text and
            label. Null loads the data set from the Hugging Face hub.
        dataset: Name of the data set on the hub, or a folder that the library reads.
        dataset_revision: Its branch or commit; null takes the newest.
        val_size: Reviews of the training set that are held out for validation.
        split_seed: Decides which, and nothing else does.
        split_punctuation: Make a word of each punctuation mark. The paper's words are cut at white
            space alone, so that 'film' and 'film.' are two.
        clean: Mend what is left of HTML and of wrong encodings. False leaves the texts as they are
            found, as SAFR's authors presumably did: 'film.<br' and '/>The' are words then.
        tokenizer: 'words' for the words of the training texts, cut at white space; or one of
            tiktoken's encodings, 'bytes', or a tokenizer file, for pieces of words.
        min_frequency: How often a word must occur in the training texts to be known (2 in the
            paper).
        max_length: Longest review, in tokens (256 in the authors' code); the rest is cut off.
        batch_size: Reviews of one optimizer step, all devices together (32).
        pad_to: 'batch' pads to the longest text of a batch, 'max_length' always to that.
        bucket_batches: So many batches are drawn together and sorted by length, so that texts of a batch
            are of like length; 0 for batches of any length.
        seed: Of the order of the texts; null takes the run's seed_everything.

    Raises:
        ValueError: A number is out of range.
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
        if val_size < 1:
            raise ValueError(f"val_size is {val_size}; it must be at least 1")
        if split_seed < 0:
            raise ValueError(f"split_seed is {split_seed}; it must not be negative")
        self.data_dir = as_folder(data_dir)
        self.dataset = dataset
        self.dataset_revision = dataset_revision
        self.val_size = val_size
        self.split_seed = split_seed
        self.split_punctuation = split_punctuation
        self.clean = clean

    def settings(self) -> dict[str, Any]:
        """What is held out, whether texts are cleaned, and how words are cut."""
        return {
            "val_size": self.val_size,
            "split_seed": self.split_seed,
            "split_punctuation": self.split_punctuation,
            "clean": self.clean,
        }

    def describe(self) -> dict[str, str]:
        """As of every ``TextData``; says so where nothing was cleaned."""
        said = super().describe()
        if not self.clean:
            said["cleaned"] = "nothing, since data.clean is false"
        return said

    def normalize(self, text: str, counts: Counter[str] | None = None) -> str:
        """The text without traces of HTML and of wrong encodings, unless ``clean`` is false."""
        text = cleaned(text, counts) if self.clean else text
        return separate_punctuation(text) if self.split_punctuation else text

    def read(self) -> Splits:
        """Training, validation and test reviews.

        Raises:
            ValueError: They cannot be read, or too few would be left to train on.
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
                f"data.val_size is {self.val_size:,}, and {train.source} has {size:,} texts; lower "
                f"it, so that some are left to train on"
            )
        order = torch.randperm(size, generator=generator(self.split_seed, SPLIT))
        held_out, rest = order[: self.val_size], order[self.val_size :]
        return Splits(_chosen(train, rest), _chosen(train, held_out), test)


def _chosen(part: LabeledTexts, indices: Tensor) -> LabeledTexts:
    """Some of the texts, in their order."""
    places = sorted(indices.tolist())
    texts, labels = [part.texts[i] for i in places], [part.labels[i] for i in places]
    return LabeledTexts(texts, labels, part.source)
