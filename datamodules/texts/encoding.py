"""From the texts of a data set to what training keeps of them: a vocabulary and arrays of ids."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from datamodules.texts.reading import LabeledTexts
from datamodules.texts.vocabulary import UNK, SubwordVocabulary, Vocabulary, WordVocabulary
from datamodules.tokens.tokenizers import load_tokenizer

CLASS_NAMES = ("negative", "positive")
WORDS = "words"  # the option value that selects a WordVocabulary
# Cleans a text and counts the replacements by kind.
Normalize = Callable[[str, Counter[str]], str]


class TextSplits(NamedTuple):
    """The three parts of a data set; the test part may be the validation part itself."""

    train: LabeledTexts
    val: LabeledTexts
    test: LabeledTexts


class EncodedTexts:
    """Tokens of n texts, concatenated.

    Attributes:
        tokens: Ids of all texts, (N,) int32.
        words: Index of each token's word within its text, (N,) int32.
        offsets: Start of each text, and the end, (n + 1,) int64.
        lengths: Tokens of each text, (n,) int64.
        labels: Classes, (n,) int64.
        max_length: Longest text, in tokens; the rest is cut off.
        num_cut: Number of texts that were cut.
        num_empty: Number of texts without words.
    """

    def __init__(
        self, vocabulary: Vocabulary, texts: Iterable[str], labels: Sequence[int], max_length: int
    ) -> None:
        tokens, words, lengths = array("i"), array("i"), array("q")
        self.max_length = max_length
        self.num_cut = self.num_empty = 0
        for text in texts:
            text_words = text.split()
            ids, indices = vocabulary.encode(text_words, max_length + 1)
            self.num_cut += len(ids) > max_length
            self.num_empty += not text_words
            tokens.extend(ids[:max_length])
            words.extend(indices[:max_length])
            lengths.append(min(len(ids), max_length))
        self.tokens = np.frombuffer(tokens, np.int32)
        self.words = np.frombuffer(words, np.int32)
        self.lengths = np.frombuffer(lengths, np.int64)
        self.offsets = np.concatenate([[0], np.cumsum(self.lengths)])
        self.labels = np.asarray(labels, np.int64)

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def unknown_fraction(self) -> float:
        """Fraction of the tokens that stand for an unknown word."""
        return float((self.tokens == UNK).mean())

    def fingerprint(self) -> str:
        """A checksum of texts, order and classes."""
        digest = hashlib.sha256()
        for values in (self.tokens, self.lengths, self.labels):
            digest.update(np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()

    def describe(self) -> str:
        """Number of texts, and of positive ones."""
        return f"{len(self):,} ({int(self.labels.sum()):,} positive)"


class LoadedTexts(NamedTuple):
    """What is kept of a data set; the texts themselves are not."""

    vocabulary: Vocabulary
    train: EncodedTexts
    val: EncodedTexts
    test: EncodedTexts
    repeats: dict[str, int]  # number of texts that are also training texts
    cleaned: dict[str, int]  # number of replacements by kind

    def describe(self) -> dict[str, str]:
        """Counts of texts, words, duplicates and replacements."""
        test = f"{self.test.describe()} for testing"
        if self.test is self.val:
            test = "and the same for testing, since there is no other labeled part"
        lines = {
            "texts": f"{self.train.describe()} for training, {self.val.describe()} for validation, "
            f"{test}",
            "repeated": f"{self.repeats['train_in_train']:,} training texts repeat another; "
            f"{self.repeats['val_in_train']:,} of validation and "
            f"{self.repeats['test_in_train']:,} of the test are training texts",
            "vocabulary": f"{self.vocabulary.size:,} ids: {self.vocabulary.description}; unknown "
            f"are {self.train.unknown_fraction:.1%} of the training tokens, "
            f"{self.test.unknown_fraction:.1%} of the test",
            "lengths": f"{np.median(self.train.lengths):.0f} tokens (median of training), "
            f"{self.train.num_cut:,} training texts cut to {self.train.max_length}",
        }
        if self.cleaned:
            counts = ", ".join(f"{count:,} {kind}" for kind, count in self.cleaned.items())
            lines["cleaned"] = f"{counts} in all texts"
        return lines


def load_texts(
    splits: TextSplits, normalize: Normalize, tokenizer: str, min_frequency: int, max_length: int
) -> LoadedTexts:
    """Encode the parts of a data set with a vocabulary of the training part."""
    for part in splits:
        _check_classes(part)
    cleaned: Counter[str] = Counter()
    texts = [normalize(text, cleaned) for text in splits.train.texts]
    vocabulary = _vocabulary(tokenizer, texts, min_frequency)
    train = EncodedTexts(vocabulary, texts, splits.train.labels, max_length)
    distinct = set(texts)

    def held_out(part: LabeledTexts) -> tuple[EncodedTexts, int]:
        texts = [normalize(text, cleaned) for text in part.texts]
        in_train = sum(text in distinct for text in texts)
        return EncodedTexts(vocabulary, texts, part.labels, max_length), in_train

    val, val_in_train = held_out(splits.val)
    test, test_in_train = val, val_in_train
    num_empty = train.num_empty + val.num_empty
    if splits.test is not splits.val:
        test, test_in_train = held_out(splits.test)
        num_empty += test.num_empty
    if num_empty:
        cleaned["texts without any word left"] = num_empty
    repeats = {
        "train_in_train": len(texts) - len(distinct),
        "val_in_train": val_in_train,
        "test_in_train": test_in_train,
    }
    return LoadedTexts(vocabulary, train, val, test, repeats, dict(cleaned))


def _vocabulary(tokenizer: str, texts: Sequence[str], min_frequency: int) -> Vocabulary:
    if tokenizer == WORDS:
        return WordVocabulary.from_texts(texts, min_frequency)
    try:
        return SubwordVocabulary(load_tokenizer(tokenizer))
    except ValueError as error:
        raise ValueError(f"{error}; 'words' uses the words of the training texts") from error


def _check_classes(part: LabeledTexts) -> None:
    counts = Counter(part.labels)
    for label, name in enumerate(CLASS_NAMES):
        if not counts[label]:
            raise ValueError(
                f"{part.source} has no {name} text among its {len(part.labels):,}; each part of "
                f"the data needs both classes"
            )
