"""Addition modulo p."""

from __future__ import annotations

from torch import Tensor

from datamodules.common.options import check_at_least
from datamodules.tasks.task import Task, all_pairs


class ModularAddition(Task):
    """Add two numbers modulo p.

    Rule: (x, y) -> (x + y) mod p, for all p² ordered pairs (961 for p = 31). Swapping x and y
    states the same fact.

    Vocabulary: token v is the number v; V = p.

    Structure: a circle. Adding y turns the clock by y steps, so numbers placed at equal angles
    (in some order k·v mod p, with a k that differs between runs) turn addition into a rotation.

    Source: harmonic loss paper, section 4.1, task 2; "circle" in the authors' code.

    Args:
        modulus: The modulus p, at least 2.
    """

    name = "modular_addition"
    num_inputs = 2
    symmetric = True
    structure = "circle"
    group_kind = "cyclic"

    def __init__(self, modulus: int = 31) -> None:
        check_at_least(2, modulus=modulus)
        self.modulus = modulus

    @property
    def vocab_size(self) -> int:
        return self.modulus

    def examples(self) -> tuple[Tensor, Tensor]:
        inputs = all_pairs(self.modulus)
        return inputs, inputs.sum(dim=1) % self.modulus

    def equivalent_inputs(self, inputs: Tensor) -> Tensor:
        return self.input_ids(inputs.sort(dim=1).values)

    @property
    def token_labels(self) -> list[str]:
        return [str(value) for value in range(self.modulus)]

    @property
    def token_groups(self) -> Tensor:
        # One color per number: a cyclic color map shows their order around the circle.
        return self.embedding_tokens
