"""`lightning reproduce`: run the grid behind a paper's figure, and write its report."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TextIO

import yaml
from filelock import FileLock

import train
from callbacks.run_summary import as_list, versions
from callbacks.studies.grouping import GroupedRun, config_of_run, group, identity_of
from callbacks.studies.sections import Identities, refuse_other_report, write_sections
from callbacks.studies.store import Store, identity_hash
from callbacks.studies.study import Study, find_studies, load_studies

STUDIES = Path(__file__).resolve().parent / "configs" / "reproduce"


def reproduce(
    study: str = "",
    list: bool = False,
    quick: bool = False,
    jobs: int = 1,
    shard: str = "1/1",
    seeds: int | None = None,
    only: dict[str, list[str]] | None = None,
    report_only: bool = False,
    output: str = "reports",
    runs: str = "runs/reproduce",
) -> str | None:
    """Run what a study still lacks, then write its report: published beside measured.

    Args:
        study: Such as harmonic_loss/figure_7; harmonic_loss for all of a paper; or a YAML file.
        list: Only tell which studies there are, what they cost and what is done.
        quick: A smaller version, with fewer seeds and shorter runs, in a report of its own.
        jobs: Run so many at a time, in processes of their own.
        shard: 'i/n' runs the i-th of n parts, for several machines; copy their runs together.
        seeds: Only so many seeds of each point, the first.
        only: Only these values of these axes, such as '{model: [harmonic MLP]}'.
        report_only: Run nothing; report what is finished.
        output: Folder of the reports.
        runs: Folder of finished runs, which all studies share.

    Returns:
        The list, if it was asked for.

    Raises:
        ValueError: The study, or one of these options, cannot be.
    """
    store = Store(Path(runs))
    if list:
        return _overview(study, store)
    if not study:
        raise ValueError("name a study, such as harmonic_loss/figure_7; --list shows them all")
    if jobs < 1 or (seeds is not None and seeds < 1):
        raise ValueError(f"jobs is {jobs} and seeds is {seeds}; both must be at least 1")
    first, shards = _parse_shard(shard)
    plans = []
    for path in find_studies(study, STUDIES):
        studies = [_narrowed(s, quick, seeds, only or {}) for s in load_studies(path, STUDIES)]
        inside = path.resolve().is_relative_to(STUDIES)
        name = str(path.resolve().relative_to(STUDIES).with_suffix("")) if inside else path.stem
        folder = Path(output) / (f"{name}_quick" if quick else name)
        identities = {s.name: _identities(s) for s in studies}
        refuse_other_report(folder, identities)
        for identity in (i for of_study in identities.values() for i in of_study.values()):
            store.seeds_done(identity)  # or refuse what lies there, before hours of runs
        plans.append((folder, studies, identities))
    failed: dict[str, str] = {}
    if not report_only:
        wanted = [
            (_resolved(str(one.config), _flags(one.keys_of(point))), one.seeds)
            for _, studies, _ in plans
            for one in studies
            for point in one.points()
        ]
        failed = run_grid(group(wanted)[first - 1 :: shards], store, jobs)
    options = {
        "quick": quick or None,
        "seeds": seeds,
        "only": only,
        "jobs": jobs if jobs > 1 else None,
    }
    given = (f"--{key} {_typed(value)}" for key, value in options.items() if value is not None)
    command = " ".join(["lightning reproduce", study, *given])
    reports = [
        write_sections(folder, studies, identities, store, command=command, failed=failed)
        for folder, studies, identities in plans
    ]
    print("\n".join(f"report: {report}" for report in reports))
    if failed:
        for name, sentence in failed.items():
            print(f"failed: {name}: {sentence}", file=sys.stderr)
        raise SystemExit(1)
    return None


# ---- from a study to runs ----------------------------------------------------------------------


def _narrowed(study: Study, quick: bool, seeds: int | None, only: dict[str, list[str]]) -> Study:
    narrowed = (study.quickened() if quick else study).restricted(only)
    narrowed.seeds[:] = narrowed.seeds[:seeds]
    return narrowed


def _flags(keys: dict[str, Any]) -> tuple[str, ...]:
    """Config keys as one would type them."""
    return tuple(
        word
        for key, value in keys.items()
        for word in (f"--{key}", value if isinstance(value, str) else json.dumps(value))
    )


def _typed(value: Any) -> str:
    """An option's value as one would type it in a shell."""
    return (
        "" if value is True else f"'{json.dumps(value)}'" if isinstance(value, dict) else str(value)
    )


@functools.cache
def _parser() -> Any:
    """The command line's parser, which takes a while to build."""
    config = next((STUDIES.parent).glob("*.yaml"))
    return train.run(["resolve", "--config", str(config)]).parser


@functools.cache
def _resolved(config: str, flags: tuple[str, ...]) -> dict[str, Any]:
    """Every setting of a run, defaults included, as the command line would resolve it."""
    return _parser().parse_args(["fit", "--config", config, *flags]).fit.as_dict()


def _identities(study: Study) -> Identities:
    found = {}
    for point in study.points():
        config = _resolved(str(study.config), _flags(study.keys_of(point)))
        found[", ".join(point.values())] = identity_of(config)
    return found


def _parse_shard(shard: str) -> tuple[int, int]:
    words = shard.split("/")
    if len(words) == 2 and all(word.isdigit() for word in words):
        first, count = int(words[0]), int(words[1])
        if 1 <= first <= count:
            return first, count
    raise ValueError(f"shard is {shard!r}; it must be i/n with i from 1 to n, such as 2/8")


# ---- running -----------------------------------------------------------------------------------


def run_grid(grid: Sequence[GroupedRun], store: Store, jobs: int) -> dict[str, str]:
    """Run what is missing, and tell on the terminal how far it has come.

    Args:
        grid: The runs; of each only the members that are not finished are trained.
        store: Where finished ones are.
        jobs: Worker processes; with 1 everything runs in this one.

    Returns:
        A sentence for each run that failed, by its name.
    """
    missing = [run for run in (_missing(run, store) for run in grid) if run.parts]
    members = sum(run.members for run in grid)
    done = members - sum(run.members for run in missing)
    if members:
        print(f"{done:,} of {members:,} networks are finished; {len(missing)} runs to go")
    started, finished_work = time.monotonic(), 0.0
    all_work = sum(run.work for run in missing)
    failed: dict[str, str] = {}
    for number, (run, error) in enumerate(_outcomes(missing, store, jobs), start=1):
        finished_work += run.work
        seconds = time.monotonic() - started
        left = seconds / finished_work * (all_work - finished_work)
        if error is not None:
            failed[_name(run)] = error
        outcome = "failed" if error is not None else "done"
        print(
            f"run {number} of {len(missing)} {outcome}: {_name(run)} ({run.members} networks); "
            f"{_duration(seconds)} so far, about {_duration(left)} left",
            flush=True,
        )
    return failed


def _missing(run: GroupedRun, store: Store) -> GroupedRun:
    return run.without({identity_hash(p.identity): store.seeds_done(p.identity) for p in run.parts})


def _outcomes(
    runs: Sequence[GroupedRun], store: Store, jobs: int
) -> Iterator[tuple[GroupedRun, str | None]]:
    """Each run with None, or with the sentence why it failed."""
    if jobs == 1:
        for run in runs:
            yield run, _attempt(run, store.folder)
        return
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // jobs)))
    waiting = {_name(run): run for run in runs}
    for run in runs:
        _log(store, run).unlink(missing_ok=True)  # of a run that failed before
    while waiting:
        with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
            futures: dict[Future[str | None], str] = {
                pool.submit(_attempt, run, store.folder): name for name, run in waiting.items()
            }
            try:
                for future in as_completed(futures):
                    error = future.result()
                    yield waiting.pop(futures[future]), error
            except BrokenProcessPool:  # a worker was killed, maybe for its memory
                begun = [name for name, run in waiting.items() if _log(store, run).exists()]
                if jobs == 1 or not begun:
                    for name in begun or [*waiting]:
                        yield waiting.pop(name), "its process was killed; is there enough memory?"
                jobs = 1  # the others one at a time, so that the next one is known by name
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def _attempt(run: GroupedRun, folder: Path) -> str | None:
    """Train a run in this process; None, or why it failed."""
    store = Store(folder)
    try:
        with FileLock(_log(store, run).with_suffix(".lock")):  # of another runner on this folder
            run = _missing(run, store)
            if run.parts:
                _train(run, store)
        return None
    except Exception as error:
        if os.environ.get("GLASSBOX_DEBUG"):
            raise
        return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _train(run: GroupedRun, store: Store) -> None:
    config, members = config_of_run(run)
    log = _log(store, run)
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "config.yaml"
        path.write_text(yaml.safe_dump(config))
        with open(log, "w") as file, _output_to(file):
            cli = train.run(["fit", "--config", str(path)])
    seconds = time.monotonic() - started
    callbacks = [*cli.trainer.callbacks]
    metrics = {k: as_list(v) for k, v in getattr(cli.model, "scores", dict)().items()}
    arrays = {}
    for callback in callbacks:
        results = getattr(callback, "results", {})
        metrics |= {name: as_list(values) for name, values in results.items()}
        arrays |= {k: v.detach().cpu().numpy() for k, v in getattr(callback, "arrays", {}).items()}
    for part in run.parts:
        rows = [row for row, (of, _) in enumerate(members) if of is part]
        store.write(
            part.identity,
            part.seeds,
            {name: [values[row] for row in rows] for name, values in metrics.items()},
            {name: values[rows] for name, values in arrays.items()},
            seconds * len(rows) / len(members),
            versions(),
        )
    log.unlink()  # kept only of runs that fail


@contextlib.contextmanager
def _output_to(file: TextIO) -> Iterator[None]:
    """Send what is printed and logged to a file; Lightning speaks through its logger."""
    logger = logging.getLogger("lightning.pytorch")
    handlers, propagates = logger.handlers[:], logger.propagate
    logger.handlers, logger.propagate = [logging.StreamHandler(file)], False
    try:
        with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
            yield
    finally:
        logger.handlers, logger.propagate = handlers, propagates


def _log(store: Store, run: GroupedRun) -> Path:
    return store.folder / "logs" / f"{_name(run)}.log"


def _name(run: GroupedRun) -> str:
    place = Store(Path()).place(run.parts[0].identity).name
    return place if len(run.parts) == 1 else f"{place}+{len(run.parts) - 1}"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 90 else f"{minutes // 60} h {minutes % 60} min"


# ---- listing -----------------------------------------------------------------------------------


def _overview(name: str, store: Store) -> str:
    """Every study with its title, how much of it is finished, and what it costs."""
    paths = find_studies(name, STUDIES) if name else sorted(STUDIES.rglob("*.yaml"))
    lines = [f"{'study':<30}{'networks done':>20}{'minutes':>9}{'left':>7}  what it shows"]
    for path in paths:
        studies = load_studies(path, STUDIES)
        done = wanted = 0
        for study in studies:
            for identity in _identities(study).values():
                done += len(set(store.seeds_done(identity)) & set(study.seeds))
                wanted += len(study.seeds)
        minutes = sum(study.minutes or 0 for study in studies)
        left = minutes * (1 - done / wanted)
        shown = str(path.relative_to(STUDIES).with_suffix(""))
        title = studies[0].title if len(studies) == 1 else ", ".join(s.title for s in studies)
        lines.append(
            f"{shown:<30}{f'{done:,} of {wanted:,}':>20}{minutes:>9.0f}{left:>7.0f}  {title}"
        )
    lines.append("Minutes on two CPU cores with --jobs 2; runs that studies share count in each.")
    return "\n".join(lines)
