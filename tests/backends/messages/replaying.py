"""A server of the Messages API that says what it is given, in the pieces that it is given."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Replaying:
    """A running server. `body` is what it answers, `cut` where it pauses within that.

    `ends` is whether it ends what it streams behind its last byte.
    """

    body: bytes = b""
    cut: Sequence[int] = ()
    ends: bool = True
    models: Any = None
    count: Any = None
    heads: list[dict[str, str]] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    url: str = ""

    def pieces(self) -> list[bytes]:
        places = [0, *self.cut, len(self.body)]
        return [self.body[a:b] for a, b in zip(places, places[1:], strict=False)]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                line, *rest = head.split("\r\n")
                named = (one.partition(":") for one in rest if one)
                headers = {name.lower(): value.strip() for name, _, value in named}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                path = line.split(" ")[1]
                if path.startswith("/v1/models"):
                    _send(writer, self.models if self.models is not None else {})
                elif path.endswith("/count_tokens"):
                    self.bodies.append(json.loads(body))
                    _send(writer, self.count)
                else:
                    self.heads.append(headers)
                    self.paths.append(path)
                    self.bodies.append(json.loads(body))
                    await self._answer(writer, streamed=bool(self.bodies[-1].get("stream")))
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, *, streamed: bool) -> None:
        kind = b"text/event-stream; charset=utf-8" if streamed else b"application/json"
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: " + kind + b"\r\nrequest-id: req_011Far\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        for piece in self.pieces():
            if piece:
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                await writer.drain()
                await asyncio.sleep(0)
        if self.ends or not streamed:
            writer.write(b"0\r\n\r\n")


def _send(writer: asyncio.StreamWriter, value: Any) -> None:
    body = json.dumps(value).encode()
    writer.write(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
        % (len(body), body)
    )


@asynccontextmanager
async def replaying(**settings: Any) -> AsyncIterator[Replaying]:
    """A server on a port of its own, until the block ends."""
    found = Replaying(**settings)
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.get_running_loop().create_task(found.serve(reader, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield found
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
