"""Windows of shards against a plain loop; damaged shards and descriptions are errors."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from datamodules.tokens import shards as shards_module
from datamodules.tokens.meta import Meta, Shard, ShardSplit, read_meta, token_dtype
from datamodules.tokens.shards import TokenShards, check_ids


def write_shards(
    folder: Path,
    train: list[list[int]],
    val: list[list[int]],
    vocab_size: int = 300,
    dtype: str = "uint16",
) -> Path:
    """Write a folder of shards with these ids in plain NumPy."""
    meta = Meta("bytes", vocab_size, 256, dtype)
    for split, shards in (("train", train), ("val", val)):
        part = meta.splits[split] = ShardSplit(len(shards), sum(map(len, shards)))
        for i, ids in enumerate(shards):
            path = folder / f"{split}_{i:06d}.bin"
            np.array(ids, {"uint16": "<u2", "uint32": "<u4"}[dtype]).tofile(path)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            part.shards.append(Shard(path.name, len(ids), digest, max(ids)))
    (folder / "meta.json").write_text(meta.to_json())
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_shards(tmp_path, [list(range(100)), [5], list(range(200, 234))], [[1, 2, 3]])


@pytest.mark.parametrize("block", [1, 3, 4, 11, 33, 99, 100])
def test_windows_are_those_of_a_plain_loop(folder, block):
    expected = []
    for shard in (list(range(100)), [5], list(range(200, 234))):
        for start in range(0, len(shard) - block, block):
            expected.append(shard[start : start + block + 1])
    shards = TokenShards(folder, "train", 300)
    assert shards.num_tokens == 135
    assert shards.num_windows(block) == len(expected)
    windows = shards.windows(np.arange(len(expected)), block)
    assert windows.dtype == np.int64 and windows.shape == (len(expected), block + 1)
    assert windows.tolist() == expected
    mixed = np.random.default_rng(0).integers(0, max(len(expected), 1), 50 * bool(expected))
    assert shards.windows(mixed, block).tolist() == [expected[i] for i in mixed]


def test_windows_out_of_range_are_errors(folder):
    shards = TokenShards(folder, "val", 300)
    assert shards.windows(np.array([], int), 2).shape == (0, 3)
    for index in (1, -1):
        with pytest.raises(IndexError, match="1 windows"):
            shards.windows(np.array([index]), 2)


def test_large_vocabularies_are_stored_in_32_bits(tmp_path):
    assert [token_dtype(size) for size in (257, 65536, 65537)] == ["uint16", "uint16", "uint32"]
    write_shards(tmp_path, [[70000, 1, 2]], [[4]], vocab_size=70001, dtype="uint32")
    assert TokenShards(tmp_path, "train", 70001).windows(np.array([0]), 2).tolist() == [
        [70000, 1, 2]
    ]


def test_pickling_copies_no_tokens(folder):
    shards = TokenShards(folder, "train", 300)
    assert shards._maps == {}
    first = shards.windows(np.arange(3), 9)
    assert len(pickle.dumps(shards)) < 5000
    again = pickle.loads(pickle.dumps(shards))
    assert again._maps == {} and (again.windows(np.arange(3), 9) == first).all()


def test_ids_outside_the_vocabulary_are_errors_when_read(tmp_path):
    ids = np.zeros(100, "<u2")
    ids[40] = 50257  # nanoGPT's files record no largest id
    ids.tofile(tmp_path / "train.bin")
    shards = TokenShards(tmp_path, "train")
    shards.windows(np.array([0]), 16)
    with pytest.raises(ValueError, match="50257"):
        shards.windows(np.array([0, 2]), 16)


def test_nanogpts_files_work_without_meta(tmp_path):
    np.array([1, 2, 50256, 3], "<u2").tofile(tmp_path / "train.bin")
    np.array([9, 8], "<u2").tofile(tmp_path / "val.bin")
    meta = read_meta(tmp_path)
    assert (meta.tokenizer, meta.vocab_size, meta.end_of_text) == ("gpt2", 50257, 50256)
    assert not meta.exact
    assert TokenShards(tmp_path, "train", 50257).windows(np.array([1]), 1).tolist() == [[2, 50256]]
    assert TokenShards(tmp_path, "val").num_tokens == 2


def test_nanogpts_ids_outside_the_vocabulary_are_errors(tmp_path, monkeypatch):
    monkeypatch.setattr(shards_module, "CHUNK", 10)
    ids = np.arange(100, dtype="<u2")
    ids[[57, 83]] = 400
    ids.tofile(tmp_path / "train.bin")
    check_ids(tmp_path, "train", 401)
    with pytest.raises(ValueError, match=r"train\.bin .* 400"):
        check_ids(tmp_path, "train", 400)


def test_with_meta_json_the_recorded_largest_id_is_checked(folder):
    check_ids(folder, "train", 234)
    with pytest.raises(ValueError, match=r"train_000002\.bin .* 233"):
        check_ids(folder, "train", 233)


def test_the_model_s_vocabulary_must_be_large_enough(folder):
    TokenShards(folder, "train", 304)
    with pytest.raises(ValueError, match="vocab_size is 299"):
        TokenShards(folder, "train", 299)


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-2], lambda data: data[:-1], lambda data: b""]
)
@pytest.mark.parametrize("is_nanogpt", [False, True])
def test_truncated_empty_and_missing_files_are_errors(folder, damage, is_nanogpt):
    path = folder / "train_000000.bin"
    if is_nanogpt:
        (folder / "meta.json").unlink()
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    if is_nanogpt and damaged and len(damaged) % 2 == 0:
        TokenShards(folder, "train")
    else:
        with pytest.raises(ValueError, match=path.name):
            TokenShards(folder, "train")
    TokenShards(folder, "val")  # the other split is not affected
    path.unlink()
    if not is_nanogpt:
        with pytest.raises(ValueError, match=f"{path.name} is missing"):
            TokenShards(folder, "train")


def test_missing_splits_and_folders_are_errors(tmp_path):
    with pytest.raises(ValueError, match=r"'train'.*lightning prepare"):
        TokenShards(tmp_path, "train")
    np.arange(4, dtype="<u2").tofile(tmp_path / "train.bin")
    with pytest.raises(ValueError, match=r"'val'.*val_fraction"):
        TokenShards(tmp_path, "val")
    with pytest.raises(ValueError, match=r"nowhere .* does not exist"):
        TokenShards(tmp_path / "nowhere", "val")
    (tmp_path / "progress.json").write_text("{}")
    with pytest.raises(ValueError, match="unfinished"):
        TokenShards(tmp_path, "train")


@pytest.mark.parametrize(
    "content",
    [b"{", b"[1]", b'{"format": "glassbox tokens 9"}', b'{"format": "glassbox tokens 1"}', b"\xff"],
)
def test_a_meta_json_of_another_program_is_an_error(folder, content):
    (folder / "meta.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"meta\.json .*lightning prepare"):
        TokenShards(folder, "train")


def shard(meta: dict) -> dict:
    return meta["splits"]["val"]["shards"][0]


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda meta: meta.update(dtype="float16"), "float16"),
        (lambda meta: meta.update(vocab_size=70000), "70000"),
        (lambda meta: meta.update(vocab_size=200), "largest id"),
        (lambda meta: meta.update(vocab_size="many"), "keys"),
        (lambda meta: meta.update(surprise=1), "keys"),
        (lambda meta: shard(meta).update(tokens=99), "sum"),
        (lambda meta: shard(meta).update(name="../val.bin"), r"\.\./val\.bin"),
    ],
)
def test_an_inconsistent_meta_json_is_an_error(folder, change, part):
    meta = json.loads((folder / "meta.json").read_text())
    change(meta)
    (folder / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(ValueError, match=part):
        TokenShards(folder, "train")
