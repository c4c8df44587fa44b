"""Which points of a grid one run can train together, and the config of that run."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glassbox.reproduction.run_store import Store, identity_hash, seed_ranges

# Where the members of one run may differ. The exponent only as a number: null is √width.
_FRACTION = ("data", "init_args", "train_fraction")
_SAMPLING = ("data", "init_args", "sampling")
_EXPONENT = ("model", "init_args", "head", "init_args", "exponent")
_LEAVES = (_FRACTION, _SAMPLING, _EXPONENT)

# What of a trainer's settings decides a run's numbers, with the values that change nothing; the
# other settings say where and how it runs.
_DECISIVE: dict[str, tuple[Any, ...]] = {
    "max_epochs": (None,),
    "max_steps": (None,),
    "min_epochs": (None,),
    "min_steps": (None,),
    "max_time": (None,),
    "precision": (None,),
    "gradient_clip_val": (None,),
    "gradient_clip_algorithm": (None,),
    "accumulate_grad_batches": (None, 1),
    "check_val_every_n_epoch": (None, 1),
    "val_check_interval": (None, 1.0),
    "limit_train_batches": (None, 1.0),
    "limit_val_batches": (None, 1.0),
    "limit_test_batches": (None, 1.0),
    "overfit_batches": (None, 0.0),
    "reload_dataloaders_every_n_epochs": (None, 0),
    "callbacks": (None, []),
}
# Settings that change no final number: of a model, of data (wherever they lie), and of our probes.
_OF_MODEL, _OF_DATA = {"compile", "num_seeds", "seeds"}, {"seeds", "data_dir"}
_STRIDES = {"every_n_epochs", "figures_every_n_epochs"}
# Of other callbacks what they print; and callbacks that measure nothing and only draw.
_PRINTED, _DRAWING = {"verbose", "log_rank_zero_only"}, {"callbacks.NeuronAllocation"}
# What is known to train members that differ. A class of one's own is trained point by point, as is
# a run that something else than max_epochs ends: members take different numbers of steps an epoch.
_MODEL, _DATA = "lightning_modules.Classifier", "datamodules.AlgorithmicData"
_HEAD = "lightning_modules.HarmonicHead"
_OTHER_ENDS = ("max_steps", "min_steps", "min_epochs", "max_time")
_MOST_MEMBERS = 200
_NEVER = 10**9  # epochs; probes measure at the end whatever their stride


@dataclass(frozen=True)
class Part:
    """One point of a run: what it is, and the seeds to train."""

    identity: dict[str, Any]
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class GroupedRun:
    """Points that are trained as one run.

    Attributes:
        config: Resolved config of the first of them.
        parts: The points.
    """

    config: dict[str, Any]
    parts: tuple[Part, ...]

    @property
    def name(self) -> str:
        """The first point's folder, how many more points there are, and the first one's seeds."""
        place = Store(Path()).place(self.parts[0].identity).name
        more = f"+{len(self.parts) - 1}" if len(self.parts) > 1 else ""
        return f"{place}{more}_seeds_{seed_ranges(self.parts[0].seeds)}"

    @property
    def members(self) -> int:
        """Networks that it trains."""
        return sum(len(part.seeds) for part in self.parts)

    @property
    def work(self) -> float:
        """Epochs of all its members, as a measure of how long it takes."""
        return self.members * float(self.config["trainer"].get("max_epochs") or 1)

    def without(self, done: Mapping[str, Iterable[int]]) -> GroupedRun:
        """The run without the seeds that are done, by the hash of their point."""
        left = (
            Part(p.identity, tuple(s for s in p.seeds if s not in done[identity_hash(p.identity)]))
            for p in self.parts
        )
        return GroupedRun(self.config, tuple(part for part in left if part.seeds))


def identity_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a resolved config decides the numbers of one seed; the seeds are told apart.

    Raises:
        ValueError: The config asks for a trial run, or to go on from a checkpoint.
    """
    for key, value in (
        ("trainer.fast_dev_run", config["trainer"].get("fast_dev_run")),
        ("ckpt_path", config.get("ckpt_path")),
    ):
        if value:
            raise ValueError(f"a study cannot have {key} ({value}): its runs are whole ones")
    trainer = {
        key: config["trainer"][key]
        for key, without_effect in _DECISIVE.items()
        if config["trainer"].get(key) not in without_effect
    }
    if "callbacks" in trainer:
        trainer["callbacks"] = [
            _without(entry, _STRIDES if _is_ours(entry) else _PRINTED)
            for entry in _measuring(trainer["callbacks"])
        ]
    return {
        "model": _without(config["model"], _OF_MODEL),
        "data": _without(config["data"], _OF_DATA),
        "trainer": trainer,
    }


def _measuring(callbacks: Iterable[Mapping[str, Any]] | None) -> list[Any]:
    """The callbacks without those that only draw."""
    return [entry for entry in callbacks or [] if entry.get("class_path") not in _DRAWING]


def _is_ours(callback: Mapping[str, Any]) -> bool:
    return str(callback.get("class_path", "")).startswith("callbacks.")


def _leaves_that_may_differ(config: Mapping[str, Any]) -> list[Sequence[str]]:
    """Settings in which the members of one run may differ; none where that is not known to work."""
    trainer = config["trainer"]
    if (
        config["model"].get("class_path") != _MODEL
        or config["data"].get("class_path") != _DATA
        or any(trainer.get(key) not in (None, -1) for key in _OTHER_ENDS)
        or not all(map(_is_ours, trainer.get("callbacks") or []))
    ):
        return []
    head = _leaf(config, _EXPONENT[:3])
    ours = isinstance(head, Mapping) and head.get("class_path") == _HEAD
    return [leaf for leaf in _LEAVES if leaf != _EXPONENT or ours]


def trains_many_seeds(config: Mapping[str, Any]) -> bool:
    """Whether one run trains several seeds: its model has ``seeds``."""
    return "seeds" in (config["model"].get("init_args") or {})


def group(points: Iterable[tuple[dict[str, Any], Sequence[int]]]) -> list[GroupedRun]:
    """Put points whose networks have one shape into runs.

    Args:
        points: Resolved config and seeds of each; points that are the same are trained once,
            with the seeds of all.

    Returns:
        Runs of at most some 200 members, in the order in which the first of their points came. Of
        a model that trains one seed at a time, one run a seed.
    """
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
            runs[name] = [GroupedRun(config, (Part(identity, (seed,)),)) for seed in seeds]
            continue
        shape = copy.deepcopy(identity)
        for leaf in _leaves_that_may_differ(config):
            if isinstance(_leaf(shape, leaf), int | float | str):
                _set_leaf(shape, leaf, "of each member")
        bins = runs.setdefault(identity_hash(shape), [])
        for start in range(0, len(seeds), _MOST_MEMBERS):
            part = Part(identity, seeds[start : start + _MOST_MEMBERS])
            if bins and bins[-1].members + len(part.seeds) <= _MOST_MEMBERS:
                bins[-1] = GroupedRun(bins[-1].config, (*bins[-1].parts, part))
            else:
                bins.append(GroupedRun(config, (part,)))
    return [run for bins in runs.values() for run in bins]


def config_of_run(run: GroupedRun) -> tuple[dict[str, Any], list[tuple[Part, int]]]:
    """The config that trains a run, and its members in their order: (point, seed) each.

    Nothing is logged or drawn on the way: results come back from the run itself. Members with one
    train fraction are neighbors, so that they step together.
    """
    config = copy.deepcopy(run.config)
    config["trainer"].update(
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        # A launcher would start the whole study once more for each device.
        devices=1,
        num_nodes=1,
        strategy="auto",
    )
    config["summary"] = {"table": False}
    config["trainer"]["callbacks"] = _measuring(config["trainer"].get("callbacks"))
    for callback in filter(_is_ours, config["trainer"].get("callbacks") or []):
        options = callback.get("init_args") or {}
        options.update({key: _NEVER for key in ("every_n_epochs",) if key in options})
        options.update({key: None for key in ("figures_every_n_epochs",) if key in options})
    config.pop("config", None)
    if not trains_many_seeds(config):
        (part,) = run.parts
        config["seed_everything"] = part.seeds[0]
        return config, [(part, part.seeds[0])]
    parts = sorted(
        run.parts, key=lambda part: [str(_leaf(part.identity, leaf)) for leaf in _LEAVES]
    )
    members = [(part, seed) for part in parts for seed in part.seeds]
    config["model"]["init_args"]["seeds"] = [seed for _, seed in members]
    for leaf in _LEAVES:
        values = [_leaf(part.identity, leaf) for part, _ in members]
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


def _without(entry: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    """A class and its options without these options."""
    options = {k: v for k, v in (entry.get("init_args") or {}).items() if k not in names}
    return {**entry, "init_args": options} if "init_args" in entry else dict(entry)
