"""What gateway and HTTP edge cost: renga with scripted backends beside a bare Starlette app.

Each server is a process pinned to one core, the load comes from another, and rounds alternate, so
that a ratio holds on a busy machine too. CPU time per call is what one core must spend, whoever
else uses it: its inverse is the rate of one core. The bare app reads the same body, parses it and
sends an answer of the same size, with the same server, loop and parser underneath.
"""

from __future__ import annotations

import argparse
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
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from renga.bench.machine import measure_machine

CONFIG = """
[backends.script]
kind = "scripted"
reply = "Your order left our warehouse this morning and arrives within two days."
[backends.echo]
kind = "scripted"
[tiers.haiku]
backends = ["script"]
[tiers.opus]
backends = ["echo"]
"""
RATE_BAR, LATENCY_BAR_MS = 1_000, 1.0
CLIENTS = 16
PIN = "import os,sys; os.sched_setaffinity(0, {int(sys.argv[1])}); "
PIN += "os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"

BODY = {
    "model": "claude-haiku-4-5",
    "max_tokens": 200,
    "system": "You are the support desk of a small shop. Be brief and friendly.",
    "messages": [{"role": "user", "content": "Hello, where is my order 48213? " * 8}],
}


async def _bare(request: Request) -> JSONResponse:
    """An answer of the size of renga's, without anything behind it."""
    asked = json.loads(await request.body())
    text = "Your order left our warehouse this morning and arrives within two days."
    return JSONResponse({"model": asked["model"], "content": text, "padding": "x" * 400})


def serve_bare(port: int) -> None:
    """The bare app, until a signal."""
    import uvicorn

    app = Starlette(routes=[Route("/v1/messages", _bare, methods=["POST"])])
    uvicorn.run(app, port=port, log_level="warning", access_log=False)


@dataclass
class Target:
    """One server under load, and what was measured of it."""

    name: str
    pid: int
    port: int
    rates: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)
    token_us: list[float] = field(default_factory=list)

    @property
    def cpu(self) -> float:
        """Seconds of CPU time that the process has used."""
        ticks = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2]
        user, system = ticks.split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@contextmanager
def started(name: str, command: list[str], port: int, core: int) -> Iterator[Target]:
    """`command` pinned to `core`, from the moment it listens."""
    pinned = [sys.executable, "-c", PIN, str(core), *command]
    process = subprocess.Popen(pinned, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while not _listens(port):
            if time.monotonic() > deadline or process.poll() is not None:
                raise SystemExit(f"{name} did not start")
            time.sleep(0.02)
        yield Target(name, process.pid, port)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def packed(body: dict[str, Any]) -> bytes:
    """The whole request as bytes: the load generator must cost less than the server."""
    raw = json.dumps(body).encode()
    head = (
        "POST /v1/messages HTTP/1.1\r\nhost: localhost\r\nx-api-key: bench\r\n"
        "anthropic-version: 2023-06-01\r\ncontent-type: application/json\r\n"
        f"content-length: {len(raw)}\r\n\r\n"
    )
    return head.encode() + raw


class Client:
    """One kept-alive connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def connect(cls, port: int) -> Client:
        """Open it."""
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def call(self, request: bytes) -> None:
        """One request and its whole answer."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"the server refused: {head.decode()}")
        size = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if size:
            await self._reader.readexactly(int(size))
        else:
            await self._reader.readuntil(b"\r\n0\r\n\r\n")

    def close(self) -> None:
        """Close it."""
        self._writer.close()


async def load(target: Target, calls: int) -> None:
    """`calls` from CLIENTS at once: rate, and CPU time per call."""
    clients = [await Client.connect(target.port) for _ in range(CLIENTS)]
    request = packed(BODY)

    async def repeat(client: Client) -> None:
        for _ in range(calls // CLIENTS):
            await client.call(request)

    await asyncio.gather(*(client.call(request) for client in clients))
    cpu, begin = target.cpu, time.perf_counter()
    await asyncio.gather(*(repeat(client) for client in clients))
    made = calls // CLIENTS * CLIENTS
    target.rates.append(made / (time.perf_counter() - begin))
    target.cpu_us.append((target.cpu - cpu) / made * 1e6)
    for client in clients:
        client.close()


async def one_by_one(target: Target, calls: int) -> None:
    """`calls` after one another: the time of each."""
    client, request = await Client.connect(target.port), packed(BODY)
    for _ in range(calls):
        begin = time.perf_counter()
        await client.call(request)
        target.latencies_ms.append((time.perf_counter() - begin) * 1000)
    client.close()


async def stream(target: Target, calls: int, tokens: int = 500) -> None:
    """Streams of `tokens` events: CPU time per event, the call's own share taken off."""
    client = await Client.connect(target.port)
    text = "word" * tokens  # a scripted token is four bytes
    turns = [{"role": "user", "content": text}]
    cost: dict[int, float] = {}
    for size in (1, tokens):
        request = packed({"model": "opus", "max_tokens": size, "messages": turns, "stream": True})
        cpu = target.cpu
        for _ in range(calls):
            await client.call(request)
        cost[size] = (target.cpu - cpu) / calls
    target.token_us.append((cost[tokens] - cost[1]) / (tokens - 1) * 1e6)
    client.close()


def show(bare: Target, renga: Target, caption: str) -> bool:
    """Print the table; true when the bars hold."""
    table = Table(title="gateway and HTTP edge, scripted backend, one core", caption=caption)
    for column in ("", "bare Starlette", "renga", "difference", "bar"):
        table.add_column(column, justify="right" if column else "left")
    cpu = [statistics.median(t.cpu_us) for t in (bare, renga)]
    middle = [statistics.median(t.latencies_ms) for t in (bare, renga)]
    tails = [statistics.quantiles(t.latencies_ms, n=20)[-1] for t in (bare, renga)]
    rates = [statistics.median(t.rates) for t in (bare, renga)]
    per_core, added = 1e6 / cpu[1], middle[1] - middle[0]
    rows = [
        (f"requests/s, {CLIENTS} clients, as measured", rates, ",.0f", ""),
        ("CPU time per call, µs", cpu, ",.0f", ""),
        ("requests per second of CPU", [1e6 / c for c in cpu], ",.0f", f"≥ {RATE_BAR:,}"),
        ("one after another, median, ms", middle, ".2f", f"≤ {LATENCY_BAR_MS:g} more"),
        ("one after another, p95, ms", tails, ".2f", ""),
    ]
    for name, (low, high), form, bar in rows:
        table.add_row(name, f"{low:{form}}", f"{high:{form}}", f"{high - low:+{form}}", bar)
    table.add_row(
        "CPU time per streamed event, µs", "", f"{statistics.median(renga.token_us):.0f}", "", ""
    )
    Console().print(table)
    return per_core >= RATE_BAR and added <= LATENCY_BAR_MS


async def measure(targets: list[Target], rounds: int, calls: int) -> None:
    """Every measurement, in alternation."""
    for _ in range(rounds):
        for target in targets:
            await load(target, calls)
            await one_by_one(target, calls // 10)
    for _ in range(rounds):
        await stream(targets[-1], max(1, calls // 50))


def main() -> int:
    """Run and print. Exit code 1 when a bar does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=2000, help="calls a round and server")
    parser.add_argument("--serve-bare", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve_bare:
        serve_bare(options.serve_bare)
        return 0
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    caption = measure_machine().words()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        os.environ["RENGA_HOME"] = folder
        config = Path(folder, "renga.toml")
        config.write_text(CONFIG, encoding="utf-8")
        ports = free_port(), free_port()
        bare_command = ["-m", "benchmarks.gateway", "--serve-bare", str(ports[0])]
        own_command = ["-m", "renga.cli", "serve", "--port", str(ports[1])]
        own_command += ["--config", str(config)]
        bare = stack.enter_context(started("bare", bare_command, ports[0], cores[0]))
        renga = stack.enter_context(started("renga", own_command, ports[1], cores[0]))
        asyncio.run(measure([bare, renga], options.rounds, options.calls))
        held = show(bare, renga, caption)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
