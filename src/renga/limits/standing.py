"""How a caller stands with the limits of a minute, as headers tell it.

Owns which limit is told where several hold: the one of which the least share is left. Source: "Rate
limits" of the API's documentation, "the most restrictive limit currently in effect".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from renga.limits.allowances import Allowance
from renga.limits.buckets import UNIT


@dataclass(frozen=True, slots=True)
class Standing:
    """One limit: what it is, how much of it is left, and in how many seconds it is full again."""

    limit: int
    remaining: int
    reset_seconds: float


def standing_of(allowances: Iterable[Allowance], now: float) -> Standing | None:
    """The most restrictive of limits of one kind; None where there is none."""
    tightest: tuple[float, Allowance, int] | None = None
    for allowance in allowances:
        left = allowance.remaining(now)
        share = left / allowance.most
        if tightest is None or share < tightest[0]:
            tightest = (share, allowance, left)
    if tightest is None:
        return None
    share, allowance, left = tightest
    return Standing(allowance.most // UNIT, left // UNIT, (1 - share) * 60)
