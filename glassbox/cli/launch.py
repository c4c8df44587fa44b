"""How a run is to be started, and the refusal of a launch that contradicts its config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

# Short forms of precisions, as Lightning reads them.
_PRECISIONS = {"16": "16-mixed", "bf16": "bf16-mixed", "32": "32-true", "64": "64-true"}


@dataclass(frozen=True)
class Launch:
    """The processes that a config asks for, one for each device.

    Attributes:
        accelerator: 'cpu', 'gpu', or Lightning's name of another kind.
        devices: Of each node; None where 'auto' cannot be resolved on this machine.
        num_nodes: Nodes.
        precision: The trainer's.
    """

    accelerator: str
    devices: int | None
    num_nodes: int
    precision: str

    @property
    def world_size(self) -> int | None:
        """All processes together."""
        return None if self.devices is None else self.devices * self.num_nodes

    @property
    def keys(self) -> str:
        """What the config says, for messages."""
        return f"trainer.devices {self.devices} times trainer.num_nodes {self.num_nodes}"


def planned_launch(trainer: Mapping[str, Any]) -> Launch:
    """What the trainer's settings ask for; reads no launcher's variables.

    Args:
        trainer: ``accelerator``, ``devices``, ``num_nodes``, ``precision`` and ``strategy`` as in a
            config.

    Raises:
        ValueError: ``devices`` or ``num_nodes`` is no number of devices, or the strategy shards
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
    devices = _count(trainer.get("devices", "auto"), accelerator)
    precision = str(trainer.get("precision") or "32-true")
    return Launch(accelerator, devices, num_nodes, _PRECISIONS.get(precision, precision))


def _check_strategy(strategy: Any) -> None:
    """Refuse strategies that shard a model, under which norms of gradients would be wrong."""
    given = getattr(strategy, "class_path", None) or strategy
    name = str(given or "auto").rpartition(".")[2].lower()
    if any(part in name for part in ("fsdp", "deepspeed", "modelparallel", "model_parallel")):
        raise ValueError(
            f"trainer.strategy is {given}, which shards the model; Glassbox trains whole copies of "
            f"it: use auto, ddp, or lightning.pytorch.strategies.DDPStrategy"
        )


def _count(devices: Any, accelerator: str) -> int | None:
    """The number that Lightning would make of ``trainer.devices``."""
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
            f"trainer.devices is {given!r}, and the accelerator is the CPU, which takes a number "
            f"of processes or 'auto'; set trainer.accelerator to gpu if GPUs are meant"
        )
    if devices in ("auto", -1, [-1]):
        here = {"gpu": torch.cuda.device_count(), "cpu": 1, "mps": 1}.get(accelerator)
        return here or None
    number = len(devices) if isinstance(devices, list | tuple) else devices
    if not isinstance(number, int) or number < 1:
        raise ValueError(
            f"trainer.devices is {given!r}; give a number of devices, a list of their indices, or "
            f"'auto' for all of the machine"
        )
    return number


def check_launch(launch: Launch, environ: Mapping[str, str], starts: bool = True) -> None:
    """Refuse processes that are others than those the config asks for.

    Lightning would wait for processes that nobody started, or train on fewer than were asked for.

    Args:
        launch: What the config asks for.
        environ: The environment's variables, as torchrun or srun have set them.
        starts: Whether a run is to start here; a dry run needs no srun.

    Raises:
        ValueError: Names the variable, its value, what the config says, and what to set.
    """
    if _under_torchrun(environ) or not _under_slurm(environ):
        _check_torchrun(launch, environ)
    else:
        _check_slurm(launch, environ, starts)


def _under_torchrun(environ: Mapping[str, str]) -> bool:
    return "TORCHELASTIC_RUN_ID" in environ


def _under_slurm(environ: Mapping[str, str]) -> bool:
    """Whether Lightning takes this process for one of srun's tasks; in these two jobs it does not.

    A shell of salloc has one of these names, and so does what is to be started without srun.
    """
    named = environ.get("SLURM_JOB_NAME") in ("bash", "interactive")
    return "SLURM_NTASKS" in environ and not named


def _check_torchrun(launch: Launch, environ: Mapping[str, str]) -> None:
    if launch.devices is None:
        return
    world, local = _number(environ, "WORLD_SIZE"), _number(environ, "LOCAL_WORLD_SIZE")
    # Images and clusters set 1 where nothing is distributed; Lightning starts the others then.
    least = 1 if _under_torchrun(environ) else 2
    remedy = (
        f"start torchrun with --nnodes={launch.num_nodes} --nproc_per_node={launch.devices}, or "
        f"set the config to what is started"
    )
    if local is not None and local >= least and local != launch.devices:
        raise ValueError(
            f"LOCAL_WORLD_SIZE is {local}, processes on each node, and trainer.devices is "
            f"{launch.devices}; {remedy} (--trainer.devices {local})"
        )
    if world is not None and world >= least and world != launch.world_size:
        nodes, rest = divmod(world, launch.devices)
        fitting = f" (--trainer.num_nodes {nodes})" if nodes and not rest else ""
        raise ValueError(
            f"WORLD_SIZE is {world}, processes in all, and {launch.keys} are {launch.world_size}; "
            f"{remedy}{fitting}"
        )


def _check_slurm(launch: Launch, environ: Mapping[str, str], starts: bool) -> None:
    tasks, nodes = _number(environ, "SLURM_NTASKS"), _number(environ, "SLURM_NNODES")
    per_node = _number(environ, "SLURM_NTASKS_PER_NODE")
    if nodes is not None and nodes != launch.num_nodes:
        raise ValueError(
            f"SLURM_NNODES is {nodes} and trainer.num_nodes is {launch.num_nodes}; set "
            f"--trainer.num_nodes {nodes}, or #SBATCH --nodes={launch.num_nodes}"
        )
    if launch.devices is None:
        return
    if per_node is not None and per_node != launch.devices:
        raise ValueError(
            f"SLURM_NTASKS_PER_NODE is {per_node} and trainer.devices is {launch.devices}; set "
            f"--trainer.devices {per_node}, or #SBATCH --ntasks-per-node={launch.devices}"
        )
    if tasks is not None and tasks != launch.world_size:
        one = " (or export SLURM_JOB_NAME=interactive, and Lightning starts the others itself)"
        raise ValueError(
            f"SLURM_NTASKS is {tasks} and {launch.keys} are {launch.world_size}; set "
            f"#SBATCH --nodes={launch.num_nodes} --ntasks-per-node={launch.devices} and start with "
            f"srun{one if tasks == 1 and launch.num_nodes == 1 else ''}"
        )
    if tasks is not None and tasks > 1 and per_node is None:
        raise ValueError(
            f"SLURM_NTASKS is {tasks} and SLURM_NTASKS_PER_NODE is not set; ask for tasks with "
            f"--ntasks-per-node={launch.devices} instead of --ntasks={tasks}"
        )
    if starts and tasks is not None and tasks > 1 and "SLURM_STEP_ID" not in environ:
        raise ValueError(
            f"SLURM_NTASKS is {tasks} and this is the batch script's own process, which would wait "
            f"for {tasks - 1} others; put srun before lightning"
        )


def _number(environ: Mapping[str, str], name: str) -> int | None:
    value = environ.get(name, "")
    return int(value) if value.isdigit() else None


def cluster_plugins(trainer: Mapping[str, Any], environ: Mapping[str, str]) -> Any:
    """The trainer's ``plugins`` with the launcher named that Lightning would otherwise guess.

    Under torchrun it is torchrun, inside a SLURM job too. Under srun Lightning's own requeueing is
    off, which writes a checkpoint in the middle of a step from inside a signal handler; the scripts
    in configs/slurm requeue by the exit code.

    Args:
        trainer: The trainer's settings, with plugins and strategy built.
        environ: The environment's variables.
    """
    from lightning.pytorch.plugins.environments import (
        ClusterEnvironment,
        SLURMEnvironment,
        TorchElasticEnvironment,
    )

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
