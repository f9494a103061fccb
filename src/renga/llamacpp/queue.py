"""Who waits for one of the slots, and who has to come again later.

Owned rules: nobody waits inside llama.cpp, so that whoever leaves is gone at once; those who wait
are served in their order, interactive ones before batches; beyond so many in the queue the answer
is "overloaded", with a time after which there is room, at the pace of late.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from renga.engine.client import EngineOverloaded
from renga.engine.messages import Lane

_LATE = 0.2  # weight of the newest answer in the average of how long one takes
_LEAST_SECONDS = 1.0


class SlotQueue:
    """`slots` at a time, `waiting` behind them. `clock` gives seconds."""

    def __init__(self, slots: int, waiting: int, clock: Callable[[], float]) -> None:
        self._slots, self._most = slots, waiting
        self._clock = clock
        self._running = 0
        self._seconds = _LEAST_SECONDS
        self._lanes: dict[Lane, deque[asyncio.Future[None]]] = {
            "interactive": deque(),
            "batch": deque(),
        }

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(len(lane) for lane in self._lanes.values())

    @property
    def batches(self) -> int:
        """How many of those are in the batch lane."""
        return len(self._lanes["batch"])

    @property
    def running(self) -> int:
        """How many have a slot."""
        return self._running

    @asynccontextmanager
    async def take(self, lane: Lane) -> AsyncIterator[None]:
        """A slot, for as long as the block runs. Raises EngineOverloaded where nobody may wait."""
        await self._enter(lane)
        begun = self._clock()
        try:
            yield
        finally:
            self._seconds += _LATE * (self._clock() - begun - self._seconds)
            self._leave()

    async def _enter(self, lane: Lane) -> None:
        if self._running < self._slots:
            self._running += 1
            return
        if self.waiting >= self._most:
            rounds = (self.waiting + 1) / self._slots
            raise EngineOverloaded(max(_LEAST_SECONDS, rounds * self._seconds))
        turn = asyncio.get_running_loop().create_future()
        self._lanes[lane].append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn in self._lanes[lane]:
                self._lanes[lane].remove(turn)
            elif not turn.cancelled():
                self._leave()  # it had been given the slot already
            raise

    def _leave(self) -> None:
        """Give the slot to the next who waits, or back."""
        for lane in self._lanes.values():
            while lane:
                turn = lane.popleft()
                if not turn.done():
                    turn.set_result(None)
                    return
        self._running -= 1
