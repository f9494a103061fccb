"""The bytes of a request: read with a limit, unpacked, decoded.

Owns the size limit (before and after decompression), `Content-Encoding`, and what counts as JSON:
UTF-8, finite numbers, no key twice in one object (one of the two would be dropped in silence), at
most 200 levels deep. Knows no fields.
"""

from __future__ import annotations

import asyncio
import math
import re
import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import jiter
from starlette.requests import Request
from starlette.types import Receive

from renga.errors import InvalidRequest, RequestTimeout, RequestTooLarge
from renga.http.running import ClientLeft

SILENCE_SECONDS = 60.0  # a body that brings nothing for this long is given up
_GZIP = 31  # zlib's window bits for the gzip format
# What may be a number beyond the largest float, which would be read as infinity.
_MAYBE_INFINITE = re.compile(rb"[0-9][eE]\+?[0-9]{3}|[0-9]{309}")
_LONGEST_SIGN = 309  # bytes of what that finds
_LOOKED_AT = 262_144
_FEW = 20_000  # values, at most, that are sooner looked at than a long body is searched
MOST_MEMBERS = 64  # parts of one gzip body; each one copies all that follow it
_INLINE = 262_144  # compressed bytes up to which unpacking does not go to a thread


async def read_body(request: Request, limit: int) -> bytes:
    """The body, unpacked. `limit` is bytes, before and after decompression.

    Raises:
        InvalidRequest: the encoding is unknown or broken.
        RequestTooLarge: it is over the limit.
        RequestTimeout: the client stopped sending.
        ClientLeft: the client went away.
    """
    encoding = _encoding(request)
    raw = await _read(request.receive, _announced(request), limit)
    if encoding == "gzip":
        inline = len(raw) <= _INLINE
        raw = _unpack(raw, limit) if inline else await asyncio.to_thread(_unpack, raw, limit)
    return raw


async def stream_body(request: Request, limit: int) -> AsyncIterator[bytes]:
    """The body piece by piece as it comes, unpacked. Arguments and errors as of `read_body`."""
    packed = _encoding(request) == "gzip"
    if _announced(request) > limit:
        raise _too_large(limit)
    unpacking = _Unpacking(limit)
    size, more = 0, True
    while more:
        piece, more = await next_piece(request.receive)
        size += len(piece)
        if size > limit:
            raise _too_large(limit)
        for part in unpacking.feed(piece) if packed else (piece,):
            yield part
    if packed:
        unpacking.end()


def _encoding(request: Request) -> str:
    given = ", ".join(request.headers.getlist("content-encoding")).strip().lower()
    name = {"": "identity", "x-gzip": "gzip"}.get(given, given)
    if name not in ("identity", "gzip"):
        raise InvalidRequest(
            f"content-encoding: {given[:100]} is not supported; accepted: gzip, identity",
            code="request_body_encoding_unsupported",
        )
    return name


def _announced(request: Request) -> int:
    text = request.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() else 0


def _too_large(limit: int, *, unpacked: bool = False) -> RequestTooLarge:
    form = "the decompressed body" if unpacked else "the body"
    code = "request_body_too_large_after_decoding" if unpacked else None
    return RequestTooLarge(
        f"{form} is over the limit of {limit / 1_000_000:g} MB ({limit:,} bytes)", code=code
    )


async def _read(receive: Receive, announced: int, limit: int) -> bytes:
    if announced > limit:
        raise _too_large(limit)
    pieces: list[bytes] = []
    size, more = 0, True
    while more:
        piece, more = await next_piece(receive)
        size += len(piece)
        if size > limit:
            raise _too_large(limit)
        pieces.append(piece)
    return b"".join(pieces)


async def next_piece(receive: Receive) -> tuple[bytes, bool]:
    """The next bytes of a body, and whether more follow. Raises RequestTimeout and ClientLeft."""
    try:
        async with asyncio.timeout(SILENCE_SECONDS):
            message = await receive()
    except TimeoutError as error:
        raise RequestTimeout(
            f"the body did not arrive: nothing came for {SILENCE_SECONDS:g} s"
        ) from error
    if message["type"] == "http.disconnect":
        raise ClientLeft
    return message.get("body", b""), message.get("more_body", False)


def _unpack(packed: bytes, limit: int) -> bytes:
    """Every member of a gzip file, never more than `limit` bytes of it."""
    pieces: list[bytes] = []
    room = limit + 1
    while packed:
        if len(pieces) == MOST_MEMBERS:
            raise _bad_gzip(f"is in more than {MOST_MEMBERS} parts")
        member = zlib.decompressobj(_GZIP)
        try:
            piece = member.decompress(packed, room)
        except zlib.error as error:
            raise _bad_gzip() from error
        pieces.append(piece)
        room -= len(piece)
        if room <= 0:
            raise _too_large(limit, unpacked=True)
        if not member.eof:
            raise _bad_gzip()
        packed = member.unused_data
    return b"".join(pieces)


class _Unpacking:
    """A gzip body as it comes: see `_unpack`, which has all of one."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._members = 1
        self._member = zlib.decompressobj(_GZIP)
        self._fed = False

    def feed(self, packed: bytes) -> Iterator[bytes]:
        """What `packed` unpacks to, in pieces."""
        while packed:
            if self._member.eof:
                self._begin()
            self._fed = True
            try:
                piece = self._member.decompress(packed, _INLINE)
            except zlib.error as error:
                raise _bad_gzip() from error
            self._size += len(piece)
            if self._size > self._limit:
                raise _too_large(self._limit, unpacked=True)
            yield piece
            packed = self._member.unconsumed_tail or self._member.unused_data

    def _begin(self) -> None:
        if self._members == MOST_MEMBERS:
            raise _bad_gzip(f"is in more than {MOST_MEMBERS} parts")
        self._members += 1
        self._member = zlib.decompressobj(_GZIP)

    def end(self) -> None:
        """Nothing follows. Raises InvalidRequest where the last part is not whole."""
        if self._fed and not self._member.eof:
            raise _bad_gzip()


def _bad_gzip(what: str = "is not whole, valid gzip data") -> InvalidRequest:
    return InvalidRequest(
        f"content-encoding: gzip was announced, but the body {what}",
        code="request_body_encoding_invalid",
    )


def decode(raw: bytes) -> dict[str, Any]:
    """`raw` as a JSON object. Raises InvalidRequest."""
    if not raw.strip():
        raise InvalidRequest("body: it is empty; accepted: a JSON object")
    try:
        value = jiter.from_json(raw, allow_inf_nan=False, catch_duplicate_keys=True)
    except ValueError as error:
        raise _named(raw) or InvalidRequest(f"body: it is not valid JSON: {error}") from error
    refuse_infinite(value, raw)
    if not isinstance(value, dict):
        kind = {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
        raise InvalidRequest(
            f"body: Input should be an object, got {kind.get(type(value), 'a number')}"
        )
    return value


def refuse_infinite(value: Any, raw: bytes, within: str = "") -> None:
    """Raise InvalidRequest for a number in `value`, read from the JSON `raw`, beyond a float.

    `within` is the path of `value`.
    """
    path = _not_finite(value) if _may_be_infinite(raw) else None
    if path is not None:
        place = ".".join(step for step in (within, path) if step) or "body"
        raise InvalidRequest(f"{place}: the number is too large; accepted: up to 1.79e308")


def _may_be_infinite(raw: bytes) -> bool:
    """Whether a number in `raw` may be.

    A search of the base64 of a document takes a second, and to look at all numbers of such a body
    takes nothing. Where it is made, then in pieces: it lets nobody else run until its end.
    """
    if len(raw) > _LOOKED_AT and sum(map(raw.count, (b",", b"[", b"{"))) <= _FEW:
        return True
    return any(
        _MAYBE_INFINITE.search(raw, at, at + _LOOKED_AT + _LONGEST_SIGN)
        for at in range(0, len(raw), _LOOKED_AT)
    )


def _named(raw: bytes) -> InvalidRequest | None:
    """The refusal of NaN or Infinity, which are no JSON and yet what some encoders write."""
    if b"NaN" not in raw and b"Infinity" not in raw:
        return None
    try:
        path = _not_finite(jiter.from_json(raw, allow_inf_nan=True))
    except ValueError:
        return None
    if path is None:
        return None
    told = "NaN and Infinity are no JSON; accepted: a finite number"
    return InvalidRequest(f"{path or 'body'}: {told}")


def _not_finite(value: Any) -> str | None:
    """The path of the first number in `value` that is none, or is infinite."""
    waiting: list[tuple[str, Any]] = [("", value)]
    while waiting:
        path, here = waiting.pop()
        inner: list[tuple[str, Any]] = []
        if isinstance(here, float) and not math.isfinite(here):
            return path
        if isinstance(here, dict):
            inner = [(str(name), one) for name, one in here.items()]
        elif isinstance(here, list):
            inner = [(str(at), one) for at, one in enumerate(here)]
        waiting += [(f"{path}.{step}" if path else step, one) for step, one in reversed(inner)]
    return None
