"""Random traffic through two servers on one PostgreSQL, over other servers that break: it adds up.

The oracles are none of ours: what the servers behind count that they served, and the rows as the
database's own driver reads them.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, aclosing, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from renga.app import App
from renga.caller import Caller
from renga.config import (
    BackendConfig,
    BreakerConfig,
    Config,
    LimitConfig,
    LimitsConfig,
    RetryConfig,
    StoreConfig,
    TierConfig,
)
from renga.costs.check import check
from renga.errors import RateLimited, RengaError
from renga.prices import load_prices
from renga.types import MessagesRequest
from tests.postgres import Postgres
from tests.upstreams.faulty import (
    CONNECTING,
    FAULTS,
    GOOD,
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    Faulty,
    faulty,
)

A_MINUTE = 90
AT_ONCE = 6
CLIENTS = 4  # of each server: together more than may ask at once
# Those over which a test would have to wait are met in tests/upstreams.
QUICK = [fault for fault in FAULTS if fault not in CONNECTING and "slow" not in fault]


def config_of(home: Path, url: str, servers: dict[str, Faulty]) -> Config:
    """Two backends of both kinds, each the other's fallback, and limits that the traffic meets."""
    backends = {
        kind: BackendConfig(
            name=kind,
            kind=kind,  # type: ignore[arg-type]
            urls=(f"{server.url}/v1" if kind == "openai" else server.url,),
            model="upstream-model",
            window=8_192,
            timeout_s=20.0,
        )
        for kind, server in servers.items()
    }
    names = tuple(backends)
    limit = LimitConfig(requests_per_minute=A_MINUTE, concurrent=AT_ONCE, usd_per_day=1_000.0)
    return Config(
        home=home,
        store=StoreConfig(url=url),
        backends=backends,
        tiers={
            "haiku": TierConfig(name="haiku", backends=names),
            "sonnet": TierConfig(name="sonnet", backends=names[::-1]),
        },
        retry=RetryConfig(attempts=2, base_ms=1.0),
        breaker=BreakerConfig(open_s=0.05),
        limits=LimitsConfig(default=limit),
    )


async def ask(app: App, number: int, rng: random.Random) -> str:
    """One request, which may leave early; how it ended."""
    caller = Caller(f"team_{rng.randrange(2)}", f"req_{number}", key_id="key_1")
    request = MessagesRequest.model_validate(
        {
            "model": rng.choice(["haiku", "sonnet"]),
            "max_tokens": 50,
            "messages": [{"role": "user", "content": "Good morning?"}],
            "stream": rng.random() < 0.7,
        }
    )
    leaves = rng.choice([0, 1, 2, 4]) if rng.random() < 0.2 else None
    seen = 0
    try:
        async with aclosing(app.gateway.stream(request, caller)) as events:  # type: ignore[type-var]
            async for _ in events:
                if seen == leaves:
                    return "left"
                seen += 1
    except RateLimited:
        return "limited"
    except RengaError:
        return "error"
    return "ok"


async def cut(work: asyncio.Task[str], seconds: float) -> str:
    """`work`, given up after some time, as where a client's connection is lost."""
    done, _ = await asyncio.wait([work], timeout=seconds)
    if done:
        return work.result()
    work.cancel()
    with suppress(asyncio.CancelledError):
        return await work
    return "left"


async def traffic(apps: list[App], rng: random.Random, requests: int) -> Counter[str]:
    """`requests` from many clients at once, over both servers; how many ended how."""
    waiting = iter(range(requests))
    ended: Counter[str] = Counter()

    async def client(app: App) -> None:
        for number in waiting:
            work = asyncio.create_task(ask(app, number, rng))
            patience = rng.random() * 0.05 if rng.random() < 0.1 else 60.0
            how = await cut(work, patience)
            ended[how] += 1
            # One that is refused comes again later, or most of the traffic would be of them.
            await asyncio.sleep(rng.random() * (0.4 if how == "limited" else 0.02))

    await asyncio.gather(*(client(app) for app in apps for _ in range(CLIENTS)))
    return ended


async def run(
    url: str,
    folder: Path,
    seed: int,
    requests: int,
    disturb: Callable[[], Coroutine[None, None, None]] | None = None,
) -> tuple[Counter[str], dict[str, Faulty], float]:
    """Two servers, started, asked and ended; how it ended, who served, and how long it took."""
    rng = random.Random(seed)
    async with AsyncExitStack() as stack:
        servers = {}
        for kind in ("messages", "openai"):
            script = [rng.choice(QUICK) if rng.random() < 0.4 else GOOD for _ in range(requests)]
            servers[kind] = await stack.enter_async_context(faulty(script=script))
            servers[kind].retry_after = 1
        apps = []
        for number in range(2):
            apps.append(await App.start(config_of(folder / str(number), url, servers)))
            stack.push_async_callback(apps[-1].aclose)
        began = time.monotonic()
        disturbing = asyncio.create_task(disturb() if disturb else asyncio.sleep(0))
        ended = await traffic(apps, rng, requests)
        await disturbing
        took = time.monotonic() - began
        await apps[0].ledger.flush()
        await apps[1].ledger.flush()
        findings = await check(apps[0].ledger.store, load_prices())
        assert findings.first == []
        return ended, servers, took


def rows(url: str, query: str) -> list[dict[str, Any]]:
    with psycopg.connect(url, row_factory=dict_row) as plain:
        return plain.execute(query.encode()).fetchall()


def check_ledger(url: str, ended: Counter[str], servers: dict[str, Faulty]) -> None:
    """The rows say what the clients saw, and what the servers behind served."""
    answers = rows(url, "SELECT * FROM answers")
    tries = rows(url, "SELECT * FROM attempts")
    assert {row["status"] for row in answers} <= {"ok", "error", "cancelled", "refused"}
    statuses = Counter(row["status"] for row in answers)
    assert statuses["ok"] >= ended["ok"]
    assert statuses["error"] + statuses["refused"] <= ended["error"] + ended["left"]
    good = [row for row in tries if row["status"] == "ok"]
    assert len(good) == statuses["ok"]
    for row in good:
        assert (row["input_tokens"], row["output_tokens"]) == (INPUT_TOKENS, OUTPUT_TOKENS)
    card = load_prices()
    for row in answers:
        if row["status"] == "ok":
            price = card[row["tier"]]
            assert row["cost_pico"] == INPUT_TOKENS * price.input + OUTPUT_TOKENS * price.output
    for kind, server in servers.items():
        mine = [row for row in tries if row["backend"] == kind]
        lost = sum(row["status"] == "cancelled" for row in mine)
        served = Counter(one.fault for one in server.served)
        # What was cancelled may have come as far as the server behind, or not.
        assert len(mine) - lost <= len(server.served) <= len(mine)
        whole = sum(row["status"] == "ok" for row in mine)
        assert whole <= served[GOOD] <= whole + lost
        for fault, count in served.items():
            if fault.startswith("status_"):
                told = sum(row["cause"] == fault for row in mine)
                assert told <= count <= told + lost


def most_at_once(tries: list[dict[str, Any]]) -> int:
    """How many attempts were under way at the same time, by the rows."""
    moments = [(row["opened_us"], 1) for row in tries] + [(row["closed_us"], -1) for row in tries]
    now = most = 0
    for _, step in sorted(moments):
        now += step
        most = max(most, now)
    return most


def check_limits(url: str, took: float) -> None:
    """No more than was allowed, by one at most, and nothing is held by anybody."""
    [admitted] = rows(url, "SELECT count(*) AS n FROM answers")
    assert admitted["n"] <= A_MINUTE + A_MINUTE * took / 60 + 1
    assert most_at_once(rows(url, "SELECT * FROM attempts")) <= AT_ONCE + 1
    assert [row for row in rows(url, "SELECT * FROM limit_shares") if row["held"]] == []
    [spent] = rows(url, "SELECT sum(cost_pico)::bigint AS pico FROM answers")
    [bucket] = rows(url, "SELECT used FROM limit_buckets WHERE kind = 'usd_per_day'")
    assert bucket["used"] == spent["pico"] > 0
    assert rows(url, "SELECT * FROM answers WHERE status = 'open'") == []
    assert rows(url, "SELECT * FROM attempts WHERE status = 'open'") == []


@pytest.mark.parametrize("seed", [1, 2])
async def test_whatever_breaks_two_servers_keep_one_ledger_and_one_limit(
    postgres_url: str, tmp_path: Path, seed: int
) -> None:
    ended, servers, took = await run(postgres_url, tmp_path, seed, requests=160)
    check_ledger(postgres_url, ended, servers)
    check_limits(postgres_url, took)
    assert min(ended[how] for how in ("ok", "left", "limited")) > 3
    assert sum(one.fault != GOOD for server in servers.values() for one in server.served) > 5


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(10, 14))
async def test_long_traffic_adds_up_while_the_database_is_restarted(
    postgres: Postgres, postgres_url: str, tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)

    async def disturb() -> None:
        for _ in range(3):
            await asyncio.sleep(rng.uniform(0.3, 2.0))
            await asyncio.to_thread(postgres.stop, signal.SIGINT)
            await asyncio.sleep(rng.uniform(0.0, 0.5))
            postgres.start()

    ended, servers, took = await run(postgres_url, tmp_path, seed, 1_500, disturb)
    check_ledger(postgres_url, ended, servers)
    check_limits(postgres_url, took)
