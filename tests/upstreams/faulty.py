"""A server of both APIs that breaks in each way that servers break, as it is told.

It speaks HTTP/1.1 from raw sockets, so that it can do what no framework would: close in the middle
of a chunk, dribble, send headers and nothing more. Its good answers always say the same, with the
same usage, and it counts what it served: what a ledger must agree with. It is no part of renga and
uses nothing of it.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

Fault = Literal[
    "refused",
    "tls",
    "reset_before_headers",
    "reset_after_headers",
    "cut_mid_stream",
    "slow_first_byte",
    "slow_trickle",
    "status_429",
    "status_429_retry_after",
    "status_500",
    "status_503",
    "status_529",
    "malformed_json",
    "malformed_sse",
    "wrong_content_type",
    "empty_stream",
    "missing_stop",
]
FAULTS: Final[tuple[Fault, ...]] = get_args(Fault)
GOOD: Final = "good"
CONNECTING: Final = ("refused", "tls")
"""What goes wrong before there is a request: such a server has no other answer, ever."""
IN_CONTENT: Final = ("cut_mid_stream", "missing_stop")
"""What goes wrong when a part of the answer is out already, where the answer is streamed."""

WORDS: Final = ("Good", " morning", ".")
INPUT_TOKENS: Final = 11
OUTPUT_TOKENS: Final = 3
RETRY_AFTER: Final = 30
DRIBBLE_SECONDS: Final = 0.02
HEADERS: Final[tuple[str, ...]] = ("anthropic-version", "authorization", "x-api-key", "traceparent")


@dataclass(frozen=True)
class Served:
    """One request that was answered, and how."""

    path: str
    body: Any
    fault: str
    headers: dict[str, str]
    input_tokens: int = 0
    output_tokens: int = 0


@dataclass
class Faulty:
    """A running server. `script` says what the next answers are, `always` what all after them."""

    always: str = GOOD
    script: deque[str] = field(default_factory=deque)
    served: list[Served] = field(default_factory=list)
    url: str = ""
    retry_after: float = RETRY_AFTER

    @property
    def whole(self) -> list[Served]:
        """The answers that were given to their end."""
        return [one for one in self.served if one.fault == GOOD]

    def next(self) -> str:
        """What the request does that comes now."""
        return self.script.popleft() if self.script else self.always

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either side ends it."""
        try:
            if self.always == "tls":  # whoever greets it in TLS hears plain text
                _send(writer, 400, "text/plain", b"no TLS here")
                return
            while await self._request(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            writer.transport.abort()
            raise
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *rest = head.split("\r\n")
        method, path, _ = line.split(" ")
        headers = {k.lower(): v.strip() for k, _, v in (one.partition(":") for one in rest if one)}
        raw = await reader.readexactly(int(headers.get("content-length", 0)))
        if method == "GET" or path.endswith("/count_tokens"):
            _send_json(writer, 200, _looked_up(path))
            await writer.drain()
            return True
        body = json.loads(raw)
        answer = _OpenAI(body) if path.endswith("/chat/completions") else _Messages(body)
        told = {name: headers[name] for name in HEADERS if name in headers}
        kind = self.next()
        good = (INPUT_TOKENS, OUTPUT_TOKENS) if kind == GOOD else (0, 0)
        self.served.append(Served(path, body, kind, told, *good))
        if kind.startswith("status_"):
            return await self._refuse(writer, kind, answer)
        return await _play(reader, writer, kind, answer, bool(body.get("stream")))

    async def _refuse(self, writer: asyncio.StreamWriter, kind: str, answer: _Answer) -> bool:
        status = int(kind.split("_")[1])
        wait = f"retry-after: {self.retry_after:g}\r\n" if kind.endswith("retry_after") else ""
        _send_json(writer, status, answer.error(f"upstream says {status}"), wait)
        await writer.drain()
        return True


@asynccontextmanager
async def faulty(always: str = GOOD, script: Iterable[str] = ()) -> AsyncIterator[Faulty]:
    """A server on a port of its own, until the block ends."""
    found = Faulty(always, deque(script))
    if always == "refused":
        with socket.socket() as bound:  # bound and never listening: nobody else gets its port
            bound.bind(("127.0.0.1", 0))
            found.url = f"http://127.0.0.1:{bound.getsockname()[1]}"
            yield found
        return
    connections: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(found.handle(reader, writer))
        connections.add(task)
        task.add_done_callback(connections.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    found.url = f"{'https' if always == 'tls' else 'http'}://127.0.0.1:{port}"
    try:
        yield found
    finally:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        await server.wait_closed()


# -- how an answer is written --


class _Answer:
    """The good answer in one API's words."""

    def whole(self) -> object:
        raise NotImplementedError

    def frames(self) -> Sequence[bytes]:
        raise NotImplementedError

    def error(self, message: str) -> object:
        raise NotImplementedError

    content: int
    """The frame with which the content has begun."""
    ends: int
    """The first of the frames that say how the answer ended."""


class _Messages(_Answer):
    """The Messages API's form. Source: its documentation, "Streaming messages"."""

    content, ends = 3, 6

    def __init__(self, body: dict[str, Any]) -> None:
        self._model = body.get("model", "")

    def whole(self) -> object:
        return {
            **self._message([{"type": "text", "text": "".join(WORDS)}], "end_turn"),
            "usage": {"input_tokens": INPUT_TOKENS, "output_tokens": OUTPUT_TOKENS},
        }

    def _message(self, content: list[object], stop: str | None) -> dict[str, object]:
        return {
            "id": "msg_01UpstreamsOwn",
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": content,
            "stop_reason": stop,
            "stop_sequence": None,
        }

    def frames(self) -> Sequence[bytes]:
        usage = {"input_tokens": INPUT_TOKENS, "output_tokens": 1}
        text = {"type": "text", "text": ""}
        delta = {"stop_reason": "end_turn", "stop_sequence": None}
        events: list[dict[str, object]] = [
            {"type": "message_start", "message": {**self._message([], None), "usage": usage}},
            {"type": "ping"},
            {"type": "content_block_start", "index": 0, "content_block": text},
            *(
                {
                    "type": "content_block_delta",
                    "index": 0,
                    "delta": {"type": "text_delta", "text": word},
                }
                for word in WORDS
            ),
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": delta, "usage": {"output_tokens": OUTPUT_TOKENS}},
            {"type": "message_stop"},
        ]
        return [f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in events]

    def error(self, message: str) -> object:
        return {"type": "error", "error": {"type": "api_error", "message": message}}


class _OpenAI(_Answer):
    """The chat-completions form. Source: OpenAI's API reference, "Chat completion chunk"."""

    content, ends = 2, 4

    def __init__(self, body: dict[str, Any]) -> None:
        self._model = body.get("model", "")
        self._usage = {
            "prompt_tokens": INPUT_TOKENS,
            "completion_tokens": OUTPUT_TOKENS,
            "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
        }

    def _completion(self, kind: str, choices: list[object], **more: object) -> dict[str, object]:
        return {
            "id": "chatcmpl-upstreams-own",
            "object": kind,
            "created": 1_790_000_000,
            "model": self._model,
            "choices": choices,
            **more,
        }

    def whole(self) -> object:
        message = {"role": "assistant", "content": "".join(WORDS)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return self._completion("chat.completion", [choice], usage=self._usage)

    def frames(self) -> Sequence[bytes]:
        deltas: list[dict[str, object]] = [{"role": "assistant", "content": ""}]
        deltas += [{"content": word} for word in WORDS]
        choices: list[list[object]] = [
            [{"index": 0, "delta": delta, "finish_reason": None}] for delta in deltas
        ]
        choices.append([{"index": 0, "delta": {}, "finish_reason": "stop"}])
        kind = "chat.completion.chunk"
        chunks = [self._completion(kind, one) for one in choices]
        chunks.append(self._completion(kind, [], usage=self._usage))
        return [*(b"data: %b\n\n" % json.dumps(c).encode() for c in chunks), b"data: [DONE]\n\n"]

    def error(self, message: str) -> object:
        return {"error": {"message": message, "type": "server_error", "code": None}}


def _looked_up(path: str) -> object:
    """What is answered to questions beside the answers themselves."""
    if path.endswith("/count_tokens"):
        return {"input_tokens": INPUT_TOKENS}
    if path.partition("?")[0].endswith("/models"):
        return {"object": "list", "data": [{"id": "upstream-model", "object": "model"}]}
    return {"status": "ok"}


# -- how it breaks --


async def _play(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    kind: str,
    answer: _Answer,
    streamed: bool,
) -> bool:
    """Answer as `kind` says; whether the connection can be used again."""
    if kind == "reset_before_headers":
        _reset(writer)
        return False
    if kind == "slow_first_byte":
        await reader.read()  # until the other side has had enough
        return False
    if kind == "wrong_content_type":
        page = b"<html><body>Welcome to the router's sign-in page</body></html>"
        _send(writer, 200, "text/html", page)
        await writer.drain()
        return True
    if not streamed:
        return await _play_whole(reader, writer, kind, answer)
    _head(writer, 200, "text/event-stream; charset=utf-8", "transfer-encoding: chunked\r\n")
    await writer.drain()
    if kind == "reset_after_headers":
        await asyncio.sleep(DRIBBLE_SECONDS)  # so that the headers are read as what they are
        _reset(writer)
        return False
    if kind == "slow_trickle":
        await _dribble(writer, answer.frames()[0] + b": a comment without an end")
        return False
    for data in _broken(kind, answer):
        _chunk(writer, data)
        await writer.drain()
    if kind == "cut_mid_stream":
        await asyncio.sleep(DRIBBLE_SECONDS)  # so that what came before the cut is read
        writer.write(b"400\r\ndata: {")  # a chunk of 1,024 bytes, of which 7 come
        await writer.drain()
        return False
    writer.write(b"0\r\n\r\n")
    await writer.drain()
    return True


def _broken(kind: str, answer: _Answer) -> Sequence[bytes]:
    """The chunks of an answer, as far as and in the way that `kind` gives them."""
    frames = answer.frames()
    match kind:
        case "empty_stream":
            return []
        case "malformed_json":
            return [frames[0], b'data: {"type": "content_block_start", \n\n']
        case "malformed_sse":
            return [b"HTTP is not spoken here\n\nnor are events\n\n"]
        case "missing_stop":
            return frames[: answer.ends]
        case "cut_mid_stream":
            return frames[: answer.content + 1]
        case _:
            return frames


async def _play_whole(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kind: str, answer: _Answer
) -> bool:
    """As `_play`, for an answer in one piece."""
    body = json.dumps(answer.whole()).encode()
    match kind:
        case "reset_after_headers" | "cut_mid_stream" | "slow_trickle":
            _head(writer, 200, "application/json", f"content-length: {len(body)}\r\n")
            if kind != "reset_after_headers":
                writer.write(body[: len(body) // 2])
            await writer.drain()
            if kind == "slow_trickle":
                await reader.read()
            await asyncio.sleep(DRIBBLE_SECONDS)
            return False
        case "empty_stream":
            body = b""
        case "malformed_json" | "malformed_sse":
            body = body[:-2]
        case "missing_stop":
            reasons = (b'"stop_reason": "end_turn"', b'"finish_reason": "stop"')
            for reason in reasons:
                body = body.replace(reason, reason.partition(b":")[0] + b": null")
        case _:
            pass
    _send(writer, 200, "application/json", body)
    await writer.drain()
    return True


async def _dribble(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Bytes one by one, never silent for long and never done, until nobody reads."""
    _chunk(writer, data)
    while not writer.is_closing():
        _chunk(writer, b".")
        await writer.drain()
        await asyncio.sleep(DRIBBLE_SECONDS)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close so that the other side sees a reset, and not an end."""
    found = writer.get_extra_info("socket")
    found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(b"%x\r\n%b\r\n" % (len(data), data))


def _head(writer: asyncio.StreamWriter, status: int, kind: str, more: str) -> None:
    head = f"HTTP/1.1 {status} Told\r\ncontent-type: {kind}\r\nrequest-id: req_upstreams\r\n{more}"
    writer.write(f"{head}\r\n".encode())


def _send(
    writer: asyncio.StreamWriter, status: int, kind: str, body: bytes, more: str = ""
) -> None:
    _head(writer, status, kind, f"content-length: {len(body)}\r\n{more}")
    writer.write(body)


def _send_json(writer: asyncio.StreamWriter, status: int, value: object, more: str = "") -> None:
    _send(writer, status, "application/json", json.dumps(value).encode(), more)
