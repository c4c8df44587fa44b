"""Words to ids: which words are known, in which order, and how pieces of words find their word."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from datamodules.texts.encoding import EncodedTexts
from datamodules.texts.vocabulary import UNK, SubwordVocabulary, WordVocabulary
from datamodules.tokens.tokenizers import ByteTokenizer

TEXTS = ["a film a film", "A good film", "the bad the film", "good"]


def test_words_that_are_frequent_enough_are_known_and_case_counts():
    counts = Counter(word for text in TEXTS for word in text.split())
    vocabulary = WordVocabulary.from_texts(TEXTS, 2)
    assert vocabulary.words == ("<pad>", "<unk>", "film", "a", "good", "the")
    assert set(vocabulary.words[2:]) == {word for word, count in counts.items() if count >= 2}
    assert vocabulary.size == 6
    assert WordVocabulary.from_texts(TEXTS, 1).size == 2 + len(counts)


def test_order_of_the_texts_does_not_matter():
    assert WordVocabulary.from_texts(TEXTS[::-1]).words == WordVocabulary.from_texts(TEXTS).words
    assert (
        WordVocabulary.from_texts(TEXTS[::-1]).fingerprint
        == WordVocabulary.from_texts(TEXTS).fingerprint
    )
    assert (
        WordVocabulary.from_texts(TEXTS, 1).fingerprint
        != WordVocabulary.from_texts(TEXTS).fingerprint
    )


def test_a_word_has_its_id_and_all_others_are_unknown():
    vocabulary = WordVocabulary.from_texts(TEXTS)
    ids, numbers = vocabulary.encode(["the", "A", "film", "film"], 3)
    assert ids == [5, UNK, 2] and list(numbers) == [0, 1, 2]
    assert ids == [vocabulary.words.index(word) for word in ("the", "<unk>", "film")]


def test_the_names_of_padding_and_of_the_unknown_word_are_ordinary_words_in_a_text():
    vocabulary = WordVocabulary.from_texts(["<unk> <pad> <unk> <pad>"])
    assert vocabulary.encode(["<pad>", "<unk>"], 9)[0] == [2, 3]


@pytest.mark.parametrize("subwords", [False, True])
def test_a_text_without_words_is_one_unknown_word(subwords):
    vocabulary = (
        SubwordVocabulary(ByteTokenizer()) if subwords else WordVocabulary.from_texts(TEXTS)
    )
    ids, numbers = vocabulary.encode([], 5)
    assert ids == [UNK] and list(numbers) == [0]


def test_no_frequent_word_is_refused():
    with pytest.raises(ValueError, match=r"no word .* occurs 9 times.*min_frequency.*lower it"):
        WordVocabulary.from_texts(TEXTS, 9)


def test_pieces_of_words_are_those_of_the_word_with_a_space_moved_up_by_two():
    vocabulary = SubwordVocabulary(ByteTokenizer())
    ids, numbers = vocabulary.encode(["é", "to", "to"], 99)
    assert ids == [2 + byte for word in ("é", "to", "to") for byte in f" {word}".encode()]
    assert numbers == [0] * 3 + [1] * 3 + [2] * 3
    assert vocabulary.size == 2 + 257


def test_pieces_of_a_text_without_a_word_are_those_of_the_other_words():
    vocabulary = SubwordVocabulary(ByteTokenizer())
    words = ["not", "a", "good", "film"]
    ids, numbers = vocabulary.tokens(words, 99)
    left = [i for i, number in zip(ids, numbers, strict=True) if number != 2]
    assert left == vocabulary.encode(["not", "a", "film"], 99)[0]


def test_a_limit_counts_pieces():
    ids, numbers = SubwordVocabulary(ByteTokenizer()).encode(["ab", "cd"], 4)
    assert len(ids) == 4 and numbers == [0, 0, 0, 1]


def test_a_word_of_which_a_tokenizer_makes_nothing_is_unknown():
    class Nothing(ByteTokenizer):
        def encode_batch(self, texts):
            return [np.array([], np.uint32) for _ in texts]

    assert SubwordVocabulary(Nothing()).encode(["a", "b"], 9) == ([UNK, UNK], [0, 1])


def test_encoded_texts_are_flat_and_cut():
    vocabulary = WordVocabulary.from_texts(TEXTS)
    texts = EncodedTexts(vocabulary, ["the good a film", "", "film"], [1, 0, 1], 3)
    assert texts.tokens.tolist() == [5, 4, 3, 1, 2]
    assert texts.words.tolist() == [0, 1, 2, 0, 0]
    assert texts.offsets.tolist() == [0, 3, 4, 5]
    assert texts.lengths.tolist() == [3, 1, 1]
    assert (texts.num_cut, texts.num_empty, len(texts)) == (1, 1, 3)
    assert texts.tokens.dtype == texts.words.dtype == np.int32
    assert texts.unknown_fraction == pytest.approx(1 / 5)


def test_a_text_of_just_the_limit_is_not_counted_as_cut():
    assert (
        EncodedTexts(WordVocabulary.from_texts(TEXTS), ["a film", "a a a"], [0, 1], 2).num_cut == 1
    )


@pytest.mark.parametrize(
    ("texts", "labels"),
    [(["a film", "the"], [0, 1]), (["a", "film the"], [1, 0]), (["the", "a film"], [1, 0])],
)
def test_fingerprint_tells_texts_classes_and_cuts(texts, labels):
    vocabulary = WordVocabulary.from_texts(TEXTS)
    one = EncodedTexts(vocabulary, ["a film", "the"], [1, 0], 9)
    assert one.fingerprint() == EncodedTexts(vocabulary, ["a film", "the"], [1, 0], 5).fingerprint()
    assert one.fingerprint() != EncodedTexts(vocabulary, texts, labels, 9).fingerprint()
