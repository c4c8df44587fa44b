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
from glassbox.reproduction.build_report import write_sections
from glassbox.reproduction.earlier_reports import read_reported
from glassbox.reproduction.grouping import group, identity_of
from glassbox.reproduction.list_studies import print_overview
from glassbox.reproduction.plan import Plan
from glassbox.reproduction.report_manifest import Identities, refuse_other_report, report_origin
from glassbox.reproduction.run_grid import Runner, TrainedMembers, run_grid
from glassbox.reproduction.run_log import run_log
from glassbox.reproduction.run_store import Store
from glassbox.reproduction.study import Labels, Study, find_studies, load_studies, study_name
from glassbox.reproduction.study import study_title as title_of
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
        data_dir: Folder of the data, for studies that read some (the key data.data_dir).
        reported: Folder of earlier reports, such as docs/results. Networks whose numbers stand in
            the study's report there are not run again; figures of embeddings need the runs.
        output: Folder of the reports.
        runs: Folder of finished runs, which all studies share.

    Raises:
        ValueError: The study, or one of these options, cannot be.
    """
    store = Store(Path(runs))
    if list:
        print_overview(find_studies(study, STUDIES) if study else None, STUDIES, store, _identities)
        return
    if not study:
        raise ValueError("name a study, such as harmonic_loss/figure_7; --list shows them all")
    for option, number in (("jobs", jobs), ("seeds", seeds)):
        if number is not None and number < 1:
            raise ValueError(f"{option} is {number}; it must be at least 1")
    first, shards = parse_shard(shard)
    if shards > 1 and report_only:
        raise ValueError(
            f"shard is {shard}, which runs a part; leave it out to report what is done"
        )
    if reported and quick:
        raise ValueError("reported numbers are of whole runs; leave out quick or reported")
    loaded = [(path, load_studies(path, STUDIES)) for path in find_studies(study, STUDIES)]
    if data_dir is not None and not any(_reads_data(one) for _, of in loaded for one in of):
        raise ValueError(f"{study} reads no data from a folder; leave out data_dir")
    plans = []
    for path, of_file in loaded:
        studies = [_narrowed(one, quick, seeds, only or {}, data_dir) for one in of_file]
        name = study_name(path, STUDIES)
        # A part of a study is no reason to overwrite the report of the whole.
        fewer = seeds is not None and any(seeds < len(one.seeds) for one in of_file)
        part = "_part" if only or fewer else ""
        folder = Path(output) / f"{name}{'_quick' if quick else ''}{part}"
        identities = {s.name: _identities(s) for s in studies}
        title = title_of(path)
        origin = report_origin(folder, path, name, studies, title)
        refuse_other_report(folder, origin, identities)
        for identity in (i for of_study in identities.values() for i in of_study.values()):
            store.seeds_done(identity)  # or refuse what lies there, before hours of runs
        known = read_reported(Path(reported), name, studies, identities) if reported else {}
        plans.append(
            Plan(name, title, folder, origin, studies, identities, known, is_part=bool(part))
        )
    if reported:
        without = [plan.name for plan in plans if not plan.reported]
        if len(without) == len(plans):
            raise ValueError(f"there is no report of {study} in {reported}")
        if without:
            print(f"no report in {reported}: {', '.join(without)}")
    for folder in (Path(output), *([] if report_only else [Path(runs)])):
        folder.mkdir(parents=True, exist_ok=True)  # or find out now that it cannot be written
    failed: dict[str, str] = {}  # runs
    left_out: dict[str, str] = {}  # studies
    if not report_only:
        for plan in plans[:]:
            if lacking := _lacking_folder(plan):
                sentence = f"there is no folder {lacking}; name the data's with --data_dir"
                if len(plans) == 1:
                    raise ValueError(sentence)
                left_out[plan.name] = sentence  # the others do without
                plans.remove(plan)
        points, labels, num_reported = _points_of(plans)
        if num_reported:
            print(f"networks that {reported} reports, and that are not run again: {num_reported:,}")
        runs_of_all = group(points)
        by_work = sorted(runs_of_all, key=lambda run: -run.work)  # shards of equal weight
        failed = run_grid(
            by_work[first - 1 :: shards], store, jobs, labels, Runner(_train, _explain)
        )
    told = {"quick": quick, "seeds": seeds, "only": only, "runs": runs, "reported": reported}
    command = typed_command(study, {**told, "data_dir": data_dir and "DATA"})
    if shards > 1:
        merged = command if output == "reports" else f"{command} --output {shlex.quote(output)}"
        print(f"when all {shards} parts are done: {merged} --report_only")
    for plan in plans if shards == 1 else []:
        try:
            report, words = write_sections(
                plan, store, command=command, failed=failed, keep_richer=report_only
            )
        except ValueError as error:  # of fewer networks, or of a damaged record
            if len(plans) == 1 and not failed:
                raise
            left_out[plan.name] = str(error)
        else:
            print(f"report: {report} ({words})")
    for what, sentences in (("failed", failed), ("left out", left_out)):
        for name, sentence in sentences.items():
            print(f"{what}: {name}: {sentence}", file=sys.stderr)
    if failed or left_out:
        raise SystemExit(1)


# ---- from a study to runs ----------------------------------------------------------------------


def _points_of(
    plans: Sequence[Plan],
) -> tuple[list[tuple[dict[str, Any], list[int]]], dict[str, str], int]:
    """Config and seeds of every point, but seeds that are reported; labels by its hash.

    The third is how many networks no plan needs the runs of.
    """
    points, labels = [], {}
    everyone: set[tuple[str, int]] = set()
    left: set[tuple[str, int]] = set()
    for plan in plans:
        for one in plan.studies:
            for point, name in plan.named_points(one):
                seeds = plan.seeds_left(one, name)
                points.append((_config_of(one, point), seeds))
                labels[name] = _text(point)
                everyone.update((name, seed) for seed in one.seeds)
                left.update((name, seed) for seed in seeds)
    return points, labels, len(everyone - left)


def _narrowed(
    study: Study, quick: bool, seeds: int | None, only: dict[str, Any], data_dir: str | None
) -> Study:
    if data_dir is not None and _reads_data(study):
        # Where data lie is no part of what a run is known by.
        everywhere = {"when": {}, "set": {"data.data_dir": data_dir}}
        study = dataclasses.replace(study, settings=[*study.settings, everywhere])
    narrowed = study.restricted(only)
    narrowed = narrowed.quickened() if quick else narrowed
    if seeds is not None and seeds > len(narrowed.seeds):
        which = f"{study.name}{' (quick)' if quick else ''}"
        raise ValueError(
            f"seeds is {seeds}, of which the first are taken; {which} has {len(narrowed.seeds)}"
        )
    return dataclasses.replace(narrowed, seeds=narrowed.seeds[:seeds])


def _reads_data(study: Study) -> bool:
    """Whether the data of a study lie in a folder."""
    return "data_dir" in _resolved(str(study.config), ())["data"]["init_args"]


def _lacking_folder(plan: Plan) -> str | None:
    """A folder of data that a run of the plan would read, and that is not there."""
    for one in plan.studies:
        for point, name in plan.named_points(one):
            folder = _config_of(one, point)["data"]["init_args"].get("data_dir")
            lacking = isinstance(folder, str) and not Path(folder).expanduser().is_dir()
            if lacking and plan.seeds_left(one, name):
                return folder
    return None


@functools.cache
def _parser() -> Any:
    """The command line's parser, which takes a while to build."""
    return build_parser()


@functools.cache
def _resolved(config: str, flags: tuple[str, ...]) -> dict[str, Any]:
    """Every setting of a run, defaults included, as the command line would resolve it."""
    words = ["fit", "--config", config, *flags]
    return parse(_parser().parse_args, words).fit.as_dict()


def _config_of(study: Study, point: Labels) -> dict[str, Any]:
    """The resolved config of a point.

    Raises:
        ValueError: A key that the study sets is none, or its value cannot be.
    """
    try:
        return _resolved(str(study.config), typed_keys(study.keys_of(point)))
    except Exception as error:
        sentence = user_message(error, ["fit", "--config", str(study.config)])
        if sentence is None:
            raise
        raise ValueError(f"{study.name}, at {_text(point)}: {sentence}") from None


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
    """Config keys as one would type them."""
    typed = {k: v if isinstance(v, str) else json.dumps(v) for k, v in keys.items()}
    return tuple(word for key, v in typed.items() for word in (f"--{key}", v))


def parse_shard(shard: str) -> tuple[int, int]:
    """The first and the second number of ``i/n``.

    Raises:
        ValueError: It is no part of so many.
    """
    words = shard.split("/")
    if len(words) == 2 and all(word.isascii() and word.isdecimal() for word in words):
        first, count = int(words[0]), int(words[1])
        if 1 <= first <= count:
            return first, count
    raise ValueError(f"shard is {shard!r}; it must be i/n with i from 1 to n, such as 2/8")


def _train(config: dict[str, Any], log: Path, name: str) -> TrainedMembers:
    """Train a run in this process, as `lightning fit` does."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "config.yaml"
        path.write_text(yaml.safe_dump(config))
        with run_log(log, name, tell=UncompiledWarning):
            cli = run(["fit", "--config", str(path)])
    metrics = {k: as_list(v) for k, v in getattr(cli.model, "scores", dict)().items()}
    arrays: dict[str, Any] = {}
    trainer: Any = cli.trainer
    if len(getattr(cli.model, "seeds", [0])) == 1:  # of a model that logs as Lightning's do
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
