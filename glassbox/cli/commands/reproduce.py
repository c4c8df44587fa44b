"""`lightning reproduce`: run the grid behind a paper's figure, and write its report."""

from __future__ import annotations

import dataclasses
import functools
import json
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from callbacks.run.summary import as_list
from glassbox.cli.argv import parse
from glassbox.cli.error_messages import user_message
from glassbox.cli.lightning_cli import build_parser, run
from glassbox.reproduction.build_report import build_report
from glassbox.reproduction.earlier_reports import read_reported
from glassbox.reproduction.grid_labels import Labels
from glassbox.reproduction.grouping import group
from glassbox.reproduction.identity import identity_of
from glassbox.reproduction.list_studies import print_studies
from glassbox.reproduction.plan import Plan
from glassbox.reproduction.report_manifest import (
    Identities,
    check_report_is_replaceable,
    report_origin,
)
from glassbox.reproduction.run_grid import Runner, TrainedMembers, run_grid
from glassbox.reproduction.run_log import run_log
from glassbox.reproduction.run_store import Store
from glassbox.reproduction.schema import Setting
from glassbox.reproduction.study import (
    Study,
    find_studies,
    load_studies,
    study_name,
    study_title,
)
from glassbox.versions import package_versions
from lightning_modules.ensemble.ensemble import UncompiledWarning

STUDIES = Path(__file__).resolve().parents[3] / "configs" / "reproduce"


def reproduce(
    study: str = "",
    list: bool = False,
    quick: bool = False,
    jobs: int = 1,
    shard: str = "1/1",
    seeds: int | None = None,
    only: dict[str, Any] | None = None,
    report_only: bool = False,
    data_dir: str | None = None,
    reported: str | None = None,
    output: str = "reports",
    runs: str = "runs/reproduce",
) -> None:
    """Run what a study lacks, then write its report: published numbers beside measured ones.

    Args:
        study: Such as harmonic_loss/figure_7; harmonic_loss for all of a paper; or a YAML file.
        list: List studies with cost and progress, then exit.
        quick: A smaller version, with fewer seeds and shorter runs, in a report of its own.
        jobs: Number of runs at a time, each in its own process.
        shard: 'i/n' runs the i-th of n parts, for several machines; copy their runs together.
        seeds: Number of seeds of each point, from the first on.
        only: Only these values of these axes, such as '{model: [harmonic MLP]}'.
        report_only: Run nothing; report what is finished.
        data_dir: Folder of the data, for studies that read some (the key data.data_dir).
        reported: Folder of earlier reports, such as docs/results. Networks in the study's report
            there are not run again; figures of embeddings need the runs.
        output: Folder of the reports.
        runs: Folder of finished runs, which all studies share.

    Raises:
        ValueError: Unknown study or invalid option.
    """
    store = Store(Path(runs))
    store.check_format()
    if list:
        paths = find_studies(study, STUDIES) if study else sorted(STUDIES.rglob("*.yaml"))
        print_studies(paths, STUDIES, store, _identities)
        return
    if not study:
        raise ValueError("name a study, such as harmonic_loss/figure_7; --list shows them all")
    for option, number in (("jobs", jobs), ("seeds", seeds)):
        if number is not None and number < 1:
            raise ValueError(f"{option} is {number}; it must be at least 1")
    first, shards = parse_shard(shard)
    if shards > 1 and report_only:
        raise ValueError(f"shard is {shard}, but report_only runs nothing; leave one out")
    if reported and quick:
        raise ValueError("reported numbers are of whole runs; leave out quick or reported")
    files = [(path, load_studies(path, STUDIES)) for path in find_studies(study, STUDIES)]
    if data_dir is not None and not any(_reads_data(s) for _, studies in files for s in studies):
        raise ValueError(f"{study} reads no data from a folder; leave out data_dir")
    plans = []
    for path, of_file in files:
        studies = [_narrowed(one, quick, seeds, only or {}, data_dir) for one in of_file]
        # A part of a study must not overwrite the report of the whole.
        fewer = seeds is not None and any(seeds < len(one.seeds) for one in of_file)
        is_part = bool(only) or fewer
        plans.append(_plan(path, studies, Path(output), quick, is_part, reported))
    for plan in plans:
        for points in plan.identities.values():
            for identity in points.values():
                store.seeds_done(identity)  # raises on damaged records before hours of runs
    if reported:
        without = [plan.name for plan in plans if not plan.reported]
        if len(without) == len(plans):
            raise ValueError(f"there is no report of {study} in {reported}; check the folder")
        if without:
            print(f"no report in {reported}: {', '.join(without)}")
    for folder in (Path(output), *([] if report_only else [Path(runs)])):
        folder.mkdir(parents=True, exist_ok=True)  # raises now if it is not writable
    failed: dict[str, str] = {}  # runs
    left_out: dict[str, str] = {}  # studies
    if not report_only:
        for plan in plans:
            if folder_name := _missing_data(plan):
                left_out[plan.name] = f"folder {folder_name} does not exist; set --data_dir"
        if len(plans) == len(left_out) == 1:
            raise ValueError(left_out[plans[0].name])
        grid, labels, num_reused = _points(plans)
        if num_reused:
            print(f"reusing {num_reused:,} networks from {reported}")
        # Every machine cuts the same shards, of about equal work, whatever data it has.
        in_shard = sorted(group(grid), key=lambda run: -run.work)[first - 1 :: shards]
        runnable = [run for run in in_shard if _missing_folder(run.config) is None]
        failed = run_grid(runnable, store, jobs, labels, Runner(_train, _explain))
        plans = [plan for plan in plans if plan.name not in left_out]
    options = {"quick": quick, "seeds": seeds, "only": only, "runs": runs, "reported": reported}
    command = typed_command(study, {**options, "data_dir": data_dir and "DATA"})
    if shards > 1:
        merged = command if output == "reports" else f"{command} --output {shlex.quote(output)}"
        print(f"when all {shards} parts are done: {merged} --report_only")
        plans = []
    for plan in plans:
        try:
            report, summary = build_report(
                plan, store, command=command, failed=failed, keep_richer=report_only
            )
        except ValueError as error:  # fewer networks, or a damaged record
            if len(plans) == 1 and not failed:
                raise
            left_out[plan.name] = str(error)
        else:
            print(f"report: {report} ({summary})")
    for outcome, reasons in (("failed", failed), ("left out", left_out)):
        for name, reason in reasons.items():
            print(f"{outcome}: {name}: {reason}", file=sys.stderr)
    if failed or left_out:
        raise SystemExit(1)


# ---- from a study to runs ----------------------------------------------------------------------


def _plan(
    path: Path,
    studies: Sequence[Study],
    output: Path,
    quick: bool,
    is_part: bool,
    reported: str | None,
) -> Plan:
    """The plan of a file's report; raises if the report may not replace the existing one."""
    name, title = study_name(path, STUDIES), study_title(path)
    folder = output / f"{name}{'_quick' if quick else ''}{'_part' if is_part else ''}"
    identities = {one.name: _identities(one) for one in studies}
    origin = report_origin(folder, path, name, studies, title)
    check_report_is_replaceable(folder, origin, identities)
    known = read_reported(Path(reported), name, studies, identities) if reported else {}
    return Plan(name, title, folder, origin, [*studies], identities, known, is_part)


def _points(
    plans: Sequence[Plan],
) -> tuple[list[tuple[dict[str, Any], list[int]]], dict[str, str], int]:
    """Config and seeds to train of each point, labels by its hash, number of reused networks."""
    points, labels = [], {}
    wanted: set[tuple[str, int]] = set()
    left: set[tuple[str, int]] = set()
    for plan in plans:
        for study in plan.studies:
            for point, name in plan.hashed_points(study):
                seeds = plan.unreported_seeds(study, name)
                points.append((_config_of(study, point), seeds))
                labels[name] = _text(point)
                wanted.update((name, seed) for seed in study.seeds)
                left.update((name, seed) for seed in seeds)
    return points, labels, len(wanted - left)


def _narrowed(
    study: Study, quick: bool, seeds: int | None, only: dict[str, Any], data_dir: str | None
) -> Study:
    if data_dir is not None and _reads_data(study):
        # The identity of a point does not include where its data are.
        everywhere = Setting({}, {"data.data_dir": data_dir})
        study = dataclasses.replace(study, settings=[*study.settings, everywhere])
    narrowed = study.restricted(only)
    narrowed = narrowed.quickened() if quick else narrowed
    if seeds is not None and seeds > len(narrowed.seeds):
        which = f"{study.name}{' (quick)' if quick else ''}"
        raise ValueError(f"seeds is {seeds}, but {which} has {len(narrowed.seeds)}; use fewer")
    return dataclasses.replace(narrowed, seeds=narrowed.seeds[:seeds])


def _reads_data(study: Study) -> bool:
    """Whether a study reads data from a folder."""
    return "data_dir" in _resolved(str(study.config), ())["data"]["init_args"]


def _missing_data(plan: Plan) -> str | None:
    """A data folder that a run of the plan would read but that does not exist."""
    for study in plan.studies:
        for point, name in plan.hashed_points(study):
            folder = _missing_folder(_config_of(study, point))
            if folder is not None and plan.unreported_seeds(study, name):
                return folder
    return None


def _missing_folder(config: dict[str, Any]) -> str | None:
    """The data folder of a config, if it does not exist."""
    folder = config["data"]["init_args"].get("data_dir")
    exists = not isinstance(folder, str) or Path(folder).expanduser().is_dir()
    return None if exists else folder


@functools.cache
def _parser() -> Any:
    """The parser of `lightning fit`, which takes a while to build."""
    return build_parser()


@functools.cache
def _resolved(config: str, flags: tuple[str, ...]) -> dict[str, Any]:
    """All settings of a run with defaults, as `lightning fit` resolves them."""
    words = ["fit", "--config", config, *flags]
    return parse(_parser().parse_args, words).fit.as_dict()


def _config_of(study: Study, point: Labels) -> dict[str, Any]:
    """The resolved config of a point."""
    try:
        return _resolved(str(study.config), typed_keys(study.keys_of(point)))
    except Exception as error:
        message = user_message(error, ["fit", "--config", str(study.config)])
        if message is None:
            raise
        raise ValueError(f"{study.name}, at {_text(point)}: {message}") from None


def _text(point: Labels) -> str:
    return ", ".join(point.values())


def _identities(study: Study) -> Identities:
    return {
        json.dumps([*point.values()]): identity_of(_config_of(study, point))
        for point in study.points()
    }


def typed_command(study: str, options: Mapping[str, Any]) -> str:
    """The command as one would type it in a shell."""
    words = ["lightning", "reproduce", study]
    for name, value in options.items():
        if value is True:
            words.append(f"--{name}")
        elif value and value != "runs/reproduce":
            words += [f"--{name}", json.dumps(value) if isinstance(value, dict) else str(value)]
    return shlex.join(words)


def typed_keys(keys: Mapping[str, Any]) -> tuple[str, ...]:
    """Config keys as command-line options."""
    typed = {k: v if isinstance(v, str) else json.dumps(v) for k, v in keys.items()}
    return tuple(word for key, v in typed.items() for word in (f"--{key}", v))


def parse_shard(shard: str) -> tuple[int, int]:
    """The numbers of ``i/n``."""
    words = shard.split("/")
    if len(words) == 2 and all(word.isascii() and word.isdecimal() for word in words):
        first, count = int(words[0]), int(words[1])
        if 1 <= first <= count:
            return first, count
    raise ValueError(f"shard is {shard!r}; it must be i/n with i from 1 to n, such as 2/8")


def _train(config: dict[str, Any], log: Path, name: str) -> TrainedMembers:
    """Train a run in this process like `lightning fit`."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "config.yaml"
        path.write_text(yaml.safe_dump(config))
        with run_log(log, name, shown=UncompiledWarning):
            cli = run(["fit", "--config", str(path)])
    metrics = {k: as_list(v) for k, v in getattr(cli.model, "scores", dict)().items()}
    arrays: dict[str, Any] = {}
    trainer: Any = cli.trainer
    if len(getattr(cli.model, "seeds", [0])) == 1:  # metrics logged with self.log
        metrics |= {k: as_list(v) for k, v in trainer.callback_metrics.items() if k not in metrics}
    for callback in trainer.callbacks:
        results = getattr(callback, "results", {})
        metrics |= {name: as_list(values) for name, values in results.items()}
        arrays |= {k: v.detach().cpu().numpy() for k, v in getattr(callback, "arrays", {}).items()}
    versions = package_versions()
    if data := getattr(cli.datamodule, "fingerprint", None):
        versions["data"] = data
    return TrainedMembers(metrics, arrays, versions)


def _explain(error: Exception) -> str | None:
    return user_message(error, ["fit"])
