"""`renga bench http`: what the API costs without a model, beside a server that does nothing.

Each server has one core and the load comes from another; rounds alternate, medians count. CPU time
per call says what a core must spend whoever else uses the machine; rates and latencies are what a
client sees and hold on idle cores.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from renga.bench.calls import CONNECTIONS, Target, Work, alone, free_port, together, wait_for
from renga.http.server import run

MESSAGES, CHAT = "/v1/messages", "/v1/chat/completions"
ADDED_MS, RATE, EVENTS = 1.0, 1_000, 20_000  # the bars

TURNS = [{"role": "user", "content": "Hello, where is my order 48213? " * 8}]
SYSTEM = "You are the support desk of a small shop. Be brief and friendly."
TOKENS = 500  # of a streamed answer; a scripted token is four bytes


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


@contextmanager
def started(which: str, core: int, home: Path) -> Iterator[Target]:
    """A server of `renga.bench.servers` pinned to `core`, from when it listens."""
    port = free_port()
    command = [sys.executable, "-m", "renga.bench.servers", which, str(port), str(core), str(home)]
    process = subprocess.Popen(command)
    try:
        wait_for(port, process, which)
        yield Target(which, (process.pid,), port)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


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
