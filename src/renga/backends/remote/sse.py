"""Server-sent events out of bytes, however those are cut.

Source: the HTML standard, 9.2.6 "Interpreting an event stream": lines end with LF, CR or CRLF; a
mark of byte order may stand first; a line that begins with a colon says nothing; data of several
lines is one; an event without data is none. `id` and `retry` are for reconnecting, which nobody
does here. It knows no JSON and no API.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

MOST_BYTES: Final = 16 * 1024 * 1024  # of one event
_BOM: Final = b"\xef\xbb\xbf"


class ServerEvent(NamedTuple):
    """One event: `name` is "" where the server gave none."""

    name: str
    data: bytes


class TooLarge(ValueError):
    """An event that is longer than anything an answer says at once."""


class Parser:
    """Reads one stream. `feed` it bytes as they come, `end` it once.

    `lines` counts whole lines: a sign of life, if of nothing else. `strange` is whether there was
    one that belongs into no event stream.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most = most_bytes
        self._rest = b""
        self._begun = False
        self._after_cr = False
        self._name = ""
        self._data: list[bytes] = []
        self._held = 0
        self.lines = 0
        self.strange = False

    def feed(self, data: bytes) -> Iterator[ServerEvent]:
        """The events that are whole now. Raises TooLarge."""
        for line in self._lines(data):
            self.lines += 1
            if not line:
                event = self._finished()
                if event is not None:
                    yield event
            elif line[:1] != b":":
                self._take(line)
        if self._held + len(self._rest) > self._most:
            raise TooLarge(f"an event of more than {self._most:,} bytes")

    def end(self) -> ServerEvent | None:
        """What stands before the end without an empty line behind it, in whole lines.

        The standard throws that away, but some servers end so. A line that was cut is no line.
        """
        return self._finished()

    def _lines(self, data: bytes) -> Iterator[bytes]:
        if self._after_cr and data:
            self._after_cr = False
            data = data[1:] if data[:1] == b"\n" else data
        data = self._rest + data if self._rest else data
        if not self._begun:
            if len(data) < len(_BOM) and _BOM.startswith(data):
                self._rest = data
                return
            data, self._begun = data.removeprefix(_BOM), True
        if b"\r" in data:
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, self._rest = data.split(b"\n")
        yield from lines

    def _take(self, line: bytes) -> None:
        field, _, value = line.partition(b":")
        value = value[1:] if value[:1] == b" " else value
        if field == b"data":
            self._data.append(value)
            self._held += len(value)
        elif field == b"event":
            self._name = value.decode("utf-8", "replace")
        elif field not in (b"id", b"retry"):
            self.strange = True

    def _finished(self) -> ServerEvent | None:
        name, data = self._name, self._data
        self._name, self._data, self._held = "", [], 0
        if not data:
            return None
        return ServerEvent(name, data[0] if len(data) == 1 else b"\n".join(data))
