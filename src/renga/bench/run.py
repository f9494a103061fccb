"""One run: every engine started, then rounds in which each has its turn with each workload.

Owned rule: engines take turns within a round and never compute at the same time, so that whatever
else the machine does falls on all of them alike, and a ratio holds where a time does not.
"""

from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from secrets import randbits

from renga.bench import workloads
from renga.bench.load import Peer
from renga.bench.machine import measure_machine
from renga.bench.peers import Wanted, reach, starters
from renga.bench.report import Raw, Report, ceilings, judged, medians
from renga.bench.subject import Subject
from renga.bench.workloads import Bench


@dataclass(frozen=True)
class Plan:
    """What to measure: `names` are workloads, `scale` below 1 shortens every load."""

    subject: Subject
    peers: list[Wanted]
    gguf: Path | None
    names: Sequence[str]
    rounds: int = 3
    scale: float = 1.0
    seed: int = field(default_factory=lambda: randbits(32))


async def run(plan: Plan, say: Callable[[str], None]) -> Report:
    """Measure; `say` hears what is being done, line by line."""
    await reach(plan.peers)
    say("calibrating the machine")
    machine = measure_machine()
    raw: Raw = {}
    async with _started(starters(plan.peers, plan.subject, plan.gguf), say) as peers:
        for peer in peers:
            await workloads.warm_up(Bench(plan.subject, 0, plan.scale, plan.seed), peer)
        for number in range(1, plan.rounds + 1):
            bench = Bench(plan.subject, number, plan.scale, plan.seed)
            for name in plan.names:
                for peer in peers:
                    say(f"round {number} of {plan.rounds}: {name}, {peer.name}")
                    await _measure(raw, name, bench, peer)
        engines = [peer.kind for peer in peers]
    figures = medians(raw)
    return Report(
        version=version("renga"),
        model=plan.subject.words(),
        bars_of=plan.subject.bars,
        machine=machine,
        rounds=plan.rounds,
        scale=plan.scale,
        seed=plan.seed,
        engines=engines,
        workloads={name: workloads.about(name) for name in figures},
        figures=figures,
        ceilings=ceilings(plan.subject, machine, figures),
        bars=judged(plan.subject, figures),
    )


async def _measure(raw: Raw, name: str, bench: Bench, peer: Peer) -> None:
    for figure, value in (await workloads.measure(name, bench, peer) or {}).items():
        raw.setdefault(name, {}).setdefault(figure, {}).setdefault(peer.kind, []).append(value)


@asynccontextmanager
async def _started(
    starting: Sequence[Callable[[], Coroutine[None, None, Peer]]], say: Callable[[str], None]
) -> AsyncIterator[list[Peer]]:
    async with AsyncExitStack() as stack:
        peers = []
        for start in starting:
            peer = await start()
            stack.push_async_callback(peer.aclose)
            say(f"{peer.name} is ready")
            peers.append(peer)
        yield peers
