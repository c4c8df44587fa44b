"""FeatureGeometry: how an autoencoder arranges more features than it has dimensions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from callbacks.probes.checks import datamodule_of, incompatible
from callbacks.probes.feature_figures import (
    MemberHistory,
    ring_figures,
    sparse_figures,
    value_name,
)
from callbacks.probes.probe import Probe, Results
from callbacks.sweep import differing_settings, members_by_value
from callbacks.trainer_state import progress_text
from glassbox.metrics import (
    basis_alignment,
    basis_sparsity,
    bias_profile,
    cluster_count,
    cluster_tightness,
    dimensions_per_feature,
    feature_count,
    feature_dimensionality,
    feature_interference,
    feature_norms,
    pair_cosine,
    priority_correlation,
    represented_features,
    ring_correlation,
    ring_curvature,
    ring_neighbor_fraction,
    ring_turn,
    top_priority_fraction,
)
from glassbox.metrics.quantiles import quartiles
from glassbox.protocols import HasFeatureWeights, HasPriority

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OPTIMIZERS = {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD with momentum"}
MAX_LOGGED_VALUES = 12  # of a sweep; with more, only quartiles over all of them are logged


class FeatureGeometry(Probe[HasFeatureWeights]):
    """Norms, interference and dimensionality of features, and for features on a circle their ring.

    Toy Models of Superposition (Elhage et al. 2022) and Bowcott §6 and §7; definitions in
    ``glassbox/metrics``. In a sweep of up to twelve values every number is logged per value, such
    as ``val/features/represented/sparsity=0.9``; with more, over all of them. Means over features
    include represented features only, and means over pairs those with both represented. ``arrays``
    hold every member's weights, at each measurement. Figures show the best seed of each value; the
    animation ``training.gif`` shows the training of a ring, for the sweep's last value.

    Args:
        threshold: Norm above which a feature counts as represented (0.5 in Toy Models); null takes
            half of the largest norm, for models whose norms are small, such as those of rings.
        cluster_distance: Two features belong to one cluster within this fraction of the mean norm.
        every_n_epochs: Measure, and record the weights, every n epochs.
        figures_every_n_epochs: Draw every n epochs, and after the last.

    Raises:
        ValueError: A number is out of range.
    """

    name = "features"

    def __init__(
        self,
        threshold: float | None = 0.5,
        cluster_distance: float = 0.05,
        every_n_epochs: int = 10,
        figures_every_n_epochs: int | None = None,
    ) -> None:
        super().__init__(every_n_epochs, figures_every_n_epochs)
        if threshold is not None and not 0 < threshold < math.inf:
            raise ValueError(f"FeatureGeometry: threshold is {threshold}; it must be positive")
        if not 0 < cluster_distance < 1:
            raise ValueError(
                f"FeatureGeometry: cluster_distance is {cluster_distance}; it must be between 0 "
                f"and 1"
            )
        self.threshold, self.cluster_distance = threshold, cluster_distance
        self.steps: list[int] = []
        self._history: list[Tensor] = []  # (M, N, H) each
        self._losses: list[Tensor] = []  # (M,) each; nan where a step had no validation
        self._on_circle = False
        self._pairs = "none"

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if not isinstance(pl_module, HasFeatureWeights):
            raise incompatible(
                self, "a module with weights of features", pl_module, "a FeatureAutoencoder"
            )
        data = datamodule_of(trainer)
        self._on_circle = hasattr(data, "scale")
        self._pairs = getattr(data, "pairs", "none")
        least = 3 if self._on_circle else 2
        if pl_module.feature_weights().shape[1] < least:
            raise ValueError(
                f"FeatureGeometry needs at least {least} features; raise data.num_features, or "
                f"remove FeatureGeometry from trainer.callbacks"
            )

    # ---- the history ---------------------------------------------------------------------------

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.global_step == 0:  # not a resumed run
            self.steps, self._history, self._losses = [], [], []
            self._record(0, pl_module)

    def _record(self, step: int, module: Any) -> None:
        weights = module.feature_weights().cpu().clone()
        self.steps.append(step)
        self._history.append(weights)
        self._losses.append(torch.full((len(weights),), torch.nan))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._draws_now(trainer):
            self._measure_if_outdated(trainer, pl_module)
        # A module computes its scores after the callbacks' on_validation_epoch_end.
        loss = pl_module.scores().get("val/loss")  # type: ignore[operator]
        if loss is not None and self.steps[-1:] == [trainer.global_step]:
            self._losses[-1] = loss.cpu().clone()
        super().on_validation_end(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        history = {"history": list(self._history), "losses": list(self._losses)}
        return {"steps": list(self.steps), **history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.steps, self._history = list(state_dict["steps"]), list(state_dict["history"])
        self._losses = list(state_dict["losses"])

    # ---- measuring -----------------------------------------------------------------------------

    def measure(self, trainer: L.Trainer, module: HasFeatureWeights) -> Mapping[str, Tensor]:
        weights, biases = module.feature_weights(), module.feature_biases()  # (M, N, H), (M, N)
        # Not in `lightning validate`, whose steps count from 0 beside the checkpoint's history.
        if not self.steps or self.steps[-1] < trainer.global_step:
            self._record(trainer.global_step, module)
        norms, interference = feature_norms(weights), feature_interference(weights)
        limit = norms.amax(dim=-1, keepdim=True) / 2 if self.threshold is None else self.threshold
        represented = norms > limit  # (M, N)
        dimensionality = feature_dimensionality(weights)
        profile = bias_profile(biases)
        self.arrays = {
            "weights": weights,
            "biases": biases,
            "norms": norms,
            "interference": interference,
            "dimensionality": dimensionality,
            "history": torch.stack(self._history, dim=1),  # (M, times, N, H)
            "history_steps": torch.tensor(self.steps).expand(len(weights), -1),
        }
        values = {
            "represented": (
                represented.sum(dim=-1).to(norms.dtype)
                if self.threshold is None
                else represented_features(weights, self.threshold)
            ),
            # Represented features that share their direction with others.
            "num_superposed": (represented & (interference > 0.1 * norms.square())).sum(-1),
            "feature_count": feature_count(weights),
            "dimensions_per_feature": dimensions_per_feature(weights),
            "interference": _mean_where(represented, interference),
            "dimensionality": _mean_where(represented, dimensionality),
            "norm": _mean_where(represented, norms),
            "norm_cv": _cv_where(represented, norms),
            "basis_alignment": _mean_where(represented, basis_alignment(weights)),
            "basis_sparsity": _mean_where(represented, basis_sparsity(weights)),
            "clusters": cluster_count(weights, self.cluster_distance),
            "cluster_tightness": cluster_tightness(weights),
            "bias_mean": profile.mean,
            "bias_negative_fraction": profile.negative_fraction,
            "bias_std": profile.std,
        }
        shown = ["represented", "num_superposed"]
        data = datamodule_of(trainer)
        if isinstance(data, HasPriority):
            priority = data.member_priority().to(weights.device)  # (M, N)
            values["priority_correlation"] = priority_correlation(weights, priority, represented)
            values["top_priority_fraction"] = top_priority_fraction(represented, priority)
        if self._pairs != "none":
            cosine = pair_cosine(weights)  # (M, N/2)
            both = represented[:, 0::2] & represented[:, 1::2]
            values["pair_cosine"] = _mean_where(both, cosine)
            # 0 only if partners are orthogonal; a mean cosine is also 0 if they cancel out.
            values["pair_overlap"] = _mean_where(both, cosine.abs())
            shown += ["pair_cosine", "pair_overlap"]
        if self._on_circle:
            values["ring_neighbor_fraction"] = ring_neighbor_fraction(weights)
            values["ring_correlation"] = ring_correlation(weights)
            values["ring_turn"] = ring_turn(weights)
            values["ring_curvature"] = ring_curvature(weights)
            shown = ["ring_correlation", "clusters", "bias_mean"]
        self.summary_metrics = [f"val/{self.name}/{key}" for key in shown]
        return {key: value.float() for key, value in values.items()}

    def _log(self, trainer: L.Trainer, module: L.LightningModule, results: Results) -> None:
        groups = members_by_value(differing_settings(trainer, module))
        if not 1 < len(groups) <= MAX_LOGGED_VALUES:
            super()._log(trainer, module, results)
            return
        for name, values in results.items():
            for label, members in groups.items():
                assert isinstance(values, Tensor)
                of_value = values[torch.tensor(members, device=values.device)]
                module.log_dict(quartiles(f"{name}/{label}", of_value), batch_size=1)

    # ---- figures -------------------------------------------------------------------------------

    def figures(self, trainer: L.Trainer, module: HasFeatureWeights) -> dict[str, Figure]:
        best = self._best_members(trainer, module)
        names, members = [value_name(label) for label in best], list(best.values())
        weights = self.arrays["weights"].cpu().numpy()
        biases = self.arrays["biases"].cpu().numpy()[members]
        size, hidden = weights.shape[1:]
        which_seed = self._which_seed(best)
        settings = getattr(datamodule_of(trainer), "member_settings", [])
        if self._on_circle:
            explained = module.scores().get("val/explained_fraction")
            captions = None
            if explained is not None:
                captions = [f"explains {100 * float(explained[m]):.0f} %" for m in members]
            histories = [self._member_history(module, *one, which_seed) for one in best.items()]
            return ring_figures(
                weights[members],
                biases,
                names,
                captions=captions,
                scales=[float(settings[member]["scale"]) for member in members],
                histories=histories if len(self.steps) > 1 else [],
                title=f"{size} features on a circle in {hidden} dimensions{which_seed}",
            )
        in_pairs = f", {self._pairs} in pairs" if self._pairs != "none" else ""
        sparsity = [value.get("sparsity") for value in settings]
        sweep = None
        if len(set(sparsity)) > 1 and all(isinstance(s, int | float) for s in sparsity):
            sweep = weights, 1.0 - np.array(sparsity, dtype=np.float64)
        return sparse_figures(
            weights[members],
            biases,
            names,
            threshold=0.5 if self.threshold is None else self.threshold,
            sweep=sweep,
            hidden_relu=module.hparams.get("activation") == "hidden_and_output",
            pairs=self._pairs,
            title=f"{size} features in {hidden} dimensions{in_pairs}{progress_text(trainer)}",
            which_seed=which_seed,
        )

    def animations(
        self, trainer: L.Trainer, module: HasFeatureWeights
    ) -> Mapping[str, list[NDArray[np.uint8]]]:
        from glassbox.plots import weight_frames

        if not self._on_circle or len(self.steps) < 2:
            return {}
        best = self._best_members(trainer, module)
        label, member = list(best.items())[-1]
        history = self._member_history(module, label, member, self._which_seed(best))
        return {"training": history.draw(weight_frames)}

    def _best_members(self, trainer: L.Trainer, module: Any) -> dict[str, int]:
        """For each value of the sweep, the member with the least held-out loss."""
        everyone = list(range(len(self.arrays["weights"])))
        groups = members_by_value(differing_settings(trainer, module)) or {"": everyone}
        loss = module.scores().get("val/loss")
        order = everyone if loss is None else loss.nan_to_num(nan=torch.inf).tolist()
        return {label: min(members, key=order.__getitem__) for label, members in groups.items()}

    def _which_seed(self, best: Mapping[str, int]) -> str:
        """For a title: which of several seeds is shown."""
        seeds = len(self.arrays["weights"]) // len(best)
        return f" · of {seeds} seeds the one with the least loss" if seeds > 1 else ""

    def _member_history(
        self, module: HasFeatureWeights, label: str, member: int, which_seed: str
    ) -> MemberHistory:
        steps = np.array(self.steps)
        losses = torch.stack([losses[member] for losses in self._losses]).numpy()
        weights = torch.stack([weights[member] for weights in self._history]).numpy()
        measured = np.isfinite(losses)
        optimizer = OPTIMIZERS.get(module.hparams.get("optimizer", ""), "")
        sizes = "{} features on a circle in {} dimensions".format(*weights.shape[1:])
        title = ", ".join(filter(None, [sizes, value_name(label), optimizer])) + which_seed
        return MemberHistory(weights, steps, losses[measured], steps[measured], title)


def _mean_where(chosen: Tensor, values: Tensor) -> Tensor:
    """Mean (M,) of the chosen ones of values (M, N); nan for a member without any."""
    count = chosen.sum(dim=-1)
    total = torch.where(chosen, values, 0.0).sum(dim=-1)
    return torch.where(count > 0, total / count, torch.nan)


def _cv_where(chosen: Tensor, values: Tensor) -> Tensor:
    """Coefficient of variation (M,), standard deviation over mean, of the chosen values (M, N)."""
    mean = _mean_where(chosen, values).unsqueeze(-1)
    variance = _mean_where(chosen, (values - mean).square())
    return variance.sqrt() / mean.squeeze(-1)
