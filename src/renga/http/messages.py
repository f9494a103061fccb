"""`POST /v1/messages`, `POST /v1/messages/count_tokens` and `POST /v1/renga/score`.

Owns the order in which a request is checked (key, version, betas, body, fields), what an unknown
beta lets pass, and the headers that an answer carries. It makes no answer: both forms of one come
from the gateway's stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from renga.caller import Caller
from renga.events import fold_stream
from renga.gateway import Gateway
from renga.http.account import Account
from renga.http.auth import Auth
from renga.http.betas import HARMLESS_FIELDS, INTERLEAVED, refuse_unknown, unknown
from renga.http.body import decode, read_body
from renga.http.running import Running
from renga.http.sse import EventStream
from renga.http.validation import parse, unknown_fields
from renga.http.versions import (
    betas_of,
    ignored_header,
    ignored_headers,
    ignored_query,
    printable,
    refuse_removed,
    refuse_removed_blocks,
    version_of,
)
from renga.types import (
    UNSUPPORTED_FIELDS,
    CountRequest,
    MessagesRequest,
    Prompt,
    ScoreRequest,
    ThinkingEnabled,
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


@dataclass(frozen=True)
class Manners:
    """How the endpoints behave: bytes of a body, silence in a stream, and whether strangers pass.

    `strict` refuses betas that are not known, and fields beside them.
    """

    limit: int
    ping_seconds: float
    strict: bool = False


class Messages:
    """The endpoints over their parts."""

    def __init__(
        self,
        *,
        gateway: Gateway,
        auth: Auth,
        account: Account,
        running: Running,
        manners: Manners,
    ) -> None:
        self._gateway = gateway
        self._auth = auth
        self._account = account
        self._running = running
        self._manners = manners

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
                ping_seconds=self._manners.ping_seconds,
            )
        message = await self._running.guard(fold_stream(events, checked=True), request.receive)
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
        self._account.note(request, caller)
        version = version_of(request)
        betas = betas_of(request)
        if self._manners.strict:
            refuse_unknown(betas)
        raw = await read_body(request, self._manners.limit)
        if len(raw) <= INLINE:
            asked, unread = understand(model, raw, version, betas)
        else:
            asked, unread = await asyncio.to_thread(understand, model, raw, version, betas)
        effectless = [*ignored_headers(request), *ignored_query(request)]
        ignored = [*effectless, *unread, *ignored_fields(asked)]
        return Admitted(asked, caller, ignored)


def understand(
    model: type[Asked], raw: bytes, version: str, betas: Sequence[str]
) -> tuple[Asked, Sequence[str]]:
    """What a body asks, and the fields of it that nobody reads. Raises InvalidRequest.

    Those are harmless ones, and where a beta is named that is not known, all that it may bring.
    """
    return understand_body(model, decode(raw), version, betas)


def understand_body(
    model: type[Asked], body: dict[str, Any], version: str, betas: Sequence[str]
) -> tuple[Asked, Sequence[str]]:
    """`understand` of a body that was decoded."""
    refuse_removed(version, body)
    unread = [name for name in HARMLESS_FIELDS if name in body]
    if unknown(betas):
        strange = unknown_fields(model, body, frozenset(UNSUPPORTED_FIELDS))
        unread += [name for name in strange if name not in unread]
    if unread:
        left_out = frozenset(unread)
        body = {name: value for name, value in body.items() if name not in left_out}
    asked = parse(model, body)
    refuse_removed_blocks(version, asked)
    return (_with_room(asked) if INTERLEAVED in betas else asked), unread


def _with_room(asked: Asked) -> Asked:
    """`asked` with a budget of thinking that its `max_tokens` has room for.

    Between calls of tools the budget is of all thinking of a turn, more than one answer's tokens.
    """
    if not isinstance(asked, MessagesRequest) or not isinstance(asked.thinking, ThinkingEnabled):
        return asked
    most = asked.max_tokens - 1
    if most < 1 or asked.thinking.budget_tokens <= most:
        return asked
    thinking = asked.thinking.model_copy(update={"budget_tokens": most})
    return asked.model_copy(update={"thinking": thinking})


def answer_headers(caller: Caller, ignored: Sequence[str]) -> dict[str, str]:
    """What the receipt knows by now, and what was ignored, by the backend too."""
    receipt = caller.receipt
    ignored = [*ignored, *receipt.ignored]
    known = {
        "renga-tier": receipt.tier,
        "renga-served-tier": receipt.served_tier if receipt.served_tier != receipt.tier else "",
        "renga-backend": printable(receipt.backend),
        "renga-attempts": str(receipt.attempts) if receipt.attempts > 1 else "",
        "renga-transcribed": receipt.transcribed,
        "renga-count": "estimated" if receipt.estimated else "",
        "renga-cached": "" if receipt.cached_age is None else "true",
        "renga-cached-age": "" if receipt.cached_age is None else str(receipt.cached_age),
        "renga-cost-usd": receipt.cost_usd or "",
    }
    return {k: v for k, v in known.items() if v} | ignored_header(ignored)
