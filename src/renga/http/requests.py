"""`GET /v1/renga/requests/{request-id}`: the ledger's row of one answer, with its attempts.

Owns whose rows a caller may see: those of its own workspace; another's is a 404 like one that is
not there. The columns are the ledger's.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from renga.errors import NotFound
from renga.http.auth import Auth
from renga.ledger import AnswerRow, AttemptRow, Ledger, Price, Tokens


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
        caller = await self._auth.caller(request)
        wanted = request.path_params["request_id"]
        row = await self._ledger.get(wanted)
        if row is None or row.workspace != caller.workspace:
            raise NotFound(
                f"request_id: no answer was made under '{wanted[:100]}' in this workspace"
            )
        return JSONResponse(described(row))


def described(row: AnswerRow) -> dict[str, Any]:
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


def _attempt(row: AttemptRow) -> dict[str, Any]:
    return {
        "number": row.number,
        "backend": row.backend,
        "layer": row.layer,
        "status": row.status,
        "error": row.error,
        "tokens": _tokens(row.tokens),
        "opened_at": _time(row.opened_at),
        "first_token_at": _time(row.first_token_at),
        "closed_at": _time(row.closed_at),
    }


def _tokens(tokens: Tokens) -> dict[str, int | None]:
    return {
        "input": tokens.input,
        "cache_read": tokens.cache_read,
        "cache_write_5m": tokens.cache_write_5m,
        "cache_write_1h": tokens.cache_write_1h,
        "output": tokens.output,
        "reused": tokens.reused,
    }


def _price(price: Price) -> dict[str, int]:
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
