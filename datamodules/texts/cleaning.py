"""Removes traces of HTML and of wrong encodings from texts.

The words of IMDB, and so its published results, depend on every rule here: do not replace them by a
library such as ftfy.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Callable
from html.entities import html5


def clean(text: str, counts: Counter[str] | None = None) -> str:
    """Clean a text.

    HTML line breaks become spaces. Entities, and characters that were encoded twice or decoded with
    the wrong encoding, become the intended characters. Other control characters become spaces,
    invisible ones are deleted, and every kind of space becomes a plain one. Other tags stay: they
    may be words ('<grin>').
    """
    for name, pattern, replacement in _REPAIRS if _NEEDS_REPAIR.search(text) else _REPAIRS[:1]:

        def replaced(match: re.Match[str], name: str = name, new: Replacement = replacement) -> str:
            result = new(match[0])
            if counts is not None and result != match[0]:
                counts[name] += 1
            return result

        text = pattern.sub(replaced, text)
    return text


def separate_punctuation(text: str) -> str:
    """Put spaces around everything but letters, digits and apostrophes within words."""
    return " ".join(_WORD_OR_MARK.findall(text))


def _entity(entity: str) -> str:
    """The character of an HTML entity; unknown entities stay."""
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
# The order matters: an entity may be a special space, and half of a character that was encoded
# twice looks like Windows-1252.
_REPAIRS: list[tuple[str, re.Pattern[str], Replacement]] = [
    ("HTML line breaks", re.compile(r"<br\s*/?\s*>", re.IGNORECASE), _space),
    (
        "HTML entities",
        re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});"),
        _entity,
    ),
    # UTF-8 decoded as Latin-1, such as 'Ã©' for 'é'
    ("characters encoded twice", re.compile("[\u00c2\u00c3][\u0080-\u00bf]"), _decoded_again),
    # Windows-1252 decoded as Latin-1: dashes, dots, quotation marks
    ("Windows-1252 characters", re.compile("[\u0080-\u009f]"), _from_windows),
    ("control characters", re.compile("[\0-\x08\x0b-\x1f\x7f\ufffe\uffff]"), _space),
    ("invisible characters", re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]"), _nothing),
    (
        "unusual spaces",
        re.compile("[\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"),
        _space,
    ),
]
# Most texts need no rule but the first: one search decides.
_NEEDS_REPAIR = re.compile(
    "[&\0-\x08\x0b-\x1f\x7f-\u00a0\u00ad\u00c2\u00c3\u1680\u2000-\u200f\u2028\u2029\u202f\u205f"
    "\u2060\u3000\ufeff\ufffe\uffff]"
)
_WORD_OR_MARK = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")
