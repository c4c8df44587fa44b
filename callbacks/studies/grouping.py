"""Which points of a grid one run can train together, and the config of that run."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from callbacks.studies.store import identity_hash

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
    "callbacks": (None, []),
}
# Settings of a model or a callback that change no final number.
_INDIFFERENT = {"compile", "num_seeds", "seeds", "every_n_epochs", "figures_every_n_epochs"}
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
    """What of a resolved config decides the numbers of one seed; the seeds are told apart."""
    trainer = {
        key: config["trainer"][key]
        for key, without_effect in _DECISIVE.items()
        if config["trainer"].get(key) not in without_effect
    }
    identity = {"model": config["model"], "data": config["data"], "trainer": trainer}
    return _without(identity, _INDIFFERENT)


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
        for leaf in _LEAVES:
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
    train fraction are neighbours, so that they step together.
    """
    config = copy.deepcopy(run.config)
    config["trainer"].update(
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    config["summary"] = {"table": False}
    for callback in config["trainer"].get("callbacks") or []:
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


def _without(tree: Any, names: set[str]) -> Any:
    """A copy of nested dicts and lists without these keys."""
    if isinstance(tree, Mapping):
        return {str(k): _without(v, names) for k, v in tree.items() if k not in names}
    return [_without(item, names) for item in tree] if isinstance(tree, list | tuple) else tree
