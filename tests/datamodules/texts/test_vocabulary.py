"""Words to ids, and back to the words of each token."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from datamodules.texts.encoding import EncodedTexts
from datamodules.texts.vocabulary import UNK, SubwordVocabulary, WordVocabulary
from datamodules.tokens.tokenizers import ByteTokenizer

TEXTS = ["a film a film", "A good film", "the bad the film", "good"]
WORDS = WordVocabulary.from_texts(TEXTS)


def test_frequent_words_are_known_by_decreasing_frequency_and_case_matters():
    assert WORDS.words == ("<pad>", "<unk>", "film", "a", "good", "the")
    assert WORDS.size == 6
    counts = Counter(word for text in TEXTS for word in text.split())
    assert WordVocabulary.from_texts(TEXTS, 1).size == 2 + len(counts)


def test_the_order_of_the_texts_does_not_matter():
    other = WordVocabulary.from_texts(TEXTS[::-1])
    assert (other.words, other.fingerprint) == (WORDS.words, WORDS.fingerprint)
    assert WordVocabulary.from_texts(TEXTS, 1).fingerprint != WORDS.fingerprint


def test_unknown_words_share_one_id():
    ids, indices = WORDS.encode(["the", "A", "film", "film"], 3)
    assert ids == [5, UNK, 2] and list(indices) == [0, 1, 2]


def test_the_names_of_special_ids_are_ordinary_words_in_a_text():
    vocabulary = WordVocabulary.from_texts(["<unk> <pad> <unk> <pad>"])
    assert vocabulary.encode(["<pad>", "<unk>"], 9)[0] == [2, 3]


@pytest.mark.parametrize("vocabulary", [WORDS, SubwordVocabulary(ByteTokenizer())])
def test_a_text_without_words_is_one_unknown_word(vocabulary):
    ids, indices = vocabulary.encode([], 5)
    assert ids == [UNK] and list(indices) == [0]


def test_no_frequent_word_is_an_error():
    with pytest.raises(ValueError, match="min_frequency"):
        WordVocabulary.from_texts(TEXTS, 9)


def test_subwords_are_those_of_each_word_with_a_space_shifted_by_two():
    vocabulary = SubwordVocabulary(ByteTokenizer())
    assert vocabulary.size == 259
    ids, indices = vocabulary.encode(["é", "to", "to"], 99)
    assert ids == [2 + byte for word in ("é", "to", "to") for byte in f" {word}".encode()]
    assert indices == [0] * 3 + [1] * 3 + [2] * 3
    for limit in range(1, 9):  # the limit may cut a word
        cut_ids, cut_indices = vocabulary.encode(["é", "to", "to"], limit)
        assert (cut_ids, cut_indices) == (ids[:limit], indices[:limit])


def test_a_word_without_subwords_is_unknown():
    class Nothing(ByteTokenizer):
        def encode_batch(self, texts):
            return [np.array([], np.uint32) for _ in texts]

    assert SubwordVocabulary(Nothing()).encode(["a", "b"], 9) == ([UNK, UNK], [0, 1])


def test_encoded_texts_are_concatenated_and_cut():
    texts = EncodedTexts(WORDS, ["the good a film", "", "film"], [1, 0, 1], 3)
    assert texts.tokens.tolist() == [5, 4, 3, 1, 2]
    assert texts.words.tolist() == [0, 1, 2, 0, 0]
    assert texts.offsets.tolist() == [0, 3, 4, 5]
    assert texts.lengths.tolist() == [3, 1, 1]
    assert (texts.num_cut, texts.num_empty, len(texts)) == (1, 1, 3)
    assert texts.tokens.dtype == texts.words.dtype == np.int32
    assert texts.unknown_fraction == pytest.approx(1 / 5)
    assert EncodedTexts(WORDS, ["a film", "a a a"], [0, 1], 2).num_cut == 1


@pytest.mark.parametrize(
    ("texts", "labels"),
    [(["a film", "the"], [0, 1]), (["a", "film the"], [1, 0]), (["the", "a film"], [1, 0])],
)
def test_the_fingerprint_depends_on_texts_order_and_classes(texts, labels):
    one = EncodedTexts(WORDS, ["a film", "the"], [1, 0], 9)
    assert one.fingerprint() == EncodedTexts(WORDS, ["a film", "the"], [1, 0], 5).fingerprint()
    assert one.fingerprint() != EncodedTexts(WORDS, texts, labels, 9).fingerprint()
