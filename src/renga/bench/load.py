"""Load on one engine, and what came of it: who asks when, and the times of what is answered.

Owns how requests overlap: all at once, so many at a time, or at times that were drawn before. A
time to first token counts from when a request was due, not from when there was time to send it. It
knows no engine: a peer is anything that answers an `Ask`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from renga.engine.messages import Lane


class BenchError(Exception):
    """A measurement that cannot be made or would not be fair; a sentence."""


@dataclass(frozen=True)
class Ask:
    """One request, drawn greedily. `whole`: the answer has all of `tokens`, whatever it says."""

    prompt: list[int]
    tokens: int
    whole: bool = True
    lane: Lane = "interactive"
    grammar: str | None = None


@dataclass
class Timing:
    """When an answer was due, and when how many of its tokens came (seconds of one clock)."""

    due: float
    prompt: int
    came: list[tuple[float, int]] = field(default_factory=list)

    def add(self, tokens: int, at: float | None = None) -> None:
        """Note that tokens came, now unless it is said when."""
        if tokens:
            self.came.append((time.perf_counter() if at is None else at, tokens))

    @property
    def tokens(self) -> int:
        """How many came."""
        return sum(count for _, count in self.came)

    @property
    def first(self) -> float:
        """When the first came."""
        return self.came[0][0]

    @property
    def end(self) -> float:
        """When the last came."""
        return self.came[-1][0]

    @property
    def ttft(self) -> float:
        """Time to first token, in seconds."""
        return self.first - self.due


class Peer(Protocol):
    """An engine under load. `kind` is the word that `--against` takes, `name` is for a reader."""

    kind: str
    name: str

    async def answer(self, ask: Ask, timing: Timing) -> None:
        """Answer one request, noting what comes; raises BenchError where it is refused."""

    async def aclose(self) -> None:
        """End it."""


async def answered(peer: Peer, ask: Ask, due: float | None = None) -> Timing:
    """One request and its whole answer. Raises BenchError where it is not what was asked for."""
    timing = Timing(time.perf_counter() if due is None else due, len(ask.prompt))
    await peer.answer(ask, timing)
    if not timing.came or (ask.whole and timing.tokens != ask.tokens):
        raise BenchError(f"{peer.name}: {timing.tokens} tokens were answered of {ask.tokens}")
    return timing


async def some_at_a_time(peer: Peer, asks: Sequence[Ask], width: int) -> list[Timing]:
    """Every request, `width` of them open at any time."""
    gate = asyncio.Semaphore(width)

    async def one(ask: Ask) -> Timing:
        async with gate:
            return await answered(peer, ask)

    return await all_of([one(ask) for ask in asks])


async def all_at_once(peer: Peer, asks: Sequence[Ask]) -> list[Timing]:
    """Every request, sent together."""
    return await some_at_a_time(peer, asks, len(asks))


async def at_times(peer: Peer, asks: Sequence[Ask], offsets: Sequence[float]) -> list[Timing]:
    """Each request at its own time, in seconds from now."""
    begin = time.perf_counter()

    async def one(ask: Ask, offset: float) -> Timing:
        await asyncio.sleep(max(0.0, begin + offset - time.perf_counter()))
        return await answered(peer, ask, begin + offset)

    return await all_of([one(ask, offset) for ask, offset in zip(asks, offsets, strict=True)])


async def without_end(
    peer: Peer, next_ask: Callable[[], Ask], width: int, until: asyncio.Event
) -> list[Timing]:
    """`width` clients that ask one thing after the other until the event.

    The last answers are cut off; what came of them counts.
    """
    timings: list[Timing] = []

    async def client() -> None:
        while True:
            ask = next_ask()
            timings.append(Timing(time.perf_counter(), len(ask.prompt)))
            await peer.answer(ask, timings[-1])

    clients = [asyncio.ensure_future(client()) for _ in range(width)]
    ending = asyncio.ensure_future(until.wait())
    try:
        done, _ = await asyncio.wait([*clients, ending], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in (*clients, ending):
            task.cancel()
        await asyncio.gather(*clients, ending, return_exceptions=True)
    return timings


async def all_of(work: Sequence[Awaitable[Timing]]) -> list[Timing]:
    """Await all; the first failure ends the rest."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()


def poisson(count: int, per_second: float, seed: int) -> list[float]:
    """Times of arrival, in seconds, of `count` independent requests."""
    gaps = np.random.default_rng(seed).exponential(1 / per_second, count)
    return [float(at) for at in np.cumsum(gaps) - gaps[0]]


def p95(timings: Sequence[Timing]) -> float:
    """The time to first token that one in twenty exceeds, in seconds."""
    return float(np.percentile([timing.ttft for timing in timings], 95))


def together_rate(timings: Sequence[Timing]) -> float:
    """Tokens a second of all of them while all of them were being answered.

    For answers that are too short to be there at one time it is the rate of `overall_rate`.
    """
    begin = max(timing.first for timing in timings)
    end = min(timing.end for timing in timings)
    return _rate(timings, begin, end) if end > begin else overall_rate(timings)


def overall_rate(timings: Sequence[Timing]) -> float:
    """Tokens a second from the first token of any to the last, whoever has ended meanwhile."""
    begin = min(timing.first for timing in timings)
    end = max(timing.end for timing in timings)
    if end <= begin:
        raise BenchError("a single token was answered: there is no rate to measure")
    return _rate(timings, begin, end)


def _rate(timings: Sequence[Timing], begin: float, end: float) -> float:
    return sum(n for t in timings for at, n in t.came if begin < at <= end) / (end - begin)


def span(timings: Sequence[Timing]) -> float:
    """From the first request to the last token, in seconds."""
    return max(t.end for t in timings) - min(t.due for t in timings)
