"""Traces of HTML and of wrong encodings are repaired and counted."""

from __future__ import annotations

from collections import Counter

import pytest

from datamodules.texts.cleaning import clean, separate_punctuation


@pytest.mark.parametrize(
    ("raw", "repaired", "kind"),
    [
        ("end.<br /><br />Then", "end.  Then", "HTML line breaks"),
        ("a<BR>b<br/>c", "a b c", "HTML line breaks"),
        ("fish &amp; chips &#345; &#x159;", "fish & chips ř ř", "HTML entities"),
        ("it\x92s \x96 so\x85", "it’s – so…", "Windows-1252 characters"),
        ("caf\u00c3\u00a9", "café", "characters encoded twice"),
        ("a\0b\x08", "a b ", "control characters"),
        ("so\u00adft\ufeff", "soft", "invisible characters"),
        ("20\u00a0mm\u3000wide", "20 mm wide", "unusual spaces"),
        (":\x8d", ": ", "Windows-1252 characters"),
    ],
)
def test_each_kind_is_repaired_and_counted(raw, repaired, kind):
    counts: Counter[str] = Counter()
    assert clean(raw, counts) == repaired
    assert set(counts) == {kind} and counts[kind] >= 1
    assert clean(repaired) == repaired


def test_every_replacement_is_counted_once():
    counts: Counter[str] = Counter()
    clean("<br /><br />&quot;x&quot; \x93 \x94", counts)
    clean("<br />", counts)
    assert counts == {"HTML line breaks": 3, "HTML entities": 2, "Windows-1252 characters": 2}


def test_entities_of_special_spaces_become_plain_spaces():
    assert clean("a&nbsp;b") == "a b"


@pytest.mark.parametrize(
    "text",
    ["Siân's naïve café", "<grin> 3 < 5 > 4", "R&D; Q&A; AT&T", "日本", "plain\ttext\n", "Ärger"],
)
def test_correct_text_is_unchanged_and_not_counted(text):
    counts: Counter[str] = Counter()
    assert clean(text, counts) == text
    assert not counts


def test_punctuation_is_separated_except_apostrophes_within_words():
    assert separate_punctuation('"It\'s good," he (Bob)  said...') == (
        '" It\'s good , " he ( Bob ) said . . .'
    )
