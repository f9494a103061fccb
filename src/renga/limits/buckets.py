"""What happens to a bucket when a server comes to it: the arithmetic that all servers share.

Owns the three kinds of limits. One of a minute is a token bucket: it holds one minute's amount,
fills continuously, and may go into debt by what was found out late, which delays what comes after.
One of a number at the same time is slots. One of dollars is what was spent, and what running
answers may still cost. Whatever a server takes ahead of need is out of the bucket until it is used
or given back, and a bucket never fills beyond what is out: what is in circulation is never more
than the limit.

Source of the token bucket: "Rate limits" of the API's documentation ("the token bucket algorithm
... your capacity is continuously replenished up to your maximum limit"); J. Turner, "New directions
in communications", IEEE Communications Magazine 24 (1986), for the algorithm itself.

Does not know the database: it is called in a transaction that has the bucket's row.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from renga.prices import PICO
from renga.store.limiting import LARGEST, Bucket, Share

UNIT: Final = 1_000_000
"""In how many parts a request or a token is counted, so that a bucket fills smoothly."""

MINUTE_US: Final = 60_000_000

FAULT_US: Final = 120_000_000
"""How far a bucket's time may be ahead of a server's clock before it counts as wrong."""

SPARE: Final = 8
"""A server takes at most one in so many of what is left ahead of need: ever less near the limit."""

RATES: Final = ("requests_per_minute", "input_tokens_per_minute", "output_tokens_per_minute")
SLOTS: Final = "concurrent"
DOLLARS: Final = ("usd_per_day", "usd_per_month")


def units(kind: str, most: float) -> int:
    """What is configured, as it is counted: millionths, slots, or pico-dollars."""
    if kind in DOLLARS:
        return int(Decimal(repr(most)) * PICO)
    return int(most) * UNIT if kind in RATES else int(most)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a server has to say to a bucket, and what it asks for.

    Attributes:
        kind, most: the limit.
        keeps: what the server has of it and goes on to have.
        back: what it had and gives back.
        debt: what it used beyond what it had.
        settled: pico-dollars that it spent in all, since it began.
        needs: what requests that wait for it need, each by itself.
        want: what it would have for those that will come.
    """

    kind: str
    most: int
    keeps: int = 0
    back: int = 0
    debt: int = 0
    settled: int = 0
    needs: tuple[int, ...] = ()
    want: int = 0


@dataclass(slots=True)
class Outcome:
    """What came of an order.

    Attributes:
        granted: what the server now has beyond `keeps`.
        left: what nobody has, as of `at_us`; below zero is debt.
        refused: the least of the needs that were not met, None where all were.
        wait_us: after how long that one may be met, None where time does not tell.
        reached: whether a limit of dollars is spent, and not only reserved.
    """

    granted: int = 0
    left: int = 0
    at_us: int = 0
    refused: int | None = None
    wait_us: int | None = None
    reached: bool = False

    def refuse(self, need: int) -> None:
        """One of the needs is not met."""
        self.refused = need if self.refused is None else min(need, self.refused)


def trade(order: Order, bucket: Bucket, share: Share, others: int, now_us: int) -> Outcome:
    """Do what `order` says to `bucket` and to the server's `share`; `others` hold so much."""
    outcome = Outcome(at_us=now_us)
    if order.kind in RATES:
        _trade_rate(order, bucket, others, now_us, outcome)
    elif order.kind == SLOTS:
        outcome.left = order.most - others - order.keeps
        _grant(order, outcome, whole=True)
        bucket.seen_us = now_us
    else:
        _trade_dollars(order, bucket, share, others, now_us, outcome)
    share.held = order.keeps + outcome.granted
    return outcome


def _trade_rate(order: Order, bucket: Bucket, others: int, now_us: int, outcome: Outcome) -> None:
    fill(bucket, order.most, others + order.keeps + order.back, now_us)
    bucket.used = min(bucket.used - order.back + order.debt, LARGEST)
    outcome.left = order.most - bucket.used
    _grant(order, outcome, whole=False)
    bucket.used += outcome.granted
    if outcome.refused is not None:
        short = min(outcome.refused, order.most) - outcome.left
        outcome.wait_us = -(-short * MINUTE_US // order.most)


def fill(bucket: Bucket, most: int, out: int, now_us: int) -> None:
    """Fill a bucket of `most` a minute up to now, but for what is `out` of it.

    A clock that is a little behind fills nothing; one that is far behind is believed, since nothing
    would ever fill again if the other had been wrong.
    """
    if bucket.seen_us - now_us > FAULT_US:
        bucket.seen_us = now_us
    elapsed = now_us - bucket.seen_us
    if elapsed > 0:
        bucket.used = max(min(bucket.used, out), bucket.used - elapsed * most // MINUTE_US)
        bucket.seen_us = now_us


def _trade_dollars(
    order: Order, bucket: Bucket, share: Share, others: int, now_us: int, outcome: Outcome
) -> None:
    # By what it says in all: a settlement that was written without our knowing counts once.
    bucket.used = min(bucket.used + order.settled - share.settled, LARGEST)
    share.settled = order.settled
    bucket.seen_us = now_us
    outcome.reached = bucket.used >= order.most
    outcome.left = order.most - bucket.used - others - order.keeps
    for need in order.needs:
        if outcome.left > 0:  # the last one may go over the limit, by less than its own cost
            outcome.granted += need
            outcome.left -= need
        else:
            outcome.refuse(need)
    _spare(order, outcome)


def _grant(order: Order, outcome: Outcome, *, whole: bool) -> None:
    for need in order.needs:
        # What is more than a full bucket is given by a full one, which is then in debt.
        if outcome.left >= (need if whole else min(need, order.most)):
            outcome.granted += need
            outcome.left -= need
        else:
            outcome.refuse(need)
    _spare(order, outcome)


def _spare(order: Order, outcome: Outcome) -> None:
    if outcome.refused is None and outcome.left > 0:
        spare = min(order.want, outcome.left // SPARE)
        outcome.granted += spare
        outcome.left -= spare
