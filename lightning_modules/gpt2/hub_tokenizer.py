"""A tokenizer as the files that transformers' AutoTokenizer reads."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tiktoken
    import tokenizers

END_OF_TEXT = "<|endoftext|>"

# Texts on which tokenizers differ: contractions, numbers, runs of white space, scripts, combining
# marks, symbols outside the basic plane, control characters.
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
    """Write ``tokenizer.json`` and ``tokenizer_config.json`` into an existing folder.

    Returns the files' names; none if such files would give other ids to some text.
    """
    inner, file = _convert(tokenizer)
    encoded = [ids.tolist() for ids in tokenizer.encode_batch(TRIALS)]
    if encoded != [inner.encode(text, add_special_tokens=False).ids for text in TRIALS]:
        return []
    end = inner.id_to_token(tokenizer.end_of_text)
    if file is None:
        inner.add_special_tokens([end])
        inner.save(str(folder / "tokenizer.json"))
    else:
        (folder / "tokenizer.json").write_bytes(file.read_bytes())
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": end,
        "eos_token": end,
        "model_max_length": max_length,
        "clean_up_tokenization_spaces": False,  # decoding restores the text
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    return ["tokenizer.json", "tokenizer_config.json"]


def _convert(tokenizer: Any) -> tuple[tokenizers.Tokenizer, Path | None]:
    """A tokenizer in the library ``tokenizers``, and its own file if it was read from one."""
    import tokenizers
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    encoding = getattr(tokenizer, "_encoding", None)  # tiktoken's
    if encoding is not None:
        return _from_ranks(encoding), None
    if tokenizer.name == "bytes":
        vocabulary = {bytes_to_unicode()[byte]: byte for byte in range(256)}
        vocabulary[END_OF_TEXT] = 256
        return _byte_level(tokenizers.models.BPE(vocabulary, [])), None
    path = Path(tokenizer.name).expanduser()
    file = path / "tokenizer.json" if path.is_dir() else path
    if file.is_file():
        return tokenizers.Tokenizer.from_file(str(file)), file
    pair = [str(path / name) for name in ("vocab.json", "merges.txt")]
    return _byte_level(tokenizers.models.BPE.from_file(*pair), use_regex=True), None


def _byte_level(
    model: Any, pattern: str | None = None, use_regex: bool = False
) -> tokenizers.Tokenizer:
    """A tokenizer on UTF-8 bytes; ``pattern`` or GPT-2's ``use_regex`` splits text into words."""
    import tokenizers
    from tokenizers import decoders, pre_tokenizers, processors

    inner = tokenizers.Tokenizer(model)
    split: Any = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)
    if pattern is not None:
        words = pre_tokenizers.Split(tokenizers.Regex(pattern), behavior="isolated")
        split = pre_tokenizers.Sequence([words, split])
    inner.pre_tokenizer = split
    inner.post_processor = processors.ByteLevel(trim_offsets=False)
    inner.decoder = decoders.ByteLevel()
    return inner


def _from_ranks(encoding: tiktoken.Encoding) -> tokenizers.Tokenizer:
    """tiktoken's ranks as a vocabulary and merges, as transformers' TikTokenConverter has them.

    The converter itself gives special tokens other ids and keeps the pattern's syntax.
    """
    import tokenizers
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    character = bytes_to_unicode()

    def visible(token: bytes) -> str:
        return "".join(character[byte] for byte in token)

    ranks: dict[bytes, int] = encoding._mergeable_ranks
    vocabulary = {visible(token): rank for token, rank in ranks.items()}
    merges = [
        (visible(token[:i]), visible(token[i:]))
        for token in sorted(ranks, key=ranks.__getitem__)
        for i in range(1, len(token))
        if token[:i] in ranks and token[i:] in ranks
    ]
    # A word that is a token is not split, as in tiktoken.
    model = tokenizers.models.BPE(vocabulary | encoding._special_tokens, merges, ignore_merges=True)
    inner = _byte_level(model, to_oniguruma(encoding._pat_str))
    inner.add_special_tokens(list(encoding._special_tokens))
    return inner


def to_oniguruma(pattern: str) -> str:
    """Translate tiktoken's pattern into the syntax of Hugging Face's tokenizers.

    There ``$`` also matches at the end of a line, and ``{1,3}+`` means repetition. Without
    possessive quantifiers these patterns match the same words, only slower.
    """
    pattern = re.sub(r"([+*?])\+", r"\1", pattern)
    pattern = re.sub(r"(\{\d+(?:,\d*)?\})\+", r"\1", pattern)
    return pattern.replace("$", r"\z")
