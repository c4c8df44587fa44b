"""DecisionMap: decision regions over 2-D inputs, and the history of loss and weight norm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from torch import Tensor

from callbacks.probes.checks import incompatible, validation_examples
from callbacks.probes.probe import Probe
from callbacks.probes.titles import loss_label
from callbacks.trainer_state import is_fitting
from glassbox.metrics import center_distance, weight_norm
from glassbox.protocols import HasMembers

if TYPE_CHECKING:
    from matplotlib.figure import Figure


MARGIN = 1.7  # side of the map over the side of the smallest square that contains all points
MAX_SEEDS = 5  # in the figure


class DecisionMap(Probe[HasMembers]):
    """Decision regions over the plane, for a Classifier whose inputs are two numbers.

    Harmonic-loss paper §3 and Figure 1: cross-entropy keeps lowering the loss and raising the
    weight norm, while under harmonic loss the weights converge to the points of their classes.

    - ``loss``: mean negative log-likelihood of the validation points, in float64, so that 1e-9 is
      distinguished from 0.
    - ``accuracy``, ``weight_norm``.
    - ``norm_growth``: weight norm over that of half as many steps; 1 when it has converged.
    - ``center_distance``: as in ``WeightNorms``.
    - ``loss_at_<step>`` and ``weight_norm_at_<step>`` for each of ``record_steps``.

    Loss and weight norm of every validation are kept in ``arrays``. The figure shows the first five
    seeds, with the rows of the weight (as centers or directions) where the head reads the inputs
    directly.

    Args:
        record_steps: Optimizer steps whose loss and weight norm are reported; nan for steps without
            a validation. 0 is before the first step.
        resolution: Points along each side of the map at which the model is evaluated.
        every_n_epochs: Measure every n epochs, and after the last.
        figures_every_n_epochs: Draw every n epochs, and after the last; null draws after the last
            only.

    Raises:
        ValueError: A number is out of range.
    """

    name = "plane"

    def __init__(
        self,
        record_steps: list[int] | None = None,
        resolution: int = 121,
        every_n_epochs: int = 100,
        figures_every_n_epochs: int | None = None,
    ) -> None:
        super().__init__(every_n_epochs, figures_every_n_epochs)
        if resolution < 2:
            raise ValueError(f"DecisionMap: resolution is {resolution}; it must be at least 2")
        if any(step < 0 for step in record_steps or []):
            raise ValueError(
                f"DecisionMap: record_steps is {record_steps}; steps must be at least 0"
            )
        self.record_steps = list(record_steps or [])
        self.resolution = resolution
        # Plain numbers, one entry per validation: a small tensor that is kept for each would keep
        # the memory around it from being reused.
        self.steps: list[int] = []
        self._losses: list[list[float]] = []
        self._norms: list[list[float]] = []

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if not isinstance(pl_module, HasMembers):
            raise incompatible(self, "a classifier with members", pl_module, "a Classifier")
        sizes = pl_module.sizes
        if sizes["vocab_size"] or sizes["num_inputs"] != 2:
            kind = "tokens" if sizes["vocab_size"] else "numbers"
            raise ValueError(
                f"DecisionMap needs inputs of two numbers, and these have {sizes['num_inputs']} "
                f"{kind}; use data such as ToyPoints, or remove DecisionMap from trainer.callbacks"
            )

    # ---- the history -----------------------------------------------------------------------------

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.current_epoch == 0:  # not a resumed run
            for history in (self.steps, self._losses, self._norms):
                history.clear()
            self._record(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if is_fitting(trainer) and not trainer.sanity_checking:
            self._record(trainer, pl_module)
        super().on_validation_epoch_end(trainer, pl_module)

    @torch.no_grad()
    def _record(self, trainer: L.Trainer, module: Any) -> None:
        weights = module.class_centers()
        losses, _ = losses_and_correct(module, *validation_examples(trainer, weights.device))
        self.steps.append(trainer.global_step)
        self._losses.append(losses.mean(dim=-1).tolist())
        self._norms.append(weight_norm(weights).tolist())

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps[:], "losses": self._losses[:], "norms": self._norms[:]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.steps = list(state_dict["steps"])
        self._losses, self._norms = list(state_dict["losses"]), list(state_dict["norms"])

    # ---- measuring -------------------------------------------------------------------------------

    def measure(self, trainer: L.Trainer, module: HasMembers) -> Mapping[str, Tensor]:
        weights = module.class_centers()  # (S, C, E)
        inputs, targets = validation_examples(trainer, weights.device)
        losses, correct = losses_and_correct(module, inputs, targets)
        norm, features = weight_norm(weights), module.hidden_states(inputs)
        histories = {"loss": self._losses, "weight_norm": self._norms}
        values = {
            "loss": losses.mean(dim=-1),
            "accuracy": correct.double().mean(dim=-1),
            "weight_norm": norm,
            "norm_growth": norm / self._at(trainer.global_step // 2, self._norms, norm),
            "center_distance": center_distance(features, targets, weights),
        }
        self.summary_metrics = [f"{self._prefix()}/{key}" for key in values]
        for name, rows in histories.items():
            for step in self.record_steps:
                values[f"{name}_at_{step}"] = self._at(step, rows, norm)
        window, members = window_around(inputs), len(weights)
        self.arrays = {
            "regions": decision_regions(module, window, self.resolution),
            "window": window.expand(members, -1),
            "points": inputs,
            "targets": targets,
            "bias": _biases(module, weights),
            "by_distance": torch.full((members,), bool(module.member(0).head.is_distance_based)),
            "steps": torch.tensor(self.steps, dtype=torch.int64).expand(members, -1),
        }
        for name, rows in histories.items():  # (validations, S) as (S, validations)
            self.arrays[name] = torch.tensor(rows, dtype=torch.float64).reshape(-1, members).mT
        if features.shape == inputs.shape and torch.equal(features, inputs):
            self.arrays["weights"] = weights.clone()  # points in the plane of the inputs
        return values

    def _at(self, step: int, rows: list[list[float]], like: Tensor) -> Tensor:
        """The history's entry of a step, (S,); nan if there is none."""
        if step not in self.steps:
            return torch.full_like(like, torch.nan)
        return torch.tensor(rows[self.steps.index(step)], dtype=torch.float64, device=like.device)

    def figures(self, trainer: L.Trainer, module: HasMembers) -> Mapping[str, Figure]:
        from glassbox.plots import decision_maps

        shown = {name: array[:MAX_SEEDS].cpu().numpy() for name, array in self.arrays.items()}
        accuracy = self.results[f"{self._prefix()}/accuracy"]
        steps = f" · {trainer.global_step:,} steps" if is_fitting(trainer) else ""
        return {
            "decision_map": decision_maps(
                shown["regions"],
                window=shown["window"][0],
                points=shown["points"],
                targets=shown["targets"],
                weights=shown.get("weights"),
                by_distance=bool(shown["by_distance"][0]),
                seeds=list(module.seeds)[:MAX_SEEDS],
                accuracy=torch.as_tensor(accuracy)[:MAX_SEEDS].cpu().numpy(),
                title=f"decision regions · {loss_label(module.member(0))}{steps}",
            )
        }


def decision_regions(module: HasMembers, window: Tensor, resolution: int) -> Tensor:
    """The class that each seed predicts at each point of a square grid.

    Args:
        module: Called with inputs (S, N, 2), returns logits (S, N, C).
        window: Left, right, lower and upper end, (4,).
        resolution: R, points along each side, at the centers of R x R equal cells.

    Returns:
        (S, R, R) class numbers, the lowest row first.
    """
    left, right, low, high = window.tolist()
    cells = (torch.arange(resolution, device=window.device) + 0.5) / resolution
    x, y = left + (right - left) * cells, low + (high - low) * cells
    points = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).reshape(1, -1, 2)
    members = len(module.class_centers())
    classes = module(points.expand(members, -1, -1)).argmax(dim=-1)
    small = torch.uint8 if int(classes.max()) < 256 else torch.int64
    return classes.reshape(members, resolution, resolution).to(small)


def losses_and_correct(
    module: HasMembers, inputs: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor]:
    """Negative log-likelihood (float64) and correctness of every point, (S, N) each.

    Args:
        module: Called with inputs (S, N, 2), returns logits (S, N, C).
        inputs: (S, N, 2).
        targets: (S, N) classes.
    """
    logits = module(inputs)
    # float32 logits are exact enough, but not their sum over classes: 1 + 1e-9 is 1 in float32.
    log_p = logits.double().log_softmax(dim=-1)
    losses = -log_p.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    return losses, logits.argmax(dim=-1) == targets


def window_around(inputs: Tensor) -> Tensor:
    """A square around all points (S, N, 2) with a margin: left, right, lower, upper end, (4,)."""
    flat = inputs.reshape(-1, 2)
    low, high = flat.amin(dim=0), flat.amax(dim=0)
    half = ((high - low).max() / 2).item() * MARGIN or 1.0
    x, y = ((low + high) / 2).tolist()
    return torch.tensor([x - half, x + half, y - half, y + half], device=inputs.device)


def _biases(module: HasMembers, weights: Tensor) -> Tensor:
    """The heads' biases, (S, C); nan for heads without one."""
    if getattr(module.member(0).head, "bias", None) is None:
        return torch.full_like(weights[..., 0], torch.nan)
    heads = [module.member(index).head for index in range(len(weights))]
    return torch.stack([torch.as_tensor(head.bias) for head in heads]).detach()
