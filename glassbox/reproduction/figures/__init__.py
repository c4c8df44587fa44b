"""Figures over many finished runs, one per file: `(points, *, title, **options) -> Figure`.

A study names one of them under `function:`; `points` are its grid points under one protocol,
`title` is written above the figure. Every figure raises ValueError if there are no points, an axis,
metric or array is missing, several points have the same labels, or an option is invalid.
"""

from glassbox.reproduction.figures.by_category import by_category
from glassbox.reproduction.figures.case_study import case_study
from glassbox.reproduction.figures.coset_null import coset_null
from glassbox.reproduction.figures.data_efficiency import data_efficiency
from glassbox.reproduction.figures.deletion_curves import deletion_curves
from glassbox.reproduction.figures.embeddings import embeddings_by_model
from glassbox.reproduction.figures.explained_variance import explained_variance_by_model
from glassbox.reproduction.figures.generalization import generalization_by_model
from glassbox.reproduction.figures.sweep import sweep
from glassbox.reproduction.figures.toy_points import toy_points
from glassbox.reproduction.figures.weight_images import weight_images_by_head

__all__ = [
    "by_category",
    "case_study",
    "coset_null",
    "data_efficiency",
    "deletion_curves",
    "embeddings_by_model",
    "explained_variance_by_model",
    "generalization_by_model",
    "sweep",
    "toy_points",
    "weight_images_by_head",
]
