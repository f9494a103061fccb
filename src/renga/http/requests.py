"""`GET /v1/renga/requests/{request-id}`: the ledger's row of one answer, with its attempts.

Owns whose rows a caller may see: those of its own workspace; another's is a 404 like one that is
not there. The columns are the ledger's.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from typing_extensions import TypedDict

from renga.errors import NotFound
from renga.http.auth import Auth
from renga.ledger import AnswerRow, AttemptRow, Ledger, Price, Tokens, dollars


class TokenCounts(TypedDict):
    """Tokens by class; null where nobody counted."""

    input: int | None
    cache_read: int | None
    cache_write_5m: int | None
    cache_write_1h: int | None
    output: int | None
    reused: int | None
    thinking: int | None


class PicoPrice(TypedDict):
    """Pico-dollars for a token of each class."""

    input: int
    cache_read: int
    cache_write_5m: int
    cache_write_1h: int
    output: int


class RequestAttempt(TypedDict):
    """One try on one backend. Times are RFC 3339."""

    number: int
    backend: str
    layer: str | None
    status: str
    error: str | None
    cause: str | None
    tokens: TokenCounts
    own_cost_usd: str | None
    opened_at: str | None
    first_token_at: str | None
    closed_at: str | None


class RequestRow(TypedDict):
    """The ledger's row of one answer. Times are RFC 3339, the exact cost is in pico-dollars."""

    type: Literal["renga_request"]
    request_id: str
    workspace: str
    key_id: str | None
    tier: str
    served_tier: str | None
    model_requested: str
    model: str
    backend: str | None
    service: str
    status: str
    stop_reason: str | None
    error_type: str | None
    tokens: TokenCounts
    price_pico_per_token: PicoPrice
    cost_pico: int | None
    cost_usd: str | None
    received_at: str | None
    first_token_at: str | None
    closed_at: str | None
    notes: dict[str, Any]
    attempts: list[RequestAttempt]


class Requests:
    """The endpoint over the ledger."""

    def __init__(self, *, ledger: Ledger, auth: Auth) -> None:
        self._ledger = ledger
        self._auth = auth

    def routes(self) -> list[Route]:
        """What it answers."""
        return [Route("/v1/renga/requests/{request_id}", self.retrieve, methods=["GET"])]

    async def retrieve(self, request: Request) -> Response:
        """One row."""
        caller = await self._auth.caller(request, "usage")
        wanted = request.path_params["request_id"]
        row = await self._ledger.get(wanted)
        if row is None or row.workspace != caller.workspace:
            raise NotFound(
                f"request_id: no answer was made under '{wanted[:100]}' in this workspace"
            )
        return JSONResponse(described(row))


def described(row: AnswerRow) -> RequestRow:
    """The row on the wire: times in RFC 3339, prices and the exact cost in pico-dollars."""
    return {
        "type": "renga_request",
        "request_id": row.request_id,
        "workspace": row.workspace,
        "key_id": row.key_id,
        "tier": row.tier,
        "served_tier": row.served_tier,
        "model_requested": row.model_requested,
        "model": row.model,
        "backend": row.backend,
        "service": row.service,
        "status": row.status,
        "stop_reason": row.stop_reason,
        "error_type": row.error_type,
        "tokens": _tokens(row.tokens),
        "price_pico_per_token": _price(row.price),
        "cost_pico": row.cost_pico,
        "cost_usd": row.cost_usd,
        "received_at": _time(row.received_at),
        "first_token_at": _time(row.first_token_at),
        "closed_at": _time(row.closed_at),
        "notes": dict(row.notes),
        "attempts": [_attempt(attempt) for attempt in row.attempts],
    }


def _attempt(row: AttemptRow) -> RequestAttempt:
    return {
        "number": row.number,
        "backend": row.backend,
        "layer": row.layer,
        "status": row.status,
        "error": row.error,
        "cause": row.cause,
        "tokens": _tokens(row.tokens),
        "own_cost_usd": None if row.own_cost_pico is None else dollars(row.own_cost_pico),
        "opened_at": _time(row.opened_at),
        "first_token_at": _time(row.first_token_at),
        "closed_at": _time(row.closed_at),
    }


def _tokens(tokens: Tokens) -> TokenCounts:
    return {
        "input": tokens.input,
        "cache_read": tokens.cache_read,
        "cache_write_5m": tokens.cache_write_5m,
        "cache_write_1h": tokens.cache_write_1h,
        "output": tokens.output,
        "reused": tokens.reused,
        "thinking": tokens.thinking,
    }


def _price(price: Price) -> PicoPrice:
    return {
        "input": price.input,
        "cache_read": price.cache_read,
        "cache_write_5m": price.cache_write_5m,
        "cache_write_1h": price.cache_write_1h,
        "output": price.output,
    }


def _time(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
