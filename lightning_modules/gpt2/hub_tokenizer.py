"""A tokenizer as the files that transformers' AutoTokenizer reads."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tiktoken
    import tokenizers

END_OF_TEXT = "<|endoftext|>"

# What two tokenizers are compared by: contractions, numbers, runs of white space, scripts,
# combining marks, symbols outside the basic plane, control characters.
TRIALS = (
    "Hello world, it's what they'd've said; WE'LL see: isn't it 'quoted'?",
    " one  two   three\t\ttabs\n\n\nlines \r\n  indented\n \n trailing   ",
    "1 12 123 1234 12345.678 3,14 x2y3 ½ ² Ⅳ ٣",
    "naïve café e\u0301 Größe ελληνικά Русский 日本語のテキスト 한국어 עברית हिन्दी",
    "🙂👩‍👩‍👧 \U0001f1e9\U0001f1ea ∑∫√ → ≠ \u200b\ufeff\x00\x1f\x7f\xa0\u2003\u2028end",
    "def f(x):\n    return {'a': x**2, \"b\": [1, 2]}  # !!! ... ---- ====",
    "   ",
    "",
)


def write_tokenizer(tokenizer: Any, folder: Path, max_length: int) -> list[str]:
    """Write ``tokenizer.json`` and ``tokenizer_config.json``, and for GPT-2's its own two files.

    Args:
        tokenizer: One of ``datamodules.tokens.tokenizers``: bytes, tiktoken's, or from files.
        folder: Where to write; it exists.
        max_length: Longest context of the model.

    Returns:
        The names of the files; none where such files would give other ids to some text.
    """
    inner, like_gpt2, file = _converted(tokenizer)
    if not _agree(tokenizer, inner):
        return []
    end = inner.id_to_token(tokenizer.end_of_text)
    names = ["tokenizer.json", "tokenizer_config.json"]
    if file is None:
        inner.add_special_tokens([end])
        inner.save(str(folder / names[0]))
    else:
        (folder / names[0]).write_bytes(file.read_bytes())
    settings: dict[str, Any] = {
        "tokenizer_class": "GPT2Tokenizer" if like_gpt2 else "PreTrainedTokenizerFast",
        "bos_token": end,
        "eos_token": end,
        "model_max_length": max_length,
        "clean_up_tokenization_spaces": False,  # decoding gives back the text
    }
    if like_gpt2:
        settings |= {"unk_token": end, "add_prefix_space": False}
        names += [Path(file).name for file in inner.model.save(str(folder))]
    (folder / names[1]).write_text(json.dumps(settings, indent=2) + "\n")
    return names


def _converted(tokenizer: Any) -> tuple[tokenizers.Tokenizer, bool, Path | None]:
    """A tokenizer in the library ``tokenizers``, whether it is GPT-2's kind, and its own file."""
    import tokenizers

    encoding = getattr(tokenizer, "_encoding", None)  # tiktoken's
    if encoding is not None:
        return *_of_ranks(encoding), None
    if tokenizer.name == "bytes":
        return _of_bytes(), False, None
    path = Path(tokenizer.name).expanduser()
    file = path / "tokenizer.json" if path.is_dir() else path
    if file.is_file():
        return tokenizers.Tokenizer.from_file(str(file)), False, file
    pair = [str(path / name) for name in ("vocab.json", "merges.txt")]
    return _byte_level(tokenizers.models.BPE.from_file(*pair), like_gpt2=True), True, None


def _agree(tokenizer: Any, inner: tokenizers.Tokenizer) -> bool:
    """Whether both give the same ids to texts that tokenizers differ on."""
    ours = [ids.tolist() for ids in tokenizer.encode_batch(TRIALS)]
    theirs = [inner.encode(text, add_special_tokens=False).ids for text in TRIALS]
    return ours == theirs


def _byte_level(model: Any, like_gpt2: bool, pattern: str | None = None) -> tokenizers.Tokenizer:
    """A tokenizer on UTF-8 bytes, each written as a visible character.

    Args:
        model: The byte pairs.
        like_gpt2: Cut text into words as GPT-2 does.
        pattern: Regular expression of a word, for one that does it otherwise; None cuts nothing.
    """
    import tokenizers
    from tokenizers import decoders, pre_tokenizers, processors

    inner = tokenizers.Tokenizer(model)
    cut: Any = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=like_gpt2)
    if pattern is not None:
        split = pre_tokenizers.Split(tokenizers.Regex(pattern), behavior="isolated")
        cut = pre_tokenizers.Sequence([split, cut])
    inner.pre_tokenizer = cut
    inner.post_processor = processors.ByteLevel(trim_offsets=False)
    inner.decoder = decoders.ByteLevel()
    return inner


def _of_bytes() -> tokenizers.Tokenizer:
    """Byte b as id b, and 256 as the end of a text."""
    import tokenizers

    vocabulary = {_visible(bytes([byte])): byte for byte in range(256)} | {END_OF_TEXT: 256}
    return _byte_level(tokenizers.models.BPE(vocabulary, []), like_gpt2=False)


def _of_ranks(encoding: tiktoken.Encoding) -> tuple[tokenizers.Tokenizer, bool]:
    """tiktoken's ranks of byte strings as a vocabulary and pairs that are merged.

    Returns:
        The tokenizer, and whether vocabulary and pairs say all of it, as they do for GPT-2's.
    """
    import tokenizers

    ranks: dict[bytes, int] = encoding._mergeable_ranks
    vocabulary = {_visible(token): rank for token, rank in ranks.items()}
    vocabulary |= encoding._special_tokens
    merges = [(_visible(a), _visible(b)) for a, b in merged_pairs(ranks)]
    # A word that is a token is taken whole, as tiktoken does.
    model = tokenizers.models.BPE(vocabulary, merges, ignore_merges=True)
    like_gpt2 = _cuts_like_gpt2(encoding)
    pattern = None if like_gpt2 else in_oniguruma(encoding._pat_str)
    inner = _byte_level(model, like_gpt2, pattern)
    inner.add_special_tokens(list(encoding._special_tokens))
    every_token_is_merged = len(merges) == sum(len(token) > 1 for token in ranks)
    return inner, like_gpt2 and every_token_is_merged


def merged_pairs(ranks: dict[bytes, int]) -> list[tuple[bytes, bytes]]:
    """The two parts that each token is merged from, in the order of rank.

    They are what is left of the token when pairs of lower rank have been merged within it, the
    lowest first. A token that more than two parts are left of is never merged, and is passed over.

    Args:
        ranks: Rank of every token; single bytes are merged from nothing.
    """
    pairs = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        parts = [token[i : i + 1] for i in range(len(token))]
        while len(parts) > 2:
            joined = [ranks.get(a + b, rank) for a, b in itertools.pairwise(parts)]
            least = min(joined)
            if least >= rank:
                break
            at = joined.index(least)
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        if len(parts) == 2:
            pairs.append((parts[0], parts[1]))
    return pairs


def in_oniguruma(pattern: str) -> str:
    """A pattern of tiktoken's in the syntax of Hugging Face's tokenizers.

    There ``$`` would also match at the end of a line, and ``{1,3}+`` would mean many times. Without
    their possessive signs these patterns match the same words, only slower.
    """
    pattern = re.sub(r"([+*?])\+", r"\1", pattern)
    pattern = re.sub(r"(\{\d+(?:,\d*)?\})\+", r"\1", pattern)
    return pattern.replace("$", r"\z")


def _cuts_like_gpt2(encoding: tiktoken.Encoding) -> bool:
    from tiktoken_ext import openai_public

    return bool(encoding._pat_str == openai_public.r50k_pat_str)


def _visible(token: bytes) -> str:
    """Bytes as byte-level vocabularies write them: each as one character that can be seen.

    Printable Latin-1 stands for itself; the other bytes, in order, for U+0100 and what follows.
    """
    return "".join(_VISIBLE[byte] for byte in token)


_PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_HIDDEN = [byte for byte in range(256) if byte not in _PRINTABLE]
_VISIBLE = {byte: chr(byte) for byte in _PRINTABLE} | {
    byte: chr(0x100 + i) for i, byte in enumerate(_HIDDEN)
}
