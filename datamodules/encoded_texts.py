"""Encoded texts of different lengths, in flat arrays: no padding and no object for each text."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Sequence

import numpy as np

from datamodules.vocabulary import UNK, Vocabulary


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
    def unknown_share(self) -> float:
        """Share of the tokens that stand for an unknown word."""
        return float((self.tokens == UNK).mean())

    def fingerprint(self) -> str:
        """The same for two sets exactly if texts, order and classes are the same."""
        digest = hashlib.sha256()
        for values in (self.tokens, self.lengths, self.labels):
            digest.update(np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()
