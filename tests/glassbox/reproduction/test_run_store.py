"""The store of finished runs: what counts as finished, and what comes back."""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from glassbox.reproduction.run_store import Store, Trained, identity_hash, seed_ranges

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
    return Trained(identity, seeds, *values(seeds), 1.0 * len(seeds))


def keep(store, seeds, metrics, arrays):
    store.write([Trained(IDENTITY, seeds, metrics, arrays, 1.0)], {})


def write(store, seeds, identity=IDENTITY):
    store.write([trained(seeds, identity)], {"torch": "2"})


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "runs")


def record(store: Store, name: str = "seeds_0-1.json") -> Path:
    return store.place(IDENTITY) / name


def test_a_written_run_reads_back_bit_for_bit(store):
    write(store, [2, 0, 1])
    found = store.read(IDENTITY, [0, 1, 2])
    metrics, arrays = values([0, 1, 2])
    assert found is not None and found.seeds == [0, 1, 2] and found.seconds == pytest.approx(3)
    assert found.metrics["accuracy"].tolist() == metrics["accuracy"]
    assert found.arrays["embedding"].tobytes() == arrays["embedding"].tobytes()
    assert found.arrays["edges"].dtype.kind == "i"
    assert found.arrays["edges"].tolist() == arrays["edges"].tolist()


def test_each_seed_reads_back_with_the_versions_that_trained_it(store):
    for seeds, versions in (([0, 3], {"torch": "2"}), ([1], {"torch": "3"}), ([2], {})):
        store.write([trained(seeds)], versions)
    told = store.read(IDENTITY, [3, 2, 1, 0]).versions
    assert told == [{"torch": "2"}, {"torch": "3"}, {}, {"torch": "2"}]
    path = record(store, "seeds_1.json")
    older = json.loads(path.read_text())
    del older["versions"]
    path.write_text(json.dumps(older))
    assert store.read(IDENTITY, [1]).versions == [{}]


def test_none_reads_back_as_nan_and_numbers_as_float64(store):
    arrays = {"a": np.zeros((2, 1))}
    keep(store, [0, 1], {"x": [None, 3], "none": [None, None]}, arrays)
    found = store.read(IDENTITY, [0, 1]).metrics
    assert found["x"].dtype == found["none"].dtype == np.float64
    assert math.isnan(found["x"][0]) and found["x"][1] == 3.0
    assert np.isnan(found["none"]).all()


def test_a_name_that_is_missing_reads_back_as_no_text(store):
    arrays = {"a": np.zeros((2, 1))}
    keep(store, [0, 1], {"coset": [None, "A4"]}, arrays)
    assert store.read(IDENTITY, [0, 1]).metrics["coset"].tolist() == ["", "A4"]


def test_seeds_of_several_runs_come_together_in_their_order(store):
    for seeds in ([4, 5], [0], [1, 2]):
        write(store, seeds)
    assert store.seeds_done(IDENTITY) == [0, 1, 2, 4, 5]
    found = store.read(IDENTITY, [5, 0, 1, 3])
    assert found.seeds == [0, 1, 5] and found.seconds == pytest.approx(3)
    metrics, arrays = values([0, 1, 5])
    assert found.metrics["coset"].tolist() == metrics["coset"]
    assert np.array_equal(found.arrays["embedding"], arrays["embedding"])


def test_nothing_finished_is_nothing(store):
    assert store.seeds_done(IDENTITY) == [] and store.read(IDENTITY, [0]) is None
    write(store, [0])
    assert store.read(IDENTITY, [1, 2]) is None
    assert store.seeds_done(OTHER) == []


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


def test_a_point_s_folder_is_named_after_its_classes_and_everything_but_the_seeds(store):
    assert store.place(IDENTITY).name == f"head-{identity_hash(IDENTITY)}"
    assert identity_hash(IDENTITY) != identity_hash(OTHER)
    # Runs that take hours are kept under these names: they must not change.
    assert identity_hash(IDENTITY) == "5c900a955afa"


def test_seeds_are_told_in_short_and_long_lists_apart():
    assert seed_ranges([5, 0, 1, 2]) == "0-2_5"
    assert seed_ranges([7]) == "7"
    long, longer = seed_ranges(range(0, 200, 2)), seed_ranges(range(0, 202, 2))
    assert long != longer and len(long) < 60


# ---- half of a run -------------------------------------------------------------------------------


class Killed(BaseException):
    """As a kill is no Exception."""


@pytest.mark.parametrize("moves", [0, 1])
def test_a_run_killed_while_it_is_written_does_not_count_and_is_written_anew(
    store, monkeypatch, moves
):
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
    names = {path.name for path in store.place(IDENTITY).iterdir()}
    assert any(".partial" in name for name in names)
    assert ("seeds_0-1.npz" in names) == (moves == 1)
    assert store.seeds_done(IDENTITY) == [] and store.read(IDENTITY, [0, 1]) is None
    write(store, [0, 1])
    assert store.seeds_done(IDENTITY) == [0, 1]
    assert {path.name for path in store.place(IDENTITY).iterdir()} == {
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


def test_half_a_record_under_its_partial_name_does_not_count(store):
    write(store, [0])
    half = record(store, "seeds_1.4711.partial")
    half.write_text(record(store, "seeds_0.json").read_text()[:40])
    assert store.seeds_done(IDENTITY) == [0]


# ---- what cannot be used -------------------------------------------------------------------------


def refused(store: Store) -> str:
    """The sentence with which both ways to look at the point refuse it."""
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
        lambda content: "[]",
        lambda content: json.dumps({**content, "seeds": []}),
        lambda content: json.dumps({**content, "seeds": [0]}),
        lambda content: json.dumps({**content, "metrics": 3}),
        lambda content: json.dumps({**content, "seconds": None}),
        lambda content: json.dumps({**content, "seconds": "1"}),
        lambda content: json.dumps({**content, "seconds": math.inf}),
        lambda content: json.dumps({**content, "seeds": [0, 0]}),
        lambda content: json.dumps({**content, "seeds": ["0", "1"]}),
        lambda content: json.dumps({**content, "seeds": [None, 1]}),
        lambda content: json.dumps({**content, "metrics": {"a": [[1], [1, 2]]}}),
        lambda content: json.dumps({**content, "metrics": {"a": [{}, {}]}}),
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


def test_a_record_without_its_arrays_is_refused(store):
    write(store, [0, 1])
    record(store, "seeds_0-1.npz").unlink()
    assert "has no arrays beside it (seeds_0-1.npz); copy them too, or delete it" in refused(store)


def test_arrays_of_fewer_seeds_than_the_record_are_refused(store):
    write(store, [0, 1])
    path = record(store, "seeds_0-1.npz")
    for array in (np.zeros((1, 3)), np.zeros(())):
        np.savez(path, embedding=array)
        with pytest.raises(ValueError, match=r"npz is damaged \(not one row a seed\); delete it"):
            store.read(IDENTITY, [1])


def test_arrays_that_are_cut_short_are_refused_before_anything_is_read(store):
    write(store, [0, 1])
    path = record(store, "seeds_0-1.npz")
    whole = path.read_bytes()
    for length in (0, 10, len(whole) - 5):
        path.write_bytes(whole[:length])
        assert f"{path} is damaged (cut short)" in refused(store)


def test_any_wrong_byte_in_the_arrays_is_refused_or_harmless(store):
    write(store, [0])
    path = record(store, "seeds_0.npz")
    whole, (_, arrays) = path.read_bytes(), values([0])
    rng, refusals = np.random.default_rng(0), 0
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        spoilt = bytearray(whole)
        spoilt[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        path.write_bytes(bytes(spoilt))
        try:
            found = store.read(IDENTITY, [0])
        except ValueError as error:
            assert f"{path} is damaged" in str(error)
            refusals += 1
        else:
            assert all(np.array_equal(found.arrays[n], arrays[n]) for n in found.arrays)
    assert refusals > 10


def test_runs_of_another_version_are_refused(store):
    write(store, [0], OTHER)
    os.rename(store.place(OTHER), store.place(IDENTITY))
    assert "holds runs of another version of this study; delete the folder" in refused(store)


def test_seeds_that_another_runner_has_finished_meanwhile_keep_their_numbers(store):
    write(store, [0])
    before = record(store, "seeds_0.json").read_text()
    write(store, [0, 1])
    assert record(store, "seeds_0.json").read_text() == before
    assert record(store, "seeds_1.json").is_file()
    assert not record(store, "seeds_0-1.json").is_file()
