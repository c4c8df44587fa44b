"""Train the runs of a grid that a store lacks, in this process or in several."""

from __future__ import annotations

import functools
import os
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from glassbox.reproduction.format import duration_text
from glassbox.reproduction.grouping import GroupedRun, config_of_run
from glassbox.reproduction.identity import identity_hash
from glassbox.reproduction.run_store import RunResults, Store
from glassbox.reproduction.worker_pool import run_in_processes


@dataclass(frozen=True)
class TrainedMembers:
    """Results of a training run of S members."""

    metrics: dict[str, list[Any]]  # name -> S values
    arrays: dict[str, NDArray[np.generic]]  # name -> (S, ...), for figures
    versions: dict[str, str]  # of the packages and the data that the numbers depend on


@dataclass(frozen=True)
class Runner:
    """How a run is trained; functions of a module, since worker processes import them."""

    # trains a config; takes it, the log file and the run's name
    train: Callable[[dict[str, Any], Path, str], TrainedMembers]
    # one line for an error that the user can fix; None for others
    explain: Callable[[Exception], str | None]


def run_grid(
    grid: Sequence[GroupedRun],
    store: Store,
    jobs: int,
    labels: Mapping[str, str],
    runner: Runner,
) -> dict[str, str]:
    """Train what is missing and print the progress."""
    missing = [run for run in (_missing(run, store) for run in grid) if run.points]
    missing.sort(key=lambda run: -run.work)  # a long run at the end would leave workers idle
    members = sum(run.members for run in grid)
    done = members - sum(run.members for run in missing)
    if members:
        print(f"{done:,} of {members:,} networks are finished; runs to go: {len(missing)}")
    started, finished_work = time.monotonic(), 0.0
    all_work = sum(run.work for run in missing)
    failed: dict[str, str] = {}
    for number, (run, error) in enumerate(_outcomes(missing, store, jobs, labels, runner), start=1):
        finished_work += run.work
        seconds = time.monotonic() - started
        left = seconds / finished_work * max(0.0, all_work - finished_work)
        if error is not None:
            failed[run.name] = error
        outcome = "failed" if error is not None else "done"
        print(
            f"run {number} of {len(missing)} {outcome}: {run.name} ({run.members} networks); "
            f"{duration_text(seconds)} so far, about {duration_text(left)} left",
            flush=True,
        )
    return failed


def _missing(run: GroupedRun, store: Store) -> GroupedRun:
    return run.without(
        {identity_hash(p.identity): store.seeds_done(p.identity) for p in run.points}
    )


def _outcomes(
    runs: Sequence[GroupedRun],
    store: Store,
    jobs: int,
    labels: Mapping[str, str],
    runner: Runner,
) -> Iterator[tuple[GroupedRun, str | None]]:
    """Each run with None, or with the reason why it failed."""
    attempt = functools.partial(_attempt, folder=store.folder, labels=labels, runner=runner)
    if jobs == 1:
        for run in runs:
            yield run, attempt(run)
        return
    named = {run.name: run for run in runs}
    for name, error in run_in_processes(named, attempt, jobs):
        yield named[name], error


def _attempt(
    run: GroupedRun, folder: Path, labels: Mapping[str, str], runner: Runner
) -> str | None:
    """Train a run in this process; returns None, or why it failed. Failed runs keep their log."""
    store = Store(folder)
    log = folder / "logs" / f"{run.name}.log"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(log.with_suffix(".lock")):  # against other runners on this folder
            log.unlink(missing_ok=True)
            try:
                left = _missing(run, store)
            except ValueError as error:  # a damaged record that appeared since the start
                return str(error)
            failure = _train_or_explain(left, store, log, labels, runner) if left.points else None
            if failure is None:
                log.unlink(missing_ok=True)
            return failure
    except OSError as error:
        return f"{error.filename}: {error.strerror}"


def _train_or_explain(
    run: GroupedRun, store: Store, log: Path, labels: Mapping[str, str], runner: Runner
) -> str | None:
    """Train a run, and if it fails its points one by one, so that a bad one costs only itself."""
    try:
        _train(run, store, log, runner)
    except Exception as error:
        if os.environ.get("GLASSBOX_DEBUG"):
            raise
        with open(log, "a") as file:
            traceback.print_exc(file=file)
        if len(run.points) > 1:
            single = [GroupedRun(run.config, (point,)) for point in run.points]
            reasons = [_train_or_explain(one, store, log, labels, runner) for one in single]
            failures = [reason for reason in reasons if reason is not None]
            if not failures:
                return None
            return f"{len(failures)} of {len(single)} points: {'; '.join(failures)}"
        words = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        label = labels.get(identity_hash(run.points[0].identity))
        return f"{f'{label}: ' if label else ''}{runner.explain(error) or words} (see {log})"
    return None


def _train(run: GroupedRun, store: Store, log: Path, runner: Runner) -> None:
    config, members = config_of_run(run)
    started = time.monotonic()
    trained = runner.train(config, log, run.name)
    seconds = time.monotonic() - started
    results = []
    for point in run.points:
        rows = [row for row, (owner, _) in enumerate(members) if owner is point]
        results.append(
            RunResults(
                point.identity,
                point.seeds,
                {name: [values[row] for row in rows] for name, values in trained.metrics.items()},
                {name: values[rows] for name, values in trained.arrays.items()},
                seconds * len(rows) / len(members),
            )
        )
    store.write(results, trained.versions)
