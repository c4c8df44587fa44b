"""EnsembleModule: base of the LightningModules that train many members at once."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from lightning_modules.ensemble.ensemble import Ensemble
from lightning_modules.ensemble.sharding import EnsembleShard, member_range, shard_optimizer_state
from lightning_modules.training.base_module import BaseModule


class EnsembleModule(BaseModule):
    """Members of an ``Ensemble``, all trained for an epoch of optimizer steps per Lightning batch.

    Manual optimization: Lightning's own cost per batch is paid once an epoch, and
    ``trainer.global_step`` counts optimizer steps. On several devices (DDP) the members are
    distributed over them, without exchange of gradients; checkpoints are the same as those of one
    device. A subclass sets ``ensemble`` and ``seeds``.
    """

    ensemble: Ensemble[Any]
    seeds: list[int]
    hint = "lower model.learning_rate"  # what the user can do about a loss that is NaN

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self._shard: EnsembleShard | None = None
        self._diverged: set[int] = set()
        self._data_logged = False

    def __getstate__(self) -> dict[str, Any]:
        # Views of the members' memory, which a copy would turn into memory of their own.
        return {**super().__getstate__(), "_shard": None}

    def setup(self, stage: str) -> None:
        super().setup(stage)
        # Raises if there are too few members.
        member_range(len(self.seeds), self.trainer.global_rank, self.trainer.world_size)
        self._shard = None

    def shard(self) -> EnsembleShard:
        """What this rank trains; made late, when the parameters are on their device."""
        if self._shard is None:
            trainer = self.attached_trainer()
            rank, ranks = (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)
            self._shard = EnsembleShard(self.ensemble, rank, ranks)
        return self._shard

    def compile_ensemble(self) -> None:
        """Compile the training step of this rank's members."""
        # Dynamo keeps only a few variants of a function per process, and would silently stop
        # compiling after several runs in a notebook or a grid.
        torch.compiler.reset()
        self.shard().ensemble.compile()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        states = checkpoint.get("optimizer_states", [])
        checkpoint["optimizer_states"] = [self.shard().gather_optimizer_state(s) for s in states]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        trainer = self.attached_trainer()
        if trainer is None or trainer.world_size == 1:
            return
        first, last = member_range(len(self.seeds), trainer.global_rank, trainer.world_size)
        states = checkpoint.get("optimizer_states", [])
        checkpoint["optimizer_states"] = [shard_optimizer_state(s, first, last) for s in states]

    def _log_quartiles(self, scores: dict[str, Tensor]) -> None:
        """Log each score's median over members, and its quartiles if there are several members."""
        logged: dict[str, float] = {}
        for name, values in scores.items():
            # Properties of the data do not change; every logged number costs 60 µs.
            if values.isnan().all() or (name.startswith("data/") and self._data_logged):
                continue
            q = torch.tensor([0.25, 0.5, 0.75], device=values.device)
            low, median, high = values.float().nanquantile(q).tolist()
            logged[name] = median
            if len(values) > 1:
                logged[f"{name}_q25"], logged[f"{name}_q75"] = low, high
        self.log_dict(logged, batch_size=1)
        self._data_logged = True

    def _check_losses(self, losses: Tensor) -> None:
        """Warn about seeds whose loss is NaN or infinite; raise if no other seed is left."""
        if losses.isfinite().all():
            return
        diverged = {self.seeds[i] for i in (~losses.isfinite()).nonzero().flatten().tolist()}
        where = f"in epoch {self.current_epoch} (optimizer step {self.global_step})"
        if len(diverged) == len(self.seeds):
            raise ValueError(f"the loss of every seed is NaN or infinite {where}; {self.hint}")
        if diverged - self._diverged:
            rank_zero_warn(
                f"the training loss of seed {sorted(diverged - self._diverged)} is NaN or infinite "
                f"{where}; the other seeds continue; {self.hint}"
            )
        self._diverged |= diverged
