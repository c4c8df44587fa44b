"""Pairs of words in one relation, such as jump-jumped, and the tokens that stand for them."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

BUILT_IN = Path(__file__).parent / "word_pairs_builtin"
Encode = Callable[[list[str]], Sequence[Sequence[int]]]


class WordPairs(NamedTuple):
    """The pairs of one relation: their words, and the last token of each."""

    words: list[tuple[str, str]]
    tokens: Tensor  # (P, 2)


def load_word_pairs(
    folder: str | None = None, tasks: Sequence[str] | None = None
) -> dict[str, list[tuple[str, str]]]:
    """Word pairs by task, as the function-vector data sets hold them (Todd et al. 2023).

    Args:
        folder: Of JSON files, one a task, each a list of ``{"input": ..., "output": ...}``; None
            takes Glassbox's own: present to past, singular to plural, country to capital.
        tasks: File names without ending, in the order that is wanted; None takes all.

    Raises:
        ValueError: There is no such folder or task, or a file is not such a list of two or more.
    """
    place = BUILT_IN if folder is None else Path(folder).expanduser()
    if not place.is_dir():
        raise ValueError(
            f"there is no folder {folder} of word pairs; name one with a JSON file for each task, "
            f"or leave words out for the built-in ones"
        )
    files = {path.stem: path for path in sorted(place.glob("*.json"))}
    if not files:
        raise ValueError(
            f"the folder {folder} holds no .json file; put one there for each task, a list of "
            f'{{"input": ..., "output": ...}}'
        )
    for task in tasks or ():
        if task not in files:
            near = difflib.get_close_matches(task, files, n=1)
            raise ValueError(
                f"there is no task {task!r} among the word pairs"
                f"{f'; did you mean {near[0]!r}?' if near else ''}; choose from {', '.join(files)}"
            )
    return {task: _read(files[task]) for task in tasks or files}


def _read(path: Path) -> list[tuple[str, str]]:
    shape = 'a list of {"input": ..., "output": ...} with two words each'
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid JSON ({error}); it must be {shape}") from None
    if not isinstance(content, list):
        raise ValueError(f"{path} holds a {type(content).__name__}; it must be {shape}")
    pairs: list[tuple[str, str]] = []
    for number, entry in enumerate(content, start=1):
        words = [entry.get(key) for key in ("input", "output")] if isinstance(entry, dict) else []
        given = [word for word in words if isinstance(word, str) and word.strip()]
        if len(given) < 2:
            raise ValueError(f"entry {number} of {path} is {_brief(entry)}; it must be {shape}")
        pairs.append((given[0], given[1]))
    if len(pairs) < 2:
        raise ValueError(f"{path} has {len(pairs)} word pairs; a parallelogram needs two")
    return pairs


def _brief(entry: Any) -> str:
    text = json.dumps(entry, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def encode_word_pairs(
    pairs: Mapping[str, list[tuple[str, str]]],
    encode: Encode,
    vocab_size: int,
    leading_space: bool = False,
) -> dict[str, WordPairs]:
    """The last token of every word, as in the harmonic-loss paper (§6).

    Args:
        pairs: Of :func:`load_word_pairs`.
        encode: Texts to token ids.
        vocab_size: Number of tokens that the model knows.
        leading_space: Encode " word", as words within a text are, instead of "word".

    Raises:
        ValueError: The tokenizer is not that of the model.
    """
    encoded = {}
    for task, words in pairs.items():
        texts = [" " * leading_space + word for pair in words for word in pair]
        last = torch.tensor([int(ids[-1]) for ids in encode(texts)]).view(-1, 2)
        if int(last.max()) >= vocab_size:
            raise ValueError(
                f"the tokenizer gives the token {int(last.max())} for a word of the task {task}, "
                f"and the model has {vocab_size} tokens; name the tokenizer that it was trained on"
            )
        encoded[task] = WordPairs(list(words), last)
    return encoded


def part_labels(words: Sequence[str], tails: Sequence[str]) -> list[str]:
    """Words with a dot before the last token, where that is not the whole word: acceler·ated.

    Args:
        words: The words.
        tails: Text of each word's last token.
    """
    labels = []
    for word, tail in zip(words, tails, strict=True):
        tail = tail.strip()
        split = word.endswith(tail) and 0 < len(tail) < len(word)
        labels.append(f"{word[: -len(tail)]}·{tail}" if split else word)
    return labels


def choose_figure_task(tasks: Sequence[str], wanted: str | None = None) -> str:
    """The task whose parallelograms are drawn: the wanted one, or present to past, or the first.

    Raises:
        ValueError: The wanted one is not measured.
    """
    if wanted is not None and wanted not in tasks:
        raise ValueError(f"figure_task is {wanted!r}; choose from {', '.join(tasks)}")
    usual = [task for task in tasks if task.replace("-", "_") == "present_past"]
    return wanted or (usual or list(tasks))[0]
