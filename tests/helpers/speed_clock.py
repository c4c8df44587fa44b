"""A clock that only moves when the test says so, and training by it.

A batch is waited for FETCH seconds and a step takes STEP; all else takes none, or SLOW.
"""

from __future__ import annotations

import lightning as L
import torch
from lightning.pytorch.loggers.logger import Logger

from callbacks import Speed

FETCH, STEP, TOKENS = 0.25, 1.0, 2 * 8
# A warm-up's steps, validation and checkpoints take so long that none of it can hide.
SLOW = 4096.0


class Clock:
    """Seconds, which stand still until they are added to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Unsized:
    """Batches (2, 8), each of which is waited for; Lightning fetches one ahead."""

    def __init__(self, clock: Clock, length: int = 1000, wait: float = FETCH) -> None:
        self.clock, self.length, self.wait = clock, length, wait

    def __iter__(self):
        for _ in range(self.length):
            self.clock.now += self.wait
            yield {"name": "text", "tokens": torch.zeros(2, 8, dtype=torch.long)}


class Loader(Unsized):
    """The same, of which Lightning knows the length."""

    def __len__(self) -> int:
        return self.length


class SlowToOpen(Loader):
    """A validation loader that starts its workers before any validation hook."""

    def __iter__(self):
        self.clock.now += SLOW
        return super().__iter__()


class Model(L.LightningModule):
    """A weight; its steps, validations and checkpoints are counted and take their time."""

    def __init__(self, clock: Clock, slow_steps: int = 0) -> None:
        super().__init__()
        self.clock, self.slow_steps = clock, slow_steps
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.validated = self.saved = self.steps = 0

    def training_step(self, batch, batch_idx):
        self.clock.now += SLOW if self.steps < self.slow_steps else STEP
        return self.weight.sum()

    def optimizer_step(self, *args, **kwargs):
        super().optimizer_step(*args, **kwargs)
        self.steps += 1

    def validation_step(self, batch, batch_idx):
        self.clock.now += SLOW
        self.validated += 1

    def on_save_checkpoint(self, checkpoint):
        self.clock.now += SLOW  # follows the callbacks' hooks, as the writing does
        self.saved += 1

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Counted(Model):
    """The same, which says how many operations a token takes."""

    def flops_per_token(self) -> float:
        return 1e9


class Recorder(Logger):
    """A logger that keeps the speed of every step that it gets, no step twice."""

    name = version = None

    def __init__(self) -> None:
        self.logged: dict[int, dict[str, float]] = {}

    def log_hyperparams(self, *args, **kwargs):
        pass

    def log_metrics(self, metrics, step=None):
        found = {key[6:]: value for key, value in metrics.items() if key.startswith("speed/")}
        if found:
            assert step not in self.logged
            self.logged[step] = found


def timed(clock: Clock, **options) -> Speed:
    """Speed that reads this clock."""
    callback = Speed(**options)
    callback._clock = clock
    return callback


def train(clock, *callbacks, model=None, loader=None, val=None, ckpt_path=None, **options):
    """Train for 20 steps (or as `options` say); returns the trainer and what was logged."""
    recorder = Recorder()
    trainer = L.Trainer(
        callbacks=list(callbacks),
        logger=options.pop("logger", recorder),
        accelerator="cpu",
        enable_model_summary=False,
        enable_progress_bar=False,
        **{
            "max_steps": 20,
            "max_epochs": -1,
            "log_every_n_steps": 5,
            "enable_checkpointing": False,
            "limit_val_batches": 0 if val is None else None,
            "num_sanity_val_steps": 0,
            **options,
        },
    )
    loader, val = loader or Loader(clock), val or Loader(clock, 0)
    trainer.fit(model or Model(clock), loader, val, ckpt_path=ckpt_path)
    return trainer, recorder.logged


def assert_steady(figures: dict[str, float], accumulation: int = 1) -> None:
    """The figures of batches that take FETCH and STEP each, and of nothing else."""
    assert figures["tokens_per_second"] == TOKENS / (FETCH + STEP)
    assert figures["step_seconds"] == accumulation * (FETCH + STEP)
    assert figures["dataloader_wait_fraction"] == FETCH / (FETCH + STEP)
