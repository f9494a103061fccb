"""Opening a database: new, old, foreign, damaged, read-only, by many at once."""

from __future__ import annotations

import multiprocessing
import multiprocessing.synchronize
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import renga.store
from renga.keys import Keys
from renga.ledger import Ledger
from renga.store import Store, StoreError, sqlite_url
from renga.store.database import find_dialect, open_database
from renga.store.schema import HEAD, metadata
from tests.postgres import Postgres

MIGRATIONS = Path(renga.store.__file__).parent / "migrations"


@pytest.fixture(params=["sqlite", "postgresql"])
def any_new_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without any table, of one kind and then of the other."""
    if request.param == "sqlite":
        yield sqlite_url(tmp_path / "renga.db")
        return
    server: Postgres = request.getfixturevalue("postgres")
    name = server.create()
    yield server.url(name)
    server.drop(name)


def tables(path: Path) -> set[str]:
    with sqlite3.connect(path) as plain:
        found = {
            row[0] for row in plain.execute("SELECT name FROM sqlite_master WHERE type='table'")
        }
    plain.close()
    return found


def run_sql(path: Path, *statements: str) -> None:
    plain = sqlite3.connect(path)
    for statement in statements:
        plain.execute(statement)
    plain.commit()
    plain.close()


def refusal(url: str) -> StoreError:
    with pytest.raises(StoreError) as caught:
        open_database(url)
    assert "\n" not in caught.value.message
    assert caught.value.hint
    assert "\n" not in caught.value.hint
    return caught.value


def test_a_new_file_and_its_folder_are_made(tmp_path):
    path = tmp_path / "state" / "deep" / "renga.db"
    open_database(sqlite_url(path)).close()
    assert tables(path) == {*metadata.tables, "alembic_version"}
    assert path.parent.stat().st_mode & 0o077 == 0


def test_a_second_open_keeps_what_is_there_and_does_not_load_alembic(tmp_path):
    url = sqlite_url(tmp_path / "renga.db")
    open_database(url).close()
    run_sql(
        tmp_path / "renga.db",
        "INSERT INTO workspaces (workspace, created_us) VALUES ('kept', 1)",
    )
    code = (
        "import sys\nfrom renga.store.database import open_database\n"
        f"engine = open_database({url!r}).engine\nassert 'alembic' not in sys.modules\n"
        "with engine.connect() as c: print(c.exec_driver_sql("
        "'SELECT workspace FROM workspaces').scalar())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "kept\n"


def test_migrations_make_exactly_the_schema(tmp_path):
    engine = open_database(sqlite_url(tmp_path / "renga.db")).engine
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


# What stood in databases of released versions, by the schema that they had.
LEFT = {
    "0001": (
        "INSERT INTO instances VALUES ('inst_1', 1, 1, 1, NULL)",
        "INSERT INTO answers (request_id, instance_id, workspace, key_id, tier, served_tier,"
        " model_requested, model, backend, service, status, stop_reason, input_tokens,"
        " cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens, output_tokens,"
        " reused_tokens, input_price_pico, cache_read_price_pico, cache_write_5m_price_pico,"
        " cache_write_1h_price_pico, output_price_pico, cost_pico, received_us, first_token_us,"
        " closed_us, closed_by) VALUES ('req_1', 'inst_1', 'default', NULL, 'haiku', 'haiku',"
        " 'claude-haiku-4-5', 'renga-haiku-1', 'small', 'standard', 'ok', 'end_turn', 12, 0, 0, 0,"
        " 5, 0, 1000000, 100000, 1250000, 2000000, 5000000, 37000000, 1790000000000000,"
        " 1790000000100000, 1790000000200000, 'inst_1')",
        "INSERT INTO attempts (request_id, number, instance_id, backend, status, output_tokens,"
        " opened_us) VALUES ('req_1', 1, 'inst_1', 'small', 'ok', 5, 1790000000000000)",
        "INSERT INTO answers (request_id, instance_id, workspace, tier, model_requested, model,"
        " service, status, input_price_pico, cache_read_price_pico, cache_write_5m_price_pico,"
        " cache_write_1h_price_pico, output_price_pico, received_us) VALUES ('req_2', 'inst_1',"
        " 'default', 'haiku', 'm', 'm', 'standard', 'open', 1, 1, 1, 1, 1, 1790000001000000)",
        "INSERT INTO workspaces (workspace, created_us) VALUES ('team', 3)",
        "INSERT INTO keys (key_id, name, workspace, lookup, salt, digest, created_us, disabled_us)"
        " VALUES ('key_1', 'laptop', 'team', 'abc', 'salt', 'digest', 4, NULL)",
    ),
    "0002": ("UPDATE attempts SET thinking_tokens = 2",),
    "0003": (
        "INSERT INTO files (file_id, workspace, state, filename, mime_type, size_bytes, created_us)"
        " VALUES ('file_1', 'team', 'there', 'a.txt', 'text/plain', 3, 5)",
    ),
}


@pytest.mark.parametrize("released", sorted(LEFT))
async def test_a_database_of_a_released_renga_is_brought_up_with_its_rows(any_new_url, released):
    left = [sql for schema, rows in LEFT.items() if schema <= released for sql in rows]
    dialect = find_dialect(any_new_url)
    engine = dialect.connect()
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    with dialect.writing(engine).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, released)
        for sql in left:
            connection.exec_driver_sql(sql)
    engine.dispose()

    opened = open_database(any_new_url)
    with opened.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        thinking = connection.exec_driver_sql("SELECT thinking_tokens FROM attempts").scalar()
        stored = connection.exec_driver_sql("SELECT filename FROM files").scalars().all()
    opened.close()
    assert thinking == (None if released == "0001" else 2)
    assert stored == (["a.txt"] if released == "0003" else [])
    async with await Ledger.start(any_new_url, clock=lambda: 1.8e9, instance_id="new") as ledger:
        found = {row.request_id: row for row in await ledger.rows()}
        # The server of then is long gone: what it left open is marked by this start.
        assert {name: row.status for name, row in found.items()} == {
            "req_1": "ok",
            "req_2": "interrupted",
        }
        assert (found["req_1"].cost_usd, found["req_1"].tokens.output) == ("0.000037", 5)
        assert [attempt.cause for attempt in found["req_1"].attempts] == [None]
        keys = await Keys(ledger.store, clock=lambda: 1.8e9).list()
        assert [(key.key_id, key.name, key.workspace) for key in keys] == [
            ("key_1", "laptop", "team")
        ]


def test_head_is_the_newest_migration():
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_a_migration_that_fails_leaves_nothing_behind(tmp_path):
    path = tmp_path / "renga.db"
    run_sql(path, "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
    run_sql(path, "CREATE TABLE keys (in_the_way INTEGER)")
    assert "failed" in refusal(sqlite_url(path)).message
    assert tables(path) == {"alembic_version", "keys"}


def test_any_path_can_be_named(tmp_path):
    path = tmp_path / "a b?c#d%20é" / "renga.db"
    open_database(sqlite_url(path)).close()
    assert path.is_file()


def _open_at(url: str, barrier: multiprocessing.synchronize.Barrier) -> None:
    barrier.wait()
    open_database(url).close()


def test_five_processes_open_one_new_file_at_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(5)
    url = sqlite_url(tmp_path / "renga.db")
    openers = [context.Process(target=_open_at, args=(url, barrier)) for _ in range(5)]
    for opener in openers:
        opener.start()
    for opener in openers:
        opener.join()
    assert [opener.exitcode for opener in openers] == [0] * 5
    assert tables(tmp_path / "renga.db") == {*metadata.tables, "alembic_version"}


def test_the_log_is_written_ahead_and_synced(tmp_path):
    engine = open_database(sqlite_url(tmp_path / "renga.db")).engine
    with engine.connect() as connection:
        ask = connection.exec_driver_sql
        assert ask("PRAGMA journal_mode").scalar() == "wal"
        assert ask("PRAGMA synchronous").scalar() == 2
        assert ask("PRAGMA foreign_keys").scalar() == 1
    engine.dispose()


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "renga.db"
    path.write_bytes(b"these are notes, not a database. " * 1000)
    before = path.read_bytes()
    error = refusal(sqlite_url(path))
    assert error.message == f"database {path} is not a SQLite database"
    assert path.read_bytes() == before


def test_a_damaged_schema_is_refused(tmp_path):
    path = tmp_path / "renga.db"
    open_database(sqlite_url(path)).close()
    content = bytearray(path.read_bytes())
    content[100:4096] = b"\xff" * 3996
    path.write_bytes(content)
    assert refusal(sqlite_url(path)).message == f"database {path} is damaged"


async def test_damage_deeper_in_the_file_is_found_by_check(tmp_path):
    path = tmp_path / "renga.db"
    open_database(sqlite_url(path)).close()
    run_sql(
        path,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)"
        " INSERT INTO workspaces (workspace, created_us) SELECT 'workspace number ' || i, i FROM n",
    )
    async with await Store.open(sqlite_url(path)) as store:
        await store.check()
    content = bytearray(path.read_bytes())
    content[-200_000:-100_000] = b"\xff" * 100_000
    path.write_bytes(content)
    async with await Store.open(sqlite_url(path)) as store:
        with pytest.raises(StoreError, match="is damaged"):
            await store.check()


def test_another_programs_database_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "bookmarks.db"
    run_sql(path, "CREATE TABLE bookmarks (url TEXT)")
    assert (
        "belongs to another program (it has a table 'bookmarks')"
        in refusal(sqlite_url(path)).message
    )
    assert tables(path) == {"bookmarks"}


def test_a_newer_schema_is_refused(tmp_path):
    path = tmp_path / "renga.db"
    open_database(sqlite_url(path)).close()
    run_sql(path, "UPDATE alembic_version SET version_num = '9999'")
    error = refusal(sqlite_url(path))
    assert f"written by a newer renga (schema 9999, this one knows {HEAD})" in error.message


def test_a_database_that_another_program_holds_is_refused_at_start(tmp_path):
    path = tmp_path / "renga.db"
    open_database(sqlite_url(path)).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        error = refusal(sqlite_url(path) + "?timeout=0.1")
        assert error.message == f"database {path} is locked by another program"
        other.execute("ROLLBACK")
    open_database(sqlite_url(path)).close()


def test_a_read_only_database_is_refused(tmp_path):
    path = tmp_path / "renga.db"
    open_database(sqlite_url(path)).close()
    # Opened read-only by URI, because file modes do not bind root.
    error = refusal(f"sqlite:///file:{path}?mode=ro&uri=true")
    assert error.message.endswith("cannot be written")


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder closed to root too")
def test_a_folder_that_cannot_be_written_is_refused():
    assert refusal(sqlite_url(Path("/proc/renga.db"))).message.endswith("cannot be opened")
    error = refusal(sqlite_url(Path("/proc/state/renga.db")))
    assert error.message.startswith("folder /proc/state cannot be made")


def test_a_file_where_the_folder_should_be_is_refused(tmp_path):
    (tmp_path / "state").write_text("in the way")
    error = refusal(sqlite_url(tmp_path / "state" / "renga.db"))
    assert error.message.startswith(f"folder {tmp_path / 'state'} cannot be made")


def test_a_folder_where_the_file_should_be_is_refused(tmp_path):
    assert refusal(sqlite_url(tmp_path)).message == f"database {tmp_path} cannot be opened"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("not a url", "database url 'not a url' is not a URL"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:////renga.db?timeout=soon", "timeout='soon'"),
        ("mysql://user:hush@host/renga", "'mysql' is not supported"),
        ("postgresql//user:hush@host/renga", "'postgresql//user:...' is not a URL"),
        ("postgresql://user:hush@host:port/renga", "'postgresql:...' is not a URL"),
        ("postgresql://user:hu@hush@host/renga", "its password holds an @"),
    ],
)
def test_a_url_that_does_not_work_is_refused_without_its_password(url, message):
    error = refusal(url)
    assert message in error.message
    assert "hush" not in error.message


def test_the_caller_is_not_told_where_the_database_is(tmp_path):
    error = refusal(sqlite_url(tmp_path))
    body = error.envelope("req_1")
    assert error.status == 503
    assert body["error"]["type"] == "api_error"
    assert str(tmp_path) not in str(body)
