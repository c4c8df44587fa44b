"""When preparing is refused: other settings, damage, values out of range, nothing to prepare."""

from __future__ import annotations

import os

import pytest

from datamodules.documents.sources import FileDocuments
from datamodules.tokens.prepare import prepare
from datamodules.tokens.tokenizers import ByteTokenizer
from tests.helpers.prepared_corpus import corpus


def test_other_settings_are_refused_and_named(tmp_path, source):
    out = tmp_path / "out"
    prepare(source, out, ByteTokenizer(), 0.2)
    with pytest.raises(
        ValueError, match=r"holds shards with val_fraction 0.2, and now it is val_f"
    ):
        prepare(source, out, ByteTokenizer(), 0.3)
    with pytest.raises(ValueError, match="shard_tokens 100000000, and now it is shard_tokens 7;"):
        prepare(source, out, ByteTokenizer(), 0.2, shard_tokens=7)
    other = ByteTokenizer()
    other.fingerprint = "sha256:abc"
    with pytest.raises(ValueError, match="tokenizer bytes, and now it is tokenizer sha256:abc"):
        prepare(source, out, other, 0.2)
    corpus(tmp_path / "other.jsonl.gz", seed=1)
    with pytest.raises(ValueError, match=r"files 1, bytes .* and now it is files 2, .*delete this"):
        prepare(FileDocuments(str(tmp_path / "*.gz")), out, ByteTokenizer(), 0.2)


class Broken(ByteTokenizer):
    """Fails after so many batches of texts."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.left = after

    def encode_batch(self, texts):
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("stop")
        return super().encode_batch(texts)


def test_an_unfinished_one_with_other_settings_is_refused(tmp_path, source, small_batches):
    with pytest.raises(RuntimeError):
        prepare(source, tmp_path / "out", Broken(after=12), 0.2, workers=1)
    with pytest.raises(ValueError, match=r"was begun with val_fraction 0.2, and now it is"):
        prepare(source, tmp_path / "out", ByteTokenizer(), 0.1)


def test_one_that_had_done_nothing_yet_may_begin_with_other_settings(
    tmp_path, source, small_batches
):
    with pytest.raises(RuntimeError):
        prepare(source, tmp_path / "out", Broken(after=0), 0.2, workers=1)
    prepare(source, tmp_path / "out", ByteTokenizer(), 0.1)
    prepare(source, tmp_path / "straight", ByteTokenizer(), 0.1)
    for path in (tmp_path / "straight").iterdir():
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()


def test_damage_is_named_and_nothing_is_overwritten(tmp_path, source, small_batches):
    out = tmp_path / "out"
    prepare(source, out, ByteTokenizer(), 0.2, shard_tokens=5000)
    (out / "train_000000.bin").write_bytes(b"xx")
    with pytest.raises(ValueError, match=r"train_000000.bin has 2 bytes .*: delete .* first"):
        prepare(source, out, ByteTokenizer(), 0.2, shard_tokens=5000)
    os.replace(out / "meta.json", out / "progress.json")
    with pytest.raises(ValueError, match=r"train_000000.bin, which an earlier run completed"):
        prepare(source, out, ByteTokenizer(), 0.2, shard_tokens=5000)
    (out / "progress.json").unlink()
    with pytest.raises(ValueError, match=r"holds train_000000.bin, which was not made here"):
        prepare(source, out, ByteTokenizer(), 0.2, shard_tokens=5000)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="file is a file; name a folder for the shards"):
        prepare(source, tmp_path / "file", ByteTokenizer())


def test_a_partial_shard_that_lost_its_end_is_named(tmp_path, source, small_batches):
    with pytest.raises(RuntimeError):
        prepare(source, tmp_path / "out", Broken(after=100), 0.2, workers=1)
    partial = tmp_path / "out" / "train_000000.bin.partial"
    partial.write_bytes(partial.read_bytes()[:10])
    with pytest.raises(ValueError, match=r"train_000000.bin.partial holds less than its \d+ rec"):
        prepare(source, tmp_path / "out", ByteTokenizer(), 0.2)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"val_fraction": 1.0}, "val_fraction is 1.0; it must be at least 0 and below 1"),
        ({"val_fraction": -0.1}, "val_fraction is -0.1"),
        ({"shard_tokens": 0}, "shard_tokens is 0; it must be at least 1"),
        ({"workers": 0}, "workers is 0; it must be at least 1"),
    ],
)
def test_numbers_out_of_range_are_named(tmp_path, source, values, message):
    with pytest.raises(ValueError, match=message):
        prepare(source, tmp_path / "out", ByteTokenizer(), **values)
    assert not (tmp_path / "out").exists()


def test_nothing_to_train_on_is_an_error_and_leaves_no_files(tmp_path):
    (tmp_path / "empty.txt").touch()
    (tmp_path / "short.txt").write_text("x")
    with pytest.raises(ValueError, match=r"no document with text \(1 are empty\)"):
        prepare(FileDocuments(str(tmp_path / "empty.txt")), tmp_path / "a", ByteTokenizer())
    with pytest.raises(ValueError, match=r"all 1 documents were held out .*lower val_fraction"):
        prepare(FileDocuments(str(tmp_path / "short.txt")), tmp_path / "b", ByteTokenizer(), 0.9999)
    assert list((tmp_path / "a").iterdir()) == list((tmp_path / "b").iterdir()) == []


def test_two_runs_do_not_share_a_folder(tmp_path, source):
    import fcntl

    (tmp_path / "out").mkdir()
    handle = os.open(tmp_path / "out", os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(ValueError, match="another run is preparing"):
        prepare(source, tmp_path / "out", ByteTokenizer())
    os.close(handle)
    prepare(source, tmp_path / "out", ByteTokenizer())
