"""Old names of classes and options, so that a config of an earlier version gets an answer."""

from __future__ import annotations

from collections.abc import Sequence

# Options of models, data modules, callbacks and commands. Where one had several meanings, the new
# name is the one that its class has today.
OPTIONS = {
    "bucketing": ("bucket_batches",),
    "draws": ("num_random_draws",),
    "keep_steps": ("record_steps",),
    "kind": ("activation",),
    "linkage": ("cluster_distance",),
    "num_scored": ("num_train_eval",),
    "num_tokens": ("num_inputs", "context_length", "num_generated"),
    "percents": ("deletion_percents",),
    "start": ("feature_scale_init",),
    "sweep_texts": ("max_sweep_texts",),
    "val_blocks": ("val_windows",),
    "weights": ("restore_best",),
}


def new_option(option: str, known: Sequence[str]) -> str | None:
    """Today's name of an option, if it is one of those that are known; None if not renamed."""
    return next((name for name in OPTIONS.get(option, ()) if name in known), None)


def new_class(name: str) -> str | None:
    """Today's short name of a class, given by its short name or full path; None if not renamed."""
    from lightning_modules.training.renamed import CLASSES

    return CLASSES.get(name.rpartition(".")[2])
