"""What every answer to a caller says of its account: organization, workspace, rate limits.

Owns the headers' names and forms. They tell the limits that are configured: where there is no
limit there is no header. They are made when a response begins, so that they count the request that
it answers. Source: "Rate limits" of the API's documentation.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from starlette.requests import Request

from renga.caller import Caller
from renga.limits import Limits, Standing
from renga.workspaces import workspace_id

HEADERS = "renga.headers"  # their place in the ASGI scope: the door puts them on any response

Lines = list[tuple[bytes, bytes]]
Noted = Callable[[], Lines]

THOUSAND = 1_000  # to which tokens that are left are rounded
KINDS = {
    "requests": "requests_per_minute",
    "input-tokens": "input_tokens_per_minute",
    "output-tokens": "output_tokens_per_minute",
}


class Account:
    """The headers of one server. `clock` is wall time in seconds."""

    def __init__(self, limits: Limits, *, home: Path, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        # The API's is a UUID. One installation is one organization, and its folder tells it.
        self.organization = str(uuid.uuid5(uuid.NAMESPACE_URL, f"renga:{home}"))
        self._organization = (b"anthropic-organization-id", self.organization.encode())

    def note(self, request: Request, caller: Caller) -> None:
        """Have the door put them on the response to `request`, be it an error."""
        request.scope[HEADERS] = partial(self.lines, caller)

    def lines(self, caller: Caller) -> Lines:
        """What an answer to `caller` carries that begins now."""
        workspace = workspace_id(caller.workspace).encode()
        found = [self._organization, (b"anthropic-workspace-id", workspace)]
        standings = self._limits.standings(caller)
        if standings:
            now = self._clock()
            for kind, (limit, remaining, reset) in shown(standings).items():
                name = f"anthropic-ratelimit-{kind}-"
                until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(math.ceil(now + reset)))
                found.append((f"{name}limit".encode(), b"%d" % limit))
                found.append((f"{name}remaining".encode(), b"%d" % remaining))
                found.append((f"{name}reset".encode(), until.encode()))
        return found


def shown(standings: Mapping[str, Standing]) -> dict[str, tuple[int, int, float]]:
    """(limit, remaining, seconds until it is full) as they are told: tokens in thousands.

    `tokens` are those in and out together, where both are limited.
    """
    found: dict[str, tuple[int, int, float]] = {}
    tokens: tuple[int, int, float] | None = None
    for kind, name in KINDS.items():
        standing = standings.get(name)
        if standing is None:
            continue
        told = (standing.limit, standing.remaining, standing.reset_seconds)
        if kind != "requests":
            limit, left, reset = tokens or (0, 0, 0.0)
            tokens = (limit + told[0], left + told[1], max(reset, told[2]))
            told = _rounded(told)
        found[kind] = told
    if tokens is not None:
        found["tokens"] = _rounded(tokens)
    return found


def _rounded(told: tuple[int, int, float]) -> tuple[int, int, float]:
    """Tokens that are left, to the nearest thousand, and no more than the limit."""
    limit, left, reset = told
    return limit, min(THOUSAND * ((left + THOUSAND // 2) // THOUSAND), limit), reset
