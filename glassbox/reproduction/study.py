"""A study of `lightning reproduce`: a grid of settings, its seeds, and what was published."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from glassbox.reproduction.grid_labels import (
    PROTOCOLS,
    Labels,
    check_labels,
    matches,
    published_value,
    several,
)
from glassbox.reproduction.schema import OWN_RUNS, check_content, check_study

__all__ = ["PROTOCOLS", "Study", "find_studies", "load_studies", "matches", "published_value"]


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
        protocols: The same of the two protocols, or of ``careful`` alone where there is only one
            way to do it.
        settings: Further keys, ``{"when": labels, "set": keys}``.
        tables: What is compared with published numbers.
        claims: Statements of the paper that are judged.
        arrays: Arrays for the figure that no run makes: name -> function and options.
        figures: What is drawn: name, function, options, and metrics beside the judged ones.
        minutes: Measured duration of all runs on two CPU cores.
        quick: How the quick version differs; applied by ``quickened``.
        is_quick: Whether it has been.
        one_protocol: Whether the study has one protocol, whatever ``only`` leaves of two.
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
    one_protocol: bool = False

    def points(self) -> list[Labels]:
        """Every point of the grid under every protocol, protocols last and fastest."""
        names = [*self.axes, "protocol"]
        values = [list(axis) for axis in self.axes.values()] + [list(self.protocols)]
        return [dict(zip(names, point, strict=True)) for point in itertools.product(*values)]

    @property
    def judged_metrics(self) -> list[str]:
        """What its tables and claims ask for, each once."""
        asked = [entry["metric"] for entry in [*self.tables, *self.claims]]
        asked += [claim["among"] for claim in self.claims if "among" in claim]
        return list(dict.fromkeys(asked))

    @property
    def metrics(self) -> list[str]:
        """What its tables and claims ask for, and what its figures say that they read."""
        drawn = [name for entry in self.figures for name in entry.get("metrics", [])]
        given = [name for e in self.figures for name in e.get("options", {}).get("metrics", [])]
        return list(dict.fromkeys([*self.judged_metrics, *drawn, *given]))

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
        """The smaller version: fewer seeds, shorter runs, maybe fewer values of an axis.

        Where none of those values is left (``only``), the axis stays as it is.
        """
        seeds = self.seeds[: self.quick.get("seeds", 2)]
        keep = {
            axis: [value for value in several(self.quick["keep"], axis) if value in self.axes[axis]]
            for axis in self.quick.get("keep", {})
        }
        kept = {axis: values for axis, values in keep.items() if values}
        return replace(self.restricted(kept), seeds=seeds, is_quick=True)

    def restricted(self, only: Mapping[str, Sequence[str]]) -> Study:
        """The study with these values of these axes only; ``protocol`` counts as one.

        Raises:
            ValueError: There is no such axis or value.
        """
        check_labels(only, {**self.axes, "protocol": self.protocols}, f"{self.name}: only")
        for axis in only:
            if not several(only, axis):
                raise ValueError(f"{self.name}: only leaves no value of the axis {axis!r}")

        def kept(axis: str, values: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
            names = several(only, axis) if axis in only else [*values]
            return {name: keys for name, keys in values.items() if name in names}

        axes = {axis: kept(axis, values) for axis, values in self.axes.items()}
        return replace(self, axes=axes, protocols=kept("protocol", self.protocols))


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
    if name and (below := sorted((folder / name).rglob("*.yaml"))):
        return below
    known = sorted(str(f.relative_to(folder).with_suffix("")) for f in folder.rglob("*.yaml"))
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    suggestion = f"; did you mean {near[0]}?" if near else ""
    raise ValueError(f"there is no study {name!r}{suggestion} (there are {', '.join(known)})")


def study_name(path: Path, folder: Path) -> str:
    """What a study is called: ``harmonic_loss/figure_7``, or of one's own the file's name."""
    inside = path.resolve().is_relative_to(folder)
    return str(path.resolve().relative_to(folder).with_suffix("")) if inside else path.stem


def study_title(path: Path) -> str | None:
    """The title that a file gives itself; of a collection too."""
    title: str | None = _read(path).get("title")
    return title


def load_studies(path: Path, folder: Path) -> list[Study]:
    """The study of a file, or those that a collection (``studies: [...]``) names.

    Raises:
        ValueError: Something in the file cannot be; one sentence that names it.
    """
    content = _read(path)
    if "studies" in content:
        siblings = [path.parent / f"{name}.yaml" for name in content["studies"]]
        for sibling in siblings:
            if "studies" in _read(sibling):
                raise ValueError(f"{path}: {sibling.stem} names other studies itself; name those")
        return [study for sibling in siblings for study in load_studies(sibling, folder)]
    name = study_name(path, folder)
    runs, origin = content, path
    if "runs_of" in content:
        if both := sorted(set(OWN_RUNS) & set(content)):
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
        tables=[
            {**table, "published": _with_text_keys(table["published"])}
            for table in content.get("tables", [])
        ],
        claims=content.get("claims", []),
        arrays={str(name): entry for name, entry in content.get("arrays", {}).items()},
        figures=content.get("figures", []),
        minutes=content.get("minutes", runs.get("minutes")),
        quick=runs.get("quick", {}),
        one_protocol=len(runs.get("protocols", _BOTH)) == 1,
    )
    check_study(study, path)
    return [study.restricted(content["only"])] if "only" in content else [study]


_BOTH: dict[str, dict[str, Any]] = {protocol: {} for protocol in PROTOCOLS}


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"there is no study file {path}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no YAML: {' '.join(str(error).split())}") from None
    if isinstance(content, dict):  # a key with nothing behind it is as good as none
        content = {key: value for key, value in content.items() if value is not None}
    check_content(content, path)
    return content


def _with_text_keys(tree: Any) -> Any:
    """A published table with its labels as text, whatever YAML takes 0.1 or yes for."""
    if isinstance(tree, dict):
        return {str(key): _with_text_keys(value) for key, value in tree.items()}
    return tree
