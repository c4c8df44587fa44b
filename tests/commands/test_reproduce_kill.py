"""A grid that is killed, by whatever and whenever: finished runs stay, half of one is none."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from glassbox.cli.main import main
from tests.helpers.paths import ROOT

WIDTHS = (10, 20, 30, 40)  # each a run of its own, of two protocols and two seeds
NETWORKS = 4 * len(WIDTHS)
# A callback that takes its process down, as the system does when memory runs out.
KILLER = """
import os, signal
import lightning

class Killer(lightning.Callback):
    def on_train_epoch_end(self, trainer, pl_module):
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def grid(small_study, tmp_path, monkeypatch) -> Path:
    """A study of four runs of a third of a second each; returns its file."""
    monkeypatch.chdir(tmp_path)
    return small_study(
        grid={"width": {width: {"model.network.hidden_dim": width} for width in WIDTHS}},
        settings=[{"when": {}, "set": {"trainer.max_epochs": 25, "data.num_samples": 300}}],
        tables=[],
        claims=[],
        quick=None,
    )


@pytest.fixture
def start(tmp_path) -> Iterator[Callable[..., subprocess.Popen]]:
    """Start `lightning reproduce` in a process group of its own."""
    started = []

    def popen(*arguments: str | Path) -> subprocess.Popen:
        code = "import sys; from glassbox.cli.main import main; main(sys.argv[1:])"
        process = subprocess.Popen(
            [sys.executable, "-c", code, "reproduce", *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield popen
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_for(what: Callable[[], Any], seconds: float = 90) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if result := what():
            return result
        time.sleep(0.02)
    pytest.fail("it does not come")


def records(runs: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in runs.glob("*/seeds_*.json")}


def children(parent: int) -> list[int]:
    """Worker processes of a process; Python's resource tracker is none."""
    result = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            ppid = int(stat.read_text().rpartition(")")[2].split()[1])
            words = (stat.parent / "cmdline").read_bytes()
        except (OSError, ValueError):  # it has ended meanwhile
            continue
        if ppid == parent and b"spawn_main" in words:
            result.append(int(stat.parent.name))
    return result


def test_a_killed_grid_goes_on_and_ends_as_one_that_was_not(grid, start, finished, capsys):
    process = start(grid, "--runs", "killed")
    runs = Path("killed")
    wait_for(lambda: records(runs) or process.poll() is not None)
    time.sleep(random.SystemRandom().uniform(0, 0.4))
    os.killpg(process.pid, signal.SIGKILL)
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors
    before, networks = records(runs), len(finished(runs))
    assert 0 < networks < NETWORKS

    main(["reproduce", str(grid), "--runs", "killed"])
    assert f"{networks} of {NETWORKS} networks are finished" in capsys.readouterr().out
    assert {path: time for path, time in records(runs).items() if path in before} == before
    main(["reproduce", str(grid), "--runs", "whole", "--output", "whole_report"])
    assert len(finished(runs)) == NETWORKS
    assert finished(runs) == finished(Path("whole"))
    assert not [*runs.glob("*/*.partial*")]
    first, second = (Path(f, "small", "seeds.csv") for f in ("reports", "whole_report"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.slow
def test_killed_again_and_again_with_two_jobs_it_still_gets_there(grid, start, finished, capsys):
    runs, kills, moments = Path("killed"), 0, random.SystemRandom()
    while True:
        before = records(runs)
        process = start(grid, "--runs", "killed", "--jobs", "2")
        wait_for(lambda b=before, p=process: len(records(runs)) > len(b) or p.poll() is not None)
        time.sleep(moments.uniform(0, 0.5))
        if process.poll() is not None:
            break
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        kills += 1
        after = records(runs)
        assert {path: after[path] for path in before} == before
    assert process.returncode == 0 and kills > 0
    main(["reproduce", str(grid), "--runs", "whole"])
    assert finished(runs) == finished(Path("whole")) and len(finished(runs)) == NETWORKS


@pytest.mark.slow
def test_two_runners_on_one_folder_end_well_and_leave_what_one_leaves(grid, start, finished):
    runners = [start(grid, "--runs", "shared", *jobs) for jobs in ((), ("--jobs", "2"))]
    for runner in runners:
        said, errors = runner.communicate(timeout=120)
        assert runner.returncode == 0, errors
        assert "report: reports/small/report.md (16 networks" in said
    main(["reproduce", str(grid), "--runs", "whole", "--output", "whole_report"])
    assert finished(Path("shared")) == finished(Path("whole"))
    first, second = (Path(f, "small", "seeds.csv") for f in ("reports", "whole_report"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_its_run_a_second_start_and_nothing_else(
    grid, start, finished
):
    process = start(grid, "--jobs", "2")
    runs = Path("runs/reproduce")
    wait_for(lambda: [*runs.glob("logs/*.log")] or process.poll() is not None)
    os.kill(children(process.pid)[0], signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    main(["reproduce", str(grid), "--runs", "whole", "--output", "whole_report"])
    assert finished(runs) == finished(Path("whole")) and len(finished(runs)) == NETWORKS


@pytest.mark.slow
def test_a_run_that_kills_every_process_is_found_out_and_the_others_are_done(
    small_study, start, finished, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("killer_of_mine.py").write_text(KILLER)
    widths: dict[Any, Any] = {width: {"model.network.hidden_dim": width} for width in WIDTHS}
    widths["deadly"] = {"trainer.callbacks+": {"class_path": "killer_of_mine.Killer"}}
    settings = [{"when": {}, "set": {"trainer.max_epochs": 5, "data.num_samples": 40}}]
    study = small_study(
        grid={"width": widths}, settings=settings, tables=[], claims=[], quick=None
    )  # fmt: skip
    process = start(study, "--jobs", "2")
    said, errors = process.communicate(timeout=200)
    assert process.returncode == 1, errors
    # With a callback of one's own both protocols are runs by themselves.
    assert errors.count("its process was killed; is there enough memory?") == 2
    assert said.count("failed: ") == 2 and said.count(" done: ") == len(WIDTHS)
    assert len(finished(Path("runs/reproduce"))) == NETWORKS
    assert "its process was killed" in Path("reports/small/report.md").read_text()


@pytest.mark.slow
def test_workers_end_when_the_runner_is_gone(grid, start):
    process = start(grid, "--jobs", "2")
    wait_for(lambda: [*Path("runs/reproduce/logs").glob("*.log")] or process.poll() is not None)
    workers = children(process.pid)
    assert len(workers) == 2
    os.kill(process.pid, signal.SIGKILL)
    wait_for(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers), 10)


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_ends_the_grid_and_what_it_cut_short_does_not_count(grid, start, finished, jobs):
    process = start(grid, "--jobs", jobs)
    runs = Path("runs/reproduce")
    wait_for(lambda: records(runs) or process.poll() is not None)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in errors, errors
    assert 0 < len(finished(runs)) < NETWORKS
    main(["reproduce", str(grid)])
    main(["reproduce", str(grid), "--runs", "whole", "--output", "whole_report"])
    assert finished(runs) == finished(Path("whole")) and len(finished(runs)) == NETWORKS
