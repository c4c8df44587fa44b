"""Tokenizers against tiktoken, Hugging Face's files and plain bytes."""

from __future__ import annotations

import base64
import random
from pathlib import Path

import pytest

from datamodules.tokens.tokenizers import TiktokenTokenizer, load_tokenizer
from tests.helpers.paths import DATA

TEXTS = [
    "Hello, world! It's 2024.",
    "",
    "two  spaces,\n\n a break\t and\n\n\n three",
    "trailing  ",
    "wörld 日本語 😀 \u3000 \xa0\xa0 x",
    "<|endoftext|> is no special token here",
    "</s> [SEP]",
]


@pytest.fixture
def gpt2(monkeypatch: pytest.MonkeyPatch) -> TiktokenTokenizer:
    if not (DATA / "tiktoken").is_dir():
        pytest.skip("needs tiktoken in GLASSBOX_TEST_DATA")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(DATA / "tiktoken"))
    tokenizer = load_tokenizer("gpt2")
    assert isinstance(tokenizer, TiktokenTokenizer)
    return tokenizer


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """tiktoken without a cache and without a network."""
    import tiktoken.load
    import tiktoken.registry

    def refuse(path: str) -> bytes:
        raise ConnectionError(f"no route to {path}")

    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "empty"))
    monkeypatch.setattr(tiktoken.registry, "ENCODINGS", {})
    monkeypatch.setattr(tiktoken.load, "read_file", refuse)


def small_ranks() -> dict[bytes, int]:
    """All bytes, and merges that make a few whole words and runs of white space."""
    ranks = {bytes([i]): i for i in range(256)}
    for token in [b"th", b"the", b" t", b" th", b" the", b"\n\n", b"\n\n\n", b"  ", b"   "]:
        ranks[token] = len(ranks)
    for white in ("\xa0", "\u3000"):  # one that is a token by itself, one that is half of one
        ranks[white.encode()[:2]] = len(ranks)
    return ranks


def ranks_file(path: Path) -> Path:
    lines = [f"{base64.b64encode(t).decode()} {rank}" for t, rank in small_ranks().items()]
    path.write_text("\n".join(lines) + "\n")
    return path


def byte_level_file(path: Path, special: list[str]) -> Path:
    """A tokenizer.json over bytes, with special tokens that must not come out of text."""
    tokenizers = pytest.importorskip("tokenizers")
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    vocabulary = {letter: i for i, letter in enumerate(sorted(alphabet))}
    inner = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, []))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = tokenizers.decoders.ByteLevel()
    inner.add_special_tokens(special)
    inner.enable_truncation(3)
    inner.save(str(path))
    return path


def test_bytes_are_the_utf8_bytes_and_one_more_token():
    tokenizer = load_tokenizer("bytes")
    assert (tokenizer.name, tokenizer.vocab_size, tokenizer.end_of_text) == ("bytes", 257, 256)
    for text, ids in zip(TEXTS, tokenizer.encode_batch(TEXTS), strict=True):
        assert ids.tolist() == list(text.encode())
        assert tokenizer.decode(ids) == text
    assert tokenizer.decode([72, 256, 105]) == "H<|endoftext|>i"
    assert tokenizer.encode_batch(["a\ud83db"])[0].tolist() == list("a\ufffdb".encode())


def test_gpt2_gives_the_tokens_of_a_plain_loop(gpt2):
    import tiktoken

    plain = tiktoken.get_encoding("gpt2")
    assert (gpt2.vocab_size, gpt2.end_of_text) == (50257, 50256)
    for texts in (TEXTS[:5], TEXTS, [], [""], ["", ""]):
        expected = [plain.encode_ordinary(text) for text in texts]
        assert [ids.tolist() for ids in gpt2.encode_batch(texts)] == expected
    assert [gpt2.decode(ids) for ids in gpt2.encode_batch(TEXTS)] == TEXTS
    assert gpt2.encode_batch(["a\ud83d b"])[0].tolist() == plain.encode_ordinary("a\ud83d b")


def test_gpt2_in_tiktoken_and_in_hugging_face_files_is_the_same(gpt2):
    if not (DATA / "gpt2_tokenizer").is_dir():
        pytest.skip("needs gpt2_tokenizer in GLASSBOX_TEST_DATA")
    other = load_tokenizer(str(DATA / "gpt2_tokenizer"))
    assert (other.vocab_size, other.end_of_text) == (50257, 50256)
    expected = [ids.tolist() for ids in gpt2.encode_batch(TEXTS)]
    assert [ids.tolist() for ids in other.encode_batch(TEXTS)] == expected
    assert [other.decode(ids) for ids in expected] == TEXTS


def test_texts_of_a_batch_are_encoded_like_each_alone(tmp_path):
    """Against tiktoken with GPT-2's pattern, on texts that are mostly white space."""
    import tiktoken
    from tiktoken_ext import openai_public

    tokenizer = load_tokenizer(str(ranks_file(tmp_path / "small.tiktoken")))
    assert isinstance(tokenizer, TiktokenTokenizer)
    plain = tiktoken.Encoding(
        "plain",
        pat_str=openai_public.r50k_pat_str,
        mergeable_ranks=small_ranks(),
        special_tokens={"<|endoftext|>": len(small_ranks())},
    )
    parts = [
        *"\t\n\r \x85\xa0\u2003\u3000",
        *[" "] * 20,
        *["\n"] * 10,
        "the",
        " the",
        "1",
        ".",
        "'s",
        "é",
        "日",
        "\x1c",
    ]
    source = random.Random(0)
    for _ in range(200):
        texts = ["".join(source.choices(parts, k=source.randint(0, 9))) for _ in range(10)]
        expected = [plain.encode_ordinary(text) for text in texts]
        assert [ids.tolist() for ids in tokenizer.encode_batch(texts)] == expected


def test_the_end_of_text_of_a_ranks_file_is_the_id_after_its_last(tmp_path):
    tokenizer = load_tokenizer(str(ranks_file(tmp_path / "small.tiktoken")))
    assert tokenizer.vocab_size == tokenizer.end_of_text + 1 == len(small_ranks()) + 1
    assert tokenizer.decode(tokenizer.encode_batch([TEXTS[4]])[0]) == TEXTS[4]
    assert tokenizer.fingerprint.startswith("sha256:")


def test_a_ranks_file_named_after_an_encoding_has_its_ids(gpt2, tmp_path):
    lines = [
        f"{base64.b64encode(token).decode()} {rank}"
        for token, rank in gpt2._encoding._mergeable_ranks.items()
    ]
    (tmp_path / "r50k_base.tiktoken").write_text("\n".join(lines))
    tokenizer = load_tokenizer(str(tmp_path / "r50k_base.tiktoken"))
    assert (tokenizer.vocab_size, tokenizer.end_of_text) == (50257, 50256)
    expected = [ids.tolist() for ids in gpt2.encode_batch(TEXTS)]
    assert [ids.tolist() for ids in tokenizer.encode_batch(TEXTS)] == expected


@pytest.mark.parametrize("token", ["<|endoftext|>", "</s>", "[SEP]"])
def test_tokenizer_json_may_have_any_of_the_end_of_text_tokens(tmp_path, token):
    path = byte_level_file(tmp_path / "tokenizer.json", ["[PAD]", token])
    for name in (str(path), str(tmp_path)):
        tokenizer = load_tokenizer(name)
        assert (tokenizer.vocab_size, tokenizer.end_of_text) == (258, 257)
        for text, ids in zip(TEXTS, tokenizer.encode_batch(TEXTS), strict=True):
            assert ids.max(initial=0) < 256  # no special tokens, no truncation
            assert tokenizer.decode(ids) == text


def test_the_fingerprint_depends_on_the_content_of_the_file(tmp_path):
    names = []
    for folder, special in (("a", "</s>"), ("b", "</s>"), ("c", "[SEP]")):
        (tmp_path / folder).mkdir()
        names.append(byte_level_file(tmp_path / folder / "tokenizer.json", [special]))
    first, second, third = (load_tokenizer(str(name)).fingerprint for name in names)
    assert first == second != third


@pytest.mark.parametrize("name", ["cl100k_base", "o200k_base", "r50k_base", "p50k_base"])
def test_patterns_and_special_tokens_are_tiktoken_s(tmp_path, monkeypatch, name):
    from tiktoken_ext import openai_public

    monkeypatch.setattr(openai_public, "load_tiktoken_bpe", lambda *args, **options: {})
    expected = openai_public.ENCODING_CONSTRUCTORS[name]()
    encoding = load_tokenizer(str(ranks_file(tmp_path / f"{name}.tiktoken")))._encoding
    assert encoding._pat_str == expected["pat_str"]
    assert encoding._special_tokens == expected["special_tokens"]


# ---- errors ----------------------------------------------------------------------------------


def test_a_tokenizer_without_end_of_text_is_an_error(tmp_path):
    path = byte_level_file(tmp_path / "tokenizer.json", ["[PAD]"])
    with pytest.raises(ValueError, match=r"endoftext.*</s>.*SEP"):
        load_tokenizer(str(path))


def test_an_unknown_name_is_an_error_that_lists_all():
    with pytest.raises(ValueError, match=r"'gtp2'; did you mean 'gpt2'.*r50k_base.*bytes"):
        load_tokenizer("gtp2")


def test_without_network_and_cache_the_error_says_what_to_do(offline):
    with pytest.raises(ValueError, match=r"'cl100k_base'.*TIKTOKEN_CACHE_DIR") as error:
        load_tokenizer("cl100k_base")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["tokenizer.json", "sub/other.tiktoken", "sub/folder", "."])
def test_missing_files_are_errors(tmp_path, name):
    with pytest.raises(ValueError, match=f"{tmp_path}"):
        load_tokenizer(str(tmp_path / name))


@pytest.mark.parametrize(
    ("name", "content"), [("tokenizer.json", "{"), ("x.tiktoken", "no ranks"), ("notes.md", "# x")]
)
def test_broken_files_are_errors(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=name):
        load_tokenizer(str(tmp_path / name))


def test_a_folder_of_the_same_name_does_not_hide_an_encoding(gpt2, tmp_path, monkeypatch):
    (tmp_path / "gpt2").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_tokenizer("gpt2").fingerprint == "gpt2"
