"""The ledger over real databases of both kinds; what stands in them is read with their drivers."""

from __future__ import annotations

import asyncio
import itertools
import random
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.rows import dict_row
from sqlalchemy import make_url

from renga.ledger import (
    NO_TOKENS,
    UNKNOWN,
    Grouping,
    Ledger,
    LedgerError,
    Price,
    Tokens,
    dollars,
)
from renga.prices import LARGEST, load_prices
from renga.store import RejectedRow, StoreError, sqlite_url
from renga.store.schema import metadata

NOW = 1_800_000_000.0
DOCS = Path(__file__).parents[1] / "docs" / "ledger.md"
T = TypeVar("T")
COUNTED = Tokens(
    input=1000,
    cache_read=20,
    cache_write_5m=300,
    cache_write_1h=4,
    output=50,
    reused=600,
    thinking=12,
)


class Clock:
    """Stands still until it is moved."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def url(store_url: str) -> str:
    """A ledger's place in one kind of database, and then in the other."""
    return store_url


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "renga.db"


@pytest.fixture
def file_url(path: Path) -> str:
    """Where the clock of leases is the server's, which a test can move."""
    return sqlite_url(path)


async def start(url: str, instance: str = "inst_1", **given: Any) -> Ledger:
    given.setdefault("clock", Clock())
    return await Ledger.start(url, instance_id=instance, **given)


def open_answer(ledger: Ledger, request_id: str = "req_1", **changes: Any) -> None:
    values: dict[str, Any] = {
        "request_id": request_id,
        "workspace": "team",
        "key_id": "key_1",
        "tier": "haiku",
        "model_requested": "claude-haiku-4-5",
        "model": "renga-haiku-1",
        "backend": None,
        "service": "standard",
        "price": load_prices()["haiku"],
        "received_at": NOW - 1,
    }
    ledger.open_answer(**(values | changes))


def close_answer(ledger: Ledger, request_id: str = "req_1", **changes: Any) -> int | None:
    values: dict[str, Any] = {"status": "ok", "tokens": COUNTED, "served_tier": "haiku"}
    return ledger.close_answer(request_id, **(values | changes))


def ask(url: str, query: str) -> list[dict[str, Any]]:
    """What stands there, read with the database's own driver."""
    if url.startswith("postgresql"):
        with psycopg.connect(url, row_factory=dict_row) as plain:
            return plain.execute(query.encode()).fetchall()
    with closing(sqlite3.connect(str(make_url(url).database))) as file:
        file.row_factory = sqlite3.Row
        return [dict(row) for row in file.execute(query)]


async def until(url: str, query: str, wanted: list[dict[str, Any]]) -> None:
    async with asyncio.timeout(20):
        while ask(url, query) != wanted:
            await asyncio.sleep(0.005)


# -- a row's life --


async def test_an_answer_is_written_before_and_after(url):
    clock = Clock()
    async with await start(url, clock=clock) as ledger:
        open_answer(ledger)
        ledger.open_attempt(request_id="req_1", number=1, backend="small", layer="moderation")
        await ledger.flush()
        [answer], [attempt] = (
            ask(url, "SELECT * FROM answers"),
            ask(url, "SELECT * FROM attempts"),
        )
        assert (answer["status"], answer["cost_pico"], answer["output_tokens"]) == (
            "open",
            None,
            None,
        )
        assert (attempt["status"], attempt["layer"], attempt["closed_us"]) == (
            "open",
            "moderation",
            None,
        )
        clock.now += 2
        ledger.close_attempt("req_1", 1, status="ok", tokens=COUNTED, first_token_at=NOW + 0.25)
        cost = close_answer(
            ledger,
            stop_reason="end_turn",
            backend="small",
            first_token_at=NOW + 0.25,
            notes={"held": True},
        )
        await ledger.flush()
    [answer], [attempt] = ask(url, "SELECT * FROM answers"), ask(url, "SELECT * FROM attempts")
    # 1000 in, 20 read at a tenth, 300 written at 1.25, 4 at 2, 50 out at 5, in micro-dollars:
    assert cost == 10**6 * (1000 + 2 + 375 + 8 + 250)
    assert answer == {
        "request_id": "req_1",
        "instance_id": "inst_1",
        "workspace": "team",
        "key_id": "key_1",
        "tier": "haiku",
        "served_tier": "haiku",
        "model_requested": "claude-haiku-4-5",
        "model": "renga-haiku-1",
        "backend": "small",
        "service": "standard",
        "status": "ok",
        "stop_reason": "end_turn",
        "error_type": None,
        "input_tokens": 1000,
        "cache_read_tokens": 20,
        "cache_write_5m_tokens": 300,
        "cache_write_1h_tokens": 4,
        "output_tokens": 50,
        "reused_tokens": 600,
        "thinking_tokens": 12,
        "input_price_pico": 1_000_000,
        "cache_read_price_pico": 100_000,
        "cache_write_5m_price_pico": 1_250_000,
        "cache_write_1h_price_pico": 2_000_000,
        "output_price_pico": 5_000_000,
        "price_percent": 100,
        "cost_pico": cost,
        "received_us": int((NOW - 1) * 10**6),
        "first_token_us": int((NOW + 0.25) * 10**6),
        "closed_us": int((NOW + 2) * 10**6),
        "closed_by": "inst_1",
        "notes": '{"held": true}',
    }
    assert attempt["status"] == "ok"
    assert attempt["opened_us"] == int(NOW * 10**6)
    assert (attempt["output_tokens"], attempt["reused_tokens"]) == (50, 600)


async def test_a_row_reads_back_as_it_was_given(url):
    async with await start(url) as ledger:
        open_answer(ledger, service="batch", backend="small")
        ledger.open_attempt(request_id="req_1", number=1, backend="small")
        ledger.close_attempt("req_1", 1, status="error", tokens=UNKNOWN, error="it broke")
        ledger.open_attempt(request_id="req_1", number=2, backend="large", layer="fallback")
        ledger.close_attempt("req_1", 2, status="ok", tokens=COUNTED)
        cost = close_answer(ledger, notes={"why": ["a", 1]})
        row = await ledger.get("req_1")
        assert row is not None
        assert row.price == load_prices()["haiku"].for_service("batch")
        assert row.tokens == COUNTED
        assert row.cost_pico == cost == row.price.cost(COUNTED)
        assert row.cost_usd == "0.0008175"
        assert (row.backend, row.notes, row.received_at) == ("small", {"why": ["a", 1]}, NOW - 1)
        assert [(a.number, a.backend, a.status, a.error, a.layer) for a in row.attempts] == [
            (1, "small", "error", "it broke", None),
            (2, "large", "ok", None, "fallback"),
        ]
        assert row.attempts[0].tokens == UNKNOWN
        assert await ledger.get("req_unknown") is None


async def test_a_row_is_durable_within_its_group_without_a_flush(url):
    async with await start(url, group_seconds=0.01) as ledger:
        open_answer(ledger)
        close_answer(ledger)
        await until(url, "SELECT status FROM answers", [{"status": "ok"}])


async def test_a_closing_works_while_its_task_is_being_cancelled(url):
    async with await start(url) as ledger:
        begun = asyncio.Event()

        async def request() -> None:
            open_answer(ledger)
            try:
                begun.set()
                await asyncio.sleep(60)
            finally:
                close_answer(ledger, status="cancelled")

        task = asyncio.ensure_future(request())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        row = await ledger.get("req_1")
        assert row is not None
        assert (row.status, row.tokens) == ("cancelled", COUNTED)


async def test_what_is_unknown_has_no_cost_and_what_is_nothing_costs_nothing(url):
    async with await start(url) as ledger:
        open_answer(ledger, "unknown")
        assert close_answer(ledger, "unknown", status="error", tokens=Tokens(input=5)) is None
        open_answer(ledger, "nothing")
        assert close_answer(ledger, "nothing", status="refused", tokens=NO_TOKENS) == 0
        [total] = await ledger.totals("tier")
        assert (total.answers, total.unpriced, total.cost_usd) == (2, 1, "0")
        row = await ledger.get("unknown")
        assert row is not None
        assert row.cost_usd is None


async def test_attempts_left_open_are_closed_with_their_answer(url):
    async with await start(url) as ledger:
        open_answer(ledger)
        ledger.open_attempt(request_id="req_1", number=1, backend="small")
        close_answer(ledger, status="error")
        row = await ledger.get("req_1")
        assert row is not None
        assert [(a.status, a.tokens) for a in row.attempts] == [("interrupted", UNKNOWN)]
        with pytest.raises(LedgerError):
            ledger.close_attempt("req_1", 1, status="ok", tokens=COUNTED)


async def test_texts_that_no_database_holds_are_written_readably(url):
    async with await start(url) as ledger:
        open_answer(ledger, model_requested="claude-\ud800\0" + "x" * 5000)
        close_answer(ledger)
        row = await ledger.get("req_1")
        assert row is not None
        assert row.model_requested.startswith("claude-\\ud800\\x00xxx")
        assert len(row.model_requested) < 1100


# -- exactly once --


async def test_what_the_order_does_not_allow_is_refused(url):
    async with await start(url) as ledger:
        with pytest.raises(LedgerError, match="request_id 'req_1' is not open"):
            close_answer(ledger)
        open_answer(ledger)
        with pytest.raises(LedgerError, match="is open already"):
            open_answer(ledger)
        with pytest.raises(LedgerError, match="attempt 1 of 'req_1' is not open"):
            ledger.close_attempt("req_1", 1, status="ok", tokens=COUNTED)
        ledger.open_attempt(request_id="req_1", number=1, backend="small")
        with pytest.raises(LedgerError, match="attempt 1 of 'req_1' was opened before"):
            ledger.open_attempt(request_id="req_1", number=1, backend="small")
        with pytest.raises(LedgerError, match=r"status: 'done'; accepted: ok, error, cancelled"):
            close_answer(ledger, status="done")
        with pytest.raises(ValueError, match=r"service: 'fast'; accepted: standard, batch"):
            open_answer(ledger, "req_2", service="fast")
        close_answer(ledger)
        with pytest.raises(LedgerError, match="request_id 'req_1' is not open"):
            close_answer(ledger)


async def test_an_id_of_another_server_is_reported_and_harms_no_other_row(url):
    async with await start(url) as first, await start(url, "inst_2") as second:
        open_answer(first, "same")
        await first.flush()
        open_answer(second, "same")
        open_answer(second, "other")
        close_answer(second, "other")
        with pytest.raises(RejectedRow, match="answer same"):
            await second.flush()
        close_answer(second, "same", status="error")
        assert await second.get("other") is not None
        close_answer(first, "same")
        await first.flush()
        row = await second.get("same")
        assert row is not None
        assert (row.instance_id, row.status) == ("inst_1", "ok")
        assert (await second.get("other")) is not None


@contextmanager
def long_ledger(url: str) -> Iterator[tuple[Ledger, Callable[[Awaitable[Any]], Any]]]:
    """One ledger for all examples of a property, on a loop of its own."""
    with asyncio.Runner() as runner:

        def wait(what: Awaitable[T]) -> T:
            async def run() -> T:
                return await what

            return runner.run(run())

        ledger = wait(start(url))
        yield ledger, wait
        wait(ledger.aclose())


commands = st.lists(
    st.tuples(
        st.sampled_from(["open", "close", "open attempt", "close attempt", "flush"]),
        st.integers(0, 2),
        st.integers(1, 2),
    ),
    max_size=30,
)


class Model:
    """What the ledger should hold, told by dictionaries."""

    def __init__(self) -> None:
        self.answers: dict[str, str] = {}
        self.attempts: dict[tuple[str, int], str] = {}

    def allows(self, verb: str, request_id: str, number: int) -> bool:
        is_open = self.answers.get(request_id) == "open"
        attempt = self.attempts.get((request_id, number))
        return {
            "open": request_id not in self.answers,
            "close": is_open,
            "open attempt": is_open and attempt is None,
            "close attempt": is_open and attempt == "open",
        }[verb]

    def do(self, verb: str, request_id: str, number: int) -> None:
        if verb == "open":
            self.answers[request_id] = "open"
        elif verb == "open attempt":
            self.attempts[request_id, number] = "open"
        elif verb == "close attempt":
            self.attempts[request_id, number] = "ok"
        else:
            self.answers[request_id] = "ok"
            for key, status in self.attempts.items():
                if key[0] == request_id and status == "open":
                    self.attempts[key] = "interrupted"


def do(ledger: Ledger, verb: str, request_id: str, number: int) -> None:
    if verb == "open":
        open_answer(ledger, request_id)
    elif verb == "close":
        close_answer(ledger, request_id)
    elif verb == "open attempt":
        ledger.open_attempt(request_id=request_id, number=number, backend="small")
    else:
        ledger.close_attempt(request_id, number, status="ok", tokens=COUNTED)


def test_every_row_closes_exactly_once_whatever_is_called(url):
    fresh = itertools.count()
    with long_ledger(url) as (ledger, wait):

        @settings(max_examples=150, deadline=None, derandomize=True)
        @given(commands)
        def check(steps: list[tuple[str, int, int]]) -> None:
            prefix, model = f"run{next(fresh)}-", Model()
            for verb, which, number in steps:
                request_id = f"{prefix}{which}"
                if verb == "flush":
                    wait(ledger.flush())
                elif model.allows(verb, request_id, number):
                    do(ledger, verb, request_id, number)
                    model.do(verb, request_id, number)
                elif verb != "open" or model.answers[request_id] == "open":
                    # A closed id opened again is the database's to refuse: tested above.
                    with pytest.raises(LedgerError):
                        do(ledger, verb, request_id, number)
            wait(ledger.flush())
            where = f"WHERE request_id LIKE '{prefix}%'"
            found = ask(url, f"SELECT request_id, status FROM answers {where}")
            assert {row["request_id"]: row["status"] for row in found} == model.answers
            found = ask(url, f"SELECT request_id, number, status FROM attempts {where}")
            assert {(r["request_id"], r["number"]): r["status"] for r in found} == model.attempts

        check()


# -- sums --

counts = st.one_of(st.integers(0, 5000), st.integers(0, LARGEST))
known = st.builds(
    Tokens,
    input=counts,
    cache_read=counts,
    cache_write_5m=counts,
    cache_write_1h=counts,
    output=counts,
)
prices = st.builds(
    Price,
    input=st.integers(0, LARGEST),
    output=st.integers(0, LARGEST),
    cache_read=st.integers(0, LARGEST),
    cache_write_5m=st.integers(0, LARGEST),
    cache_write_1h=st.integers(0, LARGEST),
)
recorded = st.lists(
    st.tuples(
        st.sampled_from(["haiku", "sonnet", "opus"]),
        st.sampled_from(["a", "b"]),
        st.integers(0, 3 * 86_400 - 1),
        prices,
        st.one_of(known, known, st.just(UNKNOWN)),
    ),
    max_size=8,
)


def test_totals_are_the_exact_sums_of_the_rows(url):
    """Sums of several times 2**63 included, where SQL's own sum of integers fails."""
    fresh = itertools.count()
    with long_ledger(url) as (ledger, wait):

        @settings(
            max_examples=80,
            deadline=None,
            derandomize=True,
            suppress_health_check=[HealthCheck.too_slow],
        )
        @given(recorded)
        def check(rows: list[tuple[str, str, int, Price, Tokens]]) -> None:
            # Each example has a year of its own, so that examples do not add up.
            year = datetime(1971 + next(fresh), 1, 1, tzinfo=UTC).timestamp()
            costs: list[int | None] = []
            for number, (tier, workspace, second, price, tokens) in enumerate(rows):
                request_id = f"{year}-{number}"
                open_answer(
                    ledger,
                    request_id,
                    tier=tier,
                    workspace=workspace,
                    price=price,
                    received_at=year + second,
                )
                costs.append(close_answer(ledger, request_id, tokens=tokens))
            namings: list[tuple[Grouping, Callable[[Any], str]]] = [
                ("tier", lambda row: row[0]),
                ("workspace", lambda row: row[1]),
                ("day", lambda row: datetime.fromtimestamp(year + row[2], UTC).date().isoformat()),
            ]
            for by, name in namings:
                found = wait(ledger.totals(by, since=year, until=year + 3 * 86_400))
                groups = sorted({name(row) for row in rows})
                assert [total.name for total in found] == groups
                for total in found:
                    mine = [i for i, row in enumerate(rows) if name(row) == total.name]
                    priced = [cost for i in mine if (cost := costs[i]) is not None]
                    assert total.cost_pico == sum(priced)
                    assert (total.answers, total.unpriced) == (len(mine), len(mine) - len(priced))
                    outputs = [o for i in mine if (o := rows[i][4].output) is not None]
                    assert total.tokens["output"] == (sum(outputs) if outputs else None)
                assert sum(total.cost_pico for total in found) == sum(
                    row["cost_pico"] or 0
                    for row in ask(
                        url,
                        "SELECT cost_pico FROM answers WHERE received_us"
                        f" BETWEEN {int(year * 10**6)} AND {int((year + 3 * 86_400) * 10**6) - 1}",
                    )
                )

        check()


async def test_a_total_of_many_millions_of_dollars_is_exact(url):
    price = Price(
        input=LARGEST,
        output=LARGEST,
        cache_read=LARGEST,
        cache_write_5m=LARGEST,
        cache_write_1h=LARGEST,
    )
    most = Tokens(
        input=LARGEST,
        output=LARGEST,
        cache_read=LARGEST,
        cache_write_5m=LARGEST,
        cache_write_1h=LARGEST - 1,
    )
    async with await start(url) as ledger:
        for number in range(5):
            open_answer(ledger, f"req_{number}", price=price)
            close_answer(ledger, f"req_{number}", tokens=most)
        [total] = await ledger.totals()
        assert total.cost_pico == 5 * (5 * 10**18 - 10**9) > 2**63
        assert total.cost_usd == dollars(5 * (5 * 10**18 - 10**9)) == "24999999.995"


async def test_rows_come_newest_first_in_pages(url):
    async with await start(url) as ledger:
        moments = list(range(25))
        random.Random(1).shuffle(moments)
        for moment in moments:
            workspace = "even" if moment % 2 == 0 else "odd"
            # Two to a second: the id decides between them.
            open_answer(
                ledger,
                f"req_{moment:02}",
                received_at=NOW + moment // 2,
                workspace=workspace,
            )
        close_answer(ledger, "req_07")
        pages: list[str] = []
        after = None
        while page := await ledger.rows(4, after=after):
            pages += [row.request_id for row in page]
            after = pages[-1]
        assert pages == [f"req_{moment:02}" for moment in range(24, -1, -1)]
        evens = await ledger.rows(workspace="even")
        assert len(evens) == 13
        assert [row.request_id for row in await ledger.rows(status="ok")] == ["req_07"]
        assert await ledger.rows(after="req_unknown") == []
        for limit in (0, 1001):
            with pytest.raises(ValueError, match=f"limit: {limit}; accepted: 1 to 1000"):
                await ledger.rows(limit)
        with pytest.raises(ValueError, match="by: 'colour'; accepted: tier, workspace, day"):
            await ledger.totals("colour")  # type: ignore[arg-type]


# -- several at once --


async def test_eight_threads_and_the_loop_write_at_once(url):
    async with await start(url, group_seconds=0.001) as ledger:

        def work(name: str) -> None:
            for number in range(100):
                request_id = f"{name}-{number}"
                open_answer(ledger, request_id)
                ledger.open_attempt(request_id=request_id, number=1, backend="small")
                ledger.close_attempt(request_id, 1, status="ok", tokens=COUNTED)
                close_answer(ledger, request_id)

        threads = [threading.Thread(target=work, args=(f"thread{n}",)) for n in range(8)]
        for thread in threads:
            thread.start()
        work("loop")
        await asyncio.gather(*(ledger.totals() for _ in range(20)))
        await asyncio.gather(*(asyncio.to_thread(thread.join) for thread in threads))
        [total] = await ledger.totals()
        assert (total.answers, total.unpriced) == (900, 0)
        assert ask(url, "SELECT count(*) AS n FROM attempts WHERE status = 'ok'") == [{"n": 900}]


async def test_of_two_closings_at_once_one_wins(url):
    async with await start(url) as ledger:
        refused: list[str] = []
        barrier = threading.Barrier(8)

        def close(request_id: str) -> None:
            barrier.wait()
            try:
                close_answer(ledger, request_id)
            except LedgerError:
                refused.append(request_id)

        for number in range(20):
            open_answer(ledger, f"req_{number}")
            threads = [threading.Thread(target=close, args=(f"req_{number}",)) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert len(refused) == 20 * 7
        await ledger.flush()


# -- leases --


async def test_a_live_servers_rows_are_never_swept(file_url):
    clock = Clock()
    async with (
        await start(file_url, clock=clock) as first,
        await start(file_url, "inst_2", clock=clock) as second,
    ):
        open_answer(first)
        await first.flush()
        clock.now += 14.999
        assert await second.sweep() == 0
        assert await first.sweep() == 0
        close_answer(first)
        await first.flush()
        row = await second.get("req_1")
        assert row is not None
        assert row.status == "ok"


async def test_a_server_does_not_sweep_its_own_rows_even_when_its_lease_ran_out(file_url):
    clock = Clock()
    async with await start(file_url, clock=clock, heartbeat_seconds=600) as ledger:
        open_answer(ledger)
        clock.now += 1000
        assert await ledger.sweep() == 0
        row = await ledger.get("req_1")
        assert row is not None
        assert row.status == "open"


async def test_heartbeats_keep_the_lease_and_sweep(file_url):
    clock = Clock()
    async with await start(file_url, clock=clock, heartbeat_seconds=0.02) as beating:
        open_answer(beating, "alive")
        dead = await start(file_url, "inst_2", clock=clock, heartbeat_seconds=600)
        open_answer(dead, "left")
        await dead.flush()
        for step in range(1, 5):
            clock.now += 10
            await until(
                file_url,
                "SELECT expires_us FROM instances WHERE instance_id = 'inst_1'",
                [{"expires_us": int((NOW + 10 * step + 15) * 10**6)}],
            )
        row, left = await beating.get("alive"), await beating.get("left")
        assert row is not None
        assert left is not None
        assert (row.status, left.status) == ("open", "interrupted")
        await dead.aclose()


async def test_a_server_that_was_only_suspended_still_closes_its_rows(file_url):
    """Its own count replaces what another presumed, once; nobody else's may."""
    clock = Clock()
    suspended = await start(file_url, clock=clock, heartbeat_seconds=600)
    open_answer(suspended)
    suspended.open_attempt(request_id="req_1", number=1, backend="small")
    await suspended.flush()
    clock.now += 60
    async with await start(file_url, "inst_2", clock=clock) as other:
        row = await other.get("req_1")
        assert row is not None
        assert (row.status, row.cost_pico) == ("interrupted", None)
        assert [attempt.status for attempt in row.attempts] == ["interrupted"]
        suspended.close_attempt("req_1", 1, status="ok", tokens=COUNTED)
        cost = close_answer(suspended)
        await suspended.flush()
        row = await other.get("req_1")
        assert row is not None
        assert (row.status, row.cost_pico) == ("ok", cost)
        assert [attempt.status for attempt in row.attempts] == ["ok"]
    await suspended.aclose()


async def test_closing_the_ledger_marks_what_is_open_and_ends_the_lease(file_url):
    ledger = await start(file_url)
    open_answer(ledger)
    open_answer(ledger, "req_2")
    close_answer(ledger, "req_2")
    await ledger.aclose()
    rows = {row["request_id"]: row["status"] for row in ask(file_url, "SELECT * FROM answers")}
    assert rows == {"req_1": "interrupted", "req_2": "ok"}
    [instance] = ask(file_url, "SELECT * FROM instances")
    assert instance["closed_us"] == int(NOW * 10**6)
    with pytest.raises(StoreError, match="is closed"):
        open_answer(ledger, "req_3")


async def test_an_instance_id_is_used_once(url):
    await (await start(url)).aclose()
    with pytest.raises(StoreError, match="instance id 'inst_1' was used before"):
        await start(url)


async def test_a_failing_disk_is_seen_by_the_next_opening(path, file_url):
    ledger = await start(file_url, group_seconds=0.001, retry_seconds=0.02)
    open_answer(ledger)
    await ledger.flush()
    moved = path.with_name("moved.db")
    path.rename(moved)
    close_answer(ledger)
    with pytest.raises(StoreError):
        await ledger.flush()
    with pytest.raises(StoreError) as caught:
        open_answer(ledger, "req_2")
    assert caught.value.status == 503
    moved.rename(path)
    await ledger.flush()
    open_answer(ledger, "req_2")
    row = await ledger.get("req_1")
    assert row is not None
    assert row.status == "ok"
    await ledger.aclose()


# -- the documentation --


def test_every_column_is_documented():
    text = DOCS.read_text(encoding="utf-8")
    missing = [
        f"{table.name}.{column.name}"
        for table in metadata.sorted_tables
        for column in table.columns
        if f"`{column.name}`" not in text.split(f"## Table `{table.name}`")[1].split("\n## ")[0]
    ]
    assert missing == []
