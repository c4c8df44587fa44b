"""The entry point of a process in a test of several ranks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.distributed as dist


def run_rank(rank: int, function: Callable[..., None], *arguments: Any) -> None:
    """Run ``function(rank, *arguments)``, then leave the process group together.

    A process that ends while gloo's threads are still connected sometimes aborts.
    """
    function(rank, *arguments)
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()
