"""A study of `lightning reproduce`: a grid of settings, its seeds, and what was published."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

PROTOCOLS = ("authors", "careful")
STATISTICS = ("median", "count_above", "count_reached")
_OWN_RUNS = ("config", "grid", "protocols", "settings", "seeds", "quick")
_KEYS = {*_OWN_RUNS, "title", "source", "runs_of", "only", "studies", "minutes"} | {
    "tables",
    "claims",
    "arrays",
    "figures",
}

Labels = dict[str, str]  # axis -> value, the protocol among them


@dataclass(frozen=True)
class Study:
    """One figure or table of a paper, as its YAML tells it.

    Attributes:
        name: Such as ``harmonic_loss/figure_7``.
        title: One line.
        source: Where in the paper.
        config: The base configuration.
        seeds: Seeds of every point.
        axes: The grid: axis -> value -> config keys that this value sets.
        protocols: The same of the two protocols.
        settings: Further keys, ``{"when": labels, "set": keys}``.
        tables: What is compared with published numbers.
        claims: Statements of the paper that are judged.
        arrays: Arrays for the figure that no run makes: name -> function and options.
        figures: What is drawn: name, function, options.
        minutes: Measured duration of all runs, two processes on two cores.
        quick: How the quick version differs; applied by ``quickened``.
        is_quick: Whether it has been.
    """

    name: str
    title: str
    source: str
    config: Path
    seeds: list[int]
    axes: dict[str, dict[str, dict[str, Any]]]
    protocols: dict[str, dict[str, Any]]
    settings: list[dict[str, Any]] = field(default_factory=list)
    tables: list[dict[str, Any]] = field(default_factory=list)
    claims: list[dict[str, Any]] = field(default_factory=list)
    arrays: dict[str, dict[str, Any]] = field(default_factory=dict)
    figures: list[dict[str, Any]] = field(default_factory=list)
    minutes: float | None = None
    quick: dict[str, Any] = field(default_factory=dict)
    is_quick: bool = False

    def points(self) -> list[Labels]:
        """Every point of the grid under every protocol, protocols last and fastest."""
        names = [*self.axes, "protocol"]
        values = [list(axis) for axis in self.axes.values()] + [list(self.protocols)]
        return [dict(zip(names, point, strict=True)) for point in itertools.product(*values)]

    def keys_of(self, point: Labels) -> dict[str, Any]:
        """The config keys that a point sets; later ones win over earlier ones."""
        keys: dict[str, Any] = {}
        for axis, values in self.axes.items():
            keys.update(values[point[axis]])
        keys.update(self.protocols[point["protocol"]])
        for setting in self.settings:
            if matches(point, setting["when"]):
                keys.update(setting["set"])
        if self.is_quick:
            keys.update(self.quick.get("set", {}))
        return keys

    def quickened(self) -> Study:
        """The smaller version: fewer seeds, shorter runs, maybe fewer values of an axis."""
        seeds = self.seeds[: self.quick.get("seeds", 2)]
        keep = {
            axis: [
                value for value in _several(self.quick["keep"], axis) if value in self.axes[axis]
            ]
            for axis in self.quick.get("keep", {})
        }
        kept = {axis: values for axis, values in keep.items() if values}  # `only` may leave none
        return replace(self.restricted(kept), seeds=seeds, is_quick=True)

    def restricted(self, only: Mapping[str, Sequence[str]]) -> Study:
        """The study with these values of these axes only; ``protocol`` counts as one.

        Raises:
            ValueError: There is no such axis or value.
        """
        _check_labels(self, only, "only")

        def kept(axis: str, values: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
            names = _several(only, axis) if axis in only else [*values]
            return {name: keys for name, keys in values.items() if name in names}

        axes = {axis: kept(axis, values) for axis, values in self.axes.items()}
        return replace(self, axes=axes, protocols=kept("protocol", self.protocols))


def matches(point: Mapping[str, str], where: Mapping[str, Any]) -> bool:
    """Whether a point has the values that ``where`` names: axis -> value, or several."""
    return all(point.get(axis) in _several(where, axis) for axis in where)


def published_value(published: Any, point: Mapping[str, str], axes: Iterable[str]) -> Any:
    """What a published table, nested by the grid's axes, says of a point.

    Raises:
        KeyError: It lacks the point.
    """
    for axis in axes:
        published = published[point[axis]]
    return published


def find_studies(name: str, folder: Path) -> list[Path]:
    """The files that a name means: one study, or all below a folder of them.

    Args:
        name: ``harmonic_loss/figure_7``, ``harmonic_loss``, or a path to a YAML of one's own.
        folder: Where the studies are.

    Raises:
        ValueError: There is none of that name.
    """
    own = Path(name)
    if own.suffix in (".yaml", ".yml") and own.is_file():
        return [own]
    exact = folder / f"{name}.yaml"
    if exact.is_file():
        return [exact]
    if (folder / name).is_dir() and name:
        return sorted((folder / name).glob("*.yaml"))
    known = sorted(str(f.relative_to(folder).with_suffix("")) for f in folder.rglob("*.yaml"))
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    suggestion = f"; did you mean {near[0]}?" if near else ""
    raise ValueError(f"there is no study {name!r}{suggestion} (there are {', '.join(known)})")


def load_studies(path: Path, folder: Path) -> list[Study]:
    """The study of a file, or those that a collection (``studies: [...]``) names.

    Raises:
        ValueError: Something in the file cannot be; one sentence that names it.
    """
    content = _read(path)
    if "studies" in content:
        siblings = [path.parent / f"{name}.yaml" for name in content["studies"]]
        return [study for sibling in siblings for study in load_studies(sibling, folder)]
    inside = path.is_relative_to(folder)
    name = str(path.relative_to(folder).with_suffix("")) if inside else path.stem
    runs, origin = content, path
    if "runs_of" in content:
        if both := sorted(set(_OWN_RUNS) & set(content)):
            raise ValueError(
                f"{path}: runs_of takes another study's runs; remove {', '.join(both)}"
            )
        origin = path.parent / f"{content['runs_of']}.yaml"
        runs = _read(origin)
    for key in ("config", "grid", "seeds"):
        if key not in runs:
            raise ValueError(f"{origin}: the key {key!r} is missing")
    seeds = runs["seeds"]
    study = Study(
        name=name,
        title=content.get("title", name),
        source=content.get("source", ""),
        config=(origin.parent / runs["config"]).resolve(),
        seeds=list(range(seeds)) if isinstance(seeds, int) else list(seeds),
        axes={
            str(axis): {str(value): dict(keys or {}) for value, keys in values.items()}
            for axis, values in runs["grid"].items()
        },
        protocols={str(k): dict(v or {}) for k, v in runs.get("protocols", _BOTH).items()},
        settings=runs.get("settings", []),
        tables=content.get("tables", []),
        claims=content.get("claims", []),
        arrays={str(name): entry for name, entry in content.get("arrays", {}).items()},
        figures=content.get("figures", []),
        minutes=content.get("minutes", runs.get("minutes")),
        quick=runs.get("quick", {}),
    )
    _check(study, path)
    return [study.restricted(content["only"])] if "only" in content else [study]


_BOTH: dict[str, dict[str, Any]] = {protocol: {} for protocol in PROTOCOLS}


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"there is no study file {path}")
    try:
        content = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold keys such as config, grid and seeds")
    for key in content:
        if key not in _KEYS:
            near = difflib.get_close_matches(str(key), _KEYS, n=1)
            suggestion = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{path}: a study has no key {key!r}{suggestion}")
    return content


def _check(study: Study, path: Path) -> None:
    """Refuse what would only be found after hours of runs."""
    if set(study.protocols) != set(PROTOCOLS):
        raise ValueError(
            f"{path}: protocols are {', '.join(study.protocols)}; they must be authors and careful"
        )
    if not study.config.is_file():
        raise ValueError(f"{path}: there is no base config {study.config}")
    if not study.seeds or len(set(study.seeds)) < len(study.seeds):
        raise ValueError(f"{path}: seeds are {study.seeds}; give at least one, each only once")
    for setting in study.settings:
        _check_labels(study, setting["when"], f"{path}: settings")
    _check_labels(study, study.quick.get("keep", {}), f"{path}: quick.keep")
    for table in study.tables:
        _check_table(study, table, path)
    for claim in study.claims:
        for key in ("where", "greater", "less", "than"):
            if isinstance(claim.get(key), dict):
                _check_labels(study, claim[key], f"{path}: the claim {claim.get('says')!r}")


def _check_table(study: Study, table: dict[str, Any], path: Path) -> None:
    here = f"{path}: the table {table.get('name')!r}"
    for key in ("name", "metric", "verdict", "published"):
        if key not in table:
            raise ValueError(f"{here} lacks the key {key!r}")
    statistic = table.get("statistic", "median")
    if statistic not in STATISTICS:
        raise ValueError(f"{here}: statistic is {statistic!r}; choose {', '.join(STATISTICS)}")
    rule = table["verdict"]
    kinds = [kind for kind in ("absolute", "ratio") if kind in rule]
    if len(kinds) != 1 or not 0 < rule[kinds[0]][0] <= rule[kinds[0]][1]:
        raise ValueError(
            f"{here}: verdict is {rule}; give absolute or ratio, two rising numbers, such as "
            f"{{ratio: [1.5, 3]}}"
        )
    where = table.get("where", {})
    _check_labels(study, where, here)
    for point in study.points():
        if not matches(point, where):
            continue
        try:
            published_value(table["published"], point, study.axes)
        except (KeyError, TypeError):
            words = ", ".join(value for axis, value in point.items() if axis != "protocol")
            raise ValueError(
                f"{here} lacks the grid point {words} under published; write null where the paper "
                f"gives no number"
            ) from None


def _check_labels(study: Study, labels: Mapping[str, Any], here: str) -> None:
    axes = {**study.axes, "protocol": study.protocols}
    for axis in labels:
        if axis not in axes:
            raise ValueError(f"{here}: there is no axis {axis!r}; axes are {', '.join(axes)}")
        for value in _several(labels, axis):
            if value not in axes[axis]:
                raise ValueError(
                    f"{here}: the axis {axis!r} has no value {value!r}; it has "
                    f"{', '.join(axes[axis])}"
                )


def _several(labels: Mapping[str, Any], axis: str) -> list[str]:
    value = labels[axis]
    return [str(item) for item in value] if isinstance(value, list | tuple) else [str(value)]
