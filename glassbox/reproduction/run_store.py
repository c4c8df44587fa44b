"""Finished runs on disk: complete or not there, found again by what they were run with."""

from __future__ import annotations

import hashlib
import json
import math
import os
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

FORMAT = 1  # of the files; of another number they are not read


@dataclass(frozen=True)
class Finished:
    """What is known of a point: S seeds, of one or several runs.

    Attributes:
        seeds: S seeds, rising.
        metrics: By name (S,) float64, nan where there is no value; or text, empty where there is
            none.
        arrays: By name (S, ...).
        seconds: Time that its runs took, in proportion to their members.
        versions: Of each seed those of the packages that trained it; empty where they are not told.
    """

    seeds: list[int]
    metrics: dict[str, NDArray[Any]]
    arrays: dict[str, NDArray[Any]]
    seconds: float
    versions: list[dict[str, str]]


@dataclass(frozen=True)
class Trained:
    """What a run has of one point.

    Attributes:
        identity: What the point is run with.
        seeds: S seeds, in the order of what follows.
        metrics: By name one value a seed, None for none.
        arrays: By name (S, ...).
        seconds: Time that it took, in proportion to its members.
    """

    identity: Mapping[str, Any]
    seeds: Sequence[int]
    metrics: Mapping[str, list[Any]]
    arrays: Mapping[str, NDArray[Any]]
    seconds: float

    def without(self, seeds: Iterable[int]) -> Trained:
        """The same without some of its seeds."""
        rows = [row for row, seed in enumerate(self.seeds) if seed not in set(seeds)]
        return replace(
            self,
            seeds=[self.seeds[row] for row in rows],
            metrics={name: [values[row] for row in rows] for name, values in self.metrics.items()},
            arrays={name: values[rows] for name, values in self.arrays.items()},
            seconds=self.seconds * len(rows) / len(self.seeds),
        )

    def place_in(self, store: Store) -> Path:
        """The file of its record."""
        return store.place(self.identity) / f"seeds_{seed_ranges(self.seeds)}.json"


def identity_hash(identity: Mapping[str, Any]) -> str:
    """Twelve letters that stand for everything that decides a point's numbers but its seeds."""
    text = json.dumps({"format": FORMAT, **identity}, sort_keys=True, allow_nan=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class Store:
    """A folder with one folder for each point, whose name ends in the hash of what it was run with.

    A run leaves ``seeds_<seeds>.npz`` and ``seeds_<seeds>.json`` there. The ``.json`` is written
    last and in one move, so that a run that was killed has none and counts as not done. Folders of
    several machines are merged by copying them into one.

    Args:
        folder: Made when something is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def place(self, identity: Mapping[str, Any]) -> Path:
        """The folder of a point."""
        words = "_".join(_class_names(identity)).lower() or "run"
        return self.folder / f"{words}-{identity_hash(identity)}"

    def seeds_done(self, identity: Mapping[str, Any]) -> list[int]:
        """The seeds that are finished.

        Raises:
            ValueError: The folder holds runs of something else, or of another version.
        """
        return sorted({seed for record in self._records(identity) for seed in record["seeds"]})

    def read(self, identity: Mapping[str, Any], seeds: Sequence[int]) -> Finished | None:
        """The finished ones among these seeds; None where there is none.

        Raises:
            ValueError: A file is damaged, or of another version.
        """
        taken: dict[int, tuple[dict[str, Any], int, dict[str, NDArray[Any]]]] = {}
        for record in self._records(identity):
            path = record["path"].with_suffix(".npz")
            arrays = _load_arrays(path)
            if any(value.shape[:1] != (len(record["seeds"]),) for value in arrays.values()):
                raise _damaged(path, "not one row a seed")
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
        return Finished(sorted(taken), metrics, arrays, seconds, versions)

    def write(self, trained: Sequence[Trained], versions: Mapping[str, str]) -> None:
        """Keep what was trained together.

        Everything is on disk before the first point gets its record, and the records follow one
        another at once: a kill in between would leave points that are trained again, beside others
        than before, which changes the last digits of what they come to.

        Args:
            trained: The points of a run.
            versions: Of what the numbers depend on, by package.
        """
        with ExitStack() as locks:
            # One order for all runners.
            for folder in sorted({self.place(point.identity) for point in trained}):
                folder.mkdir(parents=True, exist_ok=True)
                locks.enter_context(FileLock(folder / ".lock"))
                for left in folder.glob("seeds_*.partial*"):  # of a run that was killed here
                    left.unlink()
            # Another runner may have finished some of the seeds meanwhile; its numbers stay.
            new = [point.without(self.seeds_done(point.identity)) for point in trained]
            places = {point.place_in(self): point for point in new if point.seeds}
            moves = [
                (_write_partial(path, point, versions), path) for path, point in places.items()
            ]
            for partial, path in moves:
                os.replace(partial, path)

    def _records(self, identity: Mapping[str, Any]) -> list[dict[str, Any]]:
        folder = self.place(identity)
        records = []
        for path in sorted(folder.glob("seeds_*.json")):
            try:
                record = json.loads(path.read_text())
                identity_found = identity_hash(record["identity"])
                seeds, of_metric = record["seeds"], record["metrics"].values()
                if not seeds or any(type(seed) is not int for seed in seeds):
                    raise TypeError("seeds")
                if len(set(seeds)) < len(seeds) or any(len(of) != len(seeds) for of in of_metric):
                    raise ValueError("not one value a seed")
                if any(isinstance(value, list | dict) for of in of_metric for value in of):
                    raise TypeError("metrics")
                if not 0 <= record["seconds"] < math.inf:
                    raise ValueError("no duration")
                versions = {str(k): str(v) for k, v in (record.get("versions") or {}).items()}
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise ValueError(
                    f"{path} is damaged ({type(error).__name__}); delete it, and it is run again"
                ) from None
            if identity_found != identity_hash(identity):
                raise ValueError(
                    f"{path} holds runs of another version of this study; delete the folder, or "
                    f"give --runs another one"
                )
            arrays = path.with_suffix(".npz")
            if not arrays.is_file():
                raise ValueError(
                    f"{path} has no arrays beside it ({path.stem}.npz); copy them too, or delete it"
                )
            if not zipfile.is_zipfile(arrays):  # reads its end only: what is cut short has none
                raise _damaged(arrays, "cut short")
            records.append({**record, "versions": versions, "path": path})
        return records


def _write_partial(path: Path, point: Trained, versions: Mapping[str, str]) -> Path:
    """Write a point's arrays, and its record under another name, which is returned."""
    partial = path.with_suffix(f".{os.getpid()}.partial.npz")
    with open(partial, "wb") as file:
        np.savez_compressed(file, **dict[str, Any](point.arrays))
    os.replace(partial, path.with_suffix(".npz"))
    record = {
        "identity": point.identity,
        "hash": identity_hash(point.identity),
        "seeds": list(point.seeds),
        "metrics": point.metrics,
        "seconds": point.seconds,
        "versions": versions,
    }
    partial = path.with_suffix(f".{os.getpid()}.partial")
    partial.write_text(json.dumps(record, indent=1, allow_nan=False, default=str) + "\n")
    return partial


def _class_names(tree: Any, depth: int = 0) -> list[str]:
    """The classes within the model and the data of a config, for a folder's name."""
    if not isinstance(tree, Mapping):
        return []
    own = [str(tree["class_path"]).rpartition(".")[2]] if "class_path" in tree and depth > 1 else []
    return own + [name for value in tree.values() for name in _class_names(value, depth + 1)]


def _load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with open(path, "rb") as file, np.load(file) as stored:
            return {name: stored[name] for name in stored.files}
    except Exception as error:  # one wrong byte may look like any feature of the format
        raise _damaged(path, type(error).__name__) from None


def _damaged(path: Path, how: str) -> ValueError:
    return ValueError(
        f"{path} is damaged ({how}); delete it and the .json beside it, and it is run again"
    )


def _value(metrics: Mapping[str, list[Any]], name: str, row: int) -> Any:
    """A seed's value; None where its run did not measure this."""
    return metrics[name][row] if name in metrics else None


def _column(values: list[Any]) -> NDArray[Any]:
    """Values of the seeds as numbers, or as text if one of them is text."""
    if any(isinstance(value, str) for value in values):
        return np.array(["" if value is None else str(value) for value in values])
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)


def _stacked(rows: list[NDArray[Any]]) -> NDArray[Any]:
    """Rows of one shape as one array; of several lengths filled up with nan."""
    if len({row.shape for row in rows}) == 1:
        return np.stack(rows)
    length = max(len(row) for row in rows)
    filled = [
        np.concatenate([row, np.full((length - len(row), *row.shape[1:]), np.nan)]) for row in rows
    ]
    return np.stack(filled)


def seed_ranges(seeds: Sequence[int]) -> str:
    """0,1,2,5 as 0-2_5; long lists are cut and told apart by a hash."""
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
