"""Who asks, and what the path tells back about the answer beside its events.

A `Caller` travels down the path unchanged; its `receipt` is filled by the gateway, so that an edge
can set headers and print costs without a second way through the code. Knows no keys and no HTTP.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from renga.prices import NO_TOKENS, Service, Tokens


@dataclass
class Receipt:
    """What is known of an answer while it is made.

    `cost_usd` is exact, known after the end. `ignored` are fields of the request that the backend
    accepted without effect.
    """

    tier: str = ""
    served_tier: str = ""
    model: str = ""
    backend: str = ""
    tokens: Tokens = NO_TOKENS
    cost_usd: str | None = None
    attempts: int = 0
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True)
class Caller:
    """One request's origin: the workspace that isolates it, the key that sent it, its id."""

    workspace: str
    request_id: str
    key_id: str | None = None
    service: Service = "standard"
    receipt: Receipt = field(default_factory=Receipt)
