"""The processes that a config asks for are compared with those that a launcher started."""

from __future__ import annotations

import os
import signal

import lightning as L
import pytest
from lightning.fabric.utilities.device_parser import (
    _normalize_parse_gpu_input_to_list,
    _normalize_parse_gpu_string_input,
)
from lightning.pytorch.plugins.environments import (
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)

from glassbox.cli.launch import ProcessLayout, check_launch, cluster_plugins, planned_launch

EIGHT = ProcessLayout("gpu", 8, 1, "bf16-mixed")
TWO_NODES = ProcessLayout("gpu", 8, 2, "bf16-mixed")
TORCHRUN = {"TORCHELASTIC_RUN_ID": "any", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "8"}
SRUN = {
    "SLURM_JOB_ID": "71234", "SLURM_NTASKS": "8", "SLURM_NTASKS_PER_NODE": "8",
    "SLURM_NNODES": "1", "SLURM_STEP_ID": "0", "SLURM_PROCID": "0", "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0", "SLURM_JOB_NAME": "glassbox",
}  # fmt: skip


@pytest.mark.parametrize(("devices", "number"), [(8, 8), ("8", 8), ("auto", 1)])
def test_processes_on_a_cpu_are_counted_as_lightning_counts_them(devices, number):
    layout = planned_launch({"accelerator": "cpu", "devices": devices, "num_nodes": 3})
    assert (layout.devices, layout.world_size) == (number, 3 * number)
    assert L.Trainer(accelerator="cpu", devices=devices, logger=False).num_devices == number


@pytest.mark.parametrize("devices", [3, "3", [0, 3], "0,3", "2,", [2], -1, "-1", "auto"])
def test_gpus_are_counted_as_lightning_counts_them(devices, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    flag = 4 if devices == "auto" else _normalize_parse_gpu_string_input(devices)
    number = len(
        _normalize_parse_gpu_input_to_list(flag, include_cuda=False, include_mps=False) or []
    )
    number = 4 if flag == -1 else number  # Lightning's list needs the GPUs themselves
    assert planned_launch({"accelerator": "gpu", "devices": devices}).devices == number


@pytest.mark.parametrize(
    ("accelerator", "devices"),
    [
        *(("cpu", devices) for devices in (-1, [0, 1], "0,1")),  # a CPU has no indices
        *(("gpu", devices) for devices in (0, "0", [], "x", "", "1,x", -2)),
    ],
)
def test_devices_that_are_not_a_number_are_refused(accelerator, devices):
    with pytest.raises(ValueError, match=r"trainer\.devices"):
        planned_launch({"accelerator": accelerator, "devices": devices})


def test_the_number_of_all_gpus_is_unknown_on_a_machine_without_any(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    layout = planned_launch({"accelerator": "gpu", "devices": "auto"})
    assert layout.devices is None and layout.world_size is None
    check_launch(layout, TORCHRUN)


@pytest.mark.parametrize(
    ("given", "name"), [(16, "16-mixed"), ("bf16", "bf16-mixed"), (None, "32-true")]
)
def test_short_forms_of_a_precision_are_written_out(given, name):
    settings = {"accelerator": "cpu", "devices": 1, "precision": given}
    assert planned_launch(settings).precision == name


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"WORLD_SIZE": "1"},  # an image's default: Lightning starts the others
        {"WORLD_SIZE": "8"},  # Lightning's own children
        TORCHRUN,
        SRUN,
        {**TORCHRUN, "SLURM_NTASKS": "1", "SLURM_NNODES": "1"},  # torchrun as a task of srun
        {**SRUN, "SLURM_NTASKS": "1", "SLURM_JOB_NAME": "interactive"},
    ],
)
def test_launch_that_agrees_with_the_config_passes(environ):
    check_launch(EIGHT, environ)


@pytest.mark.parametrize(
    ("layout", "environ", "hint"),
    [
        (EIGHT, {"WORLD_SIZE": "4"}, "--nproc_per_node=8"),
        (EIGHT, {**TORCHRUN, "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}, "--trainer.devices 1"),
        (EIGHT, {**TORCHRUN, "WORLD_SIZE": "16"}, "--trainer.num_nodes 2"),
        (EIGHT, {**TORCHRUN, "LOCAL_WORLD_SIZE": "4"}, "--trainer.devices 4"),
        (TWO_NODES, TORCHRUN, "--nnodes=2"),
        (TWO_NODES, SRUN, "#SBATCH --nodes=2"),
        (EIGHT, {**SRUN, "SLURM_NTASKS_PER_NODE": "4"}, "--ntasks-per-node=8"),
        (EIGHT, {**SRUN, "SLURM_NTASKS": "4"}, "--ntasks-per-node=8"),
        (EIGHT, {"SLURM_NTASKS": "1"}, "SLURM_JOB_NAME=interactive"),
        (EIGHT, {"SLURM_NTASKS": "8", "SLURM_NNODES": "1"}, "--ntasks-per-node=8"),
        (EIGHT, {k: v for k, v in SRUN.items() if k != "SLURM_STEP_ID"}, "srun before lightning"),
    ],
)
def test_a_launch_unlike_the_config_is_refused_with_what_to_set(layout, environ, hint):
    with pytest.raises(ValueError) as refusal:
        check_launch(layout, environ)
    assert hint in str(refusal.value)


def test_check_in_a_batch_script_needs_no_srun():
    batch = {name: value for name, value in SRUN.items() if name != "SLURM_STEP_ID"}
    check_launch(EIGHT, batch, starts=False)


def trainer_under(environ, monkeypatch, **settings) -> L.Trainer:
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", **environ}.items():
        monkeypatch.setenv(name, value)
    plugins = cluster_plugins(settings, os.environ)
    return L.Trainer(accelerator="cpu", devices=8, logger=False, **{**settings, "plugins": plugins})


def test_torchrun_inside_a_slurm_job_is_torchrun(monkeypatch):
    trainer = trainer_under({**SRUN, **TORCHRUN}, monkeypatch)
    environment = trainer.strategy.cluster_environment
    assert isinstance(environment, TorchElasticEnvironment) and trainer.world_size == 8


def test_under_srun_lightning_does_not_requeue_by_itself(monkeypatch):
    trainer = trainer_under(SRUN, monkeypatch)
    environment = trainer.strategy.cluster_environment
    assert isinstance(environment, SLURMEnvironment) and trainer.world_size == 8
    before = signal.getsignal(signal.SIGUSR1)
    try:
        trainer._signal_connector.register_signal_handlers()
        assert signal.getsignal(signal.SIGUSR1) is before
    finally:
        trainer._signal_connector.teardown()


def test_launcher_that_the_config_names_is_kept(monkeypatch):
    named = LightningEnvironment()
    trainer = trainer_under(SRUN, monkeypatch, plugins=[named])
    assert trainer.strategy.cluster_environment is named


def test_without_a_launcher_nothing_is_added():
    assert cluster_plugins({"plugins": None}, {}) is None


@pytest.mark.parametrize("strategy", ["fsdp", "deepspeed_stage_2", "a.b.ModelParallelStrategy"])
def test_strategies_that_shard_the_model_are_refused_by_name(strategy):
    with pytest.raises(ValueError, match=r"trainer\.strategy"):
        planned_launch({"devices": 2, "strategy": strategy})
