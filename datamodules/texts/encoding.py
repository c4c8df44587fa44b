"""From the texts of a data set to what training keeps of them: a vocabulary and arrays."""

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


class EncodedTexts:
    """Tokens of n texts, one text after the other.

    Attributes:
        tokens: Ids (N,) int32 of all texts.
        words: For each of them, (N,) int32, to which word of its text it belongs: 0, 1, ...
        offsets: Where each text begins, and the end (n + 1,) int64.
        lengths: Tokens of each text (n,) int64.
        labels: Classes (n,) int64.
        max_length: The limit.
        num_cut: How many texts had words beyond the limit.
        num_empty: How many had no word at all.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        texts: Iterable[str],
        labels: Sequence[int],
        max_length: int,
    ) -> None:
        """Encode texts.

        Args:
            vocabulary: Gives the tokens of words, which stand between white space.
            texts: n texts.
            labels: Their classes.
            max_length: Longest text, in tokens; what is beyond is left out.
        """
        tokens, words, lengths = array("i"), array("i"), array("q")
        self.max_length = max_length
        self.num_cut = self.num_empty = 0
        for text in texts:
            all_words = text.split()
            ids, numbers = vocabulary.tokens(all_words, max_length + 1)
            self.num_cut += len(ids) > max_length
            self.num_empty += not all_words
            tokens.extend(ids[:max_length])
            words.extend(numbers[:max_length])
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
        """Share of the tokens that stand for an unknown word."""
        return float((self.tokens == UNK).mean())

    def fingerprint(self) -> str:
        """The same for two sets exactly if texts, order and classes are the same."""
        digest = hashlib.sha256()
        for values in (self.tokens, self.lengths, self.labels):
            digest.update(np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()


CLASS_NAMES = ("negative", "positive")
WORDS = "words"  # the tokenizer that is no tokenizer
# Mends a text and counts, by kind, what it mended.
Normalize = Callable[[str, Counter[str]], str]


class Splits(NamedTuple):
    """The three parts of a data set; the test part may be the validation part itself."""

    train: LabeledTexts
    val: LabeledTexts
    test: LabeledTexts


class LoadedTexts(NamedTuple):
    """What is kept of a data set; the texts themselves are not."""

    vocabulary: Vocabulary
    train: EncodedTexts
    val: EncodedTexts
    test: EncodedTexts
    repeats: dict[str, int]  # texts that occur where they should be new
    cleaned: dict[str, int]  # what was mended, by kind

    def describe(self) -> dict[str, str]:
        """Counts of texts, of their words, and of what is odd about them."""
        held_out = f"{_with_classes(self.val)} for validation"
        if self.test is self.val:
            held_out += ", and the same for the test, since there is no other with labels"
        else:
            held_out += f", {_with_classes(self.test)} for the test"
        lengths = np.median(self.train.lengths)
        lines = {
            "texts": f"{_with_classes(self.train)} for training, {held_out}",
            "repeated": f"{self.repeats['train_in_train']:,} training texts repeat another; "
            f"{self.repeats['val_in_train']:,} of validation and "
            f"{self.repeats['test_in_train']:,} of the test are training texts",
            "vocabulary": f"{self.vocabulary.size:,} ids: {self.vocabulary.description}; unknown "
            f"are {self.train.unknown_fraction:.1%} of the training tokens, "
            f"{self.test.unknown_fraction:.1%} of the test",
            "lengths": f"{lengths:.0f} tokens (median of training), {self.train.num_cut:,} "
            f"training texts cut to {self.train.max_length}",
        }
        if self.cleaned:
            found = ", ".join(f"{count:,} {kind}" for kind, count in self.cleaned.items())
            lines["cleaned"] = f"{found} in all texts"
        return lines


def load_texts(
    splits: Splits, normalize: Normalize, tokenizer: str, min_frequency: int, max_length: int
) -> LoadedTexts:
    """Encode the parts of a data set with a vocabulary of the training part.

    Args:
        splits: The texts.
        normalize: Is applied to each.
        tokenizer: 'words', or a tokenizer's name or file.
        min_frequency: How often a word must occur to be known, with 'words'.
        max_length: Longest text in tokens.

    Raises:
        ValueError: A part lacks a class, there is no such tokenizer, or no word is known.
    """
    for part in splits:
        _check_classes(part)
    cleaned: Counter[str] = Counter()
    texts = [normalize(text, cleaned) for text in splits.train.texts]
    vocabulary = _vocabulary(tokenizer, texts, min_frequency)
    train = EncodedTexts(vocabulary, texts, splits.train.labels, max_length)
    distinct = set(texts)
    repeats = {"train_in_train": len(texts) - len(distinct)}

    def held_out(part: LabeledTexts, name: str) -> EncodedTexts:
        texts = [normalize(text, cleaned) for text in part.texts]
        repeats[name] = sum(text in distinct for text in texts)
        return EncodedTexts(vocabulary, texts, part.labels, max_length)

    val = held_out(splits.val, "val_in_train")
    if splits.test is splits.val:
        test = val
        repeats["test_in_train"] = repeats["val_in_train"]
    else:
        test = held_out(splits.test, "test_in_train")
    if empty := train.num_empty + val.num_empty + (test.num_empty if test is not val else 0):
        cleaned["texts of which no word was left"] = empty
    return LoadedTexts(vocabulary, train, val, test, repeats, dict(cleaned))


def _vocabulary(tokenizer: str, texts: Sequence[str], min_frequency: int) -> Vocabulary:
    if tokenizer == WORDS:
        return WordVocabulary.of(texts, min_frequency)
    try:
        return SubwordVocabulary(load_tokenizer(tokenizer))
    except ValueError as error:
        raise ValueError(f"{error}; 'words' takes the words of the training texts") from error


def _check_classes(part: LabeledTexts) -> None:
    counts = Counter(part.labels)
    for label, name in enumerate(CLASS_NAMES):
        if not counts[label]:
            raise ValueError(
                f"{part.source} has no {name} text among its {len(part.labels):,}; both classes "
                f"are needed in each part of the data: complete it or take another"
            )


def _with_classes(texts: EncodedTexts) -> str:
    return f"{len(texts):,} ({int(texts.labels.sum()):,} positive)"
