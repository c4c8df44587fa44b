"""EnsembleModule: what LightningModules that train many members at once have in common."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from lightning_modules.ensemble.ensemble import Ensemble
from lightning_modules.ensemble.sharding import EnsembleShard, member_range, rank_optimizer_state


class EnsembleModule(L.LightningModule):
    """Members of an ``Ensemble`` that one Lightning batch trains for an epoch of optimizer steps.

    Manual optimization: Lightning's own cost per batch is paid once an epoch, and
    ``trainer.global_step`` counts optimizer steps. On several devices (DDP) the members are spread
    over them, without any exchange of gradients; checkpoints are those of one device. A subclass
    sets ``ensemble`` and ``seeds``, the seed of each member.

    Attributes:
        ensemble: All members.
        seeds: One per member.
    """

    ensemble: Ensemble
    seeds: list[int]
    # What to do about a loss that is NaN.
    hint = "lower model.learning_rate"

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self._share: EnsembleShard | None = None
        self._diverged: set[int] = set()
        self._data_logged = False

    def share(self) -> EnsembleShard:
        """What this rank trains; made when the parameters are on their device, which is late."""
        if self._share is None:
            trainer = self._trainer
            place = (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)
            self._share = EnsembleShard(self.ensemble, *place)
        return self._share

    def plain_optimizer(self) -> torch.optim.Optimizer:
        """The optimizer without Lightning's wrapper, which calls every callback at every step."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert not isinstance(optimizer, list)  # there is one
        return optimizer

    def count_steps(self, number: int) -> None:
        """Tell Lightning of optimizer steps that were taken past its wrapper."""
        progress = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
        for count in (progress.total, progress.current):
            count.ready += number
            count.completed += number
        # Lightning's loggers count batches; count optimizer steps instead, as figures and
        # checkpoints do. It adds the 1 of this batch itself.
        self.trainer.fit_loop.epoch_loop._batches_that_stepped = self.global_step - 1

    # ---- checkpoints: those of one device, whatever the number of ranks -----------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        states = checkpoint.get("optimizer_states", [])
        checkpoint["optimizer_states"] = [self.share().gather_optimizer_state(s) for s in states]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        trainer = self._trainer
        if trainer is None or trainer.world_size == 1:
            return
        first, last = member_range(len(self.seeds), trainer.global_rank, trainer.world_size)
        states = checkpoint.get("optimizer_states", [])
        checkpoint["optimizer_states"] = [rank_optimizer_state(s, first, last) for s in states]

    # ---- logging -------------------------------------------------------------------------------

    def _log_quartiles(self, scores: dict[str, Tensor]) -> None:
        """Log each score's median over seeds, and its quartiles where there are several seeds."""
        logged: dict[str, Any] = {}
        for name, values in scores.items():
            # What is said of the data does not change; every logged number costs 60 µs.
            if values.isnan().all() or (name.startswith("data/") and self._data_logged):
                continue
            q = torch.tensor([0.25, 0.5, 0.75], device=values.device)
            low, median, high = values.float().nanquantile(q.float()).tolist()
            logged[name] = median
            if len(values) > 1:
                logged[f"{name}_q25"], logged[f"{name}_q75"] = low, high
        self.log_dict(logged, batch_size=1)
        self._data_logged = True

    def _report_divergence(self, losses: Tensor) -> None:
        """Name the seeds whose loss is no number; stop when no other is left."""
        if losses.isfinite().all():
            return
        diverged = {self.seeds[i] for i in (~losses.isfinite()).nonzero().flatten().tolist()}
        where = f"in epoch {self.current_epoch} (optimizer step {self.global_step})"
        advice = self.hint
        if len(diverged) == len(self.seeds):
            raise ValueError(f"the loss of every seed is NaN or infinite {where}; {advice}")
        if diverged - self._diverged:
            rank_zero_warn(
                f"the training loss of seed {sorted(diverged - self._diverged)} is NaN or infinite "
                f"{where}; the other seeds go on; {advice}"
            )
        self._diverged |= diverged
