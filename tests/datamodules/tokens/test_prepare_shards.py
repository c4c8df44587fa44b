"""What preparing writes: the shards of a plain loop, the same bytes however it is done."""

from __future__ import annotations

import json
import random
import time

import pytest

from datamodules.documents import sources as documents
from datamodules.documents.sources import FileDocuments
from datamodules.tokens import prepare as encoding_run
from datamodules.tokens.prepare import prepare
from datamodules.tokens.shards import TokenShards, check_ids, verify
from datamodules.tokens.tokenizers import ByteTokenizer, load_tokenizer
from tests.helpers.paths import DATA
from tests.helpers.prepared_corpus import contents, corpus, run, tokens_of

SHARED = DATA


def test_shards_are_those_of_a_plain_loop(tmp_path, source, small_batches):
    texts = list(source)
    summary = prepare(source, tmp_path / "out", ByteTokenizer(), 0.2, shard_tokens=5000)
    train, val = tokens_of(tmp_path / "out", "train"), tokens_of(tmp_path / "out", "val")
    streams = {"train": train, "val": val}
    for text in texts:  # each document is next in one of the splits
        ids = [*text.encode(), 256]
        if text:
            split = next(s for s, stream in streams.items() if stream[: len(ids)] == ids)
            streams[split] = streams[split][len(ids) :]
    assert streams == {"train": [], "val": []}
    filled = [text for text in texts if text]
    assert summary.documents == len(filled) == summary.train_documents + summary.val_documents
    assert summary.skipped == len(texts) - len(filled) > 0
    assert (summary.train_tokens, summary.val_tokens) == (len(train), len(val))
    assert summary.text_bytes == sum(len(text.encode()) for text in filled)
    assert 0.1 < summary.val_documents / summary.documents < 0.3
    sizes = [path.stat().st_size for path in sorted((tmp_path / "out").glob("train_*.bin"))]
    assert len(sizes) > 3 and set(sizes[:-1]) == {10000} and 0 < sizes[-1] <= 10000


def test_what_is_written_can_be_read_and_verified(tmp_path, source):
    out = tmp_path / "out"
    prepare(source, out, ByteTokenizer(), 0.2, shard_tokens=5000)
    assert sorted(contents(out)) == sorted([*verify(out), "meta.json"])
    for split in ("train", "val"):
        shards = TokenShards(out, split, 257)
        assert shards.num_tokens == len(tokens_of(out, split))
        check_ids(out, split, 257)
    meta = shards.meta
    assert (meta.tokenizer, meta.vocab_size, meta.end_of_text) == ("bytes", 257, 256)
    assert meta.splits["train"].shards[0].largest == 256


def test_gpt2_shards_are_nanogpts(tmp_path, monkeypatch):
    if not (SHARED / "tiktoken").is_dir():
        pytest.skip("needs tiktoken's GPT-2 files in ../shared/data/tiktoken")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(SHARED / "tiktoken"))
    import tiktoken

    plain = tiktoken.get_encoding("gpt2")
    texts = corpus(tmp_path / "a.jsonl.gz")
    texts[40] = "word " * 20_000 + "   \n\n\n  end  "
    (tmp_path / "long.txt").write_text(texts[40])
    texts = [*corpus(tmp_path / "a.jsonl.gz"), texts[40]]
    monkeypatch.setattr(documents, "PIECE", 7000)
    monkeypatch.setattr(encoding_run, "BATCH", 2000)
    documents_ = FileDocuments([str(tmp_path / "*.gz"), str(tmp_path / "long.txt")])
    prepare(documents_, tmp_path / "out", load_tokenizer("gpt2"), val_fraction=0.0)
    expected = [i for text in texts if text for i in [*plain.encode_ordinary(text), 50256]]
    assert tokens_of(tmp_path / "out", "train") == expected


def test_32_bits_where_the_vocabulary_needs_them(tmp_path, source):
    class Wide(ByteTokenizer):
        def __init__(self) -> None:
            super().__init__()
            self.vocab_size, self.end_of_text = 70001, 70000

    prepare(source, tmp_path / "out", Wide(), 0.2)
    ids = tokens_of(tmp_path / "out", "train", "<u4")
    assert max(ids) == 70000 and TokenShards(tmp_path / "out", "train").num_tokens == len(ids)


def test_any_number_of_threads_writes_the_same_bytes(tmp_path, source, small_batches):
    class Slow(ByteTokenizer):
        """Encodes batches in an order of its own."""

        def encode_batch(self, texts):
            time.sleep(0.003 * (len(texts[0]) % 3))
            return super().encode_batch(texts)

    for workers in (1, 2, 5):
        folder = tmp_path / str(workers)
        prepare(source, folder, Slow(), 0.2, shard_tokens=5000, workers=workers)
    assert contents(tmp_path / "1") == contents(tmp_path / "2") == contents(tmp_path / "5")


def test_a_document_is_on_the_same_side_wherever_it_stands(tmp_path, small_batches):
    texts = [text for text in set(corpus(tmp_path / "a.jsonl.gz")) if text]
    sides: list[set[str]] = []
    for seed in range(3):
        random.Random(seed).shuffle(texts)
        folder = tmp_path / str(seed)
        folder.mkdir()
        with (folder / "b.jsonl").open("w") as file:
            file.writelines(json.dumps({"text": text}) + "\n" for text in texts + texts[:50])
        prepare(FileDocuments(str(folder / "b.jsonl")), folder / "out", ByteTokenizer(), 0.3)
        ids = bytes(min(i, 255) for i in tokens_of(folder / "out", "val"))  # 255 is no UTF-8
        sides.append(set(ids.decode("latin1").split("\xff")))
        train = bytes(min(i, 255) for i in tokens_of(folder / "out", "train")).decode("latin1")
        assert not sides[-1] & set(train.split("\xff")) - {""}
    assert sides[0] == sides[1] == sides[2] != {""}


def test_memory_does_not_grow_with_a_long_document(tmp_path):
    """Above that of the imports; the line held as a whole would take 40 MB nine times."""
    script = """
        import sys
        from datamodules.documents.sources import FileDocuments
        from datamodules.tokens.prepare import prepare
        from datamodules.tokens.tokenizers import ByteTokenizer
        def peak():  # getrusage's would begin with the memory of the parent process
            return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1024
        before = peak()
        prepare(FileDocuments(sys.argv[1]), sys.argv[2], ByteTokenizer(), 0.0)
        print(peak() - before)
    """
    line = b"a line of words, and more\\n" * 1000
    with (tmp_path / "a.jsonl").open("wb") as file:
        file.write('{"text": "😀'.encode())  # which makes four bytes of every character
        file.writelines([line] * 1500)
        file.write(b'"}\n')
    done = run(script, tmp_path / "a.jsonl", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 100
    assert TokenShards(tmp_path / "out", "train").num_tokens == 4 + 1500 * 1000 * 26 + 1
