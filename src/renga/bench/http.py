"""`renga bench http`: what the API costs without a model, beside a server that does nothing.

Each server has one core and the load comes from another; rounds alternate, medians count. CPU time
per call says what a core must spend whoever else uses the machine; rates and latencies are what a
client sees and hold on idle cores. The client keeps its connections, sends ready bytes and parses
no more than it must, so that it costs less than what it measures.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from renga.bench.load import BenchError
from renga.http.server import run

MESSAGES, CHAT = "/v1/messages", "/v1/chat/completions"
CONNECTIONS = 16
START_SECONDS = 60.0

ADDED_MS, RATE, EVENTS = 1.0, 1_000, 20_000  # the bars

TURNS = [{"role": "user", "content": "Hello, where is my order 48213? " * 8}]
SYSTEM = "You are the support desk of a small shop. Be brief and friendly."
TOKENS = 500  # of a streamed answer; a scripted token is four bytes


@dataclass(frozen=True)
class Work:
    """What is asked: a body, where it goes, and whether the answer is a stream."""

    name: str
    path: str
    body: dict[str, Any]

    @property
    def request(self) -> bytes:
        """The whole request as bytes."""
        raw = json.dumps(self.body).encode()
        head = (
            f"POST {self.path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer bench\r\n"
            "anthropic-version: 2023-06-01\r\ncontent-type: application/json\r\n"
            f"content-length: {len(raw)}\r\n\r\n"
        )
        return head.encode() + raw


MESSAGE = Work(
    "message",
    MESSAGES,
    {"model": "haiku", "max_tokens": 200, "system": SYSTEM, "messages": TURNS},
)
COMPLETION = Work("chat completion", CHAT, {"model": "haiku", "messages": TURNS})
STREAM = Work(
    "stream",
    MESSAGES,
    {
        "model": "opus",
        "max_tokens": TOKENS,
        "stream": True,
        "messages": [{"role": "user", "content": "word" * TOKENS}],
    },
)
CHUNKS = Work("chunks", CHAT, {**STREAM.body, "model": "opus"})


@dataclass
class Target:
    """One server, and what was measured of it: per workload, one figure a round."""

    name: str
    pid: int
    port: int
    rates: dict[str, list[float]] = field(default_factory=dict)
    cpu_us: dict[str, list[float]] = field(default_factory=dict)
    alone_ms: dict[str, list[float]] = field(default_factory=dict)
    events: dict[str, list[float]] = field(default_factory=dict)

    @property
    def cpu_seconds(self) -> float:
        """CPU time of the process so far."""
        text = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii")
        user, system = text.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


class Connection(asyncio.Protocol):
    """One kept-alive connection: sends bytes, finds the end of what comes back, counts events."""

    def __init__(self) -> None:
        self.events = 0
        self._transport: asyncio.WriteTransport | None = None
        self._held = b""
        self._left = -1  # bytes of the body to come; -1 before its head, -2 in a stream
        self._done: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is none by its class

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail("the server closed the connection")

    def _fail(self, why: str) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(BenchError(why))

    def data_received(self, data: bytes) -> None:
        if self._left == -1:
            data = self._read_head(self._held + data)
        if self._left == -2:
            # What may be the end in parts is kept; no event's text has it.
            self.events += (self._held[-1:] + data).count(b"\n\n")
            self._held = (self._held + data)[-7:]
            if self._held.endswith(b"\r\n0\r\n\r\n"):
                self._finish()
        elif self._left >= 0:
            self._left -= len(data)
            if self._left <= 0:
                self._finish()

    def _read_head(self, data: bytes) -> bytes:
        head, end, body = data.partition(b"\r\n\r\n")
        self._held = b"" if end else data
        if not end:
            return b""
        if not head.startswith(b"HTTP/1.1 200"):
            self._fail(f"the server refused: {(head + end + body).decode()[:500]}")
        size = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        self._left = int(size) if size else -2
        return body

    def _finish(self) -> None:
        self._left, self._held = -1, b""
        if self._done is not None and not self._done.done():
            self._done.set_result(None)

    async def call(self, request: bytes) -> None:
        """One request and its whole answer."""
        assert self._transport is not None
        self._done = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        await self._done

    def close(self) -> None:
        """Close it."""
        if self._transport is not None:
            self._transport.close()


async def connect(port: int) -> Connection:
    """A connection to `port` on this machine."""
    _, connection = await asyncio.get_running_loop().create_connection(
        Connection, "127.0.0.1", port
    )
    return connection


async def together(target: Target, work: Work, calls: int) -> None:
    """`calls` over CONNECTIONS at once: rate, CPU time of a call, streamed events a second."""
    connections = [await connect(target.port) for _ in range(CONNECTIONS)]
    request, each = work.request, max(1, calls // CONNECTIONS)

    async def repeat(connection: Connection) -> None:
        for _ in range(each):
            await connection.call(request)

    await asyncio.gather(*(connection.call(request) for connection in connections))
    for connection in connections:
        connection.events = 0
    cpu, begin = target.cpu_seconds, time.perf_counter()
    await asyncio.gather(*map(repeat, connections))
    seconds, made = time.perf_counter() - begin, each * CONNECTIONS
    cpu = target.cpu_seconds - cpu
    target.rates.setdefault(work.name, []).append(made / seconds)
    target.cpu_us.setdefault(work.name, []).append(cpu / made * 1e6)
    events = sum(connection.events for connection in connections)
    target.events.setdefault(work.name, []).append(events / seconds)
    for connection in connections:
        connection.close()


async def alone(target: Target, work: Work, calls: int) -> None:
    """`calls` after one another: the median time of one."""
    connection, request, times = await connect(target.port), work.request, []
    await connection.call(request)
    for _ in range(calls):
        begin = time.perf_counter()
        await connection.call(request)
        times.append((time.perf_counter() - begin) * 1000)
    target.alone_ms.setdefault(work.name, []).append(statistics.median(times))
    connection.close()


@contextmanager
def started(which: str, core: int, home: Path) -> Iterator[Target]:
    """A server of `renga.bench.servers` pinned to `core`, from when it listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    command = [sys.executable, "-m", "renga.bench.servers", which, str(port), str(core), str(home)]
    process = subprocess.Popen(command)
    try:
        _await(port, process, which)
        yield Target(which, process.pid, port)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


def _await(port: int, process: subprocess.Popen[bytes], which: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None or time.monotonic() > deadline:
            raise BenchError(f"the server '{which}' did not start")
        time.sleep(0.02)


@dataclass(frozen=True)
class Figure:
    """One line of the table: the median of the rounds, and its bar where it has one."""

    name: str
    stub: float | None
    renga: float
    unit: str
    bar: str = ""
    holds: bool = True


@dataclass(frozen=True)
class Report:
    """What was measured, and the load average before."""

    cores: int
    load: float
    rounds: int
    figures: list[Figure]

    @property
    def holds(self) -> bool:
        """Whether every bar does."""
        return all(figure.holds for figure in self.figures)


def measure(rounds: int, calls: int, told: Callable[[str], None]) -> Report:
    """Run it. Raises BenchError where a server does not start or refuses."""
    cores = sorted(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    if len(cores) < 2:
        told("there is one core: the load runs beside what it measures")
    os.sched_setaffinity(0, {cores[-1]})
    try:
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            stub = stack.enter_context(started("stub", cores[0], Path(folder)))
            ours = stack.enter_context(started("renga", cores[0], Path(folder)))
            run(_rounds(stub, ours, rounds, calls, told))
    finally:
        os.sched_setaffinity(0, set(cores))
    return Report(len(cores), load, rounds, figures(stub, ours))


async def _rounds(
    stub: Target, ours: Target, rounds: int, calls: int, told: Callable[[str], None]
) -> None:
    for number in range(1, rounds + 1):
        told(f"round {number} of {rounds}")
        for target, work in ((stub, MESSAGE), (ours, MESSAGE), (ours, COMPLETION)):
            await alone(target, work, calls // 4)
            await together(target, work, calls)
        for work in (STREAM, CHUNKS):
            await together(ours, work, max(CONNECTIONS, calls // 20))


def figures(stub: Target, ours: Target) -> list[Figure]:
    """The table of what was measured."""

    def of(found: dict[str, list[float]], work: Work) -> float:
        return statistics.median(found[work.name])

    base = of(stub.alone_ms, MESSAGE)
    added = [of(ours.alone_ms, work) - base for work in (MESSAGE, COMPLETION)]
    rate = of(ours.rates, MESSAGE)
    streamed = of(ours.events, STREAM)
    lines = [
        Figure("message, alone", base, of(ours.alone_ms, MESSAGE), "ms"),
        Figure("added by the API", None, added[0], "ms", f"≤ {ADDED_MS}", added[0] <= ADDED_MS),
        Figure("added by the chat", None, added[1], "ms", f"≤ {ADDED_MS}", added[1] <= ADDED_MS),
        Figure("messages", of(stub.rates, MESSAGE), rate, "/s", f"≥ {RATE:,}", rate >= RATE),
        Figure("chat completions", None, of(ours.rates, COMPLETION), "/s"),
        Figure("CPU of a message", of(stub.cpu_us, MESSAGE), of(ours.cpu_us, MESSAGE), "µs"),
        Figure("CPU of a chat completion", None, of(ours.cpu_us, COMPLETION), "µs"),
        Figure("streamed events", None, streamed, "/s", f"≥ {EVENTS:,}", streamed >= EVENTS),
        Figure("streamed chunks", None, of(ours.events, CHUNKS), "/s"),
        Figure("CPU of a streamed event", None, of(ours.cpu_us, STREAM) / TOKENS, "µs"),
    ]
    return lines
