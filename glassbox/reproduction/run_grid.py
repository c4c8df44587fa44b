"""Train the runs of a grid that are missing in a store, in this process or in several."""

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
from glassbox.reproduction.run_store import Store, Trained, identity_hash
from glassbox.reproduction.worker_pool import run_in_processes


@dataclass(frozen=True)
class TrainedMembers:
    """What one training run measured of its S members.

    Attributes:
        metrics: S values by metric.
        arrays: (S, ...) by name, for figures.
        versions: Of the packages and the data that the numbers depend on.
    """

    metrics: dict[str, list[Any]]
    arrays: dict[str, NDArray[np.generic]]
    versions: dict[str, str]


@dataclass(frozen=True)
class Runner:
    """How a run is trained; functions of a module, since worker processes import them.

    Attributes:
        train: From a run's config, the file for what it prints, and its name, to what it measured.
        explain: One line for an error that is the user's; None for others.
    """

    train: Callable[[dict[str, Any], Path, str], TrainedMembers]
    explain: Callable[[Exception], str | None]


def run_grid(
    grid: Sequence[GroupedRun],
    store: Store,
    jobs: int,
    labels: Mapping[str, str],
    runner: Runner,
) -> dict[str, str]:
    """Run what is missing, and tell on the terminal how far it has come.

    Args:
        grid: The runs; of each only the members that are not finished are trained.
        store: Where finished ones are.
        jobs: Worker processes; with 1 everything runs in this one.
        labels: What a failure calls a point, by the hash of its identity.
        runner: How a run is trained.

    Returns:
        A sentence for each run that failed, by its name.
    """
    missing = [run for run in (_missing(run, store) for run in grid) if run.parts]
    missing.sort(key=lambda run: -run.work)  # a long one that comes last leaves workers idle
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
    return run.without({identity_hash(p.identity): store.seeds_done(p.identity) for p in run.parts})


def _outcomes(
    runs: Sequence[GroupedRun],
    store: Store,
    jobs: int,
    labels: Mapping[str, str],
    runner: Runner,
) -> Iterator[tuple[GroupedRun, str | None]]:
    """Each run with None, or with the sentence why it failed."""
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
    """Train a run in this process; None, or why it failed."""
    store = Store(folder)
    log = folder / "logs" / f"{run.name}.log"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(log.with_suffix(".lock")):  # of another runner on this folder
            log.unlink(missing_ok=True)  # of a run that failed before
            try:
                left = _missing(run, store)
            except ValueError as error:  # a record that came since, and is damaged
                return str(error)
            return _train_what_is_left(left, store, log, labels, runner)
    except OSError as error:
        return f"{error.filename}: {error.strerror}"


def _train_what_is_left(
    run: GroupedRun, store: Store, log: Path, labels: Mapping[str, str], runner: Runner
) -> str | None:
    """Train a run; where it fails, its points one by one: a bad one costs only itself."""
    if not run.parts:
        return None
    try:
        _train(run, store, log, runner)
    except Exception as error:
        if os.environ.get("GLASSBOX_DEBUG"):
            raise
        with open(log, "a") as file:
            traceback.print_exc(file=file)
        if len(run.parts) > 1:
            alone = [GroupedRun(run.config, (part,)) for part in run.parts]
            found = [_train_what_is_left(one, store, log, labels, runner) for one in alone]
            told = [sentence for sentence in found if sentence is not None]
            return f"{len(told)} of {len(found)} points: {'; '.join(told)}" if told else None
        sentence = runner.explain(error)
        words = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        label = labels.get(identity_hash(run.parts[0].identity))
        return f"{f'{label}: ' if label else ''}{sentence or words} (see {log})"
    log.unlink(missing_ok=True)  # kept only of runs that fail
    return None


def _train(run: GroupedRun, store: Store, log: Path, runner: Runner) -> None:
    config, members = config_of_run(run)
    started = time.monotonic()
    outcome = runner.train(config, log, run.name)
    seconds = time.monotonic() - started
    trained = []
    for part in run.parts:
        rows = [row for row, (of, _) in enumerate(members) if of is part]
        trained.append(
            Trained(
                part.identity,
                part.seeds,
                {name: [values[row] for row in rows] for name, values in outcome.metrics.items()},
                {name: values[rows] for name, values in outcome.arrays.items()},
                seconds * len(rows) / len(members),
            )
        )
    store.write(trained, outcome.versions)
