"""A renga that others have as their upstream: whole, on a port of its own, in the test's loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from renga.app import App
from renga.backends.scripted import ScriptedBackend
from renga.batches.service import Batches
from renga.config import BackendConfig, Config, TierConfig
from renga.http.app import create_http
from renga.http.running import Running
from renga.http.server import listen, settings_of, url_of


class _Server(uvicorn.Server):
    """uvicorn without signals, which are the test run's."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass
class RengaUpstream:
    """A running server and where it is."""

    app: App
    url: str

    def scripted(self, name: str = "B") -> ScriptedBackend:
        """Its backend, to look at."""
        backend = self.app.backends[name]
        assert isinstance(backend, ScriptedBackend)
        return backend


@asynccontextmanager
async def renga_upstream(
    home: Path,
    backend: BackendConfig,
    aliases: Mapping[str, str] | None = None,
    port: int = 0,
) -> AsyncIterator[RengaUpstream]:
    """A server with `backend` as its only one, until the block ends."""
    config = Config(
        home=home,
        backends={backend.name: backend},
        tiers={"haiku": TierConfig(name="haiku", backends=(backend.name,))},
        aliases=dict(aliases or {}),
    )
    async with AsyncExitStack() as stack:
        app = await App.start(config)
        stack.push_async_callback(app.aclose)
        async with served(app, port) as url:
            yield RengaUpstream(app, url)


@asynccontextmanager
async def served(app: App, port: int = 0, batches: Batches | None = None) -> AsyncIterator[str]:
    """`app` on a port, a free one if none is given; its address. Others work on `batches`."""
    listener = listen("127.0.0.1", port)
    server = _Server(settings_of(create_http(app, running=Running(), batches=batches)))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield url_of(listener)
    finally:
        server.should_exit = True
        server.force_exit = True
        await task
