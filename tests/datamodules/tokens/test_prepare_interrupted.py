"""A preparation that was killed, stopped or failed resumes and ends with the same bytes."""

from __future__ import annotations

import json
import os
import signal

import pytest

from datamodules.tokens import prepare as prepare_module
from datamodules.tokens.prepare import prepare
from datamodules.tokens.tokenizers import ByteTokenizer
from tests.helpers.prepared_corpus import contents, run, texts_of

KILLED = """
import os, signal, sys
from datamodules.documents import sources
from datamodules.tokens import prepare, writer
from datamodules.tokens.tokenizers import ByteTokenizer

sources.PIECE, prepare.BATCH_CHARS, prepare.CHECKPOINT_TOKENS = 100, 150, 700
prepare.HASHED_CHARS, prepare.SHARD_TOKENS = 40, 5000
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
writer.SplitWriter.write = counted(writer.SplitWriter.write)
source = sources.FileDocuments(sys.argv[1])
print(prepare.prepare(source, sys.argv[2], ByteTokenizer(), 0.2))
"""


def test_killed_repeatedly_it_ends_with_the_same_bytes(tmp_path, source, small_batches):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    prepare(source, whole, ByteTokenizer(), 0.2)
    kills, recorded = 0, -1
    for events in (1, 37, 61, 90, 111, 140, 10**9):
        done = run(KILLED, source.paths[0], broken, events)
        if done.returncode != -signal.SIGKILL:
            break
        kills += 1
        assert not (broken / "meta.json").exists()
        record = json.loads((broken / "progress.json").read_text() or "{}") if kills > 1 else {}
        now = sum(part["tokens"] for part in record.get("splits", {}).values())
        assert now >= recorded
        recorded = now
    assert done.returncode == 0, done.stderr
    assert kills > 4 and recorded > 0
    assert "resumed after" in done.stdout
    assert contents(broken) == contents(whole)


@pytest.mark.parametrize("stop", range(1, 40, 3))
def test_stopped_at_any_file_operation_it_resumes(
    tmp_path, source, small_batches, monkeypatch, stop
):
    """As above in one process, at more moments; what open files buffered is lost."""

    class Stop(BaseException):
        pass

    whole, broken = tmp_path / "whole", tmp_path / "broken"
    prepare(source, whole, ByteTokenizer(), 0.2)
    left = stop

    def counted(function):
        def call(*args):
            nonlocal left
            left -= 1
            if left <= 0:
                raise Stop
            return function(*args)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", counted(os.replace))
        if stop % 2:
            writer = prepare_module.SplitWriter
            patch.setattr(writer, "write", counted(writer.write))
        try:
            prepare(source, broken, ByteTokenizer(), 0.2)
        except Stop:
            assert not (broken / "meta.json").exists()
    prepare(source, broken, ByteTokenizer(), 0.2)
    assert contents(broken) == contents(whole)


def test_resuming_encodes_only_what_is_left(tmp_path, source, small_batches):
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
    assert 0 < sum(encoded) < sum(map(len, texts_of(source))) - 20_000
    assert summary.resumed_at > 100


def test_errors_of_the_disk_name_the_file_and_a_later_run_resumes(tmp_path, source):
    """A limit on the size of files stands for a full disk."""
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
