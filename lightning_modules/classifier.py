"""Classifier: any small network with any loss head, one seed or many at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from lightning_modules.ensemble.ensemble import Ensemble
from lightning_modules.ensemble.member import NetworkWithHead
from lightning_modules.ensemble.metrics import EnsembleMetrics
from lightning_modules.ensemble.module import EnsembleModule
from lightning_modules.ensemble.sharding import (
    EpochLengthGroup,
    epoch_length_groups,
    member_range,
    parameters_of,
)
from lightning_modules.heads import HarmonicHead, LossHead
from lightning_modules.heads.base import refuse_settings
from lightning_modules.networks import MLP, FeatureNetwork
from lightning_modules.training.optim import override_restored_hyperparameters
from lightning_modules.training.specs import build_from_spec, check_data_matches_model, to_spec

# Compiling takes 10 to 30 s and saves about 0.1 ms per seed and step (docs/performance.md), so it
# pays from some 150,000 steps of one seed on.
_COMPILE_FROM_MEMBER_STEPS = 150_000


class Classifier(EnsembleModule):
    """A network and a loss head, trained with AdamW for one seed or for many seeds at once.

    One ``training_step`` is one epoch of optimizer steps of all seeds (manual optimization), so
    that Lightning's own cost per batch is paid once an epoch; ``trainer.global_step`` counts
    optimizer steps. Each seed has its own initial weights, split and batch order, and trains as it
    would alone. On several devices (DDP) the seeds are spread over them, without any exchange of
    gradients; one seed is trained by all of them, on a part of every batch each.

    Args:
        network: Network class; called with (vocab_size, num_inputs).
        head: Loss head class; called with (width of the features, num_classes).
        vocab_size: Number of input tokens (filled in from the data on the command line).
        num_inputs: Input tokens per example (likewise).
        num_classes: Number of classes (likewise).
        tie_embedding: Let the head's unembedding be the network's token embedding.
        num_seeds: Train this many seeds, 0 to num_seeds - 1.
        seeds: Train these seeds instead, one a member. A seed may stand there several times where
            its members differ in ``head_settings``, or in the data's train fraction or sampling.
        head_settings: Settings of the head that differ between members: by name a list with one
            number a member, such as ``{exponent: [1, 2]}`` with seeds ``[0, 0]``.
        learning_rate: AdamW's learning rate (2e-3 in the paper).
        weight_decay: AdamW's weight decay, on every parameter (0.01 in the paper; the authors'
            transformers have 0.005).
        betas: AdamW's decay rates of its two moments.
        embedding_penalty: Strength of the authors' embedding regularizer (0.01 in the paper; in
            their code it acts on transformers only).
        compile: Compile the training step: 'auto' does so when the run is long enough to pay for
            it, 'always' and 'never' decide for you.

    Raises:
        ValueError: A number is out of range, or head_settings do not fit.
    """

    hint = "lower model.learning_rate, or raise the head's eps"

    def __init__(
        self,
        network: Callable[[int, int], FeatureNetwork] = MLP,
        head: Callable[[int, int], LossHead] = HarmonicHead,
        vocab_size: int = 31,
        num_inputs: int = 2,
        num_classes: int = 31,
        tie_embedding: bool = True,
        num_seeds: int = 1,
        seeds: list[int] | None = None,
        head_settings: dict[str, list[float]] | None = None,
        learning_rate: float = 2e-3,
        weight_decay: float = 0.01,
        betas: tuple[float, float] = (0.9, 0.999),
        embedding_penalty: float = 0.0,
        compile: Literal["auto", "always", "never"] = "auto",
    ) -> None:
        super().__init__()
        if num_seeds < 1:
            raise ValueError(f"num_seeds is {num_seeds}; it must be at least 1")
        if not learning_rate > 0:
            raise ValueError(f"learning_rate is {learning_rate}; it must be positive")
        if not (weight_decay >= 0 and embedding_penalty >= 0):
            raise ValueError(
                f"weight_decay is {weight_decay} and embedding_penalty is {embedding_penalty}; "
                f"neither may be negative"
            )
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas are {betas}; both must be at least 0 and below 1")
        if seeds is not None and not all(0 <= seed < 2**62 for seed in seeds):
            raise ValueError(f"seeds are {seeds}; they must be at least 0 and below 2^62")
        # Plain names and numbers: from the command line they are, in a notebook network and head
        # are classes, which a checkpoint should describe rather than hold.
        self.save_hyperparameters(logger=False)
        self.hparams["seeds"] = list(range(num_seeds)) if seeds is None else list(seeds)
        for name, factory in (("network", network), ("head", head)):
            if callable(self.hparams.get(name)):
                self.hparams[name] = to_spec(factory)
        network, head = build_from_spec(network, "network"), build_from_spec(head, "head")
        self.sizes = {
            "vocab_size": vocab_size,
            "num_inputs": num_inputs,
            "num_classes": num_classes,
        }
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.betas = betas
        self.compile_mode = compile

        refuse_settings(head, head_settings or {})

        def build(settings: dict[str, float]) -> NetworkWithHead:
            body = network(vocab_size, num_inputs)
            readout = head(body.out_features, num_classes, **settings)
            readout.settings_to_buffers(settings)
            return NetworkWithHead(body, readout, tie_embedding, embedding_penalty)

        self.seeds = list(range(num_seeds)) if seeds is None else list(seeds)
        self.head_settings = _of_each_member(head_settings or {}, len(self.seeds))
        builds = [partial(build, settings) for settings in self.head_settings]
        self.ensemble = Ensemble(builds, self.seeds)
        self.member_scores = EnsembleMetrics(len(self.seeds))
        self._groups: list[EpochLengthGroup] = []

    # ---- training ------------------------------------------------------------------------------

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            parameters_of(self.epoch_length_groups()),
            lr=self.learning_rate,
            betas=self.betas,
            weight_decay=self.weight_decay,
            fused=True,
        )

    def setup(self, stage: str) -> None:
        trainer: Any = self.trainer
        check_data_matches_model(self, self.sizes, trainer.datamodule)
        member_range(len(self.seeds), trainer.global_rank, trainer.world_size)  # or refuse
        self._refuse_twins(trainer.datamodule)
        if stage == "fit":
            _refuse_steps_on_ranks(trainer.datamodule, trainer.world_size)
        self._share, self._groups = None, []

    def epoch_length_groups(self) -> list[EpochLengthGroup]:
        """What this rank trains, divided by how many steps an epoch its members take."""
        if not self._groups:
            share = self.share()
            datamodule = getattr(self._trainer, "datamodule", None)
            steps = list(getattr(datamodule, "steps_per_member", [0])) or [0]
            # On several devices setup has refused others.
            if len(steps) != len(self.seeds) or len(set(steps)) == 1:
                steps = [max(steps)] * len(share.ensemble.seeds)
            self._groups = epoch_length_groups(share.ensemble, steps)
        return self._groups

    def on_fit_start(self) -> None:
        self._data_logged = False
        if self.compile_mode == "never":
            return
        steps = self._planned_steps() * len(self.seeds)
        if self.compile_mode == "always" or steps >= _COMPILE_FROM_MEMBER_STEPS:
            # Dynamo keeps only a few variants of one function per process, and would silently stop
            # compiling after several runs in a notebook or a grid.
            torch.compiler.reset()
            self.share().ensemble.compile()

    def on_train_epoch_start(self) -> None:
        if self.trainer.fit_loop.epoch_progress.current.completed == 0:
            self.member_scores.reset()  # of the sanity check, which has scored untrained networks

    def on_train_start(self) -> None:
        override_restored_hyperparameters(
            self, self.learning_rate, (self.weight_decay,), self.betas
        )

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """One epoch: ``inputs`` (steps, S, B, ...) and ``targets`` (steps, S, B)."""
        optimizer = self.plain_optimizer()
        share, groups = self.share(), self.epoch_length_groups()
        batch = share.take(batch, dim=1)
        num_steps = len(batch["inputs"])
        losses = torch.zeros(len(share.ensemble.seeds), device=self.device)
        for ensemble, members, steps in groups:
            steps = num_steps if len(groups) == 1 else steps
            first_step = self.current_epoch * steps
            inputs, targets = batch["inputs"][:steps, members], batch["targets"][:steps, members]
            for i in range(steps):
                step_losses = ensemble.compute_gradients(inputs[i], targets[i], first_step + i)
                losses[members] += share.average_gradients(step_losses, targets[i])
                optimizer.step()
            if len(groups) > 1:
                ensemble.zero_grad(set_to_none=True)  # so that the other groups' steps pass it by
        share.publish()
        self.count_steps(num_steps)
        self._report_divergence(share.gather(losses))

    def _refuse_twins(self, datamodule: Any) -> None:
        """Two members that differ in nothing would be one experiment counted twice."""
        of_data = getattr(datamodule, "member_settings", None) or [{}] * len(self.seeds)
        members = zip(self.seeds, self.head_settings, of_data, strict=False)
        different = {(seed, *head.items(), *data.items()) for seed, head, data in members}
        if len(different) < len(self.seeds):
            raise ValueError(f"seeds are {self.seeds}; give at least one, and each only once")

    # ---- evaluation ----------------------------------------------------------------------------

    def on_validation_epoch_start(self) -> None:
        self.member_scores.reset()

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        share = self.share()
        batch = share.take(batch, dim=0)
        losses, correct = share.ensemble.evaluate(
            batch["inputs"], batch["targets"], self._evaluation_step()
        )
        self.member_scores.update(
            losses,
            correct,
            batch["targets"],
            batch["is_test"],
            batch["leaked"],
            batch["mirrored"],
            share.first,
        )

    def on_validation_epoch_end(self) -> None:
        logs = not self.trainer.sanity_checking and self._logs_this_epoch()
        if logs or self.trainer.world_size > 1:  # where all ranks add theirs up here
            scores = self.scores()
            if logs:
                self._log_quartiles(scores)

    def on_test_epoch_start(self) -> None:
        self.member_scores.reset()

    def test_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)

    def on_test_epoch_end(self) -> None:
        self._log_quartiles(self.scores())

    def predict_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Every member's answers beside the questions: tensors (S, N, ...)."""
        return {**batch, "predictions": self(batch["inputs"]).argmax(dim=-1)}

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (S, N, classes) of inputs (S, N, tokens)."""
        return self.ensemble(inputs, self._evaluation_step())

    def _evaluation_step(self) -> int:
        """Decides dropout masks where dropout stays on in evaluation (the authors' code)."""
        return self.current_epoch if self._trainer is not None else 0

    # ---- what probes read ----------------------------------------------------------------------

    def scores(self) -> dict[str, Tensor]:
        """Loss and accuracy per seed of the validation that is under way or was last: (S,) each."""
        return self.member_scores.named()

    def embedding_matrix(self) -> Tensor:
        """The token embeddings of every seed, (S, V, E)."""
        return self.ensemble.stacked.network.embedding_matrix().detach()

    def class_centers(self) -> Tensor:
        """The unembedding of every seed, (S, C, E); a harmonic head's are class centers."""
        return self.ensemble.stacked.head.weight.detach()

    def hidden_states(self, inputs: Tensor) -> Tensor:
        """The features that the heads read, (S, N, E), of inputs (S, N, tokens)."""
        return self.ensemble.features(inputs, self._evaluation_step())

    def member(self, index: int) -> NetworkWithHead:
        """One seed's network and head as an ordinary module (index into ``seeds``)."""
        return self.ensemble.member(index)

    # ---- logging -------------------------------------------------------------------------------

    def _planned_steps(self) -> float:
        """Optimizer steps of the whole run, as far as they are known beforehand."""
        trainer: Any = self.trainer
        limits = [float(trainer.max_steps)] if trainer.max_steps >= 0 else []
        if trainer.max_epochs is not None and trainer.max_epochs >= 0:
            limits.append(trainer.max_epochs * self._steps_per_epoch())
        # A run that only time limits is taken for a short one.
        timed = any(isinstance(callback, Timer) for callback in trainer.callbacks)
        return min(limits, default=0.0 if timed else math.inf)

    def _steps_per_epoch(self) -> int:
        trainer: Any = self.trainer
        return max(1, getattr(trainer.datamodule, "steps_per_epoch", 1))

    def _logs_this_epoch(self) -> bool:
        """Whether this epoch is due by ``log_every_n_steps`` or the last, or nothing is trained."""
        if self.trainer.state.fn != TrainerFn.FITTING:
            return True
        trainer: Any = self.trainer
        stride = max(1, trainer.log_every_n_steps // self._steps_per_epoch())
        epoch = self.current_epoch + 1
        return epoch % stride == 0 or epoch == self.trainer.max_epochs


def _refuse_steps_on_ranks(datamodule: Any, ranks: int) -> None:
    """Members that take different numbers of steps an epoch are not spread over devices."""
    if ranks > 1 and len(set(getattr(datamodule, "steps_per_member", []))) > 1:
        raise ValueError(
            f"members that differ in their training fraction train on one device, not on {ranks}; "
            f"set trainer.devices to 1"
        )


def _of_each_member(settings: dict[str, list[float]], size: int) -> list[dict[str, float]]:
    """{'exponent': [1, 2]} as [{'exponent': 1.0}, {'exponent': 2.0}]."""
    for name, values in settings.items():
        if len(values) != size:
            raise ValueError(
                f"head_settings.{name} has {len(values)} values for {size} members; give one each"
            )
    return [{name: float(values[i]) for name, values in settings.items()} for i in range(size)]
