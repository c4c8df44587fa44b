"""NeuronAllocation: figures of how the words of some sentences share the neurons of each layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from callbacks.probes.representations import check_layers, dummy_activations
from callbacks.probes.text_probe import Batch, TextProbe
from callbacks.probes.word_pair_probe import check_numbers
from callbacks.probes.word_scores import PROBABILITY
from callbacks.trainer_state import is_fitting, progress_text
from glassbox.metrics import (
    capacity,
    check_percent,
    important_words,
    interference,
    polysemanticity,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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


LAYERS = ("embedding", "vmask", "attention", "ffn1", "ffn2")


class NeuronAllocation(TextProbe):
    """Draws capacity, interference and polysemanticity of each word of a few sentences.

    Three figures a sentence, after Figures 2 and 4 to 6 of the SAFR paper:
    ``allocation_<n>_capacity`` (bars, a row a layer), ``allocation_<n>_circle`` (a word is a circle
    as large as its capacity; red and blue lines are positive and negative inner products) and
    ``allocation_<n>_interference`` (heat maps with polysemanticity). Words are marked that VMASK
    lets through with the highest probability; words that the vocabulary does not hold stand in
    brackets, since all of them have one vector. Nothing is measured.

    Args:
        sentences: Texts; null takes test texts of typical length (12 to 20 words or the nearest
            there is), the first ones, of each class in turn.
        num_sentences: How many of those.
        layers: Rows and panels; null takes embedding, vmask, attention, ffn1 and ffn2.
        circle_layer: Layer of the circles: before FFN1's ReLU, since behind it no inner product is
            negative.
        percent: Share of the words that is marked, in percent.
        figures_every_n_epochs: Draw after every so many epochs as well as at the end.

    Raises:
        ValueError: A number is out of range, or a sentence has no word.
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
                    f"{owner}: {option} is {given!r}; name at least one, none of them empty, or "
                    f"leave it at null"
                )
        self.sentences, self.num_sentences = sentences, num_sentences
        self.layers, self.circle_layer = layers, circle_layer
        self.percent, self.figures_every_n_epochs = percent, figures_every_n_epochs
        self._shown: list[str] = []
        self._sentences: list[Sentence] = []

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        activations = dummy_activations(trainer, pl_module, "NeuronAllocation")
        without = () if PROBABILITY in activations else ("vmask",)  # the embedding once more
        default = [layer for layer in LAYERS if layer not in without]
        self._shown = default if self.layers is None else self.layers
        check_layers("NeuronAllocation", "layers", self._shown, activations)
        check_layers("NeuronAllocation", "circle_layer", [self.circle_layer], activations)
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if self.sentences is None and not hasattr(data, "read"):
            raise ValueError(
                f"NeuronAllocation: sentences is null, and {type(data).__name__} does not hand out "
                f"its texts; name some sentences"
            )
        self._sentences = [Sentence(text) for text in self.sentences or []]

    def update(self, trainer: L.Trainer, module: Any, batch: Batch, found: Batch) -> None:
        """Nothing: the sentences are read when they are drawn."""

    def finish(self, trainer: L.Trainer, module: Any) -> Mapping[str, Tensor | list[str]]:
        return {}

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_validation_end(trainer, pl_module)
        stride = self.figures_every_n_epochs
        last = trainer.global_step == trainer.max_steps  # drawn when the run is closed
        between = is_fitting(trainer) and not trainer.sanity_checking and not last
        if between and stride is not None and self._is_due(trainer, stride):
            self._draw(trainer, pl_module)

    # ---- figures -------------------------------------------------------------------------------

    def figures(self, trainer: L.Trainer, module: L.LightningModule) -> Mapping[str, Figure]:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if not self._sentences:
            test = data.read().test
            lengths = [len(text.split()) for text in test.texts]
            chosen = typical_texts(lengths, test.labels, self.num_sentences)
            self._sentences = [Sentence(test.texts[i], test.labels[i]) for i in chosen]
        # Afterwards the weights may be those of another epoch (ModelSelection).
        moment = progress_text(trainer) if trainer.validating else ""
        found = {}
        for number, sentence in enumerate(self._sentences, 1):
            for kind, figure in self._figures_of(sentence, data, module, moment).items():
                found[f"allocation_{number}_{kind}"] = figure
        return found

    def _figures_of(
        self, sentence: Sentence, data: Any, module: Any, moment: str
    ) -> dict[str, Figure]:
        from glassbox.plots import allocation_circle, capacity_bars, word_heatmap

        batch = {
            key: value.to(module.device) for key, value in data.encode([sentence.text]).items()
        }
        with torch.no_grad():
            activations = module.representations(batch)
        length = int(batch["mask"].sum())
        # (T, D) each, in the precision of the measures.
        states = {name: activations[name][0, :length] for name in {*self._shown, self.circle_layer}}
        marks: NDArray[np.bool_] | None = None
        if PROBABILITY in activations:
            important = important_words(activations[PROBABILITY], batch["mask"], self.percent)
            marks = important[0, :length].cpu().numpy()
        unknown = (batch["tokens"][0, :length] == data.unknown_token).tolist()
        numbers = batch["words"][0, :length].tolist()
        words = token_names(data.split_words(sentence.text), numbers, unknown)
        marked: dict[str, Any] = {
            "important": marks,
            "important_name": f"important: top {self.percent:g} % by VMASK",
        }
        note = UNKNOWN_NOTE if any(unknown) else ""
        title = sentence_title(sentence, activations["logits"][0], data.class_names) + note + moment
        circle = states[self.circle_layer]
        products = circle.float() @ circle.float().T
        spelled = self.circle_layer.replace("_", " ")
        return {
            "capacity": capacity_bars(
                {name: _array(capacity(states[name])) for name in self._shown},
                words,
                title=title,
                **marked,
            ),
            "circle": allocation_circle(
                _array(capacity(circle)),
                _array(products),
                words,
                title=f"{spelled} · {title}",
                **marked,
            ),
            "interference": word_heatmap(
                {name: _array(interference(states[name])) for name in self._shown},
                words,
                polysemanticity={
                    name: _array(polysemanticity(states[name])) for name in self._shown
                },
                title=title,
                **marked,
            ),
        }


def _array(values: Tensor) -> NDArray[np.float64]:
    return values.double().cpu().numpy()
