"""Text to token ids: tiktoken's encodings, tokenizer files and plain bytes behind one interface."""

from __future__ import annotations

import base64
import difflib
import hashlib
import types
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import tiktoken
    import tokenizers

# What other tokenizers call the token between two documents, in the order they are looked for.
END_OF_TEXT = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "[SEP]")
REMEDY = (
    "set TIKTOKEN_CACHE_DIR to a folder that holds tiktoken's files, name a tokenizer file with "
    "--data.tokenizer, or use --data.tokenizer bytes"
)


class Tokenizer(ABC):
    """Turns text into token ids and back.

    Attributes:
        name: What it was loaded as.
        vocab_size: Number of ids; every id is below it.
        end_of_text: The id that follows every document.
        fingerprint: The same for two tokenizers exactly if they are the same: the name, or for a
            file a checksum of what is in it, since files move and change.
    """

    name: str
    vocab_size: int
    end_of_text: int
    fingerprint: str

    @abstractmethod
    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The ids of each text. All of it is ordinary text: no special token comes out of it."""

    @abstractmethod
    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of the ids, special tokens by their names."""


class ByteTokenizer(Tokenizer):
    """UTF-8 bytes as ids, and 256 as the end of a text. Needs no files."""

    def __init__(self) -> None:
        self.name = self.fingerprint = "bytes"
        self.vocab_size = 257
        self.end_of_text = 256

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The bytes of each text; half a surrogate pair becomes the replacement character."""
        return [np.frombuffer(utf8(text), np.uint8) for text in texts]

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of the bytes; broken ones become replacement characters."""
        parts = (b"<|endoftext|>" if i == self.end_of_text else bytes([i]) for i in map(int, ids))
        return b"".join(parts).decode(errors="replace")


class TiktokenTokenizer(Tokenizer):
    """A byte-pair encoding of tiktoken's.

    Args:
        encoding: tiktoken's encoding.
        name: What it was loaded as.
        fingerprint: See ``Tokenizer``; the name where there is none.
    """

    def __init__(self, encoding: tiktoken.Encoding, name: str, fingerprint: str = "") -> None:
        self.name = name
        self.fingerprint = fingerprint or name
        self.vocab_size = encoding.n_vocab
        self.end_of_text = encoding.eot_token
        self._encoding = encoding
        self._separator = encoding.decode([encoding.eot_token])

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The ids of each text.

        The texts go through tiktoken in one call, with its end-of-text token behind each: there it
        cuts first of all, so that the ids are those of the texts alone, while threads meet at
        Python's lock once a batch and not at every document.
        """
        joined = self._separator.join([*texts, ""])
        encode = self._encoding.encode_to_numpy
        try:
            if joined.count(self._separator) != len(texts):  # a text holds the token's name
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
    """A tokenizer of Hugging Face's ``tokenizers`` library.

    Args:
        inner: The library's tokenizer.
        name: Where it was loaded from.
        fingerprint: See ``Tokenizer``.

    Raises:
        ValueError: It has no token for the end of a text.
    """

    def __init__(self, inner: tokenizers.Tokenizer, name: str, fingerprint: str) -> None:
        self.name = name
        self.fingerprint = fingerprint
        vocabulary = inner.get_vocab(with_added_tokens=True)
        self.vocab_size = max(vocabulary.values(), default=-1) + 1  # ids may have gaps
        found = [vocabulary[token] for token in END_OF_TEXT if token in vocabulary]
        if not found:
            raise ValueError(
                f"the tokenizer {name} has no token for the end of a text; looked for "
                f"{', '.join(END_OF_TEXT)}: add one of them to the file, or use another tokenizer"
            )
        self.end_of_text = found[0]
        inner.encode_special_tokens = True  # their names inside a text are ordinary text
        inner.no_truncation()
        inner.no_padding()
        self._inner = inner

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The ids of each text, without the tokens that a file would add around it."""
        clean = [utf8(text).decode() for text in texts]
        encodings = self._inner.encode_batch_fast(clean, add_special_tokens=False)
        return [np.array(encoding.ids, np.uint32) for encoding in encodings]

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of the ids."""
        return self._inner.decode([int(i) for i in ids], skip_special_tokens=False)


def load_tokenizer(name: str = "gpt2") -> Tokenizer:
    """The tokenizer of a name or a file.

    Args:
        name: One of tiktoken's encodings ('gpt2', 'r50k_base', ...); 'bytes'; the path of a
            ``tokenizer.json`` or of a folder with one or with ``vocab.json`` and ``merges.txt``
            (byte-level byte pairs, as GPT-2's); or the path of a ``.tiktoken`` file of ranks. Such
            a file does not say how text is cut into words: one that is named after an encoding of
            tiktoken's is cut as that encoding does it, any other as GPT-2 does.

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
            f"the tokenizer {name!r} needs the package tiktoken: install it with pip install "
            f"tiktoken, name a tokenizer file with --data.tokenizer, or use --data.tokenizer bytes"
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
    except Exception as error:  # whatever the network, a proxy or a broken cache makes of it
        raise ValueError(
            f"tiktoken could not load the files of the tokenizer {name!r} "
            f"({type(error).__name__}), neither from its cache nor from the network; {REMEDY}"
        ) from None


def _load_path(name: str, path: Path) -> Tokenizer:
    """The tokenizer of a file or folder."""
    files = [path]
    if path.is_dir():
        files = [path / "tokenizer.json"]
        if not files[0].exists():
            files = [path / "vocab.json", path / "merges.txt"]
    missing = [file.name for file in files if not file.is_file()]
    if path.is_dir() and missing:
        raise ValueError(
            f"the folder {name} holds no tokenizer; put a tokenizer.json there, or vocab.json and "
            f"merges.txt, or name another folder"
        )
    if missing:
        raise ValueError(f"there is no tokenizer file {name}; check the path, or {REMEDY}")
    if files[0].suffix not in (".json", ".tiktoken"):
        raise ValueError(
            f"{name} is no tokenizer file; name a tokenizer.json, a .tiktoken file or a folder "
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
            f"the tokenizer {name} needs the package {error.name}: pip install {error.name}"
        ) from error
    except Exception as error:  # the library raises plain Exceptions
        raise ValueError(
            f"{name} could not be read as a tokenizer ({' '.join(str(error).split())}); write it "
            f"again with the program that made it, or name another one with --data.tokenizer"
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


def _ranks_encoding(path: Path) -> tiktoken.Encoding:
    """tiktoken's encoding of a file of ranks, cut into words as its name or else GPT-2 says."""
    import tiktoken
    from tiktoken_ext import openai_public

    lines = [line.split() for line in path.read_bytes().splitlines() if line]
    ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
    maker = openai_public.ENCODING_CONSTRUCTORS.get(path.stem)
    if maker is not None:
        # tiktoken's own recipe, reading this file where it would download it
        known = {**maker.__globals__, "load_tiktoken_bpe": lambda *args, **kwargs: ranks}
        recipe: dict[str, Any] = types.FunctionType(maker.__code__, known)()
        return tiktoken.Encoding(**recipe)
    end = max(ranks.values()) + 1
    return tiktoken.Encoding(
        path.stem,
        pat_str=openai_public.r50k_pat_str,
        mergeable_ranks=ranks,
        special_tokens={"<|endoftext|>": end},
    )


def utf8(text: str) -> bytes:
    """The text's bytes; halves of surrogate pairs, which JSON may hold, become U+FFFD."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
