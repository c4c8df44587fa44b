"""Group grid points that one run can train together, and make the config of that run."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from glassbox.reproduction.identity import identity_hash, identity_of, is_probe, measuring
from glassbox.reproduction.run_store import point_name, seed_ranges

# Settings in which members of one run may differ (the exponent only as a number: null is √width).
_FRACTION = ("data", "init_args", "train_fraction")
_SAMPLING = ("data", "init_args", "sampling")
_EXPONENT = ("model", "init_args", "head", "init_args", "exponent")
_LEAVES = (_FRACTION, _SAMPLING, _EXPONENT)

# Classes known to train members that differ. Other classes are trained point by point, as are runs
# that end by something other than max_epochs: members take different numbers of steps per epoch.
_MODEL, _DATA = "lightning_modules.Classifier", "datamodules.AlgorithmicData"
_HEAD = "lightning_modules.HarmonicHead"
_OTHER_ENDS = ("max_steps", "min_steps", "min_epochs", "max_time")
MAX_MEMBERS = 200
_NEVER = 10**9  # epochs; probes measure at the end of a run in any case
_STEPS_PER_EPOCH = 100  # assumed for the work of runs that end by max_steps


@dataclass(frozen=True)
class PointSeeds:
    """The seeds to train at one grid point."""

    identity: dict[str, Any]
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class GroupedRun:
    """Points that are trained as one run."""

    config: dict[str, Any]  # resolved config of the first point
    points: tuple[PointSeeds, ...]  # the points

    @property
    def name(self) -> str:
        """Folder of the first point, number of further points, and seeds of the first."""
        folder = point_name(self.points[0].identity)
        more = f"+{len(self.points) - 1}" if len(self.points) > 1 else ""
        return f"{folder}{more}_seeds_{seed_ranges(self.points[0].seeds)}"

    @property
    def members(self) -> int:
        """Number of networks that it trains."""
        return sum(len(point.seeds) for point in self.points)

    @property
    def work(self) -> float:
        """Epochs of all members together, a measure of its duration; above 0."""
        trainer, data = self.config["trainer"], self.config["data"].get("init_args") or {}
        limits = []
        if (epochs := trainer.get("max_epochs") or -1) > 0:
            limits.append(float(epochs))
        if (steps := trainer.get("max_steps") or -1) > 0:
            limits.append(steps / (data.get("steps_per_epoch") or _STEPS_PER_EPOCH))
        return self.members * min(limits, default=1.0)

    def without(self, done: Mapping[str, Iterable[int]]) -> GroupedRun:
        """The run without finished seeds."""
        left = (
            PointSeeds(
                p.identity, tuple(s for s in p.seeds if s not in done[identity_hash(p.identity)])
            )
            for p in self.points
        )
        return GroupedRun(self.config, tuple(point for point in left if point.seeds))


def _leaves_that_may_differ(config: Mapping[str, Any]) -> list[Sequence[str]]:
    """Settings in which members of one run may differ; empty for classes not known to allow it."""
    trainer = config["trainer"]
    if (
        config["model"].get("class_path") != _MODEL
        or config["data"].get("class_path") != _DATA
        or any(trainer.get(key) not in (None, -1) for key in _OTHER_ENDS)
        or not all(map(is_probe, trainer.get("callbacks") or []))
    ):
        return []
    head = _leaf(config, _EXPONENT[:3])
    is_harmonic = isinstance(head, Mapping) and head.get("class_path") == _HEAD
    return [leaf for leaf in _LEAVES if leaf != _EXPONENT or is_harmonic]


def trains_many_seeds(config: Mapping[str, Any]) -> bool:
    """Whether one run trains several seeds: its model has the option ``seeds``."""
    return "seeds" in (config["model"].get("init_args") or {})


def group(points: Iterable[tuple[dict[str, Any], Sequence[int]]]) -> list[GroupedRun]:
    """Group points whose networks have the same shape into runs."""
    configs: dict[str, dict[str, Any]] = {}
    wanted: dict[str, dict[int, None]] = {}  # seeds in their order
    for config, seeds in points:
        name = identity_hash(identity_of(config))
        configs.setdefault(name, config)
        wanted.setdefault(name, {}).update(dict.fromkeys(seeds))
    runs: dict[str, list[GroupedRun]] = {}
    for name, config in configs.items():
        identity, seeds = identity_of(config), tuple(wanted[name])
        if not trains_many_seeds(config):
            runs[name] = [GroupedRun(config, (PointSeeds(identity, (seed,)),)) for seed in seeds]
            continue
        shape = copy.deepcopy(identity)
        for leaf in _leaves_that_may_differ(config):
            if isinstance(_leaf(shape, leaf), int | float | str):
                _set_leaf(shape, leaf, "of each member")
        bins = runs.setdefault(identity_hash(shape), [])
        for start in range(0, len(seeds), MAX_MEMBERS):
            point = PointSeeds(identity, seeds[start : start + MAX_MEMBERS])
            if bins and bins[-1].members + len(point.seeds) <= MAX_MEMBERS:
                bins[-1] = GroupedRun(bins[-1].config, (*bins[-1].points, point))
            else:
                bins.append(GroupedRun(config, (point,)))
    return [run for bins in runs.values() for run in bins]


def config_of_run(run: GroupedRun) -> tuple[dict[str, Any], list[tuple[PointSeeds, int]]]:
    """Config that trains a run, and its members in order, as (point, seed).

    Nothing is logged or drawn during the run; the results are taken from its callbacks. Members of
    equal train fraction are neighbors, so that they step together.
    """
    config = copy.deepcopy(run.config)
    config["trainer"].update(
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        # A launcher would start the whole study again for each device.
        devices=1,
        num_nodes=1,
        strategy="auto",
    )
    config["summary"] = {"table": False}
    config["trainer"]["callbacks"] = measuring(config["trainer"].get("callbacks"))
    for callback in filter(is_probe, config["trainer"].get("callbacks") or []):
        options = callback.get("init_args") or {}
        for key, value in (("every_n_epochs", _NEVER), ("figures_every_n_epochs", None)):
            if key in options:
                options[key] = value
    config.pop("config", None)
    if not trains_many_seeds(config):
        (point,) = run.points
        config["seed_everything"] = point.seeds[0]
        return config, [(point, point.seeds[0])]
    points = sorted(run.points, key=lambda p: [str(_leaf(p.identity, leaf)) for leaf in _LEAVES])
    members = [(point, seed) for point in points for seed in point.seeds]
    config["model"]["init_args"]["seeds"] = [seed for _, seed in members]
    for leaf in _LEAVES:
        values = [_leaf(point.identity, leaf) for point, _ in members]
        if len({json.dumps(value) for value in values}) == 1:
            if values[0] is not None:
                _set_leaf(config, leaf, values[0])
        elif leaf == _EXPONENT:
            config["model"]["init_args"]["head_settings"] = {"exponent": values}
        else:
            _set_leaf(config, leaf, values)
    return config, members


def _leaf(tree: Any, path: Sequence[str]) -> Any:
    for key in path:
        if not isinstance(tree, Mapping) or key not in tree:
            return None
        tree = tree[key]
    return tree


def _set_leaf(tree: Any, path: Sequence[str], value: Any) -> None:
    for key in path[:-1]:
        tree = tree[key]
    tree[path[-1]] = value
