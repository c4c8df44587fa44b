"""Text to token ids: tiktoken's encodings, tokenizer files and plain bytes behind one interface."""

from __future__ import annotations

import base64
import difflib
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from datamodules.common.options import one_line

if TYPE_CHECKING:
    import tiktoken
    import tokenizers

# Names of the token between documents in tokenizer files, in order of preference.
END_OF_TEXT = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "[SEP]")
TOKENIZER_HINT = (
    "set TIKTOKEN_CACHE_DIR to a folder with tiktoken's files, or --data.tokenizer to a tokenizer "
    "file or to bytes"
)


class Tokenizer(ABC):
    """Converts text to token ids and back.

    Attributes:
        name: Name or path it was loaded by.
        vocab_size: Number of ids; every id is below it.
        end_of_text: The id that follows every document.
        fingerprint: Identifies the tokenizer: the name, or for a file a checksum of its content,
            since files move and change.
    """

    name: str
    vocab_size: int
    end_of_text: int
    fingerprint: str

    @abstractmethod
    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The ids of each text. Names of special tokens in a text are ordinary text."""

    @abstractmethod
    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of the ids, special tokens by their names."""


class ByteTokenizer(Tokenizer):
    """UTF-8 bytes as ids, and 256 as the end of text. Needs no files."""

    def __init__(self) -> None:
        self.name = self.fingerprint = "bytes"
        self.vocab_size = 257
        self.end_of_text = 256

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The bytes of each text; half a surrogate pair becomes the replacement character."""
        return [np.frombuffer(utf8(text), np.uint8) for text in texts]

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of the bytes; invalid ones become replacement characters."""
        parts = (b"<|endoftext|>" if i == self.end_of_text else bytes([i]) for i in map(int, ids))
        return b"".join(parts).decode(errors="replace")


class TiktokenTokenizer(Tokenizer):
    """A byte-pair encoding of tiktoken."""

    def __init__(
        self, encoding: tiktoken.Encoding, name: str, fingerprint: str | None = None
    ) -> None:
        self.name = name
        self.fingerprint = fingerprint or name
        self.vocab_size = encoding.n_vocab
        self.end_of_text = encoding.eot_token
        self._encoding = encoding
        self._separator = encoding.decode([encoding.eot_token])

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The ids of each text.

        One call of tiktoken encodes all texts, joined by its end-of-text token, at which it always
        splits. So the ids are those of each text alone, but Python's lock is taken once per batch.
        """
        joined = self._separator.join([*texts, ""])
        encode = self._encoding.encode_to_numpy
        try:
            if joined.count(self._separator) != len(texts):  # a text contains the token's name
                return [encode(text, disallowed_special=()) for text in texts]
            ids = encode(joined, allowed_special={self._separator}, disallowed_special=())
        except UnicodeEncodeError:
            return self.encode_batch([utf8(text).decode() for text in texts])
        ends = np.flatnonzero(ids == self.end_of_text)
        starts = [0, *(ends + 1).tolist()]
        return [ids[a:b] for a, b in zip(starts, ends.tolist(), strict=False)]

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of the ids."""
        return self._encoding.decode([int(i) for i in ids])


class FileTokenizer(Tokenizer):
    """A tokenizer of Hugging Face's ``tokenizers`` library."""

    def __init__(self, inner: tokenizers.Tokenizer, name: str, fingerprint: str) -> None:
        self.name = name
        self.fingerprint = fingerprint
        vocabulary = inner.get_vocab(with_added_tokens=True)
        self.vocab_size = max(vocabulary.values(), default=-1) + 1  # ids may have gaps
        end = next((vocabulary[token] for token in END_OF_TEXT if token in vocabulary), None)
        if end is None:
            raise ValueError(
                f"tokenizer {name} has no end-of-text token; add one of {', '.join(END_OF_TEXT)}, "
                f"or use another tokenizer"
            )
        self.end_of_text = end
        inner.encode_special_tokens = True  # their names in a text are ordinary text
        inner.no_truncation()
        inner.no_padding()
        self._inner = inner

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The ids of each text, without the special tokens that a file may add around it."""
        clean = [utf8(text).decode() for text in texts]
        encodings = self._inner.encode_batch_fast(clean, add_special_tokens=False)
        return [np.array(encoding.ids, np.uint32) for encoding in encodings]

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of the ids."""
        return self._inner.decode([int(i) for i in ids], skip_special_tokens=False)


def load_tokenizer(name: str = "gpt2") -> Tokenizer:
    """Load a tokenizer by name or path.

    Args:
        name: One of tiktoken's encodings ('gpt2', 'r50k_base', ...); 'bytes'; the path of a
            ``tokenizer.json`` or of a folder with one or with ``vocab.json`` and ``merges.txt``
            (byte-level BPE, as GPT-2's); or the path of a ``.tiktoken`` file of ranks. A ranks file
            does not say how text is split into words: one named after an encoding of tiktoken's is
            used with that encoding's pattern, any other with GPT-2's.

    Raises:
        ValueError: There is no such tokenizer, or its files are missing or broken.
    """
    if name == "bytes":
        return ByteTokenizer()
    path = Path(name).expanduser()
    if path.suffix in (".json", ".tiktoken") or len(path.parts) > 1:
        return _load_path(name, path)
    try:
        import tiktoken
    except ImportError as error:
        raise ValueError(
            f"the tokenizer {name!r} requires tiktoken: run pip install tiktoken, or set "
            f"--data.tokenizer to a tokenizer file or to bytes"
        ) from error
    names = [*tiktoken.list_encoding_names(), "bytes"]
    if name not in names and path.exists():
        return _load_path(name, path)
    if name not in names:
        near = difflib.get_close_matches(name, names, 1)
        raise ValueError(
            f"there is no tokenizer {name!r}{f'; did you mean {near[0]!r}?' if near else ''}; "
            f"choose one of {', '.join(names)}, or the path of a tokenizer file or folder"
        )
    try:
        return TiktokenTokenizer(tiktoken.get_encoding(name), name)
    except Exception as error:  # the network, a proxy or a broken cache raise many types
        raise ValueError(
            f"tiktoken could not load the tokenizer {name!r} from its cache or the network "
            f"({type(error).__name__}); {TOKENIZER_HINT}"
        ) from None


def _load_path(name: str, path: Path) -> Tokenizer:
    """The tokenizer of a file or folder."""
    files = [path]
    if path.is_dir():
        files = [path / "tokenizer.json"]
        if not files[0].exists():
            files = [path / "vocab.json", path / "merges.txt"]
    if not all(file.is_file() for file in files):
        if path.is_dir():
            raise ValueError(
                f"folder {name} has no tokenizer: it needs tokenizer.json, or vocab.json and "
                f"merges.txt"
            )
        raise ValueError(
            f"tokenizer file {name} does not exist; check the path, or {TOKENIZER_HINT}"
        )
    if files[0].suffix not in (".json", ".tiktoken"):
        raise ValueError(
            f"{name} is not a tokenizer file; give a tokenizer.json, a .tiktoken file, or a folder "
            f"with tokenizer.json or with vocab.json and merges.txt"
        )
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    fingerprint = f"sha256:{digest.hexdigest()}"
    try:
        if files[0].suffix == ".tiktoken":
            return TiktokenTokenizer(_ranks_encoding(files[0]), name, fingerprint)
        inner = _file_tokenizer(files)
    except ImportError as error:
        raise ValueError(
            f"the tokenizer {name} requires {error.name}: run pip install {error.name}"
        ) from error
    except Exception as error:  # the library raises plain Exceptions
        raise ValueError(
            f"{name} could not be read as a tokenizer ({one_line(error)}); write it again with the "
            f"program that made it, or set --data.tokenizer to another one"
        ) from error
    return FileTokenizer(inner, name, fingerprint)


def _file_tokenizer(files: list[Path]) -> tokenizers.Tokenizer:
    """The library's tokenizer of a tokenizer.json, or of GPT-2's pair of files."""
    import tokenizers

    if len(files) == 1:
        return tokenizers.Tokenizer.from_file(str(files[0]))
    inner = tokenizers.Tokenizer(tokenizers.models.BPE.from_file(str(files[0]), str(files[1])))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = tokenizers.decoders.ByteLevel()
    return inner


# The pattern that splits text into words, and the special tokens, of tiktoken's encodings that are
# distributed as files of ranks; copied from tiktoken_ext.openai_public.
_FIM = ("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>")
_ENCODINGS: dict[str, tuple[str, dict[str, int]]] = {
    "cl100k_base": (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+"
        r"| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
        {
            "<|endoftext|>": 100257,
            **{name: 100258 + i for i, name in enumerate(_FIM)},
            "<|endofprompt|>": 100276,
        },
    ),
    "o200k_base": (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        {"<|endoftext|>": 199999, "<|endofprompt|>": 200018},
    ),
}


def _ranks_encoding(path: Path) -> tiktoken.Encoding:
    """tiktoken's encoding of a file of ranks."""
    import tiktoken
    from tiktoken_ext.openai_public import r50k_pat_str

    # Not tiktoken.load.load_tiktoken_bpe: it would cache the file by its path and never read it
    # again.
    lines = [line.split() for line in path.read_bytes().splitlines() if line]
    ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
    # p50k_base has ids beyond its end of text, which has GPT-2's id.
    end = 50256 if path.stem in ("r50k_base", "p50k_base") else max(ranks.values()) + 1
    pattern, special = _ENCODINGS.get(path.stem, (r50k_pat_str, {"<|endoftext|>": end}))
    return tiktoken.Encoding(
        path.stem, pat_str=pattern, mergeable_ranks=ranks, special_tokens=special
    )


def utf8(text: str) -> bytes:
    """The text's bytes; halves of surrogate pairs, which JSON may contain, become U+FFFD."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
