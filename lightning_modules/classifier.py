"""Classifier: any small network with any loss head, one seed or many at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, get_args

import torch
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from glassbox.protocols import MemberData, MemberStepData
from lightning_modules.ensemble.ensemble import Ensemble
from lightning_modules.ensemble.member import NetworkWithHead
from lightning_modules.ensemble.metrics import EnsembleMetrics
from lightning_modules.ensemble.module import EnsembleModule
from lightning_modules.ensemble.sharding import EpochLengthGroup, epoch_length_groups
from lightning_modules.heads import HarmonicHead, LossHead
from lightning_modules.heads.base import refuse_settings
from lightning_modules.networks import MLP, FeatureNetwork
from lightning_modules.training.lightning_counters import count_steps, last_step, steps_per_epoch
from lightning_modules.training.optim import AdamWSettings, CompileMode, check_choice
from lightning_modules.training.specs import build_from_spec

# Compiling takes 10 to 30 s and saves about 0.1 ms per seed and step (docs/performance.md), so it
# pays from about 150,000 steps of one seed on.
_COMPILE_FROM_MEMBER_STEPS = 150_000


class Classifier(EnsembleModule):
    """A network and a loss head, trained with AdamW for one seed or for many seeds at once.

    One ``training_step`` is one epoch of optimizer steps of all seeds (manual optimization), so
    that Lightning's own cost per batch is paid once an epoch; ``trainer.global_step`` counts
    optimizer steps. Each seed has its own initial weights, split and batch order, and trains as it
    would alone. On several devices (DDP) the seeds are distributed over them, without exchange of
    gradients; a single seed is trained by all of them, each on a part of every batch.

    Args:
        network: Network class; called with (vocab_size, num_inputs).
        head: Loss head class; called with (width of the features, num_classes).
        vocab_size: Number of input tokens (taken from the data on the command line).
        num_inputs: Input tokens per example (taken from the data on the command line).
        num_classes: Number of classes (taken from the data on the command line).
        tie_embedding: Use the network's token embedding as the head's unembedding.
        num_seeds: Train this many seeds, 0 to num_seeds - 1.
        seeds: Train these seeds instead, one per member. A seed may occur several times if its
            members differ in ``head_settings``, or in the data's train fraction or sampling.
        head_settings: Settings of the head that differ between members: a list with one number per
            member for each name, such as ``{exponent: [1, 2]}`` with seeds ``[0, 0]``.
        learning_rate: AdamW's learning rate (2e-3 in the paper).
        weight_decay: AdamW's weight decay, on every parameter (0.01 in the paper; 0.005 in the
            authors' transformers).
        betas: AdamW's decay rates of the two moments.
        embedding_penalty: Weight of the authors' embedding regularizer (0.01 in the paper; in the
            authors' code it affects transformers only).
        compile: Compile the training step; 'auto' does so if the run is long enough to pay for it.

    Raises:
        ValueError: An option is out of range, or head_settings do not fit the head or the seeds.
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
        compile: CompileMode = "auto",
    ) -> None:
        super().__init__()
        if num_seeds < 1:
            raise ValueError(f"num_seeds is {num_seeds}; it must be at least 1")
        if not embedding_penalty >= 0:
            raise ValueError(f"embedding_penalty is {embedding_penalty}; it must not be negative")
        if seeds is not None and not all(0 <= seed < 2**62 for seed in seeds):
            raise ValueError(f"seeds are {seeds}; they must be at least 0 and below 2^62")
        check_choice("compile", compile, get_args(CompileMode))
        self.optimizer_settings = AdamWSettings(learning_rate, weight_decay, betas)
        self.seeds = list(range(num_seeds)) if seeds is None else list(seeds)
        self.save_hyperparameters(logger=False)
        self.hparams["seeds"] = list(self.seeds)
        self._describe_in_checkpoint(network=network, head=head)
        network = build_from_spec(network, "network")
        head = build_from_spec(head, "head", LossHead)
        sizes = {"vocab_size": vocab_size, "num_inputs": num_inputs, "num_classes": num_classes}
        self.sizes = sizes
        self.compile_mode = compile
        refuse_settings(head, head_settings or {})

        def build(settings: dict[str, float]) -> NetworkWithHead:
            body = network(vocab_size, num_inputs)
            readout = head(body.out_features, num_classes, **settings)
            readout.settings_to_buffers(settings)
            return NetworkWithHead(body, readout, tie_embedding, embedding_penalty)

        self.head_settings = _settings_of_members(head_settings or {}, len(self.seeds))
        builds = [partial(build, settings) for settings in self.head_settings]
        self.ensemble: Ensemble[NetworkWithHead] = Ensemble(builds, self.seeds)
        self.metrics = EnsembleMetrics(len(self.seeds))
        self._groups: list[EpochLengthGroup] = []

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_groups": []}

    # ---- training ------------------------------------------------------------------------------

    def configure_optimizers(self) -> torch.optim.Optimizer:
        groups = self.epoch_length_groups()
        parameters = [p for ensemble, _, _ in groups for p in ensemble.parameters()]
        return self.optimizer_settings.optimizer(parameters)

    def setup(self, stage: str) -> None:
        super().setup(stage)
        self._groups = []
        self._check_members_differ()
        ranks = self.trainer.world_size
        if stage == "fit" and ranks > 1 and len(set(self._steps_per_member())) > 1:
            raise ValueError(
                f"members with different training fractions train on one device, not on {ranks}; "
                f"set trainer.devices to 1"
            )

    def epoch_length_groups(self) -> list[EpochLengthGroup]:
        """This rank's members, grouped by their number of steps per epoch."""
        if not self._groups:
            ensemble = self.shard().ensemble
            steps = self._steps_per_member()
            if len(set(steps)) == 1:  # always so on several ranks
                steps = steps[:1] * len(ensemble.seeds)
            self._groups = epoch_length_groups(ensemble, steps)
        return self._groups

    def _steps_per_member(self) -> list[int]:
        """Optimizer steps per epoch of every member; [0] if the data do not define it."""
        data = self.data()
        steps = list(data.steps_per_member) if isinstance(data, MemberStepData) else []
        return steps if len(steps) == len(self.seeds) else [max(steps, default=0)]

    def on_fit_start(self) -> None:
        super().on_fit_start()
        self._data_logged = False
        if self.compile_mode == "always" or (self.compile_mode == "auto" and self._is_long_run()):
            self.compile_ensemble()

    def _is_long_run(self) -> bool:
        """Whether compiling pays."""
        steps = last_step(self.trainer)
        if steps is not None:
            return steps * len(self.seeds) >= _COMPILE_FROM_MEMBER_STEPS
        timed = any(isinstance(callback, Timer) for callback in self.trainer.callbacks)  # type: ignore[attr-defined]
        return self.trainer.max_epochs == -1 and not timed

    def on_train_epoch_start(self) -> None:
        if self.current_epoch == 0:
            self.metrics.reset()  # the sanity check has scored untrained networks

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """One epoch: ``inputs`` (steps, S, B, ...) and ``targets`` (steps, S, B)."""
        optimizer = self.plain_optimizer()
        shard, groups = self.shard(), self.epoch_length_groups()
        batch = shard.shard_batch(batch, dim=1)
        num_steps = len(batch["inputs"])
        losses = torch.zeros(len(shard.ensemble.seeds), device=self.device)
        for ensemble, members, steps in groups:
            steps = num_steps if len(groups) == 1 else steps
            first_step = self.current_epoch * steps
            inputs, targets = batch["inputs"][:steps, members], batch["targets"][:steps, members]
            for i in range(steps):
                step_losses = ensemble.compute_gradients(inputs[i], targets[i], first_step + i)
                losses[members] += shard.average_gradients(step_losses, targets[i])
                optimizer.step()
            if len(groups) > 1:
                ensemble.zero_grad(set_to_none=True)  # so that steps of other groups skip it
        shard.all_gather_parameters()
        count_steps(self.trainer, num_steps)
        self._check_losses(shard.all_gather(losses))

    def _check_members_differ(self) -> None:
        """Raise if two members are the same experiment, which would be counted twice."""
        data = self.data()
        settings = data.member_settings if isinstance(data, MemberData) else []
        of_data: Sequence[Mapping[str, Any]] = settings or [{}] * len(self.seeds)
        members = zip(self.seeds, self.head_settings, of_data, strict=False)
        distinct = {(seed, *head.items(), *data.items()) for seed, head, data in members}
        if len(distinct) < len(self.seeds):
            raise ValueError(f"seeds are {self.seeds}; give each seed only once")

    # ---- evaluation ----------------------------------------------------------------------------

    def on_validation_epoch_start(self) -> None:
        self.metrics.reset()

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        shard = self.shard()
        batch = shard.shard_batch(batch, dim=0)
        inputs, targets = batch["inputs"], batch["targets"]
        losses, correct = shard.ensemble.evaluate(inputs, targets, self._evaluation_step())
        is_test, leaked, mirrored = batch["is_test"], batch["leaked"], batch["mirrored"]
        self.metrics.update(losses, correct, targets, is_test, leaked, mirrored, shard.first)

    def on_validation_epoch_end(self) -> None:
        logs = not self.trainer.sanity_checking and self._logs_this_epoch()
        if logs or self.trainer.world_size > 1:  # scores() is a reduction over all ranks
            scores = self.scores()
            if logs:
                self._log_quartiles(scores)

    on_test_epoch_start = on_validation_epoch_start
    test_step = validation_step

    def on_test_epoch_end(self) -> None:
        self._log_quartiles(self.scores())

    def predict_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """The batch and every member's ``predictions``: tensors (S, N, ...)."""
        return {**batch, "predictions": self(batch["inputs"]).argmax(dim=-1)}

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (S, N, classes) of inputs (S, N, tokens)."""
        return self.ensemble(inputs, self._evaluation_step())

    def _evaluation_step(self) -> int:
        """Number that determines dropout masks if dropout stays on in evaluation."""
        return self.current_epoch if self.attached_trainer() is not None else 0

    def _logs_this_epoch(self) -> bool:
        """Whether ``log_every_n_steps`` is due in this epoch, or it is the last, or no training."""
        trainer: Any = self.trainer
        if trainer.state.fn != TrainerFn.FITTING:
            return True
        stride = max(1, trainer.log_every_n_steps // (steps_per_epoch(trainer) or 1))
        epoch = self.current_epoch + 1
        return epoch % stride == 0 or epoch == trainer.max_epochs

    # ---- what probes read ----------------------------------------------------------------------

    def scores(self) -> dict[str, Tensor]:
        """Loss and accuracy per member of the current or last validation, (S,) each."""
        return self.metrics.as_dict()

    def embedding_matrix(self) -> Tensor:
        """The token embeddings of every member, (S, V, E)."""
        return self.ensemble.stacked.network.embedding_matrix().detach()

    def class_centers(self) -> Tensor:
        """The unembedding of every member, (S, C, E); class centers if the head is harmonic."""
        return self.ensemble.stacked.head.weight.detach()

    def hidden_states(self, inputs: Tensor) -> Tensor:
        """The heads' input features, (S, N, E), of inputs (S, N, tokens)."""
        return self.ensemble.features(inputs, self._evaluation_step())

    def member(self, index: int) -> NetworkWithHead:
        """One member's network and head as an ordinary module (index into ``seeds``)."""
        return self.ensemble.member(index)


def _settings_of_members(settings: dict[str, list[float]], size: int) -> list[dict[str, float]]:
    """{'exponent': [1, 2]} as [{'exponent': 1.0}, {'exponent': 2.0}]."""
    for name, values in settings.items():
        if len(values) != size:
            raise ValueError(
                f"head_settings.{name} has {len(values)} values for {size} members; give one each"
            )
    return [{name: float(values[i]) for name, values in settings.items()} for i in range(size)]
