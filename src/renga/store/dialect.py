"""What differs between databases: how one is opened, locked, looked at and asked for the time.

Owns the seam alone. Everything else of the store is written once, in SQL that all of them read.
"""

from __future__ import annotations

from typing import Final, Protocol

from sqlalchemy import Connection, Engine

BUSY_SECONDS: Final = 5.0
"""How long a transaction waits for another process's before it fails; below the shortest lease."""


class Dialect(Protocol):
    """One kind of database.

    Attributes:
        name: the database as messages call it, without a password.
    """

    name: str

    def connect(self) -> Engine:
        """A pool of connections, none of them open yet. Raises StoreError."""

    def reading(self, engine: Engine) -> Engine:
        """The same pool, for transactions that see one state of everything and change nothing."""

    def writing(self, engine: Engine) -> Engine:
        """The same pool, for transactions that write."""

    def examine(self, engine: Engine) -> None:
        """Look whether this can be used at all, before the schema. Raises StoreError."""

    def lock_schema(self, connection: Connection) -> None:
        """Keep other processes from changing the schema until this transaction ends."""

    def lock_writes(self, connection: Connection) -> None:
        """Keep other transactions that ask for the same out until this one ends."""

    def look(self) -> None:
        """Raise StoreError where the open database is not the one that the URL names any more."""

    def check(self, engine: Engine) -> None:
        """Read everything once; StoreError where that cannot be. Seconds on a large database."""

    def clock_us(self, connection: Connection) -> int | None:
        """What the database's own clock says, in microseconds since 1970; None without one."""
