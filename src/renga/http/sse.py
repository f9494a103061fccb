"""A stream of events as server-sent events.

Owns three rules. The status stays open until there is something to say: an error before the first
event is a true HTTP error, so that clients see 400, 429 and 529 as what they are and retry rightly;
only silence makes us begin without knowing, with a ping, because a proxy or client that hears
nothing gives up and sends the request again. After the first byte an error is the last frame.
No stream is silent for longer than the ping interval; and a client that reads nothing has left,
whatever its connection says. How an event is written is a `Form`'s: the Messages API's stands here.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Protocol

from starlette.types import Receive, Scope, Send

from renga.errors import RengaError
from renga.events import Event, MessageStop, Ping
from renga.http.errors import REQUEST_ID, unexpected
from renga.http.running import ClientLeft, Running

PING_SECONDS = 10.0
STALL_SECONDS = 120.0  # a full buffer that nobody empties holds a slot of the engine

HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",  # nginx would hold the stream back
}

# Characters that JSON allows as they are and some clients take for the end of a line.
_LINE_ENDS = (
    (b"\xc2\x85", b"\\u0085"),
    (b"\xe2\x80\xa8", b"\\u2028"),
    (b"\xe2\x80\xa9", b"\\u2029"),
)

_log = logging.getLogger(__name__)


def encode(event: Event) -> bytes:
    """`event` as it stands on the wire."""
    return _frame(event.type, event.model_dump_json().encode())


def encode_error(error: RengaError, request_id: str) -> bytes:
    """`error` as the last event of a stream."""
    return _frame("error", json.dumps(error.envelope(request_id)).encode())


def data_line(data: bytes) -> bytes:
    """An event's last line and what ends it. `data` is JSON, or without characters like these."""
    if not data.isascii():
        for char, escaped in _LINE_ENDS:
            data = data.replace(char, escaped)
    return b"data: %b\n\n" % data


def _frame(name: str, data: bytes) -> bytes:
    return b"event: %b\n%b" % (name.encode(), data_line(data))


class Form(Protocol):
    """How one stream is written. A form may hold state; each stream has its own."""

    ping: bytes
    """What breaks a silence."""

    def write(self, event: Event) -> bytes:
        """The frames of `event`; nothing where it has none, or where they come with others."""

    def end(self) -> bytes:
        """The last frames, asked for when the source has ended.

        Who reads them may ask for the ledger's row.
        """

    def error(self, error: RengaError, request_id: str) -> bytes:
        """The last frames of a stream that failed."""


class MessagesForm:
    """The Messages API's frames: an event each, `message_stop` last."""

    ping = encode(Ping())

    def write(self, event: Event) -> bytes:
        """See `Form`. The API sends a ping behind `message_start`."""
        if event.type == "message_stop":
            return b""
        return encode(event) + self.ping if event.type == "message_start" else encode(event)

    def end(self) -> bytes:
        """See `Form`."""
        return encode(MessageStop())

    def error(self, error: RengaError, request_id: str) -> bytes:
        """See `Form`."""
        return encode_error(error, request_id)


class EventStream:
    """A response that plays `events`.

    Args:
        events: the gateway's stream; closed here however this ends.
        form: how they are written.
        running: what ends the stream when the client leaves or the server stops.
        head: headers beside those of every stream, asked for when the first byte leaves.
        ping_seconds: the longest silence.
        stall_seconds: how long one write may wait for the client to read.
    """

    def __init__(
        self,
        events: AsyncIterator[Event],
        form: Form | None = None,
        *,
        running: Running,
        head: Callable[[], Mapping[str, str]],
        ping_seconds: float = PING_SECONDS,
        stall_seconds: float = STALL_SECONDS,
    ) -> None:
        self._events = events
        self._form = form or MessagesForm()
        self._stall_seconds = stall_seconds
        self._running = running
        self._head = head
        self._ping_seconds = ping_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Play to the end, or to the first error. Raises what went wrong before the first byte."""
        wire = _Wire(send, self._head, self._stall_seconds)
        request_id = scope[REQUEST_ID]
        try:
            await self._running.guard(self._play(wire), receive)
        except ClientLeft:
            raise
        except RengaError as error:
            if not wire.started:
                raise
            await wire.end(self._form.error(error, request_id))
        except Exception:
            if not wire.started:
                raise
            _log.exception("request %s failed in its stream", request_id)
            await wire.end(self._form.error(unexpected(), request_id))

    async def _play(self, wire: _Wire) -> None:
        async with aclosing(self._events) as events, self._pinging(wire):  # type: ignore[type-var]
            async for event in events:
                if data := self._form.write(event):
                    await wire.write(data)
        await wire.end(self._form.end())

    @asynccontextmanager
    async def _pinging(self, wire: _Wire) -> AsyncGenerator[None]:
        pings = asyncio.create_task(self._ping(wire))
        try:
            yield
        finally:
            pings.cancel()

    async def _ping(self, wire: _Wire) -> None:
        while True:
            await asyncio.sleep(self._ping_seconds - wire.silence)
            if wire.silence >= self._ping_seconds:
                await wire.write(self._form.ping)


class _Wire:
    """The response's body; the first write sends the head. One writer at a time."""

    def __init__(
        self, send: Send, head: Callable[[], Mapping[str, str]], stall_seconds: float
    ) -> None:
        self._send = send
        self._head = head
        self._stall_seconds = stall_seconds
        self._turn = asyncio.Lock()
        self._now = asyncio.get_running_loop().time
        self._written_at = self._now()
        self.started = False

    @property
    def silence(self) -> float:
        """Seconds since the last write, or since the beginning."""
        return self._now() - self._written_at

    async def write(self, data: bytes, *, more: bool = True) -> None:
        try:
            async with asyncio.timeout(self._stall_seconds), self._turn:
                if not self.started:
                    await self._start()
                await self._send({"type": "http.response.body", "body": data, "more_body": more})
        except TimeoutError:
            raise ClientLeft from None
        self._written_at = self._now()

    async def end(self, data: bytes) -> None:
        await self.write(data, more=False)

    async def _start(self) -> None:
        headers = [(k.encode(), v.encode()) for k, v in {**HEADERS, **self._head()}.items()]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        self.started = True
