from __future__ import annotations

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from datamodules import documents, encoding_run
from datamodules.documents import FileDocuments
from datamodules.prepare import prepare
from datamodules.tokenizers import ByteTokenizer, load_tokenizer
from datamodules.tokens import TokenShards, check_ids, verify

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data"


def corpus(path: Path, count: int = 300, seed: int = 0) -> list[str]:
    """A file of documents of all lengths, empty ones and copies among them."""
    source = random.Random(seed)
    words = ["one", "two", "Wörter", "日本", "<|endoftext|>", "\n\n", "3.14", "   "]
    texts = [" ".join(source.choices(words, k=source.randint(1, 60))) for _ in range(count)]
    texts[::17] = [""] * len(texts[::17])
    texts[5] = texts[6] = texts[count - 2]
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps({"text": text}) + "\n" for text in texts)
    return texts


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def tokens_of(folder: Path, split: str, dtype: str = "<u2") -> list[int]:
    paths = sorted(folder.glob(f"{split}_*.bin"))
    return [i for path in paths for i in np.fromfile(path, dtype).tolist()]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches, pieces and steps of progress so small that a short text has many of them."""
    monkeypatch.setattr(documents, "PIECE", 100)
    monkeypatch.setattr(encoding_run, "BATCH", 150)
    monkeypatch.setattr(encoding_run, "HASHED", 40)
    monkeypatch.setattr(encoding_run, "CHECKPOINT", 700)
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # only a power failure would tell


@pytest.fixture
def source(tmp_path: Path) -> FileDocuments:
    corpus(tmp_path / "corpus.jsonl.gz")
    return FileDocuments(str(tmp_path / "corpus.jsonl.gz"))


def test_shards_are_those_of_a_plain_loop(tmp_path, source, small):
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


def test_any_number_of_threads_writes_the_same_bytes(tmp_path, source, small):
    class Slow(ByteTokenizer):
        """Encodes batches in an order of its own."""

        def encode_batch(self, texts):
            time.sleep(0.003 * (len(texts[0]) % 3))
            return super().encode_batch(texts)

    for workers in (1, 2, 5):
        folder = tmp_path / str(workers)
        prepare(source, folder, Slow(), 0.2, shard_tokens=5000, workers=workers)
    assert contents(tmp_path / "1") == contents(tmp_path / "2") == contents(tmp_path / "5")


def test_a_document_is_on_the_same_side_wherever_it_stands(tmp_path, small):
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


# The package without its __init__, which would import torch: these processes are many.
LEAN = f"""
import sys, types
package = types.ModuleType("datamodules")
package.__path__ = [{str(ROOT / "datamodules")!r}]
sys.modules["datamodules"] = package
"""
KILLED = """
import os, signal, sys
from datamodules import documents, encoding_run, shard_writer
from datamodules.prepare import prepare
from datamodules.tokenizers import ByteTokenizer

documents.PIECE, encoding_run.BATCH, encoding_run.CHECKPOINT = 100, 150, 700
encoding_run.HASHED = 40
left = int(sys.argv[3])

def counted(function):
    def call(*args, **kwargs):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*args, **kwargs)
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return call

os.replace = counted(os.replace)
os.truncate = counted(os.truncate)
shard_writer.SplitWriter.write = counted(shard_writer.SplitWriter.write)
source = documents.FileDocuments(sys.argv[1])
print(prepare(source, sys.argv[2], ByteTokenizer(), 0.2, shard_tokens=1500, progress=False))
"""


def run(script: str, *arguments: Path | int) -> subprocess.CompletedProcess[str]:
    """A script of its own process."""
    command = [sys.executable, "-c", LEAN + textwrap.dedent(script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_killed_again_and_again_it_ends_with_the_same_bytes(tmp_path, source, small):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    prepare(source, whole, ByteTokenizer(), 0.2, shard_tokens=1500)
    kills, position = 0, -1
    for events in (1, 37, 40, 61, 90, 111, 140, 10**9):
        done = run(KILLED, source.paths[0], broken, events)
        if done.returncode != -signal.SIGKILL:
            break
        kills += 1
        assert not (broken / "meta.json").exists()
        record = json.loads((broken / "progress.json").read_text() or "{}") if kills > 1 else {}
        now = sum(part["tokens"] for part in record.get("splits", {}).values())
        assert now >= position
        position = now
    assert done.returncode == 0, done.stderr
    assert kills > 4 and position > 0
    assert "went on after" in done.stdout
    assert contents(broken) == contents(whole)


@pytest.mark.parametrize("stop", range(1, 40, 3))
def test_stopped_at_any_file_operation_it_goes_on(tmp_path, source, small, monkeypatch, stop):
    """As above without a process, at many more moments; open files are lost with what they hold."""

    class Stop(BaseException):
        pass

    whole, broken = tmp_path / "whole", tmp_path / "broken"
    prepare(source, whole, ByteTokenizer(), 0.2, shard_tokens=3000, progress=False)
    left = stop
    replace, write = os.replace, encoding_run.SplitWriter.write

    def counted(function):
        def call(*args):
            nonlocal left
            left -= 1
            if left <= 0:
                raise Stop
            return function(*args)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", counted(replace))
        if stop % 2:
            patch.setattr(encoding_run.SplitWriter, "write", counted(write))
        try:
            prepare(source, broken, ByteTokenizer(), 0.2, shard_tokens=3000, progress=False)
        except Stop:
            assert not (broken / "meta.json").exists()
    prepare(source, broken, ByteTokenizer(), 0.2, shard_tokens=3000, progress=False)
    assert contents(broken) == contents(whole)


def test_going_on_encodes_only_what_is_left(tmp_path, source, small, monkeypatch):
    encoded: list[int] = []

    class Counting(ByteTokenizer):
        def encode_batch(self, texts):
            encoded.append(sum(map(len, texts)))
            if sum(encoded) > 30_000:
                raise KeyboardInterrupt
            return super().encode_batch(texts)

    with pytest.raises(KeyboardInterrupt):
        prepare(source, tmp_path / "out", Counting(), 0.2, workers=1)
    encoded.clear()
    summary = prepare(source, tmp_path / "out", Counting(), 0.2, workers=1)
    assert 0 < sum(encoded) < sum(map(len, source)) - 20_000
    assert summary.continued_at > 100


def test_an_identical_finished_one_is_left_alone(tmp_path, source):
    first = prepare(source, tmp_path / "out", ByteTokenizer(), 0.2)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    again = prepare(source, tmp_path / "out", ByteTokenizer(), 0.2)
    assert times == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert again.finished_before and "nothing to do" in str(again)
    assert (again.documents, again.train_tokens, again.skipped, again.text_bytes) == (
        first.documents,
        first.train_tokens,
        first.skipped,
        first.text_bytes,
    )


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
    """Fails at a batch of texts."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.left = after

    def encode_batch(self, texts):
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("stop")
        return super().encode_batch(texts)


def test_an_unfinished_one_with_other_settings_is_refused(tmp_path, source, small):
    with pytest.raises(RuntimeError):
        prepare(source, tmp_path / "out", Broken(after=12), 0.2, workers=1)
    with pytest.raises(ValueError, match=r"was begun with val_fraction 0.2, and now it is"):
        prepare(source, tmp_path / "out", ByteTokenizer(), 0.1)


def test_one_that_had_done_nothing_yet_may_begin_with_other_settings(tmp_path, source, small):
    with pytest.raises(RuntimeError):
        prepare(source, tmp_path / "out", Broken(after=0), 0.2, workers=1)
    prepare(source, tmp_path / "out", ByteTokenizer(), 0.1)
    prepare(source, tmp_path / "straight", ByteTokenizer(), 0.1)
    for path in (tmp_path / "straight").iterdir():
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()


def test_damage_is_named_and_nothing_is_overwritten(tmp_path, source, small):
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


def test_a_partial_shard_that_lost_its_end_is_named(tmp_path, source, small):
    class Broken(ByteTokenizer):
        calls = 0

        def encode_batch(self, texts):
            self.calls += 1
            if self.calls > 100:
                raise RuntimeError("stop")
            return super().encode_batch(texts)

    with pytest.raises(RuntimeError):
        prepare(source, tmp_path / "out", Broken(), 0.2, workers=1)
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


def test_nothing_held_out_is_a_warning(tmp_path, source):
    summary = prepare(source, tmp_path / "out", ByteTokenizer(), 0.0)
    assert summary.val_tokens == 0 and "warning: no document is held out" in str(summary)
    assert not list((tmp_path / "out").glob("val*"))
    with pytest.raises(ValueError, match="no split 'val'"):
        TokenShards(tmp_path / "out", "val")


def test_summary_tells_the_numbers(tmp_path, source):
    text = str(prepare(source, tmp_path / "out", ByteTokenizer(), 0.2))
    assert len(text.splitlines()) == 6
    for part in ("out: 282 documents", "train", "val", "bytes", "skipped  18 empty", "per second"):
        assert part in text


def test_progress_is_a_line_from_time_to_time_in_a_log(
    tmp_path, source, small, monkeypatch, capsys
):
    monkeypatch.setattr(encoding_run, "LINE_SECONDS", 0.0)
    prepare(source, tmp_path / "out", ByteTokenizer(), 0.2)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) > 10 and all("documents" in line and "tokens/s" in line for line in lines)
    prepare(source, tmp_path / "quiet", ByteTokenizer(), 0.2, progress=False)
    assert capsys.readouterr().err == ""


def test_progress_is_a_bar_on_a_terminal(tmp_path, source, small, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    prepare(source, tmp_path / "out", ByteTokenizer(), 0.2)
    assert "300 documents" in capsys.readouterr().err.split("\r")[-1]


def test_two_runs_do_not_share_a_folder(tmp_path, source):
    import fcntl

    (tmp_path / "out").mkdir()
    handle = os.open(tmp_path / "out", os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(ValueError, match="another run is preparing"):
        prepare(source, tmp_path / "out", ByteTokenizer())
    os.close(handle)
    prepare(source, tmp_path / "out", ByteTokenizer())


def test_errors_of_the_disk_name_the_file_and_a_later_run_goes_on(tmp_path, source):
    """A limit on the size of files stands for a disk that is full."""
    script = """
        import resource, sys
        from datamodules.documents import FileDocuments
        from datamodules.prepare import prepare
        from datamodules.tokenizers import ByteTokenizer
        resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
        try:
            prepare(FileDocuments(sys.argv[1]), sys.argv[2], ByteTokenizer(), 0.2)
        except OSError as error:
            print(error.filename)
    """
    out = tmp_path / "out"
    done = run(script, source.paths[0], out)
    assert done.stdout.strip() == str(out / "train_000000.bin.partial"), done.stderr
    prepare(source, out, ByteTokenizer(), 0.2)
    prepare(source, tmp_path / "whole", ByteTokenizer(), 0.2)
    assert contents(out) == contents(tmp_path / "whole")


def test_memory_does_not_grow_with_a_long_document(tmp_path):
    """Above that of the imports; the line held as a whole would take 40 MB nine times."""
    script = """
        import sys
        from datamodules.documents import FileDocuments
        from datamodules.prepare import prepare
        from datamodules.tokenizers import ByteTokenizer
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
