"""`POST /v1/messages`, `POST /v1/messages/count_tokens` and `POST /v1/renga/score`.

Owns the order in which a request is checked (key, version, body, fields) and the headers that an
answer carries. It makes no answer: both forms of one come from the gateway's stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from renga.caller import Caller
from renga.events import fold_stream
from renga.gateway import Gateway
from renga.http.auth import Auth
from renga.http.body import decode, read_body
from renga.http.running import Running
from renga.http.sse import EventStream
from renga.http.validation import parse, unknown_fields
from renga.http.versions import (
    betas_of,
    ignored_header,
    ignored_headers,
    ignored_query,
    is_newer,
    printable,
    refuse_removed,
    version_of,
)
from renga.types import (
    UNSUPPORTED_FIELDS,
    CountRequest,
    MessagesRequest,
    Prompt,
    ScoreRequest,
    ignored_fields,
)

Asked = TypeVar("Asked", bound=Prompt)

JSON = "application/json"
INLINE = 262_144  # bytes of a body up to which understanding it does not go to a thread


@dataclass(frozen=True)
class Admitted(Generic[Asked]):
    """A request that may go down the path, who sent it, and what of it has no effect."""

    request: Asked
    caller: Caller
    ignored: Sequence[str]


class Messages:
    """The endpoints over their parts. `limit` is bytes of a body."""

    def __init__(
        self, *, gateway: Gateway, auth: Auth, running: Running, limit: int, ping_seconds: float
    ) -> None:
        self._gateway = gateway
        self._auth = auth
        self._running = running
        self._limit = limit
        self._ping_seconds = ping_seconds

    def routes(self) -> list[Route]:
        """What it answers."""
        return [
            Route("/v1/messages", self.create, methods=["POST"]),
            Route("/v1/messages/count_tokens", self.count_tokens, methods=["POST"]),
            Route("/v1/renga/score", self.score, methods=["POST"]),
        ]

    async def create(self, request: Request) -> Response | EventStream:
        """An answer, whole or as a stream."""
        admitted = await self._admit(request, MessagesRequest)
        events = self._gateway.stream(admitted.request, admitted.caller)
        if admitted.request.stream:
            return EventStream(
                events,
                running=self._running,
                head=lambda: answer_headers(admitted.caller, admitted.ignored),
                ping_seconds=self._ping_seconds,
            )
        message = await self._running.guard(fold_stream(events), request.receive)
        headers = answer_headers(admitted.caller, admitted.ignored)
        return Response(message.model_dump_json(), headers=headers, media_type=JSON)

    async def count_tokens(self, request: Request) -> Response:
        """The size of a prompt."""
        admitted = await self._admit(request, CountRequest)
        counting = self._gateway.count_tokens(admitted.request, admitted.caller)
        count = await self._running.guard(counting, request.receive)
        headers = answer_headers(admitted.caller, admitted.ignored)
        return Response(count.model_dump_json(), headers=headers, media_type=JSON)

    async def score(self, request: Request) -> Response:
        """How likely some continuations of a prompt are."""
        admitted = await self._admit(request, ScoreRequest)
        scoring = self._gateway.score(admitted.request, admitted.caller)
        scores = await self._running.guard(scoring, request.receive)
        headers = answer_headers(admitted.caller, admitted.ignored)
        return Response(scores.model_dump_json(), headers=headers, media_type=JSON)

    async def _admit(self, request: Request, model: type[Asked]) -> Admitted[Asked]:
        caller = await self._auth.caller(request)
        version = version_of(request)
        raw = await read_body(request, self._limit)
        betas = betas_of(request)
        if len(raw) <= INLINE:
            asked, unknown = understand(model, raw, version, betas)
        else:
            asked, unknown = await asyncio.to_thread(understand, model, raw, version, betas)
        effectless = [*ignored_headers(request), *ignored_query(request)]
        ignored = [*effectless, *unknown, *ignored_fields(asked)]
        return Admitted(asked, caller, ignored)


def understand(
    model: type[Asked], raw: bytes, version: str, betas: Sequence[str]
) -> tuple[Asked, Sequence[str]]:
    """What a body asks, and the fields of betas newer than this server. Raises InvalidRequest."""
    body = decode(raw)
    refuse_removed(version, body)
    unknown: Sequence[str] = ()
    if any(is_newer(beta) for beta in betas):
        unknown = unknown_fields(model, body, frozenset(UNSUPPORTED_FIELDS))
        body = {name: value for name, value in body.items() if name not in unknown}
    return parse(model, body), unknown


def answer_headers(caller: Caller, ignored: Sequence[str]) -> dict[str, str]:
    """What the receipt knows by now, and what was ignored, by the backend too."""
    receipt = caller.receipt
    ignored = [*ignored, *receipt.ignored]
    known = {
        "renga-tier": receipt.tier,
        "renga-served-tier": receipt.served_tier if receipt.served_tier != receipt.tier else "",
        "renga-backend": printable(receipt.backend),
        "renga-cost-usd": receipt.cost_usd or "",
    }
    return {k: v for k, v in known.items() if v} | ignored_header(ignored)
