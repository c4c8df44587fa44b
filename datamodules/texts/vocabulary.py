"""Vocabularies: words of the training texts, or the subwords of a tokenizer."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence

from datamodules.tokens.tokenizers import Tokenizer

PAD, UNK = 0, 1  # ids of padding and of unknown words
SPECIAL_WORDS = ("<pad>", "<unk>")  # their names in figures


class Vocabulary(ABC):
    """Converts the words of a text to tokens, and records the word of each token.

    Attributes:
        size: Number of ids, including padding and the unknown word.
        description: A phrase for the summary of the data.
        fingerprint: Identifies the vocabulary.
    """

    size: int
    description: str
    fingerprint: str

    @abstractmethod
    def encode(self, words: Sequence[str], limit: int) -> tuple[list[int], Sequence[int]]:
        """At most ``limit`` token ids, and for each the index of its word.

        A word has at least one token. A text without words is one unknown word.
        """


class WordVocabulary(Vocabulary):
    """Whole words as they are written; all others are one unknown word (SAFR's authors' code)."""

    def __init__(self, words: Sequence[str], description: str = "words") -> None:
        self.words = (*SPECIAL_WORDS, *words)
        self.size = len(self.words)
        self.description = description
        self.fingerprint = hashlib.sha256("\n".join(words).encode(errors="replace")).hexdigest()
        self._ids = {word: i for i, word in enumerate(words, len(SPECIAL_WORDS))}

    @classmethod
    def from_texts(cls, texts: Iterable[str], min_frequency: int = 2) -> WordVocabulary:
        """The frequent words of texts, split at white space.

        Ordered by decreasing frequency, ties alphabetically.
        """
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(text.split())
        frequent = sorted(
            (word for word, count in counts.items() if count >= min_frequency),
            key=lambda word: (-counts[word], word),
        )
        if not frequent:
            raise ValueError(
                f"no word of the training texts occurs data.min_frequency ({min_frequency}) times; "
                f"lower it"
            )
        return cls(
            frequent,
            f"{len(frequent):,} of the {len(counts):,} words of the training texts, those that "
            f"occur at least {min_frequency} time{'s' * (min_frequency > 1)}",
        )

    def encode(self, words: Sequence[str], limit: int) -> tuple[list[int], Sequence[int]]:
        """One token per word."""
        ids = [self._ids.get(word, UNK) for word in words[:limit]] or [UNK]
        return ids, range(len(ids))


class SubwordVocabulary(Vocabulary):
    """The ids of a tokenizer, shifted by two for padding and the unknown word.

    Each word is encoded separately, with a space before it, so that its tokens do not depend on its
    neighbors: deleting a word leaves the tokens of the others unchanged.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.size = tokenizer.vocab_size + len(SPECIAL_WORDS)
        self.description = f"subwords of the tokenizer {tokenizer.name!r}"
        self.fingerprint = tokenizer.fingerprint
        self._tokenizer = tokenizer
        self._known: dict[str, list[int]] = {}

    def encode(self, words: Sequence[str], limit: int) -> tuple[list[int], Sequence[int]]:
        """The subwords of each word; the limit may cut the last word."""
        words = words[:limit]
        new = [word for word in dict.fromkeys(words) if word not in self._known]
        if new:
            subwords = self._tokenizer.encode_batch([f" {word}" for word in new])
            for word, ids in zip(new, subwords, strict=True):
                self._known[word] = [i + len(SPECIAL_WORDS) for i in ids.tolist()] or [UNK]
        text_ids: list[int] = []
        indices: list[int] = []
        for index, word in enumerate(words):
            word_ids = self._known[word]
            text_ids += word_ids
            indices += [index] * len(word_ids)
            if len(text_ids) >= limit:
                break
        return text_ids[:limit] or [UNK], indices[:limit] or [0]
