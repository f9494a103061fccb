"""Old answers go, and everything still adds up: random rows, removed bit by bit, on both stores."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from renga.ledger import Ledger
from renga.prices import UNKNOWN, Price, Tokens
from renga.retention import Retention, remove
from renga.store import Store, purging
from renga.store.rows import join_cost
from renga.store.schema import ROLLUP_KEYS, ROLLUP_SUMS, TOKENS, answers, attempts, rollups

DAY = 86_400
NOW = 1_800_000_000.0 // DAY * DAY + 3600
PRICE = Price(input=10**9, output=5 * 10**8, cache_read=10**8, cache_write_5m=70, cache_write_1h=90)
fresh = itertools.count()

counts = st.integers(0, 10**9)


def counted(numbers: list[int], *, told: bool) -> Tokens:
    """All classes known; those that are part of another only where `told`."""
    of = dict(
        zip(
            ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output"),
            numbers,
            strict=True,
        )
    )
    part = {"reused": of["input"] // 2, "thinking": of["output"] // 3} if told else {}
    return Tokens(**of, **part)


known = st.builds(counted, st.lists(counts, min_size=5, max_size=5), told=st.booleans())
given_rows = st.lists(
    st.fixed_dictionaries(
        {
            "age": st.integers(0, 3),
            "tier": st.sampled_from(["haiku", "opus"]),
            "key_id": st.sampled_from([None, "key_1"]),
            "service": st.sampled_from(["standard", "batch"]),
            "status": st.sampled_from(["ok", "error", "open"]),
            "tokens": known | st.just(UNKNOWN),
            "own": st.lists(st.none() | st.integers(0, 10**15), max_size=2),
        }
    ),
    max_size=12,
)


def record(ledger: Ledger, row: dict[str, Any]) -> str:
    request_id = f"req_{next(fresh)}"
    ledger.open_answer(
        request_id=request_id,
        workspace="w",
        key_id=row["key_id"],
        tier=row["tier"],
        model_requested="m",
        model="m",
        backend=None,
        service=row["service"],
        price=PRICE,
        received_at=NOW - row["age"] * DAY,
    )
    for number, own in enumerate(row["own"], 1):
        ledger.open_attempt(request_id=request_id, number=number, backend="b")
        ledger.close_attempt(
            request_id, number, status="ok", tokens=row["tokens"], own_cost_pico=own
        )
    if row["status"] != "open":
        ledger.close_answer(
            request_id, status=row["status"], tokens=row["tokens"], served_tier=row["tier"]
        )
    return request_id


async def stands(store: Store) -> tuple[dict[Any, Counter[str]], set[str]]:
    """All sums by everything that rollups keep apart, rows and rollups together; the rows' ids."""

    def act(connection: Any) -> tuple[Any, ...]:
        tables = (answers, attempts, rollups)
        return tuple(connection.execute(select(table)).all() for table in tables)

    rows, tries, old = await store.read(act)
    sums: dict[Any, Counter[str]] = {}
    for row in rows:
        key = (row.received_us // (DAY * 10**6), *(getattr(row, k) or "" for k in ROLLUP_KEYS[1:]))
        sums.setdefault(key, Counter()).update(expected(row, tries))
    for row in old:
        kept = {n: getattr(row, n) for n in ROLLUP_SUMS if not n.endswith(("_high", "_low"))}
        for name in ("cost", "uncached", "full", "own_cost"):
            high, low = getattr(row, f"{name}_high"), getattr(row, f"{name}_low")
            kept[name] = None if high is None else join_cost(high, low)
        seen = Counter({name: value for name, value in kept.items() if value is not None})
        seen.update(f"{name} known" for name, value in kept.items() if value is not None)
        key = tuple(getattr(row, k) for k in ROLLUP_KEYS)
        sums.setdefault(key, Counter()).update(seen)
    whole = {
        key: Counter({n: 1 if n.endswith("known") else v for n, v in found.items()})
        for key, found in sums.items()
    }
    return whole, {row.request_id for row in rows}


def expected(row: Any, tries: list[Any]) -> Counter[str]:
    own = [t.own_cost_pico for t in tries if t.request_id == row.request_id]
    known_own = [cost for cost in own if cost is not None]
    priced = row.cost_pico is not None
    values = {
        "answers": 1,
        "attempts": len(own),
        "unpriced": 0 if priced else 1,
        "cost": row.cost_pico or 0,
        "uncached": (
            (
                row.input_tokens
                + row.cache_read_tokens
                + row.cache_write_5m_tokens
                + row.cache_write_1h_tokens
            )
            * row.input_price_pico
            + row.output_tokens * row.output_price_pico
            if priced
            else 0
        ),
        "full": (row.cost_pico or 0) * 100 // row.price_percent,
        "own_cost": sum(known_own) if known_own else None,
        **{f"{n}_tokens": getattr(row, f"{n}_tokens") for n in TOKENS},
    }
    found = Counter({name: value for name, value in values.items() if value is not None})
    found.update(f"{name} known" for name, value in values.items() if value is not None)
    return found


def test_whatever_is_removed_every_sum_stays_the_same(store_url):
    with asyncio.Runner() as runner:
        ledger = runner.run(
            Ledger.start(store_url, clock=lambda: NOW, instance_id="i", heartbeat_seconds=600)
        )

        @settings(
            max_examples=25,
            deadline=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=[HealthCheck.function_scoped_fixture],
        )
        @given(rows=given_rows, age=st.integers(0, 3), most=st.integers(1, 5))
        def check(rows: list[dict[str, Any]], age: int, most: int) -> None:
            ids = {record(ledger, row): row for row in rows}
            runner.run(ledger.flush())
            before, _ = runner.run(stands(ledger.store))
            old_us = int(NOW - age * DAY) // DAY * DAY * 10**6
            told = runner.run(purging.look(ledger.store, old_us))
            removed = 0
            while part := runner.run(purging.purge(ledger.store, old_us, most=most)):
                assert part <= most
                removed += part
            after, left = runner.run(stands(ledger.store))
            assert after == before
            assert removed == told.answers
            for request_id, row in ids.items():
                stays = row["status"] == "open" or row["age"] <= age
                assert (request_id in left) == stays

        check()
        runner.run(ledger.aclose())


async def test_days_that_are_kept_are_whole_days(store_url):
    async with await Ledger.start(store_url, clock=lambda: NOW, instance_id="i") as ledger:
        for age in range(5):
            row = {"tier": "haiku", "key_id": None, "service": "standard", "status": "ok"}
            record(ledger, {**row, "age": age, "own": [], "tokens": UNKNOWN})
        await ledger.flush()
        retention = Retention(ledger.store, 2, clock=lambda: NOW)
        assert retention.before_us() == (NOW // DAY - 2) * DAY * 10**6
        parts: list[int] = []
        assert await remove(ledger.store, retention.before_us(), told=parts.append) == 2
        assert parts == [2]
        assert len(await ledger.rows()) == 3


async def test_the_background_removes_what_is_old_and_days_of_0_keep_everything(store_url):
    async with await Ledger.start(store_url, clock=lambda: NOW, instance_id="i") as ledger:
        row = {"tier": "haiku", "key_id": None, "service": "standard", "status": "ok"}
        record(ledger, {**row, "age": 3, "own": [1], "tokens": UNKNOWN})
        await ledger.flush()
        for days, left in ((0, 1), (3, 1), (2, 0)):
            retention = Retention(ledger.store, days, clock=lambda: NOW)
            retention.start()
            async with asyncio.timeout(20):
                while len(await ledger.rows()) != left:
                    await asyncio.sleep(0.01)
            await retention.aclose()
