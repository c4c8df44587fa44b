"""A study of `lightning reproduce`: a grid of settings, its seeds, and what was published."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from glassbox.reproduction.grid_labels import (
    PROTOCOLS,
    Labels,
    as_selection,
    check_labels,
    matches,
)
from glassbox.reproduction.schema import (
    ArraySpec,
    Claim,
    FigureSpec,
    Quick,
    Setting,
    StudyFile,
    Table,
    check_config_keys,
    named,
    read_entry,
)
from glassbox.reproduction.validation import check_study

Keys = dict[str, Any]  # config keys and their values


@dataclass(frozen=True)
class Study:
    """One figure or table of a paper."""

    name: str  # such as `harmonic_loss/figure_7`
    title: str  # one line
    source: str  # where in the paper
    config: Path  # the base configuration
    seeds: list[int]  # seeds of every point
    axes: dict[str, dict[str, Keys]]  # the grid: axis -> value -> config keys that this value sets
    # protocol -> config keys: `authors` and `careful`, or `careful` alone
    protocols: dict[str, Keys]
    settings: list[Setting] = field(default_factory=list)  # config keys of some points
    # metrics that are compared with published numbers
    tables: list[Table] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)  # statements of the paper that are judged
    # arrays for the figures that need no runs
    arrays: dict[str, ArraySpec] = field(default_factory=dict)
    figures: list[FigureSpec] = field(default_factory=list)  # figures over all points
    minutes: float | None = None  # measured duration of all runs on two CPU cores
    # how the quick version differs; applied by `quickened`
    quick: Quick = field(default_factory=Quick)
    is_quick: bool = False  # whether this is the quick version
    one_protocol: bool = False  # whether the study defines one protocol only (not by `restricted`)

    def points(self) -> list[Labels]:
        """Every point of the grid under every protocol; the protocol varies fastest."""
        names = [*self.axes, "protocol"]
        values = [list(axis) for axis in self.axes.values()] + [list(self.protocols)]
        return [dict(zip(names, point, strict=True)) for point in itertools.product(*values)]

    @property
    def judged_metrics(self) -> list[str]:
        """Metrics of tables and claims, without duplicates."""
        metrics = [table.metric for table in self.tables]
        metrics += [claim.metric for claim in self.claims]
        metrics += [claim.given_metric for claim in self.claims if claim.given_metric is not None]
        return list(dict.fromkeys(metrics))

    @property
    def metrics(self) -> list[str]:
        """Metrics of tables, claims and figures, without duplicates."""
        drawn = [name for figure in self.figures for name in figure.metrics]
        options = [name for f in self.figures for name in f.options.get("metrics", [])]
        return list(dict.fromkeys([*self.judged_metrics, *drawn, *options]))

    def keys_of(self, point: Labels) -> Keys:
        """Config keys of a point; later ones override earlier ones."""
        keys: Keys = {}
        for axis, values in self.axes.items():
            keys.update(values[point[axis]])
        keys.update(self.protocols[point["protocol"]])
        for setting in self.settings:
            if matches(point, setting.when):
                keys.update(setting.set)
        if self.is_quick:
            keys.update(self.quick.set)
        return keys

    def quickened(self) -> Study:
        """The quick version: fewer seeds, shorter runs, perhaps fewer values of an axis.

        An axis keeps all its values if ``restricted`` removed those that the quick version keeps.
        """
        keep = {
            axis: [value for value in values if value in self.axes[axis]]
            for axis, values in self.quick.keep.items()
        }
        kept = {axis: values for axis, values in keep.items() if values}
        return replace(self.restricted(kept), seeds=self.seeds[: self.quick.seeds], is_quick=True)

    def restricted(self, only: Mapping[str, Any]) -> Study:
        """The study with these values of these axes only; ``protocol`` counts as an axis."""
        chosen = as_selection(only)
        check_labels(chosen, {**self.axes, "protocol": self.protocols}, f"{self.name}: only")
        if empty := [axis for axis, values in chosen.items() if not values]:
            raise ValueError(f"{self.name}: only leaves no value of the axis {empty[0]!r}")

        def kept(axis: str, values: dict[str, Keys]) -> dict[str, Keys]:
            names = chosen.get(axis, [*values])
            return {name: keys for name, keys in values.items() if name in names}

        axes = {axis: kept(axis, values) for axis, values in self.axes.items()}
        return replace(self, axes=axes, protocols=kept("protocol", self.protocols))


def find_studies(name: str, folder: Path) -> list[Path]:
    """Find the files that a name stands for."""
    own = Path(name)
    if own.suffix in (".yaml", ".yml") and own.is_file():
        return [own]
    exact = folder / f"{name}.yaml"
    if exact.is_file():
        return [exact]
    if name and (below := sorted((folder / name).rglob("*.yaml"))):
        return below
    known = sorted(str(f.relative_to(folder).with_suffix("")) for f in folder.rglob("*.yaml"))
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ValueError(f"there is no study {name!r}{hint} (choose from {', '.join(known)})")


def study_name(path: Path, folder: Path) -> str:
    """Name of a study: relative to the folder of studies, else the file's stem."""
    inside = path.resolve().is_relative_to(folder)
    return str(path.resolve().relative_to(folder).with_suffix("")) if inside else path.stem


def study_title(path: Path) -> str | None:
    """Title of a study or a collection."""
    return _read(path).title


def load_studies(path: Path, folder: Path) -> list[Study]:
    """Load the study of a file, or those of a collection (``studies: [...]``)."""
    content = _read(path)
    if content.studies is not None:
        siblings = [path.parent / f"{name}.yaml" for name in content.studies]
        if not siblings or len(set(siblings)) < len(siblings):
            raise ValueError(f"{path}: studies must name at least one study, each once")
        for key in ("config", "grid", "seeds", "runs_of", "tables", "claims", "figures"):
            if getattr(content, key):
                raise ValueError(f"{path}: studies names other studies; remove {key}")
        for sibling in siblings:
            if _read(sibling).studies is not None:
                raise ValueError(f"{path}: {sibling.stem} is a collection; name its studies")
        return [study for sibling in siblings for study in load_studies(sibling, folder)]
    runs, origin = content, path
    if content.runs_of is not None:
        for key in ("config", "grid", "protocols", "settings", "seeds", "quick"):
            if getattr(content, key):
                raise ValueError(f"{path}: runs_of takes another study's runs; remove {key}")
        origin = path.parent / f"{content.runs_of}.yaml"
        runs = _read(origin)
    study = _build(path, study_name(path, folder), content, runs, origin)
    check_study(study, path)
    return [study] if content.only is None else [study.restricted(content.only)]


def _build(path: Path, name: str, content: StudyFile, runs: StudyFile, origin: Path) -> Study:
    """A study from its file's content and the content that defines its runs."""
    for key in ("config", "grid", "seeds"):
        if getattr(runs, key) is None:
            raise ValueError(f"{origin}: the key {key!r} is missing")
    assert runs.config is not None and runs.grid is not None and runs.seeds is not None
    axes = {str(axis): _levels(values, f"{origin}: {axis}") for axis, values in runs.grid.items()}
    protocols = _levels(runs.protocols or dict.fromkeys(PROTOCOLS), f"{origin}: protocols")
    settings = [read_entry(Setting, entry, f"{origin}: settings") for entry in runs.settings]
    quick = read_entry(Quick, runs.quick or {}, f"{origin}: quick")
    for setting in settings:
        check_config_keys(setting.set, f"{origin}: settings")
    check_config_keys(quick.set, f"{origin}: quick")
    tables = [
        read_entry(Table, _with_text_labels(entry), named(path, "table", entry, "name"))
        for entry in content.tables
    ]
    claims = [
        read_entry(Claim, entry, named(path, "claim", entry, "statement"))
        for entry in content.claims
    ]
    figures = [
        read_entry(FigureSpec, entry, named(path, "figure", entry, "name"))
        for entry in content.figures
    ]
    arrays = {
        str(array): read_entry(ArraySpec, entry, f"{path}: arrays: {array}")
        for array, entry in content.arrays.items()
    }
    return Study(
        name=name,
        title=content.title or name,
        source=content.source,
        config=(origin.parent / runs.config).resolve(),
        seeds=list(range(runs.seeds)) if isinstance(runs.seeds, int) else runs.seeds,
        axes=axes,
        protocols=protocols,
        settings=settings,
        tables=tables,
        claims=claims,
        arrays=arrays,
        figures=figures,
        minutes=runs.minutes if content.minutes is None else content.minutes,
        quick=quick,
        one_protocol=len(protocols) == 1,
    )


def _read(path: Path) -> StudyFile:
    if not path.is_file():
        raise ValueError(f"study file {path} does not exist")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    return read_entry(StudyFile, content, str(path))


def _levels(values: object, context: str) -> dict[str, Keys]:
    """Values of an axis, as text, with the config keys that each sets."""
    if not isinstance(values, dict):
        raise ValueError(f"{context} is {values!r}; expected values with config keys")
    if len(set(map(str, values))) < len(values):  # 1 and "1"
        raise ValueError(f"{context}: values are equal as text: {', '.join(map(repr, values))}")
    for value, keys in values.items():
        if not isinstance(keys, dict | None):
            raise ValueError(f"{context}: {value} is {keys!r}; expected keys with values")
        check_config_keys(keys or {}, f"{context}: {value}")
    return {str(value): dict(keys or {}) for value, keys in values.items()}


def _with_text_labels(entry: Any) -> Any:
    """A table's entry whose published labels are text, also if YAML reads 0.1 or yes."""

    def as_text(tree: Any) -> Any:
        if isinstance(tree, dict):
            return {str(key): as_text(value) for key, value in tree.items()}
        return tree

    if isinstance(entry, dict) and "published" in entry:
        return {**entry, "published": as_text(entry["published"])}
    return entry
