"""Family relations in a binary tree."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from datamodules.common.options import check_at_least, choose
from datamodules.tasks.task import Task

Protocol = Literal["paper", "code"]
RELATIONS = ("parent", "grandparent", "sibling")


class Genealogy(Task):
    """Name a relative of a node in a complete binary tree.

    Rule: (node, relation) -> node. With the root 1 and the children of i at 2i and 2i + 1, the
    parent of i is i // 2, the grandparent i // 4, and the sibling i XOR 1, wherever these exist.

    Vocabulary: the nodes, then one token per relation; V = 130 at depth 7 under both protocols.

    - ``paper``: all 2^depth - 1 nodes (127), node i being token i - 1; relations are tokens
      127, 128, 129. 376 facts: 126 parents, 124 grandparents, 126 siblings.
    - ``code``: nodes 1..126 alone, node i being token i; relations are tokens 127, 128, 129 and
      token 0 is never used. 373 facts, one of them wrong: the sibling of node 126 is node 127,
      which does not exist, so its answer is token 127, the relation "parent". The authors' slip,
      kept to reproduce their numbers.

    Structure: a tree, with generations separated. Siblings share their parent, but every
    (node, relation) counts as a fact of its own, as in the authors' data.

    Source: harmonic loss paper, section 4.1, task 4; "family_tree" in the authors' code.

    Args:
        depth: Generations of the tree, at least 2.
        protocol: "paper" for the task as described in the paper, "code" for the authors' code.
    """

    name = "genealogy"
    num_inputs = 2
    symmetric = False
    structure = "tree"
    group_kind = "sequential"

    def __init__(self, depth: int = 7, protocol: Protocol = "paper") -> None:
        check_at_least(2, depth=depth)
        choose("protocol", protocol, get_args(Protocol))
        self.depth = depth
        self.protocol = protocol
        full_tree: int = 2**depth - 1
        self.num_nodes = full_tree if protocol == "paper" else full_tree - 1
        # In both protocols relations have the ids from 2^depth - 1; nodes count from 0 or 1.
        self.first_node_token = 0 if protocol == "paper" else 1
        self.first_relation_token = full_tree

    @property
    def vocab_size(self) -> int:
        return self.first_relation_token + len(RELATIONS)

    def examples(self) -> tuple[Tensor, Tensor]:
        nodes = torch.arange(1, self.num_nodes + 1)
        has_parent = nodes[nodes >= 2]
        has_grandparent = nodes[nodes >= 4]
        subjects = (has_parent, has_grandparent, has_parent)
        relatives = (has_parent // 2, has_grandparent // 4, has_parent ^ 1)
        relations = torch.repeat_interleave(
            torch.arange(len(RELATIONS)), torch.tensor([len(nodes) for nodes in subjects])
        )
        shift = self.first_node_token - 1  # from node number to token
        inputs = torch.column_stack(
            (torch.cat(subjects) + shift, relations + self.first_relation_token)
        )
        return inputs, torch.cat(relatives) + shift

    @property
    def embedding_tokens(self) -> Tensor:
        return torch.arange(self.num_nodes) + self.first_node_token

    @property
    def token_labels(self) -> list[str]:
        unused = ["unused"] * self.first_node_token
        return [*unused, *(str(node + 1) for node in range(self.num_nodes)), *RELATIONS]

    @property
    def generations(self) -> Tensor:
        """Distance of each node from the root, (P,) int64: 0, 1, 1, 2, 2, 2, 2, ..."""
        depths = torch.arange(self.depth)
        return torch.repeat_interleave(depths, 2**depths)[: self.num_nodes]

    @property
    def token_groups(self) -> Tensor:
        return self.generations

    @property
    def edges(self) -> Tensor:
        children = torch.arange(2, self.num_nodes + 1)
        return torch.column_stack((children // 2, children)) - 1  # node i is at position i - 1
