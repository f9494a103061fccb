"""The number of a writer's last transaction, kept in the database beside what it wrote.

Owns the answer to "was it committed?" where a connection broke before the database said so: the
transaction tried then and the one that looks change the same row, so that the second waits until
the first is over, whichever way.
"""

from __future__ import annotations

import secrets
from typing import Any, Final

from sqlalchemy import BigInteger, Connection, delete, insert, select, update
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from renga.store.schema import writers

_DAY_US: Final = 86_400_000_000


class NowUs(FunctionElement[int]):
    """Microseconds since 1970 by the clock of the database, or of its machine."""

    type = BigInteger()
    inherit_cache = True


@compiles(NowUs, "sqlite")
def _sqlite_now(_element: NowUs, _compiler: Any, **_: Any) -> str:
    # Whole milliseconds: 2440587.5 is 1970 in the days that SQLite counts.
    return "(CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) * 1000)"


@compiles(NowUs, "postgresql")
def _postgresql_now(_element: NowUs, _compiler: Any, **_: Any) -> str:
    return "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"


class Commits:
    """The numbers of one writer's transactions."""

    def __init__(self) -> None:
        self._id = secrets.token_hex(8)
        self._last = 0
        self.entered = False

    def enter(self, connection: Connection) -> None:
        """Make the row, and drop those of writers that are long gone. A transaction of its own."""
        connection.execute(delete(writers).where(writers.c.renewed_us < NowUs() - _DAY_US))
        known = select(writers.c.commits).where(writers.c.writer_id == self._id)
        if connection.execute(known).first() is None:
            connection.execute(
                insert(writers).values(writer_id=self._id, commits=0, renewed_us=NowUs())
            )

    def number(self, connection: Connection) -> None:
        """Give a transaction its number, as the first thing in it."""
        new = {"commits": self._last + 1, "renewed_us": NowUs()}
        which = writers.c.writer_id == self._id
        if connection.execute(update(writers).where(which).values(**new)).rowcount != 1:
            # Others dropped it while this one slept for a day.
            connection.execute(insert(writers).values(writer_id=self._id, **new))

    def done(self) -> None:
        """The transaction that was numbered last is committed."""
        self._last += 1

    def was_done(self, connection: Connection) -> bool:
        """Whether that is so, where nobody said it; waits until it is over."""
        which = writers.c.writer_id == self._id
        connection.execute(update(writers).where(which).values(renewed_us=NowUs()))
        found = connection.execute(select(writers.c.commits).where(which)).scalar()
        return found == self._last + 1

    def leave(self, connection: Connection) -> None:
        """Remove the row: nothing is written any more."""
        connection.execute(delete(writers).where(writers.c.writer_id == self._id))
