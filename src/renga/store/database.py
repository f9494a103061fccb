"""Opening the database: the URL, the kind of database, the migrations.

Owns "a database that cannot be used stops the start with one line and a hint". Does not know rows,
threads or the event loop, nor what one kind does otherwise than another: that is its dialect's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, inspect, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from renga.store.dialect import Dialect
from renga.store.errors import StoreError, explain
from renga.store.postgresql import Postgresql
from renga.store.schema import HEAD
from renga.store.sqlite import Sqlite

_MIGRATIONS: Final = Path(__file__).parent / "migrations"
_ACCEPTED: Final = "accepted: sqlite:////absolute/path/renga.db, postgresql://user@host/database"


@dataclass(frozen=True, slots=True)
class Database:
    """An open database.

    Attributes:
        dialect: what is special about its kind.
        engine: its connections.
        reading: the same, for transactions that only read.
        writing: the same, for transactions that write.
    """

    dialect: Dialect
    engine: Engine
    reading: Engine
    writing: Engine

    @property
    def name(self) -> str:
        """The database as messages call it."""
        return self.dialect.name

    def check(self) -> None:
        """Read everything once; StoreError where it is damaged. Seconds on a large database."""
        try:
            self.dialect.check(self.engine)
        except SQLAlchemyError as error:
            raise explain(error, self.name) from error

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def open_database(url: str) -> Database:
    """A database that exists, can be written and is at `HEAD`.

    A SQLite file and its folder are made where they are missing; migrations run one at a time, so
    that several processes may open one new database at once.

    Raises:
        StoreError: the URL is of another kind, or the database is out of reach, unreadable,
            unwritable, damaged, somebody else's, too old, or newer than this program.
    """
    dialect = find_dialect(url)
    engine = dialect.connect()
    opened = Database(dialect, engine, dialect.reading(engine), dialect.writing(engine))
    try:
        dialect.examine(engine)
        _migrate(opened)
    except (SQLAlchemyError, OSError) as error:
        opened.close()
        raise explain(error, dialect.name) from error
    except StoreError:
        opened.close()
        raise
    return opened


def find_dialect(url: str) -> Dialect:
    """The kind of database that a URL names. Raises StoreError; no message holds a password."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        # What cannot be read cannot be searched for its password either.
        shown = url if "@" not in url else url.partition(":")[0] + ":..."
        raise StoreError(f"database url {shown!r} is not a URL", _ACCEPTED) from error
    if parsed.drivername in ("sqlite", "sqlite+pysqlite"):
        return Sqlite(parsed)
    if parsed.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return Postgresql(parsed)
    raise StoreError(f"database url: {parsed.drivername!r} is not supported", _ACCEPTED)


def _migrate(database: Database) -> None:
    """Bring the schema to HEAD, alone; nothing to do on most starts."""
    with database.writing.begin() as connection:
        database.dialect.lock_schema(connection)
        at = _revision(connection, database.name)
        if at == HEAD:
            # A lock alone is also given on a database that cannot be written.
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = version_num")
        else:
            _upgrade(connection, at, database.name)


def _revision(connection: Connection, name: str) -> str | None:
    """The migration that the database is at, None for a new one."""
    tables = set(inspect(connection).get_table_names())
    found = None
    if "alembic_version" in tables:
        found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    # Other programs have a table of that name, too; but every schema of ours has this one.
    foreign = "instances" not in tables if found is not None else "alembic_version" not in tables
    if tables and foreign:
        raise StoreError(
            f"database {name} belongs to another program"
            f" (it has a table {min(tables - {'alembic_version'}, default='alembic_version')!r})",
            "name another database; renga makes its tables",
        )
    return None if found is None else str(found)


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
            "install the newer renga, or name another database",
        )
    command.upgrade(config, HEAD)
