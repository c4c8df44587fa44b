"""ExactResume: a run that was killed and resumed ends with the same bits as one that was not."""

from __future__ import annotations

import os
import random
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.fabric.utilities.apply_func import move_data_to_device
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from callbacks.trainer_state import gathered, is_fitting

KEY = "ExactResume"  # of a checkpoint


class ExactResume(L.Callback):
    """Keeps what Lightning's checkpoints leave out: every rank's random numbers and running sums.

    The order of the data needs no keeping: it is a function of the step. Only the random numbers of
    the main process are kept; Glassbox's loaders have no workers.

    Each rank draws its own numbers, dropout masks above all. Rank 0 goes on with those that the
    run's seed gave it; the others', which Lightning leaves at the same, become a function of (seed,
    rank) when training starts. On another number of ranks the ranks that a checkpoint knows go on
    with theirs, and further ones get new ones.

    A module may have ``rank_state() -> dict`` and ``load_rank_state(dict)``, of tensors and plain
    values that differ from rank to rank; they are kept as well, for the same number of ranks.
    """

    def __init__(self) -> None:
        self._stored: dict[str, Any] | None = None
        self._step: int | None = None
        self._counts_steps = False

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._stored = self._step = None

    # ---- checkpoints ---------------------------------------------------------------------------

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        state = {"random": random_state(pl_module.device)}
        if hasattr(pl_module, "rank_state"):
            # Not on this rank's GPU, where the others' processes would unpack them.
            state["module"] = move_data_to_device(pl_module.rank_state(), "cpu")  # type: ignore[operator]
        # All ranks come here, and rank 0 writes.
        checkpoint[KEY] = {"seed": run_seed(), "ranks": gathered(state, trainer)}

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._step = checkpoint["global_step"]
        if is_fitting(trainer):
            self._stored = checkpoint.get(KEY)

    # ---- ranks that agree ----------------------------------------------------------------------

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._agree(trainer)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not is_fitting(trainer):
            self._agree(trainer)

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._agree(trainer)

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._agree(trainer)

    def _agree(self, trainer: L.Trainer) -> None:
        """Refuse ranks that have different checkpoints.

        Each rank looks for the newest by itself, before there is a way to talk. They see the same
        unless another run of this name writes at that moment, or a node has other files.
        """
        found = gathered((str(trainer.ckpt_path), self._step), trainer)
        if len(set(found)) > 1:
            different = sorted({path if step else "none" for path, step in found})
            raise ValueError(
                f"the processes found different checkpoints: {', '.join(different)}; all must see "
                f"the same run folder, and no other run of this name may write to it meanwhile; "
                f"start again, or name one with --ckpt_path"
            )

    # ---- the start of training -----------------------------------------------------------------

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # Behind the building of the model and the sanity check, and before the first batch.
        stored, self._stored = self._stored, None
        rank, world = trainer.global_rank, trainer.world_size
        self._counts_steps = self._step is not None and pl_module.automatic_optimization
        if stored is None:
            if rank > 0:
                reseed(run_seed(), rank)
            return
        ranks = stored["ranks"]
        if rank < len(ranks):
            restore_random_state(ranks[rank]["random"], pl_module.device)
        else:
            reseed(run_seed(), rank, trainer.global_step)
        if len(ranks) == world and "module" in ranks[rank]:
            pl_module.load_rank_state(ranks[rank]["module"])  # type: ignore[operator]
        elif len(ranks) != world:
            rank_zero_info(
                f"the checkpoint was written by {len(ranks)} processes, and there are {world} now: "
                f"the data go on in the same order, dropout masks become others, and the first "
                f"training loss that is logged is that of the steps since the resume"
            )

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._counts_steps:
            # Lightning's counter for loggers, which is one off after a checkpoint that was written
            # at the end of a run whose last step had a validation; rows would be left out.
            trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step
            self._counts_steps = False


def run_seed() -> int:
    """The run's seed_everything; in a notebook without one, that of torch's generator."""
    return int(os.environ.get("PL_GLOBAL_SEED", torch.initial_seed()))


def reseed(*numbers: int) -> None:
    """Seed torch, NumPy and Python with streams that these numbers give, independent of others."""
    for_torch, for_numpy, for_python = np.random.SeedSequence(numbers).generate_state(3, np.uint64)
    torch.manual_seed(int(for_torch >> np.uint64(1)))
    np.random.seed(int(for_numpy >> np.uint64(32)))
    random.seed(int(for_python))


def random_state(device: torch.device) -> dict[str, Any]:
    """The state of this process's generators, in tensors and plain values."""
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
    """Let the generators go on where ``random_state`` found them."""
    torch.set_rng_state(state["torch"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, _words(keys), *rest))
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


def _words(keys: Tensor) -> np.ndarray[Any, Any]:
    return keys.numpy().astype(np.uint32)
