"""What this server has of one limit: taken ahead of need, used without asking anybody.

Owns how much is taken ahead (what half a second's requests need, by what the last ones did) and
when it goes back (after two seconds without any). What is used here was taken from the shared
bucket before, so that all servers together never use more than there is. Does not know requests;
what a bucket does with an order is `renga.limits.buckets`'s.
"""

from __future__ import annotations

from typing import Final

from renga.limits.buckets import MINUTE_US, RATES, SLOTS, Order, Outcome
from renga.store.limiting import Place

AHEAD_SECONDS: Final = 0.5
IDLE_SECONDS: Final = 2.0
SETTLE_SECONDS: Final = 0.5
"""After how long what was settled here is told, though nothing is needed."""

FEW: Final = 4
"""So many requests' need is taken ahead at least, where there is plenty."""

LONGEST_REFUSAL: Final = 1.0
"""Seconds that a refusal is repeated without asking the bucket again: others may give back."""


class Allowance:
    """This server's part of the limit at `place`, which is `most` in all.

    Ticks are seconds of a clock that never goes back.

    Attributes:
        credit: what may be used at once; below zero, what was used beyond it.
        busy: what running requests have, of slots and dollars.
        open: how many of those requests there are, of every kind.
        left, left_at: what nobody has, by the last exchange, and the tick of it.
        told: how configuration and messages name it.
    """

    __slots__ = (
        "_drafted", "_needed", "_pace", "_recent", "_refused", "_refused_until", "_retry_at",
        "_settled", "_told_held", "_told_settled", "_used_at", "busy", "credit", "dirty", "left",
        "left_at", "most", "needs", "open", "place", "reached", "told",
    )  # fmt: skip

    def __init__(self, place: Place, most: int, told: str) -> None:
        self.place = place
        self.most = most
        self.told = told
        self.credit = 0
        self.busy = 0
        self.open = 0
        self.left = most
        self.left_at = 0.0
        self.reached = False
        self.dirty = False
        self.needs: list[int] = []
        self._settled = self._told_settled = 0
        self._told_held: int | None = 0
        self._recent = 0
        self._needed = 0
        self._pace = 0.0
        self._drafted = self._used_at = 0.0
        self._refused: int | None = None
        self._refused_until = self._retry_at = 0.0

    # -- requests --

    def take(self, need: int, now: float) -> None:
        """Use `need` of the credit, which has it."""
        self.credit -= need
        self._recent += need
        self._needed = need
        self._used_at = now
        self.open += 1
        if self.place.kind not in RATES:
            self.busy += need

    def settle(self, taken: int, used: int) -> None:
        """What was `taken` turned out to be `used`."""
        self.open -= 1
        self.credit += taken - used
        if self.place.kind in RATES:
            self._recent += used - taken
            return
        self.busy -= taken
        self._settled += used

    def refusal(self, need: int, now: float) -> float | None:
        """Seconds after which `need` may be met, where it is known that it cannot be now."""
        if self._refused is None or now >= self._refused_until or need < self._refused:
            return None
        return max(self._retry_at - now, 0.001)

    # -- exchanges --

    def is_due(self, now: float) -> bool:
        """Whether there is something to tell the bucket, or to ask of it."""
        if self.needs or self.credit < 0:
            return True
        since = now - self._drafted
        if self.place.kind in RATES:
            low = self._recent > 0 and self.credit < self._target() // 2
            return low or (now - self._used_at >= IDLE_SECONDS and not self.is_quiet)
        return since >= SETTLE_SECONDS and not self.is_quiet

    @property
    def is_quiet(self) -> bool:
        """Whether the bucket knows all, and nothing is here that it could have."""
        told = self._settled == self._told_settled and self._told_held == self.busy
        return told and self.credit == 0 and not self.needs

    def draft(self, now: float) -> Order:
        """What to say to the bucket now. What goes back is no longer credit from here on."""
        self._measure(now)
        target = 0 if now - self._used_at >= IDLE_SECONDS else self._target()
        back = self.credit - target if self.credit > 2 * target else 0
        if self.needs:  # what was too little for one of them is asked for together with the rest
            back = max(self.credit, 0)
        self.credit -= back
        debt = max(-self.credit, 0)
        self.credit += debt
        needs, self.needs = tuple(self.needs), []
        return Order(
            kind=self.place.kind,
            most=self.most,
            keeps=self.credit + self.busy,
            back=back,
            debt=debt,
            settled=self._settled,
            needs=needs,
            want=max(target - self.credit, 0),
        )

    def draft_last(self) -> Order:
        """What to say at the end: all goes back but what is settled."""
        back, self.credit = max(self.credit, 0), min(self.credit, 0)
        debt, self.credit, self.busy = -self.credit, 0, 0
        return Order(
            kind=self.place.kind, most=self.most, back=back, debt=debt, settled=self._settled
        )

    def is_idle(self, now: float, seconds: float) -> bool:
        """Whether nothing was asked of it in so many seconds, and nothing is open."""
        return self.is_quiet and self.open == 0 and now - self._used_at > seconds

    def apply(self, order: Order, outcome: Outcome, now: float) -> None:
        """Take what came of `order`."""
        self.credit += outcome.granted
        self._told_settled, self._told_held = order.settled, order.keeps + outcome.granted
        self.left, self.left_at, self.reached = outcome.left, now, outcome.reached
        self._refused = outcome.refused
        if outcome.refused is not None:
            wait = 1.0 if outcome.wait_us is None else outcome.wait_us / 1_000_000
            self._retry_at = now + wait
            # Slots and reserved dollars come free at any moment: their bucket is asked again soon.
            longest = LONGEST_REFUSAL if outcome.wait_us is not None or self.reached else 0.02
            self._refused_until = now + min(wait, longest)

    def undo(self, order: Order) -> None:
        """`order` may not have reached the bucket: what is owed there is owed still.

        What was given back is gone: it is not known whether it arrived.
        """
        self.credit -= order.debt
        self._told_held = None

    def remaining(self, now: float) -> int:
        """What this server knows to be left, 0 to `most`."""
        left = self.left + self.credit
        if self.place.kind in RATES:
            left += int((now - self.left_at) * 1_000_000) * self.most // MINUTE_US
        return max(0, min(left, self.most))

    def _measure(self, now: float) -> None:
        """How much is used in a second, the last exchange's time weighing half."""
        since = max(now - self._drafted, 0.05)
        self._pace = (self._pace + max(self._recent, 0) / since) / 2
        self._recent = 0
        self._drafted = now

    def _target(self) -> int:
        if self.place.kind == SLOTS:
            return max(1, self.busy // 4)
        return max(int(self._pace * AHEAD_SECONDS), FEW * self._needed)
