"""Preparing token shards: against a plain loop, the same bytes for any number of threads."""

from __future__ import annotations

import json
import os
import random
import time

import pytest
from filelock import FileLock

from datamodules.documents import sources
from datamodules.documents.sources import FileDocuments
from datamodules.tokens import prepare as prepare_module
from datamodules.tokens.prepare import prepare
from datamodules.tokens.shards import TokenShards, check_ids
from datamodules.tokens.tokenizers import ByteTokenizer, load_tokenizer
from tests.helpers.paths import DATA
from tests.helpers.prepared_corpus import contents, corpus, texts_of, tokens_of

# ---- what is written -------------------------------------------------------------------------


def test_shards_are_those_of_a_plain_loop(tmp_path, source, small_batches):
    texts = texts_of(source)
    summary = prepare(source, tmp_path / "out", ByteTokenizer(), 0.2)
    streams = {split: tokens_of(tmp_path / "out", split) for split in ("train", "val")}
    assert {split: part.tokens for split, part in summary.meta.splits.items()} == {
        split: len(stream) for split, stream in streams.items()
    }
    for text in filter(None, texts):  # each document is next in one of the splits
        ids = [*text.encode(), 256]
        split = next(s for s, stream in streams.items() if stream[: len(ids)] == ids)
        streams[split] = streams[split][len(ids) :]
    assert streams == {"train": [], "val": []}
    documents = [text for text in texts if text]
    assert summary.documents == len(documents)
    assert summary.meta.skipped == len(texts) - len(documents) > 0
    assert summary.meta.text_bytes == sum(len(text.encode()) for text in documents)
    assert 0.1 < summary.meta.splits["val"].documents / summary.documents < 0.3
    sizes = [path.stat().st_size for path in sorted((tmp_path / "out").glob("train_*.bin"))]
    assert len(sizes) > 3 and set(sizes[:-1]) == {10000} and 0 < sizes[-1] <= 10000


def test_shards_can_be_read_and_meta_json_describes_them(tmp_path, source):
    out = tmp_path / "out"
    prepare(source, out, ByteTokenizer(), 0.2)
    assert sorted(contents(out)) == ["meta.json", "train_000000.bin", "val_000000.bin"]
    for split in ("train", "val"):
        shards = TokenShards(out, split, 257)
        assert shards.num_tokens == len(tokens_of(out, split))
        check_ids(out, split, 257)
    meta = shards.meta
    assert (meta.tokenizer, meta.vocab_size, meta.end_of_text) == ("bytes", 257, 256)
    assert meta.splits["train"].shards[0].largest == 256


@pytest.mark.skipif(not (DATA / "tiktoken").is_dir(), reason="needs tiktoken in GLASSBOX_TEST_DATA")
def test_gpt2_shards_are_nanogpts(tmp_path, monkeypatch):
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(DATA / "tiktoken"))
    import tiktoken

    plain = tiktoken.get_encoding("gpt2")
    texts = [*corpus(tmp_path / "a.jsonl.gz"), "word " * 20_000 + "   \n\n\n  end  "]
    (tmp_path / "long.txt").write_text(texts[-1])
    monkeypatch.setattr(sources, "PIECE", 7000)
    monkeypatch.setattr(prepare_module, "BATCH_CHARS", 2000)
    documents = FileDocuments([str(tmp_path / "*.gz"), str(tmp_path / "long.txt")])
    prepare(documents, tmp_path / "out", load_tokenizer("gpt2"), val_fraction=0.0)
    expected = [i for text in texts if text for i in [*plain.encode_ordinary(text), 50256]]
    assert tokens_of(tmp_path / "out", "train") == expected


def test_large_vocabularies_are_stored_in_32_bits(tmp_path, source):
    class Wide(ByteTokenizer):
        def __init__(self) -> None:
            super().__init__()
            self.vocab_size, self.end_of_text = 70001, 70000

    prepare(source, tmp_path / "out", Wide(), 0.2)
    ids = tokens_of(tmp_path / "out", "train", "<u4")
    assert max(ids) == 70000 and TokenShards(tmp_path / "out", "train").num_tokens == len(ids)


def test_any_number_of_threads_writes_the_same_bytes(tmp_path, source, small_batches):
    class Slow(ByteTokenizer):
        """Batches finish out of order."""

        def encode_batch(self, texts):
            time.sleep(0.002 * (len(texts[0]) % 3))
            return super().encode_batch(texts)

    for workers in (1, 5):
        prepare(source, tmp_path / str(workers), Slow(), 0.2, workers=workers)
    assert contents(tmp_path / "1") == contents(tmp_path / "5")


def test_a_document_and_its_copies_are_in_the_same_split_in_any_order(tmp_path, small_batches):
    texts = [text for text in set(corpus(tmp_path / "a.jsonl.gz")) if text]
    held_out: list[set[str]] = []
    for seed in range(3):
        random.Random(seed).shuffle(texts)
        folder = tmp_path / str(seed)
        folder.mkdir()
        with (folder / "b.jsonl").open("w") as file:
            file.writelines(json.dumps({"text": text}) + "\n" for text in texts + texts[:50])
        prepare(FileDocuments(str(folder / "b.jsonl")), folder / "out", ByteTokenizer(), 0.3)
        train, val = (
            set(bytes(min(i, 255) for i in tokens_of(folder / "out", split)).split(b"\xff"))
            for split in ("train", "val")
        )  # 255 is not in UTF-8
        assert train & val == {b""}
        held_out.append(val)
    assert held_out[0] == held_out[1] == held_out[2]


# ---- the summary and the progress ------------------------------------------------------------


def test_a_finished_preparation_is_not_repeated(tmp_path, source):
    first = prepare(source, tmp_path / "out", ByteTokenizer(), 0.2)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    again = prepare(source, tmp_path / "out", ByteTokenizer(), 0.2)
    assert times == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert again.already_done and "nothing to do" in str(again)
    assert again.meta.to_json() == first.meta.to_json()


def test_an_empty_validation_split_is_a_warning(tmp_path, source):
    assert "warning" in str(prepare(source, tmp_path / "out", ByteTokenizer(), 0.0))
    assert not list((tmp_path / "out").glob("val*"))
    with pytest.raises(ValueError, match="'val'"):
        TokenShards(tmp_path / "out", "val")


# ---- errors ----------------------------------------------------------------------------------


class Failing(ByteTokenizer):
    """Fails after a number of batches."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.left = after

    def encode_batch(self, texts):
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("stop")
        return super().encode_batch(texts)


def test_a_folder_with_other_settings_is_an_error(tmp_path, source, monkeypatch):
    out = tmp_path / "out"
    prepare(source, out, ByteTokenizer(), 0.2)
    with pytest.raises(ValueError, match=r"val_fraction=0\.2 .*val_fraction=0\.3"):
        prepare(source, out, ByteTokenizer(), 0.3)
    other = ByteTokenizer()
    other.fingerprint = "sha256:abc"
    with pytest.raises(ValueError, match=r"tokenizer=bytes .*tokenizer=sha256:abc"):
        prepare(source, out, other, 0.2)
    corpus(tmp_path / "other.jsonl.gz", seed=1)
    with pytest.raises(ValueError, match=r"files=1, bytes.*files=2"):
        prepare(FileDocuments(str(tmp_path / "*.gz")), out, ByteTokenizer(), 0.2)
    monkeypatch.setattr(prepare_module, "SHARD_TOKENS", 7)
    with pytest.raises(ValueError, match="shard_tokens=7"):
        prepare(source, out, ByteTokenizer(), 0.2)


def test_an_unfinished_folder_may_change_settings_only_before_anything_is_recorded(
    tmp_path, source, small_batches
):
    with pytest.raises(RuntimeError):
        prepare(source, tmp_path / "out", Failing(after=12), 0.2, workers=1)
    with pytest.raises(ValueError, match=r"val_fraction=0\.2 .*val_fraction=0\.1"):
        prepare(source, tmp_path / "out", ByteTokenizer(), 0.1)
    with pytest.raises(RuntimeError):
        prepare(source, tmp_path / "new", Failing(after=0), 0.2, workers=1)
    prepare(source, tmp_path / "new", ByteTokenizer(), 0.1)
    prepare(source, tmp_path / "straight", ByteTokenizer(), 0.1)
    assert contents(tmp_path / "new") == contents(tmp_path / "straight")


def test_damaged_shards_are_named_and_nothing_is_overwritten(tmp_path, source, small_batches):
    out = tmp_path / "out"
    prepare(source, out, ByteTokenizer(), 0.2)
    (out / "train_000000.bin").write_bytes(b"xx")
    before = contents(out)
    for change in (
        lambda: None,
        lambda: os.replace(out / "meta.json", out / "progress.json"),
        lambda: (out / "progress.json").unlink(),
    ):
        change()
        with pytest.raises(ValueError, match=r"train_000000\.bin"):
            prepare(source, out, ByteTokenizer(), 0.2)
    assert all(contents(out)[name] == before[name] for name in contents(out))
    with pytest.raises(RuntimeError):
        prepare(source, tmp_path / "part", Failing(after=100), 0.2, workers=1)
    partial = next((tmp_path / "part").glob("*.partial"))
    partial.write_bytes(b"")
    with pytest.raises(ValueError, match=partial.name):
        prepare(source, tmp_path / "part", ByteTokenizer(), 0.2)


@pytest.mark.parametrize(
    ("name", "value"), [("val_fraction", 1.0), ("val_fraction", -0.1), ("workers", 0)]
)
def test_options_out_of_range_are_errors(tmp_path, source, name, value):
    with pytest.raises(ValueError, match=f"^{name} is"):
        prepare(source, tmp_path / "out", ByteTokenizer(), **{name: value})
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="file is a file"):
        prepare(source, tmp_path / "file", ByteTokenizer())


def test_a_source_without_training_documents_is_an_error_and_leaves_no_files(tmp_path):
    (tmp_path / "empty.txt").touch()
    (tmp_path / "short.txt").write_text("x")
    for name, fraction, part in (("empty", 0.0005, "no document"), ("short", 0.9999, "held out")):
        with pytest.raises(ValueError, match=part):
            documents = FileDocuments(str(tmp_path / f"{name}.txt"))
            prepare(documents, tmp_path / name, ByteTokenizer(), fraction)
        assert list((tmp_path / name).iterdir()) == []


def test_two_processes_cannot_prepare_the_same_folder(tmp_path, source):
    (tmp_path / "out").mkdir()
    with (
        FileLock(tmp_path / "out" / ".lock"),
        pytest.raises(ValueError, match="another process"),
    ):
        prepare(source, tmp_path / "out", ByteTokenizer())
    prepare(source, tmp_path / "out", ByteTokenizer())
