"""Which structure score belongs to which task: tensors in, tensors out."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from glassbox.metrics import (
    best_coset,
    circular_order,
    circularity,
    class_compactness,
    coset_partitions,
    generation_one_dimensionality,
    lattice_deviation,
)


def structure_scores(task: Any, points: Tensor) -> dict[str, Tensor | list[str]]:
    """The scores of the structure that a task's embedding should have.

    Args:
        task: Its ``structure`` chooses; ``token_groups`` gives classes and generations.
        points: Embeddings of ``task.embedding_tokens``, (S, P, E).

    Returns:
        Scores (S,) by name, or S strings; empty for a structure without a score, and for a task too
        small for it (a circle of two points, a tree whose generations have fewer than five nodes).
    """
    try:
        return _scores(task, points)
    except ValueError:  # what the metrics raise for too few points
        return {}


def _scores(task: Any, points: Tensor) -> dict[str, Tensor | list[str]]:
    groups = task.token_groups.to(points.device)
    match task.structure:
        case "circle":
            return {"circularity": circularity(points), "circular_order": circular_order(points)[0]}
        case "lattice":
            return {"lattice_deviation": lattice_deviation(points, task.side)}
        case "classes":
            return {"class_compactness": class_compactness(points, groups)}
        case "tree":
            one_dimensionality = generation_one_dimensionality(points, groups)
            return {"generation_one_dimensionality": one_dimensionality}
        case "cosets" if points.shape[-2] == 24:  # S4, whose subgroups are enumerated
            silhouette, index = best_coset(points)
            found = zip(silhouette.isfinite().tolist(), index.tolist(), strict=True)
            names = [coset_partitions()[i].name if finite else "none" for finite, i in found]
            return {"coset_silhouette": silhouette, "best_coset": names}
        case _:
            return {}
