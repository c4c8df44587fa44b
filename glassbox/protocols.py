"""What the packages ask of one another, as protocols that any class of one's own can satisfy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch
    from torch import Tensor


# ---- What probes ask of LightningModules ---------------------------------------------------------
#
# S seeds or members, V tokens, E width of the features, C classes, N inputs or features.


@runtime_checkable
class HasScores(Protocol):
    """A module that reports its losses and accuracies."""

    def scores(self) -> dict[str, Tensor]:
        """The last values, (S,) each, by metric name."""
        ...


@runtime_checkable
class HasEmbedding(Protocol):
    """A module with a token embedding."""

    def embedding_matrix(self) -> Tensor:
        """The token embeddings, (S, V, E), without the rows that pad the vocabulary."""
        ...


@runtime_checkable
class HasClassCenters(Protocol):
    """A module that maps inputs to features, which a loss head with a weight per class reads."""

    def hidden_states(self, inputs: Tensor) -> Tensor:
        """The features that the heads read, (S, N, E)."""
        ...

    def class_centers(self) -> Tensor:
        """The heads' weights, (S, C, E)."""
        ...


@runtime_checkable
class HasMembers(HasClassCenters, Protocol):
    """A module that trains one member per seed, such as Classifier."""

    seeds: list[int]

    @property
    def sizes(self) -> Mapping[str, int]:
        """``vocab_size`` (0 for inputs that are numbers), ``num_inputs`` and ``num_classes``."""
        ...

    def __call__(self, inputs: Tensor) -> Tensor:
        """Logits (S, N, C)."""
        ...

    def member(self, index: int) -> NetworkAndHead:
        """One member as an ordinary module; index into ``seeds``."""
        ...


class NetworkAndHead(Protocol):
    """One member: a network and its loss head."""

    @property
    def network(self) -> torch.nn.Module: ...

    @property
    def head(self) -> torch.nn.Module: ...


@runtime_checkable
class HasPixelWeights(Protocol):
    """A network whose first layer reads pixels."""

    def pixel_weights(self) -> Tensor | None:
        """The first layer's weight (H, pixels); None where the head reads the pixels."""
        ...


@runtime_checkable
class HasFeatureWeights(HasScores, Protocol):
    """An autoencoder of N features in H dimensions, with M members."""

    @property
    def hparams(self) -> Mapping[str, Any]: ...

    def feature_weights(self) -> Tensor:
        """(M, N, H), one row per feature."""
        ...

    def feature_biases(self) -> Tensor:
        """(M, N), of the output."""
        ...


@runtime_checkable
class HasRepresentations(Protocol):
    """A classifier of texts."""

    @property
    def device(self) -> torch.device: ...

    def representations(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The network's activations by name, layers as (B, T, D), and its ``logits`` (B, C)."""
        ...

    def classify(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits (B, C)."""
        ...


@runtime_checkable
class GeneratesTokens(Protocol):
    """A language model that continues token sequences."""

    def generate(self, tokens: Tensor, num_new: int, **options: Any) -> Tensor:
        """``tokens`` (B, T) with up to ``num_new`` more columns."""
        ...


# ---- What probes ask of data modules -------------------------------------------------------------


class StructuredTask(Protocol):
    """A task whose embedding should have a known shape; P tokens carry it."""

    @property
    def name(self) -> str: ...

    @property
    def structure(self) -> str:
        """'circle', 'lattice', 'classes', 'tree', 'cosets', or one without a score."""
        ...

    @property
    def embedding_tokens(self) -> Tensor:
        """The tokens that carry the structure, (P,) int64."""
        ...

    @property
    def token_labels(self) -> Sequence[str]:
        """A label for each token of the vocabulary."""
        ...

    @property
    def token_groups(self) -> Tensor:
        """The group of each of the ``embedding_tokens``, (P,) int64."""
        ...

    @property
    def group_kind(self) -> Literal["categorical", "sequential", "cyclic"]: ...

    @property
    def edges(self) -> Tensor:
        """Pairs of ``embedding_tokens`` that figures connect, (K, 2) int64."""
        ...


@runtime_checkable
class LatticeTask(Protocol):
    """A task on a square grid."""

    @property
    def side(self) -> int:
        """Points along one side."""
        ...


@runtime_checkable
class HasTask(Protocol):
    """A data module of a small algorithmic task."""

    @property
    def task(self) -> StructuredTask: ...


@runtime_checkable
class HasImages(Protocol):
    """A data module of labeled images."""

    @property
    def image_shape(self) -> tuple[int, int]:
        """Rows and columns."""
        ...

    def class_means(self) -> Tensor:
        """The mean training image of each class, (C, pixels)."""
        ...


@runtime_checkable
class EncodesWords(Protocol):
    """A data module of a language model's tokens."""

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Token ids of each text."""
        ...


@runtime_checkable
class DecodesWords(EncodesWords, Protocol):
    """A data module that also turns a language model's tokens into text."""

    def decode(self, ids: list[int]) -> str:
        """The text of token ids."""
        ...


@runtime_checkable
class EncodesTexts(Protocol):
    """A data module of labeled texts."""

    @property
    def unknown_token(self) -> int:
        """The token of an unknown word."""
        ...

    def encode(self, texts: list[str]) -> Mapping[str, Tensor]:
        """One padded batch: ``tokens``, ``mask`` and ``words`` (B, T), ``labels`` (B,) and more."""
        ...


@runtime_checkable
class NamesWords(EncodesTexts, Protocol):
    """A data module of labeled texts that also names classes and words, for figures."""

    @property
    def class_names(self) -> Sequence[str]: ...

    def split_words(self, text: str) -> list[str]:
        """The words of a text that the batch's ``words`` number."""
        ...


class LabeledTexts(Protocol):
    """Texts and the class of each."""

    @property
    def texts(self) -> Sequence[str]: ...

    @property
    def labels(self) -> Sequence[int]: ...


class TextSplits(Protocol):
    """The parts of a data set of texts."""

    @property
    def test(self) -> LabeledTexts: ...


@runtime_checkable
class ReadsTexts(Protocol):
    """A data module that hands out its texts."""

    def read(self) -> TextSplits: ...


@runtime_checkable
class HasPriority(Protocol):
    """A data module of sparse features, M members of N."""

    def member_priority(self) -> Tensor:
        """Importance times activity of each feature, (M, N)."""
        ...


# ---- What LightningModules ask of data modules ---------------------------------------------------


@runtime_checkable
class StepData(Protocol):
    """A data module with a known number of optimizer steps per epoch."""

    @property
    def steps_per_epoch(self) -> int: ...


@runtime_checkable
class MemberStepData(Protocol):
    """A data module whose members may take different numbers of optimizer steps an epoch."""

    @property
    def steps_per_member(self) -> Sequence[int]: ...


@runtime_checkable
class MemberData(Protocol):
    """A data module whose members may differ in more than their seed."""

    @property
    def member_settings(self) -> Sequence[Mapping[str, Any]]:
        """One mapping per member, from setting to value; empty if only seeds differ."""
        ...


@runtime_checkable
class PaddedTexts(Protocol):
    """A data module of labelled texts, padded to the length of the batch or to a fixed length."""

    pad_to: str  # 'batch' or 'max_length'

    @property
    def repeats(self) -> Mapping[str, int]:
        """Number of texts that occur more than once where they should not, by name."""
        ...
