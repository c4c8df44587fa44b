"""Word pairs: the built-in ones are sound, a folder is read, and a wrong one is named."""

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


def test_a_folder_gives_a_task_for_each_file_in_the_order_that_is_asked_for(tmp_path):
    folder = write(tmp_path, b=entries(("x", "y"), ("v", "w")), a=entries(("é", "1"), ("2", "3")))
    assert load_word_pairs(folder) == {"a": [("é", "1"), ("2", "3")], "b": [("x", "y"), ("v", "w")]}
    assert list(load_word_pairs(folder, ["b", "a"])) == ["b", "a"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("[{", "t.json is not valid JSON"),
        ({"input": "a"}, "t.json holds a dict; it must be a list"),
        ([{"input": "a", "output": "b"}, {"input": "c"}], r'entry 2 of .*t.json is {"input": "c"}'),
        ([["a", "b"]], r'entry 1 of .*t.json is \["a", "b"\]'),
        ([{"input": "a", "output": 5}], "entry 1 of"),
        ([{"input": " ", "output": "b"}], "entry 1 of"),
        (entries(("a", "b")), "t.json has 1 word pairs; a parallelogram needs two"),
        ([], "t.json has 0 word pairs"),
    ],
)
def test_a_file_that_is_no_list_of_pairs_is_named(tmp_path, content, sentence):
    with pytest.raises(ValueError, match=sentence):
        load_word_pairs(write(tmp_path, t=content))


def test_missing_folders_files_and_tasks_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"there is no folder .*nowhere of word pairs"):
        load_word_pairs(str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match=r"holds no \.json file"):
        load_word_pairs(str(tmp_path))
    with pytest.raises(ValueError, match=r"no task 'present_pst' .*did you mean 'present_past'"):
        load_word_pairs(None, ["present_pst"])


def test_a_word_is_its_last_token_with_and_without_a_leading_space():
    pairs = {"t": [("ab", "c"), ("d", "é")]}
    found = encode_word_pairs(pairs, as_bytes, 257)["t"]
    assert found.tokens.tolist() == [[ord("b"), ord("c")], [ord("d"), 0xA9]]
    assert found.words == pairs["t"]
    asked: list[str] = []
    encode_word_pairs(pairs, lambda texts: asked.extend(texts) or as_bytes(texts), 257, True)
    assert asked == [" ab", " c", " d", " é"]


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused():
    with pytest.raises(ValueError, match=r"gives the token 122 .* task t, and the model has 100"):
        encode_word_pairs({"t": [("z", "a"), ("b", "c")]}, as_bytes, 100)


def test_labels_show_which_part_of_a_word_is_looked_at():
    words = ["accelerated", "jump", "café", "won"]
    tails = ["ated", " jump", "\ufffd", ""]
    assert part_labels(words, tails) == ["acceler·ated", "jump", "café", "won"]


def test_the_figure_is_of_present_to_past_unless_another_is_wanted():
    assert choose_figure_task(["antonym", "present-past"]) == "present-past"
    assert choose_figure_task(["antonym", "synonym"]) == "antonym"
    assert choose_figure_task(["antonym", "present-past"], "antonym") == "antonym"
    with pytest.raises(ValueError, match="figure_task is 'x'; choose from antonym, synonym"):
        choose_figure_task(["antonym", "synonym"], "x")
