"""PostgreSQL: a database that several servers share, by psycopg 3.

Owns its settings for a connection, what of it is too old or unfit, and that its clock is the one
that servers on it go by. What is said in a URL beyond host, user and database is libpq's, TLS
included, and is passed on to it.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL

from renga.store.dialect import BUSY_SECONDS
from renga.store.errors import StoreError
from renga.store.schema import metadata

OLDEST: Final = 14
"""The oldest version that still gets fixes from its makers."""

STATEMENT_SECONDS: Final = 60
CONNECT_SECONDS: Final = 5
MIGRATION_SECONDS: Final = 120
"""How long a start waits for another's change of the schema."""

# A server that is gone without a word is noticed within this: nothing may wait for it for ever.
_LINK: Final = {
    "connect_timeout": CONNECT_SECONDS,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    "application_name": "renga",
}
_SETTINGS: Final = {
    "lock_timeout": BUSY_SECONDS,
    "statement_timeout": STATEMENT_SECONDS,
    # What we hold locked is let go where it is we who are gone.
    "idle_in_transaction_session_timeout": STATEMENT_SECONDS,
}

# Numbers for pg_advisory_xact_lock, any two that nobody else takes: "reng" and what for.
_SCHEMA_LOCK: Final = 0x72656E67_0001
_WRITES_LOCK: Final = 0x72656E67_0002


class Postgresql:
    """The Dialect of a database on a server."""

    def __init__(self, url: URL) -> None:
        self._url = url.set(drivername="postgresql+psycopg")
        self.name = _shown(url)
        if "@" in (url.host or ""):
            raise StoreError(
                "database url: its password holds an @ that is taken for the end of it",
                "write @ as %40, : as %3A and / as %2F in user names and passwords",
            )

    def connect(self) -> Engine:
        """See Dialect."""
        given = {name: value for name, value in _LINK.items() if name not in self._url.query}
        try:
            engine = create_engine(
                self._url,
                pool_size=4,
                max_overflow=4,
                # A server that was restarted has forgotten the connections that lie in the pool.
                pool_pre_ping=True,
                connect_args=given,
                hide_parameters=True,
            )
        except ImportError as error:
            raise StoreError(
                f"database {self.name}: the driver of PostgreSQL is not installed",
                "pip install 'renga[postgresql]'",
            ) from error
        if "options" not in self._url.query:
            event.listen(engine, "connect", _set_up)
        return engine

    def reading(self, engine: Engine) -> Engine:
        """See Dialect."""
        return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    def writing(self, engine: Engine) -> Engine:
        """See Dialect: rows are locked one by one, and a condition is looked at again then."""
        return engine.execution_options(isolation_level="READ COMMITTED")

    def examine(self, engine: Engine) -> None:
        """See Dialect."""
        with engine.connect() as connection:
            version = tuple(int(part) for part in engine.dialect.server_version_info or (0,))
            encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
        check_server(self.name, version, str(encoding))

    def lock_schema(self, connection: Connection) -> None:
        """See Dialect; a migration under way elsewhere, or here, may take its time."""
        ask = connection.exec_driver_sql
        usual = ask("SELECT current_setting('lock_timeout')").scalar_one()
        ask("SET LOCAL statement_timeout = 0")
        ask(f"SET LOCAL lock_timeout = '{MIGRATION_SECONDS}s'")
        ask(f"SELECT pg_advisory_xact_lock({_SCHEMA_LOCK})")
        ask(f"SET LOCAL lock_timeout = '{usual}'")

    def lock_writes(self, connection: Connection) -> None:
        """See Dialect."""
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITES_LOCK})")

    def look(self) -> None:
        """See Dialect: a connection stays with its database."""

    def check(self, engine: Engine) -> None:
        """See Dialect."""
        with self.reading(engine).connect() as connection:
            for name in metadata.tables:
                connection.exec_driver_sql(f"SELECT count(*) FROM {name}")

    def clock_us(self, connection: Connection) -> int:
        """See Dialect."""
        query = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
        return int(connection.exec_driver_sql(query).scalar_one())


def check_server(name: str, version: tuple[int, ...], encoding: str) -> None:
    """Raise StoreError for a server of this version, or a database of this encoding, as needed."""
    if version < (OLDEST,):
        words = ".".join(map(str, version))
        raise StoreError(
            f"database {name} is on PostgreSQL {words}; accepted: {OLDEST} or newer",
            "move it to a newer server with pg_dump and pg_restore",
        )
    if encoding != "UTF8":
        raise StoreError(
            f"database {name} has the encoding {encoding}; accepted: UTF8",
            "make another: CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0",
        )


def _set_up(connection: Any, _record: object) -> None:
    settings = (
        f"set_config('{name}', '{seconds * 1000:.0f}', false)"
        for name, seconds in _SETTINGS.items()
    )
    cursor = connection.cursor()
    cursor.execute("SELECT " + ", ".join(settings))
    cursor.close()
    connection.commit()


def _shown(url: URL) -> str:
    """Where it is, and as whom; nothing of what a URL may hold beside that is shown."""
    host = url.host or url.query.get("host") or "localhost"
    where = f"{host if isinstance(host, str) else ','.join(host)}"
    user = f"{url.username}@" if url.username else ""
    port = f":{url.port}" if url.port else ""
    return f"postgresql://{user}{where}{port}/{url.database or ''}"
