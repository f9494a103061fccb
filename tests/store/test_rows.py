"""Groups of the ledger's rows: written in fewer statements, and yet the same rows."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renga.store import Operation, RejectedRow, sqlite_url
from renga.store.database import open_database
from renga.store.rows import Rank, add_instance, folded, operation
from renga.store.writer import Writer

OPENING = {"instance_id": "i1", "status": "open"}
CLOSING = {"at_instance_id": "i1", "closed_us": 7, "closed_by": "i1", "input_tokens": 3}


def answer(number: int) -> Operation:
    values = {
        **OPENING,
        **dict.fromkeys(("workspace", "tier", "model_requested", "model", "service"), "x"),
        "request_id": f"r{number}",
        "received_us": 1,
        **{
            f"{name}_price_pico": 1
            for name in ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output")
        },
    }
    return operation(Rank.OPEN_ANSWER, values, f"answer {number}")


def attempt(number: int, which: int) -> Operation:
    names = {"request_id": f"r{number}", "number": which, "backend": "b", "opened_us": 2}
    return operation(Rank.OPEN_ATTEMPT, {**OPENING, **names}, f"attempt {which} of {number}")


def closing_of(row: Operation, status: str = "ok") -> Operation:
    """What closes the row that `row` opens."""
    names = {"at_request_id": row.values["request_id"]}
    rank = Rank.CLOSE_ANSWER
    if row.rank == Rank.OPEN_ATTEMPT:
        rank, names["at_number"] = Rank.CLOSE_ATTEMPT, row.values["number"]
    return operation(rank, {**CLOSING, **names, "status": status}, f"closing of {row.label}")


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with one server and no rows."""
    path = tmp_path_factory.mktemp("fresh") / "renga.db"
    database = open_database(sqlite_url(path))
    with database.writing.begin() as connection:
        add_instance(connection, "i1", now_us=1, expires_us=9)
    database.close()
    return path


def written(
    fresh: Path, groups: list[list[Operation]], *, fold: bool
) -> list[list[tuple[Any, ...]]]:
    """The tables after `groups`, each committed as one."""
    path = Path(shutil.copy(fresh, fresh.with_name("used.db")))
    database = open_database(sqlite_url(path))
    writer = Writer(database, group_seconds=600, fold=folded if fold else list)
    for group in groups:
        for row in group:
            writer.put(row)
        writer.flush().result()
    writer.close()
    database.close()
    plain = sqlite3.connect(path)
    tables = [
        plain.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall()
        for name in ("answers", "attempts")
    ]
    plain.close()
    return tables


ROWS = [row for n in range(3) for row in (answer(n), attempt(n, 1), attempt(n, 2))]
# For each row: the group in which it is opened, how much later it is closed, 9 for never.
TIMES = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from([0, 0, 1, 9])), min_size=9, max_size=9
)


@settings(max_examples=8, deadline=None)
@given(times=TIMES)
def test_rows_that_are_opened_and_closed_in_one_group_are_as_if_written_twice(fresh, times):
    groups: list[list[Operation]] = [[], [], []]
    begun = 0
    for row, (opened, later) in zip(ROWS, times, strict=True):
        if row.rank == Rank.OPEN_ANSWER:
            begun = opened
        at = max(opened, begun)  # an attempt is none without its answer
        groups[at].append(row)
        if later < 9:
            groups[at + later].append(closing_of(row))
    assert written(fresh, groups, fold=True) == written(fresh, groups, fold=False)


def test_an_answer_of_one_group_is_one_insert():
    row, other = answer(1), attempt(1, 1)
    group = [row, other, closing_of(other), closing_of(row)]
    assert [op.rank for op in folded(group)] == [Rank.ANSWER, Rank.ATTEMPT]
    assert folded([row, other]) == [row, other]
    assert folded([closing_of(row)]) == [closing_of(row)]


def test_a_row_that_is_opened_twice_is_still_a_fault(fresh):
    row = answer(1)
    group = [row, row, closing_of(row), answer(2)]
    with pytest.raises(RejectedRow, match="answer 1"):
        written(fresh, [group], fold=True)
    plain = sqlite3.connect(fresh.with_name("used.db"))
    found = plain.execute("SELECT request_id, status FROM answers ORDER BY 1").fetchall()
    assert found == [("r1", "ok"), ("r2", "open")]
    plain.close()
