"""PhaseDiagram: how two features share one dimension, over activity and importance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import lightning as L
import torch
from torch import Tensor

from callbacks.probes.checks import datamodule_of
from callbacks.probes.probe import Probe
from callbacks.trainer_state import progress_text
from glassbox.metrics import agreement, phase_diagram, trained_phase, two_feature_loss, widest_gap
from glassbox.protocols import HasFeatureWeights

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Diagram(NamedTuple):
    """The best seed of each cell of R importances and P activities, and the closed form."""

    importance: Tensor  # (R,) rising
    activity: Tensor  # (P,) rising
    phase: Tensor  # (R, P); -1 where no seed has a finite loss
    closed_form_losses: Tensor  # (R, P, 3)


class PhaseDiagram(Probe[HasFeatureWeights]):
    """Trained phases of a sweep over sparsity and importance, against the closed form.

    Toy Models of Superposition (Elhage et al. 2022), "Superposition as a phase change": two
    features and one dimension. Each cell, a sparsity with an importance, is represented by its seed
    with the least expected loss. That loss is an integral, since a held-out batch has too few
    active features at small activities. Every member reports the values of the whole sweep
    (``agreement``, ``agreement_or_lower``, ``gap_from``, ``gap_to``) and of its cell:

    - ``agreement``: fraction of cells whose phase is the closed form's.
    - ``agreement_or_lower``: fraction that agrees or has a lower loss than the closed form.
    - ``gap_from``, ``gap_to``: ends of the widest gap between weights, which shows how sudden the
      changes are.
    - ``loss_ratio``: the cell's loss over the closed form's.

    Args:
        threshold: A feature counts as represented if its weight is larger than this.
        every_n_epochs: Measure every n epochs.
        figures_every_n_epochs: Draw every n epochs, and after the last.

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
        self.diagram: Diagram | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        settings = _member_settings(trainer)
        are_numbers = all(
            isinstance(value.get(name), int | float)
            for value in settings
            for name in ("sparsity", "importance")
        )
        activation = pl_module.hparams.get("activation")
        features = hidden = 0
        if isinstance(pl_module, HasFeatureWeights):
            _, features, hidden = pl_module.feature_weights().shape
        if getattr(datamodule_of(trainer), "pairs", "none") != "none":
            raise ValueError(
                "PhaseDiagram needs independent features; set data.pairs to none, or remove "
                "PhaseDiagram from trainer.callbacks"
            )
        fits = (features, hidden, activation) == (2, 1, "output")
        if not settings or not are_numbers or not fits:
            raise ValueError(
                f"PhaseDiagram needs two features in one dimension, a ReLU on the output, and one "
                f"sparsity and importance per member; this run has {features} features, {hidden} "
                f"dimensions and activation {activation!r}. Use SparseFeatures with num_features 2 "
                f"and lists of numbers, hidden_dim 1 and activation output, or remove PhaseDiagram "
                f"from trainer.callbacks"
            )

    def measure(self, trainer: L.Trainer, module: HasFeatureWeights) -> dict[str, Tensor]:
        weights = module.feature_weights().double().cpu()  # (M, 2, 1)
        biases = module.feature_biases().double().cpu()  # (M, 2)
        settings = _member_settings(trainer)
        sparsities = sorted({value["sparsity"] for value in settings}, reverse=True)
        importances = sorted({value["importance"] for value in settings})
        activity = 1.0 - torch.tensor(sparsities, dtype=torch.float64)  # (P,) rising
        importance = torch.tensor(importances, dtype=torch.float64)  # (R,) rising
        column = torch.tensor([sparsities.index(value["sparsity"]) for value in settings])
        row = torch.tensor([importances.index(value["importance"]) for value in settings])
        losses = two_feature_loss(weights, biases, activity[column], importance[row])  # (M,)
        phases = trained_phase(weights, self.threshold)  # (M,)

        theory = phase_diagram(activity, importance.unsqueeze(1))
        phase = torch.full((len(importance), len(activity)), -1)
        least = torch.full(phase.shape, torch.inf, dtype=torch.float64)
        for member in losses.nan_to_num(nan=torch.inf).argsort(descending=True).tolist():
            cell = row[member], column[member]  # written last: the member with the least loss
            phase[cell], least[cell] = phases[member], losses[member]
        agrees = agreement(phase, theory.losses)  # (R, P)
        ratio = least / theory.losses.amin(dim=-1)
        self.diagram = Diagram(importance, activity, phase, theory.losses)
        self.arrays = {
            "phase": phases,
            "loss": losses,
            "importance": importance[row],
            "activity": activity[column],
        }
        gap_from, gap_to = widest_gap(weights).float()
        of_sweep = {
            "gap_from": gap_from,
            "gap_to": gap_to,
            "agreement": agrees.float().mean(),
            "agreement_or_lower": (agrees | (ratio < 1)).float().mean(),
        }
        values = {name: value.expand(len(weights)) for name, value in of_sweep.items()}
        return {**values, "loss_ratio": ratio[row, column].float()}

    def figures(self, trainer: L.Trainer, module: HasFeatureWeights) -> dict[str, Figure]:
        from glassbox.plots import phase_diagram_plot

        assert self.diagram is not None
        importance, activity, phase, losses = (values.numpy() for values in self.diagram)
        title = f"Two features in one dimension{progress_text(trainer)}"
        figure = phase_diagram_plot(
            phase, losses, importance=importance, activity=activity, title=title
        )
        return {"phase_diagram": figure}


def _member_settings(trainer: L.Trainer) -> list[dict[str, Any]]:
    return getattr(datamodule_of(trainer), "member_settings", [])
