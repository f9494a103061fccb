"""SQLite: a file in a folder of ours, written ahead, one writer at a time.

Owns its settings, and that the file in use is the one at its path.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL

from renga.store.dialect import BUSY_SECONDS
from renga.store.errors import StoreError, explain

_WRITES: Final = "renga_writes"


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file, for any path (spaces, `?` and `#` included)."""
    return URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)


class Sqlite:
    """The Dialect of a file. Its folder and the file are made where they are missing."""

    def __init__(self, url: URL) -> None:
        if not url.database or url.database == ":memory:":
            raise StoreError(
                f"database url {url.render_as_string()!r} names no file; records must outlive us",
                "accepted: sqlite:////absolute/path/renga.db",
            )
        self.name = url.database
        self._url = url
        self._file: tuple[int, int] | None = None
        self._busy_seconds = _busy_seconds(url)

    def connect(self) -> Engine:
        """See Dialect."""
        _make_folder(self.name)
        engine = create_engine(self._url, pool_size=4, max_overflow=4)
        event.listen(engine, "connect", partial(_set_up, busy_seconds=self._busy_seconds))
        event.listen(engine, "begin", _begin)
        return engine

    def reading(self, engine: Engine) -> Engine:
        """See Dialect: a transaction sees one state from its first read on."""
        return engine

    def writing(self, engine: Engine) -> Engine:
        """See Dialect: transactions take the write lock at their beginning.

        One that reads first and writes later could find the database changed in between and fail
        at once, without the busy wait.
        """
        return engine.execution_options(**{_WRITES: True})

    def examine(self, engine: Engine) -> None:
        """See Dialect; sets the write-ahead log, once in a file's life."""
        # A raw connection is outside of any transaction, and its errors are the driver's own.
        try:
            raw = engine.raw_connection()
            try:
                cursor = raw.cursor()
                # SQLite does not wait for locks here, so two first openers need the loop.
                _until_free(lambda: cursor.execute("PRAGMA journal_mode = WAL"), self._busy_seconds)
                cursor.close()
            finally:
                raw.close()
        except engine.dialect.loaded_dbapi.Error as error:
            raise explain(error, self.name) from error
        self._file = _file_identity(self.name)

    def lock_schema(self, connection: Connection) -> None:
        """See Dialect: the transaction has the write lock."""

    def lock_writes(self, connection: Connection) -> None:
        """See Dialect: the transaction has the write lock."""

    def look(self) -> None:
        """See Dialect: a write-ahead log goes on quietly in a file that was moved away."""
        if _file_identity(self.name) != self._file:
            raise StoreError(
                f"database {self.name} was moved, deleted or replaced while it was in use",
                "put it back, or start renga again; what it could not write yet is lost then",
            )

    def check(self, engine: Engine) -> None:
        """See Dialect."""
        with engine.connect() as connection:
            found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
        if found != "ok":
            raise StoreError(
                f"database {self.name} is damaged: {' '.join(str(found).split())}",
                "move the file away and keep it; `sqlite3 FILE .recover` saves what is readable",
            )

    def clock_us(self, connection: Connection) -> None:
        """See Dialect: who shares a file shares a machine, and its clock."""


def _file_identity(name: str) -> tuple[int, int] | None:
    """Device and inode of the database file; None where there is no such file."""
    try:
        found = os.stat(name)
    except OSError:
        return None
    return found.st_dev, found.st_ino


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


def _busy_seconds(url: URL) -> float:
    """How long a lock is waited for: `timeout` in the URL is the driver's own word for it."""
    said = url.query.get("timeout")
    try:
        return BUSY_SECONDS if said is None else float(str(said))
    except ValueError as error:
        raise StoreError(
            f"database url: timeout={said!r}", "accepted: seconds, such as timeout=5"
        ) from error


def _set_up(connection: Any, _record: object, *, busy_seconds: float) -> None:
    # The driver would begin and commit on its own rules; transactions are ours (see _begin).
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {int(busy_seconds * 1000)}")
    # FULL: what a flush has acknowledged survives a power cut too. Grouped commits pay for it.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _until_free(act: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
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
