"""Loggers for tests: one that is there and keeps nothing."""

from __future__ import annotations

from lightning.pytorch.loggers import Logger


class Unseen(Logger):
    """A logger that keeps nothing: figures are drawn where there is one."""

    name, version = "unseen", 0

    def log_metrics(self, metrics, step=None):
        pass

    def log_hyperparams(self, params, *args, **kwargs):
        pass
