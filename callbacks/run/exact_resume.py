"""ExactResume: a killed and resumed run ends with the same bits as an uninterrupted one."""

from __future__ import annotations

import os
import random
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.fabric.utilities.apply_func import move_data_to_device
from lightning.pytorch.utilities import rank_zero_info

from callbacks.run.lightning_internals import set_logged_steps
from callbacks.trainer_state import gathered, is_fitting

KEY = "ExactResume"  # in a checkpoint


class ExactResume(L.Callback):
    """Save and restore what Lightning's checkpoints lack: random state and running sums per rank.

    The data order needs no state, since it is a function of the step. Only the random state of the
    main process is saved; Glassbox's loaders have no workers.

    Each rank draws its own numbers, mainly for dropout masks. Rank 0 uses those of the run's seed;
    Lightning would give the other ranks the same, so they are seeded from (seed, rank) when
    training starts. After a resume with another number of ranks, the ranks in the checkpoint
    continue with their own state, and additional ranks are seeded anew.

    A module can define ``rank_state() -> dict`` and ``load_rank_state(dict)`` for tensors and plain
    values that differ from rank to rank; they are restored only with the same number of ranks.
    """

    def __init__(self) -> None:
        self._stored: dict[str, Any] | None = None
        self._resumed_step: int | None = None
        self._sets_logged_steps = False

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._stored = self._resumed_step = None

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        state = {"random": random_state(pl_module.device)}
        if rank_state := getattr(pl_module, "rank_state", None):
            # On the CPU, because the other processes would unpack it on this rank's GPU.
            state["module"] = move_data_to_device(rank_state(), "cpu")
        # All ranks take part, rank 0 writes.
        checkpoint[KEY] = {"seed": run_seed(), "ranks": gathered(state, trainer)}

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._resumed_step = checkpoint["global_step"]
        if is_fitting(trainer):
            self._stored = checkpoint.get(KEY)

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Raise if the ranks loaded different checkpoints.

        Each rank looks for the newest file before the ranks can communicate. They differ if another
        run of the same name writes at that moment, or if the nodes do not share a file system.
        """
        loaded = gathered((str(trainer.ckpt_path), self._resumed_step), trainer)
        if len(set(loaded)) > 1:
            paths = sorted({path if step else "none" for path, step in loaded})
            raise ValueError(
                f"--ckpt_path: the ranks loaded different checkpoints ({', '.join(paths)}); all "
                f"must see the same run folder and no other run of this name may write to it; "
                f"start again, or give the file with --ckpt_path"
            )

    on_test_start = on_predict_start = on_fit_start

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not is_fitting(trainer):
            self.on_fit_start(trainer, pl_module)

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        # After the model is built and the sanity check has run, and before the first batch.
        stored, self._stored = self._stored, None
        rank, world = trainer.global_rank, trainer.world_size
        resumed = self._resumed_step is not None
        self._sets_logged_steps = resumed and pl_module.automatic_optimization
        if stored is None:
            if rank > 0:
                reseed(run_seed(), rank)
            return
        ranks = stored["ranks"]
        if rank < len(ranks):
            restore_random_state(ranks[rank]["random"], pl_module.device)
        else:
            reseed(run_seed(), rank, trainer.global_step)
        if len(ranks) != world:
            rank_zero_info(
                f"the checkpoint was saved by {len(ranks)} ranks and this run has {world}: the "
                f"data order stays the same, dropout masks differ, and the first logged training "
                f"loss covers only the steps since the resume"
            )
        elif "module" in ranks[rank]:
            pl_module.load_rank_state(ranks[rank]["module"])

    def on_train_batch_start(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        if self._sets_logged_steps:
            # Lightning restores its counter one off from a checkpoint that was written at the
            # end of a run whose last step had a validation, and would then drop rows of metrics.
            set_logged_steps(trainer, trainer.global_step)
            self._sets_logged_steps = False


def run_seed() -> int:
    """The run's ``seed_everything``; in a notebook without one, the seed of torch's generator."""
    return int(os.environ.get("PL_GLOBAL_SEED", torch.initial_seed()))


def reseed(*entropy: int) -> None:
    """Seed torch, NumPy and Python with independent streams derived from these numbers."""
    seeds = np.random.SeedSequence(entropy).generate_state(3, np.uint64)
    torch.manual_seed(int(seeds[0] >> np.uint64(1)))
    np.random.seed(int(seeds[1] >> np.uint64(32)))
    random.seed(int(seeds[2]))


def random_state(device: torch.device) -> dict[str, Any]:
    """The state of this process's random generators as tensors and plain values."""
    name, keys, *rest = np.random.get_state()
    version, words, gauss = random.getstate()
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": [name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
        "python": [version, torch.tensor(words), gauss],
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Restore the random generators from ``random_state``."""
    torch.set_rng_state(state["torch"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
