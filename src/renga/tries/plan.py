"""The tries for one answer: on which backend, after which pause, and what is told in the end.

Owns the rule that nothing of a try is shown before its content begins: until then its events are
held back, so that a try that fails can be made up for without anybody seeing it; after that, what
goes wrong is told, and no other try follows. And the policy: a backend that may do better is tried
again after a pause, one that will not is left for the next one, and all of it ends with one
deadline. Pauses are exponential with full jitter. Source: M. Brooker, "Exponential Backoff And
Jitter", AWS Architecture Blog (2015). It opens no rows and calls no backend.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence, Set
from contextlib import aclosing
from types import TracebackType
from typing import Final, Literal, Self

from renga.backends.base import Attempt, Backend
from renga.caller import Caller
from renga.config import BreakerConfig, RetryConfig
from renga.errors import GatewayTimeout, Overloaded, RengaError
from renga.events import Event, Order, OrderError
from renga.tries.breaker import Breaker, Pass, Standing
from renga.tries.room import Room

_log = logging.getLogger(__name__)

CONTENT: Final = ("content_block_start", "message_delta")
"""The first events that say something; `message_delta` where there is nothing to be said."""

OPERATORS: Final = frozenset(
    {"tls", *(f"status_{s}" for s in (301, 302, 303, 307, 308, 401, 402, 403, 404, 405))}
)
"""Causes that only the operator can mend."""
ELSEWHERE: Final = OPERATORS | {"slow_first_byte", "slow_trickle", "wrong_content_type"}
"""Causes for which the same backend is not tried again: it would be so again, or has cost time."""


def _ticks() -> float:
    return asyncio.get_running_loop().time()


class Tries:
    """How one server tries. It holds a breaker for each backend.

    `limits` are seconds by the name of a backend, in which an answer of it must begin; `unhurried`
    are those that may take all the time that a batch has. Time is the loop's and passes in
    `asyncio.sleep`; chance is `rng`.
    """

    def __init__(
        self,
        retry: RetryConfig | None = None,
        breaker: BreakerConfig | None = None,
        *,
        limits: Mapping[str, float] | None = None,
        unhurried: Set[str] = frozenset(),
        rng: random.Random | None = None,
        ticks: Callable[[], float] = _ticks,
    ) -> None:
        self.retry = retry or RetryConfig()
        self.limits = dict(limits or {})
        self.unhurried = unhurried
        self.rng = rng or random.Random()
        self.ticks = ticks
        self._config = breaker or BreakerConfig()
        self._breakers: dict[str, Breaker] = {}

    def breaker(self, backend: str) -> Breaker:
        """The breaker of a backend."""
        if backend not in self._breakers:
            self._breakers[backend] = Breaker(self._config, self.ticks)
        return self._breakers[backend]

    def standings(self) -> Mapping[str, Standing]:
        """How the breakers stand that there are, by backend."""
        return {name: breaker.standing for name, breaker in self._breakers.items()}

    def plan(self, candidates: Sequence[Backend], room: Room, caller: Caller) -> Plan:
        """The tries for an answer that any of `candidates` may give, the first of them first."""
        receipt = caller.receipt
        if receipt.trying_since is None:
            receipt.trying_since = self.ticks()
        seconds = self.retry.deadline_s
        if caller.patience is not None:
            seconds = min(seconds, caller.patience)
        # A batch has a day: what bounds it is how often and how long each backend is tried.
        ends = float("inf") if caller.service == "batch" else receipt.trying_since + seconds
        return Plan(self, candidates, room, caller, ends)


class Plan:
    """The tries for one answer, one after the other; ends by raising what is to be told.

    Whoever iterates over it makes a try of each `Try`, inside it, and leaves when one succeeded.
    """

    def __init__(
        self, tries: Tries, candidates: Sequence[Backend], room: Room, caller: Caller, ends: float
    ) -> None:
        self.tries = tries
        self.caller = caller
        self._room = room
        self._ends = ends
        self._left = deque(candidates)
        self._here = 0
        self._pause = 0.0
        self._errors: list[Exception] = []
        self._shut: list[Breaker] = []

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Try:
        pause, self._pause = self._pause, 0.0
        if pause:
            await asyncio.sleep(pause)
        while self._left and self._seconds > 0:
            backend = self._left[0]
            if self._here or await self._room.fits(backend):
                breaker = self.tries.breaker(backend.name)
                one = breaker.enter()
                if one is not None:
                    self._here += 1
                    return Try(self, backend, breaker, one, self._limit(backend))
                self._shut.append(breaker)
            self._go_on()
        raise self._told()

    @property
    def _seconds(self) -> float:
        """What is left of the deadline."""
        return self._ends - self.tries.ticks()

    def _limit(self, backend: Backend) -> float | None:
        if self.caller.item is not None and backend.name in self.tries.unhurried:
            return None
        seconds = min(self._seconds, self.tries.limits.get(backend.name, float("inf")))
        return None if seconds == float("inf") else seconds

    def _go_on(self) -> None:
        self._left.popleft()
        self._here = 0

    def failed(self, backend: Backend, error: Exception) -> bool:
        """A try failed before its content began; whether another may follow."""
        if isinstance(error, RengaError) and error.status < 500 and not error.again:
            return False  # the request's own fault, here as everywhere
        if not isinstance(error, RengaError):
            _log.error("backend '%s' failed in a request", backend.name, exc_info=error)
        self._errors.append(error)
        pause = self._pause_before_more(error)
        if pause is None:
            self._go_on()
        else:
            self._pause = pause
        return True

    def _pause_before_more(self, error: Exception) -> float | None:
        """Seconds until the same backend is tried again; None where it is not.

        A longer time than any pause of ours is not waited for: it is told to the caller, if nobody
        else answers.
        """
        retry = self.tries.retry
        again = isinstance(error, RengaError) and error.again and error.cause not in ELSEWHERE
        if not again or self._here >= retry.attempts:
            return None
        assert isinstance(error, RengaError)
        longest = min(retry.cap_ms, retry.base_ms * 2 ** (self._here - 1)) / 1000
        pause = self.tries.rng.uniform(0, longest)
        if error.retry_after is not None:
            if error.retry_after > retry.cap_ms / 1000:
                return None
            pause += error.retry_after  # never before; jitter on top, for others were told the same
        return pause if pause < self._seconds else None

    def _told(self) -> Exception:
        """What the caller is told: whatever says when to come again, else what happened last."""
        if self._errors:
            overloads = (error for error in self._errors if isinstance(error, Overloaded))
            told = next(overloads, self._errors[-1])
            if isinstance(told, RengaError) and told.cause in OPERATORS:
                told.again = False
            return told
        if self._shut:
            wait = max(1.0, min(breaker.wait for breaker in self._shut))
            return Overloaded(
                "every backend that could answer has kept failing and is left alone for now; "
                "the server's log has the reasons",
                retry_after=wait,
                cause="left_alone",
            )
        if self._seconds <= 0:
            return GatewayTimeout("no backend began to answer in time", cause="deadline")
        return self._room.refusal()


class Try:
    """One try, to be entered with `with`: an error in it that can be made up for ends there."""

    def __init__(
        self, plan: Plan, backend: Backend, breaker: Breaker, one: Pass, seconds: float | None
    ) -> None:
        self.backend = backend
        self._plan = plan
        self._breaker = breaker
        self._pass = one
        self._seconds = seconds
        self._begun = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Literal[False] | bool:
        if error is None:
            self._breaker.succeeded(self._pass)
            return False
        if isinstance(error, Exception) and _speaks_against(error):
            if self._breaker.failed(self._pass):
                _log.warning(
                    "backend '%s' keeps failing and is left alone for %.0f s: %s",
                    self.backend.name,
                    self._breaker.wait,
                    error,
                )
        elif isinstance(error, RengaError) and error.cause is not None:
            self._breaker.succeeded(self._pass)  # it answered, if not as was hoped
        else:
            self._breaker.left(self._pass)
        if self._begun or not isinstance(error, Exception):
            return False
        return self._plan.failed(self.backend, error)

    async def events(self, stream: AsyncIterator[Event], attempt: Attempt) -> AsyncIterator[Event]:
        """The events of `stream`, none before its content has begun; `attempt` sees all at once."""
        held: list[Event] = []
        async with aclosing(stream) as events:  # type: ignore[type-var]
            await self._until_content(events, attempt, held)
            self._begun = True
            self._breaker.begun(self._pass)
            self._plan.caller.receipt.trying_since = None
            for event in held:
                yield event
            async for event in events:
                attempt.see(event)
                yield event

    async def _until_content(
        self, events: AsyncIterator[Event], attempt: Attempt, held: list[Event]
    ) -> None:
        order = Order()
        scope = asyncio.timeout(self._seconds)
        try:
            async with scope:
                async for event in events:
                    attempt.see(event)
                    order.see(event)
                    if event.type == "ping":
                        self._breaker.begun(self._pass)  # there is somebody, if nothing said yet
                    else:
                        held.append(event)
                    if event.type in CONTENT:
                        return
                order.end()
        except OrderError as error:
            raise OrderError(error.message, cause="malformed_sse", again=True) from error
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise GatewayTimeout(
                f"backend '{self.backend.name}' did not begin to answer in time",
                cause="slow_trickle" if held else "slow_first_byte",
                again=True,
            ) from error


def _speaks_against(error: Exception) -> bool:
    """Whether an error says that the backend does not work: a fault, by its cause.

    What a model here raises has none: its process is watched and started again by itself.
    """
    return isinstance(error, RengaError) and error.status >= 500 and error.cause is not None
