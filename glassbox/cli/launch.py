"""The processes that a config asks for, compared with those that a launcher started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch.plugins.environments import (
    ClusterEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)

# Short forms of precisions, as Lightning reads them.
_PRECISIONS = {"16": "16-mixed", "bf16": "bf16-mixed", "32": "32-true", "64": "64-true"}


@dataclass(frozen=True)
class ProcessLayout:
    """The processes that a config asks for, one for each device."""

    accelerator: str  # 'cpu', 'gpu', or Lightning's name of another kind
    devices: int | None  # per node; None if 'auto' is not known on this machine
    num_nodes: int
    precision: str  # in its long form

    @property
    def world_size(self) -> int | None:
        """Number of processes."""
        return None if self.devices is None else self.devices * self.num_nodes


def planned_launch(trainer: Mapping[str, Any]) -> ProcessLayout:
    """The processes that a trainer's settings ask for, whatever a launcher started."""
    _check_strategy(trainer.get("strategy"))
    accelerator = trainer.get("accelerator") or "auto"
    if not isinstance(accelerator, str):
        accelerator = type(accelerator).__name__
    if accelerator in ("auto", "gpu", "cuda"):
        on_gpu = accelerator != "auto" or torch.cuda.is_available()
        accelerator = "gpu" if on_gpu else "mps" if torch.mps.is_available() else "cpu"
    num_nodes = trainer.get("num_nodes") or 1
    if num_nodes < 1:
        raise ValueError(f"trainer.num_nodes is {num_nodes}; it must be at least 1")
    devices = _num_devices(trainer.get("devices", "auto"), accelerator)
    precision = str(trainer.get("precision") or "32-true")
    precision = _PRECISIONS.get(precision, precision)
    return ProcessLayout(accelerator, devices, num_nodes, precision)


def _check_strategy(strategy: Any) -> None:
    """Refuse strategies that shard a model, under which gradient norms would be wrong."""
    given = getattr(strategy, "class_path", None) or strategy
    name = str(given or "auto").rpartition(".")[2].lower()
    if any(part in name for part in ("fsdp", "deepspeed", "modelparallel", "model_parallel")):
        raise ValueError(
            f"trainer.strategy is {given}, which shards the model, but every process needs the "
            f"whole model; use auto, ddp, or lightning.pytorch.strategies.DDPStrategy"
        )


def _num_devices(devices: Any, accelerator: str) -> int | None:
    """The number of devices that Lightning derives from ``trainer.devices``."""
    given = devices
    if isinstance(devices, str) and devices != "auto":
        parts = [part.strip() for part in devices.split(",") if part.strip()]
        try:
            numbers = [int(part) for part in parts]
        except ValueError:
            numbers = []
        devices = numbers if "," in devices else (numbers or [0])[0]
    if accelerator == "cpu" and (isinstance(devices, list | tuple) or devices == -1):
        raise ValueError(
            f"trainer.devices is {given!r}, but a CPU takes a number of processes or 'auto'; for "
            f"GPUs set trainer.accelerator to gpu"
        )
    if devices in ("auto", -1, [-1]):
        available = {"gpu": torch.cuda.device_count(), "cpu": 1, "mps": 1}.get(accelerator)
        return available or None
    number = len(devices) if isinstance(devices, list | tuple) else devices
    if not isinstance(number, int) or number < 1:
        raise ValueError(
            f"trainer.devices is {given!r}; give a number of devices, a list of their indices, or "
            f"'auto' for all of the machine"
        )
    return number


def check_launch(layout: ProcessLayout, environ: Mapping[str, str], starts: bool = True) -> None:
    """Check that the launched processes are those that the config asks for.

    Lightning would wait for processes that nobody started, or train on fewer than were asked for.
    Without ``starts``, as for `lightning check`, the command needs no srun.
    """
    if _under_torchrun(environ) or not _under_slurm(environ):
        _check_torchrun(layout, environ)
    else:
        _check_slurm(layout, environ, starts)


def _under_torchrun(environ: Mapping[str, str]) -> bool:
    return "TORCHELASTIC_RUN_ID" in environ


def _under_slurm(environ: Mapping[str, str]) -> bool:
    """Whether Lightning takes this process for a task of srun; in a job of these names it does not.

    The shell of an salloc has such a name, and so must a job that is started without srun.
    """
    named = environ.get("SLURM_JOB_NAME") in ("bash", "interactive")
    return "SLURM_NTASKS" in environ and not named


def _check_torchrun(layout: ProcessLayout, environ: Mapping[str, str]) -> None:
    # Images and clusters set 1 without launching anything; Lightning starts the processes then.
    least = 1 if _under_torchrun(environ) else 2
    world = _number(environ, "WORLD_SIZE")
    nodes, rest = divmod(world or 1, layout.devices or 1)
    for name, started, option, expected, fitting in (
        ("LOCAL_WORLD_SIZE", _number(environ, "LOCAL_WORLD_SIZE"), "devices", layout.devices, None),
        ("WORLD_SIZE", world, "num_nodes", layout.world_size, 0 if rest else nodes),
    ):
        if started is None or expected is None or started < least or started == expected:
            continue
        fitting = started if fitting is None else fitting
        alternative = f", or set --trainer.{option} {fitting}" if fitting else ""
        raise ValueError(
            f"{name} is {started}, but the config asks for {expected} (trainer.devices is "
            f"{layout.devices}, trainer.num_nodes is {layout.num_nodes}); start torchrun with "
            f"--nnodes={layout.num_nodes} --nproc_per_node={layout.devices}{alternative}"
        )


def _check_slurm(layout: ProcessLayout, environ: Mapping[str, str], starts: bool) -> None:
    per_node = _number(environ, "SLURM_NTASKS_PER_NODE")
    for name, option, expected, directive in (
        ("SLURM_NNODES", "trainer.num_nodes", layout.num_nodes, "nodes"),
        ("SLURM_NTASKS_PER_NODE", "trainer.devices", layout.devices, "ntasks-per-node"),
    ):
        value = _number(environ, name)
        if value is not None and expected is not None and value != expected:
            raise ValueError(
                f"{name} is {value}, but {option} is {expected}; set --{option} {value}, or "
                f"#SBATCH --{directive}={expected}"
            )
    tasks = _number(environ, "SLURM_NTASKS")
    if layout.devices is None or tasks is None:
        return
    if tasks != layout.world_size:
        alone = tasks == 1 and layout.num_nodes == 1
        other = " (or export SLURM_JOB_NAME=interactive: Lightning starts the others)"
        raise ValueError(
            f"SLURM_NTASKS is {tasks}, but trainer.devices × trainer.num_nodes is "
            f"{layout.world_size}; set #SBATCH --nodes={layout.num_nodes} "
            f"--ntasks-per-node={layout.devices} and start with srun{other if alone else ''}"
        )
    if tasks > 1 and per_node is None:
        raise ValueError(
            f"SLURM_NTASKS is {tasks}, but SLURM_NTASKS_PER_NODE is not set; ask for tasks with "
            f"--ntasks-per-node={layout.devices} instead of --ntasks={tasks}"
        )
    if starts and tasks > 1 and "SLURM_STEP_ID" not in environ:
        raise ValueError(
            f"SLURM_NTASKS is {tasks}, but this is the batch script's own process, which would "
            f"wait for {tasks - 1} others; put srun before lightning"
        )


def _number(environ: Mapping[str, str], name: str) -> int | None:
    value = environ.get(name, "")
    return int(value) if value.isdigit() else None


def cluster_plugins(trainer: Mapping[str, Any], environ: Mapping[str, str]) -> Any:
    """The trainer's ``plugins``, with the launcher that Lightning would otherwise guess.

    Torchrun inside a SLURM job is torchrun. Under srun Lightning's own requeueing is off: it writes
    a checkpoint in the middle of a step from inside a signal handler; the scripts in configs/slurm
    requeue instead.
    """
    plugins = trainer.get("plugins")
    given = list(plugins) if isinstance(plugins, list | tuple) else [plugins] if plugins else []
    chosen = [*given, getattr(trainer.get("strategy"), "cluster_environment", None)]
    if any(isinstance(plugin, ClusterEnvironment) for plugin in chosen):
        return plugins
    if _under_torchrun(environ):
        return [*given, TorchElasticEnvironment()]
    if _under_slurm(environ):
        return [*given, SLURMEnvironment(auto_requeue=False)]
    return plugins
