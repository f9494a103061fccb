"""The workloads: what each asks of an engine, and the figures that come of it.

A workload is a function of a bench and a peer; those of `OWN` are measured on our engine alone,
because they ask for what the others do not have. Seconds and tokens a second throughout. They judge
nothing: that is for `bars`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from renga.bench.load import (
    Ask,
    Peer,
    Timing,
    all_at_once,
    answered,
    at_times,
    overall_rate,
    p95,
    poisson,
    some_at_a_time,
    span,
    together_rate,
    without_end,
)
from renga.bench.peers import own
from renga.bench.peers.own import OwnEngine
from renga.bench.prompts import FIELDS, QUESTIONS, READ, SUPPORT, Prompts, letters
from renga.bench.subject import Subject
from renga.chat.render import ChatTemplate
from renga.chat.schema import json_grammar
from renga.types import CountRequest

Figures = dict[str, float]


@dataclass(frozen=True)
class Bench:
    """One round on one model. `scale` below 1 shortens every load, for a try.

    `seed` is the run's own: a server that ran before it may remember another run's prompts.
    """

    subject: Subject
    round: int
    scale: float = 1.0
    seed: int = 0

    @property
    def whole(self) -> bool:
        """Whether answers have the length that was asked for, whatever they say."""
        return self.subject.random

    def prompts(self, workload: int) -> Prompts:
        """Prompts that no other workload, round or run has."""
        return Prompts(self.subject, workload, self.round, self.seed)

    def some(self, count: int) -> int:
        """`count`, or fewer for a try, but at least two."""
        return max(2, round(count * self.scale))


async def measure_prefill(bench: Bench, peer: Peer) -> Figures:
    """One prompt of 1,100 tokens that nobody asked before."""
    tokens = 1_100
    timing = await answered(peer, Ask(bench.prompts(1).unique(tokens), 1, bench.whole))
    return {"prefill tok/s": tokens / timing.ttft}


async def measure_decode(bench: Bench, peer: Peer) -> Figures:
    """Answers to prompts of 32 tokens: one alone, 96 tokens long; 16 together, 64 tokens each."""
    prompts = bench.prompts(2)
    alone = await answered(peer, Ask(prompts.unique(32), max(24, bench.some(96)), bench.whole))
    asks = [Ask(prompts.unique(32), max(24, bench.some(64)), bench.whole) for _ in range(16)]
    before = await peer.stats() if isinstance(peer, OwnEngine) else None
    together = await all_at_once(peer, asks)
    # A trained model ends answers early, each where it will: there is no time with all of them.
    rate = together_rate if bench.whole else overall_rate
    figures = {
        "one alone tok/s": together_rate([alone]),
        "16 together tok/s": rate(together),
    }
    if before is not None and isinstance(peer, OwnEngine):
        after = await peer.stats()
        steps = after.step_seconds - before.step_seconds
        if steps > 0:
            model = after.model_seconds - before.model_seconds
            figures["scheduler's share of a step"] = 1 - model / steps
    return figures


async def measure_burst(bench: Bench, peer: Peer) -> Figures:
    """32 prompts that share 1,000 of 1,084 tokens, 8 at a time, 16 tokens out; then 32 more."""
    prompts = bench.prompts(3)
    shared = prompts.unique(1_000)
    figures: Figures = {}
    if isinstance(peer, OwnEngine):
        once = await answered(peer, Ask(prompts.unique(len(shared)), 1, bench.whole))
        figures["one shared prefill s"] = once.ttft
    for state in ("cold", "warm"):
        asks = [
            Ask(prompt, 16, bench.whole)
            for prompt in prompts.sharing(bench.some(32), shared, 1_084)
        ]
        timings = await some_at_a_time(peer, asks, 8)
        figures[f"{state} total s"] = span(timings)
        figures[f"{state} TTFT p95 s"] = p95(timings)
    return figures


async def measure_lanes(bench: Bench, peer: Peer) -> Figures:
    """20 chats (300 tokens in, 32 out) that arrive, on average, every second duration of one chat.

    Alone; then beside a batch lane of 16 clients that never rest (600 tokens in, 64 out); then that
    lane alone for as long.
    """
    prompts = bench.prompts(4)
    await answered(peer, Ask(prompts.unique(300), 32, bench.whole))
    once = await answered(peer, Ask(prompts.unique(300), 32, bench.whole))
    count = bench.some(20)
    offsets = poisson(count, 1 / (2 * (once.end - once.due)), seed=bench.round)

    def chats() -> list[Ask]:
        return [Ask(prompts.unique(300), 32, bench.whole) for _ in range(count)]

    def batch() -> Ask:
        return Ask(prompts.unique(600), 64, bench.whole, lane="batch")

    alone = await at_times(peer, chats(), offsets)
    begin = time.perf_counter()
    stop = asyncio.Event()
    saturating = asyncio.ensure_future(without_end(peer, batch, 16, stop))
    try:
        beside = await at_times(peer, chats(), offsets)
    finally:
        stop.set()
    seconds = time.perf_counter() - begin
    both = [*beside, *await saturating]
    begin = time.perf_counter()
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, stop.set)
    only = await without_end(peer, batch, 16, stop)
    return {
        "chat TTFT p95 alone s": p95(alone),
        "chat TTFT p95 beside batch s": p95(beside),
        "batch alone tok/s": _tokens(only) / (time.perf_counter() - begin),
        "chat and batch tok/s": _tokens(both) / seconds,
    }


def _tokens(timings: list[Timing]) -> int:
    """Of prompts whose answer had begun, and of answers."""
    return sum(timing.prompt + timing.tokens for timing in timings if timing.came)


async def measure_scoring(bench: Bench, peer: OwnEngine) -> Figures:
    """A label for a text of 24 tokens under a warm instruction of 480, one after the other: one of
    six labels of 2 tokens chosen, all six scored as if there were others, or one decoded as JSON of
    10 tokens.
    """
    prompts = bench.prompts(5)
    instruction = prompts.unique(480)
    labels = [prompts.unique(2) for _ in range(6)]
    texts = prompts.sharing(bench.some(40), instruction, len(instruction) + 24)
    await answered(peer, Ask(texts[0], 1, bench.whole))
    figures: Figures = {}
    for choice, name in ((True, "chosen"), (False, "scored")):
        begin = time.perf_counter()
        for text in texts:
            await peer.score(text, labels, choice=choice)
        figures[f"{name} requests/s"] = len(texts) / (time.perf_counter() - begin)
        texts = prompts.sharing(len(texts), instruction, len(instruction) + 24)
    begin = time.perf_counter()
    for text in texts:
        await answered(peer, Ask(text, 10, bench.whole))
    return figures | {"decoded requests/s": len(texts) / (time.perf_counter() - begin)}


async def measure_lookup(bench: Bench, peer: OwnEngine) -> Figures:
    """Twelve letters read into JSON of five fields, and six support chats, one after the other:
    with guesses from the prompt, as they are made unless a setting forbids them, and without.
    """
    template = await asyncio.to_thread(ChatTemplate.load, bench.subject.folder)
    fields = {name: {"type": "string"} for name in FIELDS}
    schema = {"type": "object", "properties": fields, "required": list(FIELDS)}
    grammar = json_grammar({**schema, "additionalProperties": False})
    extraction = [
        Ask(_rendered(template, READ, letter), 160, whole=False, grammar=grammar)
        for letter in letters(bench.some(12))
    ]
    chat = [
        Ask(_rendered(template, SUPPORT, question), 120, whole=False)
        for question in QUESTIONS[: bench.some(6)]
    ]
    plain = await own.start(bench.subject, draft_tokens=0)
    try:
        figures: Figures = {}
        for name, asks in (("extraction", extraction), ("chat", chat)):
            for kind, engine in (("guessing", peer), ("plain", plain)):
                await answered(engine, asks[0])
                figures[f"{name}, {kind} tok/s"] = await _one_by_one(engine, asks)
        return figures
    finally:
        await plain.aclose()


def _rendered(template: ChatTemplate, system: str, user: str) -> list[int]:
    messages = [{"role": "user", "content": user}]
    return template.tokens(
        CountRequest.model_validate({"model": "bench", "system": system, "messages": messages})
    )


async def _one_by_one(peer: Peer, asks: list[Ask]) -> float:
    begin = time.perf_counter()
    timings = [await answered(peer, ask) for ask in asks]
    return sum(timing.tokens for timing in timings) / (time.perf_counter() - begin)


async def measure_clients(bench: Bench, peer: Peer) -> Figures:
    """Sixteen clients at once, four requests each: 1,000 tokens in, of which a warm prefix of 900,
    and 16 out.
    """
    prompts = bench.prompts(6)
    shared = prompts.unique(900)
    await answered(peer, Ask(shared + prompts.unique(100), 1, bench.whole))
    texts = prompts.sharing(bench.some(64), shared, 1_000)
    timings = await some_at_a_time(peer, [Ask(text, 16, bench.whole) for text in texts], 16)
    return {"TTFT p95 s": p95(timings)}


async def measure_arrivals(bench: Bench, peer: Peer) -> Figures:
    """Prompts of 1,000 tokens that nobody asked before, 16 out: first as fast as 16 clients can ask
    (saturation), then arriving at random at half of that rate.
    """
    prompts = bench.prompts(7)

    def asks(count: int) -> list[Ask]:
        return [Ask(prompts.unique(1_000), 16, bench.whole) for _ in range(count)]

    full = await some_at_a_time(peer, asks(bench.some(64)), 16)
    rate = len(full) / span(full)
    count = bench.some(100)
    timings = await at_times(peer, asks(count), poisson(count, rate / 2, seed=bench.round))
    return {"saturation requests/s": rate, "TTFT p95 at half of it s": p95(timings)}


Everyone = Callable[[Bench, Peer], Awaitable[Figures]]
Ours = Callable[[Bench, OwnEngine], Awaitable[Figures]]

WORKLOADS: dict[str, Everyone] = {
    "prefill": measure_prefill,
    "decode": measure_decode,
    "burst": measure_burst,
    "clients": measure_clients,
    "arrivals": measure_arrivals,
}
OWN: dict[str, Ours] = {
    "lanes": measure_lanes,
    "scoring": measure_scoring,
    "lookup": measure_lookup,
}
TRAINED_ONLY = ("lookup",)
# Where nothing else is said: what a bar of that model asks for.
USUAL: dict[str, tuple[str, ...]] = {
    "0.6b": ("prefill", "decode", "burst", "lanes", "scoring"),
    "shipped": ("prefill", "decode", "burst", "clients", "arrivals", "lanes", "scoring", "lookup"),
    "": ("prefill", "decode", "burst", "lanes", "scoring"),
}


def about(name: str) -> str:
    """What a workload asks, in one sentence."""
    function = WORKLOADS.get(name) or OWN[name]
    return " ".join((function.__doc__ or "").split())


async def warm_up(bench: Bench, peer: Peer) -> None:
    """Ask for a little, so that no first time of anything is measured."""
    prompts = bench.prompts(0)
    asks = [Ask(prompts.unique(length), 4, bench.whole) for length in (300, 32, 32, 32)]
    await answered(peer, asks[0])
    await all_at_once(peer, asks[1:])


async def measure(name: str, bench: Bench, peer: Peer) -> Figures | None:
    """The figures of a workload on an engine; None where it is not for that engine or model."""
    if name in TRAINED_ONLY and bench.subject.random:
        return None
    if name in WORKLOADS:
        return await WORKLOADS[name](bench, peer)
    if not isinstance(peer, OwnEngine):
        return None
    return await OWN[name](bench, peer)


__all__ = ["OWN", "USUAL", "WORKLOADS", "Bench", "Figures", "about", "measure"]
