"""Figures over many finished runs, one a file: `(points, *, title, **options) -> Figure`.

A study of `lightning reproduce` names one of them under `draw:`; `points` are its grid points of
one protocol.
"""

from callbacks.plots.studies.by_category import by_category
from callbacks.plots.studies.case_study import case_study
from callbacks.plots.studies.coset_null import coset_null
from callbacks.plots.studies.data_efficiency import data_efficiency
from callbacks.plots.studies.deletion_curves import deletion_curves
from callbacks.plots.studies.embeddings import embeddings_by_model
from callbacks.plots.studies.explained_variance import explained_variance_by_model
from callbacks.plots.studies.exponents import exponents
from callbacks.plots.studies.generalization import generalization_by_model
from callbacks.plots.studies.sweep import sweep
from callbacks.plots.studies.toy_points import toy_points
from callbacks.plots.studies.weight_images import weight_images_by_head

__all__ = sorted(n for n, v in vars().items() if getattr(v, "__module__", "").startswith(__name__))
