"""The store of finished runs: what counts as finished, and what comes back."""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from glassbox.reproduction.identity import FORMAT, identity_hash
from glassbox.reproduction.run_store import RunResults, Store, seed_ranges

IDENTITY = {"model": {"class_path": "M", "init_args": {"head": {"class_path": "a.b.Head"}}}}
OTHER = {"model": {"class_path": "M", "init_args": {"head": {"class_path": "a.b.Tail"}}}}


def values(seeds):
    """Metrics and arrays of these seeds, with every bit in use."""
    metrics = {
        "accuracy": [math.sin(seed) for seed in seeds],
        "epoch": [None if seed % 2 else 0.1 + seed for seed in seeds],
        "coset": [f"H{seed}" for seed in seeds],
    }
    arrays = {
        "embedding": np.stack([np.random.default_rng(seed).normal(size=(3, 2)) for seed in seeds]),
        "edges": np.stack([np.full((2, 2), seed) for seed in seeds]),
    }
    return metrics, arrays


def trained(seeds, identity=IDENTITY):
    return RunResults(identity, seeds, *values(seeds), 1.0 * len(seeds))


def keep(store, seeds, metrics, arrays):
    store.write([RunResults(IDENTITY, seeds, metrics, arrays, 1.0)], {})


def write(store, seeds, identity=IDENTITY):
    store.write([trained(seeds, identity)], {"torch": "2"})


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "runs")


def record(store: Store, name: str = "seeds_0-1.json") -> Path:
    return store.point_dir(IDENTITY) / name


def test_a_written_run_reads_back_bit_for_bit(store):
    write(store, [2, 0, 1])
    results = store.read(IDENTITY, [0, 1, 2])
    metrics, arrays = values([0, 1, 2])
    assert (
        results is not None and results.seeds == [0, 1, 2] and results.seconds == pytest.approx(3)
    )
    assert results.metrics["accuracy"].tolist() == metrics["accuracy"]
    assert results.arrays["embedding"].tobytes() == arrays["embedding"].tobytes()
    assert results.arrays["edges"].dtype.kind == "i"
    assert results.arrays["edges"].tolist() == arrays["edges"].tolist()


def test_each_seed_reads_back_with_the_versions_that_trained_it(store):
    for seeds, versions in (([0, 3], {"torch": "2"}), ([1], {"torch": "3"}), ([2], {})):
        store.write([trained(seeds)], versions)
    versions_read = store.read(IDENTITY, [3, 2, 1, 0]).versions
    assert versions_read == [{"torch": "2"}, {"torch": "3"}, {}, {"torch": "2"}]
    path = record(store, "seeds_1.json")
    older = json.loads(path.read_text())
    del older["versions"]
    path.write_text(json.dumps(older))
    assert store.read(IDENTITY, [1]).versions == [{}]


def test_none_reads_back_as_nan_and_numbers_as_float64(store):
    arrays = {"a": np.zeros((2, 1))}
    keep(store, [0, 1], {"x": [None, 3], "none": [None, None]}, arrays)
    results = store.read(IDENTITY, [0, 1]).metrics
    assert results["x"].dtype == results["none"].dtype == np.float64
    assert math.isnan(results["x"][0]) and results["x"][1] == 3.0
    assert np.isnan(results["none"]).all()


def test_seeds_of_several_runs_come_together_in_their_order(store):
    for seeds in ([4, 5], [0], [1, 2]):
        write(store, seeds)
    assert store.seeds_done(IDENTITY) == [0, 1, 2, 4, 5]
    results = store.read(IDENTITY, [5, 0, 1, 3])
    assert results.seeds == [0, 1, 5] and results.seconds == pytest.approx(3)
    metrics, arrays = values([0, 1, 5])
    assert results.metrics["coset"].tolist() == metrics["coset"]
    assert np.array_equal(results.arrays["embedding"], arrays["embedding"])


def test_folders_of_two_machines_are_merged_by_copying(store, tmp_path):
    second = Store(tmp_path / "elsewhere")
    write(store, [0, 1])
    write(second, [2, 3])
    write(second, [0], OTHER)
    shutil.copytree(second.folder, store.folder, dirs_exist_ok=True)
    assert store.seeds_done(IDENTITY) == [0, 1, 2, 3] and store.seeds_done(OTHER) == [0]
    assert (
        store.read(IDENTITY, range(4)).metrics["accuracy"].tolist()
        == values(range(4))[0]["accuracy"]
    )


def test_rows_of_several_lengths_are_filled_up_with_nan(store):
    for seed, length in ((0, 2), (1, 3)):
        keep(store, [seed], {}, {"curve": np.arange(length * 1.0)[None]})
    curves = store.read(IDENTITY, [0, 1]).arrays["curve"]
    assert np.array_equal(curves, [[0, 1, np.nan], [0, 1, 2]], equal_nan=True)


def test_a_folder_is_named_after_classes_and_hash(store):
    assert store.point_dir(IDENTITY).name == f"head-{identity_hash(IDENTITY)}"
    assert identity_hash(IDENTITY) != identity_hash(OTHER)
    # Runs that take hours are kept under these names: they must not change.
    assert identity_hash(IDENTITY) == "693be50836b1"


def test_seed_ranges_are_short_and_unique():
    assert seed_ranges([5, 0, 1, 2]) == "0-2_5"
    assert seed_ranges([7]) == "7"
    long, longer = seed_ranges(range(0, 200, 2)), seed_ranges(range(0, 202, 2))
    assert long != longer and len(long) < 60


# ---- half of a run -------------------------------------------------------------------------------


class Killed(BaseException):
    """As a kill is no Exception."""


@pytest.mark.parametrize("moves", [0, 1])
def test_a_run_killed_during_writing_does_not_count(store, monkeypatch, moves):
    """Before anything has its name, and between the arrays and the record."""
    left = [moves]
    move = os.replace

    def replace(source, target):
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        move(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(Killed):
        write(store, [0, 1])
    monkeypatch.undo()
    names = {path.name for path in store.point_dir(IDENTITY).iterdir()}
    assert ("seeds_0-1.npz" in names) == (moves == 1)
    assert store.seeds_done(IDENTITY) == [] and store.read(IDENTITY, [0, 1]) is None
    write(store, [0, 1])
    assert store.seeds_done(IDENTITY) == [0, 1]
    assert {path.name for path in store.point_dir(IDENTITY).iterdir()} == {
        ".lock", "seeds_0-1.json", "seeds_0-1.npz"
    }  # fmt: skip


def test_points_that_were_trained_together_count_together(store, monkeypatch):
    """A kill while any of them is written leaves none of them."""
    move, moves = os.replace, []

    def replace(source, target):
        moves.append(target.name)
        if len(moves) == 2:  # the second point's arrays
            raise Killed
        move(source, target)

    monkeypatch.setattr(os, "replace", replace)
    points = [trained([0, 1]), trained([0, 1], OTHER)]
    with pytest.raises(Killed):
        store.write(points, {})
    monkeypatch.setattr(os, "replace", lambda a, b: moves.append(b.name) or move(a, b))
    assert store.seeds_done(IDENTITY) == store.seeds_done(OTHER) == []
    moves.clear()
    store.write(points, {})
    assert moves == ["seeds_0-1.npz"] * 2 + ["seeds_0-1.json"] * 2
    assert store.seeds_done(IDENTITY) == store.seeds_done(OTHER) == [0, 1]


def test_partial_files_of_a_killed_run_are_ignored_and_deleted(store):
    write(store, [0])
    half = record(store, ".seeds_1.json.4711.partial")
    half.write_text(record(store, "seeds_0.json").read_text()[:40])
    assert store.seeds_done(IDENTITY) == [0]
    write(store, [2])
    assert not half.exists()


# ---- what cannot be used -------------------------------------------------------------------------


def refused(store: Store) -> str:
    """The message that both ways to read the point raise."""
    with pytest.raises(ValueError) as caught:
        store.seeds_done(IDENTITY)
    with pytest.raises(ValueError) as again:
        store.read(IDENTITY, [0])
    assert str(caught.value) == str(again.value) and "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: "",
        lambda content: json.dumps(content)[:-30],
        lambda content: json.dumps({**content, "seeds": []}),
        lambda content: json.dumps({**content, "seeds": [0]}),
        lambda content: json.dumps({**content, "metrics": 3}),
        lambda content: json.dumps({**content, "seconds": None}),
        lambda content: json.dumps({**content, "seconds": math.inf}),
        lambda content: json.dumps({**content, "seeds": [0, 0]}),
        lambda content: json.dumps({**content, "metrics": {"a": [[1], [1, 2]]}}),
        lambda content: json.dumps({**content, "versions": [1]}),
        lambda content: json.dumps({**content, "identity": "M"}),
        lambda content: json.dumps({k: v for k, v in content.items() if k != "metrics"}),
    ],
)
def test_a_damaged_record_is_refused_and_named(store, damage):
    write(store, [0, 1])
    path = record(store)
    path.write_text(damage(json.loads(path.read_text())))
    assert f"{path} is damaged" in refused(store)


def test_truncated_arrays_are_refused_before_they_are_read(store):
    write(store, [0, 1])
    path = record(store, "seeds_0-1.npz")
    whole = path.read_bytes()
    for length in (0, 10, len(whole) - 5):
        path.write_bytes(whole[:length])
        assert f"{path} is damaged" in refused(store)


def test_any_wrong_byte_in_the_arrays_is_refused_or_harmless(store):
    write(store, [0])
    path = record(store, "seeds_0.npz")
    whole, (_, arrays) = path.read_bytes(), values([0])
    rng, refusals = np.random.default_rng(0), 0
    for _ in range(60):
        spoilt = bytearray(whole)
        spoilt[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        path.write_bytes(bytes(spoilt))
        try:
            results = store.read(IDENTITY, [0])
        except ValueError as error:
            assert f"{path} is damaged" in str(error)
            refusals += 1
        else:
            assert all(np.array_equal(results.arrays[n], arrays[n]) for n in results.arrays)
    assert refusals > 10


def test_runs_of_another_version_are_refused(store):
    write(store, [0], OTHER)
    os.rename(store.point_dir(OTHER), store.point_dir(IDENTITY))
    assert "another version" in refused(store)


def test_seeds_that_another_runner_has_finished_meanwhile_keep_their_numbers(store):
    write(store, [0])
    before = record(store, "seeds_0.json").read_text()
    write(store, [0, 1])
    assert record(store, "seeds_0.json").read_text() == before
    assert record(store, "seeds_1.json").is_file()
    assert not record(store, "seeds_0-1.json").is_file()


def test_runs_of_another_format_are_refused_with_one_line(store):
    store.check_format()  # nothing there yet
    write(store, [0])
    store.check_format()
    path = record(store, "seeds_0.json")
    content = json.loads(path.read_text())
    for other in (
        {**content, "format": FORMAT + 1},
        {k: content[k] for k in content if k != "format"},
    ):
        path.write_text(json.dumps(other, indent=1))
        with pytest.raises(ValueError, match="--runs") as caught:
            store.check_format()
        assert "\n" not in str(caught.value)
