"""A whole server in process: real store, scripted backends, the ASGI application, and clients."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.types import Message

from renga.app import App
from renga.backends.scripted import ScriptedBackend
from renga.config import BackendConfig, Config, TierConfig
from renga.http.app import create_http
from renga.http.running import Running
from renga.ledger import AnswerRow

HEADERS = {"x-api-key": "any", "anthropic-version": "2023-06-01"}


def asking(text: str = "one two three", **more: Any) -> dict[str, Any]:
    turns = [{"role": "user", "content": text}]
    return {"model": "haiku", "max_tokens": 50, "messages": turns, **more}


def configured(home: Path, **tiers: dict[str, Any]) -> Config:
    """A configuration with one scripted backend per tier, named as its tier in capitals."""
    backends = {
        name.upper(): BackendConfig(name=name.upper(), kind="scripted", **options)
        for name, options in tiers.items()
    }
    served = {name: TierConfig(name=name, backends=(name.upper(),)) for name in tiers}
    return Config(home=home, backends=backends, tiers=served)


class Served:
    """The running parts of one server and a client of it."""

    def __init__(self, app: App, http: Starlette, running: Running, client: httpx.AsyncClient):
        self.app, self.http, self.running, self.client = app, http, running, client

    def backend(self, name: str) -> ScriptedBackend:
        backend = self.app.backends[name]
        assert isinstance(backend, ScriptedBackend)
        return backend

    async def post(self, body: Any, path: str = "/v1/messages", **headers: str) -> httpx.Response:
        named = {k.replace("_", "-"): v for k, v in headers.items()}
        return await self.client.post(path, json=body, headers=named)

    async def row(self, response: httpx.Response | str) -> AnswerRow:
        name = response if isinstance(response, str) else response.headers["request-id"]
        row = await self.app.ledger.get(name)
        assert row is not None
        return row


Serve = Callable[..., Awaitable[Served]]


async def start(stack: AsyncExitStack, home: Path, **tiers: Any) -> Served:
    """`tiers` are options of scripted backends; those of the edge may stand among them."""
    options = {k: tiers.pop(k) for k in ("ping_seconds", "ticks") if k in tiers}
    edge = {k: tiers.pop(k) for k in ("max_body_mb", "strict") if k in tiers}
    config = configured(home, **(tiers or {"haiku": {}}))
    config = replace(config, server=replace(config.server, **edge))
    app = await App.start(config)
    stack.push_async_callback(app.aclose)
    return await open_served(stack, app, **options)


async def open_served(stack: AsyncExitStack, app: App, **options: Any) -> Served:
    """The application over `app`, and a client of it."""
    running = Running()
    http = create_http(app, running=running, **options)
    transport = httpx.ASGITransport(http)
    client = httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=HEADERS)
    await stack.enter_async_context(client)
    return Served(app, http, running, client)


class Connection:
    """One request whose client can leave, message by message."""

    def __init__(self, served: Served, body: Any, path: str = "/v1/messages") -> None:
        self._http = served.http
        self._body = json.dumps(body).encode()
        self._path = path
        self._left = asyncio.Event()
        self._arrived = asyncio.Condition()
        self.messages: list[Message] = []

    def leave(self) -> None:
        self._left.set()

    @property
    def request_id(self) -> str:
        headers: dict[bytes, bytes] = dict(self.messages[0]["headers"])
        return headers[b"request-id"].decode()

    @property
    def body(self) -> bytes:
        return b"".join(m.get("body", b"") for m in self.messages[1:])

    async def until(self, holds: Callable[[Connection], bool]) -> None:
        async with self._arrived:
            await self._arrived.wait_for(lambda: holds(self))

    async def run(self) -> None:
        """Play the whole request against the application."""
        parts = [{"type": "http.request", "body": self._body, "more_body": False}]

        async def receive() -> Message:
            if parts:
                return parts.pop()
            await self._left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            async with self._arrived:
                self.messages.append(message)
                self._arrived.notify_all()

        await self._http(self._scope(), receive, send)

    def _scope(self) -> dict[str, Any]:
        return {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": self._path,
            "raw_path": self._path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(k.encode(), v.encode()) for k, v in HEADERS.items()],
            "client": ("127.0.0.1", 50_000),
            "server": ("127.0.0.1", 80),
        }


def events_of(body: bytes | str) -> list[tuple[str, dict[str, Any]]]:
    """(event name, data) of a whole stream, split by the standard's rules alone."""
    text = body.decode() if isinstance(body, bytes) else body
    assert text.endswith("\n\n")
    found = []
    for frame in text.removesuffix("\n\n").split("\n\n"):
        name, data = frame.split("\n")
        assert name.startswith("event: ")
        assert data.startswith("data: ")
        found.append((name[7:], json.loads(data[6:])))
    return found
