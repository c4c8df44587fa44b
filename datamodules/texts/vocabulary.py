"""Words to ids: the words of the training texts, or the pieces that a tokenizer makes of them."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence

from datamodules.tokens.tokenizers import Tokenizer

PAD, UNK = 0, 1  # ids of padding and of a word that is not known
SPECIAL_WORDS = ("<pad>", "<unk>")  # as figures show them


class Vocabulary(ABC):
    """Turns the words of a text into tokens, and tells which word each token belongs to.

    Attributes:
        size: Number of ids, padding and the unknown word among them.
        description: What it is, in words.
        fingerprint: The same for two vocabularies exactly if they are the same.
    """

    size: int
    description: str
    fingerprint: str

    @abstractmethod
    def tokens(self, words: Sequence[str], limit: int) -> tuple[list[int], Sequence[int]]:
        """Ids of the words' tokens, and the number of the word of each; at most ``limit`` of them.

        A word has at least one token. A text without words is one unknown word.
        """


class WordVocabulary(Vocabulary):
    """Whole words as they are written; all others are one unknown word (SAFR's authors' code).

    Args:
        words: The known ones, in the order of their ids, which begin at 2.
        description: See ``Vocabulary``.
    """

    def __init__(self, words: Sequence[str], description: str = "words") -> None:
        self.words = (*SPECIAL_WORDS, *words)
        self.size = len(self.words)
        self.description = description
        self.fingerprint = hashlib.sha256("\n".join(words).encode(errors="replace")).hexdigest()
        self._ids = {word: i for i, word in enumerate(words, len(SPECIAL_WORDS))}

    @classmethod
    def of(cls, texts: Iterable[str], min_frequency: int = 2) -> WordVocabulary:
        """The words of texts, cut at white space, that occur often enough.

        They are ordered by falling frequency, and by their characters where that is the same.

        Args:
            texts: Training texts alone, and all of each.
            min_frequency: How often (2 in the paper).

        Raises:
            ValueError: No word occurs as often.
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
                f"no word of the training texts occurs {min_frequency} times, which "
                f"data.min_frequency asks for; lower it"
            )
        return cls(
            frequent,
            f"{len(frequent):,} of the {len(counts):,} words of the training texts, those that "
            f"occur at least {min_frequency} time{'s' * (min_frequency > 1)}",
        )

    def tokens(self, words: Sequence[str], limit: int) -> tuple[list[int], Sequence[int]]:
        """A token for each word."""
        find = self._ids.get
        ids = [find(word, UNK) for word in words[:limit]] or [UNK]
        return ids, range(len(ids))


class SubwordVocabulary(Vocabulary):
    """The pieces of a tokenizer, moved up by two, to make room for padding and the unknown word.

    Each word is encoded by itself, with a space before it, so that the tokens of a word do not
    depend on its neighbors, and a text from which a word was deleted has the tokens of the others.

    Args:
        tokenizer: Any of ``datamodules.tokens.tokenizers``.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.size = tokenizer.vocab_size + len(SPECIAL_WORDS)
        self.description = f"pieces of words of the tokenizer {tokenizer.name!r}"
        self.fingerprint = tokenizer.fingerprint
        self._tokenizer = tokenizer
        self._known: dict[str, list[int]] = {}

    def tokens(self, words: Sequence[str], limit: int) -> tuple[list[int], Sequence[int]]:
        """The pieces of each word; the last word may lose some of its to the limit."""
        words = words[:limit]
        new = [word for word in dict.fromkeys(words) if word not in self._known]
        if new:
            pieces = self._tokenizer.encode_batch([f" {word}" for word in new])
            for word, ids in zip(new, pieces, strict=True):
                self._known[word] = [i + len(SPECIAL_WORDS) for i in ids.tolist()] or [UNK]
        ids_of_text: list[int] = []
        numbers: list[int] = []
        for number, word in enumerate(words):
            ids_of_word = self._known[word]
            ids_of_text += ids_of_word
            numbers += [number] * len(ids_of_word)
            if len(ids_of_text) >= limit:
                break
        return ids_of_text[:limit] or [UNK], numbers[:limit] or [0]
