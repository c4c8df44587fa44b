"""PhaseDiagram: how two features share one dimension, over activity and importance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from torch import Tensor

from callbacks.probes.probe import Probe, when
from glassbox.metrics import (
    agreement,
    phase_diagram,
    trained_phase,
    two_feature_loss,
    widest_gap,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class PhaseDiagram(Probe):
    """Trained phases of a sweep over sparsity and importance, against the closed form.

    Toy Models of Superposition (Elhage et al. 2022), "Superposition as a phase change": two
    features and one dimension. Of each cell, a sparsity with an importance, the seed with the least
    expected loss counts; that loss is an integral, since a held-out batch holds too few features at
    small activities. Logged are the share of cells whose phase is the closed form's
    (``agreement``), the share that agrees or has found a lower loss than the closed form knows
    (``agreement_or_lower``), of every cell its loss divided by the closed form's, and the gap
    between weights that no model has (``gap_from``, ``gap_to``): how sudden the changes are.

    Args:
        threshold: A feature counts as represented if its weight is larger than this.
        every_n_epochs: Measure after every so many epochs.
        figures_every_n_epochs: Draw after every so many epochs, and after the last.

    Raises:
        ValueError: A number is out of range; in ``setup``, the run is not such a sweep.
    """

    name = "phase"

    def __init__(
        self,
        threshold: float = 0.5,
        every_n_epochs: int = 1,
        figures_every_n_epochs: int | None = None,
    ) -> None:
        super().__init__(every_n_epochs, figures_every_n_epochs)
        if not threshold >= 0:
            raise ValueError(f"PhaseDiagram: threshold is {threshold}; it must be at least 0")
        self.threshold = threshold
        shown = ("agreement", "agreement_or_lower", "gap_from", "gap_to")
        self.summary_metrics = [f"val/{self.name}/{key}" for key in shown]

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        settings: list[dict[str, Any]] = getattr(_data(trainer), "member_settings", [])
        plain = all(
            isinstance(value.get(name), int | float)
            for value in settings
            for name in ("sparsity", "importance")
        )
        activation = pl_module.hparams.get("activation")
        sizes = _sizes(pl_module)
        if _pairs(trainer):
            raise ValueError(
                "PhaseDiagram knows what two independent features do; set data.pairs to none, or "
                "remove the probe from trainer.callbacks"
            )
        if not settings or not plain or sizes != (2, 1) or activation != "output":
            raise ValueError(
                f"PhaseDiagram knows what two features do in one dimension, at one sparsity for "
                f"both and a number for the importance, behind a ReLU, and this run has "
                f"{sizes[0]} features, {sizes[1]} dimensions and activation {activation!r}; set data "
                f"SparseFeatures with num_features 2 and lists of numbers, model.hidden_dim 1 and "
                f"model.activation output, or remove the probe from trainer.callbacks"
            )

    def measure(self, trainer: L.Trainer, module: L.LightningModule) -> Mapping[str, Tensor]:
        weights: Tensor = module.feature_weights().double().cpu()  # type: ignore[operator]
        biases: Tensor = module.feature_biases().double().cpu()  # type: ignore[operator]
        settings: list[dict[str, Any]] = _data(trainer).member_settings
        sparsities = sorted({value["sparsity"] for value in settings}, reverse=True)
        activity = 1.0 - torch.tensor(sparsities, dtype=torch.float64)  # (P,) rising
        importances = sorted({value["importance"] for value in settings})
        importance = torch.tensor(importances, dtype=torch.float64)  # (R,) rising
        column = torch.tensor([sparsities.index(value["sparsity"]) for value in settings])
        row = torch.tensor([importances.index(value["importance"]) for value in settings])
        losses = two_feature_loss(weights, biases, activity[column], importance[row])  # (M,)
        phases = trained_phase(weights, self.threshold)  # (M,)

        theory = phase_diagram(activity, importance.unsqueeze(1))
        found = torch.full((len(importance), len(activity)), -1)
        least = torch.full(found.shape, torch.inf, dtype=torch.float64)
        for member in losses.nan_to_num(nan=torch.inf).argsort(descending=True).tolist():
            cell = row[member], column[member]  # the last that is written is the least
            found[cell], least[cell] = phases[member], losses[member]
        agrees = agreement(found, theory.losses)  # (R, P)
        ratio = least / theory.losses.amin(dim=-1)
        lower = agrees | (ratio < 1)
        self.arrays = {
            "phase": found,
            "closed_form_losses": theory.losses,
            "importance": importance,
            "activity": activity,
            "loss_ratio": ratio,
        }
        gap = widest_gap(weights).float()
        return {
            "gap_from": gap[:1],
            "gap_to": gap[1:],
            "agreement": agrees.float().mean().view(1),
            "agreement_or_lower": lower.float().mean().view(1),
            "loss_ratio": ratio.flatten().float(),
        }

    def figures(self, trainer: L.Trainer, module: L.LightningModule) -> Mapping[str, Figure]:
        from glassbox.plots import phase_diagram_plot

        arrays = {name: values.numpy() for name, values in self.arrays.items()}
        return {
            "phase_diagram": phase_diagram_plot(
                arrays["phase"],
                arrays["closed_form_losses"],
                importance=arrays["importance"],
                activity=arrays["activity"],
                title=f"Two features in one dimension{when(trainer)}",
            )
        }


def _data(trainer: L.Trainer) -> Any:
    return getattr(trainer, "datamodule", None)


def _pairs(trainer: L.Trainer) -> bool:
    return getattr(_data(trainer), "pairs", "none") != "none"


def _sizes(module: L.LightningModule) -> tuple[int, int]:
    """Features and hidden dimensions of a module; zeros where it has none."""
    if not hasattr(module, "feature_weights"):
        return 0, 0
    _, features, hidden = module.feature_weights().shape  # type: ignore[operator]
    return features, hidden
