"""DecisionMap: which class a model sees where in the plane, and how its weights came to lie."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from torch import Tensor

from callbacks.probes.probe import Probe
from callbacks.probes.titles import loss_label
from callbacks.trainer_state import is_fitting
from glassbox.metrics import center_distance, weight_norm

if TYPE_CHECKING:
    from matplotlib.figure import Figure


# Half of a map's side over that of the square that holds all points.
MARGIN = 1.7


def points_of(trainer: Any, module: Any) -> tuple[Tensor, Tensor]:
    """The first validation batch: inputs (S, N, 2) and classes (S, N), fillers left out."""
    loader: Any = trainer.val_dataloaders
    if loader is None:  # validation has not begun, or is switched off
        loader = trainer.datamodule.val_dataloader()
    batch = next(iter(loader))
    device = module.class_centers().device
    inputs, targets = (batch[key].to(device) for key in ("inputs", "targets"))
    full = (targets != -100).all(dim=0)
    return inputs[:, full], targets[:, full]


def decision_regions(module: Any, window: Tensor, resolution: int) -> Tensor:
    """The class that each seed sees at each place of a square map.

    Args:
        module: Called with inputs (S, N, 2), gives logits (S, N, C).
        window: Left, right, lower and upper end, (4,).
        resolution: R places along each side, at the centers of R x R equal cells.

    Returns:
        (S, R, R) class numbers, the lowest row first.
    """
    left, right, low, high = window.tolist()
    cells = (torch.arange(resolution, device=window.device) + 0.5) / resolution
    x, y = left + (right - left) * cells, low + (high - low) * cells
    places = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).reshape(1, -1, 2)
    members = len(module.class_centers())
    classes = module(places.expand(members, -1, -1)).argmax(dim=-1)
    small = torch.uint8 if int(classes.max()) < 256 else torch.int64
    return classes.reshape(members, resolution, resolution).to(small)


def losses_and_correct(module: Any, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Negative log-likelihood (float64) and correctness of every point.

    Args:
        module: Called with inputs (S, N, 2), gives logits (S, N, C).
        inputs: (S, N, 2).
        targets: (S, N) classes.

    Returns:
        Both (S, N).
    """
    logits = module(inputs)
    # Every logit is right to a millionth; the sum over classes needs more digits, since
    # 1 + 1e-9 is 1 in float32.
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


_MOST_SEEDS = 5  # of which the figure shows the map


class DecisionMap(Probe):
    """Decision regions over the plane, for a Classifier whose inputs are two numbers.

    Harmonic-loss paper §3 and Figure 1: cross-entropy drives loss and weight norm on for ever,
    harmonic loss ends with weights on the points that they stand for. ``loss`` is the mean
    negative log-likelihood of the points, its sum over classes taken in float64 so that 1e-9 is
    told from 0; ``norm_growth`` is the weight norm over that of half as many steps, 1 where it has
    settled; ``center_distance`` is as in ``WeightNorms``. Loss and weight norm are kept of every
    validation, and as ``loss_at_100`` of the steps that are named. The figure shows the first five
    seeds, with the rows of the weight as centers or directions where the head reads the inputs
    themselves.

    Args:
        record_steps: Optimizer steps whose loss and weight norm become values of their own; those of
            no validation are nan. 0 is before the first.
        resolution: Places along each side of the map at which the model is asked.
        every_n_epochs: Measure after every so many epochs, and after the last.
        figures_every_n_epochs: Draw after every so many epochs, and after the last; null draws
            after the last only.

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
            raise ValueError(f"DecisionMap: record_steps are {record_steps}; none may be below 0")
        self.record_steps = list(record_steps or [])
        self.resolution = resolution
        # One entry a validation, of plain numbers: a small tensor kept of each would pin the
        # memory around it.
        self.steps: list[int] = []
        self._losses: list[list[float]] = []
        self._norms: list[list[float]] = []

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        sizes = getattr(pl_module, "sizes", {})
        if not {"vocab_size", "num_inputs", "num_classes"} <= set(sizes):
            raise ValueError(
                f"DecisionMap asks a Classifier for its answers over the plane, and the model is a "
                f"{type(pl_module).__name__}; remove the probe from trainer.callbacks, or use a "
                f"Classifier"
            )
        if sizes["vocab_size"] or sizes["num_inputs"] != 2:
            kind = "tokens" if sizes["vocab_size"] else "numbers"
            raise ValueError(
                f"DecisionMap draws the plane of two input numbers, and the inputs of these data "
                f"are {sizes['num_inputs']} {kind}; remove the probe from trainer.callbacks, or "
                f"use data such as ToyPoints"
            )

    # ---- the history -----------------------------------------------------------------------------

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.current_epoch == 0:  # a new training, not one that is resumed
            for history in (self.steps, self._losses, self._norms):
                history.clear()
            self._remember(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if is_fitting(trainer) and not trainer.sanity_checking:
            self._remember(trainer, pl_module)
        super().on_validation_epoch_end(trainer, pl_module)

    @torch.no_grad()
    def _remember(self, trainer: L.Trainer, module: Any) -> None:
        inputs, targets = points_of(trainer, module)
        losses, _ = losses_and_correct(module, inputs, targets)
        self.steps.append(trainer.global_step)
        self._losses.append(losses.mean(dim=-1).tolist())
        self._norms.append(weight_norm(module.class_centers()).tolist())

    def state_dict(self) -> dict[str, Any]:
        """The history, so that a resumed run knows it."""
        return {"steps": self.steps[:], "losses": self._losses[:], "norms": self._norms[:]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.steps = list(state_dict["steps"])
        self._losses, self._norms = list(state_dict["losses"]), list(state_dict["norms"])

    # ---- what is measured ------------------------------------------------------------------------

    def measure(self, trainer: L.Trainer, module: Any) -> Mapping[str, Tensor]:
        inputs, targets = points_of(trainer, module)
        losses, correct = losses_and_correct(module, inputs, targets)
        weights = module.class_centers()  # (S, C, E)
        norm, features = weight_norm(weights), module.hidden_states(inputs)
        history = {"loss": self._losses, "weight_norm": self._norms}
        values = {
            "loss": losses.mean(dim=-1),
            "accuracy": correct.double().mean(dim=-1),
            "weight_norm": norm,
            "norm_growth": norm / self._at(trainer.global_step // 2, self._norms, norm),
            "center_distance": center_distance(features, targets, weights),
            **{
                f"{name}_at_{step}": self._at(step, rows, norm)
                for name, rows in history.items()
                for step in self.record_steps
            },
        }
        members = len(weights)
        head = module.ensemble.stacked.head
        window = window_around(inputs)
        bias = getattr(head, "bias", None)
        self.arrays = {
            "regions": decision_regions(module, window, self.resolution),
            "window": window.expand(members, -1),
            "points": inputs,
            "targets": targets,
            "bias": torch.full_like(weights[..., 0], torch.nan) if bias is None else bias.detach(),
            "by_distance": torch.full((members,), bool(head.is_distance_based)),
            "steps": torch.tensor(self.steps, dtype=torch.int64).expand(members, -1),
            **{name: _by_member(rows, members) for name, rows in history.items()},
        }
        if features.shape == inputs.shape and torch.equal(features, inputs):
            self.arrays["weights"] = weights.clone()  # they lie in the plane of the inputs
        self.summary_metrics = [
            f"{self._prefix()}/{key}"
            for key in ("loss", "accuracy", "weight_norm", "norm_growth", "center_distance")
        ]
        return values

    def _at(self, step: int, rows: list[list[float]], like: Tensor) -> Tensor:
        """The history's entry of a step, (S,); nan where there is none."""
        if step not in self.steps:
            return torch.full_like(like, torch.nan)
        return torch.tensor(rows[self.steps.index(step)], dtype=torch.float64, device=like.device)

    def figures(self, trainer: L.Trainer, module: Any) -> Mapping[str, Figure]:
        from glassbox.plots import decision_maps

        shown = {name: array[:_MOST_SEEDS].cpu().numpy() for name, array in self.arrays.items()}
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
                seeds=list(module.seeds)[:_MOST_SEEDS],
                accuracy=torch.as_tensor(accuracy)[:_MOST_SEEDS].cpu().numpy(),
                title=f"decision regions · {loss_label(module.member(0))}{steps}",
            )
        }


def _by_member(rows: list[list[float]], members: int) -> Tensor:
    """A history (T, S) as (S, T), also where there is none yet."""
    return torch.tensor(rows, dtype=torch.float64).reshape(-1, members).mT
