"""One field of a JSON object that is too long to be held in memory, read bit by bit."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import NoReturn

# As much of a string as can be decoded by itself: no escape, surrogate pair or UTF-8 sequence is
# cut in two, since what the buffer does not hold to its end is not matched.
_WHOLE = re.compile(
    rb'(?:[^"\\\x80-\xff]++|[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}'
    rb"|[\xf0-\xf4][\x80-\xbf]{3}|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[0-9a-fA-F]{4}"
    rb"|\\u[dD][89abAB][0-9a-fA-F]{2}(?=[^\\]|\\[^u])"
    rb"|\\u(?![dD][89abAB])[0-9a-fA-F]{4}|\\[^u])*+"
)
_UNIT = 12  # bytes of the longest unit, an escaped surrogate pair
_NAMES = {b'"': "str", b"[": "list", b"{": "dict", b"n": "null", b"t": "bool", b"f": "bool"}


def text_of_line(parts: Iterable[bytes], field: str) -> Iterator[str]:
    """The text of one field of a JSON object, bit by bit.

    Args:
        parts: The object, in parts.
        field: The field; if it is there twice, the first one counts.

    Raises:
        UnicodeDecodeError: The text is not UTF-8.
        ValueError: This is no JSON object.
        KeyError: There is no such field; its argument is the list of those there are.
        TypeError: The field is no text; its argument is the name of its type.
    """
    source = _Source(parts)
    source.take(b"{")
    names: list[str] = []
    more = source.peek() != b"}"
    while more:
        source.take(b'"')
        name = "".join(source.string())
        source.take(b":")
        first = source.peek()
        if name == field and field not in names:
            if first != b'"':
                raise TypeError(_NAMES.get(first, "a number"))
            source.take(b'"')
            yield from source.string()
        else:
            source.skip_value()
        names.append(name)
        more = source.peek() == b","
        if more:
            source.take(b",")
    source.take(b"}")
    if source.peek():
        source.fail("Extra data")
    if field not in names:
        raise KeyError(names)


class _Source:
    """A buffer over the parts, and what can be read from it."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        self.parts = iter(parts)
        self.buffer = b""
        self.before = 0  # bytes that have left the buffer

    def fail(self, message: str) -> NoReturn:
        """Say what is wrong, and where in the line."""
        raise ValueError(f"{message} at byte {self.before}")

    def fill(self) -> bool:
        """Append the next part; false at the end."""
        part = next(self.parts, b"")
        self.buffer += part
        return bool(part)

    def drop(self, count: int) -> None:
        """Forget the first bytes."""
        self.buffer = self.buffer[count:]
        self.before += count

    def peek(self) -> bytes:
        """The next byte that is no white space; empty at the end."""
        while True:
            stripped = self.buffer.lstrip(b" \t\r\n")
            self.drop(len(self.buffer) - len(stripped))
            if self.buffer or not self.fill():
                return self.buffer[:1]

    def take(self, byte: bytes) -> None:
        """Step over the byte that must be next."""
        if self.peek() != byte:
            self.fail(f"Expecting {byte.decode()!r}")
        self.drop(1)

    def string(self) -> Iterator[str]:
        """The rest of a string and its closing quote."""
        while True:
            match = _WHOLE.match(self.buffer)
            end = match.end() if match else 0
            data = self.buffer[:end]
            try:
                yield json.loads(b'"' + data + b'"')
            except json.JSONDecodeError:
                self.fail("Invalid string")
            self.drop(end)
            if self.buffer.startswith(b'"'):
                self.drop(1)
                return
            if len(self.buffer) > _UNIT or not self.fill():
                self.buffer[:_UNIT].decode()
                self.fail("Invalid or unfinished string")

    def skip_value(self) -> None:
        """Step over a value; of numbers and names only where they end is looked at."""
        depth = 0
        while True:
            byte = self.peek()
            if byte == b'"':
                self.drop(1)
                for _ in self.string():
                    pass
            elif byte and byte in b"[{":
                depth += 1
                self.drop(1)
            elif byte and byte in b"]}":
                depth -= 1
                self.drop(1)
            elif byte and byte in b",:" and depth:
                self.drop(1)
                continue
            else:
                self._skip_word()
            if depth <= 0:
                return

    def _skip_word(self) -> None:
        """Step over a number, true, false or null."""
        empty = True
        while True:
            match = re.match(rb"[-+.\w]*", self.buffer)
            end = match.end() if match else 0
            empty = empty and end == 0
            self.drop(end)
            if self.buffer or not self.fill():
                break
        if empty:
            self.fail("Expecting value")
