"""A server with an OpenAI-compatible `/v1/completions`: llama.cpp's, or any other that is running.

Prompts are token ids and answers streamed; a piece of text that comes is a token, and the usage at
the end says how many there were in all. HTTP is spoken here with the standard library alone, for a
measurement should not cost a dependency.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from renga.bench.load import Ask, BenchError, Timing, answered
from renga.errors import SetupError

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Completions:
    """See the module. `url` is without a path."""

    def __init__(self, url: str, *, kind: str = "llama-server", name: str = "llama-server") -> None:
        self.kind, self.name = kind, name
        self._url = url
        self._parts = urlsplit(url)

    async def answer(self, ask: Ask, timing: Timing) -> None:
        """Answer one request."""
        body = {
            "prompt": ask.prompt,
            "max_tokens": ask.tokens,
            "temperature": 0.0,
            "stream": True,
            "stream_options": {"include_usage": True},
            "ignore_eos": ask.whole,
            "cache_prompt": True,
        }
        told: int | None = None
        async for event in self._events(body):
            at = time.perf_counter()
            if any(choice.get("text") for choice in event.get("choices", ())):
                timing.add(1, at)
            if usage := event.get("usage"):
                told = usage["total_tokens"] - usage["prompt_tokens"]
        if told is not None and timing.came:
            # Pieces may hold several tokens, and some have no text at all.
            timing.add(told - timing.tokens, timing.end)

    async def aclose(self) -> None:
        """Nothing: the server is somebody else's."""

    async def check(self) -> None:
        """Ask for one token. Raises SetupError where nobody answers so."""
        try:
            await answered(self, Ask([400, 401, 402], 1, whole=False))
        except (OSError, BenchError, KeyError, ValueError, asyncio.IncompleteReadError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise SetupError(
                f"--against: {self._url} does not answer /v1/completions: {reason}",
                "start the server first; docs/engine.md has the command",
            ) from error

    async def _events(self, body: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        async with self._posted(body) as reader:
            while line := await reader.readline():
                # Lengths of chunks stand between the lines of events and are passed over with
                # whatever else is no event; a line is never split by this server.
                if line.startswith(b"data: {"):
                    event = json.loads(line[6:])
                    if "error" in event:
                        raise BenchError(f"{self.name}: {event['error']}")
                    yield event

    @asynccontextmanager
    async def _posted(self, body: dict[str, Any]) -> AsyncIterator[asyncio.StreamReader]:
        parts, raw = self._parts, json.dumps(body).encode()
        port = parts.port or (443 if parts.scheme == "https" else 80)
        reader, writer = await asyncio.open_connection(
            parts.hostname, port, ssl=parts.scheme == "https" or None, limit=2**24
        )
        try:
            # HTTP/1.0: the answer ends with the connection and is not cut into chunks.
            head = (
                f"POST {parts.path}/v1/completions HTTP/1.0\r\nhost: {parts.netloc}\r\n"
                f"content-type: application/json\r\ncontent-length: {len(raw)}\r\n\r\n"
            )
            writer.write(head.encode() + raw)
            answered = await reader.readuntil(b"\r\n\r\n")
            status = answered.split(b"\r\n")[0].decode(errors="replace")
            if " 200 " not in status + " ":
                raise BenchError(f"{self.name}: {status}: {(await reader.read(300)).decode()}")
            yield reader
        finally:
            writer.close()


async def connect(url: str) -> Completions:
    """A running server. Raises SetupError where nobody answers there."""
    server = Completions(url)
    await server.check()
    return server
