"""The interface of an algorithmic task, for its data module and for probes."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import torch
from torch import Tensor

from datamodules.common.options import check_at_least

Structure = Literal["circle", "lattice", "classes", "tree", "cosets", "line"]
GroupKind = Literal["cyclic", "sequential", "categorical"]


class Task(ABC):
    """A finite question-and-answer table over tokens, and how its embedding should look.

    A task is small enough to be listed completely, so that training and test set can be exactly
    disjoint. Every answer is a token of the vocabulary, so that a readout can be tied to the
    embedding.

    A subclass states the class attributes below and implements ``vocab_size``, ``examples``,
    ``token_labels`` and ``token_groups``. The rest has defaults. A subclass stores each constructor
    argument as an attribute of the same name, for ``repr``. Its docstring has paragraphs that begin
    with ``Rule:``, ``Vocabulary:``, ``Structure:``, ``Source:``, ``Args:``.

    Attributes:
        name: Short name for metric keys and folders, such as ``"modular_addition"``.
        num_inputs: Input tokens of one example, K.
        symmetric: Whether some distinct inputs state the same fact (see ``equivalent_inputs``).
        structure: The shape of an interpretable embedding, by which a probe chooses its metric. To
            add one, extend ``Structure`` and ``callbacks/probes/embedding_geometry.py``. A task
            of structure "lattice" has an attribute ``side``; "cosets" are of 24 tokens.
        group_kind: Kind of values in ``token_groups``, for the choice of a color map: values that
            wrap around ("cyclic"), ordered values ("sequential") or classes ("categorical").
    """

    name: ClassVar[str]
    num_inputs: ClassVar[int]
    symmetric: ClassVar[bool]
    structure: ClassVar[Structure]
    group_kind: ClassVar[GroupKind]

    @property
    @abstractmethod
    def vocab_size(self) -> int:
        """Number of tokens V, inputs and answers together."""

    @property
    def num_classes(self) -> int:
        """Number of possible predictions: V, because every answer is a token."""
        return self.vocab_size

    @abstractmethod
    def examples(self) -> tuple[Tensor, Tensor]:
        """List every distinct input once, always in the same order.

        Returns:
            inputs (N, K) int64 and answers (N,) int64, both token ids.
        """

    def draw(self, num_samples: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw examples uniformly *with* replacement, as the authors' code does.

        A list drawn this way has duplicates. If it is then split into train and test, a test input
        is also a training input with probability 1 - (1 - 1/N)^(training samples). Use it to
        reproduce published numbers; for a clean comparison, split ``examples()``.

        Args:
            num_samples: How many examples to draw, S.
            generator: CPU random generator; the same state gives the same draw.

        Returns:
            inputs (S, K) int64 and answers (S,) int64.
        """
        check_at_least(1, num_samples=num_samples)
        inputs, answers = self.examples()
        chosen = torch.randint(len(answers), (num_samples,), generator=generator)
        return inputs[chosen], answers[chosen]

    def equivalent_inputs(self, inputs: Tensor) -> Tensor:
        """Number the facts that inputs state: equal ids, same fact.

        Ids depend on the input alone, so they can be compared between calls; they are not
        consecutive. By default every input is a separate fact.

        Args:
            inputs: (N, K) int64 token ids.

        Returns:
            (N,) int64 group ids.
        """
        return self.input_ids(inputs)

    def input_ids(self, inputs: Tensor) -> Tensor:
        """Read each row of (N, K) tokens as the digits of one number in base V: (N,) int64."""
        ids = torch.zeros_like(inputs[:, 0])
        for position in range(inputs.shape[1]):
            ids = ids * self.vocab_size + inputs[:, position]
        return ids

    @property
    def embedding_tokens(self) -> Tensor:
        """Tokens whose embedding rows carry the structure, (P,) int64; by default all V."""
        return torch.arange(self.vocab_size)

    @property
    @abstractmethod
    def token_labels(self) -> list[str]:
        """A short, unique plot label for each of the V tokens."""

    @property
    @abstractmethod
    def token_groups(self) -> Tensor:
        """Color class of each of the ``embedding_tokens``, (P,) int64."""

    @property
    def edges(self) -> Tensor:
        """Pairs to join by a thin line in plots, (M, 2) int64; by default none.

        The entries are positions in ``embedding_tokens``, not token ids, so they index the matrix
        of selected embedding rows directly.
        """
        return torch.empty((0, 2), dtype=torch.int64)

    def __repr__(self) -> str:
        arguments = ", ".join(
            f"{argument}={getattr(self, argument)!r}"
            for argument in inspect.signature(type(self)).parameters
        )
        return (
            f"{type(self).__name__}({arguments}): {len(self.examples()[1])} examples of "
            f"{self.num_inputs} tokens, vocabulary of {self.vocab_size}, "
            f"expected structure {self.structure}"
        )


def all_pairs(size: int) -> Tensor:
    """Every ordered pair of 0..size-1 in lexicographic order, (size², 2) int64."""
    values = torch.arange(size)
    return torch.cartesian_prod(values, values)
