"""Word pairs: the built-in ones are sound, a folder is read, and an invalid one is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from callbacks.probes.word_pairs import (
    choose_figure_task,
    encode_word_pairs,
    load_word_pairs,
    part_labels,
)


def write(folder: Path, **tasks) -> str:
    for name, content in tasks.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
    return str(folder)


def entries(*pairs: tuple[str, str]) -> list[dict[str, str]]:
    return [{"input": a, "output": b} for a, b in pairs]


def as_bytes(texts: list[str]) -> list[list[int]]:
    return [list(text.encode()) for text in texts]


def test_the_built_in_pairs_are_three_relations_of_some_dozens_without_repetition():
    tasks = load_word_pairs()
    assert list(tasks) == ["country_capital", "present_past", "singular_plural"]
    for pairs in tasks.values():
        assert 40 <= len(pairs) <= 50
        for side in zip(*pairs, strict=True):
            assert len(set(side)) == len(pairs)
    assert ("walk", "walked") in tasks["present_past"]


def test_a_folder_has_a_task_per_file_in_the_wanted_order(tmp_path):
    folder = write(tmp_path, b=entries(("x", "y"), ("v", "w")), a=entries(("é", "1"), ("2", "3")))
    assert load_word_pairs(folder) == {"a": [("é", "1"), ("2", "3")], "b": [("x", "y"), ("v", "w")]}
    assert list(load_word_pairs(folder, ["b", "a"])) == ["b", "a"]


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ("[{", ""),
        ({"input": "a"}, ""),
        ([{"input": "a", "output": "b"}, {"input": "c"}], "entry 2 of "),
        ([["a", "b"]], "entry 1 of "),
        ([{"input": "a", "output": 5}], "entry 1 of "),
        ([{"input": " ", "output": "b"}], "entry 1 of "),
        (entries(("a", "b")), ""),
        ([], ""),
    ],
)
def test_an_invalid_file_is_named(tmp_path, content, place):
    with pytest.raises(ValueError, match=rf"^{place}.*t\.json"):
        load_word_pairs(write(tmp_path, t=content))


def test_missing_folders_files_and_tasks_are_refused(tmp_path):
    for folder in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(ValueError, match="words"):
            load_word_pairs(str(folder))
    with pytest.raises(ValueError, match=r"tasks.*did you mean 'present_past'"):
        load_word_pairs(None, ["present_pst"])


def test_a_word_is_its_last_token_with_and_without_a_leading_space():
    pairs = {"t": [("ab", "c"), ("d", "é")]}
    encoded = encode_word_pairs(pairs, as_bytes, 257)["t"]
    assert encoded.tokens.tolist() == [[ord("b"), ord("c")], [ord("d"), 0xA9]]
    assert encoded.words == pairs["t"]
    texts: list[str] = []
    encode_word_pairs(pairs, lambda given: texts.extend(given) or as_bytes(given), 257, True)
    assert texts == [" ab", " c", " d", " é"]


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused():
    with pytest.raises(ValueError, match=r"tokenizer.*122.*100"):
        encode_word_pairs({"t": [("z", "a"), ("b", "c")]}, as_bytes, 100)


def test_labels_mark_the_part_of_a_word_that_is_measured():
    words = ["accelerated", "jump", "café", "won"]
    tails = ["ated", " jump", "\ufffd", ""]
    assert part_labels(words, tails) == ["acceler·ated", "jump", "café", "won"]


def test_the_figure_shows_present_to_past_unless_another_is_wanted():
    assert choose_figure_task(["antonym", "present-past"]) == "present-past"
    assert choose_figure_task(["antonym", "synonym"]) == "antonym"
    assert choose_figure_task(["antonym", "present-past"], "antonym") == "antonym"
    with pytest.raises(ValueError, match="figure_task"):
        choose_figure_task(["antonym", "synonym"], "x")
