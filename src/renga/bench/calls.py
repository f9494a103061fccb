"""Ready-made calls over kept connections: how fast a server answers them, and what that costs it.

Owns the client of `renga bench http` and `renga bench gateway`. It sends ready bytes and parses no
more than it must, so that it costs less than what it measures. Does not know what is measured.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import statistics
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from renga.bench.load import BenchError

CONNECTIONS = 16
START_SECONDS = 60.0


@dataclass(frozen=True)
class Work:
    """What is asked: a body, where it goes, and whether the answer is a stream."""

    name: str
    path: str
    body: dict[str, Any]

    def request(self, key: str) -> bytes:
        """The whole request as bytes."""
        raw = json.dumps(self.body).encode()
        head = (
            f"POST {self.path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n"
            "anthropic-version: 2023-06-01\r\ncontent-type: application/json\r\n"
            f"content-length: {len(raw)}\r\n\r\n"
        )
        return head.encode() + raw


@dataclass
class Target:
    """One server, and what was measured of it: per workload, one figure a round.

    `pids` are its processes on this machine, none where they cannot be told. `model` stands in
    place of a workload's own where it has another name there.
    """

    name: str
    pids: tuple[int, ...]
    port: int
    host: str = "127.0.0.1"
    key: str = "bench"
    model: str = ""
    rates: dict[str, list[float]] = field(default_factory=dict)
    cpu_us: dict[str, list[float]] = field(default_factory=dict)
    alone_ms: dict[str, list[float]] = field(default_factory=dict)
    first_ms: dict[str, list[float]] = field(default_factory=dict)
    events: dict[str, list[float]] = field(default_factory=dict)

    @property
    def cpu_seconds(self) -> float:
        """CPU time of its processes so far."""
        return sum(cpu_seconds(pid) for pid in self.pids)

    @property
    def memory_mb(self) -> float | None:
        """What its processes hold of memory (resident), in MB."""
        return sum(map(_resident, self.pids)) / 1e6 if self.pids else None

    def request(self, work: Work) -> bytes:
        """`work` as this server takes it."""
        if self.model:
            work = Work(work.name, work.path, {**work.body, "model": self.model})
        return work.request(self.key)


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far."""
    text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    user, system = text.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _resident(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class Connection(asyncio.Protocol):
    """One kept-alive connection: sends bytes, finds the end of what comes back, counts events."""

    def __init__(self) -> None:
        self.events = 0
        self.first_at = 0.0  # when the body of the last answer began
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
        if data and not self.first_at:
            self.first_at = time.perf_counter()
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
            self._fail(f"the server refused: {(head + end + body).decode()[-700:]}")
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
        self._done, self.first_at = asyncio.get_running_loop().create_future(), 0.0
        self._transport.write(request)
        await self._done

    def close(self) -> None:
        """Close it."""
        if self._transport is not None:
            self._transport.close()


async def connect(target: Target) -> Connection:
    """A connection to `target`."""
    _, connection = await asyncio.get_running_loop().create_connection(
        Connection, target.host, target.port
    )
    return connection


async def together(target: Target, work: Work, calls: int) -> None:
    """`calls` over CONNECTIONS at once: rate, CPU time of a call, streamed events a second."""
    connections = [await connect(target) for _ in range(CONNECTIONS)]
    request, each = target.request(work), max(1, calls // CONNECTIONS)

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
    """`calls` after one another: the median times to the first byte of a body and to its end."""
    connection, request = await connect(target), target.request(work)
    firsts, times = [], []
    await connection.call(request)
    for _ in range(calls):
        begin = time.perf_counter()
        await connection.call(request)
        times.append((time.perf_counter() - begin) * 1000)
        firsts.append((connection.first_at - begin) * 1000)
    target.alone_ms.setdefault(work.name, []).append(statistics.median(times))
    target.first_ms.setdefault(work.name, []).append(statistics.median(firsts))
    connection.close()


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(port: int, process: subprocess.Popen[bytes], which: str) -> None:
    """Return when something listens on `port`. Raises BenchError where `process` ends before."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None or time.monotonic() > deadline:
            raise BenchError(f"the server '{which}' did not start")
        time.sleep(0.02)


def processes_at(port: int) -> tuple[int, ...]:
    """The processes of this machine that listen on `port`, with those they started."""
    inodes = _listeners(port)
    if not inodes:
        return ()
    parents: dict[int, int] = {}
    found: set[int] = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            pid = int(folder.name)
            with suppress(OSError):  # it ended meanwhile, or is another user's
                parents[pid] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                if any(_names(link) & inodes for link in (folder / "fd").iterdir()):
                    found.add(pid)
    return tuple(sorted(pid for pid in parents if _ancestors(pid, parents) & found))


def _names(link: Path) -> set[str]:
    """What an open file is; nothing where it was closed meanwhile."""
    try:
        return {os.readlink(link)}
    except OSError:
        return set()


def _listeners(port: int) -> set[str]:
    lines: Sequence[str] = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if Path(table).exists():
            lines = [*lines, *Path(table).read_text(encoding="ascii").splitlines()[1:]]
    cells = [line.split() for line in lines]
    listening = "0A"
    return {
        f"socket:[{c[9]}]" for c in cells if c[3] == listening and c[1].endswith(f":{port:04X}")
    }


def _ancestors(pid: int, parents: dict[int, int]) -> set[int]:
    found: set[int] = set()
    while pid in parents and pid not in found:
        found.add(pid)
        pid = parents[pid]
    return found
