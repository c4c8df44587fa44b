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
    """Word pairs by task, in the file format of the function-vector data sets (Todd et al. 2023).

    Args:
        folder: Of JSON files, one per task, each a list of ``{"input": ..., "output": ...}``; None
            takes the built-in ones: present to past, singular to plural, country to capital.
        tasks: File names without ending, in the wanted order; None takes all.

    Raises:
        ValueError: A folder or task does not exist, or a file is not a list of two or more pairs.
    """
    path = BUILT_IN if folder is None else Path(folder).expanduser()
    if not path.is_dir():
        raise ValueError(
            f"words is {folder}, which is not a folder; use one with a JSON file per task, or null "
            f"for the built-in ones"
        )
    files = {file.stem: file for file in sorted(path.glob("*.json"))}
    if not files:
        raise ValueError(
            f"words is {folder}, a folder without .json files; add one per task, a list of "
            f'{{"input": ..., "output": ...}}'
        )
    for task in tasks or ():
        if task not in files:
            near = difflib.get_close_matches(task, files, n=1)
            raise ValueError(
                f"tasks contains {task!r}, which is not a task of word pairs"
                f"{f'; did you mean {near[0]!r}?' if near else ''}; choose from {', '.join(files)}"
            )
    return {task: _read(files[task]) for task in tasks or files}


def _read(path: Path) -> list[tuple[str, str]]:
    expected = 'a list of {"input": ..., "output": ...} with two words each'
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid JSON ({error}); expected {expected}") from None
    if not isinstance(content, list):
        raise ValueError(f"{path} contains a {type(content).__name__}; expected {expected}")
    pairs: list[tuple[str, str]] = []
    for number, entry in enumerate(content, start=1):
        words = [entry.get(key) for key in ("input", "output")] if isinstance(entry, dict) else []
        given = [word for word in words if isinstance(word, str) and word.strip()]
        if len(given) < 2:
            raise ValueError(f"entry {number} of {path} is {_short(entry)}; expected {expected}")
        pairs.append((given[0], given[1]))
    if len(pairs) < 2:
        raise ValueError(f"{path} has {len(pairs)} word pairs; add more, at least two are needed")
    return pairs


def _short(entry: Any) -> str:
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
        pairs: From :func:`load_word_pairs`.
        encode: Texts to token ids.
        vocab_size: Tokens of the model.
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
                f"tokenizer: it encodes a word of the task {task} as {int(last.max())}, and the "
                f"model has {vocab_size} tokens; use the tokenizer that the model was trained with"
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
        is_split = word.endswith(tail) and 0 < len(tail) < len(word)
        labels.append(f"{word[: -len(tail)]}·{tail}" if is_split else word)
    return labels


def choose_figure_task(tasks: Sequence[str], wanted: str | None = None) -> str:
    """The task whose parallelograms are drawn: the wanted one, or present to past, or the first.

    Raises:
        ValueError: The wanted one is not among the tasks.
    """
    if wanted is not None and wanted not in tasks:
        raise ValueError(f"figure_task is {wanted!r}; choose from {', '.join(tasks)}")
    default = [task for task in tasks if task.replace("-", "_") == "present_past"]
    return wanted or (default or list(tasks))[0]
