"""Figures over many finished runs, one a file: `(points, *, title, **options) -> Figure`.

A study of `lightning reproduce` names one of them under `draw:`; `points` are its grid points of
one protocol.
"""

from glassbox.plots.studies.by_category import by_category
from glassbox.plots.studies.case_study import case_study
from glassbox.plots.studies.coset_null import coset_null
from glassbox.plots.studies.data_efficiency import data_efficiency
from glassbox.plots.studies.deletion_curves import deletion_curves
from glassbox.plots.studies.embeddings import embeddings_by_model
from glassbox.plots.studies.explained_variance import explained_variance_by_model
from glassbox.plots.studies.exponents import exponents
from glassbox.plots.studies.generalization import generalization_by_model
from glassbox.plots.studies.sweep import sweep
from glassbox.plots.studies.toy_points import toy_points
from glassbox.plots.studies.weight_images import weight_images_by_head

__all__ = sorted(n for n, v in vars().items() if getattr(v, "__module__", "").startswith(__name__))
