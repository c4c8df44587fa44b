"""FeatureGeometry: how an autoencoder lays out more features than it has dimensions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from callbacks.probes.feature_figures import (
    MemberHistory,
    feature_figures,
    ring_animation,
    ring_figures,
    value_name,
)
from callbacks.probes.probe import Probe, when
from callbacks.sweep import differing_settings
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

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Log a sweep value by value up to so many; more would bury the loggers.
OPTIMIZERS = {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD with momentum"}
_MOST_VALUES = 12


class FeatureGeometry(Probe):
    """Norms, interference, dimensionality and, of features on a circle, their ring.

    Toy Models of Superposition (Elhage et al. 2022) and Bowcott §6 and §7; definitions in
    ``callbacks/metrics``. Of a sweep of up to twelve values every number is logged for each value
    apart, such as ``val/features/represented/sparsity=0.9``; of more, over all of them. Means over
    features are over those that are represented, and over pairs those of which both are. ``arrays``
    keep every member's weights, and those of each measurement. Figures show the first seed of each
    value, and the animation ``training.gif`` a ring's training, of the sweep's last value.

    Args:
        threshold: Norm above which a feature counts as represented (Toy Models has 0.5); null takes
            half of the largest norm, for models whose norms are small, as rings' are.
        cluster_distance: Share of the mean norm within which two features belong to one cluster.
        every_n_epochs: Measure, and keep the weights, after every so many epochs.
        figures_every_n_epochs: Draw after every so many epochs, and after the last.

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
                f"FeatureGeometry: cluster_distance is {cluster_distance}; it must be from 0 to 1"
            )
        self.threshold, self.cluster_distance = threshold, cluster_distance
        self.steps: list[int] = []
        self._history: list[Tensor] = []  # (M, N, H) each
        self._losses: list[Tensor] = []  # (M,) each, of the validations from the second entry on
        self._on_circle = self._in_pairs = False

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if not hasattr(pl_module, "feature_weights"):
            raise ValueError(
                f"FeatureGeometry reads the weights of features, which a "
                f"{type(pl_module).__name__} does not have; remove the probe from "
                f"trainer.callbacks, or use a FeatureAutoencoder"
            )
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        self._on_circle = hasattr(data, "scale")
        least = 3 if self._on_circle else 2
        if pl_module.feature_weights().shape[1] < least:  # type: ignore[operator]
            raise ValueError(
                f"FeatureGeometry compares features with one another and needs at least {least} of "
                f"them; raise data.num_features, or remove the probe from trainer.callbacks"
            )
        self._in_pairs = getattr(data, "pairs", "none") != "none"

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.global_step == 0:  # a new training, not one that is resumed
            self.steps, self._history, self._losses = [], [], []
            self._keep(0, pl_module)

    def _keep(self, step: int, module: Any) -> None:
        self.steps.append(step)
        weights = module.feature_weights().cpu().clone()
        self._history.append(weights)
        self._losses.append(torch.full((len(weights),), torch.nan))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # The module has its scores of this validation only now, after every callback's epoch end.
        loss = pl_module.scores().get("val/loss")  # type: ignore[operator]
        if loss is not None and self.steps[-1:] == [trainer.global_step]:
            self._losses[-1] = loss.cpu().clone()
        super().on_validation_end(trainer, pl_module)

    # ---- measuring -----------------------------------------------------------------------------

    def measure(self, trainer: L.Trainer, module: L.LightningModule) -> Mapping[str, Tensor]:
        weights: Tensor = module.feature_weights()  # type: ignore[operator]  # (M, N, H)
        biases: Tensor = module.feature_biases()  # type: ignore[operator]  # (M, N)
        # `lightning validate` brings a checkpoint's history with it, and counts from 0 again.
        if not self.steps or self.steps[-1] < trainer.global_step:
            self._keep(trainer.global_step, module)
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
        self.summary_metrics = [
            f"val/{self.name}/{key}" for key in ("represented", "num_superposed")
        ]
        found = {
            "represented": (
                represented.sum(dim=-1).to(norms.dtype)
                if self.threshold is None
                else represented_features(weights, self.threshold)
            ),
            # Represented features that share their direction with others.
            "num_superposed": (represented & (interference > 0.1 * norms.square())).sum(-1),
            "feature_count": feature_count(weights),
            "dimensions_per_feature": dimensions_per_feature(weights),
            "interference": _mean_over(interference, represented),
            "dimensionality": _mean_over(dimensionality, represented),
            "norm": _mean_over(norms, represented),
            "norm_cv": _spread_over(norms, represented),
            "basis_alignment": _mean_over(basis_alignment(weights), represented),
            "basis_sparsity": _mean_over(basis_sparsity(weights), represented),
            "clusters": cluster_count(weights, self.cluster_distance),
            "cluster_tightness": cluster_tightness(weights),
            "bias_mean": profile.mean,
            "bias_negative_fraction": profile.negative_fraction,
            "bias_std": profile.std,
        }
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if hasattr(data, "member_priority"):  # importance times activity
            priority = data.member_priority().to(weights.device)  # (M, N)
            found["priority_correlation"] = priority_correlation(weights, priority, represented)
            found["top_priority_fraction"] = top_priority_fraction(represented, priority)
        if self._in_pairs:
            cosine = pair_cosine(weights)  # (M, N/2)
            both = represented[:, 0::2] & represented[:, 1::2]
            # 0 where partners are orthogonal; a mean cosine is 0 as well where they cancel out.
            found["pair_cosine"] = _mean_over(cosine, both)
            found["pair_overlap"] = _mean_over(cosine.abs(), both)
            self.summary_metrics += [
                f"val/{self.name}/pair_cosine",
                f"val/{self.name}/pair_overlap",
            ]
        if self._on_circle:
            found |= {
                "ring_neighbor_fraction": ring_neighbor_fraction(weights),
                "ring_correlation": ring_correlation(weights),
                "ring_turn": ring_turn(weights),
                "ring_curvature": ring_curvature(weights),
            }
            self.summary_metrics = [
                f"val/{self.name}/{key}" for key in ("ring_correlation", "clusters", "bias_mean")
            ]
        return {key: value.float() for key, value in found.items()}

    # ---- logging: each value of a sweep apart --------------------------------------------------

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.sanity_checking or not self._is_due(trainer, self.every_n_epochs):
            return
        groups = members_of_values(differing_settings(trainer, pl_module))
        for name, values in self._measure(trainer, pl_module).items():
            assert isinstance(values, Tensor)
            if not 1 < len(groups) <= _MOST_VALUES:
                pl_module.log_dict(quartiles(name, values), batch_size=1)
                continue
            for label, members in groups.items():
                of_value = values[torch.tensor(members, device=values.device)]
                pl_module.log_dict(quartiles(f"{name}/{label}", of_value), batch_size=1)

    # ---- figures -------------------------------------------------------------------------------

    def figures(self, trainer: L.Trainer, module: L.LightningModule) -> Mapping[str, Figure]:
        shown = self._shown(trainer, module)
        names = [value_name(label) for label in shown]
        chosen = list(shown.values())
        weights = self.arrays["weights"].cpu().numpy()
        biases = self.arrays["biases"].cpu().numpy()[chosen]
        size, hidden = weights.shape[1:]
        which = self._chosen(module, shown)
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        settings = getattr(data, "member_settings", [])
        if self._on_circle:
            shares = module.scores().get("val/explained_fraction")  # type: ignore[operator]
            captions = None
            if shares is not None:
                captions = [f"explains {100 * float(shares[member]):.0f} %" for member in chosen]
            return ring_figures(
                weights[chosen],
                biases,
                names,
                captions=captions,
                scales=[float(settings[member]["scale"]) for member in chosen],
                histories=[self._member_history(module, *one, which) for one in shown.items()]
                if len(self.steps) > 1
                else [],
                title=f"{size} features on a circle in {hidden} dimensions{which}",
            )
        pairs = getattr(data, "pairs", "none")
        paired = f", {pairs} in pairs" if self._in_pairs else ""
        sparsity = [value.get("sparsity") for value in settings]
        sweep = None
        if len(set(sparsity)) > 1 and all(isinstance(s, int | float) for s in sparsity):
            sweep = weights, 1.0 - np.array(sparsity, dtype=np.float64)
        return feature_figures(
            weights[chosen],
            biases,
            names,
            threshold=0.5 if self.threshold is None else self.threshold,
            sweep=sweep,
            hidden_relu=module.hparams.get("activation") == "hidden_and_output",
            pairs=pairs,
            title=f"{size} features in {hidden} dimensions{paired}{when(trainer)}",
            chosen=which,
        )

    def animations(
        self, trainer: L.Trainer, module: L.LightningModule
    ) -> Mapping[str, list[NDArray[np.uint8]]]:
        if not self._on_circle or len(self.steps) < 2:
            return {}
        shown = self._shown(trainer, module)
        label, member = list(shown.items())[-1]  # the smallest, by habit
        history = self._member_history(module, label, member, self._chosen(module, shown))
        return {"training": ring_animation(history)}

    def _shown(self, trainer: L.Trainer, module: L.LightningModule) -> dict[str, int]:
        """The member that figures show of each value: the seed with the least held-out loss."""
        groups = members_of_values(differing_settings(trainer, module))
        everyone = list(range(len(self.arrays["weights"])))
        loss = module.scores().get("val/loss")  # type: ignore[operator]
        order = everyone if loss is None else loss.nan_to_num(nan=torch.inf).tolist()
        groups = groups or {"": everyone}
        return {label: min(members, key=order.__getitem__) for label, members in groups.items()}

    def _chosen(self, module: Any, shown: Mapping[str, int]) -> str:
        """For a title: which of several seeds is shown."""
        seeds = len(self.arrays["weights"]) // len(shown)
        return f" · of {seeds} seeds the one with the least loss" if seeds > 1 else ""

    def _member_history(self, module: Any, label: str, member: int, which: str) -> MemberHistory:
        steps = np.array(self.steps)
        losses = torch.stack([kept[member] for kept in self._losses]).numpy()
        known = np.isfinite(losses)
        weights = torch.stack([kept[member] for kept in self._history]).numpy()
        optimizer = OPTIMIZERS.get(module.hparams.get("optimizer"), "")
        where = "{} features on a circle in {} dimensions".format(*weights.shape[1:])
        title = ", ".join(filter(None, [where, value_name(label), optimizer])) + which
        return MemberHistory(weights, steps, losses[known], steps[known], title)

    # ---- resume --------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The weights so far, so that a resumed run knows them."""
        kept = {"history": list(self._history), "losses": list(self._losses)}
        return {"steps": list(self.steps), **kept}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.steps, self._history = list(state_dict["steps"]), list(state_dict["history"])
        self._losses = list(state_dict["losses"])


def members_of_values(settings: Mapping[str, list[Any]]) -> dict[str, list[int]]:
    """Which members have which value of a sweep, by a label such as ``sparsity=0.9``.

    Args:
        settings: The settings in which members differ, with one value a member.
    """
    if not settings:
        return {}
    members: dict[tuple[str, ...], list[int]] = {}
    for member, row in enumerate(zip(*settings.values(), strict=True)):
        members.setdefault(tuple(map(str, row)), []).append(member)
    groups: dict[str, list[int]] = {}
    for same in members.values():
        pairs = ((name, values[same[0]]) for name, values in settings.items())
        label = ",".join(f"{name}={_plain(value)}" for name, value in pairs)
        like = sum(known == label or known.startswith(f"{label} (") for known in groups)
        groups[f"{label} ({like + 1})" if like else label] = same
    return groups


def _plain(value: Any) -> str:
    """A number in few digits; of a value with an entry per feature the first and the last."""
    if isinstance(value, tuple | list):
        return f"{value[0]:g}..{value[-1]:g}"
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _mean_over(values: Tensor, chosen: Tensor) -> Tensor:
    """Mean of values (M, N) where ``chosen``; nan of a member without any."""
    count = chosen.sum(dim=-1)
    total = torch.where(chosen, values, 0.0).sum(dim=-1)
    return torch.where(count > 0, total / count, torch.nan)


def _spread_over(values: Tensor, chosen: Tensor) -> Tensor:
    """Standard deviation of values (M, N) where ``chosen``, divided by their mean."""
    mean = _mean_over(values, chosen).unsqueeze(-1)
    variance = _mean_over((values - mean).square(), chosen)
    return variance.sqrt() / mean.squeeze(-1)
