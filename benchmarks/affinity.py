"""What prefix affinity is worth: `python -m benchmarks.affinity`, a table of cache-hit shares.

A workload of 200 prefixes, asked for by Zipf's law, comes to four replicas that are simulated: each
serves requests as fast as its prefix cache lets it, and its cache is a true LRU of blocks, bounded
in tokens. Who chooses the replica is the code that serves (`renga.backends.remote.replicas`), with
the heads of real requests; beside it stand round robin and the least loaded. What they are compared
with is one replica that gets all requests, with as much cache as one of the four has, and with the
four caches in one: no choice can do better than that.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import random
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from renga.backends.remote.affinity import Heads, heads_of
from renga.backends.remote.replicas import Replica, Replicas
from renga.types import MessagesRequest

REPLICAS: Final = 4
PREFIXES: Final = 200
BLOCK: Final = 64  # tokens
SPEED: Final = 20_000.0  # tokens of a prompt that a replica reads in a second
WRITING: Final = 1.0  # seconds that an answer takes once its prompt is read

Block = tuple[int, int]  # whose it is, and the how manieth


@dataclass(frozen=True)
class Asked:
    """One request: when it comes, its blocks, and its heads."""

    at: float
    blocks: tuple[Block, ...]
    heads: Heads


@dataclass
class Cache:
    """Blocks of prompts, the least recently used of which leave. `room` is tokens."""

    room: int
    held: OrderedDict[Block, None] = field(default_factory=OrderedDict)

    def read(self, blocks: Sequence[Block]) -> int:
        """How many tokens of a prompt are there, from its beginning; then all of it is."""
        found = sum(1 for _ in itertools.takewhile(self.held.__contains__, blocks))
        for block in blocks:
            self.held[block] = None
            self.held.move_to_end(block)
        while len(self.held) * BLOCK > self.room:
            self.held.popitem(last=False)
        return found * BLOCK


@dataclass(frozen=True)
class Result:
    """What came of one way to choose. `share` is of the tokens of all prompts.

    `busiest` is the mean, over all arrivals, of the open requests on the fullest replica over the
    mean of all; `slowest` the seconds in which nine of ten prompts were read. One replica that is
    to do the work of four has a queue that grows, which is no matter of caches.
    """

    share: float
    busiest: float
    slowest: float


class Clock:
    """The time of a simulation."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


Choose = Callable[[Replicas, Asked], Replica]


def by_affinity(replicas: Replicas, asked: Asked) -> Replica:
    """As renga chooses."""
    return replicas.pick(asked.heads)


def by_load(replicas: Replicas, asked: Asked) -> Replica:
    """The least loaded, as renga chooses where there is no prompt."""
    return replicas.pick()


def in_turn() -> Choose:
    """One after the other."""
    turns = itertools.count()

    def choose(replicas: Replicas, asked: Asked) -> Replica:
        replica = replicas.all[next(turns) % len(replicas.all)]
        replica.open += 1
        return replica

    return choose


def workload(requests: int, *, seed: int, rate: float, skew: float = 1.0) -> Iterator[Asked]:
    """`rate` requests a second, each a prefix of 1,000 to 8,000 tokens and a question behind it.

    Half of them go on with one of the last conversations, by an answer and a further question.
    """
    rng = random.Random(seed)
    sizes = [int(1_000 * 8 ** rng.random()) // BLOCK for _ in range(PREFIXES)]
    weights = [1 / (rank + 1) ** skew for rank in range(PREFIXES)]
    going: list[tuple[int, tuple[Block, ...], list[str]]] = []
    fresh, at = itertools.count(PREFIXES), 0.0
    for _ in range(requests):
        at += rng.expovariate(rate)
        if going and rng.random() < 0.5:
            prefix, before, said = going.pop(rng.randrange(len(going)))
            said = [*said, "answer", f"and {next(fresh)}?"]
        else:
            prefix = rng.choices(range(PREFIXES), weights)[0]
            before = tuple((prefix, n) for n in range(sizes[prefix]))
            said = [f"question {next(fresh)}"]
        own = next(fresh)
        blocks = (*before, *((own, n) for n in range(rng.randint(1, 4))))
        going = [*going[-50:], (prefix, blocks, said)]
        yield Asked(at, blocks, heads_of(_request(prefix, said)))


def _request(prefix: int, said: Sequence[str]) -> MessagesRequest:
    turns = [
        {"role": "assistant" if i % 2 else "user", "content": text} for i, text in enumerate(said)
    ]
    system = f"You know document {prefix}."
    given = {"model": "m", "max_tokens": 1, "system": system, "messages": turns}
    return MessagesRequest.model_validate(given)


def simulate(asked: Sequence[Asked], choose: Choose, *, replicas: int, room: int) -> Result:
    """Play a workload. `room` is the tokens that each replica's cache holds."""
    clock = Clock()
    chosen = Replicas(
        [f"http://replica-{i}:8000" for i in range(replicas)], ticks=clock, rng=random.Random(0)
    )
    caches = {replica.url: Cache(room) for replica in chosen.all}
    free = dict.fromkeys(caches, 0.0)  # when each has read the prompts that it has
    open_: list[tuple[float, int, Replica]] = []
    read = total = 0
    fullest: list[float] = []
    waits: list[float] = []
    for i, one in enumerate(asked):
        clock.now = one.at
        while open_ and open_[0][0] <= clock.now:
            replica = heapq.heappop(open_)[2]
            chosen.done(replica)
            chosen.answered(replica)
        replica = choose(chosen, one)
        size = len(one.blocks) * BLOCK
        cached = caches[replica.url].read(one.blocks)
        read, total = read + cached, total + size
        begun = max(clock.now, free[replica.url])
        free[replica.url] = begun + (size - cached) / SPEED
        waits.append(free[replica.url] - clock.now)
        heapq.heappush(open_, (free[replica.url] + WRITING, i, replica))
        loads = [r.open for r in chosen.all]
        fullest.append(max(loads) * len(loads) / sum(loads))
    return Result(read / total, sum(fullest) / len(fullest), sorted(waits)[int(len(waits) * 0.9)])


def table(requests: int, *, seed: int, room: int, rate: float) -> dict[str, Result]:
    """Every way to choose, and what they are compared with, on one workload."""
    asked = list(workload(requests, seed=seed, rate=rate))
    four: dict[str, Choose] = {
        "prefix affinity": by_affinity,
        "least loaded": by_load,
        "round robin": in_turn(),
    }
    found = {
        name: simulate(asked, choose, replicas=REPLICAS, room=room) for name, choose in four.items()
    }
    found["one replica, one cache"] = simulate(asked, by_load, replicas=1, room=room)
    found["one replica, four caches"] = simulate(asked, by_load, replicas=1, room=room * REPLICAS)
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--room", type=int, default=150_000, help="tokens of one replica's cache")
    parser.add_argument("--rate", type=float, default=16.0, help="requests a second")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    found = table(options.requests, seed=options.seed, room=options.room, rate=options.rate)
    best = found["one replica, four caches"].share
    print("| who chooses | cache-hit share | of the best | fullest / mean | p90 until read, s |")
    print("|---|--:|--:|--:|--:|")
    for name, result in found.items():
        print(
            f"| {name} | {result.share:.1%} | {result.share / best:.1%} | {result.busiest:.2f} "
            f"| {result.slowest:.2f} |"
        )


if __name__ == "__main__":
    main()
