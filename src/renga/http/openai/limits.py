"""What OpenAI's clients are told of rate limits: the `x-ratelimit-*` headers.

Owns their names and forms; the numbers are those of `renga.http.account`. Source: "Rate limits in
headers" of OpenAI's documentation, where a reset is a duration such as `1s` or `6m0s`.
"""

from __future__ import annotations

from functools import partial

from starlette.requests import Request

from renga.caller import Caller
from renga.http.account import HEADERS, Lines, shown
from renga.limits import Limits


class RateLimits:
    """The headers of one server."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def note(self, request: Request, caller: Caller) -> None:
        """Have the door put them on the response to `request`, be it an error."""
        request.scope[HEADERS] = partial(self._lines, caller)

    def _lines(self, caller: Caller) -> Lines:
        found: Lines = []
        told = shown(self._limits.standings(caller))
        for kind in ("requests", "tokens"):
            if kind in told:
                limit, remaining, reset = told[kind]
                found.append((f"x-ratelimit-limit-{kind}".encode(), b"%d" % limit))
                found.append((f"x-ratelimit-remaining-{kind}".encode(), b"%d" % remaining))
                found.append((f"x-ratelimit-reset-{kind}".encode(), duration(reset).encode()))
        return found


def duration(seconds: float) -> str:
    """Seconds as Go writes them, which OpenAI's servers do: `340ms`, `1.5s`, `6m0s`."""
    milliseconds = round(seconds * 1_000)
    if milliseconds < 1_000:
        return f"{milliseconds}ms" if milliseconds else "0s"
    minutes, rest = divmod(milliseconds, 60_000)
    shown_seconds = f"{rest / 1_000:.3f}".rstrip("0").rstrip(".") + "s"
    return f"{minutes}m{shown_seconds}" if minutes else shown_seconds
