"""FeatureAutoencoder: toy models of superposition, many seeds and a sweep in one run."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from lightning_modules.ensemble.ensemble import Ensemble
from lightning_modules.ensemble.module import EnsembleModule
from lightning_modules.ensemble.sharding import member_range
from lightning_modules.networks.toy_autoencoder import Activation, ToyAutoencoder
from lightning_modules.training.specs import check_data_matches_model

OPTIMIZERS = ("adam", "adamw", "sgd")
SCHEDULES = ("constant", "linear", "cosine")


class FeatureAutoencoder(EnsembleModule):
    """Autoencoders of drawn features: every seed of every swept value, trained at once.

    Members are the data's values times the seeds, value by value. One ``training_step`` is an epoch
    of optimizer steps on fresh draws (``datamodules/drawn_features.py``).

    Args:
        num_features: N (filled in from the data on the command line).
        num_values: Values that the data sweep (likewise).
        hidden_dim: H, fewer than the features.
        activation: 'none', 'output' (a ReLU behind the output), or 'hidden_and_output' (at the hidden layer too).
        initial_scale: Standard deviation of the initial weights; null takes Xavier's.
        num_seeds: Train this many seeds of each value, 0 to num_seeds - 1.
        seeds: Train these seeds instead.
        optimizer: 'adam', 'adamw', or 'sgd' with momentum.
        learning_rate: Its peak.
        momentum: Of SGD.
        weight_decay: Of AdamW (torch's default is 0.01) and SGD.
        schedule: 'constant', or a fall to 0 at the run's end, 'linear' or 'cosine'.
        compile: Compile the training step: 'auto' does so when the run is long enough.

    Raises:
        ValueError: A number is out of range.
    """

    summary_metrics = ("val/loss", "val/explained_fraction")

    def __init__(
        self,
        num_features: int = 20,
        num_values: int = 1,
        hidden_dim: int = 5,
        activation: Activation = "output",
        initial_scale: float | None = None,
        num_seeds: int = 1,
        seeds: list[int] | None = None,
        optimizer: Literal["adam", "adamw", "sgd"] = "adam",
        learning_rate: float = 1e-3,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        schedule: Literal["constant", "linear", "cosine"] = "constant",
        compile: Literal["auto", "always", "never"] = "auto",
    ) -> None:
        super().__init__()
        for name, choice, choices in (
            ("optimizer", optimizer, OPTIMIZERS),
            ("schedule", schedule, SCHEDULES),
            ("compile", compile, ("auto", "always", "never")),
        ):
            if choice not in choices:
                raise ValueError(f"{name} is {choice!r}; choose one of {', '.join(choices)}")
        if not 0 < learning_rate < math.inf or not 0 <= momentum < 1 or not weight_decay >= 0:
            raise ValueError(
                f"learning_rate is {learning_rate}, momentum {momentum} and weight_decay "
                f"{weight_decay}; the first must be positive, the second from 0 to below 1, the "
                f"third not negative"
            )
        of_value = list(range(num_seeds)) if seeds is None else list(seeds)
        if not of_value or len(set(of_value)) < len(of_value):
            raise ValueError(f"seeds are {of_value}; give at least one, and each only once")
        self.save_hyperparameters(logger=False)
        self.hparams["seeds"] = of_value
        self.sizes = {"num_features": num_features, "num_values": num_values}
        self.seeds = of_value * num_values
        self.optimizer_name, self.schedule_name = optimizer, schedule
        self.learning_rate, self.momentum = learning_rate, momentum
        self.weight_decay, self.compile_mode = weight_decay, compile
        build: Any = partial(ToyAutoencoder, num_features, hidden_dim, activation, initial_scale)
        self.ensemble = Ensemble(build, self.seeds)
        self._sums: dict[str, Tensor] = {}
        self._scores: dict[str, Tensor] = {}

    # ---- training ------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        trainer: Any = self.trainer
        check_data_matches_model(self, self.sizes, trainer.datamodule)
        if len(self.seeds) > 1 or trainer.world_size == 1:
            member_range(len(self.seeds), trainer.global_rank, trainer.world_size)  # or refuse
        else:
            raise ValueError(
                f"one autoencoder cannot be spread over {trainer.world_size} devices; set "
                f"trainer.devices to 1, or train several seeds"
            )
        self._share = None

    def configure_optimizers(self) -> torch.optim.Optimizer:
        parameters = list(self.share().ensemble.parameters())
        decay = self.weight_decay
        if self.optimizer_name == "sgd":
            return torch.optim.SGD(
                parameters, self.learning_rate, self.momentum, weight_decay=decay, fused=True
            )
        adam = torch.optim.AdamW if self.optimizer_name == "adamw" else torch.optim.Adam
        return adam(parameters, self.learning_rate, weight_decay=decay, fused=True)

    def on_fit_start(self) -> None:
        steps = self._planned_steps()
        if self.compile_mode == "always" or (self.compile_mode == "auto" and steps >= 2_000):
            torch.compiler.reset()  # Dynamo keeps few variants of a function in one process
            self.share().ensemble.compile()

    def _planned_steps(self) -> int:
        """Optimizer steps of the whole run; 0 where it has no end."""
        trainer: Any = self.trainer
        ends = []
        if trainer.max_epochs is not None and trainer.max_epochs >= 0:
            ends.append(int(trainer.max_epochs) * int(trainer.datamodule.steps_per_epoch))
        if trainer.max_steps is not None and trainer.max_steps >= 0:
            ends.append(int(trainer.max_steps))
        if not ends and self.schedule_name != "constant":
            raise ValueError(
                f"schedule is {self.schedule_name!r}, which needs an end: set trainer.max_epochs"
            )
        return min(ends, default=0)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """One epoch: ``inputs`` of (steps, M, B, N) drawn step by step, ``importance`` (M, N)."""
        optimizer = self.plain_optimizer()
        share = self.share()
        inputs = share.take({"inputs": batch["inputs"]}, dim=1)["inputs"]
        importance = batch["importance"][share.first : share.last]
        first, planned = batch["inputs"].first_step, self._planned_steps()
        losses = torch.zeros(len(share.ensemble.seeds), device=self.device)
        for i in range(len(inputs)):
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate * self._rate_fraction(first + i, planned)
            losses += share.ensemble.compute_gradients(inputs[i], importance, first + i)
            optimizer.step()
        share.publish()
        self.count_steps(len(inputs))
        losses = share.gather(losses)
        self._scores["train/loss"] = losses / len(inputs)
        self._report_divergence(losses)

    def _rate_fraction(self, step: int, planned: int) -> float:
        """Share of the peak learning rate at a step of a run of so many."""
        if self.schedule_name == "constant":
            return 1.0
        progress = step / max(1, planned)
        if self.schedule_name == "linear":
            return 1.0 - progress
        return 0.5 * (1.0 + math.cos(math.pi * progress))

    # ---- evaluation ----------------------------------------------------------------------------

    def on_validation_epoch_start(self) -> None:
        self._sums = {}

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        share = self.share()
        inputs = share.take({"inputs": batch["inputs"]}, dim=1)["inputs"]
        importance = batch["importance"][share.first : share.last].unsqueeze(1)  # (M, 1, N)
        for i in range(len(inputs)):
            x = inputs[i]  # (M, B, N)
            error = (x - share.ensemble(x)).square()
            found = {
                "loss": (importance * error).mean(dim=(1, 2)),
                "error": error.mean(dim=(1, 2)),
                "power": x.square().mean(dim=(1, 2)),
                "count": torch.ones(len(x), device=x.device),
            }
            self._sums = {name: self._sums.get(name, 0.0) + value for name, value in found.items()}

    def on_validation_epoch_end(self) -> None:
        share, sums = self.share(), self._sums
        found = {
            "val/loss": sums["loss"] / sums["count"],
            # Of the features' second moment: 1 is a perfect reconstruction, 0 none.
            "val/explained_fraction": 1.0 - sums["error"] / sums["power"],
        }
        self._scores.update({name: share.gather(value) for name, value in found.items()})
        if not self.trainer.sanity_checking:
            self._log_quartiles(self._scores)

    def on_test_epoch_start(self) -> None:
        self.on_validation_epoch_start()

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)

    def on_test_epoch_end(self) -> None:
        self.on_validation_epoch_end()

    def forward(self, inputs: Tensor) -> Tensor:
        """Reconstructions (M, B, N) of features (M, B, N)."""
        return self.ensemble(inputs)

    # ---- what probes read ----------------------------------------------------------------------

    def scores(self) -> dict[str, Tensor]:
        """Losses and explained share of every member, (M,) each."""
        return self._scores

    def feature_weights(self) -> Tensor:
        """W of every member, (M, N, H): one row a feature."""
        return self._stacked("weight")

    def feature_biases(self) -> Tensor:
        """The output's biases of every member, (M, N)."""
        return self._stacked("bias")

    def _stacked(self, name: str) -> Tensor:
        return self.ensemble.stacked.get_parameter(name).detach()

    def member(self, index: int) -> ToyAutoencoder:
        """One member as an ordinary module (index into ``seeds``)."""
        return self.ensemble.member(index)  # type: ignore[return-value]
