"""Store of finished runs: a folder per grid point, found by the hash of its identity."""

from __future__ import annotations

import hashlib
import json
import math
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from glassbox.reproduction.files import replacing
from glassbox.reproduction.identity import FORMAT, identity_hash


@dataclass(frozen=True)
class PointResults:
    """Results of one point, from one or several runs."""

    seeds: list[int]  # S seeds, rising
    # name -> (S,) float64, nan where there is no value; or text, empty where there is none
    metrics: dict[str, NDArray[Any]]
    arrays: dict[str, NDArray[Any]]  # name -> (S, ...)
    seconds: float  # duration of its runs, in proportion to their members
    # per seed the versions of the packages that trained it; empty where unknown
    versions: list[dict[str, str]]


@dataclass(frozen=True)
class RunResults:
    """Results of one run at one point."""

    identity: Mapping[str, Any]  # of the point
    seeds: Sequence[int]  # S seeds, in the order of the results
    metrics: Mapping[str, list[Any]]  # name -> one value per seed, None for none
    arrays: Mapping[str, NDArray[Any]]  # name -> (S, ...)
    seconds: float  # duration, in proportion to the members

    def without(self, seeds: Iterable[int]) -> RunResults:
        """The same without some seeds."""
        rows = [row for row, seed in enumerate(self.seeds) if seed not in set(seeds)]
        return replace(
            self,
            seeds=[self.seeds[row] for row in rows],
            metrics={name: [values[row] for row in rows] for name, values in self.metrics.items()},
            arrays={name: values[rows] for name, values in self.arrays.items()},
            seconds=self.seconds * len(rows) / len(self.seeds),
        )


class Store:
    """A folder of finished runs that all studies share.

    Each point has a folder whose name ends in the hash of its identity. A run leaves
    ``seeds_<seeds>.npz`` and ``seeds_<seeds>.json`` in it. The ``.json`` is written last and
    atomically, so that a killed run has none and counts as not done. Folders of several machines
    are merged by copying them into one.

    Args:
        folder: Created by the first write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def point_dir(self, identity: Mapping[str, Any]) -> Path:
        """Folder of a point."""
        return self.folder / point_name(identity)

    def record_path(self, run: RunResults) -> Path:
        """File that marks a run as finished."""
        return self.point_dir(run.identity) / f"seeds_{seed_ranges(run.seeds)}.json"

    def check_format(self) -> None:
        """Check that all runs have the current format."""
        for path in sorted(self.folder.glob("*/seeds_*.json")):
            with open(path, "rb") as file:
                head = file.read(100)
            match = re.search(rb'"format": (\d+)', head)
            if head.strip() and int(match[1] if match else 1) != FORMAT:
                raise ValueError(
                    f"{path} has format {match[1].decode() if match else 1}, this version reads "
                    f"{FORMAT} (options and metrics were renamed); set --runs to another folder"
                )

    def seeds_done(self, identity: Mapping[str, Any]) -> list[int]:
        """Finished seeds of a point."""
        return sorted({seed for record in self._records(identity) for seed in record["seeds"]})

    def read(self, identity: Mapping[str, Any], seeds: Sequence[int]) -> PointResults | None:
        """Results of those of ``seeds`` that are finished; None if there are none."""
        taken: dict[int, tuple[dict[str, Any], int, dict[str, NDArray[Any]]]] = {}
        for record in self._records(identity):
            path = record["path"].with_suffix(".npz")
            arrays = _load_arrays(path)
            if any(value.shape[:1] != (len(record["seeds"]),) for value in arrays.values()):
                raise _damaged(path, "not one row per seed")
            for row, seed in enumerate(record["seeds"]):
                if seed in seeds:
                    taken.setdefault(seed, (record, row, arrays))
        if not taken:
            return None
        rows = [taken[seed] for seed in sorted(taken)]
        metrics = {
            name: _column([_value(record["metrics"], name, row) for record, row, _ in rows])
            for name in dict.fromkeys(name for record, _, _ in rows for name in record["metrics"])
        }
        arrays = {
            name: _stacked([stored[name][row] for _, row, stored in rows])
            for name in rows[0][2]
            if all(name in stored for _, _, stored in rows)
        }
        seconds = sum(record["seconds"] / len(record["seeds"]) for record, _, _ in rows)
        versions = [record["versions"] for record, _, _ in rows]
        return PointResults(sorted(taken), metrics, arrays, seconds, versions)

    def write(self, results: Sequence[RunResults], versions: Mapping[str, str]) -> None:
        """Store the points of one run.

        All arrays are on disk before the first record is, and the records follow at once. If only
        some points of a run were recorded, the rest would be trained again beside other members,
        which changes their last digits.
        """
        with ExitStack() as stack:
            # All runners lock in the same order.
            for folder in sorted({self.point_dir(run.identity) for run in results}):
                folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(FileLock(folder / ".lock"))
                for partial in folder.glob(".seeds_*.partial"):  # left by a killed run
                    partial.unlink()
            # Seeds that another runner has finished meanwhile keep its numbers.
            new = [run.without(self.seeds_done(run.identity)) for run in results]
            records = {self.record_path(run): run for run in new if run.seeds}
            for path, run in records.items():
                with replacing(path.with_suffix(".npz")) as partial, open(partial, "wb") as file:
                    np.savez_compressed(file, **dict[str, Any](run.arrays))
            for path, run in records.items():
                record = {
                    "format": FORMAT,
                    "identity": run.identity,
                    "hash": identity_hash(run.identity),
                    "seeds": list(run.seeds),
                    "metrics": run.metrics,
                    "seconds": run.seconds,
                    "versions": versions,
                }
                text = json.dumps(record, indent=1, allow_nan=False, default=str) + "\n"
                stack.enter_context(replacing(path)).write_text(text)

    def _records(self, identity: Mapping[str, Any]) -> list[dict[str, Any]]:
        records = []
        for path in sorted(self.point_dir(identity).glob("seeds_*.json")):
            record = _read_record(path)
            if identity_hash(record["identity"]) != identity_hash(identity):
                raise ValueError(
                    f"{path} holds runs of another version of this study; delete its folder or set "
                    f"--runs to another one"
                )
            arrays = path.with_suffix(".npz")
            if not arrays.is_file():
                raise ValueError(
                    f"{path} lacks its arrays ({path.stem}.npz); copy them or delete it"
                )
            if not zipfile.is_zipfile(arrays):  # cheap: reads the end of the file only
                raise _damaged(arrays, "truncated")
            records.append(record)
        return records


def point_name(identity: Mapping[str, Any]) -> str:
    """Name of a point's folder: its classes, and the hash of its identity."""
    words = "_".join(_class_names(identity)).lower() or "run"
    return f"{words}-{identity_hash(identity)}"


def _read_record(path: Path) -> dict[str, Any]:
    """A record, with its ``path``."""
    try:
        record = json.loads(path.read_text())
        seeds, columns = record["seeds"], record["metrics"].values()
        valid = (
            bool(seeds)
            and all(type(seed) is int for seed in seeds)
            and len(set(seeds)) == len(seeds)
            and all(len(column) == len(seeds) for column in columns)
            and not any(isinstance(value, list | dict) for column in columns for value in column)
            and 0 <= record["seconds"] < math.inf
            and isinstance(record["identity"], dict)
        )
        if not valid:
            raise ValueError("invalid content")
        versions = {str(k): str(v) for k, v in (record.get("versions") or {}).items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is damaged ({type(error).__name__}); delete it to run it again"
        ) from None
    return {**record, "versions": versions, "path": path}


def _class_names(tree: Any, depth: int = 0) -> list[str]:
    """Names of the classes within the model and the data of a config."""
    if not isinstance(tree, Mapping):
        return []
    own = [str(tree["class_path"]).rpartition(".")[2]] if "class_path" in tree and depth > 1 else []
    return own + [name for value in tree.values() for name in _class_names(value, depth + 1)]


def _load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with open(path, "rb") as file, np.load(file) as stored:
            return {name: stored[name] for name in stored.files}
    except Exception as error:  # a wrong byte can raise anything
        raise _damaged(path, type(error).__name__) from None


def _damaged(path: Path, how: str) -> ValueError:
    return ValueError(
        f"{path} is damaged ({how}); delete it and the .json beside it to run it again"
    )


def _value(metrics: Mapping[str, list[Any]], name: str, row: int) -> Any:
    """A seed's value; None where its run did not measure the metric."""
    return metrics[name][row] if name in metrics else None


def _column(values: list[Any]) -> NDArray[Any]:
    """Values of the seeds as numbers, or as text if any of them is text."""
    if any(isinstance(value, str) for value in values):
        return np.array(["" if value is None else str(value) for value in values])
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)


def _stacked(rows: list[NDArray[Any]]) -> NDArray[Any]:
    """Rows as one array; shorter ones are padded with nan."""
    if len({row.shape for row in rows}) == 1:
        return np.stack(rows)
    length = max(len(row) for row in rows)
    filled = [
        np.concatenate([row, np.full((length - len(row), *row.shape[1:]), np.nan)]) for row in rows
    ]
    return np.stack(filled)


def seed_ranges(seeds: Sequence[int]) -> str:
    """0,1,2,5 as 0-2_5; long lists are cut and end in a hash."""
    parts: list[list[int]] = []
    for seed in sorted(seeds):
        if parts and seed == parts[-1][1] + 1:
            parts[-1][1] = seed
        else:
            parts.append([seed, seed])
    text = "_".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)
    if len(text) <= 60:
        return text
    return f"{text[:40]}_{hashlib.sha256(text.encode()).hexdigest()[:8]}"
