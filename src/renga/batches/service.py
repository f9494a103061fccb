"""The batches of one server's database: taken in, looked at, cancelled, deleted, and their results.

Owns how long a batch may take and how long its results stay, and what is refused of one that is
under way. A batch is acknowledged when all of it is durable. Knows no HTTP, and not how a batch is
worked on: that is `renga.batches.worker`, which is woken from here.

Source: "Message Batches" of the API's documentation.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from renga.config import BatchesConfig
from renga.errors import ApiError, InvalidRequest, NotFound
from renga.ids import Ids
from renga.store import Store, StoreError, batching
from renga.store.batching import BatchRow, ItemResult, NewItem, Spent

DAY_SECONDS: Final = 86_400
HOUR_SECONDS: Final = 3_600
CHUNK: Final = 500  # requests that are written in one transaction
PAGE: Final = 200  # results that are read at once

_US: Final = 1_000_000


class Batches:
    """Batches over a store.

    Args:
        store: the database.
        instance_id: this server, whose lease the ledger renews.
        clock: Unix seconds.
        ids: makes names of batches.
        config: how long they take and stay.

    Attributes:
        changed: set when there is something to do for a worker.
    """

    def __init__(
        self,
        store: Store,
        *,
        instance_id: str,
        clock: Callable[[], float],
        ids: Ids,
        config: BatchesConfig,
    ) -> None:
        self.store = store
        self.instance_id = instance_id
        self.config = config
        self.clock = clock
        self.ids = ids
        self.changed = asyncio.Event()

    @asynccontextmanager
    async def receive(
        self, workspace: str, key_id: str | None, *, version: str, betas: Sequence[str]
    ) -> AsyncIterator[Intake]:
        """A batch that comes: what is not finished at the end of the block was never there.

        Raises:
            StoreError: the database cannot be written.
        """
        now_us = self.now_us()
        row = BatchRow(
            batch_id=self.ids("msgbatch"),
            workspace=workspace,
            key_id=key_id,
            instance_id=self.instance_id,
            version=version,
            betas=",".join(betas),
            state="coming",
            created_us=now_us,
            expires_us=now_us,
        )
        await batching.begin(self.store, row)
        intake = Intake(self, row.batch_id)
        try:
            yield intake
        finally:
            if intake.row is None:
                with suppress(StoreError):  # a later sweep finds it
                    await asyncio.shield(batching.abandon(self.store, row.batch_id))
            self.changed.set()

    def now_us(self) -> int:
        """The time in microseconds."""
        return round(self.clock() * _US)

    def shared_us(self, connection: Any) -> int:
        """The time that all servers of the database agree on, as their leases are judged by it."""
        shared = self.store.clock_us(connection)
        return self.now_us() if shared is None else shared

    async def get(self, workspace: str, batch_id: str) -> BatchRow:
        """One batch. Raises NotFound."""
        found = await batching.find(self.store, workspace, batch_id)
        if found is None:
            raise _not_found(batch_id)
        return found

    async def page(
        self,
        workspace: str,
        limit: int,
        *,
        after: BatchRow | None = None,
        before: BatchRow | None = None,
    ) -> tuple[list[BatchRow], bool]:
        """Batches, the newest first, and whether there are more in that direction."""
        found = await batching.page(self.store, workspace, limit + 1, after=after, before=before)
        more = len(found) > limit
        return (found[-limit:] if before is not None else found[:limit]), more

    async def cancel(self, workspace: str, batch_id: str) -> BatchRow:
        """Begin to cancel; one that ended stays as it is. Raises NotFound."""
        found = await batching.cancel(self.store, workspace, batch_id, now_us=self.now_us())
        if found is None:
            raise _not_found(batch_id)
        self.changed.set()
        return found

    async def delete(self, workspace: str, batch_id: str) -> None:
        """Delete a batch that ended. Raises NotFound, or InvalidRequest while it is under way."""
        found = await self.get(workspace, batch_id)
        if found.state != "ended":
            raise InvalidRequest(
                "In progress batches cannot be deleted. Consider canceling the batch instead."
            )
        if not await batching.begin_removal(self.store, workspace, batch_id):
            raise _not_found(batch_id)
        self.changed.set()

    async def results(self, workspace: str, batch_id: str) -> AsyncIterator[ItemResult]:
        """The results of a batch one by one; few are held at a time.

        Raises NotFound, also for one that has none yet, or none any more.
        """
        found = await self.get(workspace, batch_id)
        if not has_results(found):
            raise NotFound(f"Message Batch {batch_id} has no available results.")
        return self._results(batch_id)

    async def _results(self, batch_id: str) -> AsyncIterator[ItemResult]:
        after = -1
        while page := await batching.results(self.store, batch_id, after=after, limit=PAGE):
            for one in page:
                yield one
            after = page[-1].number

    async def progress(
        self, workspace: str, batch_id: str
    ) -> tuple[BatchRow, dict[str, int], list[Spent]]:
        """A batch, how many of its requests are in which state now, and what they took."""
        found = await self.get(workspace, batch_id)
        states = await batching.counts(self.store, batch_id)
        return found, states, await batching.spent(self.store, batch_id)

    async def tidy(self) -> None:
        """Drop what nobody can ask for any more."""
        now_us = self.now_us()
        age_us = round(self.config.keep_days * DAY_SECONDS * _US)
        await batching.archive(self.store, created_before_us=now_us - age_us, now_us=now_us)
        await batching.purge(self.store)


class Intake:
    """A batch while its requests come. `row` is what became of it, once it is acknowledged."""

    def __init__(self, batches: Batches, batch_id: str) -> None:
        self._batches = batches
        self._batch_id = batch_id
        self._waiting: list[NewItem] = []
        self._count = 0
        self.row: BatchRow | None = None

    async def add(self, items: Sequence[NewItem]) -> None:
        """Take requests in. Raises StoreError."""
        self._waiting += items
        while len(self._waiting) >= CHUNK:
            await self._write()

    async def _write(self) -> None:
        chunk, self._waiting = self._waiting[:CHUNK], self._waiting[CHUNK:]
        await batching.add(self._batches.store, self._batch_id, chunk)
        self._count += len(chunk)

    async def finish(self) -> BatchRow:
        """Acknowledge the batch: it was created now. Raises StoreError."""
        while self._waiting:
            await self._write()
        now_us = self._batches.now_us()
        life_us = round(self._batches.config.expire_hours * HOUR_SECONDS * _US)
        try:
            self.row = await batching.publish(
                self._batches.store,
                self._batch_id,
                total=self._count,
                created_us=now_us,
                expires_us=now_us + life_us,
            )
        except LookupError as error:
            raise ApiError(
                "the batch came so slowly that it was given up; send it again"
            ) from error
        return self.row


def has_results(row: BatchRow) -> bool:
    """Whether the results of a batch can be had."""
    return row.state == "ended" and row.archived_us is None


def _not_found(batch_id: str) -> NotFound:
    return NotFound(f"Message Batch {batch_id[:100]} not found.")
