"""NeuronAllocation: figures of how the words of a few sentences use the neurons of each layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from callbacks.probes.checks import check_layers, check_numbers, datamodule_of, incompatible
from callbacks.probes.probe import Results
from callbacks.probes.representations import example_activations
from callbacks.probes.text_probe import Batch, TextProbe
from callbacks.probes.word_scores import PROBABILITY
from callbacks.trainer_state import (
    is_fitting,
    is_last_validation,
    progress_text,
    validation_number,
)
from glassbox.metrics import (
    capacity,
    check_percent,
    important_words,
    interference,
    polysemanticity,
)
from glassbox.protocols import HasRepresentations, NamesWords, ReadsTexts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LAYERS = ("embedding", "vmask", "attention", "ffn1", "ffn2")
READABLE_LENGTHS = (12, 20)  # words of a sentence that is easy to read in a figure
MAX_TITLE_LENGTH = 200  # characters of the sentence above its figures
UNKNOWN_NOTE = " · [word]: unknown to the model"  # where token_names uses brackets


class Sentence(NamedTuple):
    """A sentence whose figures are drawn, and its class if known."""

    text: str
    label: int | None = None


class NeuronAllocation(TextProbe):
    """Draws capacity, interference and polysemanticity of each word of a few sentences.

    Three figures per sentence, after Figures 2 and 4 to 6 of the SAFR paper:
    ``allocation_<n>_capacity`` (bars, a row per layer), ``allocation_<n>_circle`` (the size of a
    word's circle is its capacity; red and blue lines are positive and negative inner products) and
    ``allocation_<n>_interference`` (heat maps with polysemanticity). The words with the highest
    VMASK probability are marked. Words outside the vocabulary, which share one vector, are in
    brackets. No metrics are logged.

    Args:
        sentences: Texts; null takes the first test texts of typical length (12 to 20 words, or the
            nearest there are), of each class in turn.
        num_sentences: How many, if sentences is null.
        layers: Rows and panels; null takes embedding, vmask, attention, ffn1 and ffn2.
        circle_layer: Layer of the circles. The default is before FFN1's ReLU: after it no inner
            product is negative.
        percent: Percentage of the words that is marked.
        figures_every_n_epochs: Draw every n epochs as well as at the end.

    Raises:
        ValueError: A number is out of range, or a sentence is empty.
    """

    name = "allocation"

    def __init__(
        self,
        sentences: list[str] | None = None,
        num_sentences: int = 5,
        layers: list[str] | None = None,
        circle_layer: str = "ffn1_before_relu",
        percent: float = 30.0,
        figures_every_n_epochs: int | None = None,
    ) -> None:
        super().__init__()
        owner = "NeuronAllocation"
        check_numbers(
            owner, num_sentences=num_sentences, figures_every_n_epochs=figures_every_n_epochs
        )
        check_percent(percent, f"{owner}: percent")
        for option, given in (("sentences", sentences), ("layers", layers)):
            if given is not None and not (given and all(text.strip() for text in given)):
                raise ValueError(
                    f"{owner}: {option} is {given!r}; give one or more non-empty ones, or null for "
                    f"the default"
                )
        self.sentences, self.num_sentences = sentences, num_sentences
        self.layers, self.circle_layer = layers, circle_layer
        self.percent, self.figures_every_n_epochs = percent, figures_every_n_epochs
        self._layers: list[str] = []
        self._sentences: list[Sentence] = []

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        activations = example_activations(trainer, pl_module, self)
        # Without a mask that layer is the embedding.
        default = [name for name in LAYERS if name != "vmask" or PROBABILITY in activations]
        self._layers = default if self.layers is None else self.layers
        check_layers("NeuronAllocation", "layers", self._layers, activations)
        check_layers("NeuronAllocation", "circle_layer", [self.circle_layer], activations)
        data = datamodule_of(trainer)
        if not isinstance(data, NamesWords):
            raise incompatible(self, "a data module with class_names and words", data, "SST2")
        if self.sentences is None and not isinstance(data, ReadsTexts):
            raise ValueError(
                f"NeuronAllocation: sentences is null and {type(data).__name__} has no read(); "
                f"give some sentences"
            )
        self._sentences = [Sentence(text) for text in self.sentences or []]

    def update(
        self, trainer: L.Trainer, module: HasRepresentations, batch: Batch, activations: Batch
    ) -> None:
        """Nothing: sentences are read when they are drawn."""

    def compute(self, trainer: L.Trainer, module: HasRepresentations) -> Results:
        return {}

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_validation_end(trainer, pl_module)
        stride = self.figures_every_n_epochs
        if stride is None or trainer.sanity_checking or not is_fitting(trainer):
            return
        # on_fit_end draws after the last validation.
        if validation_number(trainer) % stride == 0 and not is_last_validation(trainer):
            self._draw(trainer, pl_module)

    # ---- figures -------------------------------------------------------------------------------

    def figures(self, trainer: L.Trainer, module: HasRepresentations) -> Mapping[str, Figure]:
        data = datamodule_of(trainer)
        assert isinstance(data, NamesWords)
        if not self._sentences:
            assert isinstance(data, ReadsTexts)
            test = data.read().test
            lengths = [len(text.split()) for text in test.texts]
            chosen = typical_texts(lengths, test.labels, self.num_sentences)
            self._sentences = [Sentence(test.texts[i], test.labels[i]) for i in chosen]
        # After training the weights may be those of an earlier epoch (ModelSelection).
        progress = progress_text(trainer) if trainer.validating else ""
        return {
            f"allocation_{number}_{kind}": figure
            for number, sentence in enumerate(self._sentences, 1)
            for kind, figure in self._draw_sentence(sentence, data, module, progress).items()
        }

    def _draw_sentence(
        self, sentence: Sentence, data: NamesWords, module: HasRepresentations, progress: str
    ) -> dict[str, Figure]:
        from glassbox.plots import allocation_circle, capacity_bars, word_heatmap

        batch = {
            key: value.to(module.device) for key, value in data.encode([sentence.text]).items()
        }
        with torch.no_grad():
            activations = module.representations(batch)
        length = int(batch["mask"].sum())
        layers = {name: activations[name][0, :length] for name in self._layers}  # (T, D) each
        circle = activations[self.circle_layer][0, :length]
        important: NDArray[np.bool_] | None = None
        if PROBABILITY in activations:
            marked = important_words(activations[PROBABILITY], batch["mask"], self.percent)
            important = marked[0, :length].cpu().numpy()
        unknown = (batch["tokens"][0, :length] == data.unknown_token).tolist()
        numbers = batch["words"][0, :length].tolist()
        words = token_names(data.split_words(sentence.text), numbers, unknown)
        title = sentence_title(sentence, activations["logits"][0], data.class_names)
        title += f"{UNKNOWN_NOTE if any(unknown) else ''}{progress}"
        options: dict[str, Any] = {
            "important": important,
            "important_name": f"important: top {self.percent:g} % by VMASK",
        }
        return {
            "capacity": capacity_bars(
                {name: _array(capacity(states)) for name, states in layers.items()},
                words,
                title=title,
                **options,
            ),
            "circle": allocation_circle(
                _array(capacity(circle)),
                _array(circle.float() @ circle.float().T),
                words,
                title=f"{self.circle_layer.replace('_', ' ')} · {title}",
                **options,
            ),
            "interference": word_heatmap(
                {name: _array(interference(states)) for name, states in layers.items()},
                words,
                polysemanticity={
                    name: _array(polysemanticity(states)) for name, states in layers.items()
                },
                title=title,
                **options,
            ),
        }


def typical_texts(lengths: Sequence[int], labels: Sequence[int], number: int) -> list[int]:
    """Indices of the texts that are shown: those of 12 to 20 words or nearest to it.

    Args:
        lengths: Words of each text.
        labels: Its class; classes take turns.
        number: How many are wanted. Among equally near texts the earlier ones are taken.
    """
    low, high = READABLE_LENGTHS
    nearest = sorted(
        range(len(lengths)), key=lambda i: (max(low - lengths[i], 0, lengths[i] - high), i)
    )
    by_class = [[i for i in nearest if labels[i] == label] for label in sorted(set(labels))]
    in_turn = [i for group in zip_longest(*by_class) for i in group if i is not None]
    return in_turn[:number]


def token_names(
    words: Sequence[str], numbers: Sequence[int], unknown: Sequence[bool] | None = None
) -> list[str]:
    """Names of tokens in figures: their word, with a count where it has several tokens.

    Args:
        words: Of the text.
        numbers: Of the word of each token.
        unknown: Which tokens stand for a word outside the vocabulary; their words are in brackets.
    """
    names = []
    for position, number in enumerate(numbers):
        word = words[number] if number < len(words) else "<unk>"
        if unknown is not None and unknown[position]:
            word = f"[{word}]"
        count = numbers.count(number)
        index = numbers[: position + 1].count(number)
        names.append(word if count == 1 else f"{word} {index}/{count}")
    return names


def sentence_title(sentence: Sentence, logits: Tensor, classes: Sequence[str]) -> str:
    """The prediction with its probability, the label, and the sentence."""
    probability = logits.float().softmax(dim=-1)
    predicted = int(probability.argmax())
    title = f"predicted {classes[predicted]} ({probability[predicted]:.2f})"
    if sentence.label is not None:
        title += f", label {classes[sentence.label]}"
    text = " ".join(sentence.text.split())
    if len(text) > MAX_TITLE_LENGTH:
        text = f"{text[: MAX_TITLE_LENGTH - 1]}…"
    return f"{title}: {text}"


def _array(values: Tensor) -> NDArray[np.float64]:
    return values.double().cpu().numpy()
