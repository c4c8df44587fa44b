"""What preparing says: a summary, a warning, progress, and that there is nothing to do."""

from __future__ import annotations

import sys

import pytest

from datamodules.tokens import prepare as encoding_run
from datamodules.tokens.prepare import prepare
from datamodules.tokens.shards import TokenShards
from datamodules.tokens.tokenizers import ByteTokenizer


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
    tmp_path, source, small_batches, monkeypatch, capsys
):
    monkeypatch.setattr(encoding_run, "LINE_SECONDS", 0.0)
    prepare(source, tmp_path / "out", ByteTokenizer(), 0.2)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) > 10 and all("documents" in line and "tokens/s" in line for line in lines)
    prepare(source, tmp_path / "quiet", ByteTokenizer(), 0.2, progress=False)
    assert capsys.readouterr().err == ""


def test_progress_is_a_bar_on_a_terminal(tmp_path, source, small_batches, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    prepare(source, tmp_path / "out", ByteTokenizer(), 0.2)
    assert "300 documents" in capsys.readouterr().err.split("\r")[-1]
