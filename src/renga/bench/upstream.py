"""The stub upstream of `renga bench gateway`: `python -m renga.bench.upstream PORT CORE`.

It answers `/v1/chat/completions` and `/v1/messages` in the published forms with bytes made
beforehand, a stream one piece at a time, as an asyncio protocol without a framework: what it costs
is small beside any gateway. It reads of a request where it goes, how long it is and whether a
stream is asked for.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

PIECES = 64
REPLY = "Your order left our warehouse this morning and arrives within two days."
MODEL = "stub"
PROMPT_TOKENS, OUTPUT_TOKENS = 90, PIECES

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\n"


def _chat_usage() -> dict[str, int]:
    return {
        "prompt_tokens": PROMPT_TOKENS,
        "completion_tokens": OUTPUT_TOKENS,
        "total_tokens": PROMPT_TOKENS + OUTPUT_TOKENS,
    }


def _whole(body: dict[str, Any]) -> bytes:
    raw = json.dumps(body).encode()
    return _HEAD % b"application/json" + b"content-length: %d\r\n\r\n" % len(raw) + raw


def _streamed(events: Sequence[bytes]) -> list[bytes]:
    """The head, each event as a chunk of its own, and the end."""
    head = _HEAD % b"text/event-stream" + b"transfer-encoding: chunked\r\n\r\n"
    chunks = [b"%x\r\n%b\r\n" % (len(event), event) for event in events]
    return [head, *chunks, b"0\r\n\r\n"]


def chat_whole() -> bytes:
    """A completion."""
    message = {"role": "assistant", "content": REPLY}
    return _whole(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1_790_000_000,
            "model": MODEL,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": _chat_usage(),
        }
    )


def chat_stream() -> list[bytes]:
    """A completion in PIECES chunks."""

    def chunk(delta: dict[str, str], end: str | None = None, **more: object) -> bytes:
        body = {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1_790_000_000,
            "model": MODEL,
            "choices": [{"index": 0, "delta": delta, "finish_reason": end}],
            **more,
        }
        return b"data: " + json.dumps(body).encode() + b"\n\n"

    events = [chunk({"role": "assistant", "content": ""})]
    events += [chunk({"content": "word "}) for _ in range(PIECES)]
    events += [chunk({}, "stop"), chunk({}, choices=[], usage=_chat_usage())]
    return _streamed([*events, b"data: [DONE]\n\n"])


def message_whole() -> bytes:
    """A message."""
    return _whole(
        {
            **_message(),
            "content": [{"type": "text", "text": REPLY}],
            "stop_reason": "end_turn",
            "usage": {"input_tokens": PROMPT_TOKENS, "output_tokens": OUTPUT_TOKENS},
        }
    )


def message_stream() -> list[bytes]:
    """A message in PIECES deltas."""

    def event(type_: str, **fields: object) -> bytes:
        data = json.dumps({"type": type_, **fields})
        return f"event: {type_}\ndata: {data}\n\n".encode()

    start = {"type": "text", "text": ""}
    piece = {"type": "text_delta", "text": "word "}
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    deltas = [event("content_block_delta", index=0, delta=piece) for _ in range(PIECES)]
    events = [
        event("message_start", message=_message()),
        event("content_block_start", index=0, content_block=start),
        *deltas,
        event("content_block_stop", index=0),
        event("message_delta", delta=end, usage={"output_tokens": OUTPUT_TOKENS}),
        event("message_stop"),
    ]
    return _streamed(events)


def _message() -> dict[str, object]:
    return {
        "id": "msg_stub",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": PROMPT_TOKENS, "output_tokens": 1},
    }


CHAT = {False: [chat_whole()], True: chat_stream()}
MODELS = _whole({"object": "list", "data": [{"id": MODEL, "object": "model"}]})
MESSAGES = {False: [message_whole()], True: message_stream()}


class Answering(asyncio.Protocol):
    """One connection: as many calls as come, one after another."""

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self._held = b""
        self._until = -1  # bytes of the request, with its head; -1 before the head is whole

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        self._held += data
        if self._until < 0:
            head, end, _ = self._held.partition(b"\r\n\r\n")
            if not end:
                return
            size = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            self._until = len(head) + 4 + int(size or b"0")
        if len(self._held) >= self._until:
            request, self._held = self._held[: self._until], self._held[self._until :]
            self._until = -1
            self._answer(request)

    def _answer(self, request: bytes) -> None:
        path = request.split(b" ", 2)[1]
        tail = request.replace(b" ", b"")
        found = MESSAGES if path.startswith(b"/v1/messages") else CHAT
        if request.startswith(b"GET"):
            self._write(iter([MODELS]))
        else:
            self._write(iter(found[b'"stream":true' in tail]))

    def _write(self, pieces: Iterator[bytes]) -> None:
        """One piece in each turn of the loop, as a model's come."""
        assert self._transport is not None
        piece = next(pieces, None)
        if piece is not None and not self._transport.is_closing():
            self._transport.write(piece)
            asyncio.get_running_loop().call_soon(self._write, pieces)


async def serve(port: int) -> None:
    """Answer until the process is ended."""
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", port)
    await server.serve_forever()


def main(port: int, core: int) -> None:
    """Answer on `port`, pinned to `core` where the platform can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    # Not through `renga.http.server`, whose imports would be all that this process holds.
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(serve(port))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
