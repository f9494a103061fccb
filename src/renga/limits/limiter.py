"""Limits on requests: asked before an answer begins, told in the end what it took.

Owns which limits hold for a request (its key's, its workspace's and its tier's), what it reserves
of each and what it settles; and the task that exchanges with the shared buckets, for all limits
that have something to say at a time. In the common case a request asks nobody: what it needs was
taken ahead. Time is a parameter; knows no HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Final, Self

from renga.caller import Caller
from renga.config import LimitConfig, LimitsConfig
from renga.errors import RateLimited, RengaError
from renga.limits.allowances import Allowance
from renga.limits.buckets import DOLLARS, RATES, SLOTS, UNIT, Order, Outcome, trade, units
from renga.limits.expecting import Expected, counted_input, dearest, letters_of
from renga.limits.refusing import refused
from renga.limits.standing import Standing, standing_of
from renga.prices import NO_TOKENS, Price, Tokens
from renga.store import Store, StoreError
from renga.store import limiting as sql
from renga.store.limiting import Bucket, Place, Share
from renga.types import Prompt

TICK_SECONDS: Final = 0.05
"""How long what is not urgent waits for company."""

MOST_PLACES: Final = 1_000
"""Buckets of one transaction."""

MOST_ROUNDS: Final = 8
"""How often a request comes again for what others took that came in the meantime."""

BURY_SECONDS: Final = 15.0
FORGET_SECONDS: Final = 600.0
KEPT_DAYS: Final = 62
"""For how long the buckets of past days and months are kept."""

_log = logging.getLogger(__name__)


@dataclass
class _Held:
    """The limits that hold for one caller and tier, by kind; `until` is when the day ends."""

    until: float
    expected: Expected
    kinds: dict[str, list[Allowance]] = field(default_factory=dict)
    counts_tokens: bool = False

    @property
    def dollars(self) -> list[Allowance]:
        """Those that hold for every request, in a batch too."""
        return [a for kind in DOLLARS for a in self.kinds.get(kind, ())]


class Limits:
    """The limits of one server.

    Args:
        config: what is configured.
        store: the database that the servers share.
        instance_id: this server, whose lease is in the database.
        clock: Unix seconds.
        ticks: seconds of a clock that never goes back.

    Attributes:
        refusals: how often a request was refused, by scope (`key`, `workspace`, `tier`) and limit.
    """

    def __init__(
        self,
        config: LimitsConfig,
        store: Store,
        *,
        instance_id: str,
        clock: Callable[[], float],
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._store = store
        self._instance_id = instance_id
        self._clock = clock
        self._ticks = ticks
        self._allowances: dict[Place, Allowance] = {}
        self._expected: dict[str, Expected] = {}
        self._held: dict[tuple[str | None, str, str, str], _Held] = {}
        self._dirty: list[Allowance] = []
        self._waiting: list[tuple[Sequence[tuple[Allowance, int]], asyncio.Future[bool]]] = []
        self._wake, self._urgent = asyncio.Event(), asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.refusals: Counter[tuple[str, str]] = Counter()

    def start(self) -> None:
        """Begin to exchange with the shared buckets, on the running loop."""
        self._task = asyncio.create_task(self._run(), name="renga-limits")
        self._store.writer.every(BURY_SECONDS, lambda c: sql.bury_in(self._store, c, self._clock))

    async def aclose(self) -> None:
        """Settle what was used and give the rest back."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        for _, future in self._waiting:
            future.cancel()
        if not self._allowances:
            return
        with suppress(StoreError):  # the lease ends, and whoever comes next counts what was spent
            await self._give_all_back()

    async def _give_all_back(self) -> None:
        rest = list(self._allowances.values())
        for allowance in rest:
            allowance.needs.clear()
        for at in range(0, len(rest), MOST_PLACES):
            orders = {a.place: a.draft_last() for a in rest[at : at + MOST_PLACES]}
            await self._exchange(orders)
        before = self._clock() - timedelta(days=KEPT_DAYS).total_seconds()
        await sql.drop(self._store, self._instance_id, before_us=round(before * 1_000_000))

    # -- requests --

    def reserved(self, caller: Caller, tier: str, prompt: Prompt, price: Price) -> Reservation:
        """What `prompt` needs, from the block's beginning to its end.

        Entering the block raises RateLimited, or UsageLimitReached where dollars are spent.
        A request of a batch reserves dollars alone: its pace is the batch's own.
        """
        held = self._held_by(caller, tier)
        needs: list[tuple[Allowance, int]] = []
        if not held.kinds:
            return Reservation(None, needs, held.expected, 0)
        letters = letters_of(prompt) if held.counts_tokens else 0
        most = getattr(prompt, "max_tokens", 0)
        if caller.service == "standard":
            amounts = {
                RATES[0]: UNIT,
                RATES[1]: held.expected.input(letters) * UNIT,
                RATES[2]: held.expected.output(most) * UNIT,
                SLOTS: 1,
            }
            needs += [(a, n) for kind, n in amounts.items() for a in held.kinds.get(kind, ())]
        if dollars := held.dollars:
            cost = dearest(letters, most, price.for_service(caller.service))
            needs += [(allowance, cost) for allowance in dollars]
        return Reservation(self, needs, held.expected, letters)

    def standings(self, caller: Caller) -> Mapping[str, Standing]:
        """How `caller` stands with each limit of a minute that holds for it."""
        held, now = self._held_by(caller, caller.receipt.tier), self._ticks()
        found = {kind: standing_of(held.kinds.get(kind, ()), now) for kind in RATES}
        return {kind: standing for kind, standing in found.items() if standing is not None}

    def of(self, name: str, *, scope: str) -> LimitConfig:
        """What is configured for a key (by name or id), a workspace or a tier."""
        if scope == "key":
            return self._config.keys.get(name, self._config.default)
        tables = {"workspace": self._config.workspaces, "tier": self._config.tiers}
        return tables[scope].get(name, LimitConfig())

    def _held_by(self, caller: Caller, tier: str) -> _Held:
        which = (caller.key_id, caller.key_name, caller.workspace, tier)
        held = self._held.get(which)
        if held is None or self._clock() >= held.until:
            held = self._held[which] = self._find(caller, tier)
        return held

    def _find(self, caller: Caller, tier: str) -> _Held:
        now = datetime.fromtimestamp(self._clock(), UTC)
        day = now.replace(hour=0, minute=0, second=0, microsecond=0)
        since = {"usd_per_day": _us(day), "usd_per_month": _us(day.replace(day=1))}
        key_id = caller.key_id or ""
        expected = self._expected.setdefault(key_id, Expected())
        held = _Held((day + timedelta(days=1)).timestamp(), expected)
        for subject, limits, told in self._limits_of(caller, tier):
            for kind, most in vars(limits).items():
                if most is None:
                    continue
                place = Place(subject, kind, since.get(kind, 0))
                allowance = self._allowances.get(place)
                if allowance is None:
                    allowance = Allowance(place, units(kind, most), told)
                    self._allowances[place] = allowance
                held.kinds.setdefault(kind, []).append(allowance)
        counting = (*RATES[1:], *DOLLARS)
        held.counts_tokens = any(kind in held.kinds for kind in counting)
        return held

    def _limits_of(self, caller: Caller, tier: str) -> list[tuple[str, LimitConfig, str]]:
        """(subject, limits, the table in the configuration) for all that hold."""
        keys, name = self._config.keys, caller.key_name
        own = next((n for n in (caller.key_id or "", name) if n in keys), None)
        limits = self._config.default if own is None else keys[own]
        table = "default" if own is None else f"keys.{own}"
        found = [(f"key:{caller.key_id or ''}", limits, table)]
        if caller.workspace in self._config.workspaces:
            limits, table = self._config.workspaces[caller.workspace], caller.workspace
            found.append((f"workspace:{caller.workspace}", limits, f"workspaces.{table}"))
        if tier in self._config.tiers:
            found.append((f"tier:{tier}", self._config.tiers[tier], f"tiers.{tier}"))
        return found

    def take(self, needs: Sequence[tuple[Allowance, int]]) -> bool:
        """Take all of `needs` at once; False, and nothing taken, where some are not here."""
        for allowance, need in needs:
            if allowance.credit < need:
                return False
        now = self._ticks()
        for allowance, need in needs:
            allowance.take(need, now)
            self._mark(allowance)
        return True

    async def wait(self, needs: Sequence[tuple[Allowance, int]]) -> None:
        """Take all of `needs`, with exchanges for what is not here. Raises what refuses them."""
        for _ in range(MOST_ROUNDS):
            now = self._ticks()
            for allowance, need in needs:
                if allowance.credit < need:
                    after = allowance.refusal(need, now)
                    if after is not None:
                        raise self._refusal(allowance, after)
            for allowance, need in needs:
                if allowance.credit < need:
                    allowance.needs.append(need)
                    self._mark(allowance)
            future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            self._waiting.append((needs, future))
            self._urgent.set()
            if await _taken(future, self, needs):
                return
        raise RateLimited("too many requests came at the same time", retry_after=1.0)

    def settle(self, allowance: Allowance, taken: int, used: int) -> None:
        """What was `taken` of it turned out to be `used`."""
        allowance.settle(taken, used)
        self._mark(allowance)

    def _refusal(self, allowance: Allowance, after: float) -> RengaError:
        scope = allowance.place.subject.partition(":")[0]
        self.refusals[scope, allowance.place.kind] += 1
        return refused(allowance, after, self._clock())

    def _mark(self, allowance: Allowance) -> None:
        if not allowance.dirty:
            allowance.dirty = True
            self._dirty.append(allowance)
            self._wake.set()

    # -- exchanges --

    async def _run(self) -> None:
        forget_at = self._ticks() + FORGET_SECONDS
        while True:
            await self._wake.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK_SECONDS):
                    await self._urgent.wait()
            await self.exchange()
            if self._ticks() >= forget_at:
                self._forget()
                forget_at = self._ticks() + FORGET_SECONDS

    async def exchange(self) -> None:
        """Tell the buckets what there is to tell, and wake who waited for it."""
        self._urgent.clear()
        waiting, self._waiting = self._waiting, []
        now = self._ticks()
        due = [a for a in self._dirty if a.is_due(now)]
        due.sort(key=lambda allowance: not allowance.needs)
        try:
            for at in range(0, len(due), MOST_PLACES):
                await self._exchange({a.place: a.draft(now) for a in due[at : at + MOST_PLACES]})
        except Exception as error:  # noqa: BLE001  it belongs to those who wait; the task goes on
            if not isinstance(error, StoreError):
                _log.exception("limits could not be exchanged")
            for _, future in waiting:
                if not future.done():
                    future.set_exception(error)
            return
        finally:
            self._sweep_dirty()
        # Taken here, in the order in which they came: requests that come meanwhile have no wait,
        # and would take before those that were asked for could.
        for needs, future in waiting:
            if not future.done():
                future.set_result(self.take(needs))

    async def _exchange(self, orders: Mapping[Place, Order]) -> None:
        outcomes: dict[Place, Outcome] = {}

        def change(place: Place, bucket: Bucket, share: Share, others: int, now_us: int) -> None:
            outcomes[place] = trade(orders[place], bucket, share, others, now_us)

        try:
            await sql.exchange(
                self._store, self._instance_id, list(orders), change, clock=self._clock
            )
        except BaseException:
            for place, order in orders.items():
                self._allowances[place].undo(order)
            raise
        now = self._ticks()
        for place, order in orders.items():
            self._allowances[place].apply(order, outcomes[place], now)

    def _sweep_dirty(self) -> None:
        kept = []
        for allowance in self._dirty:
            if allowance.is_quiet:
                allowance.dirty = False
            else:
                kept.append(allowance)
        self._dirty = kept
        if not kept:
            self._wake.clear()

    def _forget(self) -> None:
        """Drop what was not asked for in a while; it is read again when it is."""
        now = self._ticks()
        idle = {p for p, a in self._allowances.items() if a.is_idle(now, FORGET_SECONDS)}
        if not idle:
            return
        for place in idle:
            del self._allowances[place]
        self._held.clear()


async def _taken(
    future: asyncio.Future[bool], limits: Limits, needs: Sequence[tuple[Allowance, int]]
) -> bool:
    """What an exchange did for who waits; what it took for one who left goes back."""
    try:
        return await future
    except asyncio.CancelledError:
        ended = future.done() and not future.cancelled() and future.exception() is None
        if ended and future.result():
            for allowance, taken in needs:
                limits.settle(allowance, taken, 0)
        raise


class Unlimited:
    """Limits where there are none."""

    def reserved(self, caller: Caller, tier: str, prompt: Prompt, price: Price) -> Reservation:
        """Nothing."""
        return Reservation(None, [], Expected(), 0)


class Reservation:
    """What a request has of the limits that hold for it, between entering and leaving a block."""

    __slots__ = ("_cost", "_expected", "_letters", "_limits", "_needs", "_tokens")

    def __init__(
        self,
        limits: Limits | None,
        needs: Sequence[tuple[Allowance, int]],
        expected: Expected,
        letters: int,
    ) -> None:
        self._limits = limits
        self._expected = expected
        self._needs = needs
        self._letters = letters
        self._tokens: Tokens = NO_TOKENS
        self._cost = 0

    async def __aenter__(self) -> Self:
        limits = self._limits
        if limits is not None and not limits.take(self._needs):
            await limits.wait(self._needs)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._limits is None:
            return
        used = self._used()
        for allowance, taken in self._needs:
            self._limits.settle(allowance, taken, used.get(allowance.place.kind, taken))

    def settle(self, tokens: Tokens, cost: int | None) -> None:
        """What the answer took: tokens by class, and pico-dollars (None: nobody knows)."""
        self._tokens, self._cost = tokens, cost or 0

    def _used(self) -> dict[str, int]:
        """What was used of each kind; what is not known is what was taken."""
        found = {SLOTS: 0, **dict.fromkeys(DOLLARS, self._cost)}
        counted, output = counted_input(self._tokens), self._tokens.output
        if counted is not None:
            found[RATES[1]] = counted * UNIT
        if output is not None:
            found[RATES[2]] = output * UNIT
        if counted and output is not None and self._letters:
            self._expected.learn(self._letters, counted, output)
        return found


def _us(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)
