"""PostgreSQL as the store: opened by many, refused in one line where it is unfit, away and back."""

from __future__ import annotations

import asyncio
import multiprocessing
import multiprocessing.synchronize
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, insert, select

from renga.ledger import Ledger
from renga.store import Store, StoreError
from renga.store.database import find_dialect, open_database
from renga.store.postgresql import check_server
from renga.store.schema import HEAD, answers, metadata, workspaces
from tests.postgres import PASSWORD, Postgres
from tests.test_ledger import close_answer, open_answer

NOW = 1_800_000_000.0
SHORT = "&options=-c%20lock_timeout%3D200"
"""Locks are waited for shortly."""


def refusal(url: str) -> StoreError:
    """What an open says: one line, a hint, and never a password."""
    with pytest.raises(StoreError) as caught:
        open_database(url)
    for text in (caught.value.message, caught.value.hint):
        assert text
        assert "\n" not in text
        assert PASSWORD not in text
        assert "hush" not in text
    return caught.value


def named(url: str) -> str:
    """The database's own name."""
    found = re.search(r"@[^/]*/(\w+)", url)
    assert found is not None
    return found[1]


@pytest.fixture
def empty_url(postgres: Postgres) -> Iterator[str]:
    name = postgres.create()
    yield postgres.url(name)
    postgres.drop(name)


def test_migrations_make_exactly_the_schema(empty_url):
    opened = open_database(empty_url)
    with opened.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    opened.close()


def _open_at(url: str, barrier: multiprocessing.synchronize.Barrier) -> None:
    barrier.wait()
    open_database(url).close()


def test_three_processes_open_one_new_database_at_once(postgres, empty_url):
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(3)
    openers = [context.Process(target=_open_at, args=(empty_url, barrier)) for _ in range(3)]
    for opener in openers:
        opener.start()
    for opener in openers:
        opener.join()
    assert [opener.exitcode for opener in openers] == [0] * 3
    assert postgres.run("SELECT * FROM alembic_version", database=named(empty_url)) == [(HEAD,)]


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_a_url_may_have_the_names_that_others_use(postgres_url, scheme):
    url = postgres_url.replace("postgresql://", f"{scheme}://")
    opened = open_database(url)
    assert opened.name.startswith("postgresql://postgres@/")
    opened.close()


def test_what_a_url_says_of_the_connection_is_passed_on(postgres, postgres_url):
    url = postgres.tcp_url(named(postgres_url)) + "?application_name=mine&sslmode=prefer"
    opened = open_database(url)
    with opened.engine.connect() as connection:
        assert connection.exec_driver_sql("SHOW application_name").scalar() == "mine"
        assert connection.exec_driver_sql("SHOW lock_timeout").scalar() == "5s"
    opened.close()


def test_a_password_is_in_no_message(postgres):
    error = refusal(postgres.tcp_url("postgres", password="hush"))
    assert "cannot be reached" in error.message
    assert 'password authentication failed for user "postgres"' in error.message


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://u:hush@127.0.0.1:1/renga", "Connection refused"),
        ("postgresql://u:hush@no-such-host.invalid/renga", "no-such-host.invalid"),
        ("postgresql://u:hush@127.0.0.1:1/renga?sslmode=often", "sslmode"),
        ("postgresql://u:hush@127.0.0.1:1/renga?colour=red", "colour"),
        ("postgresql://u:hush@/renga?host=/no/such/folder", "No such file or directory"),
    ],
)
def test_a_server_that_cannot_be_reached_is_named_with_the_reason(url, message):
    assert message in refusal(url).message


def test_a_database_that_is_not_there_is_named(postgres):
    assert 'database "nowhere" does not exist' in refusal(postgres.url("nowhere")).message


def test_without_the_driver_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    error = refusal("postgresql://u:hush@127.0.0.1/renga")
    assert "the driver of PostgreSQL is not installed" in error.message
    assert error.hint == "pip install 'renga[postgresql]'"


@pytest.mark.parametrize("version", [(13, 22), (9, 6), (0,)])
def test_a_server_that_its_makers_have_given_up_is_refused(version):
    check_server("d", (14, 0), "UTF8")
    with pytest.raises(StoreError, match=r"is on PostgreSQL [\d.]+; accepted: 14 or newer"):
        check_server("d", version, "UTF8")


def test_a_database_of_another_encoding_is_refused(postgres):
    name = postgres.create(options="ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'")
    assert "has the encoding LATIN1; accepted: UTF8" in refusal(postgres.url(name)).message
    postgres.drop(name)


@pytest.mark.parametrize("table", ["bookmarks (url text)", "alembic_version (version_num text)"])
def test_another_programs_database_is_refused_and_left_alone(postgres, empty_url, table):
    name = named(empty_url)
    postgres.run(f"CREATE TABLE {table}", database=name)
    if "alembic" in table:  # they use the same tool for their own schema
        postgres.run("INSERT INTO alembic_version VALUES ('0004')", database=name)
    assert "belongs to another program" in refusal(empty_url).message
    assert postgres.run("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'",
                        database=name) == [(1,)]  # fmt: skip


def test_a_newer_schema_is_refused(postgres, postgres_url):
    postgres.run("UPDATE alembic_version SET version_num = '9999'", database=named(postgres_url))
    assert "was written by a newer renga (schema 9999" in refusal(postgres_url).message


def test_a_role_that_may_only_read_is_refused(postgres, postgres_url, empty_url):
    for url in (postgres_url, empty_url):
        name = named(url)
        postgres.run(
            "DROP ROLE IF EXISTS reader",
            "CREATE ROLE reader LOGIN",
            "GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader",
            database=name,
        )
        error = refusal(url.replace("postgres@", "reader@"))
        assert "cannot be written by this role" in error.message
        postgres.run("DROP OWNED BY reader", "DROP ROLE reader", database=name)


def test_a_database_that_is_read_only_is_refused(postgres, postgres_url):
    name = named(postgres_url)
    postgres.run(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    assert "is read-only" in refusal(postgres_url).message


@contextmanager
def locked(url: str, table: str) -> Iterator[None]:
    """Another program holds a table."""
    with psycopg.connect(url) as other:
        other.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
        yield
        other.rollback()


def test_a_database_that_another_program_holds_is_refused_at_start(postgres_url):
    with locked(postgres_url, "alembic_version"):
        assert "is locked by another program" in refusal(postgres_url + SHORT).message
    open_database(postgres_url).close()


async def begun(url: str, **given: float) -> Ledger:
    return await Ledger.start(
        url, clock=lambda: NOW, instance_id="inst_1", group_seconds=0.001, **given
    )


async def refused(ledger: Ledger, words: str) -> None:
    """The group does not get through, beginnings are refused, and endings are kept."""
    open_answer(ledger, "begun")
    with pytest.raises(StoreError, match=words) as caught:
        await ledger.flush()
    assert "\n" not in caught.value.message
    with pytest.raises(StoreError, match=words) as caught:
        open_answer(ledger, "refused")
    assert caught.value.status == 503
    close_answer(ledger, "begun")


async def written(ledger: Ledger) -> None:
    async with asyncio.timeout(30):
        while ledger.store.writer.failure is not None:
            await asyncio.sleep(0.01)
    await ledger.flush()
    row = await ledger.get("begun")
    assert row is not None
    assert row.status == "ok"
    open_answer(ledger, "after")
    await ledger.aclose()


async def test_rows_wait_while_another_program_holds_their_table(postgres_url):
    ledger = await begun(postgres_url + SHORT, retry_seconds=0.02)
    with locked(postgres_url, "answers"):
        await refused(ledger, "is locked by another program")
    await written(ledger)


FULL = """CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$"""


async def test_rows_wait_while_the_servers_disk_is_full(postgres, postgres_url):
    ledger = await begun(postgres_url, retry_seconds=0.02)
    postgres.run(
        FULL,
        "CREATE TRIGGER full_disk BEFORE INSERT ON answers EXECUTE FUNCTION full_disk()",
        database=named(postgres_url),
    )
    await refused(ledger, "cannot grow: the disk is full")
    postgres.run("DROP TRIGGER full_disk ON answers", database=named(postgres_url))
    await written(ledger)


async def test_rows_wait_while_the_database_is_read_only(postgres, postgres_url):
    ledger = await begun(postgres_url, retry_seconds=0.02)
    name = named(postgres_url)
    cut = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    postgres.run(f"ALTER DATABASE {name} SET default_transaction_read_only = on", cut)
    await refused(ledger, "is read-only")
    postgres.run(f"ALTER DATABASE {name} RESET default_transaction_read_only", cut)
    await written(ledger)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
async def test_a_server_that_goes_and_comes_back_finds_every_row(postgres, postgres_url, how):
    ledger = await begun(postgres_url, retry_seconds=0.02)
    open_answer(ledger, "before")
    await ledger.flush()
    postgres.stop(how)
    try:
        await refused(ledger, "cannot be reached")
        with pytest.raises(StoreError, match="cannot be reached"):
            await ledger.rows()
    finally:
        postgres.start()
    close_answer(ledger, "before")
    await written(ledger)
    async with await Store.open(postgres_url) as store:
        found = await store.read(
            lambda c: dict(c.execute(select(answers.c.request_id, answers.c.status)).all())
        )
    assert found == {"before": "ok", "begun": "ok", "after": "interrupted"}


async def test_a_restart_between_requests_is_not_noticed(postgres, postgres_url):
    ledger = await begun(postgres_url)
    open_answer(ledger, "before")
    await ledger.flush()
    postgres.restart()
    close_answer(ledger, "before")
    await ledger.flush()
    assert [row.status for row in await ledger.rows()] == ["ok"]
    await ledger.aclose()


async def test_two_transactions_in_each_others_way_both_get_through(postgres_url):
    """A deadlock: the one that the server gives up is run again."""
    async with await Store.open(postgres_url) as one, await Store.open(postgres_url) as other:
        names = ("a", "b")
        add = insert(workspaces)
        await one.write(
            lambda c: c.execute(add, [{"workspace": n, "created_us": 0} for n in names])
        )
        met = [asyncio.Event(), asyncio.Event()]
        loop = asyncio.get_running_loop()
        runs: list[int] = []

        def locking(me: int) -> Callable[[Connection], None]:
            def act(connection: Connection) -> None:
                runs.append(me)
                for step in (0, 1):
                    which = workspaces.c.workspace == names[me ^ step]
                    query = select(workspaces).where(which).with_for_update()
                    connection.execute(query).one()
                    loop.call_soon_threadsafe(met[me].set)
                    if step == 0:
                        asyncio.run_coroutine_threadsafe(met[1 - me].wait(), loop).result()

            return act

        stores = (one, other)
        await asyncio.gather(*(stores[n].write(locking(n), alone=False) for n in (0, 1)))
        assert sorted(runs) in ([0, 0, 1], [0, 1, 1])


async def test_a_read_sees_one_state_and_changes_nothing(postgres_url):
    async with await Store.open(postgres_url) as store:
        with pytest.raises(StoreError, match="is read-only"):
            await store.read(
                lambda c: c.execute(insert(workspaces).values(workspace="w", created_us=0))
            )
        again = await Store.open(postgres_url)

        def act(connection: Connection) -> tuple[int, int]:
            before = len(connection.execute(select(workspaces)).all())
            again.writer.call(
                lambda c: c.execute(insert(workspaces).values(workspace="w", created_us=0))
            ).result(10)
            return before, len(connection.execute(select(workspaces)).all())

        assert await store.read(act) == (0, 0)
        await again.aclose()


# -- several servers --


async def test_servers_whose_clocks_differ_by_hours_do_not_sweep_each_other(postgres_url):
    ahead = await Ledger.start(postgres_url, clock=lambda: NOW + 7200, instance_id="ahead")
    behind = await Ledger.start(postgres_url, clock=lambda: NOW - 7200, instance_id="behind")
    for ledger in (ahead, behind):
        open_answer(ledger, f"of {ledger.instance_id}")
        await ledger.flush()
    assert await ahead.sweep() == await behind.sweep() == 0
    for ledger in (ahead, behind):
        close_answer(ledger, f"of {ledger.instance_id}")
        await ledger.flush()
    assert {row.status for row in await ahead.rows()} == {"ok"}
    await ahead.aclose()
    await behind.aclose()


async def test_what_a_dead_server_left_is_marked_by_another(postgres, postgres_url):
    dead = await Ledger.start(
        postgres_url, clock=lambda: NOW, instance_id="dead", lease_seconds=0.05
    )
    open_answer(dead, "left")
    await dead.flush()
    alive = await Ledger.start(
        postgres_url, clock=lambda: NOW, instance_id="alive", heartbeat_seconds=0.02
    )
    async with asyncio.timeout(20):
        while [row.status for row in await alive.rows()] != ["interrupted"]:
            await asyncio.sleep(0.01)
    await alive.aclose()
    await dead.aclose()


async def test_a_server_that_was_late_itself_sweeps_nobody_at_first(postgres, postgres_url):
    """After the database was away every lease has run out, and nobody is dead."""
    one = await Ledger.start(
        postgres_url, clock=lambda: NOW, instance_id="one", heartbeat_seconds=600
    )
    open_answer(one, "running")
    await one.flush()
    other = await Ledger.start(
        postgres_url, clock=lambda: NOW, instance_id="other", heartbeat_seconds=600
    )
    postgres.run("UPDATE instances SET expires_us = 1", database=named(postgres_url))
    await other.store.write(other._beat)
    row = await one.get("running")
    assert row is not None
    assert row.status == "open"
    await other.store.write(other._beat)  # and from then on as ever
    row = await one.get("running")
    assert row is not None
    assert row.status == "interrupted"
    await one.aclose()
    await other.aclose()


def test_a_database_is_shown_as_where_it_is_and_as_whom():
    shown = {
        "postgresql://u:hush@h:77/d?sslmode=require": "postgresql://u@h:77/d",
        "postgres://h/d?password=hush": "postgresql://h/d",
        "postgresql:///d?host=/run/pg": "postgresql:///run/pg/d",
        "postgresql://u:hu%40sh@[::1]/d": "postgresql://u@::1/d",
    }
    assert {url: find_dialect(url).name for url in shown} == shown
