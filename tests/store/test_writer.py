"""The writing thread: groups, failures of the disk, rows at fault. Failures are real ones."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, event, insert, select, update
from sqlalchemy import bindparam as bind

from renga.store import Operation, RejectedRow, StoreError, sqlite_url
from renga.store.database import Database, open_database
from renga.store.schema import workspaces
from renga.store.writer import Writer

ADD = insert(workspaces)
CHANGE = update(workspaces).where(workspaces.c.workspace == bind("at_workspace"))


def add(name: object, at: object = 0) -> Operation:
    return Operation(0, ADD, {"workspace": name, "created_us": at}, f"workspace {name}")


def change(name: str, at: int) -> Operation:
    return Operation(1, CHANGE, {"at_workspace": name, "created_us": at}, f"change of {name}")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "renga.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    database = open_database(sqlite_url(path))
    yield database
    database.close()


@pytest.fixture
def commits(database: Database) -> list[str]:
    seen: list[str] = []
    event.listen(database.engine, "commit", lambda _: seen.append("commit"))
    event.listen(database.engine, "rollback", lambda _: seen.append("rollback"))
    return seen


def content(path: Path) -> dict[str, int]:
    plain = sqlite3.connect(path)
    found = dict(plain.execute("SELECT workspace, created_us FROM workspaces").fetchall())
    plain.close()
    return found


def wait_until(true: object, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.005)


def test_what_is_queued_together_is_committed_together(path, database, commits):
    writer = Writer(database, group_seconds=30, group_size=1000)
    writer.call(lambda _: None).result(10)  # which makes the writer known
    commits.clear()
    for number in range(500):
        writer.put(add(f"w{number}"))
    assert content(path) == {}
    writer.flush().result(10)
    assert len(content(path)) == 500
    assert commits == ["commit"]
    writer.close()


def test_a_group_is_committed_when_its_time_is_up(path, database):
    writer = Writer(database, group_seconds=0.05)
    writer.put(add("alone"))
    wait_until(lambda: content(path) == {"alone": 0})
    writer.close()


def test_a_full_group_does_not_wait(path, database):
    writer = Writer(database, group_seconds=600, group_size=10)
    for number in range(10):
        writer.put(add(f"w{number}"))
    wait_until(lambda: len(content(path)) == 10)
    writer.close()


def test_a_row_is_changed_after_it_is_added_in_whatever_order_kinds_come(path, database, commits):
    writer = Writer(database, group_seconds=600)
    writer.call(lambda _: None).result(10)
    commits.clear()
    for number in range(20):
        writer.put(add(f"w{number}"))
        writer.put(change(f"w{number}", number))
    writer.flush().result(10)
    assert content(path) == {f"w{number}": number for number in range(20)}
    assert commits == ["commit"]
    writer.close()


def test_closing_writes_what_waits_and_refuses_the_rest(path, database):
    writer = Writer(database, group_seconds=600)
    writer.put(add("last"))
    writer.close()
    assert content(path) == {"last": 0}
    for late in (lambda: writer.put(add("late")), writer.flush, lambda: writer.call(str)):
        with pytest.raises(StoreError, match="is closed"):
            late()


@pytest.mark.parametrize(
    "bad",
    [add("w1"), add("null", None), add("huge", 2**70), add("\ud800"), add({"a": 1})],
    ids=["twice", "missing", "too large", "not text", "not a type"],
)
def test_a_row_at_fault_is_reported_and_the_others_are_written(path, database, bad, caplog):
    writer = Writer(database, group_seconds=600)
    for row in (add("w0"), add("w1"), bad, add("w2")):
        writer.put(row)
    with pytest.raises(RejectedRow) as caught:
        writer.flush().result(10)
    assert bad.label in caught.value.message
    assert set(content(path)) == {"w0", "w1", "w2"}
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    writer.put(add("after"), begins=True)
    writer.close()
    assert "after" in content(path)


def test_a_change_that_matches_nothing_is_reported(path, database):
    writer = Writer(database, group_seconds=600)
    writer.put(add("there"))
    writer.put(change("there", 5))
    writer.put(change("nowhere", 5))
    with pytest.raises(RejectedRow, match="change of nowhere: no open row"):
        writer.flush().result(10)
    assert content(path) == {"there": 5}
    writer.close()


def test_a_lost_file_stops_beginnings_keeps_endings_and_heals(path, database, caplog):
    writer = Writer(database, group_seconds=0.005, retry_seconds=0.02)
    moved = path.with_name("moved.db")
    path.rename(moved)
    writer.put(add("begun before"), begins=True)
    with pytest.raises(StoreError, match="moved, deleted or replaced"):
        writer.flush().result(10)
    with pytest.raises(StoreError, match="moved, deleted or replaced"):
        writer.put(add("refused"), begins=True)
    writer.put(change("begun before", 9))
    moved.rename(path)
    wait_until(lambda: writer.failure is None)
    writer.put(add("begun after"), begins=True)
    writer.flush().result(10)
    assert content(path) == {"begun before": 9, "begun after": 0}
    assert [r.levelno for r in caplog.records] == [logging.ERROR, logging.WARNING]
    writer.close()


def test_rows_wait_while_another_program_holds_the_database(path):
    database = open_database(sqlite_url(path) + "?timeout=0.05")
    writer = Writer(database, group_seconds=0.005, retry_seconds=0.02)
    writer.put(add("before"), begins=True)
    writer.flush().result(10)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    writer.put(add("begun"), begins=True)
    with pytest.raises(StoreError, match="is locked by another program"):
        writer.flush().result(10)
    with pytest.raises(StoreError, match="is locked by another program"):
        writer.put(add("refused"), begins=True)
    writer.put(change("begun", 9))
    other.execute("ROLLBACK")
    other.close()
    wait_until(lambda: writer.failure is None)
    writer.close()
    assert content(path) == {"before": 0, "begun": 9}
    database.close()


def test_rows_wait_while_the_file_may_not_grow(path, database):
    """The same as a full disk, by SQLite's own limit; the real thing is below."""
    writer = Writer(database, group_seconds=0.005, retry_seconds=0.02)
    with database.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    limit = [pages + 20]

    @event.listens_for(database.engine, "begin")
    def _limit(connection: Connection) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {limit[0]}")

    accepted = 0
    with pytest.raises(StoreError, match="cannot grow: the disk is full"):
        while True:
            writer.put(add(f"{accepted} " + "x" * 1000), begins=True)
            accepted += 1
            writer.flush().exception(10)
    limit[0] = 2**30
    wait_until(lambda: writer.failure is None)
    writer.close()
    assert len(content(path)) == accepted > 2


def test_closing_over_a_lost_file_says_how_many_rows_are_lost(path, database):
    writer = Writer(database, group_seconds=600)
    path.rename(path.with_name("moved.db"))
    for number in range(3):
        writer.put(add(f"w{number}"))
    with pytest.raises(StoreError, match="3 rows were not written"):
        writer.close()


def test_a_queue_that_does_not_drain_refuses_beginnings_only(database):
    writer = Writer(database, group_seconds=600, max_waiting=5)
    for number in range(5):
        writer.put(add(f"w{number}"), begins=True)
    with pytest.raises(StoreError, match="too slow: 5 rows wait"):
        writer.put(add("sixth"), begins=True)
    writer.put(add("an ending"))
    writer.close()


def test_a_job_runs_again_and_again_and_its_failure_is_seen(path, database):
    writer = Writer(database, retry_seconds=0.01)
    runs: list[float] = []

    def beat(connection: Connection) -> None:
        runs.append(time.monotonic())
        connection.execute(ADD, {"workspace": f"beat {len(runs)}", "created_us": 0})

    writer.every(0.01, beat)
    wait_until(lambda: len(runs) >= 3)
    path.rename(path.with_name("moved.db"))
    wait_until(lambda: writer.failure is not None)
    path.with_name("moved.db").rename(path)
    wait_until(lambda: writer.failure is None)
    writer.close()


def test_a_call_gives_its_own_failure_back_and_harms_nothing(path, database):
    writer = Writer(database)
    failing = writer.call(lambda connection: connection.execute(ADD, {"workspace": None}))
    with pytest.raises(Exception, match="NOT NULL"):
        failing.result(10)
    assert (
        writer.call(lambda connection: connection.exec_driver_sql("SELECT 7").scalar()).result(10)
        == 7
    )
    assert writer.failure is None
    writer.close()


async def test_a_cancelled_wait_does_not_stop_the_thread(path, database):
    writer = Writer(database, group_seconds=0.001)
    for number in range(200):
        writer.put(add(f"w{number}"))
        waiting = asyncio.ensure_future(asyncio.wrap_future(writer.flush()))
        await asyncio.sleep(0)
        waiting.cancel()
    await asyncio.wrap_future(writer.flush())
    assert len(content(path)) == 200
    writer.close()


FULL_DISK = """
    import resource, sys
    from renga.store import StoreError
    from renga.store.database import Database, open_database
    from renga.store.writer import Operation, Writer
    from renga.store.schema import workspaces
    from sqlalchemy import insert

    def add(name):
        return Operation(0, insert(workspaces), {"workspace": name, "created_us": 0}, name)

    database = open_database(sys.argv[1])
    writer = Writer(database, group_seconds=0.005, retry_seconds=0.05)
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
    accepted = 0
    try:
        while True:
            writer.put(add(f"{accepted} " + "x" * 1000), begins=True)
            accepted += 1
            if accepted % 10 == 0:
                writer.flush().exception(10)
    except StoreError as error:
        print(error.message)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    writer.flush().result(10)
    writer.put(add("after"), begins=True)
    writer.close()
    print(accepted + 1)
"""


def test_a_full_disk_refuses_beginnings_and_loses_nothing(path):
    """No file of the child may grow over 400 kB until it raises its own limit again."""
    code = textwrap.dedent(FULL_DISK)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, sqlite_url(path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    message, accepted = done.stdout.splitlines()
    assert message.startswith(f"database {path} ")
    assert "disk" in message
    assert len(content(path)) == int(accepted) > 10


def test_a_call_sees_every_row_that_was_put_before_it(path, database):
    """Also one that was put while an earlier group was being committed."""
    writer = Writer(database, group_seconds=0)
    writer.call(lambda _: None).result(10)
    held, late = threading.Event(), threading.Event()

    def hold(_: Connection) -> None:
        held.set()
        late.wait(10)

    event.listen(database.engine, "commit", hold)
    writer.put(add("first"))
    assert held.wait(10)
    writer.put(add("second"))
    seen = writer.call(lambda c: {row.workspace for row in c.execute(select(workspaces))})
    late.set()
    assert seen.result(10) == {"first", "second"}
    writer.close()
