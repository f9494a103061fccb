"""What works on batches inside a server: claims requests, has them answered, writes each end once.

Owns how much is under way: for each tier as much as its backends run at once and some more, so
that none of their places is idle; less when they are full. Everything goes through the gateway,
as a request of the service "batch", which gives way to all others. A request's result is written
with the closing of its answer, in one transaction, so that a kill leaves both or neither.

Owns also which errors are a result. A request that is wrong is one at once. A server that is full,
a model that is not loaded and a database that cannot be written are no fault of the request: it
waits, until its batch expires; where a workspace is at a limit of its own, its requests alone wait.
A backend that broke, or took too long, may have broken on this request, so that it is tried a
number of times. What ended with its server is done again, and not counted.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from renga.batches.service import Batches
from renga.caller import Caller
from renga.errors import ApiError, Overloaded, RateLimited, RengaError, Unavailable
from renga.events import Fold
from renga.gateway import Gateway
from renga.store import StoreError, batch_queue
from renga.store.batch_queue import Claimed, Return
from renga.store.writer import Operation
from renga.types import MessagesRequest

TEND_SECONDS: Final = 1.0
"""How often all batches are looked after, while there are any."""

IDLE_SECONDS: Final = 2.0
"""How often it is asked whether another server has taken in a batch."""

TIDY_SECONDS: Final = 60.0
RECOVER_SECONDS: Final = 10.0
SHORTEST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 60.0

UNEXPECTED: Final = "internal server error; the server's log has more"

INLINE: Final = 262_144
"""Characters of a request up to which understanding it does not go to a thread."""

_US: Final = 1_000_000

Understand = Callable[[str, str, Sequence[str]], MessagesRequest]
"""From a batch's request as it was sent, the API's version and betas to what it asks."""

_log = logging.getLogger(__name__)


@dataclass
class Pool:
    """Requests of some lanes that the same backends answer.

    Attributes:
        lanes: whose requests they are.
        most: how many may be under way.
        steady: whether that is so after a backend was full too: others hold what it is handed.
        allowed: how many are now, less after a backend was full.
        ready: claimed, and not begun.
    """

    lanes: tuple[str, ...]
    most: int
    steady: bool = False
    allowed: float = 0.0
    ready: deque[Claimed] = field(default_factory=deque)
    running: dict[tuple[str, int], asyncio.Task[None]] = field(default_factory=dict)
    paused_until: float = 0.0
    pause: float = SHORTEST_PAUSE

    def __post_init__(self) -> None:
        self.allowed = float(self.most)

    @property
    def ahead(self) -> int:
        """How many are claimed ahead of need."""
        return max(4, self.most // 2)

    @property
    def low(self) -> bool:
        """Whether it is time to claim more."""
        return len(self.ready) <= self.ahead // 2

    def room(self) -> int:
        """How many more may be claimed."""
        return int(self.allowed) + self.ahead - len(self.running) - len(self.ready)

    def full(self, now: float, retry_after: float | None) -> float:
        """A backend took no more: half as much from now on, after a pause; its seconds."""
        if now >= self.paused_until:  # one of many that were refused together
            self.allowed = self.allowed if self.steady else max(1.0, self.allowed / 2)
            self.pause = min(LONGEST_PAUSE, self.pause * 2)
        pause = min(LONGEST_PAUSE, max(self.pause, retry_after or 0.0))
        self.paused_until = max(self.paused_until, now + pause)
        return pause

    def went_well(self) -> None:
        """An answer came: a little more from now on."""
        self.allowed = min(float(self.most), self.allowed + 1 / self.allowed)
        self.pause = SHORTEST_PAUSE


class Worker:
    """Works on the batches of one database.

    Args:
        batches: they.
        gateway: who answers.
        understand: what a request asks; raises InvalidRequest.
        pools: which lanes there are, and how much of each may be under way.
        rng: spreads what is tried again.
    """

    def __init__(
        self,
        batches: Batches,
        *,
        gateway: Gateway,
        understand: Understand,
        pools: Sequence[Pool],
        rng: random.Random | None = None,
    ) -> None:
        self._batches = batches
        self._store = batches.store
        self._holder = batches.instance_id
        self._gateway = gateway
        self._understand = understand
        self._pools = pools
        self._rng = rng or random.Random()
        self._why: dict[tuple[str, int], str] = {}
        self._returns: list[Return] = []
        self._resting: dict[str, float] = {}
        self._tend_at = self._tidy_at = self._recover_at = 0.0
        self._failing = self._stopping = False

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Works until the end of the block; then what it has in hand is given back."""
        task = asyncio.create_task(self._run(), name="renga-batches")
        try:
            yield
        finally:
            self._stopping = True
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await self._give_all_back()

    async def _run(self) -> None:
        changed = self._batches.changed
        while True:
            changed.clear()
            pause = await self._turn_safely()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await changed.wait()

    async def _turn_safely(self) -> float:
        """One turn; seconds until the next one at the latest."""
        try:
            busy = await self._turn()
        except StoreError as error:
            if not self._failing:
                _log.error("batches wait: %s (%s)", error.message, error.hint)
            self._failing = True
            return TEND_SECONDS
        if self._failing:
            _log.warning("batches go on")
        self._failing = False
        return TEND_SECONDS if busy else IDLE_SECONDS

    async def _turn(self) -> bool:
        """Do what is to be done now; whether there is more to come."""
        await self._return()
        if not self._in_hand() and not await self._store.read(batch_queue.is_any):
            await self._tidy()
            return False
        now = self._ticks()
        if now >= self._tend_at or not self._in_hand():
            self._tend_at = now + TEND_SECONDS
            states = await self._store.write(
                lambda connection: batch_queue.tend(
                    connection, now_us=self._batches.shared_us(connection)
                )
            )
            self._end_what_is_over(states)
        await self._recover()
        for pool in self._pools:
            await self._refill(pool)
        await self._tidy()
        return True

    async def _recover(self) -> None:
        """Give back what stands as ours and is not: claims whose commit nobody heard of."""
        if self._ticks() < self._recover_at:
            return
        self._recover_at = self._ticks() + RECOVER_SECONDS
        in_hand = {item.place for pool in self._pools for item in pool.ready}
        in_hand |= {place for pool in self._pools for place in pool.running}
        # What is about to be returned keeps its tries and its pause.
        in_hand |= {(one.batch_id, one.number) for one in self._returns}
        await self._store.write(partial(batch_queue.recover, holder=self._holder, in_hand=in_hand))

    def _in_hand(self) -> bool:
        return any(pool.ready or pool.running for pool in self._pools)

    @staticmethod
    def _ticks() -> float:
        return asyncio.get_running_loop().time()

    async def _return(self) -> None:
        returns, self._returns = self._returns, []
        if not returns:
            return
        try:
            await self._store.write(
                partial(batch_queue.give_back, holder=self._holder, returns=returns),
                alone=False,
            )
        except StoreError:
            self._returns = returns + self._returns
            raise

    async def _tidy(self) -> None:
        if self._ticks() >= self._tidy_at:
            self._tidy_at = self._ticks() + TIDY_SECONDS
            await self._batches.tidy()

    def _end_what_is_over(self, states: dict[str, str]) -> None:
        """End what is in hand of batches that are canceling or expired."""
        ends = {"canceling": "canceled", "expired": "expired"}
        over = {b: ends[state] for b, state in states.items() if state in ends}
        for pool in self._pools:
            kept = [item for item in pool.ready if item.batch_id not in over]
            for item in pool.ready:
                if item.batch_id in over:
                    self._put(self._finish(item, over[item.batch_id], None, None))
            if len(kept) < len(pool.ready):
                pool.ready = deque(kept)
                self._tend_at = 0.0
                self._batches.changed.set()
            for place, task in pool.running.items():
                if place[0] in over and place not in self._why:
                    self._why[place] = over[place[0]]
                    task.cancel()

    async def _refill(self, pool: Pool) -> None:
        room, now = pool.room(), self._ticks()
        self._resting = {w: until for w, until in self._resting.items() if until > now}
        if pool.low and room > 0 and now >= pool.paused_until:
            pool.ready += await self._store.write(
                partial(
                    batch_queue.claim,
                    holder=self._holder,
                    lanes=pool.lanes,
                    room=room,
                    now_us=self._batches.now_us(),
                    without=frozenset(self._resting),
                ),
                alone=False,
            )
        self._begin(pool)

    def _begin(self, pool: Pool) -> None:
        """Begin as many as may be under way."""
        if self._stopping or self._ticks() < pool.paused_until:
            return
        while pool.ready and len(pool.running) < int(pool.allowed):
            item = pool.ready.popleft()
            task = asyncio.create_task(self._answer(pool, item))
            pool.running[item.place] = task
            task.add_done_callback(partial(self._ended, pool, item))

    def _ended(self, pool: Pool, item: Claimed, task: asyncio.Task[None]) -> None:
        pool.running.pop(item.place, None)
        self._why.pop(item.place, None)
        if not task.cancelled() and task.exception() is not None:
            _log.error("request %s of a batch failed", item.place, exc_info=task.exception())
            self._returns.append(self._later(item, SHORTEST_PAUSE))
        self._begin(pool)
        if pool.low:
            self._batches.changed.set()

    # -- one request --

    async def _answer(self, pool: Pool, item: Claimed) -> None:
        """Have a request answered, and its end written."""
        ending = _Ending(self, pool, item, self._batches.ids("req"))
        error: BaseException | None = None
        try:
            request = await self._understood(item)
            caller = Caller(
                item.workspace, ending.request_id, item.key_id, service="batch", item=item.place
            )
            answer = self._gateway.stream(request, caller, beside=ending)
            async with aclosing(answer) as events:  # type: ignore[type-var]
                async for event in events:
                    ending.fold.see(event)
        except (Exception, asyncio.CancelledError) as raised:  # noqa: BLE001  each ends it somehow
            error = raised
        if not ending.asked:  # nobody was, or the server had no row for it
            self._put(ending("error", error))

    async def _understood(self, item: Claimed) -> MessagesRequest:
        betas = [beta for beta in item.betas.split(",") if beta]
        if len(item.request) <= INLINE:
            return self._understand(item.request, item.version, betas)
        return await asyncio.to_thread(self._understand, item.request, item.version, betas)

    def _put(self, row: Operation | None) -> None:
        if row is not None:
            self._store.writer.put(row)

    def _finish(
        self, item: Claimed, state: str, result: str | None, request_id: str | None
    ) -> Operation:
        return batch_queue.finish(
            item, self._holder, state=state, result=result, request_id=request_id
        )

    def _later(self, item: Claimed, seconds: float, *, failed: bool = False) -> Return:
        due_us = self._batches.now_us() + round(seconds * _US)
        return Return(item.batch_id, item.number, item.tries + failed, due_us)

    def _failed(self, pool: Pool, item: Claimed, error: BaseException) -> RengaError | None:
        """The error that is the result of `item`, or None where it is to be tried again."""
        if isinstance(error, RateLimited):  # its own limit: nobody else waits for that
            pause = min(LONGEST_PAUSE, max(TEND_SECONDS, error.retry_after or 0.0))
            self._resting[item.workspace] = self._ticks() + pause
            self._returns.append(self._later(item, pause))
            return None
        if isinstance(error, Overloaded | Unavailable | StoreError):
            pause = pool.full(self._ticks(), error.retry_after)
            self._returns.append(self._later(item, pause))
            return None
        if isinstance(error, RengaError) and error.status < 500:
            return error
        if not isinstance(error, RengaError):
            _log.error("request %s of a batch failed", item.place, exc_info=error)
        if item.tries + 1 < self._batches.config.tries:
            # Spread, so that a request that breaks a backend soon breaks it alone.
            seconds = min(LONGEST_PAUSE, 4.0**item.tries) * self._rng.uniform(0.5, 1.5)
            self._returns.append(self._later(item, seconds, failed=True))
            return None
        return error if isinstance(error, RengaError) else ApiError(UNEXPECTED)

    async def _give_all_back(self) -> None:
        tasks = [task for pool in self._pools for task in pool.running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for pool in self._pools:
            pool.ready.clear()
        with suppress(StoreError):  # else others take them when the lease has run out
            await self._return()
            await self._store.write(partial(batch_queue.give_all_back, holder=self._holder))


class _Ending:
    """What is written with the closing of an answer: the gateway asks it, once."""

    def __init__(self, worker: Worker, pool: Pool, item: Claimed, request_id: str) -> None:
        self._worker = worker
        self._pool = pool
        self._item = item
        self.request_id = request_id
        self.fold = Fold()
        self.asked = False

    def __call__(self, status: str, error: BaseException | None) -> Operation | None:
        """The end of the request, or None where this was not it."""
        self.asked = True
        worker, item = self._worker, self._item
        if status == "ok":
            self._pool.went_well()
            message = self.fold.message().model_dump_json()
            result = f'{{"type":"succeeded","message":{message}}}'
            return worker._finish(item, "succeeded", result, self.request_id)
        if not isinstance(error, Exception):  # somebody ended it: its batch, or the server's end
            why = worker._why.get(item.place)
            if why is not None:
                return worker._finish(item, why, None, None)
            worker._returns.append(worker._later(item, 0.0))
            return None
        final = worker._failed(self._pool, item, error)
        if final is None:
            return None
        envelope = final.envelope(self.request_id)
        result = json.dumps({"type": "errored", "error": envelope}, ensure_ascii=False)
        return worker._finish(item, "errored", result, self.request_id)
