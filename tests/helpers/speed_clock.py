"""Training by a clock that only moves when a test moves it.

A batch takes FETCH seconds to load and STEP seconds to train; everything else takes none, or SLOW.
"""

from __future__ import annotations

import lightning as L
import torch
from lightning.pytorch.loggers.logger import Logger

from callbacks import Speed

FETCH, STEP, TOKENS = 0.25, 1.0, 2 * 8
# Of warm-up steps, validation and checkpoints: so long that none of it can go unnoticed.
SLOW = 4096.0


class Clock:
    """Seconds that stand still until a test adds to them."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Unsized:
    """Batches (2, 8) that take time to load. Lightning fetches one batch ahead."""

    def __init__(self, clock: Clock, length: int = 1000, wait: float = FETCH) -> None:
        self.clock, self.length, self.wait = clock, length, wait

    def __iter__(self):
        for _ in range(self.length):
            self.clock.now += self.wait
            yield {"name": "text", "tokens": torch.zeros(2, 8, dtype=torch.long)}


class Loader(Unsized):
    """The same with a known length, and a state to resume from."""

    def __len__(self) -> int:
        return self.length

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


class SlowToOpen(Loader):
    """A validation loader that starts its workers before any validation hook."""

    def __iter__(self):
        self.clock.now += SLOW
        return super().__iter__()


class Model(L.LightningModule):
    """A weight whose steps, validations and checkpoints take time and are counted."""

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
        self.clock.now += SLOW  # after the callbacks' hooks, as the writing is
        self.saved += 1

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Counted(Model):
    """The same with a known number of FLOPs per token."""

    def flops_per_token(self) -> float:
        return 1e9


class Recorder(Logger):
    """A logger that keeps the speed metrics of every step, and fails if a step comes twice."""

    name = version = None

    def __init__(self) -> None:
        self.logged: dict[int, dict[str, float]] = {}

    def log_hyperparams(self, *args, **kwargs):
        pass

    def log_metrics(self, metrics, step=None):
        speed = {name: value for name, value in metrics.items() if name.startswith("speed/")}
        if speed:
            assert step not in self.logged
            self.logged[step] = speed


def timed(clock: Clock, kind: type[Speed] = Speed, **options) -> Speed:
    """A Speed that reads this clock."""
    callback = kind(**options)
    callback._clock = clock
    return callback


def train(clock, *callbacks, model=None, loader=None, val=None, ckpt_path=None, **options):
    """Train for 20 steps (unless `options` differ); returns the trainer and the logged metrics."""
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


def assert_steady(metrics, accumulation: int = 1, ranks: int = 1) -> None:
    """The metrics are those of batches that take FETCH and STEP, and of nothing else."""
    assert float(metrics["speed/tokens_per_second"]) == ranks * TOKENS / (FETCH + STEP)
    assert float(metrics["speed/step_seconds"]) == accumulation * (FETCH + STEP)
    assert float(metrics["speed/dataloader_wait_fraction"]) == FETCH / (FETCH + STEP)
