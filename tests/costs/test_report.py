"""Reports beside what was put into the ledger, on both databases."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from renga.costs.files import write_parquet, write_plot
from renga.costs.report import COUNTS, MONEY, Report, dimensions, period, report
from renga.errors import SetupError
from renga.keys import Keys
from renga.ledger import Grouping, Ledger
from renga.prices import PICO, Tokens, dollars
from renga.retention import remove
from renga.store.sums import Period
from tests.costs.ledgers import CARD, DAY, NOW, Clock, Told, filled


@pytest.fixture
async def ledger(store_url: str, clock: Clock) -> AsyncIterator[Ledger]:
    async with await Ledger.start(store_url, clock=clock, instance_id="inst_1") as ledger:
        yield ledger


@pytest.fixture
def clock() -> Clock:
    return Clock()


def pico(text: str | None) -> int:
    return int(Decimal(text or "0") * PICO)


def agrees(found: Report, told: Told, *by: str) -> None:
    expected = told.by(*by)
    rows = {tuple(row[name] for name in by): row for row in found.rows}
    assert rows.keys() == {tuple(map(str, group)) for group in expected}
    for group, sums in expected.items():
        row = rows[tuple(map(str, group))]
        told_pico = (sums["cost"], sums["own_cost"])
        assert (pico(row["cost_usd"]), pico(row["own_cost_usd"])) == told_pico
        assert pico(row["saved_by_cache_usd"]) == sums["uncached"] - sums["cost"]
        assert pico(row["saved_by_batch_usd"]) == sums["full"] - sums["cost"]
        for name in ("answers", "attempts", "unpriced", "input_tokens", "cache_read_tokens"):
            assert (row[name] or 0) == sums[name]
        assert (row["thinking_tokens"] or 0) == sums["thinking_tokens"]


async def test_every_combination_adds_up_to_what_was_put_in_also_when_half_is_purged(
    ledger: Ledger, clock: Clock
):
    told = await filled(ledger, clock)
    combinations = [("tier",), ("service",), ("tier", "workspace", "service"), ("key", "status")]
    for by in combinations:
        agrees(await report(ledger.store, dimensions(",".join(by)), Period()), told, *by)
    groupings: tuple[Grouping, ...] = ("tier", "workspace", "day")
    totals = [await ledger.totals(grouping) for grouping in groupings]
    before = [await report(ledger.store, dimensions(",".join(by)), Period()) for by in combinations]
    removed = await remove(ledger.store, int(NOW // DAY + 2) * DAY * 10**6)
    assert 0 < removed < len(told.rows)
    after = [await report(ledger.store, dimensions(",".join(by)), Period()) for by in combinations]
    assert after == before
    assert [await ledger.totals(grouping) for grouping in groupings] == totals


async def test_days_are_dates_and_can_be_chosen(ledger: Ledger, clock: Clock):
    told = await filled(ledger, clock)
    found = await report(ledger.store, ("day",), Period())
    days = [row["day"] for row in found.rows]
    assert days == sorted({_date(row["day"]) for row in told.rows})
    chosen = await report(ledger.store, ("day",), period(days[1], days[2], None))
    assert list(chosen.rows) == list(found.rows[1:3])
    other = await report(ledger.store, ("workspace",), period(days[1], None, "other"))
    assert [row["workspace"] for row in other.rows] == ["other"]
    wanted = [r for r in told.rows if r["workspace"] == "other" and _date(r["day"]) >= days[1]]
    assert other.total["answers"] == len(wanted)


def _date(day: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(day * DAY, UTC).date().isoformat()


async def test_a_key_is_told_by_its_name_and_what_nobody_knows_is_nothing(
    ledger: Ledger, clock: Clock
):
    created = (await Keys(ledger.store, clock=clock).create("=cmd()", "team")).key
    for number, key in enumerate((created.key_id, "key_gone", None)):
        _answer(ledger, f"req_{number}", key)
    await ledger.flush()
    found = await report(ledger.store, ("key",), Period())
    assert {row["key"] for row in found.rows} == {f"=cmd() ({created.key_id})", "key_gone", ""}
    assert {row["own_cost_usd"] for row in found.rows} == {None}
    values = list(csv.DictReader(io.StringIO(found.csv())))
    # No spreadsheet takes a name for a formula.
    assert f"'=cmd() ({created.key_id})" in {row["key"] for row in values}
    assert {row["own_cost_usd"] for row in values} == {""}


def _answer(ledger: Ledger, request_id: str, key_id: str | None = None, **changes: Any) -> None:
    values: dict[str, Any] = {
        "request_id": request_id,
        "workspace": "team",
        "key_id": key_id,
        "tier": "haiku",
        "model_requested": "haiku",
        "model": "renga-haiku-1",
        "backend": None,
        "service": "standard",
        "price": CARD["haiku"],
        "received_at": NOW,
    }
    ledger.open_answer(**(values | changes))
    largest = Tokens(
        input=10**9, cache_read=0, cache_write_5m=0, cache_write_1h=0, output=0, reused=0,
        thinking=0,
    )  # fmt: skip
    ledger.close_answer(request_id, status="ok", tokens=largest, served_tier="haiku")


async def test_sums_beyond_64_bits_are_exact(ledger: Ledger):
    for number in range(30):
        price = CARD["haiku"]
        dear = type(price)(input=10**9, output=1, cache_read=1, cache_write_5m=1, cache_write_1h=1)
        _answer(ledger, f"req_{number}", price=dear)
    await ledger.flush()
    [row] = (await report(ledger.store, ("tier",), Period())).rows
    assert row["cost_usd"] == dollars(30 * 10**18) == "30000000"


@pytest.fixture
def small() -> Report:
    row = dict.fromkeys(COUNTS, 3) | dict.fromkeys(MONEY, "0.000000000001")
    first = {"tier": "haiku", "day": "2027-01-15", **row, "own_cost_usd": None}
    second = {"tier": "sonnet", "day": "2027-01-16", **row, "cost_usd": "12345678901234.5"}
    return Report(("tier", "day"), (first, second), row)


def test_csv_and_json_hold_what_the_rows_hold(small: Report):
    values = list(csv.DictReader(io.StringIO(small.csv())))
    assert [row["cost_usd"] for row in values] == ["0.000000000001", "12345678901234.5"]
    assert json.loads(small.json())["rows"] == list(small.rows)


def test_parquet_holds_money_exactly(small: Report, tmp_path: Path):
    write_parquet(small, tmp_path / "costs.parquet")
    table = pyarrow.parquet.read_table(tmp_path / "costs.parquet")
    assert table.column_names == list(small.columns)
    assert table["cost_usd"].to_pylist() == [
        Decimal("0.000000000001"),
        Decimal("12345678901234.5"),
    ]
    assert table["own_cost_usd"].to_pylist()[0] is None
    assert table["answers"].to_pylist() == [3, 3]


@pytest.mark.parametrize("by", [("tier", "day"), ("tier",), ()])
def test_a_picture_is_drawn(small: Report, tmp_path: Path, by: Any):
    write_plot(Report(by, small.rows, small.total), tmp_path / "costs.png")
    assert (tmp_path / "costs.png").read_bytes().startswith(b"\x89PNG")
    write_plot(Report(by, (), small.total), tmp_path / "empty.png")


def test_a_file_that_cannot_be_written_is_one_line(small: Report, tmp_path: Path):
    with pytest.raises(SetupError, match=r"--parquet: .*gone.* cannot be written"):
        write_parquet(small, tmp_path / "gone" / "costs.parquet")
    with pytest.raises(SetupError, match=r"--plot: .* cannot be written"):
        write_plot(small, tmp_path / "costs.strange")


@pytest.mark.parametrize("text", ["", "tier,", "tier,tier", "price", "tier;day"])
def test_dimensions_that_there_are_not_are_refused(text: str):
    with pytest.raises(SetupError, match=r"--by: .*; accepted: some of tier, key, day"):
        dimensions(text)


def test_days_that_are_none_are_refused():
    for since, until in (("2026-02-30", None), (None, "yesterday")):
        with pytest.raises(SetupError, match="accepted: a day, such as 2026-01-31"):
            period(since, until, None)
    with pytest.raises(SetupError, match="is behind"):
        period("2026-02-02", "2026-02-01", None)
