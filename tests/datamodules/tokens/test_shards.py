from __future__ import annotations

import hashlib
import json
import pickle
import time
from pathlib import Path

import numpy as np
import pytest

from datamodules.tokens import shards as tokens
from datamodules.tokens.meta import Meta, Shard, ShardSplit, token_dtype
from datamodules.tokens.shards import TokenShards, check_ids, read_meta, verify


def write_shards(
    folder: Path,
    train: list[list[int]],
    val: list[list[int]],
    vocab_size: int = 300,
    dtype: str = "uint16",
) -> Path:
    """A folder of shards with these ids, by plain NumPy."""
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


def change_meta(folder: Path, **values: object) -> None:
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps({**meta, **values}))


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


def test_every_token_but_the_first_is_predicted_once(folder):
    shards = TokenShards(folder, "train", 300)
    windows = shards.windows(np.arange(shards.num_windows(9)), 9)
    targets = windows[:, 1:].flatten().tolist()
    assert targets == [*range(1, 100), *range(201, 201 + 27)]


def test_windows_out_of_range_are_refused(folder):
    shards = TokenShards(folder, "val", 300)
    assert shards.windows(np.array([], int), 2).shape == (0, 3)
    for index in (1, -1):
        with pytest.raises(IndexError, match=r"windows .* are asked for, and it has 1 of 2 tokens"):
            shards.windows(np.array([index]), 2)
    with pytest.raises(ValueError, match="block_size is 0; it must be at least 1"):
        shards.num_windows(0)


def test_large_vocabularies_take_32_bits(tmp_path):
    assert [token_dtype(size) for size in (257, 65536, 65537)] == ["uint16", "uint16", "uint32"]
    write_shards(tmp_path, [[70000, 1, 2]], [[4]], vocab_size=70001, dtype="uint32")
    assert TokenShards(tmp_path, "train", 70001).windows(np.array([0]), 2).tolist() == [
        [70000, 1, 2]
    ]


def test_opening_reads_no_tokens_and_other_processes_get_no_copy(folder):
    shards = TokenShards(folder, "train", 300)
    assert shards._maps == {}
    first = shards.windows(np.arange(3), 9)
    assert len(pickle.dumps(shards)) < 5000
    again = pickle.loads(pickle.dumps(shards))
    assert again._maps == {} and (again.windows(np.arange(3), 9) == first).all()


def test_ids_beyond_the_vocabulary_are_named_when_they_are_read(tmp_path):
    ids = np.zeros(100, "<u2")
    ids[40] = 50257  # no largest id is recorded of nanoGPT's files
    ids.tofile(tmp_path / "train.bin")
    shards = TokenShards(tmp_path, "train")
    shards.windows(np.array([0]), 16)
    with pytest.raises(ValueError, match=r"train.bin holds the token id 50257"):
        shards.windows(np.array([0, 2]), 16)


def test_480_windows_of_1024_tokens_take_milliseconds(tmp_path):
    ids = (np.arange(2_000_000) % 50257).astype("<u2")
    ids.tofile(tmp_path / "train.bin")
    shards = TokenShards(tmp_path, "train")
    indices = np.random.default_rng(0).permutation(shards.num_windows(1024))[:480]
    shards.windows(indices, 1024)
    began = time.thread_time()
    windows = shards.windows(indices, 1024)
    assert time.thread_time() - began < 0.05  # 1 to 3 ms; room for a busy machine
    assert (windows[7] == ids[indices[7] * 1024 :][:1025]).all()


def test_nanogpts_files_work_without_meta(tmp_path):
    np.array([1, 2, 50256, 3], "<u2").tofile(tmp_path / "train.bin")
    np.array([9, 8], "<u2").tofile(tmp_path / "val.bin")
    meta = read_meta(tmp_path)
    assert (meta.tokenizer, meta.vocab_size, meta.end_of_text) == ("gpt2", 50257, 50256)
    assert not meta.exact
    assert TokenShards(tmp_path, "train", 50257).windows(np.array([1]), 1).tolist() == [[2, 50256]]
    assert TokenShards(tmp_path, "val").num_tokens == 2
    assert TokenShards(tmp_path, "train", dtype="uint32").num_tokens == 2
    with pytest.raises(ValueError, match="dtype is 'int8'; choose 'uint16' or 'uint32'"):
        TokenShards(tmp_path, "train", dtype="int8")


def test_ids_above_the_vocabulary_are_found_with_their_position(tmp_path, monkeypatch):
    monkeypatch.setattr(tokens, "CHUNK", 10)
    ids = np.arange(100, dtype="<u2")
    ids[[57, 83]] = 400
    ids.tofile(tmp_path / "train.bin")
    check_ids(tmp_path, "train", 401)
    with pytest.raises(
        ValueError, match=r"train.bin holds the token id 400 at token 57, and .*0 t"
    ):
        check_ids(tmp_path, "train", 400)


def test_with_meta_the_recorded_largest_id_counts(folder):
    check_ids(folder, "train", 234)
    with pytest.raises(ValueError, match=r"train_000002.bin holds the token id 233, and the model"):
        check_ids(folder, "train", 233)


def test_verify_finds_a_changed_byte(folder):
    assert verify(folder) == [*(f"train_00000{i}.bin" for i in range(3)), "val_000000.bin"]
    data = bytearray((folder / "train_000002.bin").read_bytes())
    data[7] ^= 1
    (folder / "train_000002.bin").write_bytes(data)
    with pytest.raises(ValueError, match=r"train_000002.bin has changed since it was made"):
        verify(folder)
    (folder / "meta.json").unlink()
    with pytest.raises(ValueError, match=r"has no meta.json and so no checksums"):
        verify(folder)


def test_models_with_too_few_ids_are_refused_and_larger_ones_are_fine(folder):
    TokenShards(folder, "train", 304)
    with pytest.raises(ValueError, match="'bytes' of 300 ids, and the model's vocabulary has 299"):
        TokenShards(folder, "train", 299)


def test_files_that_are_cut_off_empty_or_missing_are_named(folder):
    path = folder / "train_000000.bin"
    whole = path.read_bytes()
    for data, message in (
        (
            whole[:-2],
            r"train_000000.bin has 198 bytes and should have 200 \(100 tokens of uint16\)",
        ),
        (whole[:-1], "has 199 bytes and should have 200"),
        (b"", "train_000000.bin is empty; copy it again"),
    ):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=message):
            TokenShards(folder, "train", 300)
    path.unlink()
    with pytest.raises(ValueError, match=r"train_000000.bin is missing, which meta.json names"):
        TokenShards(folder, "train", 300)
    TokenShards(folder, "val", 300)  # the other split is not concerned


def test_nanogpts_files_that_are_no_tokens_are_named(tmp_path):
    (tmp_path / "train.bin").write_bytes(b"123")
    with pytest.raises(
        ValueError, match=r"has 3 bytes and should have a multiple of 2 \(tokens of"
    ):
        TokenShards(tmp_path, "train")
    (tmp_path / "train.bin").write_bytes(b"")
    with pytest.raises(ValueError, match=r"train.bin is empty"):
        TokenShards(tmp_path, "train")


def test_missing_splits_and_folders_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"no split 'train' .* only none at all; make the shards"):
        TokenShards(tmp_path, "train")
    np.arange(4, dtype="<u2").tofile(tmp_path / "train.bin")
    with pytest.raises(ValueError, match=r"no split 'val' .*only 'train'; .* larger val_fraction"):
        TokenShards(tmp_path, "val")
    with pytest.raises(ValueError, match=r"there is no folder .*nowhere with token shards"):
        TokenShards(tmp_path / "nowhere", "val")
    (tmp_path / "progress.json").write_text("{}")
    with pytest.raises(ValueError, match=r"preparation of .* is not finished; run the same"):
        TokenShards(tmp_path, "train")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "meta.json is no valid JSON"),
        ("[1]", "is not a description of token shards that this version reads"),
        ('{"format": "glassbox tokens 9"}', "its format is not 'glassbox tokens 1'"),
        ('{"format": "glassbox tokens 1"}', r"lacks a part or has one too many \('splits'\)"),
        (b"\xff\xfe\x00", "meta.json is no valid JSON"),
    ],
)
def test_a_foreign_meta_is_named(folder, content, message):
    data = content if isinstance(content, bytes) else content.encode()
    (folder / "meta.json").write_bytes(data)
    with pytest.raises(ValueError, match=message) as caught:
        TokenShards(folder, "train")
    assert "lightning prepare --config" in str(caught.value)


def test_a_meta_that_contradicts_itself_is_named(folder):
    good = json.loads((folder / "meta.json").read_text())
    for values, message in (
        ({"dtype": "float16"}, "its dtype is 'float16' and neither"),
        ({"vocab_size": 70000}, "uint16 cannot hold a vocabulary of 70000"),
        ({"vocab_size": 200}, "the largest id of train_000002.bin is 233"),
        ({"vocab_size": "many"}, "lacks a part or has one too many"),
        ({"surprise": 1}, "lacks a part or has one too many"),
    ):
        (folder / "meta.json").write_text(json.dumps(good))
        change_meta(folder, **values)
        with pytest.raises(ValueError, match=message):
            TokenShards(folder, "train")
    for key, value, message in (
        ("tokens", 99, "the shards of 'val' do not add up to its 3 tokens"),
        ("name", "../val.bin", "the shard '../val.bin' is not a file of this folder"),
    ):
        changed = json.loads(json.dumps(good))
        changed["splits"]["val"]["shards"][0][key] = value
        (folder / "meta.json").write_text(json.dumps(changed))
        with pytest.raises(ValueError, match=f"contradicts itself: {message}"):
            TokenShards(folder, "train")


def test_meta_survives_being_written(folder):
    meta = read_meta(folder)
    assert json.loads(meta.to_json()) == json.loads((folder / "meta.json").read_text())
