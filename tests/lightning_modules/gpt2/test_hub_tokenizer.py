"""Exported tokenizers encode like the originals."""

from __future__ import annotations

import base64
import json
import random
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from datamodules.tokens.tokenizers import load_tokenizer
from lightning_modules.gpt2.hub_tokenizer import to_oniguruma, write_tokenizer
from tests.helpers.paths import DATA

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

END = "<|endoftext|>"
ODD = [
    "",
    " ",
    "   \n\n \t x  y",
    "it's we'LL they'd've I'm ''s 's",
    "Naïve café, e\u0301 ﬁ ½² 日本語 한국어 हिन्दी עברית",
    "🙂👩‍👩‍👧 \x00\x1f\x7f\xa0\u2003\u2028\ufeff end ",
    "12345 1,234.5 x2 \r\n\r\n  indented\n",
    "line \n next  \n\nlast   ",
    "[SEP] </s> <|endoftex|>",
]


def noise(count: int) -> list[str]:
    """Random texts of letters, spaces, marks and anything else."""
    rng = random.Random(0)
    alphabet = "aeinrst  \n\t''.,09é日🙂\u0301\u00a0"
    return ["".join(rng.choices(alphabet, k=30)) for _ in range(count)]


def written(name: str, folder: Path):
    """A tokenizer of ours, and AutoTokenizer's of its exported files."""
    tokenizer = load_tokenizer(name)
    folder.mkdir()
    files = write_tokenizer(tokenizer, folder, max_length=64)
    assert sorted(files) == sorted(path.name for path in folder.iterdir())
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    again = load_tokenizer(str(folder))
    for one, two in zip(again.encode_batch(ODD), tokenizer.encode_batch(ODD), strict=True):
        assert one.tolist() == two.tolist()
    return tokenizer, transformers.AutoTokenizer.from_pretrained(folder)


def check(tokenizer, theirs, texts) -> None:
    """Both tokenizers give the same ids, decoded text and end of text."""
    for text, ids in zip(texts, tokenizer.encode_batch(texts), strict=True):
        assert theirs.encode(text, add_special_tokens=False) == ids.tolist(), text
        assert theirs.decode(ids.tolist()) == tokenizer.decode(ids), text
    assert theirs.eos_token_id == theirs.bos_token_id == tokenizer.end_of_text
    assert (
        theirs.encode(f"a{theirs.eos_token}", add_special_tokens=False)[-1] == theirs.eos_token_id
    )
    assert theirs.model_max_length == 64


def small_ranks(path: Path) -> str:
    """A file of tiktoken ranks: 256 bytes and merges of the most frequent pairs of ``ODD`` texts.

    Merges may cross word boundaries, so that a wrong split changes the ids.
    """
    ranks = {bytes([byte]): byte for byte in range(256)}
    texts = [[bytes([byte]) for byte in text.encode()] for text in [*ODD, *noise(40), *noise(40)]]
    for _ in range(120):
        pairs = Counter(pair for text in texts for pair in pairwise(text))
        left, right = max(pairs, key=lambda pair: (pairs[pair], pair))
        ranks[left + right] = len(ranks)
        for text in texts:
            i = 0
            while i < len(text) - 1:
                if text[i] + text[i + 1] == left + right:
                    text[i : i + 2] = [left + right]
                i += 1
    lines = [base64.b64encode(token) + f" {rank}".encode() for token, rank in ranks.items()]
    path.write_bytes(b"\n".join(lines))
    return str(path)


def test_bytes(tmp_path):
    tokenizer, theirs = written("bytes", tmp_path / "out")
    check(tokenizer, theirs, [*ODD, *noise(50)])
    assert theirs.encode("é") == list("é".encode()) and len(theirs) == 257


def test_tokenizer_file_is_copied(tmp_path):
    inner = tokenizers.Tokenizer(tokenizers.models.BPE())
    inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["</s>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator([*ODD, *noise(50)], trainer)
    inner.save(str(tmp_path / "mine.json"))
    tokenizer, theirs = written(str(tmp_path / "mine.json"), tmp_path / "out")
    check(tokenizer, theirs, [text for text in [*ODD, *noise(50)] if "</s>" not in text])
    copy = (tmp_path / "out" / "tokenizer.json").read_bytes()
    assert copy == (tmp_path / "mine.json").read_bytes()


@pytest.mark.parametrize("name", ["mine", "cl100k_base", "o200k_base"])
def test_ranks_with_the_pattern_of_each_encoding(tmp_path, name):
    tokenizer, theirs = written(small_ranks(tmp_path / f"{name}.tiktoken"), tmp_path / "out")
    assert any(max(ids) > 256 for ids in tokenizer.encode_batch(ODD) if len(ids))
    check(tokenizer, theirs, [*ODD, *noise(200)])
    assert theirs.encode(f"a{END}b") == [97, tokenizer.end_of_text, 98]
    if name == "mine":  # GPT-2's pattern
        return
    plain = written(small_ranks(tmp_path / "plain.tiktoken"), tmp_path / "plain")[1]
    assert any(theirs.encode(text) != plain.encode(text) for text in noise(200))


def test_vocabulary_and_merges_without_a_tokenizer_json(tmp_path):
    inner = tokenizers.ByteLevelBPETokenizer()
    inner.train_from_iterator([*ODD, *noise(50)], vocab_size=400, special_tokens=[END])
    pair = tmp_path / "pair"
    pair.mkdir()
    inner.save_model(str(pair))
    tokenizer, theirs = written(str(pair), tmp_path / "out")
    check(tokenizer, theirs, [*ODD, *noise(50)])


def test_token_that_no_merge_produces(tmp_path):
    ranks = [bytes([byte]) for byte in range(256)] + [b"xyz"]
    lines = (base64.b64encode(token) + f" {rank}".encode() for rank, token in enumerate(ranks))
    (tmp_path / "mine.tiktoken").write_bytes(b"\n".join(lines))
    tokenizer, theirs = written(str(tmp_path / "mine.tiktoken"), tmp_path / "out")
    assert tokenizer.encode_batch(["xyz"])[0].tolist() == theirs.encode("xyz") == [256]


def test_possessive_quantifiers_and_line_ends_are_translated():
    assert (
        to_oniguruma(r"\p{L}++|\p{N}{1,3}+|\s++$|[a]*+|x?+") == r"\p{L}+|\p{N}{1,3}|\s+\z|[a]*|x?"
    )


@pytest.mark.parametrize("name", ["gpt2", "cl100k_base"])
def test_published_encodings(tmp_path, monkeypatch, name):
    cache = DATA / "tiktoken"
    if not cache.is_dir():
        pytest.skip("no ../shared/data")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(cache))
    try:
        tokenizer, theirs = written(name, tmp_path / "out")
    except ValueError:
        pytest.skip(f"{name} is not cached")
    check(tokenizer, theirs, [*ODD, *noise(200)])
    if name == "gpt2":
        originals = cache.parent / "gpt2_tokenizer"
        openais = transformers.GPT2TokenizerFast.from_pretrained(originals)
        assert openais.get_vocab() == theirs.get_vocab()
        assert [openais.encode(text) for text in ODD] == [theirs.encode(text) for text in ODD]
