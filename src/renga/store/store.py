"""An open database behind async functions.

Owns the threads. Does not know what is stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Self, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from renga.store import rows
from renga.store.database import Database, open_database
from renga.store.errors import explain
from renga.store.writer import GROUP_SECONDS, RETRY_SECONDS, Writer

T = TypeVar("T")

READERS: Final = 2
"""Threads that read; WAL lets them read while the writer writes."""


class Store:
    """Reads and writes of one database; made by `Store.open`, ended by `aclose`.

    Attributes:
        writer: the queue of rows.
    """

    def __init__(self, database: Database, writer: Writer) -> None:
        self._database = database
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="renga-store-reader")
        self.writer = writer

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        group_seconds: float = GROUP_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
    ) -> Self:
        """Open the database at `url`, made or migrated where needed.

        Raises:
            StoreError: it cannot be used; the message is one line.
        """
        database = await asyncio.to_thread(open_database, url)
        writer = Writer(
            database, group_seconds=group_seconds, retry_seconds=retry_seconds, fold=rows.folded
        )
        return cls(database, writer)

    @property
    def name(self) -> str:
        """The database as messages call it, without a password."""
        return self._database.name

    def clock_us(self, connection: Connection) -> int | None:
        """Microseconds since 1970 by the clock that all servers on this database share.

        None where they share a machine, whose clock it is then.
        """
        return self._database.dialect.clock_us(connection)

    async def read(self, act: Callable[[Connection], T]) -> T:
        """Run `act` in a read transaction on a reader's thread.

        Raises:
            StoreError: the database cannot be read.
        """
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, act)

    def _read(self, act: Callable[[Connection], T]) -> T:
        try:
            with self._database.reading.begin() as connection:
                return act(connection)
        except SQLAlchemyError as error:
            raise explain(error, self.name) from error

    async def write(self, act: Callable[[Connection], T], *, alone: bool = True) -> T:
        """Run `act` in a write transaction, after the rows queued before it; durable on return.

        It may be run several times, where others get in its way. With `alone` no other server's
        transaction runs that is `alone` too, so that `act` may read first and write by what it
        found; without, only what its own statements lock is kept from others.

        Raises:
            StoreError: the database cannot be written.
            sqlalchemy.exc.IntegrityError: what `act` wrote is against a rule of the schema.
        """
        return await asyncio.wrap_future(self.writer.call(act, alone=alone))

    async def flush(self) -> None:
        """Wait until every row queued so far is durable.

        Raises:
            StoreError: it is not; RejectedRow: a row was refused for its content, the others are
            durable.
        """
        await asyncio.wrap_future(self.writer.flush())

    async def check(self) -> None:
        """Read everything once; StoreError if the file is damaged. Seconds on a large one."""
        await asyncio.to_thread(self._database.check)

    async def aclose(self) -> None:
        """Write what waits and close.

        Raises:
            StoreError: some rows could not be written.
        """
        try:
            await asyncio.to_thread(self.writer.close)
        finally:
            self._readers.shutdown()
            self._database.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
