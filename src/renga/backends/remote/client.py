"""HTTP/1.1 to another server: bytes out, bytes in, and every way in which that can fail.

Owns the rules of the connection: what is waited for and how long, that no redirect is followed, no
proxy or password file of the user's is read, certificates are checked, nothing is decompressed, and
no body is read beyond a bound. What goes wrong becomes a fault with its cause
(`renga.backends.remote.faults`). It knows no replicas and no API.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import aiohttp
import msgspec

from renga.backends.remote.faults import Cause, fault, refused
from renga.backends.remote.sse import Parser, ServerEvent, TooLarge
from renga.errors import RengaError

MOST_BODY: Final = 64 * 1024 * 1024  # bytes of an answer that is not streamed
MOST_ERROR: Final = 64 * 1024  # bytes that are read of an error
ERROR_SECONDS: Final = 5.0  # for the words of an error
END_SECONDS: Final = 0.25  # for the end of a stream whose last event was read
KEEP_SECONDS: Final = 15.0  # a connection without a request

Ticks = Callable[[], float]
"""Seconds that only go forward."""


@dataclass(frozen=True)
class Patience:
    """Seconds: for a connection, for the first byte, between bytes, and for the whole answer.

    The last is a bound and no plan: an answer of 128,000 tokens may well take most of an hour.
    """

    connect: float = 5.0
    first: float = 600.0
    idle: float = 120.0
    total: float = 3_600.0


class Client:
    """Connections to the servers of one backend, made inside a running loop.

    `most` connections are open to each server. `ticks` are seconds that only go forward, `now` is
    wall time.
    """

    def __init__(
        self,
        backend: str,
        *,
        headers: Mapping[str, str],
        patience: Patience,
        most: int,
        ticks: Ticks,
        now: Callable[[], datetime],
    ) -> None:
        self.backend = backend
        self.patience = patience
        self.ticks = ticks
        self.now = now
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, limit_per_host=most, keepalive_timeout=KEEP_SECONDS, ttl_dns_cache=30
            ),
            headers={"accept-encoding": "identity", "user-agent": "renga", **headers},
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=patience.connect),
            trust_env=False,
            auto_decompress=False,
            skip_auto_headers=("content-type",),
        )

    @asynccontextmanager
    async def send(
        self,
        method: str,
        url: str,
        body: bytes | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        seconds: float | None = None,
    ) -> AsyncIterator[Reply]:
        """One request, in at most `seconds`. The reply is one of success; all else is raised.

        Leaving early closes the connection, by which the other server knows that nobody listens.
        """
        within = self.patience.total if seconds is None else min(seconds, self.patience.total)
        ends = self.ticks() + within
        response = await self._begin(method, url, body, headers, ends)
        reply = Reply(self, response, ends)
        try:
            if not 200 <= response.status < 300:
                raise await self._refusal(reply)
            yield reply
            await reply.finish()
        finally:
            # Takes the connection back where its answer was read to the end, else closes it.
            if response.content.at_eof():
                response.release()
            else:
                response.close()

    async def _begin(
        self,
        method: str,
        url: str,
        body: bytes | None,
        headers: Mapping[str, str] | None,
        ends: float,
    ) -> aiohttp.ClientResponse:
        try:
            async with asyncio.timeout(max(0.0, min(self.patience.first, ends - self.ticks()))):
                while True:
                    try:
                        return await self._session.request(
                            method, url, data=body, headers=headers, allow_redirects=False
                        )
                    except aiohttp.ClientOSError as error:
                        # A kept connection that was closed meanwhile: nothing went out on it.
                        if not isinstance(error.__cause__, aiohttp.ClientConnectionResetError):
                            raise
        except (aiohttp.ClientError, OSError, ValueError) as error:
            cause, words = _of_beginning(error)
            raise fault(cause, self.backend, words) from error

    async def _refusal(self, reply: Reply) -> RengaError:
        """The error that a reply is. A body that cannot be read has no words for it."""
        body = b""
        reply.hurry(ERROR_SECONDS)
        with suppress(RengaError):
            body = await reply.body(MOST_ERROR)
        return refused(reply.status, reply.headers, body, self.backend, self.now())

    async def aclose(self) -> None:
        """Close all connections. Idempotent."""
        await self._session.close()


class Reply:
    """An answer of success: its body as one JSON value, or as events; read once."""

    def __init__(self, client: Client, response: aiohttp.ClientResponse, ends: float) -> None:
        self.status = response.status
        self.backend = client.backend
        self.headers: Mapping[str, str] = response.headers
        self.replica = ""
        self._client = client
        self._response = response
        self._ends = ends
        self._begun = False
        self._whole = False

    async def json(self) -> Any:
        """The body as a JSON value. Raises a fault."""
        self._check_type("json")
        body = await self.body(MOST_BODY)
        if not body:
            raise self.fault("empty_stream")
        try:
            return msgspec.json.decode(body)
        except (msgspec.DecodeError, RecursionError) as error:
            raise self.fault("malformed_json", str(error)) from error

    async def body(self, most: int = MOST_BODY) -> bytes:
        """The body. Raises a fault, also where it is larger than `most` bytes."""
        read, by = bytearray(), None
        while data := await self._read(by):
            read += data
            by = by or self._client.ticks() + self._client.patience.idle
            if len(read) > most:
                raise self.fault("malformed_json", f"more than {most:,} bytes")
        return bytes(read)

    async def lines(self) -> AsyncIterator[bytes]:
        """The lines of the body, of JSON values, without empty ones. Raises a fault."""
        self._check_type("json")
        rest, idle = bytearray(), self._client.patience.idle
        by: float | None = None
        while data := await self._read(by):
            by = self._client.ticks() + idle
            *whole, last = (rest + data).split(b"\n") if b"\n" in data else [rest + data]
            for line in whole:
                if line.strip():
                    yield bytes(line)
            rest = last
            if len(rest) > MOST_BODY:
                raise self.fault("malformed_json", f"a line of more than {MOST_BODY:,} bytes")
        if rest.strip():
            yield bytes(rest)

    async def events(self) -> AsyncIterator[ServerEvent]:
        """The body as server-sent events, to its end. Raises a fault.

        Bytes that make no line are silence.
        """
        self._check_type("event-stream")
        parser, seen, lines, by = Parser(), False, 0, None
        ticks, idle = self._client.ticks, self._client.patience.idle
        try:
            while data := await self._read(by):
                for event in parser.feed(data):
                    seen = True
                    yield event
                if by is None or parser.lines > lines:
                    lines, by = parser.lines, ticks() + idle
            last = parser.end()
        except TooLarge as error:
            raise self.fault("malformed_sse", str(error)) from error
        if last is not None:
            yield last
        elif not seen:
            raise self.fault("malformed_sse" if parser.strange else "empty_stream")

    def fault(self, cause: Cause, words: str = "") -> RengaError:
        """The error for what is wrong with this reply."""
        return fault(cause, self._client.backend, words)

    def hurry(self, seconds: float) -> None:
        """Wait so long at most for what is left of it."""
        self._ends = min(self._ends, self._client.ticks() + seconds)

    def leave(self) -> None:
        """Want no more of the body: the connection is closed at once, which ends the work there."""
        self._whole = True

    async def finish(self) -> None:
        """Read the end of a body whose last event was seen, so that its connection is kept."""
        content = self._response.content
        if self._whole or content.at_eof():
            return
        with suppress(TimeoutError, aiohttp.ClientError, OSError):
            async with asyncio.timeout(END_SECONDS):
                while await content.readany():
                    pass

    def _check_type(self, wanted: str) -> None:
        told = self.headers.get("content-type", "")
        if wanted not in told.partition(";")[0].lower():
            raise self.fault("wrong_content_type", f"{told[:100] or 'none'}, not {wanted}")
        encoding = self.headers.get("content-encoding", "identity")
        if encoding.lower() != "identity":
            raise self.fault("wrong_content_type", f"{encoding[:100]}, which was not asked for")

    async def _read(self, by: float | None) -> bytes:
        """Some more of the body, `by` a time if one is given; b"" at its end."""
        client = self._client
        content = self._response.content
        try:
            data = content.read_nowait()
            if not data and not content.at_eof():  # what is here already needs no clock
                now = client.ticks()
                until = min(self._ends, now + client.patience.first if by is None else by)
                async with asyncio.timeout(max(0.0, until - now)):
                    data = await content.readany()
        except TimeoutError as error:
            raise self.fault("slow_trickle" if self._begun else "slow_first_byte") from error
        except (aiohttp.ClientError, OSError) as error:
            cause: Cause = "cut_mid_stream" if self._begun else "reset_after_headers"
            raise self.fault(cause) from error
        self._begun = self._begun or bool(data)
        self._whole = not data
        return data


def _of_beginning(error: Exception) -> tuple[Cause, str]:
    """What happened before there were headers, and words for it that name no address."""
    match error:
        case aiohttp.ClientSSLError() | aiohttp.ServerFingerprintMismatch():
            return "tls", str(error.__cause__ or "")
        case aiohttp.ClientConnectorDNSError():
            return "refused", f"the host '{error.host[:100]}' is not known"
        case aiohttp.ConnectionTimeoutError():
            return "refused", "no connection within the time for one"
        case aiohttp.ClientConnectorError():
            return "refused", os.strerror(error.errno) if error.errno else ""
        case TimeoutError():
            return "slow_first_byte", ""
        case aiohttp.ClientResponseError():
            return "wrong_content_type", "no HTTP"
        case aiohttp.InvalidURL() | ValueError():
            return "refused", "its address is none"
        case _:
            return "reset_before_headers", ""
