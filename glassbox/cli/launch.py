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
    """The processes that a config asks for, one for each device.

    Attributes:
        accelerator: 'cpu', 'gpu', or Lightning's name of another kind.
        devices: Number per node; None if 'auto' is not known on this machine.
        num_nodes: Number of nodes.
        precision: The trainer's precision, in its long form.
    """

    accelerator: str
    devices: int | None
    num_nodes: int
    precision: str

    @property
    def world_size(self) -> int | None:
        """Number of processes."""
        return None if self.devices is None else self.devices * self.num_nodes


def planned_launch(trainer: Mapping[str, Any]) -> ProcessLayout:
    """The processes that a trainer's settings ask for, whatever a launcher started.

    Args:
        trainer: ``accelerator``, ``devices``, ``num_nodes``, ``precision`` and ``strategy`` as in a
            config.

    Raises:
        ValueError: ``devices`` or ``num_nodes`` is not a number of devices, or the strategy shards
            the model.
    """
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

    Args:
        layout: The processes that the config asks for.
        environ: Environment variables, as torchrun or srun set them.
        starts: Whether a run is to start here; `lightning check` needs no srun.

    Raises:
        ValueError: They differ; names the variable, its value, the config's, and what to set.
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
    if layout.devices is None:
        return
    world, local = _number(environ, "WORLD_SIZE"), _number(environ, "LOCAL_WORLD_SIZE")
    # Images and clusters set 1 without launching anything; Lightning starts the processes then.
    least = 1 if _under_torchrun(environ) else 2
    hint = (
        f"start torchrun with --nnodes={layout.num_nodes} --nproc_per_node={layout.devices}, or "
        f"set the config to what is started"
    )
    if local is not None and local >= least and local != layout.devices:
        raise ValueError(
            f"LOCAL_WORLD_SIZE (processes per node) is {local}, but trainer.devices is "
            f"{layout.devices}; {hint} (--trainer.devices {local})"
        )
    if world is not None and world >= least and world != layout.world_size:
        nodes, rest = divmod(world, layout.devices)
        fitting = f" (--trainer.num_nodes {nodes})" if nodes and not rest else ""
        raise ValueError(
            f"WORLD_SIZE (processes in total) is {world}, but trainer.devices × trainer.num_nodes "
            f"is {layout.world_size}; {hint}{fitting}"
        )


def _check_slurm(layout: ProcessLayout, environ: Mapping[str, str], starts: bool) -> None:
    tasks, nodes = _number(environ, "SLURM_NTASKS"), _number(environ, "SLURM_NNODES")
    per_node = _number(environ, "SLURM_NTASKS_PER_NODE")
    if nodes is not None and nodes != layout.num_nodes:
        raise ValueError(
            f"SLURM_NNODES is {nodes}, but trainer.num_nodes is {layout.num_nodes}; set "
            f"--trainer.num_nodes {nodes}, or #SBATCH --nodes={layout.num_nodes}"
        )
    if layout.devices is None:
        return
    if per_node is not None and per_node != layout.devices:
        raise ValueError(
            f"SLURM_NTASKS_PER_NODE is {per_node}, but trainer.devices is {layout.devices}; set "
            f"--trainer.devices {per_node}, or #SBATCH --ntasks-per-node={layout.devices}"
        )
    if tasks is not None and tasks != layout.world_size:
        alone = tasks == 1 and layout.num_nodes == 1
        other = " (or export SLURM_JOB_NAME=interactive: Lightning starts the others)"
        raise ValueError(
            f"SLURM_NTASKS is {tasks}, but trainer.devices × trainer.num_nodes is "
            f"{layout.world_size}; set #SBATCH --nodes={layout.num_nodes} "
            f"--ntasks-per-node={layout.devices} and start with srun{other if alone else ''}"
        )
    if tasks is not None and tasks > 1 and per_node is None:
        raise ValueError(
            f"SLURM_NTASKS is {tasks}, but SLURM_NTASKS_PER_NODE is not set; ask for tasks with "
            f"--ntasks-per-node={layout.devices} instead of --ntasks={tasks}"
        )
    if starts and tasks is not None and tasks > 1 and "SLURM_STEP_ID" not in environ:
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

    Args:
        trainer: The trainer's settings, with plugins and strategy built.
        environ: Environment variables.
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
