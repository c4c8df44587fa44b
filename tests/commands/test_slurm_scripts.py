"""The scripts of configs/slurm, run with an srun and an scontrol that note their calls."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from datamodules.common.order import accumulation
from tests.helpers.paths import ROOT

STUDY = ROOT / "configs" / "slurm" / "reproduce.sbatch"
SCRIPTS = sorted(set((ROOT / "configs" / "slurm").glob("*.sbatch")) - {STUDY})
BY_SRUN = [path for path in SCRIPTS if path.stem != "torchrun"]
CONFIGS = sorted((ROOT / "configs" / "gpt2").glob("gpt2_openwebtext_*.yaml"))
CONFIG = "configs/gpt2/gpt2_openwebtext_harmonic.yaml"


def options(path: Path) -> dict[str, str]:
    """The #SBATCH options of a script; an option without a value is empty."""
    matches = re.findall(r"^#SBATCH --([\w-]+)(?:=(\S+))?$", path.read_text(), re.MULTILINE)
    assert len(matches) == path.read_text().count("\n#SBATCH ")
    return dict(matches)


@pytest.fixture
def cluster(tmp_path):
    """Runs a script as SLURM would; returns its exit code, srun's and scontrol's arguments."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()

    def program(name: str, rest: str) -> None:
        path = bin_folder / name
        path.write_text(f'#!/bin/bash\nprintf "%s\\n" "$@" >> {tmp_path}/{name}\n{rest}\n')
        path.chmod(0o755)

    def start(path: Path, srun: str, *arguments: str, nodes: int = 0) -> subprocess.Popen[str]:
        program("srun", f"env | grep -E '^(OMP|SRUN|NCCL)' > {tmp_path}/environment\n{srun}")
        program("scontrol", 'if [ "$1" = show ]; then printf "gpu17\\ngpu18\\n"; fi')
        asked = options(path)
        environ = {
            "PATH": f"{bin_folder}:{os.environ['PATH']}", "SLURM_JOB_ID": "4711",
            "SLURM_NNODES": str(nodes or asked.get("nodes", 1)), "SLURM_JOB_NODELIST": "gpu[17-18]",
            "SLURM_CPUS_PER_TASK": asked["cpus-per-task"],
            "SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "8",
        }  # fmt: skip
        return subprocess.Popen(
            ["bash", str(path), *arguments], env=environ, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def calls(name: str) -> list[str]:
        path = tmp_path / name
        return path.read_text().splitlines() if path.exists() else []

    start.calls = calls  # type: ignore[attr-defined]
    return start


def finish(process: subprocess.Popen[str]) -> int:
    process.communicate(timeout=30)
    return process.returncode


@pytest.mark.parametrize("path", [*SCRIPTS, STUDY], ids=lambda path: path.stem)
def test_script_is_valid_short_and_shows_its_command(path):
    subprocess.run(["bash", "-n", str(path)], check=True)
    if path != STUDY and shutil.which("shellcheck"):
        subprocess.run(["shellcheck", str(path)], check=True)
    assert f"configs/slurm/{path.name} " in path.read_text()
    assert len(path.read_text().splitlines()) <= 60


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_numbers_of_a_script_agree_with_the_configs(path, config):
    asked, run = options(path), yaml.safe_load(config.read_text())
    data, devices = run["data"]["init_args"], run["trainer"]["devices"]
    assert int(asked["ntasks-per-node"]) == (1 if path.stem == "torchrun" else devices)
    assert asked["gres"] == f"gpu:{devices}"
    if path.stem == "torchrun":
        assert f"--nproc_per_node={devices}" in path.read_text()
    # The micro-batch that a script recommends divides the global batch.
    named = set(map(int, re.findall(r"--data\.micro_batch_size (\d+)", path.read_text())))
    assert len(named) == (0 if path.stem == "one_node" else 1)
    (micro,) = named or {data["micro_batch_size"]}
    assert accumulation(data["global_batch_size"], micro, int(asked["nodes"]) * devices) >= 1


@pytest.mark.parametrize("path", BY_SRUN, ids=lambda path: path.stem)
def test_preempted_jobs_get_a_signal_in_time_and_may_be_requeued(path):
    asked = options(path)
    assert asked["signal"] == "SIGUSR1@120"  # to the processes; with B: it would reach the script
    assert asked["open-mode"] == "append" and "requeue" in asked


@pytest.mark.parametrize("path", BY_SRUN, ids=lambda path: path.stem)
def test_srun_starts_the_fit_from_the_newest_checkpoint_with_what_was_added(path, cluster):
    added = ("--model.learning_rate", "1e-3", "--trainer.callbacks", "[]  # a space")
    assert finish(cluster(path, "exit 0", CONFIG, *added, nodes=4)) == 0
    nodes = ["--trainer.num_nodes", "4"] if path.stem == "several_nodes" else []
    assert cluster.calls("srun") == [
        "--kill-on-bad-exit=1", "lightning", "fit", "--config", CONFIG, "--ckpt_path", "last",
        *nodes, *added,
    ]  # fmt: skip
    environment = cluster.calls("environment")
    assert f"SRUN_CPUS_PER_TASK={options(path)['cpus-per-task']}" in environment
    assert "OMP_NUM_THREADS=1" in environment


@pytest.mark.parametrize("path", BY_SRUN, ids=lambda path: path.stem)
@pytest.mark.parametrize("code", [138, 143, 0, 1, 130])
def test_only_a_run_that_a_signal_stopped_is_requeued(path, code, cluster):
    assert finish(cluster(path, f"exit {code}", CONFIG)) == code
    assert cluster.calls("scontrol") == (["requeue", "4711"] if code in (138, 143) else [])


@pytest.mark.parametrize("path", BY_SRUN, ids=lambda path: path.stem)
def test_job_that_is_canceled_is_not_requeued(path, cluster, tmp_path):
    # scancel's SIGTERM reaches the batch script too, and srun's processes end with 143.
    process = cluster(path, f"touch {tmp_path}/started; sleep 1; exit 143", CONFIG)
    while not (tmp_path / "started").exists() and process.poll() is None:
        time.sleep(0.01)
    process.terminate()
    assert finish(process) == -signal.SIGTERM
    time.sleep(0.2)
    assert cluster.calls("scontrol") == []


@pytest.mark.parametrize("path", [*SCRIPTS, STUDY], ids=lambda path: path.stem)
def test_script_without_a_config_or_study_starts_nothing(path, cluster):
    process = cluster(path, "exit 0")
    _, errors = process.communicate(timeout=30)
    assert process.returncode != 0 and f"configs/slurm/{path.name}" in errors
    assert cluster.calls("srun") == []


def test_torchrun_meets_on_the_first_node_and_starts_the_fit(cluster):
    path = ROOT / "configs" / "slurm" / "torchrun.sbatch"
    assert finish(cluster(path, "exit 1", CONFIG, "--data.micro_batch_size", "15")) == 1
    words = cluster.calls("srun")
    assert words[1] == "torchrun"
    for word in ("--nnodes=2", "--rdzv_backend=c10d", "--rdzv_endpoint=gpu17:29500", "--no-python"):
        assert word in words
    assert words[words.index("lightning") :] == [
        "lightning", "fit", "--config", CONFIG, "--ckpt_path", "last", "--trainer.num_nodes", "2",
        "--data.micro_batch_size", "15",
    ]  # fmt: skip
    assert "requeue" not in cluster.calls("scontrol")  # its exit code tells nothing


def test_study_is_spread_over_the_tasks_of_an_array(cluster, tmp_path):
    lightning = tmp_path / "bin" / "lightning"
    lightning.write_text(f'#!/bin/bash\nprintf "%s\\n" "$@" > {tmp_path}/lightning\nexit 3\n')
    lightning.chmod(0o755)
    assert finish(cluster(STUDY, "exit 0", "harmonic_loss/figure_3b", "--seeds", "5")) == 3
    assert cluster.calls("lightning") == [
        "reproduce", "harmonic_loss/figure_3b", "--jobs", options(STUDY)["cpus-per-task"],
        "--shard", "3/8", "--seeds", "5",
    ]  # fmt: skip
    assert "--array=1-" in STUDY.read_text()
