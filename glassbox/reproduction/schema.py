"""The entries of a study's YAML as dataclasses, each checked key by key when it is read."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, TypeGuard, TypeVar

from glassbox.reproduction.grid_labels import PROTOCOLS, Selection, as_selection

T = TypeVar("T")

STATISTICS = ("median", "count_above", "count_reached", "count_named", "median_reached")
EPOCH_METRICS = ("epoch", "train_epoch", "test_epoch", "delay")  # a missing value means "never"

# Keys that a run sets itself, and options of the command line that are not settings.
_RESERVED_KEYS = ("seed_everything", "ckpt_path", "seeds", "num_seeds", "head_settings")
_COMMAND_OPTIONS = ("help", "config", "print_config")
_RENAMED_KEYS = {
    "says": "statement",
    "among": "given_metric",
    "judged": "reference_protocol",
    "draw": "function",
}


def is_epoch(metric: str, unit: str | None = None) -> bool:
    """Whether a metric counts epochs, so that a missing value means never."""
    return unit == "epochs" or metric.rsplit("/", 1)[-1] in EPOCH_METRICS


@dataclass(frozen=True)
class Rule:
    """How far apart two numbers may be."""

    kind: str  # `absolute` (the difference) or `ratio` (the larger over the smaller)
    reproduced: float  # largest distance of a reproduced number
    differs: float  # largest distance of one that differs; beyond, it is not reproduced

    def distance(self, first: float, second: float) -> float:
        """Distance of two numbers; inf if only one is never, or signs differ under a ratio."""
        if first == second:
            return 0.0 if self.kind == "absolute" else 1.0
        if math.isinf(first) or math.isinf(second):
            return math.inf
        if self.kind == "absolute":
            return abs(first - second)
        return math.inf if first * second <= 0 else max(first / second, second / first)


@dataclass(frozen=True)
class Table:
    """A metric at every grid point, compared with published numbers."""

    name: str  # unique within the study
    metric: str  # metric name
    verdict: Rule  # how far a number may be from the published one
    published: Any  # nested by the grid's axes: a number, [value, low, high], `never` or None
    statistic: str = "median"  # one of `STATISTICS`: over seeds
    threshold: float | None = None  # of `count_above`
    starts_with: str | None = None  # of `count_named`: how the counted names begin
    unit: str | None = None  # such as epochs
    # the protocol that is compared with the published numbers
    reference_protocol: str = PROTOCOLS[0]
    where: Selection = field(default_factory=dict)  # only these points
    published_in: str | None = None  # where in the paper
    published_seeds: int = 20  # number of seeds behind a published count

    @property
    def counts_epochs(self) -> bool:
        """Whether a missing value means never."""
        return is_epoch(self.metric, self.unit)

    @property
    def counts_seeds(self) -> bool:
        """Whether its numbers are counts of seeds."""
        return self.statistic.startswith("count")


@dataclass(frozen=True)
class Claim:
    """A statement about a metric: one group of points beyond another, or beyond a number."""

    statement: str  # in words
    metric: str  # metric name
    than: Selection | float  # the other points, or a number
    # the points that should have greater values; None if `less` is given
    greater: Selection | None = None
    # the points that should have smaller values; None if `greater` is given
    less: Selection | None = None
    unit: str | None = None  # such as epochs
    # fraction of the seeds that must be beyond a number, 0.75 by default
    share: float | None = None
    or_equal: bool = False  # whether two groups that do not differ satisfy it too
    given_metric: str | None = None  # only seeds that have a value of this metric count
    # axes; the claim is judged for each combination of their values
    for_each: list[str] = field(default_factory=list)
    where: Selection = field(default_factory=dict)  # only these points

    @property
    def side(self) -> str:
        """``greater`` or ``less``."""
        return "less" if self.greater is None else "greater"

    @property
    def group(self) -> Selection:
        """The points that should be beyond."""
        chosen = self.less if self.greater is None else self.greater
        return {} if chosen is None else chosen

    @property
    def required_fraction(self) -> float:
        """Fraction of the seeds that must be beyond a number."""
        return 0.75 if self.share is None else self.share

    @property
    def counts_epochs(self) -> bool:
        """Whether a missing value means never."""
        return is_epoch(self.metric, self.unit)


@dataclass(frozen=True)
class Setting:
    """Config keys of some points: ``{when: labels, set: keys}``."""

    when: Selection
    set: dict[str, Any]


@dataclass(frozen=True)
class Quick:
    """How the quick version differs: fewer seeds, config keys, values of axes that are kept."""

    seeds: int = 2
    set: dict[str, Any] = field(default_factory=dict)
    keep: Selection = field(default_factory=dict)


@dataclass(frozen=True)
class ArraySpec:
    """A function without runs whose result a figure takes as an option."""

    function: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FigureSpec:
    """A figure of a study: file name, function, its options, and metrics it reads in addition."""

    name: str
    function: str
    options: dict[str, Any] = field(default_factory=dict)
    metrics: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class StudyFile:
    """The keys of a study's YAML, or of a collection of studies (``studies: [...]``)."""

    title: str | None = None
    source: str = ""
    config: str | None = None
    grid: dict[str, Any] | None = None
    protocols: dict[str, Any] | None = None
    settings: list[Any] = field(default_factory=list)
    seeds: int | list[int] | None = None
    quick: dict[str, Any] | None = None
    runs_of: str | None = None
    only: Selection | None = None
    studies: list[Any] | None = None
    minutes: float | None = None
    tables: list[Any] = field(default_factory=list)
    claims: list[Any] = field(default_factory=list)
    arrays: dict[str, Any] = field(default_factory=dict)
    figures: list[Any] = field(default_factory=list)


def read_entry(kind: type[T], entry: object, context: str) -> T:
    """Make a dataclass of a YAML mapping."""
    known = {each.name: each for each in fields(kind)}  # type: ignore[arg-type]
    if not isinstance(entry, dict):
        raise ValueError(f"{context} is {entry!r}; expected keys such as {', '.join(known)}")
    for key in entry:
        if _RENAMED_KEYS.get(key) in known:
            raise ValueError(f"{context}: the key {key!r} is now called {_RENAMED_KEYS[key]!r}")
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(known)}"
            raise ValueError(f"{context}: unknown key {key!r}; {hint}")
    values: dict[str, Any] = {}
    for name, each in known.items():
        if entry.get(name) is not None:
            # Annotations are text here (PEP 563).
            convert = _CONVERTERS[str(each.type).removesuffix(" | None")]
            values[name] = convert(entry[name], f"{context}: {name}")
        elif each.type == "Any" and name in entry:
            values[name] = None
        elif each.default is MISSING and each.default_factory is MISSING:
            raise ValueError(f"{context}: the key {name!r} is missing")
    return kind(**values)


def named(path: object, kind: str, entry: Any, key: str) -> str:
    """Start of an error message about an entry: the file, and the entry's name if it has one."""
    name = entry.get(key) if isinstance(entry, dict) else None
    return f"{path}: {kind}" if name is None else f"{path}: {kind} {name!r}"


def check_config_keys(keys: dict[str, Any], context: str) -> None:
    """Check keys that a study sets in a config."""
    for key in keys:
        if not isinstance(key, str) or key.rpartition(".")[2] in _COMMAND_OPTIONS:
            raise ValueError(f"{context}: {key!r} is not a config key such as model.head")
        if key.rpartition(".")[2] in _RESERVED_KEYS:
            raise ValueError(f"{context}: a study does not set {key}; list seeds under seeds")


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is a finite number, and not true or false."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _typed(kind: type, name: str) -> Callable[[Any, str], Any]:
    def convert(value: Any, context: str) -> Any:
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise ValueError(f"{context} is {value!r}; expected {name}")
        return value

    return convert


def _number(value: object, context: str) -> float:
    if not is_number(value):
        raise ValueError(f"{context} is {value!r}; expected a finite number")
    return value


def _selection(value: object, context: str) -> Selection:
    return as_selection(_mapping(value, context))


def _selection_or_number(value: object, context: str) -> Selection | float:
    return _selection(value, context) if isinstance(value, dict) else _number(value, context)


def _seeds(value: Any, context: str) -> int | list[int]:
    seeds: Sequence[Any] = value if isinstance(value, list) else [value]
    low = 0 if isinstance(value, list) else 1
    if (
        not seeds
        or not all(type(seed) is int and low <= seed < 2**32 for seed in seeds)
        or len(set(seeds)) < len(seeds)
    ):
        raise ValueError(f"{context} is {value!r}; expected a count or distinct seeds")
    result: int | list[int] = value
    return result


def _count(value: object, context: str) -> int:
    if type(value) is not int or value < 1:
        raise ValueError(f"{context} is {value!r}; expected a whole number of at least 1")
    return value


def _texts(value: Any, context: str) -> list[str]:
    texts = value if isinstance(value, list) else [value]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{context} is {value!r}; expected names")
    return texts


def _rule(value: object, context: str) -> Rule:
    if isinstance(value, dict) and len(value) == 1:
        ((kind, limits),) = value.items()
        if (
            kind in ("absolute", "ratio")
            and isinstance(limits, list)
            and len(limits) == 2
            and all(map(is_number, limits))
            and (1 if kind == "ratio" else 0) < limits[0] <= limits[1]
        ):
            return Rule(kind, *limits)
    raise ValueError(
        f"{context} is {value!r}; expected absolute or ratio (above 1) with two rising limits, "
        f"such as {{ratio: [1.5, 3]}}"
    )


def _as_is(value: Any, context: str) -> Any:
    return value


_mapping = _typed(dict, "keys with values")
_CONVERTERS: dict[str, Callable[[Any, str], Any]] = {
    "str": _typed(str, "text"),
    "bool": _typed(bool, "true or false"),
    "int": _count,
    "float": _number,
    "list[Any]": _typed(list, "a list"),
    "list[str]": _texts,
    "dict[str, Any]": _mapping,
    "int | list[int]": _seeds,
    "Selection": _selection,
    "Selection | float": _selection_or_number,
    "Rule": _rule,
    "Any": _as_is,
}
