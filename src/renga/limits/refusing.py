"""What is said to a caller who is over a limit: which one, whose it is, and when to come again.

Owns the sentences. A limit of a minute or of a number at the same time is a 429 with `retry-after`;
dollars that are spent are a 400, with the day from which there are more, as the API says it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from renga.errors import RateLimited, RengaError, UsageLimitReached
from renga.limits.allowances import Allowance
from renga.limits.buckets import DOLLARS, RATES, UNIT
from renga.prices import dollars

_OF: Final = {
    "requests_per_minute": "{most:,} requests per minute",
    "input_tokens_per_minute": "{most:,} input tokens per minute",
    "output_tokens_per_minute": "{most:,} output tokens per minute",
    "concurrent": "{most:,} requests at the same time",
    "usd_per_day": "${most} per day",
    "usd_per_month": "${most} per month",
}


def refused(allowance: Allowance, after: float, now: float) -> RengaError:
    """The error for a request over that limit, which may come again `after` seconds.

    `now` is Unix seconds.
    """
    kind = allowance.place.kind
    most: object = allowance.most // UNIT if kind in RATES else allowance.most
    if kind in DOLLARS:
        most = dollars(allowance.most)
    limit = f"{_OF[kind].format(most=most)} of {_whose(allowance.place.subject)}"
    setting = f"`{kind}` of [limits.{allowance.told}]"
    if kind not in DOLLARS:
        message = f"This request would exceed the limit of {limit} ({setting})"
        return RateLimited(message, retry_after=after)
    if allowance.reached:
        return UsageLimitReached(
            "You have reached your specified API usage limits. You will regain access on "
            f"{_next(kind, now):%Y-%m-%d at %H:%M} UTC. This is the limit of {limit} ({setting})"
        )
    return RateLimited(
        f"What is left of the limit of {limit} is reserved by running requests ({setting})",
        retry_after=max(after, 1.0),
    )


def _whose(subject: str) -> str:
    scope, _, name = subject.partition(":")
    if scope == "key":
        return "this key" if name else "all who send no key"
    return f"the {scope} '{name}'"


def _next(kind: str, now: float) -> datetime:
    """When the next day or month begins."""
    day = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if kind.endswith("day"):
        return day + timedelta(days=1)
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)
