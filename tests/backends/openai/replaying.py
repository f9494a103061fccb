"""An upstream that says again what servers said, byte by byte, cut wherever a test cuts it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

from renga.backends.base import Attempt, Health
from renga.backends.openai import OpenaiBackend
from renga.backends.remote import Cause, ServerEvent, fault
from renga.backends.remote.affinity import Heads
from renga.backends.remote.sse import Parser
from renga.config import BackendConfig
from renga.errors import RengaError
from renga.events import Event
from renga.ids import make_ids
from renga.types import MessagesRequest
from renga.watching.traces import NO_TRACE, Trace

TOOL = {
    "name": "get_weather",
    "description": "The weather in a city now.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}


def asking(text: str = "What is the weather in Oslo?", **fields: Any) -> MessagesRequest:
    fields = {"max_tokens": 200, "stream": True, **fields}
    messages = [{"role": "user", "content": text}]
    return MessagesRequest.model_validate({"model": "haiku", "messages": messages, **fields})


class ReplayedReply:
    """The parts of a reply that a backend asks for, over bytes that are there already."""

    def __init__(self, pieces: Sequence[bytes], backend: str) -> None:
        self._pieces, self._backend = pieces, backend
        self.status, self.replica, self.left = 200, "", False
        self.headers: Mapping[str, str] = {}

    async def json(self) -> Any:
        return json.loads(b"".join(self._pieces))

    async def events(self) -> AsyncIterator[ServerEvent]:
        parser = Parser()
        for piece in self._pieces:
            for event in parser.feed(piece):
                yield event
        last = parser.end()
        if last is not None:
            yield last

    def fault(self, cause: Cause, words: str = "") -> RengaError:
        return fault(cause, self._backend, words)

    def leave(self) -> None:
        self.left = True


class Replay:
    """In the place of `Upstream`: answers every request with the same bytes.

    It keeps what was asked. `looked_up` is what it answers at other paths; all others are a 404.
    """

    def __init__(
        self, pieces: Sequence[bytes] = (), looked_up: Mapping[str, Any] | None = None
    ) -> None:
        self.pieces = pieces
        self.looked_up = dict(looked_up or {})
        self.asked: list[tuple[str, Any]] = []
        self.replies: list[ReplayedReply] = []
        self.down = False

    async def start(self) -> None:
        """Nothing to connect to."""

    async def aclose(self) -> None:
        """Nothing to close."""

    def health(self) -> Health:
        return Health("ready", "replayed")

    async def get(self, path: str, *, deadline: float | None = None) -> Any:
        if self.down:
            raise fault("refused", "b")
        if path not in self.looked_up:
            raise RengaError("no such path", cause="status_404")
        return self.looked_up[path]

    @asynccontextmanager
    async def post(
        self,
        path: str,
        body: bytes,
        *,
        headers: Mapping[str, str] | None = None,
        affinity: Callable[[], Heads] | None = None,
        deadline: float | None = None,
        trace: Trace = NO_TRACE,
    ) -> AsyncIterator[ReplayedReply]:
        self.asked.append((path, json.loads(body)))
        found = self.looked_up.get(path)
        pieces = self.pieces if found is None else [json.dumps(found).encode()]
        reply = ReplayedReply(pieces, "b")
        self.replies.append(reply)
        yield reply


async def backend_on(replay: Replay, quirks: str = "generic", **settings: Any) -> OpenaiBackend:
    config = BackendConfig(
        "b", "openai", urls=("http://upstream/v1",), model="m", quirks=quirks, **settings
    )
    backend = OpenaiBackend(config, ids=make_ids(), upstream=replay)  # type: ignore[arg-type]
    await backend.start()
    return backend


async def replayed(
    pieces: Iterable[bytes],
    request: MessagesRequest,
    quirks: str = "generic",
    meter: Attempt | None = None,
    **settings: Any,
) -> list[Event]:
    """The events of a server's answer in these pieces."""
    backend = await backend_on(Replay(list(pieces)), quirks, **settings)
    events = backend.stream(request, meter or Attempt("req_test", "default"))
    async with aclosing(events) as source:  # type: ignore[type-var]
        return [event async for event in source]


def frames(*chunks: Any, done: bool = True) -> bytes:
    """Chunks as a stream of server-sent events."""
    lines = [c if isinstance(c, str) else "data: " + json.dumps(c) for c in chunks]
    return "".join(f"{line}\n\n" for line in [*lines, *(["data: [DONE]"] if done else [])]).encode()


def delta(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    """The chunk of one delta."""
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": finish}]}
