"""The requests that run now, and what ends one before its time.

Owns the rule that work stops within one step when nobody waits for it any more: the client left, or
the server's time to drain is over. Knows nothing of what the work is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from starlette.types import Receive

from renga.errors import Unavailable

T = TypeVar("T")

WATCHED_AFTER = 0.005  # seconds; less than a step of a model
RETRY_SECONDS = 1.0  # by then another server, or this one's successor, should listen


class ClientLeft(Exception):
    """The client closed its connection; no answer can reach it."""


class Running:
    """The requests of one server. One event loop; no locks needed."""

    def __init__(self) -> None:
        self.draining = False
        self._cut = False
        self._requests = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._leashes: set[_Leash] = set()

    @contextmanager
    def request(self) -> Iterator[None]:
        """Counts one request from its first byte to its last."""
        self._requests += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._requests -= 1
            if self._requests == 0:
                self._idle.set()

    async def guard(self, work: Coroutine[Any, Any, T], receive: Receive) -> T:
        """Run `work` until it is done, its client leaves, or the server stops.

        `receive` must have given the whole body already. The work is cancelled where it stands and
        awaited; then this raises.

        Raises:
            ClientLeft: the client went away.
            Unavailable: the server stops and the time to drain is over.
        """
        if self._cut:
            work.close()
            raise stopping()
        leash = _Leash()
        try:
            async with leash.scope:
                self._leashes.add(leash)
                leash.hold(receive)
                try:
                    return await work
                finally:
                    leash.let_go()
                    self._leashes.discard(leash)
        except TimeoutError:
            if leash.scope.expired() and leash.why is not None:
                raise leash.why from None
            raise

    async def drain(self, seconds: float, *, hurry: asyncio.Event | None = None) -> None:
        """Let no new request begin; wait `seconds` for those that run, then cut them.

        Setting `hurry` cuts at once.
        """
        self.draining = True
        if not await self._is_idle_within(seconds, hurry or asyncio.Event()):
            self._cut = True
            for leash in self._leashes:
                leash.pull(stopping())

    async def _is_idle_within(self, seconds: float, hurry: asyncio.Event) -> bool:
        async with asyncio.TaskGroup() as group:
            waits = [group.create_task(self._idle.wait()), group.create_task(hurry.wait())]
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
        return self._requests == 0


class _Leash:
    """Ends the work of one request through the cancellation of its own timeout scope."""

    def __init__(self) -> None:
        self.scope = asyncio.timeout(None)
        self.why: Exception | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._watch: asyncio.Task[None] | None = None

    def hold(self, receive: Receive) -> None:
        """Begin to watch the client, soon: work that is done by then needs no task beside it."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(WATCHED_AFTER, self._begin, receive)

    def let_go(self) -> None:
        """Watch no more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._watch is not None:
            self._watch.cancel()

    def _begin(self, receive: Receive) -> None:
        self._watch = asyncio.create_task(self._see_off(receive))

    async def _see_off(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.pull(ClientLeft())

    def pull(self, why: Exception) -> None:
        if self.why is None:
            self.why = why
            self.scope.reschedule(asyncio.get_running_loop().time())


def stopping() -> Unavailable:
    """The 503 of a server that drains."""
    return Unavailable("the server is stopping; send it again", retry_after=RETRY_SECONDS)
