"""What every answer to a caller says of its account: organization, workspace, rate limits.

Owns the headers' names and forms. The limits are the configured maxima: nothing is limited yet, so
all of each is always left, and full again now. Source: "Rate limits" of the API's documentation.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from starlette.requests import Request

from renga.caller import Caller
from renga.config import LimitsConfig
from renga.http.versions import printable

HEADERS = "renga.headers"  # their place in the ASGI scope: the door puts them on any response


class Account:
    """The headers of one server. `clock` is wall time in seconds."""

    def __init__(self, limits: LimitsConfig, *, home: Path, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._noted: tuple[str, int] | None = None
        self._lines: list[tuple[bytes, bytes]] = []
        # The API's is a UUID. One installation is one organization, and its folder tells it.
        self._organization = str(uuid.uuid5(uuid.NAMESPACE_URL, f"renga:{home}"))
        self._limits = {
            "requests": limits.requests_per_minute,
            "tokens": limits.input_tokens_per_minute + limits.output_tokens_per_minute,
            "input-tokens": limits.input_tokens_per_minute,
            "output-tokens": limits.output_tokens_per_minute,
        }

    def headers(self, caller: Caller) -> dict[str, str]:
        """What an answer to `caller` carries, be it an error."""
        reset = datetime.fromtimestamp(self._clock(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        found = {
            "anthropic-organization-id": self._organization,
            "anthropic-workspace-id": printable(caller.workspace),
        }
        for kind, most in self._limits.items():
            found[f"anthropic-ratelimit-{kind}-limit"] = str(most)
            found[f"anthropic-ratelimit-{kind}-remaining"] = str(most)
            found[f"anthropic-ratelimit-{kind}-reset"] = reset
        return found

    def note(self, request: Request, caller: Caller) -> None:
        """Have the door put them on the response to `request`."""
        key = (caller.workspace, int(self._clock()))
        if key != self._noted:  # they are the same for a second
            found = self.headers(caller).items()
            self._noted, self._lines = key, [(n.encode(), v.encode()) for n, v in found]
        request.scope[HEADERS] = self._lines
