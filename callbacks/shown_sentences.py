"""Which sentences are shown in figures, and what stands above them and beside their tokens."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import NamedTuple

from torch import Tensor

TYPICAL = (12, 20)  # words of a sentence that is easily read in a figure
LONGEST_TITLE = 200  # letters of the sentence above its figures
UNKNOWN_NOTE = " · [word]: unknown to the model"  # behind a title, where token_names sets brackets


class Sentence(NamedTuple):
    """A sentence whose figures are drawn, and its class where that is known."""

    text: str
    label: int | None = None


def typical_texts(lengths: Sequence[int], labels: Sequence[int], number: int) -> list[int]:
    """Which texts are shown: those of 12 to 20 words or nearest to it, of each class in turn.

    Args:
        lengths: Words of each text.
        labels: Its class.
        number: How many are wanted.

    Returns:
        Indices; of texts that are equally near the earlier ones.
    """
    low, high = TYPICAL
    nearest = sorted(
        range(len(lengths)), key=lambda i: (max(low - lengths[i], 0, lengths[i] - high), i)
    )
    by_class = [[i for i in nearest if labels[i] == label] for label in sorted(set(labels))]
    in_turn = [i for group in zip_longest(*by_class) for i in group if i is not None]
    return in_turn[:number]


def token_names(
    words: Sequence[str], numbers: Sequence[int], unknown: Sequence[bool] | None = None
) -> list[str]:
    """How tokens are called in figures: their word, with a count where it has several tokens.

    Args:
        words: Of the text.
        numbers: Of the word of each token.
        unknown: Which tokens stand for a word that the model does not know. All of these have one
            vector, whatever the word; they are set in brackets.
    """
    names = []
    for place, number in enumerate(numbers):
        word = words[number] if number < len(words) else "<unk>"
        if unknown is not None and unknown[place]:
            word = f"[{word}]"
        parts = numbers.count(number)
        part = numbers[: place + 1].count(number)
        names.append(word if parts == 1 else f"{word} {part}/{parts}")
    return names


def sentence_title(sentence: Sentence, logits: Tensor, classes: Sequence[str]) -> str:
    """The prediction with its probability, the label, and the sentence."""
    probability = logits.float().softmax(dim=-1)
    predicted = int(probability.argmax())
    said = f"predicted {classes[predicted]} ({probability[predicted]:.2f})"
    if sentence.label is not None:
        said += f", label {classes[sentence.label]}"
    text = " ".join(sentence.text.split())
    cut = text if len(text) <= LONGEST_TITLE else text[: LONGEST_TITLE - 1] + "…"
    return f"{said}: {cut}"
