"""Who asks, and what the path tells back about the answer beside its events.

A `Caller` travels down the path unchanged; its `receipt` is filled by the gateway, so that an edge
can set headers and print costs without a second way through the code. Knows no keys and no HTTP.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from renga.prices import NO_TOKENS, Service, Tokens
from renga.watching.traces import NO_TRACE, Trace

CACHED: Final = "cached_response"
"""What the ledger's notes call it that an answer was given before."""


@dataclass
class Receipt:
    """What is known of an answer while it is made.

    `tokens` is what the answer is charged for so far. `cost_usd` is exact, known after the end.
    `ignored` are fields of the request that the backend accepted without effect, `estimated` is
    whether a prompt's size is an estimate, `transcribed` what of it reached the model as text
    alone, such as `images=2`; `notes` is what layers have to say of
    the answer, in JSON values. `trying_since` is when it was begun to be tried for, by a clock that
    only goes forward, while nothing of it has come. `cached_age` is how many seconds ago it was
    given first, where it was. `ended` is the ledger's word for how it ended, "" until then, and
    `cause` what it failed of.
    """

    tier: str = ""
    served_tier: str = ""
    model: str = ""
    backend: str = ""
    tokens: Tokens = NO_TOKENS
    cost_usd: str | None = None
    attempts: int = 0
    ignored: tuple[str, ...] = ()
    estimated: bool = False
    transcribed: str = ""
    notes: dict[str, Any] = field(default_factory=dict)
    trying_since: float | None = None
    cached_age: int | None = None
    ended: str = ""
    cause: str | None = None
    _settled: Tokens = NO_TOKENS

    def charge(self, tokens: Tokens, status: str) -> None:
        """Take what an attempt used, that ended with `status`.

        Attempts of one answer add up. One that failed counts only while no other follows it: its
        caller pays what was made when it was the end, and not for a try that was made up for.
        """
        self.tokens = self._settled.plus(tokens)
        if status != "error":
            self._settled = self.tokens


@dataclass(frozen=True)
class Caller:
    """One request's origin: the workspace that isolates it, the key that sent it, its id.

    `key_name` is what the key's maker called it, `scopes` are what it may do (`renga.keys`).
    `patience` is how many seconds it waits for an answer to begin, where it says so;
    `allows_cached`, whether it takes an old answer over none.
    `item` is which request of which batch it is, alike whenever that is done again.
    `layer` names the layer that asks, where it is not the caller's own request as it came; `trace`
    is the span that the work belongs to.
    """

    workspace: str
    request_id: str
    key_id: str | None = None
    key_name: str = ""
    scopes: frozenset[str] = frozenset()
    service: Service = "standard"
    patience: float | None = None
    allows_cached: bool = False
    item: tuple[str, int] | None = None
    layer: str | None = None
    receipt: Receipt = field(default_factory=Receipt)
    trace: Trace = NO_TRACE
