"""What of a study's YAML cannot be, found before hours of runs; one sentence each."""

from __future__ import annotations

import difflib
import importlib
import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glassbox.reproduction.grid_labels import (
    PROTOCOLS,
    Labels,
    check_labels,
    matches,
    published_value,
)

if TYPE_CHECKING:
    from glassbox.reproduction.study import Study

STATISTICS = ("median", "count_above", "count_reached", "count_named", "median_reached")
OWN_RUNS = ("config", "grid", "protocols", "settings", "seeds", "quick")

# Kinds of values, as a sentence names them.
_TEXT, _NUMBER, _LIST, _KEYS = "text", "a number", "a list", "keys with values"
_FLAG = "true or false"
_TYPES: dict[str, type | tuple[type, ...]] = {
    _TEXT: str,
    _NUMBER: (int, float),
    _LIST: list,
    _KEYS: dict,
}
_ANY = (_TEXT, _NUMBER, _LIST, _KEYS)
_Kinds = Mapping[str, tuple[str, ...]]

_STUDY: _Kinds = {
    "title": (_TEXT,),
    "source": (_TEXT,),
    "config": (_TEXT,),
    "grid": (_KEYS,),
    "protocols": (_KEYS,),
    "settings": (_LIST,),
    "seeds": (_NUMBER, _LIST),
    "quick": (_KEYS,),
    "runs_of": (_TEXT,),
    "only": (_KEYS,),
    "studies": (_LIST,),
    "minutes": (_NUMBER,),
    "tables": (_LIST,),
    "claims": (_LIST,),
    "arrays": (_KEYS,),
    "figures": (_LIST,),
}
_QUICK: _Kinds = {"seeds": (_NUMBER,), "set": (_KEYS,), "keep": (_KEYS,)}
_SETTING: _Kinds = {"when": (_KEYS,), "set": (_KEYS,)}
_TABLE: _Kinds = {
    "name": (_TEXT,),
    "metric": (_TEXT,),
    "statistic": (_TEXT,),
    "threshold": (_NUMBER,),
    "starts_with": (_TEXT,),
    "unit": (_TEXT,),
    "verdict": (_KEYS,),
    "judged": (_TEXT,),
    "where": (_KEYS,),
    "published": _ANY,
    "published_in": (_TEXT,),
    "published_seeds": (_NUMBER,),
}
_CLAIM: _Kinds = {
    "says": (_TEXT,),
    "metric": (_TEXT,),
    "unit": (_TEXT,),
    "greater": (_KEYS,),
    "less": (_KEYS,),
    "than": (_KEYS, _NUMBER),
    "share": (_NUMBER,),
    "or_equal": (_FLAG,),
    "among": (_TEXT,),
    "for_each": (_TEXT, _LIST),
    "where": (_KEYS,),
}
_FUNCTION: _Kinds = {"function": (_TEXT,), "options": (_KEYS,)}
_FIGURE: _Kinds = {"name": (_TEXT,), "draw": (_TEXT,), "options": (_KEYS,), "metrics": (_LIST,)}

# What a study may not set, since the runner does.
_RUNNERS = ("seed_everything", "ckpt_path", "seeds", "num_seeds", "head_settings")
_NO_SETTINGS = ("help", "config", "print_config")  # options of a command line


def check_content(content: Any, path: Path) -> None:
    """Refuse unknown keys of a study's file, and values that are of another kind.

    Raises:
        ValueError: One sentence that names the file and the key.
    """
    _check_keys(content, _STUDY, f"{path}")
    if "studies" in content:
        if extra := sorted(set(content) - {"studies", "title", "source", "minutes"}):
            raise ValueError(f"{path}: studies names other studies; remove {', '.join(extra)}")
        if (
            len(set(map(str, content["studies"]))) < len(content["studies"])
            or not (content["studies"])
        ):
            raise ValueError(f"{path}: studies must name at least one, and each only once")
    for name in ("grid", "protocols"):
        for axis, values in content.get(name, {}).items():
            levels = {axis: values} if name == "grid" else {"protocols": {axis: values}}
            for level, entries in levels.items():
                _expect(entries, (_KEYS,), f"{path}: {level}")
                if len(set(map(str, entries))) < len(entries):  # 1 and "1"
                    told = ", ".join(map(repr, entries))
                    raise ValueError(f"{path}: {level}: values read the same as text: {told}")
                for value, keys in entries.items():
                    if keys is not None:
                        _expect(keys, (_KEYS,), f"{path}: {level}: {value}")
                        _check_set(keys, f"{path}: {level}: {value}")
    for setting in content.get("settings", []):
        _check_keys(setting, _SETTING, f"{path}: settings", ("when", "set"))
        _check_set(setting["set"], f"{path}: settings")
    quick = content.get("quick", {})
    _check_keys(quick, _QUICK, f"{path}: quick")
    _check_set(quick.get("set", {}), f"{path}: quick")
    _check_seeds(quick.get("seeds", 1), f"{path}: quick", lists=False)
    if "seeds" in content:
        _check_seeds(content["seeds"], f"{path}")
    for table in content.get("tables", []):
        required = ("name", "metric", "verdict", "published")
        _check_keys(table, _TABLE, _named(path, "table", table, "name"), required)
    for claim in content.get("claims", []):
        here = _named(path, "claim", claim, "says")
        _check_keys(claim, _CLAIM, here, ("says", "metric", "than"))
    for name, entry in content.get("arrays", {}).items():
        _check_keys(entry, _FUNCTION, f"{path}: arrays: {name}", ("function",))
    for figure in content.get("figures", []):
        here = _named(path, "figure", figure, "name")
        _check_keys(figure, _FIGURE, here, ("name", "draw"))
        if strange := [m for m in figure.get("metrics", []) if not isinstance(m, str)]:
            raise ValueError(f"{here}: metrics has {strange[0]!r}; give names of metrics")
    if not _finite(content.get("minutes", 0)):
        raise ValueError(f"{path}: minutes is {content['minutes']}; give a number")


def check_study(study: Study, path: Path) -> None:
    """Refuse labels that the grid does not have, and tables, claims and figures that cannot be.

    Raises:
        ValueError: One sentence that names the file and the entry.
    """
    if set(study.protocols) not in ({"careful"}, set(PROTOCOLS)):
        raise ValueError(
            f"{path}: protocols are {', '.join(study.protocols)}; they must be authors and "
            f"careful, or careful alone"
        )
    if "protocol" in study.axes:
        raise ValueError(f"{path}: an axis may not be called protocol; every grid has that one")
    for axis, values in study.axes.items():
        if not values:
            raise ValueError(f"{path}: the axis {axis!r} has no value")
    if not study.config.is_file():
        raise ValueError(f"{path}: there is no base config {study.config}")
    with_protocol = {**study.axes, "protocol": study.protocols}
    for setting in study.settings:
        check_labels(setting["when"], with_protocol, f"{path}: settings")
    check_labels(study.quick.get("keep", {}), study.axes, f"{path}: quick.keep")
    points = study.points()
    called = [table["name"] for table in study.tables]
    for table in study.tables:
        here = _named(path, "table", table, "name")
        if called.count(table["name"]) > 1:
            raise ValueError(f"{here}: another table has this name; summary.csv tells them by it")
        _check_table(study, table, points, here)
    for claim in study.claims:
        _check_claim(study, claim, points, _named(path, "claim", claim, "says"))
    given: dict[str, Any] = {}
    for name, entry in study.arrays.items():
        here = f"{path}: arrays: {name}"
        options = entry.get("options", {})
        _check_call(entry["function"], here, (), options)
        given[name] = None
    names = [figure["name"] for figure in study.figures]
    for figure in study.figures:
        here = _named(path, "figure", figure, "name")
        if not re.fullmatch(r"[\w.+-]+", figure["name"]) or names.count(figure["name"]) > 1:
            raise ValueError(f"{here}: its name must be that of a file, and of no other figure")
        options = {**given, **figure.get("options", {})}
        _check_call(figure["draw"], here, ([],), {"title": "", **options})


# ---- kinds ---------------------------------------------------------------------------------------


def _check_keys(entry: Any, kinds: _Kinds, here: str, required: Sequence[str] = ()) -> None:
    if not isinstance(entry, dict):
        raise ValueError(f"{here} is {entry!r}; it must hold keys such as {', '.join(kinds)}")
    for key, value in entry.items():
        if key not in kinds:
            near = difflib.get_close_matches(str(key), kinds, n=1)
            suggestion = f"; did you mean {near[0]!r}?" if near else f" ({', '.join(kinds)})"
            raise ValueError(f"{here}: there is no key {key!r} here{suggestion}")
        _expect(value, kinds[key], f"{here}: {key}")
    for key in required:
        if key not in entry:
            raise ValueError(f"{here} lacks the key {key!r}")


def _expect(value: Any, kinds: Sequence[str], here: str) -> None:
    if kinds == (_FLAG,) and isinstance(value, bool):
        return
    known = [_TYPES[kind] for kind in kinds if kind != _FLAG]
    if not any(isinstance(value, kind) for kind in known) or isinstance(value, bool):
        if set(kinds) == set(_ANY) and value is None:
            return
        raise ValueError(f"{here} is {value!r}; it must be {' or '.join(kinds)}")


def _check_set(keys: Mapping[str, Any], here: str) -> None:
    for key in keys:
        if not isinstance(key, str):
            raise ValueError(f"{here}: {key!r} is no config key, such as model.head")
        if key.rpartition(".")[2] in _NO_SETTINGS:
            raise ValueError(f"{here}: {key} is no setting")
        if key.rpartition(".")[2] in _RUNNERS:
            raise ValueError(f"{here}: a study does not set {key}; its seeds are under seeds")


def _check_seeds(seeds: Any, here: str, lists: bool = True) -> None:
    several = [*range(seeds)] if isinstance(seeds, int) else seeds
    if (
        not (isinstance(seeds, int) or (lists and isinstance(seeds, list)))
        or not several
        or not all(type(seed) is int and 0 <= seed < 2**32 for seed in several)
        or len(set(several)) < len(several)
    ):
        other = ", or a list of them, each only once" if lists else ""
        raise ValueError(f"{here}: seeds is {seeds}; give their number, at least 1{other}")


def _named(path: Path, kind: str, entry: Any, key: str) -> str:
    name = entry.get(key) if isinstance(entry, dict) else None
    return f"{path}: the {kind} {name!r}" if name is not None else f"{path}: a {kind}"


# ---- tables, claims, figures -------------------------------------------------------------------


def _check_table(study: Study, table: dict[str, Any], points: Sequence[Labels], here: str) -> None:
    if table.get("judged", PROTOCOLS[0]) not in PROTOCOLS:
        raise ValueError(
            f"{here}: judged is {table['judged']!r}; choose one of {', '.join(PROTOCOLS)}"
        )
    statistic = table.get("statistic", "median")
    if statistic not in STATISTICS:
        raise ValueError(f"{here}: statistic is {statistic!r}; choose {', '.join(STATISTICS)}")
    if (statistic == "count_above") != ("threshold" in table):
        raise ValueError(f"{here}: threshold and statistic count_above belong together")
    if not _finite(table.get("threshold", 0)):
        raise ValueError(f"{here}: threshold is {table['threshold']}; give a number")
    if (statistic == "count_named") != ("starts_with" in table):
        raise ValueError(f"{here}: starts_with and statistic count_named belong together")
    if not table.get("published_seeds", 20) >= 1:
        raise ValueError(f"{here}: published_seeds is {table['published_seeds']}, not at least 1")
    _check_rule(table["verdict"], here)
    where = table.get("where", {})
    check_labels(where, study.axes, here)
    for point in points:
        if not matches(point, where):
            continue
        words = ", ".join(value for axis, value in point.items() if axis != "protocol")
        try:
            entry = published_value(table["published"], point, study.axes)
        except (KeyError, TypeError, IndexError):
            raise ValueError(
                f"{here} lacks the grid point {words or 'that there is'} under published; write "
                f"null where the paper gives no number"
            ) from None
        numbers = entry if isinstance(entry, list) else [entry]
        written = all(item == "never" or _finite(item) for item in numbers)
        rises = not (written and len(numbers) == 3) or _size(numbers[1]) <= _size(numbers[2])
        if entry is not None and not (written and rises and len(numbers) in (1, 3)):
            raise ValueError(
                f"{here}: published of {words} is {entry!r}; give a number, [value, low, high], "
                f"never or null"
            )
    _check_published(table["published"], [*study.axes.items()], here)


def _check_published(
    published: Any, axes: Sequence[tuple[str, Mapping[str, Any]]], here: str
) -> None:
    """Refuse labels that the grid does not have, which would be read by nobody."""
    if axes and isinstance(published, dict):
        (axis, values), *rest = axes
        check_labels({axis: [*published]}, {axis: values}, f"{here}: published")
        for below in published.values():
            _check_published(below, rest, here)


def _size(number: float | str) -> float:
    return math.inf if number == "never" else float(number)


def _check_rule(rule: dict[str, Any], here: str) -> None:
    kind, limits = next(iter(rule.items()), ("", None))
    if (
        len(rule) != 1
        or kind not in ("absolute", "ratio")
        or not (isinstance(limits, list) and len(limits) == 2 and all(map(_finite, limits)))
        or not (1 if kind == "ratio" else 0) < limits[0] <= limits[1]
    ):
        raise ValueError(
            f"{here}: verdict is {rule}; give absolute or ratio (above 1), two rising numbers, "
            f"such as {{ratio: [1.5, 3]}}"
        )


def _check_claim(study: Study, claim: dict[str, Any], points: Sequence[Labels], here: str) -> None:
    if ("greater" in claim) == ("less" in claim):
        raise ValueError(f"{here}: give greater or less, one of them")
    side = "greater" if "greater" in claim else "less"
    than, where, share = claim["than"], claim.get("where", {}), claim.get("share")
    groups = {side: claim[side]} | ({"than": than} if isinstance(than, dict) else {})
    for key, labels in {"where": where, **groups}.items():
        if "protocol" in labels:
            raise ValueError(
                f"{here}: {key} names a protocol; a claim is judged under each by itself"
            )
        check_labels(labels, study.axes, f"{here}: {key}")
    for_each = claim.get("for_each", [])
    each = [for_each] if isinstance(for_each, str) else for_each
    for axis in each:
        if not isinstance(axis, str) or axis not in study.axes:
            raise ValueError(f"{here}: for_each names {axis!r}; axes are {', '.join(study.axes)}")
    for axis in each:
        sides = [{axis: labels[axis]} for labels in groups.values() if axis in labels]
        if not any(all(matches({axis: value}, s) for s in sides) for value in study.axes[axis]):
            raise ValueError(f"{here}: for_each names {axis!r}, by which the two groups differ")
    for key, labels in groups.items():
        if not any(matches(point, labels) and matches(point, where) for point in points):
            raise ValueError(f"{here}: {key} and where have no grid point in common")
    shared = [p for p in points if all(matches(p, labels) for labels in (where, *groups.values()))]
    if isinstance(than, dict) and shared:
        words = ", ".join(value for axis, value in shared[0].items() if axis != "protocol")
        raise ValueError(f"{here}: {words or 'the grid point'} is in {side} and in than")
    if not isinstance(than, dict) and not _finite(than):
        raise ValueError(f"{here}: than is {than}; give labels of points, or a number")
    if "or_equal" in claim and not isinstance(than, dict):
        raise ValueError(f"{here}: or_equal compares two groups; than is {than}")
    if share is not None and (isinstance(than, dict) or not 0 < share <= 1):
        raise ValueError(
            f"{here}: share is {share}; it is the share of seeds, above 0 and at most 1, that lie "
            f"beyond a number"
        )


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def found(path: str) -> Callable[..., Any]:
    """The function of a full name, such as glassbox.reproduction.figures.exponents."""
    module, _, name = path.rpartition(".")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function


def _check_call(path: str, here: str, arguments: Sequence[Any], options: Mapping[str, Any]) -> None:
    """Refuse a function that is not there, or does not take what it would be given."""
    try:
        function = found(path)
    except (ImportError, AttributeError, ValueError):
        raise ValueError(f"{here}: there is no function {path!r}") from None
    if not callable(function):
        raise ValueError(f"{here}: {path!r} is no function")
    try:
        inspect.signature(function).bind(*arguments, **options)
    except TypeError as error:
        raise ValueError(f"{here}: {path} does not take these options: {error}") from None
