"""How long the ledger keeps rows: whole days, by UTC.

Owns what is old, and that removing it disturbs nobody: little at a time, with pauses. Does not
know rows; `renga.store.purging` removes them and keeps what they added up to.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Final

from renga.store import Store, StoreError, purging

LOOK_SECONDS: Final = 3600.0
"""How often it is looked for what became old."""

PAUSE_SECONDS: Final = 0.2
"""Between two of its transactions, in the background."""

_DAY: Final = 86_400

_log = logging.getLogger(__name__)


class Retention:
    """Removes answers that are older than `days`, until `aclose`; 0 keeps them for ever.

    Args:
        store: the open database.
        days: whole days that an answer is kept after the one on which it was received.
        clock: Unix seconds.
    """

    def __init__(self, store: Store, days: int, *, clock: Callable[[], float]) -> None:
        self._store = store
        self._days = days
        self._clock = clock
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Remove what is old now and every so often."""
        if self._days:
            self._task = asyncio.create_task(self._run())

    async def aclose(self) -> None:
        """End it; a transaction under way is finished."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def before_us(self) -> int:
        """The midnight before which an answer is old, in microseconds since 1970."""
        return (int(self._clock()) // _DAY - self._days) * _DAY * 1_000_000

    async def _run(self) -> None:
        while True:
            try:
                removed = await remove(self._store, self.before_us(), pause=PAUSE_SECONDS)
                if removed:
                    _log.info("%d answers older than %d days were removed", removed, self._days)
            except StoreError as error:
                _log.warning("old answers could not be removed: %s", error.message)
            await asyncio.sleep(LOOK_SECONDS)


async def remove(
    store: Store, before_us: int, *, pause: float = 0.0, told: Callable[[int], object] = int
) -> int:
    """Remove all closed answers received before then; how many. `told` hears of each part.

    Raises:
        StoreError: the database cannot be written; what was removed until then is.
    """
    removed = 0
    while part := await purging.purge(store, before_us):
        removed += part
        told(part)
        await asyncio.sleep(pause)
    return removed
