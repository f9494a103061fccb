"""The server process: a socket, the loop that serves it, and its orderly end.

Owns the end: a signal stops new requests, running ones may finish within the drain time, what is
left is cut with an error that the client sees, and only then is the socket closed. A second signal
cuts at once. Knows no endpoints.
"""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import uvicorn

from renga.app import App
from renga.batches.service import Batches
from renga.batches.worker import Worker
from renga.errors import SetupError
from renga.http.app import create_http, make_batches
from renga.http.auth import check_binding
from renga.http.batches import make_pools, request_of
from renga.http.running import Running
from renga.watching.readings import watch_batches

T = TypeVar("T")

CUT_SECONDS = 2  # after the cut, how long last events may take to leave; whole, as uvicorn wants it
KEEP_ALIVE_SECONDS = 75  # longer than the usual proxy's 60, so that the proxy closes first


class Stop:
    """Asks a server to end: the first call drains, the second cuts."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.hurry = asyncio.Event()

    def __call__(self) -> None:
        (self.hurry if self.asked.is_set() else self.asked).set()


async def serve(
    app: App,
    *,
    host: str,
    port: int,
    drain_seconds: float,
    on_ready: Callable[[str], None] = lambda url: None,
    stop: Stop | None = None,
) -> None:
    """Serve `app` until SIGTERM, SIGINT or `stop`; returns when all is quiet.

    Args:
        app: the running parts; closing them is the caller's.
        host: address to listen on.
        port: port to listen on; 0 takes a free one.
        drain_seconds: how long running requests may go on after the signal.
        on_ready: called with the server's URL when it listens.
        stop: for a caller that ends it without a signal.

    Raises:
        SetupError: the address cannot be listened on, or is public while there is no key.
    """
    await check_binding(host, app.keys)
    running, stop = Running(), stop or Stop()
    listener = listen(host, port)
    batches = make_batches(app)
    http = create_http(app, running=running, batches=batches)
    server = _Server(settings_of(http), lambda: on_ready(url_of(listener)))
    with _signals(stop):
        async with asyncio.TaskGroup() as group:
            group.create_task(server.serve(sockets=[listener]))
            async with working(app, batches):
                await stop.asked.wait()
            await running.drain(drain_seconds, hurry=stop.hurry)
            server.should_exit = True


@asynccontextmanager
async def working(app: App, batches: Batches) -> AsyncIterator[None]:
    """Batches are worked on meanwhile, where the configuration says so."""
    if not (app.config.batches.enabled and app.config.batches.work):
        yield
        return
    pools = make_pools(app)
    watch_batches(
        app.watch.metrics,
        running=lambda: sum(len(pool.running) for pool in pools),
        claimed=lambda: sum(len(pool.ready) for pool in pools),
    )
    worker = Worker(batches, gateway=app.gateway, understand=request_of, pools=pools)
    async with worker.working():
        yield


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` on the fastest event loop there is: uvloop, where the platform has it."""
    try:
        from uvloop import new_event_loop
    except ImportError:  # uvloop is not made for Windows
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(main)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises SetupError that names the address."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = sorted(found, key=lambda f: f[0] != socket.AF_INET)[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise SetupError(
            f"cannot listen on {host}: it is no address of this machine",
            "give another with --host, such as 127.0.0.1",
        ) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise _cannot_bind(error, host, port) from error
    return listener


def _cannot_bind(error: OSError, host: str, port: int) -> SetupError:
    if error.errno == errno.EADDRINUSE:
        return SetupError(
            f"port {port} on {host} is in use",
            "give another with --port, or --port 0 for a free one",
        )
    if error.errno == errno.EACCES:
        return SetupError(
            f"port {port} on {host} is reserved by the system", "give one above 1023 with --port"
        )
    return SetupError(
        f"cannot listen on {host}:{port}: {error.strerror}", "give another address with --host"
    )


def url_of(listener: socket.socket) -> str:
    """Where clients on this machine find it."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def settings_of(http: Any) -> uvicorn.Config:
    """How uvicorn serves the application `http`."""
    return uvicorn.Config(
        http,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        forwarded_allow_ips="127.0.0.0/8,::1",  # whom to believe about a client's address
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=CUT_SECONDS,
    )


class _Server(uvicorn.Server):
    """uvicorn, which tells when it listens and leaves signals to us."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextmanager
def _signals(stop: Stop) -> Iterator[None]:
    """Signals call `stop` meanwhile. Outside the main thread there are none to have."""
    loop = asyncio.get_running_loop()
    taken = []
    for name in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(name, stop)
            taken.append(name)
        except (NotImplementedError, RuntimeError, ValueError):
            continue
    try:
        yield
    finally:
        for name in taken:
            loop.remove_signal_handler(name)
