"""`python -m benchmarks.batches`: a batch on the shipped model beside the model by itself.

The same number of requests of the size of a classification, a fifth of which share a beginning:
first asked of the backend itself, as many at once as a batch has under way, with nothing around it;
then as a batch, with the queue, the path, the ledger and the results. Each round does both, in
turn; what counts is the median of the rounds' ratios. The texts of a round are its own, so that
nothing is found in the prefix cache but what the round shares.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from renga.app import App
from renga.backends.base import Attempt
from renga.batches.incoming import Incoming
from renga.batches.service import Batches
from renga.config import BackendConfig, Config, TierConfig
from renga.http.app import make_batches
from renga.http.batches import lane_of, make_pools, request_of
from renga.http.server import working

BAR = 0.9
PROMPT = ("input", "cache_read", "cache_write_5m", "cache_write_1h")
WORDS = "the film was long and its music good but nobody in it said what they meant".split()
SHARED = "Sort the review by its tone. Tones: warm, cold, mixed. Write the tone alone. " * 4


def requests_of(count: int, rng: random.Random) -> list[dict[str, object]]:
    """Requests of some 60 tokens, and some 130 where they share a beginning."""
    found: list[dict[str, object]] = []
    for n in range(count):
        text = " ".join(rng.choice(WORDS) for _ in range(40))
        body: dict[str, object] = {
            "model": "haiku",
            "max_tokens": 8,
            "messages": [{"role": "user", "content": f"{rng.random():.6f} {text}"}],
        }
        found.append({**body, "system": SHARED} if n % 5 == 0 else body)
    return found


async def alone(app: App, requests: list[dict[str, object]], at_once: int) -> float:
    """Seconds in which the backend itself answers them all."""
    backend = app.loadables["haiku"]
    gate = asyncio.Semaphore(at_once)

    async def one(n: int, body: dict[str, object]) -> None:
        asked = request_of(json.dumps({"params": body}), "2023-06-01", [])
        async with gate:
            attempt = Attempt(f"req_{n}", "default", service="batch")
            async for _ in backend.stream(asked, attempt):
                pass

    began = time.perf_counter()
    await asyncio.gather(*(one(n, body) for n, body in enumerate(requests)))
    return time.perf_counter() - began


async def as_batch(app: App, batches: Batches, requests: list[dict[str, object]]) -> float:
    """Seconds from the batch's creation to its end."""
    incoming = Incoming(lambda model: lane_of(app.router, model), most_bytes=10**7)
    named = [{"custom_id": f"r{n}", "params": body} for n, body in enumerate(requests)]
    items = incoming.feed(json.dumps({"requests": named}).encode())
    began = time.perf_counter()
    async with batches.receive("default", None, version="2023-06-01", betas=[]) as intake:
        await intake.add(items)
        row = await intake.finish()
    while row.state != "ended":
        await asyncio.sleep(0.02)
        row = await batches.get("default", row.batch_id)
    taken = time.perf_counter() - began
    if row.succeeded != len(requests):
        raise SystemExit(f"{len(requests) - row.succeeded} requests did not succeed")
    return taken


@asynccontextmanager
async def started(home: Path) -> AsyncIterator[tuple[App, Batches]]:
    """The parts of a server with the shipped model, working on batches."""
    backend = BackendConfig(name="haiku", kind="local")
    tier = TierConfig(name="haiku", backends=("haiku",))
    app = await App.start(Config(home=home, backends={"haiku": backend}, tiers={"haiku": tier}))
    try:
        batches = make_batches(app)
        async with working(app, batches):
            yield app, batches
    finally:
        await app.aclose()


async def measure(count: int, rounds: int) -> int:
    """Print what came of it; 1 where it is under the bar."""
    ratios: list[float] = []
    rng = random.Random(1)
    with tempfile.TemporaryDirectory() as folder:
        async with started(Path(folder)) as (app, batches):
            at_once = make_pools(app)[0].most
            await alone(app, requests_of(at_once, rng), at_once)
            for _ in range(rounds):
                by_itself = await alone(app, requests_of(count, rng), at_once)
                in_batch = await as_batch(app, batches, requests_of(count, rng))
                ratios.append(by_itself / in_batch)
                print(
                    f"by itself {count / by_itself:7.1f}/s   as a batch {count / in_batch:7.1f}/s"
                    f"   {ratios[-1]:.0%}"
                )
            total = (await app.ledger.totals("tier"))[0].tokens
    reused = (total["reused"] or 0) / sum(total[name] or 0 for name in PROMPT)
    ratio = statistics.median(ratios)
    print(f"median {ratio:.1%} (bar {BAR:.0%}); {reused:.1%} of the prompts' tokens were reused")
    return int(ratio < BAR)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    sys.exit(asyncio.run(measure(asked.requests, asked.rounds)))


if __name__ == "__main__":
    main()
