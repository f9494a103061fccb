"""The check finds nothing in what the ledger wrote, and everything that was changed by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

import pytest
from sqlalchemy import text

from renga.costs.check import SHOWN, check
from renga.ledger import Ledger
from renga.prices import Tokens
from renga.retention import remove
from tests.costs.ledgers import CARD, DAY, NOW, Clock, filled

COUNTED = Tokens(
    input=1000, cache_read=20, cache_write_5m=300, cache_write_1h=4, output=50, reused=600,
    thinking=12,
)  # fmt: skip


@pytest.fixture
async def ledger(store_url: str) -> AsyncIterator[Ledger]:
    async with await Ledger.start(store_url, clock=Clock(), instance_id="inst_1") as ledger:
        yield ledger


async def test_what_the_ledger_wrote_adds_up(ledger: Ledger):
    clock = Clock()
    told = await filled(ledger, clock)
    found = await check(ledger.store, CARD)
    assert (found.first, found.differences) == ([], 0)
    assert found.answers == len(told.rows)
    assert found.attempts == sum(row["attempts"] for row in told.rows)
    assert found.total.cost == sum(row["cost"] for row in told.rows)
    await remove(ledger.store, int(NOW // DAY + 2) * DAY * 10**6)
    again = await check(ledger.store, CARD)
    assert (again.first, again.total) == ([], found.total)
    assert again.answers < found.answers


async def test_nothing_adds_up_to_nothing(ledger: Ledger):
    found = await check(ledger.store, CARD)
    assert (found.answers, found.differences, found.total.cost) == (0, 0, 0)


CHANGES = {
    "a cost": (
        "UPDATE answers SET cost_pico = cost_pico + 1 WHERE request_id = 'req_ok'",
        "answer req_ok: costs 1635000001 pico-dollars; tokens times prices are 1635000000",
    ),
    "a cost that is gone": (
        "UPDATE answers SET cost_pico = NULL WHERE request_id = 'req_ok'",
        "answer req_ok: costs None pico-dollars",
    ),
    "a cost where nobody counted": (
        "UPDATE answers SET output_tokens = NULL, thinking_tokens = NULL"
        " WHERE request_id = 'req_ok'",
        "tokens times prices are None",
    ),
    "a price": (
        "UPDATE answers SET output_price_pico = output_price_pico + 1 WHERE request_id = 'req_ok'",
        "answer req_ok: costs",
    ),
    "a price and its cost, of a batch": (
        "UPDATE answers SET input_price_pico = 1000000, cache_read_price_pico = 100000,"
        " cache_write_5m_price_pico = 1250000, cache_write_1h_price_pico = 2000000,"
        " output_price_pico = 5000000, cost_pico = cost_pico * 2 WHERE request_id = 'req_batch'",
        "answer req_batch: is a batch and pays the whole price",
    ),
    "the share of a batch": (
        "UPDATE answers SET price_percent = 100 WHERE request_id = 'req_batch'",
        "answer req_batch: pays 100 % of the price; a batch pays 50 %",
    ),
    "the share of no batch": (
        "UPDATE answers SET price_percent = 50 WHERE request_id = 'req_ok'",
        "answer req_ok: pays 50 % of the price, and is no batch",
    ),
    "the tokens of an answer, and its cost": (
        "UPDATE answers SET output_tokens = output_tokens + 1, cost_pico = cost_pico + 5000000"
        " WHERE request_id = 'req_ok'",
        "answer req_ok: output_tokens are 51; its attempts come to 50",
    ),
    "the tokens of an attempt": (
        "UPDATE attempts SET input_tokens = 7, reused_tokens = 0"
        " WHERE request_id = 'req_ok' AND number = 2",
        "answer req_ok: input_tokens are 1000; its attempts come to 7",
    ),
    "an attempt that failed and now did not": (
        "UPDATE attempts SET status = 'ok', output_tokens = 9 WHERE request_id = 'req_ok'"
        " AND number = 1",
        "answer req_ok: output_tokens are 50; its attempts come to 59",
    ),
    "an attempt that is gone": (
        "DELETE FROM attempts WHERE request_id = 'req_batch'",
        "answer req_batch: input_tokens are 1000; its attempts come to 0",
    ),
    "classes that overlap": (
        "UPDATE answers SET reused_tokens = 1001 WHERE request_id = 'req_ok'",
        "answer req_ok: tokens.reused: 1001; accepted: at most tokens.input (1000)",
    ),
    "thinking beyond the output": (
        "UPDATE attempts SET thinking_tokens = 51 WHERE request_id = 'req_batch'",
        "attempt 1 of req_batch: tokens.thinking: 51; accepted: at most tokens.output (50)",
    ),
    "tokens below nothing": (
        "UPDATE attempts SET cache_read_tokens = -1 WHERE request_id = 'req_ok' AND number = 1",
        "attempt 1 of req_ok: tokens.cache_read: -1",
    ),
    "a closing time": (
        "UPDATE answers SET closed_us = NULL WHERE request_id = 'req_ok'",
        "answer req_ok: is ok, and has no closing time",
    ),
    "a closing time of an attempt": (
        "UPDATE attempts SET closed_us = NULL WHERE request_id = 'req_ok' AND number = 2",
        "attempt 2 of req_ok: is ok, and has no closing time",
    ),
    "an open row that was closed": (
        "UPDATE answers SET closed_us = 1 WHERE request_id = 'req_open'",
        "answer req_open: is open, and has a closing time",
    ),
    "an open attempt under a closed answer": (
        "UPDATE attempts SET status = 'open', closed_us = NULL, own_cost_pico = NULL,"
        " input_tokens = NULL, cache_read_tokens = NULL, cache_write_5m_tokens = NULL,"
        " cache_write_1h_tokens = NULL, output_tokens = NULL, reused_tokens = NULL,"
        " thinking_tokens = NULL WHERE request_id = 'req_ok' AND number = 1",
        "attempt 1 of req_ok: is open under an answer that is closed",
    ),
    "a status": (
        "UPDATE answers SET status = 'done' WHERE request_id = 'req_ok'",
        "answer req_ok: status is 'done'",
    ),
    "a service": (
        "UPDATE answers SET service = 'fast' WHERE request_id = 'req_ok'",
        "answer req_ok: service is 'fast'",
    ),
    "an own cost": (
        "UPDATE attempts SET own_cost_pico = -5 WHERE request_id = 'req_ok' AND number = 2",
        "attempt 2 of req_ok: own cost is -5 pico-dollars",
    ),
    "a sum of purged rows": (
        "UPDATE rollups SET thinking_tokens = output_tokens + 1",
        "rollup of day 20831, tier haiku: 51 thinking tokens are more than 50 of output",
    ),
    "a count of purged rows": (
        "UPDATE rollups SET unpriced = 2",
        "rollup of day 20831, tier haiku: 2 of 1 answers have no cost",
    ),
}


async def three(ledger: Ledger) -> None:
    """A good answer after a failed try, one of a batch, an open one, and one that was purged."""
    for name, service in (
        ("old", "standard"),
        ("ok", "standard"),
        ("batch", "batch"),
        ("open", "standard"),
    ):
        ledger.open_answer(
            request_id=f"req_{name}",
            workspace="team",
            key_id=None,
            tier="haiku",
            model_requested="haiku",
            model="renga-haiku-1",
            backend=None,
            service="batch" if service == "batch" else "standard",
            price=CARD["haiku"],
            received_at=NOW - 2 * DAY if name == "old" else NOW,
        )
        ledger.open_attempt(request_id=f"req_{name}", number=1, backend="small")
        if name == "open":
            continue
        number = 1
        if name == "ok":
            nothing = Tokens(**dict.fromkeys(Tokens.__dataclass_fields__, 0))
            ledger.close_attempt("req_ok", 1, status="error", tokens=nothing, own_cost_pico=3)
            ledger.open_attempt(request_id="req_ok", number=2, backend="small")
            number = 2
        ledger.close_attempt(f"req_{name}", number, status="ok", tokens=COUNTED)
        ledger.close_answer(f"req_{name}", status="ok", tokens=COUNTED, served_tier="haiku")
    await ledger.flush()
    assert await remove(ledger.store, int(NOW // DAY) * DAY * 10**6) == 1


async def test_whatever_is_changed_by_hand_is_found_and_named(ledger: Ledger):
    await three(ledger)
    assert (await check(ledger.store, CARD)).first == []
    for name, (change, words) in CHANGES.items():
        kept = await ledger.store.write(_saved)
        await ledger.store.write(partial(_changed, change))
        found = await check(ledger.store, CARD)
        assert any(words in line for line in found.first), (name, found.first)
        assert found.differences >= 1
        await ledger.store.write(partial(_restored, kept))
    assert (await check(ledger.store, CARD)).first == []


TABLES = ("answers", "attempts", "rollups")


def _saved(connection):
    return {
        name: [row._asdict() for row in connection.execute(text(f"SELECT * FROM {name}"))]
        for name in TABLES
    }


def _changed(change, connection):
    connection.execute(text(change))


def _restored(kept, connection):
    for name in reversed(TABLES):
        if name != "answers":
            connection.execute(text(f"DELETE FROM {name}"))
    connection.execute(text("DELETE FROM answers"))
    for name in TABLES:
        for row in kept[name]:
            columns = ", ".join(row)
            values = ", ".join(f":{column}" for column in row)
            connection.execute(text(f"INSERT INTO {name} ({columns}) VALUES ({values})"), row)


async def test_an_attempt_without_its_answer_is_found(tmp_path):
    import sqlite3

    from renga.store import sqlite_url

    path = tmp_path / "renga.db"
    async with await Ledger.start(sqlite_url(path), clock=Clock(), instance_id="inst_1") as ledger:
        await three(ledger)
        # PostgreSQL does not let go of an answer that has attempts; a SQLite client may.
        plain = sqlite3.connect(path)
        plain.execute("DELETE FROM answers WHERE request_id = 'req_ok'")
        plain.commit()
        plain.close()
        found = await check(ledger.store, CARD)
    assert "attempt 1 of req_ok: its answer is not there" in found.first


async def test_the_first_are_named_and_all_are_counted(ledger: Ledger):
    await filled(ledger, Clock())
    await ledger.store.write(
        lambda connection: connection.execute(
            text("UPDATE answers SET cost_pico = cost_pico + 1 WHERE cost_pico IS NOT NULL")
        )
    )
    found = await check(ledger.store, CARD)
    assert len(found.first) == SHOWN < found.differences
