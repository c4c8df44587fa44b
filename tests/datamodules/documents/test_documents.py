from __future__ import annotations

import gzip
import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest
from datamodules.documents.long_lines import text_of_line

from datamodules.documents import files as document_files
from datamodules.documents import sources as documents
from datamodules.documents.sources import FileDocuments, HubDocuments, Piece

TEXTS = ["first one", "zweites Stück", "", "日本語 😀", 'with "quotes" \\ and\nlines']


def json_lines(texts: list[str], field: str = "text", **more: Any) -> str:
    return "".join(json.dumps({"id": i, field: t, **more}) + "\n" for i, t in enumerate(texts))


def parquet(path: Path, columns: dict[str, Any]) -> Path:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table(columns), path, row_group_size=2)
    return path


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long lines and documents begin at a few dozen characters."""
    monkeypatch.setattr(document_files, "LINE", 64)
    monkeypatch.setattr(document_files, "CHUNK", 16)
    monkeypatch.setattr(documents, "PIECE", 40)


def test_four_formats_give_the_same_documents(tmp_path):
    (tmp_path / "a.jsonl").write_text(json_lines(TEXTS) + "\n  \n")  # blank lines at the end
    with gzip.open(tmp_path / "b.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write(json_lines(TEXTS))
    parquet(tmp_path / "c.parquet", {"id": range(5), "text": TEXTS})
    for i, text in enumerate(TEXTS):
        (tmp_path / f"d{i}.txt").write_text(text, encoding="utf-8")
    for pattern in ("a.jsonl", "*.gz", "*.parquet", "*.txt"):
        assert list(FileDocuments(str(tmp_path / pattern))) == TEXTS
    assert list(FileDocuments(str(tmp_path / "*"))) == TEXTS * 4


def test_last_line_needs_no_line_break_and_windows_lines_are_fine(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "x"}\r\n{"text": "y"}')
    assert list(FileDocuments(str(tmp_path / "a.jsonl"))) == ["x", "y"]


def test_a_byte_order_mark_is_no_text(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfx\r\ny")
    assert list(FileDocuments(str(tmp_path / "a.txt"))) == ["x\r\ny"]


def test_patterns_are_recursive_sorted_and_name_a_file_once(tmp_path, monkeypatch):
    for name in ("b/2.txt", "a/deep/1.txt", "a/3.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    monkeypatch.chdir(tmp_path)
    assert list(FileDocuments("**/*.txt")) == ["a/3.txt", "a/deep/1.txt", "b/2.txt"]
    assert list(FileDocuments(["b/*.txt", "**/*.txt"])) == list(FileDocuments("**/*.txt"))
    assert list(FileDocuments(["b/*", "a/*.txt"])) == ["a/3.txt", "b/2.txt"]


@pytest.mark.parametrize("kind", ["a.jsonl", "b.parquet", "*.txt", "data set"])
def test_starting_later_leaves_out_the_first_ones(tmp_path, monkeypatch, kind):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    (tmp_path / "a.jsonl").write_text(json_lines(TEXTS))
    parquet(tmp_path / "b.parquet", {"text": TEXTS})
    for i, text in enumerate(TEXTS):
        (tmp_path / f"{i}.txt").write_text(text, encoding="utf-8")
    source = FileDocuments(str(tmp_path / kind)) if kind != "data set" else None
    if source is None:
        pytest.importorskip("datasets")
        source = HubDocuments("json", data_files=str(tmp_path / "a.jsonl"))
    for start in range(7):
        assert [piece.text for piece in source.pieces(start)] == TEXTS[start:]


def test_documents_that_are_left_out_are_not_parsed(tmp_path):
    (tmp_path / "a.jsonl").write_text('{broken\n{"text": "good"}\n')
    assert list(FileDocuments(str(tmp_path / "a.jsonl")).pieces(1)) == [Piece("good", True)]


def test_another_field(tmp_path):
    (tmp_path / "a.jsonl").write_text(json_lines(TEXTS, field="body"))
    assert list(FileDocuments(str(tmp_path / "a.jsonl"), field="body")) == TEXTS


def test_description_tells_files_sizes_and_field_apart(tmp_path):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("x")
    first = FileDocuments(str(tmp_path / "*.txt")).describe()
    assert first == FileDocuments([str(tmp_path / "b.txt"), str(tmp_path / "a*")]).describe()
    assert first["files"] == first["bytes"] == 2
    assert first != FileDocuments(str(tmp_path / "*.txt"), field="body").describe()
    (tmp_path / "b.txt").write_text("xy")
    assert first != FileDocuments(str(tmp_path / "*.txt")).describe()
    assert HubDocuments("x").describe() != HubDocuments("x", split="test").describe()


@pytest.mark.parametrize("form", ["txt", "jsonl", "jsonl.gz", "parquet"])
def test_long_documents_come_in_pieces(tmp_path, small, form):
    source = random.Random(0)
    words = ["word", "日本", "é", "😀", "a1", "x.", "\n\n", '"', "\\", "y" * 30]
    texts = [" ".join(source.choices(words, k=source.randint(0, 99))) for _ in range(20)]
    texts += ["z" * 1000, "日" * 1000, "x" * 40, "x" * 41, " " * 200]
    path = tmp_path / f"a.{form}"
    if form == "parquet":
        parquet(path, {"text": texts})
    elif form == "jsonl.gz":
        with gzip.open(path, "wt", encoding="utf-8") as file:
            file.write("".join(json.dumps({"text": t}, ensure_ascii=False) + "\n" for t in texts))
    elif form == "jsonl":
        path.write_text(json_lines(texts, more=[{"text": "not this", "n": [1.5, None]}, "x" * 99]))
    else:
        path.unlink(missing_ok=True)
        texts = ["\n".join(texts)]
        path.write_text(texts[0], encoding="utf-8")
    pieces = list(FileDocuments(str(path)).pieces())
    assert max(len(piece.text) for piece in pieces) <= 40
    assert list(FileDocuments(str(path))) == texts
    assert sum(piece.last for piece in pieces) == len(texts)
    starts = [piece.text for piece in FileDocuments(str(path)).pieces(len(texts) - 1)]
    assert "".join(starts) == texts[-1]


def test_cuts_are_between_words_and_do_not_depend_on_how_the_text_arrives(small):
    text = " ".join(f"word{'s' * (i % 5)} and, more {i}" for i in range(50))
    whole = list(documents._cut([text]))
    assert whole == list(documents._cut(text[i : i + 7] for i in range(0, len(text), 7)))
    for before, after in itertools.pairwise(whole):
        assert before.text[-1].isalpha() and after.text[0] == " " and after.text[1].isalpha()


def test_long_lines_agree_with_the_json_library():
    source = random.Random(1)
    letters = ["a", " ", "é", "日", "😀", "\n", '"', "\\", "\x7f", "\u2028"]
    for trial in range(200):
        value = {
            "".join(source.choices(letters, k=3)): [{"deep": [1, "]", {}]}, -1.5e3, True, None],
            "text": "".join(source.choices(letters, k=source.randint(0, 40))),
            "after": {"text": "other"},
        }
        line = json.dumps(value, ensure_ascii=trial % 2 == 0, indent=trial % 3 or None).encode()
        size = source.randint(1, 20)
        parts = [line[i : i + size] for i in range(0, len(line), size)]
        assert "".join(text_of_line(parts, "text")) == value["text"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "%s"', "Expecting '}'"),
        ('{"text": "%s', "Invalid string at byte 208"),
        ('{"text": "\\q%s"}', "Invalid string at byte 10"),
        ('["%s"]', "Expecting '{'"),
        ('{"x": "%s"} y', "Extra data"),
        ('{"x": , "y": "%s"}', "Expecting value"),
        ('{"x": "%s"}', "has no field 'text', only 'x'; name the one that holds the text"),
        ('{"text": ["%s"]}', "the field 'text' in line 2 .* is list and no text"),
        ('{"text": 12, "x": "%s"}', "is a number and no text"),
        ('{"text": "\udcff%s"}', "is not UTF-8"),
    ],
)
def test_long_lines_that_are_broken_are_named_by_their_number(tmp_path, small, line, message):
    content = '{"text": "x"}\n' + line % ("x" * 200) + "\n"
    (tmp_path / "a.jsonl").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=message) as caught:
        list(FileDocuments(str(tmp_path / "a.jsonl")))
    assert "line 2 of " in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "x"', "line 2 of .*a.jsonl is no valid JSON .*correct the line or take it out"),
        ('["x"]', "line 2 of .*a.jsonl is no JSON object but list; write one object a line"),
        ('{"body": "x", "id": 1}', "line 2 of .* has no field 'text', only 'body', 'id'; name"),
        ("{}", "line 2 of .* has no field 'text', only none"),
        ('{"text": 5}', "the field 'text' in line 2 of .* is int and no text; name the field"),
        ('{"text": null}', "is NoneType and no text"),
        ('{"text": "\udcff"}', "line 2 of .* is not UTF-8; convert the file"),
        ("[" * 100_000, "line 2 of .* is no valid JSON"),
    ],
)
def test_broken_lines_are_named_by_their_number(tmp_path, line, message):
    content = '{"text": "x"}\n' + line + "\n"
    (tmp_path / "a.jsonl").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=message) as caught:
        list(FileDocuments(str(tmp_path / "a.jsonl")))
    assert "\n" not in str(caught.value)


def test_text_that_is_not_utf8_is_named_by_its_line(tmp_path, small):
    (tmp_path / "a.txt").write_bytes(b"good\n" * 20 + b"caf\xe9 au lait\n")
    with pytest.raises(ValueError, match=r"line 21 of .*a.txt is not UTF-8; convert the file"):
        list(FileDocuments(str(tmp_path / "a.txt")))
    (tmp_path / "a.txt").write_bytes("é".encode()[:1])
    with pytest.raises(ValueError, match=r"line 1 of .*a.txt is not UTF-8"):
        list(FileDocuments(str(tmp_path / "a.txt")))


@pytest.mark.parametrize("damage", ["cut off", "changed", "no gzip"])
@pytest.mark.parametrize("long", [False, True])
def test_damaged_gzip_is_named_with_its_line(tmp_path, monkeypatch, damage, long):
    if long:
        monkeypatch.setattr(document_files, "LINE", 64)
    source = random.Random(0)
    lines = json_lines([f"{source.random()} {source.random()}" * 9 for _ in range(200)])
    data = bytearray(gzip.compress(lines.encode()))
    if damage == "cut off":
        del data[len(data) // 2 :]
    elif damage == "changed":
        data[len(data) // 2] ^= 255
        data[-5] ^= 255  # the checksum, should the text still be readable
    else:
        data = bytearray(lines.encode())
    (tmp_path / "a.jsonl.gz").write_bytes(data)
    with pytest.raises(ValueError, match=r"a.jsonl.gz") as caught:
        list(FileDocuments(str(tmp_path / "a.jsonl.gz")))
    assert "line " in str(caught.value) and "\n" not in str(caught.value)
    if damage != "changed":  # else it may be the text that is found out first
        assert "is cut off or damaged at line" in str(caught.value)


def test_parquet_without_text_is_named(tmp_path):
    path = parquet(tmp_path / "a.parquet", {"body": ["x"], "n": [1], "empty": ["x", None][:1]})
    with pytest.raises(ValueError, match=r"a.parquet has no field 'text', only 'body', 'n'"):
        list(FileDocuments(str(path)))
    with pytest.raises(ValueError, match=r"the field 'n' in .*a.parquet is int64 and no text"):
        list(FileDocuments(str(path), field="n"))
    parquet(path, {"text": ["x", "y", None]})
    with pytest.raises(ValueError, match=r"the field 'text' in row 3 of .*a.parquet is null"):
        list(FileDocuments(str(path)))
    path.write_bytes(b"no parquet")
    with pytest.raises(ValueError, match=r"a.parquet cannot be read as Parquet"):
        list(FileDocuments(str(path)))


def test_parquet_takes_large_and_repeated_strings(tmp_path):
    pa = pytest.importorskip("pyarrow")
    for kind in (pa.large_string(), pa.dictionary(pa.int32(), pa.string())):
        path = parquet(tmp_path / "a.parquet", {"text": pa.array(TEXTS + TEXTS, kind)})
        assert list(FileDocuments(str(path))) == TEXTS + TEXTS


def test_no_file_and_unknown_suffix_are_named(tmp_path):
    (tmp_path / "a.csv").write_text("x")
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(ValueError, match=r"a.csv is none of .txt, .jsonl, .jsonl.gz, .parquet"):
        FileDocuments(str(tmp_path / "*.csv"))
    with pytest.raises(ValueError, match=r"no file matches .*\*.txt'; give the path of a file"):
        FileDocuments(str(tmp_path / "*.txt"))
    with pytest.raises(ValueError, match="no files are given"):
        FileDocuments([])


def test_a_data_set_streams_from_a_local_folder_and_from_files(tmp_path, monkeypatch):
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_text(json_lines(TEXTS))
    parquet(tmp_path / "a.parquet", {"body": TEXTS})
    assert list(HubDocuments(str(tmp_path / "data"))) == TEXTS
    files = HubDocuments("parquet", field="body", data_files=[str(tmp_path / "a.parquet")])
    assert list(files) == TEXTS
    assert list(files) == TEXTS  # and again from the beginning
    with pytest.raises(ValueError, match="row 1 of the data set parquet has no field 'text', only"):
        list(HubDocuments("parquet", data_files=[str(tmp_path / "a.parquet")]))
    with pytest.raises(ValueError, match=r"data set .*data \(split 'test'\) could not be loaded"):
        list(HubDocuments(str(tmp_path / "data"), split="test"))
    with pytest.raises(ValueError, match=r"could not be loaded .*check its name") as caught:
        list(HubDocuments(str(tmp_path / "nothing")))
    assert "\n" not in str(caught.value)
