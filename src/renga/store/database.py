"""Opening the database: the URL, the connection settings, the migrations.

Owns "a database that cannot be used stops the start with one line and a hint". Does not know rows,
threads or the event loop.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from renga.store.errors import StoreError, explain
from renga.store.schema import HEAD

BUSY_SECONDS: Final = 5.0
"""How long a transaction waits for another process's before it fails; below the shortest lease."""

_WRITES: Final = "renga_writes"
_MIGRATIONS: Final = Path(__file__).parent / "migrations"
_NEWER_HINT: Final = "install the newer renga, or name another file"


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file, for any path (spaces, `?` and `#` included)."""
    return URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)


def open_engine(url: str) -> Engine:
    """An engine on a database that exists, can be written and is at `HEAD`.

    The folder and the file are made where they are missing; migrations run under the write lock, so
    that several processes may open one new file at once.

    Raises:
        StoreError: the URL is of another kind, or the file is unreadable, unwritable, damaged,
        somebody
            else's, or newer than this program.
    """
    parsed = _parse(url)
    name = str(parsed.database)
    _make_folder(name)
    engine = create_engine(parsed, pool_size=4, max_overflow=4)
    event.listen(engine, "connect", _set_up)
    event.listen(engine, "begin", _begin)
    try:
        _switch_to_wal(engine)
        _migrate(engine, name)
    except (SQLAlchemyError, OSError) as error:
        engine.dispose()
        raise explain(error, name) from error
    except StoreError:
        engine.dispose()
        raise
    return engine


def writing(engine: Engine) -> Engine:
    """The same engine, whose transactions take the write lock at their beginning.

    A transaction that reads first and writes later could find the database changed in between and
    fail at once, without the busy wait.
    """
    return engine.execution_options(**{_WRITES: True})


def check(engine: Engine) -> None:
    """Read the whole database and raise StoreError if it is damaged; seconds on a large one."""
    name = str(engine.url.database)
    try:
        with engine.connect() as connection:
            found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
    except SQLAlchemyError as error:
        raise explain(error, name) from error
    if found != "ok":
        raise StoreError(
            f"database {name} is damaged: {' '.join(str(found).split())}",
            "move the file away and keep it; `sqlite3 FILE .recover` saves what is readable",
        )


def file_identity(name: str) -> tuple[int, int] | None:
    """Device and inode of the database file; None where there is no such file."""
    try:
        found = os.stat(name)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _parse(url: str) -> URL:
    hint = "accepted: sqlite:////absolute/path/renga.db"
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise StoreError(f"database url {url!r} is not a URL", hint) from error
    shown = parsed.render_as_string(hide_password=True)
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite"):
        raise StoreError(
            f"database url {shown!r}: {parsed.drivername!r} is not supported yet", hint
        )
    if not parsed.database or parsed.database == ":memory:":
        raise StoreError(f"database url {shown!r} names no file; records must outlive us", hint)
    return parsed


def _make_folder(name: str) -> None:
    if name.startswith("file:"):
        return
    try:
        # 0o700: workspaces, models and spending are nobody else's business.
        Path(name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"folder {Path(name).parent} cannot be made: {error.strerror}",
            "name a folder in which this user may write (RENGA_HOME)",
        ) from error


def _set_up(connection: Any, _record: object) -> None:
    # The driver would begin and commit on its own rules; transactions are ours (see _begin).
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")
    # FULL: what a flush has acknowledged survives a power cut too. Grouped commits pay for it.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _switch_to_wal(engine: Engine) -> None:
    """Set the write-ahead log, once in a file's life.

    SQLite does not wait for locks here, so two first openers need the loop.
    """
    # A raw connection is outside of any transaction, and its errors are the driver's own.
    try:
        raw = engine.raw_connection()
        try:
            cursor = raw.cursor()
            _until_free(lambda: cursor.execute("PRAGMA journal_mode = WAL"))
            cursor.close()
        finally:
            raw.close()
    except engine.dialect.loaded_dbapi.Error as error:
        raise explain(error, str(engine.url.database)) from error


def _until_free(act: Callable[[], object]) -> None:
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            act()
            return
        except Exception as error:
            locked = getattr(error, "sqlite_errorname", "").startswith(
                ("SQLITE_BUSY", "SQLITE_LOCKED")
            )
            if not locked or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _migrate(engine: Engine, name: str) -> None:
    """Bring the schema to HEAD under the write lock; nothing to do on most starts."""
    with writing(engine).begin() as connection:
        at = _revision(connection, name)
        if at == HEAD:
            # The lock alone is also given on a file that cannot be written.
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = version_num")
        else:
            _upgrade(connection, at, name)


def _revision(connection: Connection, name: str) -> str | None:
    """The migration that the database is at, None for a new file."""
    tables = set(inspect(connection).get_table_names())
    if "alembic_version" in tables:
        found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
        return str(found) if found is not None else None
    if tables:
        raise StoreError(
            f"database {name} belongs to another program (it has a table {min(tables)!r})",
            "name another file; renga makes it",
        )
    return None


def _upgrade(connection: Connection, at: str | None, name: str) -> None:
    # Alembic takes as long to load as everything else here; only a change of schema needs it.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if at is not None and at not in known:
        raise StoreError(
            f"database {name} was written by a newer renga (schema {at}, this one knows {HEAD})",
            _NEWER_HINT,
        )
    command.upgrade(config, HEAD)
