"""Cleans texts that were web pages: line breaks in HTML, and what wrong encodings left behind."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Callable
from html.entities import html5


def clean(text: str, counts: Counter[str] | None = None) -> str:
    """The text without traces of HTML and of wrong encodings.

    Line breaks of HTML become spaces; entities, and characters that were encoded twice or read in
    the wrong encoding, become what they stand for; other control characters become spaces,
    invisible ones vanish, and every kind of space is a plain one. Other tags stay: they may be
    somebody's words ('<grin>').

    Args:
        text: As it was found.
        counts: Is added to, by kind of what was replaced.
    """
    for name, pattern, replacement in _REPAIRS if _ANYTHING.search(text) else _REPAIRS[:1]:

        def replaced(match: re.Match[str], name: str = name, new: Replacement = replacement) -> str:
            result = new(match[0])
            if counts is not None and result != match[0]:
                counts[name] += 1
            return result

        text = pattern.sub(replaced, text)
    return text


def separate_punctuation(text: str) -> str:
    """The text with a space around every mark that is no letter, digit or inner apostrophe."""
    return " ".join(_WORD_OR_MARK.findall(text))


def _entity(entity: str) -> str:
    """What an entity of HTML stands for; one that HTML does not know stays."""
    return html.unescape(entity) if entity[1] == "#" or entity[1:] in html5 else entity


def _decoded_again(pair: str) -> str:
    return pair.encode("latin-1").decode("utf-8")


def _from_windows(character: str) -> str:
    return character.encode("latin-1").decode("cp1252", "ignore") or " "


def _space(characters: str) -> str:
    return " "


def _nothing(characters: str) -> str:
    return ""


Replacement = Callable[[str], str]
# In this order: an entity may stand for a space, and half of what was encoded twice looks like
# Windows-1252.
_REPAIRS: list[tuple[str, re.Pattern[str], Replacement]] = [
    ("HTML line breaks", re.compile(r"<br\s*/?\s*>", re.IGNORECASE), _space),
    (
        "HTML entities",
        re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});"),
        _entity,
    ),
    # UTF-8 that was read as Latin-1, as 'Ã©' for 'é'
    ("characters encoded twice", re.compile("[\u00c2\u00c3][\u0080-\u00bf]"), _decoded_again),
    # Windows-1252 that was read as Latin-1: dashes, dots, quotation marks
    ("Windows-1252 characters", re.compile("[\u0080-\u009f]"), _from_windows),
    ("control characters", re.compile("[\0-\x08\x0b-\x1f\x7f\ufffe\uffff]"), _space),
    ("invisible characters", re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]"), _nothing),
    (
        "unusual spaces",
        re.compile("[\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"),
        _space,
    ),
]
# Most texts have nothing but breaks: one search tells.
_ANYTHING = re.compile(
    "[&\0-\x08\x0b-\x1f\x7f-\u00a0\u00ad\u00c2\u00c3\u1680\u2000-\u200f\u2028\u2029\u202f\u205f"
    "\u2060\u3000\ufeff\ufffe\uffff]"
)
_WORD_OR_MARK = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")
