"""EmbeddingGeometry: dimensions that an embedding fills, and the score of the task's structure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lightning as L
import torch
from torch import Tensor

from callbacks.probes.checks import incompatible, task_of
from callbacks.probes.probe import Probe, Results
from callbacks.probes.titles import model_title
from callbacks.trainer_state import progress_text
from glassbox.metrics import (
    best_coset,
    circular_order,
    circularity,
    class_compactness,
    coset_partitions,
    cumulative_explained_variance,
    explained_variance,
    generation_one_dimensionality,
    lattice_deviation,
    principal_components,
)
from glassbox.protocols import HasEmbedding, LatticeTask, StructuredTask

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class EmbeddingGeometry(Probe[HasEmbedding]):
    """Explained variance of the token embedding, and the score of the task's own structure.

    ``explained_variance_k`` is the cumulative fraction of the variance that the first k principal
    components hold (harmonic-loss paper, Figures 2, 3(a) and 7), over the tokens that carry the
    task's structure (40 of 42 for equivalence classes). ``explained_variance_all_k`` is that of
    all tokens, for Figure 3(a). All k are in ``results.json``; only ``explained_variance_2`` is
    logged. The structure score is one of circularity, lattice deviation, one-dimensionality of
    generations, class compactness, and the silhouette of the best coset partition.

    Args:
        every_n_epochs: Measure every n epochs, and after the last.
        figures_every_n_epochs: Draw every n epochs, and after the last; null draws after the last
            only.
    """

    name = "embedding"
    not_logged = frozenset(
        f"explained_variance_{part}{k}"
        for part in ("", "all_")
        for k in range(1, 1025)
        if (part, k) != ("", 2)
    )

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        task_of(trainer, self)
        if not isinstance(pl_module, HasEmbedding):
            raise incompatible(self, "a module with an embedding", pl_module, "a Classifier")

    def measure(self, trainer: L.Trainer, module: HasEmbedding) -> Results:
        task, embedding = task_of(trainer, self), module.embedding_matrix()
        points = structure_points(task, embedding)  # (S, P, E)
        values: dict[str, Tensor | list[str]] = {}
        for part, cloud in (("", points), ("all_", embedding)):
            cumulative = cumulative_explained_variance(cloud)  # (S, E)
            values |= {f"explained_variance_{part}{k}": v for k, v in enumerate(cumulative.T, 1)}
        scores = structure_scores(task, points)
        values |= scores
        groups = coset_colors(points) if "best_coset" in scores else task.token_groups
        self.arrays = {
            "embedding": embedding,
            "coordinates": principal_components(points, 2),  # (S, P, 2)
            "groups": groups.expand(len(points), -1),
            "edges": task.edges.expand(len(points), -1, -1),
        }
        self.summary_metrics = [f"val/embedding/{key}" for key in ("explained_variance_2", *scores)]
        return values

    def figures(self, trainer: L.Trainer, module: HasEmbedding) -> dict[str, Figure]:
        from glassbox.plots import cumulative_explained_variance as draw_explained_variance
        from glassbox.plots import embedding_grid

        task = task_of(trainer, self)
        points = structure_points(task, module.embedding_matrix())
        ratios = explained_variance(points)
        groups, kind = task.token_groups, task.group_kind
        titles: list[str] | None = None
        best = structure_scores(task, points).get("best_coset")
        if isinstance(best, list):
            titles, groups, kind = best, coset_colors(points), "categorical"
        title = f"{model_title(module, task)}{progress_text(trainer)}"
        return {
            "embedding": embedding_grid(
                principal_components(points, 2).cpu().numpy(),
                explained=ratios[:, :2].sum(-1).cpu().numpy(),
                labels=[task.token_labels[i] for i in task.embedding_tokens.tolist()],
                groups=groups.cpu().numpy(),
                group_kind=kind,
                edges=task.edges.cpu().numpy(),
                seeds=getattr(module, "seeds", None),
                titles=titles,
                title=f"{title}: embedding, first two components",
            ),
            "explained_variance": draw_explained_variance(ratios.cpu().numpy(), title=title),
        }


def structure_points(task: StructuredTask, embedding: Tensor) -> Tensor:
    """The rows (S, P, E) of an embedding (S, V, E) that carry the task's structure."""
    return embedding[:, task.embedding_tokens.to(embedding.device)]


def structure_scores(task: StructuredTask, points: Tensor) -> dict[str, Tensor | list[str]]:
    """The scores of the structure that a task's embedding should have.

    Args:
        task: Its ``structure`` chooses; ``token_groups`` are classes and generations.
        points: Embeddings of ``task.embedding_tokens``, (S, P, E).

    Returns:
        Scores (S,) by name, or S strings. Empty for a structure without a score, and for a task too
        small for it (a circle of two points, a tree whose generations have fewer than five nodes).
    """
    try:
        return _scores(task, points)
    except ValueError:  # the metrics raise it for too few points
        return {}


def _scores(task: StructuredTask, points: Tensor) -> dict[str, Tensor | list[str]]:
    groups = task.token_groups.to(points.device)
    match task.structure:
        case "circle":
            return {"circularity": circularity(points), "circular_order": circular_order(points)[0]}
        case "lattice" if isinstance(task, LatticeTask):
            return {"lattice_deviation": lattice_deviation(points, task.side)}
        case "classes":
            return {"class_compactness": class_compactness(points, groups)}
        case "tree":
            one_dimensionality = generation_one_dimensionality(points, groups)
            return {"generation_one_dimensionality": one_dimensionality}
        case "cosets" if points.shape[-2] == 24:  # S4, whose subgroups are enumerated
            silhouette, index = best_coset(points)
            rows = zip(silhouette.isfinite().tolist(), index.tolist(), strict=True)
            names = [coset_partitions()[i].name if finite else "none" for finite, i in rows]
            return {"coset_silhouette": silhouette, "best_coset": names}
        case _:
            return {}


def coset_colors(points: Tensor) -> Tensor:
    """The block of each permutation in its seed's best coset partition, (S, 24)."""
    labels = torch.tensor([partition.labels for partition in coset_partitions()])
    return labels[best_coset(points)[1].cpu()]
