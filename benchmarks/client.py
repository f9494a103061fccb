"""What an HTTP client costs a gateway: `python -m benchmarks.client`, one core, 16 at a time.

A relay is what a gateway would be if it did nothing: for each request it sends one to a server
behind it and gives back what comes. It is timed with renga's client of other servers, with bare
aiohttp and with httpx, by turns, each in a process of its own on one core; the server behind, which
writes one prepared answer, and the load are processes on the other cores. The relay's CPU time of a
request is told beside the rate: it is about the same whoever else uses the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

import aiohttp
import httpx
import uvloop

from renga.backends.remote import Upstream
from renga.config import BackendConfig

BODY: Final = (
    b'{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{"type":"text",'
    b'"text":"Good morning."}],"stop_reason":"end_turn","stop_sequence":null,"usage":'
    b'{"input_tokens":11,"output_tokens":3}}'
)
ASKED: Final = b'{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"Hello"}]}'
_HEAD: Final = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
ANSWER: Final = _HEAD % len(BODY) + BODY
HEADERS: Final = {"content-type": "application/json", "x-api-key": "any"}

Send = Callable[[], Awaitable[bytes]]


class _Prepared(asyncio.Protocol):
    """Answers each request with what was prepared, once its body is there."""

    def __init__(self, answer: Callable[[asyncio.Transport], None]) -> None:
        self._answer = answer
        self._held = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._held += data
        while (end := self._held.find(b"\r\n\r\n")) >= 0:
            head = self._held[:end].lower()
            _, _, length = head.partition(b"content-length:")
            size = int(length.split(b"\r\n")[0]) if length else 0
            if len(self._held) < end + 4 + size:
                return
            self._held = self._held[end + 4 + size :]
            self._answer(self._transport)


async def _with_renga(url: str) -> Send:
    upstream = Upstream(
        BackendConfig("far", "messages", urls=(url,)), headers=HEADERS, probe="/v1/models"
    )
    await upstream.start()

    async def send() -> bytes:
        async with upstream.post("/v1/messages", ASKED) as reply:
            return await reply.body()

    return send


async def _with_aiohttp(url: str) -> Send:
    session = aiohttp.ClientSession(headers=HEADERS)

    async def send() -> bytes:
        async with session.post(f"{url}/v1/messages", data=ASKED) as response:
            return await response.read()

    return send


async def _with_httpx(url: str) -> Send:
    client = httpx.AsyncClient(headers=HEADERS, timeout=120)

    async def send() -> bytes:
        return (await client.post(f"{url}/v1/messages", content=ASKED)).content

    return send


CLIENTS: Final = {"renga": _with_renga, "aiohttp": _with_aiohttp, "httpx": _with_httpx}


def _on(core: int) -> None:
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[core % len(cores)]})


def _behind(ready: Any) -> None:
    """The server behind: one prepared answer."""
    _on(1)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: _Prepared(lambda transport: transport.write(ANSWER)), "127.0.0.1", 0
        )
        ready.put(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        await server.serve_forever()

    asyncio.run(run())


def _relay(client: str, url: str, ready: Any) -> None:
    """The relay: what comes is sent on by `client`, and what comes of that goes back."""
    _on(0)

    async def run() -> None:
        send = await CLIENTS[client](url)
        loop, tasks = asyncio.get_running_loop(), set()

        async def relay(transport: asyncio.Transport) -> None:
            body = await send()
            transport.write(_HEAD % len(body) + body)

        def begin(transport: asyncio.Transport) -> None:
            task = loop.create_task(relay(transport))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        server = await loop.create_server(lambda: _Prepared(begin), "127.0.0.1", 0)
        ready.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(run())  # the loop that renga serves with


def _cpu(process: Any) -> float:
    """Seconds of CPU that a process has used (proc(5))."""
    with open(f"/proc/{process.pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _load(port: int, clients: int, seconds: float) -> tuple[int, float]:
    """How many requests in how many seconds, by raw sockets: the load is not what is measured."""
    head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(ASKED)
    done, until = 0, time.perf_counter() + seconds
    size = len(ANSWER)

    async def ask() -> None:
        nonlocal done
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < until:
            writer.write(head + ASKED)
            await reader.readexactly(size)
            done += 1
        writer.close()

    begun = time.perf_counter()
    await asyncio.gather(*(ask() for _ in range(clients)))
    return done, time.perf_counter() - begun


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    processes = multiprocessing.get_context("spawn")
    ready = processes.Queue()
    behind = processes.Process(target=_behind, args=(ready,), daemon=True)
    behind.start()
    url, ports = ready.get(timeout=300), {}
    relays = {}
    for client in CLIENTS:
        relay = processes.Process(target=_relay, args=(client, url, ready), daemon=True)
        relay.start()
        relays[client] = relay
        ports[client] = ready.get(timeout=300)
    _on(1)
    rates: dict[str, list[float]] = {client: [] for client in CLIENTS}
    costs: dict[str, list[float]] = {client: [] for client in CLIENTS}
    for _ in range(options.rounds):
        for client, port in ports.items():
            before = _cpu(relays[client])
            done, took = asyncio.run(_load(port, options.clients, options.seconds))
            rates[client].append(done / took)
            costs[client].append((_cpu(relays[client]) - before) / done * 1e6)
    print(f"| client | requests/s, {options.clients} at a time | CPU of a request |")
    print("|---|--:|--:|")
    for client in CLIENTS:
        rate, cost = statistics.median(rates[client]), statistics.median(costs[client])
        print(f"| {client} | {rate:,.0f} | {cost:,.0f} µs |")
    for process in (*relays.values(), behind):
        process.terminate()


if __name__ == "__main__":
    main()
