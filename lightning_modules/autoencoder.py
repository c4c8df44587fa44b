"""FeatureAutoencoder: toy models of superposition, many seeds and a sweep in one run."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from lightning_modules.ensemble.ensemble import Ensemble
from lightning_modules.ensemble.module import EnsembleModule
from lightning_modules.networks.toy_autoencoder import Activation, ToyAutoencoder
from lightning_modules.training.lightning_counters import count_steps, last_step
from lightning_modules.training.optim import AdamWSettings, CompileMode, check_choice

Optimizer = Literal["adam", "adamw", "sgd"]
Schedule = Literal["constant", "linear", "cosine"]


class FeatureAutoencoder(EnsembleModule):
    """Autoencoders of random features: every seed of every swept value, trained at once.

    There is a member for every pair of a value and a seed, sorted by value. One ``training_step``
    is an epoch of optimizer steps on freshly drawn features.

    Args:
        num_features: N (taken from the data on the command line).
        num_values: Number of values that the data sweep (taken from the data on the command line).
        hidden_dim: H, fewer than the features.
        activation: 'none', 'output' (a ReLU after the output layer), or 'hidden_and_output' (one
            after the hidden layer as well).
        initial_scale: Standard deviation of the initial weights; null means Xavier's.
        num_seeds: Train this many seeds of each value, 0 to num_seeds - 1.
        seeds: Train these seeds instead.
        optimizer: 'adam', 'adamw', or 'sgd' with momentum.
        learning_rate: Peak of the learning rate.
        momentum: Momentum of SGD.
        weight_decay: Weight decay of AdamW (torch's default is 0.01) or SGD.
        schedule: 'constant', or a decrease to 0 at the end of the run, 'linear' or 'cosine'.
        compile: Compile the training step; 'auto' does so if the run is long enough to pay for it.

    Raises:
        ValueError: An option is out of range.
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
        optimizer: Optimizer = "adam",
        learning_rate: float = 1e-3,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        schedule: Schedule = "constant",
        compile: CompileMode = "auto",
    ) -> None:
        super().__init__()
        check_choice("optimizer", optimizer, get_args(Optimizer))
        check_choice("schedule", schedule, get_args(Schedule))
        check_choice("compile", compile, get_args(CompileMode))
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum is {momentum}; it must be at least 0 and below 1")
        value_seeds = list(range(num_seeds)) if seeds is None else list(seeds)
        if not value_seeds or len(set(value_seeds)) < len(value_seeds):
            raise ValueError(f"seeds are {value_seeds}; give at least one, and each only once")
        self.save_hyperparameters(logger=False)
        self.hparams["seeds"] = value_seeds
        self.sizes = {"num_features": num_features, "num_values": num_values}
        self.seeds = value_seeds * num_values
        self.optimizer_settings = AdamWSettings(learning_rate, weight_decay)
        self.optimizer_name, self.momentum = optimizer, momentum
        self.schedule, self.compile_mode = schedule, compile
        build = partial(ToyAutoencoder, num_features, hidden_dim, activation, initial_scale)
        self.ensemble: Ensemble[ToyAutoencoder] = Ensemble(build, self.seeds)
        self._sums: dict[str, Tensor] = {}
        self._scores: dict[str, Tensor] = {}

    # ---- training ------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        super().setup(stage)
        devices = self.trainer.world_size
        if len(self.seeds) == 1 and devices > 1:
            raise ValueError(
                f"a single autoencoder trains on one device, not on {devices}; set trainer.devices "
                f"to 1, or train several seeds"
            )

    def configure_optimizers(self) -> torch.optim.Optimizer:
        parameters, settings = self.shard().ensemble.parameters(), self.optimizer_settings
        if self.optimizer_name == "adamw":
            return settings.optimizer(parameters)
        rate, decay = settings.learning_rate, settings.weight_decay
        if self.optimizer_name == "adam":
            return torch.optim.Adam(parameters, rate, weight_decay=decay, fused=True)
        return torch.optim.SGD(parameters, rate, self.momentum, weight_decay=decay, fused=True)

    def on_fit_start(self) -> None:
        super().on_fit_start()
        steps = last_step(self.trainer)
        if steps is None and self.schedule != "constant":
            raise ValueError(
                f"schedule is {self.schedule!r}, which needs the run's last step; set "
                f"trainer.max_epochs"
            )
        if self.compile_mode == "always" or (self.compile_mode == "auto" and (steps or 0) >= 2_000):
            self.compile_ensemble()

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """One epoch: ``inputs`` (steps, M, B, N), drawn step by step, and ``importance`` (M, N)."""
        optimizer, shard = self.plain_optimizer(), self.shard()
        inputs = shard.shard_batch({"inputs": batch["inputs"]}, dim=1)["inputs"]
        importance = batch["importance"][shard.first : shard.last]
        first_step, last = batch["inputs"].first_step, last_step(self.trainer)
        num_steps = len(inputs)
        if self.trainer.max_steps >= 0:
            num_steps = min(num_steps, self.trainer.max_steps - self.global_step)
        losses = torch.zeros(len(shard.ensemble.seeds), device=self.device)
        for step in range(first_step, first_step + num_steps):
            for group in optimizer.param_groups:
                group["lr"] = self.optimizer_settings.learning_rate * self._rate_at(step, last)
            losses += shard.ensemble.compute_gradients(inputs[step - first_step], importance, step)
            optimizer.step()
        shard.all_gather_parameters()
        count_steps(self.trainer, num_steps)
        losses = shard.all_gather(losses)
        self._scores["train/loss"] = losses / num_steps
        self._check_losses(losses)

    def _rate_at(self, step: int, last: int | None) -> float:
        """Fraction of the peak learning rate at a step of a run that ends at ``last``."""
        if self.schedule == "constant" or last is None:
            return 1.0
        progress = min(1.0, step / max(1, last))
        if self.schedule == "linear":
            return 1.0 - progress
        return 0.5 * (1.0 + math.cos(math.pi * progress))

    # ---- evaluation ----------------------------------------------------------------------------

    def on_validation_epoch_start(self) -> None:
        self._sums = {}

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        shard = self.shard()
        inputs = shard.shard_batch({"inputs": batch["inputs"]}, dim=1)["inputs"]
        importance = batch["importance"][shard.first : shard.last].unsqueeze(1)  # (M, 1, N)
        for i in range(len(inputs)):
            x = inputs[i]  # (M, B, N)
            error = (x - shard.ensemble(x)).square()
            step_means = {
                "loss": (importance * error).mean(dim=(1, 2)),
                "error": error.mean(dim=(1, 2)),
                "power": x.square().mean(dim=(1, 2)),
                "count": torch.ones(len(x), device=x.device),
            }
            for name, value in step_means.items():
                self._sums[name] = self._sums.get(name, 0.0) + value

    def on_validation_epoch_end(self) -> None:
        shard, sums = self.shard(), self._sums
        scores = {
            "val/loss": sums["loss"] / sums["count"],
            # Of the features' second moment; 1 is perfect reconstruction.
            "val/explained_fraction": 1.0 - sums["error"] / sums["power"],
        }
        self._scores.update({name: shard.all_gather(value) for name, value in scores.items()})
        if not self.trainer.sanity_checking:
            self._log_quartiles(self._scores)

    on_test_epoch_start = on_validation_epoch_start
    test_step = validation_step
    on_test_epoch_end = on_validation_epoch_end

    def forward(self, inputs: Tensor) -> Tensor:
        """Reconstructions (M, B, N) of features (M, B, N)."""
        return self.ensemble(inputs)

    # ---- what probes read ----------------------------------------------------------------------

    def scores(self) -> dict[str, Tensor]:
        """Losses and explained fraction of every member, (M,) each."""
        return self._scores

    def feature_weights(self) -> Tensor:
        """W of every member, (M, N, H): one row per feature."""
        return self.ensemble.stacked.weight.detach()

    def feature_biases(self) -> Tensor:
        """The output's biases of every member, (M, N)."""
        return self.ensemble.stacked.bias.detach()

    def member(self, index: int) -> ToyAutoencoder:
        """One member as an ordinary module (index into ``seeds``)."""
        return self.ensemble.member(index)
