"""Preparing that is killed, stopped or fails goes on, and ends with the same bytes."""

from __future__ import annotations

import json
import os
import signal

import pytest

from datamodules.tokens import prepare as encoding_run
from datamodules.tokens.prepare import prepare
from datamodules.tokens.tokenizers import ByteTokenizer
from tests.helpers.prepared_corpus import contents, run

KILLED = """
import os, signal, sys
from datamodules.documents import sources as documents
from datamodules.tokens import prepare as encoding_run
from datamodules.tokens import writer as shard_writer
from datamodules.tokens.prepare import prepare
from datamodules.tokens.tokenizers import ByteTokenizer

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


def test_killed_again_and_again_it_ends_with_the_same_bytes(tmp_path, source, small_batches):
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
def test_stopped_at_any_file_operation_it_goes_on(
    tmp_path, source, small_batches, monkeypatch, stop
):
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


def test_going_on_encodes_only_what_is_left(tmp_path, source, small_batches, monkeypatch):
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


def test_errors_of_the_disk_name_the_file_and_a_later_run_goes_on(tmp_path, source):
    """A limit on the size of files stands for a disk that is full."""
    script = """
        import resource, sys
        from datamodules.documents.sources import FileDocuments
        from datamodules.tokens.prepare import prepare
        from datamodules.tokens.tokenizers import ByteTokenizer
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
