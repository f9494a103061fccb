"""What OpenAI's clients are told of rate limits: the `x-ratelimit-*` headers.

Owns their names and forms. The numbers are those of `renga.http.account`: the configured maxima,
all of which is always left, since nothing is limited yet. Source: "Rate limits in headers" of
OpenAI's documentation.
"""

from __future__ import annotations

from starlette.requests import Request

from renga.config import LimitsConfig
from renga.http.account import HEADERS


class RateLimits:
    """The headers of one server."""

    def __init__(self, limits: LimitsConfig) -> None:
        kinds = {
            "requests": limits.requests_per_minute,
            "tokens": limits.input_tokens_per_minute + limits.output_tokens_per_minute,
        }
        self._lines: list[tuple[bytes, bytes]] = []
        for kind, most in kinds.items():
            for name, value in (("limit", most), ("remaining", most), ("reset", "0s")):
                self._lines.append((f"x-ratelimit-{name}-{kind}".encode(), str(value).encode()))

    def note(self, request: Request) -> None:
        """Have the door put them on the response to `request`, be it an error."""
        request.scope[HEADERS] = self._lines
