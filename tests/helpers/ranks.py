"""Processes of a test with several ranks."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def rank_environment(rank: int, world: int, port: int) -> dict[str, str]:
    """The environment variables that torchrun sets for a process."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world),
        "LOCAL_WORLD_SIZE": str(world),
        "GROUP_RANK": "0",
        "TORCHELASTIC_RUN_ID": "test",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
        "PL_GLOBAL_SEED": "0",
    }


def set_rank(rank: int, world: int, port: int) -> None:
    """Make this process one of several ranks for Lightning."""
    os.environ.update(rank_environment(rank, world, port))
    torch.set_num_threads(1)


def run_rank(rank: int, function: Callable[..., None], *arguments: Any) -> None:
    """Run ``function(rank, *arguments)``, then leave the process group together.

    A process that ends while gloo's threads are still connected sometimes aborts.
    """
    function(rank, *arguments)
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()
