"""A connection that breaks during a commit: what was written is there once, whatever happened."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, delete, insert, select, update

from renga.store import Operation, Store, StoreError
from renga.store.database import open_database
from renga.store.schema import workspaces, writers
from renga.store.sqlite import sqlite_url
from renga.store.writer import Writer
from tests.postgres import Postgres
from tests.store.cutting import Cutter, Fate, cutting

COUNT = workspaces.c.created_us
fresh = itertools.count()


def add(name: str) -> Operation:
    return Operation(0, insert(workspaces), {"workspace": name, "created_us": 0}, name)


def count_up(connection: Connection, name: str) -> int:
    """A change that is wrong where it is made twice, or not at all."""
    which = workspaces.c.workspace == name
    connection.execute(update(workspaces).where(which).values(created_us=COUNT + 1))
    return int(connection.execute(select(COUNT).where(which)).scalar_one())


@pytest.fixture
def cutter(postgres: Postgres) -> Iterator[Cutter]:
    with cutting(postgres.port) as one:
        yield one


@pytest.fixture
def cut_url(postgres: Postgres, postgres_url: str, cutter: Cutter) -> str:
    name = postgres_url.partition("@/")[2].partition("?")[0]
    return postgres.tcp_url(name).replace(f":{postgres.port}/", f":{cutter.port}/")


FATES = st.lists(st.sampled_from(["pass", "lost", "unanswered", "late"]), min_size=1, max_size=4)


def test_rows_and_calls_are_there_once_however_their_commits_break(cut_url, cutter):
    told: list[str] = []
    with asyncio.Runner() as runner:
        store = runner.run(Store.open(cut_url, group_seconds=0.001, retry_seconds=0.01))

        @settings(
            max_examples=15,
            deadline=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=[HealthCheck.function_scoped_fixture],
        )
        @given(of_rows=FATES, of_calls=FATES)
        def check(of_rows: list[Fate], of_calls: list[Fate]) -> None:
            runner.run(write(store, f"run {next(fresh)}", of_rows, of_calls))

        async def write(store: Store, name: str, rows: list[Fate], calls: list[Fate]) -> None:
            cutter.next(*rows)
            for number in range(3):
                store.writer.put(add(f"{name}-{number}"))
                await asyncio.sleep(0.003)
            async with asyncio.timeout(20):
                while not await written(store, told):
                    await asyncio.sleep(0.005)
            cutter.next(*calls)
            made = [await called(store, f"{name}-0") for _ in range(4)]
            # A call that said it was made was, one that failed was not: no number is missing.
            assert [n for n in made if n is not None] == list(range(1, 5 - made.count(None)))
            cutter.next()
            found = await store.read(
                lambda c: c.execute(
                    select(workspaces.c.workspace, COUNT)
                    .where(workspaces.c.workspace.startswith(f"{name}-"))
                    .order_by(workspaces.c.workspace)
                ).all()
            )
            counted = 4 - made.count(None)
            assert found == [(f"{name}-0", counted), (f"{name}-1", 0), (f"{name}-2", 0)]

        check()
        assert cutter.cut > 10
        assert all("cannot be reached" in line and "\n" not in line for line in told)
        runner.run(store.aclose())


async def written(store: Store, told: list[str]) -> bool:
    try:
        await store.flush()
    except StoreError as error:
        told.append(error.message)
        return False
    return True


async def called(store: Store, name: str) -> int | None:
    try:
        return await store.write(lambda connection: count_up(connection, name))
    except StoreError:
        return None


def test_who_waits_for_a_commit_of_which_nobody_knows_is_told_so(cut_url, cutter):
    database = open_database(cut_url)
    writer = Writer(database, retry_seconds=0.01, doubt_seconds=0.1)
    writer.put(add("w"))
    writer.flush().result(10)
    cutter.next("gone")
    with pytest.raises(StoreError, match="whether it was done is not known"):
        writer.call(lambda connection: count_up(connection, "w")).result(10)
    with pytest.raises(StoreError, match="cannot be reached"):
        writer.put(add("refused"), begins=True)
    with pytest.raises(StoreError, match="cannot be reached"):
        writer.flush().result(10)
    with pytest.raises(StoreError, match="cannot be reached"):
        writer.call(lambda connection: count_up(connection, "w")).result(10)
    writer.put(add("an ending"))
    with pytest.raises(StoreError, match="1 rows were not written"):
        writer.close()
    database.close()


async def test_a_writer_whose_row_was_dropped_goes_on(store_url):
    async with await Store.open(store_url, group_seconds=0.001) as store:
        store.writer.put(add("one"))
        await store.flush()
        await store.write(lambda connection: connection.execute(delete(writers)))
        store.writer.put(add("two"))
        await store.flush()
        names = await store.read(lambda c: set(c.execute(select(workspaces.c.workspace)).scalars()))
        assert names == {"one", "two"}


async def test_a_writer_leaves_no_row_behind(store_url):
    async with await Store.open(store_url) as store:
        store.writer.put(add("one"))
        await store.flush()
        marks = select(writers.c.writer_id, writers.c.commits)
        assert [n for _, n in await store.read(lambda c: c.execute(marks).all())] == [1]
    async with await Store.open(store_url) as store:
        assert await store.read(lambda c: c.execute(marks).all()) == []


async def test_looking_at_a_database_writes_nothing(tmp_path: Path):
    async with await Store.open(sqlite_url(tmp_path / "renga.db")) as store:
        await store.read(lambda c: c.execute(select(writers)).all())
    assert not (tmp_path / "renga.db-wal").exists()
