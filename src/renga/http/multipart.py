"""A body of type `multipart/form-data`, part by part, as it comes.

Owns what counts as such a body, and the bounds of all that is not a file's content. No part is ever
held whole: what a part's bytes are kept in is its reader's choice. Knows no fields.

Source: RFC 7578; the parser is `python_multipart`'s.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from renga.errors import InvalidRequest
from renga.http.body import next_piece

FORM = "multipart/form-data"
MOST_PARTS = 16
MOST_HEADERS = 16  # of a part
LONGEST_HEADER = 8_192  # bytes
LONGEST_BOUNDARY = 70  # characters: RFC 2046, 5.1.1


@dataclass(frozen=True)
class Part:
    """The beginning of a part. `filename` is None where it is no file."""

    name: str
    filename: str | None
    content_type: str


@dataclass(frozen=True)
class Data:
    """More bytes of the part that began last."""

    data: bytes


async def parts_of(request: Request) -> AsyncIterator[Part | Data]:
    """The parts of a body and their bytes, in order.

    Raises:
        InvalidRequest: the body is of another type, broken, or ends too early.
        RequestTimeout: the client stopped sending.
        ClientLeft: the client went away.
    """
    reading = _Reading(_boundary(request))
    more = True
    while more:
        piece, more = await next_piece(request.receive)
        for found in reading.take(piece):
            yield found
    reading.end()


def _boundary(request: Request) -> bytes:
    given = request.headers.get("content-type", "")
    kind, options = parse_options_header(given)
    if kind != FORM.encode():
        raise InvalidRequest(f"content-type: '{given[:100]}'; accepted: {FORM}")
    boundary: bytes = options.get(b"boundary", b"")
    if not 1 <= len(boundary) <= LONGEST_BOUNDARY:
        raise InvalidRequest(
            f"content-type: its boundary has {len(boundary)} characters; accepted: 1 to "
            f"{LONGEST_BOUNDARY}"
        )
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise InvalidRequest(
            f"content-encoding: {encoding[:100]} is not supported for uploads; accepted: identity",
            code="request_body_encoding_unsupported",
        )
    return boundary


class _Reading:
    """A body while it is read."""

    def __init__(self, boundary: bytes) -> None:
        self._found: list[Part | Data] = []
        self._parts = 0
        self._ended = False
        self._name = self._value = b""
        self._headers: dict[bytes, bytes] = {}
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._more_name,
                "on_header_value": self._more_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": self._more_data,
                "on_end": self._end,
            },
            max_header_count=MOST_HEADERS,
            max_header_size=LONGEST_HEADER,
        )

    def take(self, piece: bytes) -> list[Part | Data]:
        """What the next bytes of the body bring."""
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise InvalidRequest(f"body: it is not valid {FORM}: {error}") from error
        found, self._found = self._found, []
        return found

    def end(self) -> None:
        """The body is over."""
        if not self._ended:
            raise InvalidRequest(f"body: it is not valid {FORM}: its last part has no end")

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise InvalidRequest(f"body: it has more than {MOST_PARTS} parts")
        self._headers = {}

    def _more_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _more_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _end_headers(self) -> None:
        disposition = self._headers.get(b"content-disposition", b"")
        kind, options = parse_options_header(disposition)
        if kind != b"form-data" or b"name" not in options:
            raise InvalidRequest(
                f"body: part {self._parts} has no `content-disposition: form-data` with a name"
            )
        filename = options.get(b"filename")
        self._found.append(
            Part(
                _text(options[b"name"]),
                None if filename is None else _text(filename),
                _text(self._headers.get(b"content-type", b"")),
            )
        )

    def _more_data(self, data: bytes, start: int, end: int) -> None:
        if end > start:
            self._found.append(Data(data[start:end]))

    def _end(self) -> None:
        self._ended = True


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
