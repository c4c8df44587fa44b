"""EmbeddingGeometry: how many dimensions an embedding fills, and whether its shape is right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from torch import Tensor

from callbacks.probes.probe import Probe, task_of
from callbacks.probes.titles import loss_label
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
)
from glassbox.metrics import principal_components as project

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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


class EmbeddingGeometry(Probe):
    """Explained variance of the token embedding, and the task's own structure score.

    ``explained_variance_k`` is the cumulative share of the first k principal components
    (harmonic-loss paper, Figures 2, 3(a) and 7); all k are in ``results.json``, two are logged.
    ``explained_variance_all_k`` is that of all tokens, for the paper's Figure 3(a). The structure
    score depends on what the task's embedding should look like: circularity, lattice
    deviation, one-dimensionality of generations, class compactness, or the best coset partition.
    Only the rows of tokens that carry the structure are read: 40 of 42 for equivalence classes.

    Args:
        every_n_epochs: Measure after every so many epochs, and after the last.
        figures_every_n_epochs: Draw after every so many epochs, and after the last; null draws
            after the last only.
    """

    name = "embedding"
    needs_task = True
    not_logged = frozenset(
        f"explained_variance_{part}{k}"
        for part in ("", "all_")
        for k in range(1, 1025)
        if (part, k) != ("", 2)
    )

    def measure(
        self, trainer: L.Trainer, module: L.LightningModule
    ) -> Mapping[str, Tensor | list[str]]:
        task: Any = task_of(trainer, self)
        points = self._points(trainer, module)  # (S, P, E)
        cumulative = cumulative_explained_variance(points)  # (S, E)
        values: dict[str, Tensor | list[str]] = {
            f"explained_variance_{k + 1}": cumulative[:, k] for k in range(cumulative.shape[1])
        }
        of_all = cumulative_explained_variance(module.embedding_matrix())  # type: ignore[operator]
        values.update({f"explained_variance_all_{k + 1}": v for k, v in enumerate(of_all.T)})
        scores = structure_scores(task, points)
        values.update(scores)
        groups = coset_colors(points) if "best_coset" in scores else task.token_groups
        self.arrays = {
            "embedding": module.embedding_matrix(),  # type: ignore[operator]
            "coordinates": project(points, 2),  # (S, P, 2)
            "groups": groups.expand(len(points), -1),
            "edges": task.edges.expand(len(points), -1, -1),
        }
        self.summary_metrics = [f"val/embedding/{key}" for key in ("explained_variance_2", *scores)]
        return values

    def figures(self, trainer: L.Trainer, module: L.LightningModule) -> Mapping[str, Figure]:
        from glassbox.plots import cumulative_explained_variance as draw_explained_variance
        from glassbox.plots import embedding_grid

        task: Any = task_of(trainer, self)
        points = self._points(trainer, module)
        ratios = explained_variance(points)
        groups, kind = task.token_groups, task.group_kind
        titles: list[str] | None = None
        best = structure_scores(task, points).get("best_coset")
        if isinstance(best, list):
            titles, groups, kind = best, coset_colors(points), "categorical"
        labels = [task.token_labels[i] for i in task.embedding_tokens.tolist()]
        seeds = getattr(module, "seeds", None)
        heading = f"{describe(module, task)}{progress_text(trainer)}"
        return {
            "embedding": embedding_grid(
                project(points, 2).cpu().numpy(),
                explained=ratios[:, :2].sum(-1).cpu().numpy(),
                labels=labels,
                groups=groups.cpu().numpy(),
                group_kind=kind,
                edges=task.edges.cpu().numpy(),
                seeds=seeds,
                titles=titles,
                title=f"{heading}: embedding, first two components",
            ),
            "explained_variance": draw_explained_variance(ratios.cpu().numpy(), title=heading),
        }

    def _points(self, trainer: L.Trainer, module: Any) -> Tensor:
        task: Any = task_of(trainer, self)
        embedding = module.embedding_matrix()  # (S, V, E)
        return embedding[:, task.embedding_tokens.to(embedding.device)]


def describe(module: L.LightningModule, task: Any) -> str:
    """A figure's heading: task (which may be None), network and head."""
    member = getattr(getattr(module, "ensemble", None), "stacked", None)
    task_name = task.name.replace("_", " ") if task is not None else "training"
    if member is None:
        return task_name
    return f"{task_name} · {loss_label(member)} {type(member.network).__name__}"


def coset_colors(points: Tensor) -> Tensor:
    """The block of each permutation in its seed's best coset partition, (S, 24)."""
    from glassbox.metrics import best_coset, coset_partitions

    labels = torch.tensor([partition.labels for partition in coset_partitions()])
    return labels[best_coset(points)[1].cpu()]
