"""Documents from files in four formats and from data sets, and how long ones are split."""

from __future__ import annotations

import gzip
import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest

from datamodules.documents import sources
from datamodules.documents.sources import FileDocuments, HubDocuments, Piece
from tests.helpers.prepared_corpus import texts_of

TEXTS = ["first one", "zweites Stück", "", "日本語 😀", 'with "quotes" \\ and\nlines']


def json_lines(texts: list[str], field: str = "text") -> str:
    return "".join(json.dumps({"id": i, field: t}) + "\n" for i, t in enumerate(texts))


def parquet(path: Path, columns: dict[str, Any]) -> Path:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table(columns), path, row_group_size=2)
    return path


def message(path: Path, field: str = "text") -> str:
    with pytest.raises(ValueError) as error:
        texts_of(FileDocuments(str(path), field))
    assert "\n" not in str(error.value) and str(path) in str(error.value)
    return str(error.value)


# ---- reading ---------------------------------------------------------------------------------


def test_four_formats_give_the_same_documents(tmp_path):
    (tmp_path / "a.jsonl").write_text(json_lines(TEXTS) + "\n  \n")  # blank lines at the end
    with gzip.open(tmp_path / "b.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write(json_lines(TEXTS))
    parquet(tmp_path / "c.parquet", {"id": range(5), "text": TEXTS})
    for i, text in enumerate(TEXTS):
        (tmp_path / f"d{i}.txt").write_text(text, encoding="utf-8")
    for pattern in ("a.jsonl", "*.gz", "*.parquet", "*.txt"):
        assert texts_of(FileDocuments(str(tmp_path / pattern))) == TEXTS
    assert texts_of(FileDocuments(str(tmp_path / "*"))) == TEXTS * 4


def test_windows_line_ends_byte_order_marks_and_a_missing_last_line_end(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "x"}\r\n{"text": "y"}')
    (tmp_path / "b.txt").write_bytes(b"\xef\xbb\xbfx\r\ny")
    assert texts_of(FileDocuments(str(tmp_path / "*"))) == ["x", "y", "x\r\ny"]


def test_patterns_are_recursive_and_sorted(tmp_path, monkeypatch):
    for name in ("b/2.txt", "a/deep/1.txt", "a/3.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    monkeypatch.chdir(tmp_path)
    everything = texts_of(FileDocuments("**/*.txt"))
    assert everything == ["a/3.txt", "a/deep/1.txt", "b/2.txt"]
    assert texts_of(FileDocuments(["b/*.txt", "**/*.txt"])) == everything
    assert texts_of(FileDocuments(["b/*", "a/*.txt"])) == ["a/3.txt", "b/2.txt"]


def test_a_file_that_links_lead_to_several_times_is_read_once(tmp_path):
    folder = tmp_path / "texts"
    folder.mkdir()
    for i in range(3):
        (folder / f"{i}.txt").write_text(f"text {i}")
    plain = FileDocuments(str(folder / "**/*.txt")).describe()
    (folder / "loop").symlink_to(folder)
    (folder / "copy.txt").symlink_to(folder / "1.txt")
    linked = FileDocuments(str(folder / "**/*.txt"))
    assert texts_of(linked) == ["text 0", "text 1", "text 2"]
    assert linked.describe() == plain


@pytest.mark.parametrize("kind", ["a.jsonl", "b.parquet", "*.txt", "data set"])
def test_reading_can_start_at_any_document(tmp_path, monkeypatch, kind):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    (tmp_path / "hub").mkdir()
    for path in (tmp_path / "a.jsonl", tmp_path / "hub" / "train.jsonl"):
        path.write_text(json_lines(TEXTS))
    parquet(tmp_path / "b.parquet", {"text": TEXTS})
    for i, text in enumerate(TEXTS):
        (tmp_path / f"{i}.txt").write_text(text, encoding="utf-8")
    if kind == "data set":
        pytest.importorskip("datasets")
    source = HubDocuments(str(tmp_path / "hub"))
    if kind != "data set":
        source = FileDocuments(str(tmp_path / kind))
    for start in range(7):
        assert [piece.text for piece in source.pieces(start)] == TEXTS[start:]


def test_skipped_documents_are_not_parsed(tmp_path):
    (tmp_path / "a.jsonl").write_text('{broken\n{"text": "good"}\n')
    assert list(FileDocuments(str(tmp_path / "a.jsonl")).pieces(1)) == [Piece("good", True)]


def test_the_description_depends_on_files_sizes_and_field(tmp_path):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("x")
    first = FileDocuments(str(tmp_path / "*.txt")).describe()
    assert first == FileDocuments([str(tmp_path / "b.txt"), str(tmp_path / "a*")]).describe()
    assert first["files"] == first["bytes"] == 2
    assert first != FileDocuments(str(tmp_path / "*.txt"), field="body").describe()
    (tmp_path / "b.txt").write_text("xy")
    assert first != FileDocuments(str(tmp_path / "*.txt")).describe()
    assert HubDocuments("x").describe() != HubDocuments("x", revision="y").describe()


def test_parquet_may_have_large_and_dictionary_encoded_strings(tmp_path):
    pa = pytest.importorskip("pyarrow")
    for kind in (pa.large_string(), pa.dictionary(pa.int32(), pa.string())):
        path = parquet(tmp_path / "a.parquet", {"text": pa.array(TEXTS + TEXTS, kind)})
        assert texts_of(FileDocuments(str(path))) == TEXTS + TEXTS


def test_a_data_set_is_streamed_from_a_local_folder(tmp_path, monkeypatch):
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_text(json_lines(TEXTS, field="body"))
    documents = HubDocuments(str(tmp_path / "data"), field="body")
    assert texts_of(documents) == texts_of(documents) == TEXTS
    for name, part in (("data", "row 1 .* no field 'text'"), ("nothing", "could not be loaded")):
        with pytest.raises(ValueError, match=part) as error:
            texts_of(HubDocuments(str(tmp_path / name)))
        assert "\n" not in str(error.value)


# ---- long documents --------------------------------------------------------------------------


def test_long_documents_are_split_into_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "PIECE", 40)
    rng = random.Random(0)
    words = ["word", "日本", "é", "😀", "a1", "x.", "\n\n", '"', "\\", "y" * 30]
    texts = [" ".join(rng.choices(words, k=rng.randint(0, 99))) for _ in range(20)]
    texts += ["z" * 1000, "日" * 1000, "x" * 40, "x" * 41, " " * 200, ""]
    path = tmp_path / "a.jsonl"
    path.write_text(json_lines(texts))
    pieces = list(FileDocuments(str(path)).pieces())
    assert max(len(piece.text) for piece in pieces) == 40
    joined = "".join(piece.text + ("\0" if piece.last else "") for piece in pieces)
    assert joined.split("\0")[:-1] == texts


def test_splits_are_between_words(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "PIECE", 40)
    text = " ".join(f"word{'s' * (i % 5)} and, more {i}" for i in range(50))
    (tmp_path / "a.txt").write_text(text)
    pieces = list(FileDocuments(str(tmp_path / "a.txt")).pieces())
    assert "".join(piece.text for piece in pieces) == text and len(pieces) > 20
    for before, after in itertools.pairwise(pieces):
        assert before.text[-1].isalpha() and after.text[0] == " " and after.text[1].isalpha()


# ---- errors ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ('{"text": "x"', "JSON"),
        ('["x"]', "list"),
        ('{"body": "x", "id": 1}', "'body', 'id'"),
        ("{}", "none"),
        ('{"text": 5}', "int"),
        ('{"text": null}', "NoneType"),
        ('{"text": "\udcff"}', "UTF-8"),
        ("[" * 100_000, "JSON"),
    ],
)
def test_broken_lines_are_errors_with_their_number(tmp_path, line, part):
    content = '{"text": "x"}\n' + line + "\n"
    (tmp_path / "a.jsonl").write_bytes(content.encode(errors="surrogateescape"))
    text = message(tmp_path / "a.jsonl")
    assert "line 2 of " in text and part in text


def test_text_that_is_not_utf8_is_an_error_with_its_line(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"good\n" * 20 + b"caf\xe9 au lait\n")
    assert "line 21 of " in message(tmp_path / "a.txt")
    (tmp_path / "a.txt").write_bytes("é".encode()[:1])
    assert "line 1 of " in message(tmp_path / "a.txt")


@pytest.mark.parametrize("damage", ["truncated", "changed", "not gzip"])
def test_damaged_gzip_is_an_error_with_its_line(tmp_path, damage):
    rng = random.Random(0)
    lines = json_lines([f"{rng.random()} {rng.random()}" * 9 for _ in range(200)]).encode()
    data = bytearray(gzip.compress(lines))
    if damage == "truncated":
        del data[len(data) // 2 :]
    elif damage == "changed":
        data[len(data) // 2] ^= 255
        data[-5] ^= 255  # the checksum, in case the text is still readable
    else:
        data = bytearray(lines)
    (tmp_path / "a.jsonl.gz").write_bytes(data)
    assert "line " in message(tmp_path / "a.jsonl.gz")


def test_parquet_without_text_is_an_error(tmp_path):
    path = parquet(tmp_path / "a.parquet", {"body": ["x"], "n": [1]})
    assert "'body', 'n'" in message(path)
    assert "int" in message(path, field="n")
    parquet(path, {"text": ["x", "y", None]})
    assert "row 3 of " in message(path)
    path.write_bytes(b"no parquet")
    assert "Parquet" in message(path)


def test_no_file_and_an_unknown_suffix_are_errors(tmp_path):
    (tmp_path / "a.csv").write_text("x")
    (tmp_path / "folder.txt").mkdir()
    assert ".jsonl.gz" in message(tmp_path / "a.csv")
    assert "no file" in message(tmp_path / "*.txt")
    with pytest.raises(ValueError, match="files is empty"):
        FileDocuments([])
