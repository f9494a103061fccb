"""Message Batches: create, list, look at, cancel, delete, and their results as JSON lines.

Owns what a batch looks like, the limit on its body, and what a request in one may not ask. The body
is taken in while it comes, and results leave while they are read. What a batch is and how long it
stays is `renga.batches`'s.

Source: "Message Batches" of the API's documentation; `resources/messages/batches.py` of the
official `anthropic` package, 2.12. Counts but `processing` are 0 until a batch has ended, as there.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route
from typing_extensions import TypedDict

from renga.app import App
from renga.batches.incoming import Incoming
from renga.batches.service import Batches, has_results
from renga.batches.worker import Pool
from renga.caller import Caller
from renga.config import BackendConfig
from renga.errors import InvalidRequest, NotFound
from renga.http.account import Account
from renga.http.auth import Auth
from renga.http.betas import refuse_unknown
from renga.http.body import decode, refuse_infinite, stream_body
from renga.http.messages import understand_body
from renga.http.models import limit_of
from renga.http.versions import (
    betas_of,
    ignored_header,
    ignored_headers,
    ignored_query,
    version_of,
)
from renga.prices import Price, dollars
from renga.routing import CANONICAL, TIERS, Router
from renga.store.batching import BatchRow, ItemResult, Spent
from renga.types import MessagesRequest

MB = 1_000_000
MOST_BYTES = 256 * MB
PIECE = 1 << 20  # bytes of a body that are read at once, off the event loop
QUERY = frozenset({"beta", "limit", "after_id", "before_id"})
LINES = "application/x-jsonl"
SLOTS = 4  # of llama.cpp, where it chooses
HANDED = 5_000  # requests that another server has at once in batches of its own


class RequestCounts(TypedDict):
    """The requests of a batch by how they ended."""

    processing: int
    succeeded: int
    errored: int
    canceled: int
    expired: int


class MessageBatch(TypedDict):
    """A batch. Times are RFC 3339; `results_url` is there once it ended."""

    id: str
    type: Literal["message_batch"]
    processing_status: Literal["in_progress", "canceling", "ended"]
    request_counts: RequestCounts
    created_at: str
    expires_at: str
    ended_at: str | None
    archived_at: str | None
    cancel_initiated_at: str | None
    results_url: str | None


class MessageBatchPage(TypedDict):
    """Batches, the newest first."""

    data: list[MessageBatch]
    has_more: bool
    first_id: str | None
    last_id: str | None


class DeletedBatch(TypedDict):
    """A batch that is no more."""

    id: str
    type: Literal["message_batch_deleted"]


class BatchRequest(TypedDict):
    """One request of a batch."""

    custom_id: str
    params: MessagesRequest


class BatchBody(TypedDict):
    """What a batch is created of."""

    requests: list[BatchRequest]


class BatchProgress(TypedDict):
    """How far a batch is just now. Costs are exact dollars; `saved_usd` is what it saved so far."""

    id: str
    type: Literal["renga_batch_progress"]
    processing_status: Literal["in_progress", "canceling", "ended"]
    total: int
    waiting: int
    running: int
    succeeded: int
    errored: int
    canceled: int
    expired: int
    input_tokens: int
    output_tokens: int
    cost_usd: str
    saved_usd: str


class BatchEndpoints:
    """The endpoints over the batches of one server.

    Args:
        batches: they.
        app: for its router, configuration and prices.
        auth: who asks.
        account: what every answer says of them.
        prices: by tier, for what is saved.
    """

    def __init__(
        self,
        *,
        batches: Batches,
        app: App,
        auth: Auth,
        account: Account,
        prices: Mapping[str, Price],
    ) -> None:
        self._batches = batches
        self._config = app.config
        self._router = app.router
        self._auth = auth
        self._account = account
        self._prices = prices

    def routes(self) -> list[Route]:
        """What it answers."""
        one = "/v1/messages/batches/{batch_id}"
        return [
            Route("/v1/messages/batches", self.create, methods=["POST"]),
            Route("/v1/messages/batches", self.list, methods=["GET"]),
            Route(one, self.retrieve, methods=["GET"]),
            Route(one, self.delete, methods=["DELETE"]),
            Route(f"{one}/cancel", self.cancel, methods=["POST"]),
            Route(f"{one}/results", self.results, methods=["GET"]),
            Route("/v1/renga/batches/{batch_id}", self.progress, methods=["GET"]),
        ]

    async def create(self, request: Request) -> JSONResponse:
        """Take a batch in; the answer says that all of it is durable."""
        caller = await self._caller(request)
        version, betas = version_of(request), betas_of(request)
        if self._config.server.strict:
            refuse_unknown(betas)
        incoming = Incoming(self._lane_of, most_bytes=self._config.server.max_body_mb * MB)
        pieces = in_pieces(stream_body(request, MOST_BYTES))
        first = await anext(pieces, b"")
        begun = await asyncio.to_thread(incoming.feed, first)
        async with self._batches.receive(
            caller.workspace, caller.key_id, version=version, betas=betas
        ) as intake:
            await intake.add(begun)
            async for piece in pieces:
                await intake.add(await asyncio.to_thread(incoming.feed, piece))
            incoming.end()
            row = await intake.finish()
        return self._answer(request, row)

    async def list(self, request: Request) -> JSONResponse:
        """A page of batches."""
        caller = await self._caller(request)
        query = request.query_params
        after, before = query.get("after_id"), query.get("before_id")
        if after is not None and before is not None:
            raise InvalidRequest("before_id: send either after_id or before_id")
        shown, more = await self._batches.page(
            caller.workspace,
            limit_of(query.get("limit")),
            after=await self._named("after_id", after, caller),
            before=await self._named("before_id", before, caller),
        )
        body = MessageBatchPage(
            data=[self._described(request, row) for row in shown],
            has_more=more,
            first_id=shown[0].batch_id if shown else None,
            last_id=shown[-1].batch_id if shown else None,
        )
        return JSONResponse(body, headers=_ignored(request))

    async def retrieve(self, request: Request) -> JSONResponse:
        """One batch."""
        caller = await self._caller(request)
        row = await self._batches.get(caller.workspace, request.path_params["batch_id"])
        return self._answer(request, row)

    async def cancel(self, request: Request) -> JSONResponse:
        """Begin to cancel a batch."""
        caller = await self._caller(request)
        row = await self._batches.cancel(caller.workspace, request.path_params["batch_id"])
        return self._answer(request, row)

    async def delete(self, request: Request) -> JSONResponse:
        """Delete a batch that ended."""
        caller = await self._caller(request)
        batch_id = request.path_params["batch_id"]
        await self._batches.delete(caller.workspace, batch_id)
        body = DeletedBatch(id=batch_id, type="message_batch_deleted")
        return JSONResponse(body, headers=_ignored(request))

    async def results(self, request: Request) -> StreamingResponse:
        """The results of a batch, one JSON object a line."""
        caller = await self._caller(request)
        batch_id = request.path_params["batch_id"]
        found = await self._batches.results(caller.workspace, batch_id)
        headers = {
            "content-disposition": f'attachment; filename="{batch_id}_results.jsonl"',
            **_ignored(request),
        }
        return StreamingResponse(_lines(found), headers=headers, media_type=LINES)

    async def progress(self, request: Request) -> JSONResponse:
        """How far a batch is, with its cost so far: what the API tells only at the end."""
        caller = await self._caller(request)
        batch_id = request.path_params["batch_id"]
        row, states, spent = await self._batches.progress(caller.workspace, batch_id)
        if row.archived_us is not None:
            states = {name: getattr(row, name) for name in _ENDS}
        counts = {name: states.get(name, 0) for name in ("waiting", "running", *_ENDS)}
        return JSONResponse(
            {
                "id": row.batch_id,
                "type": "renga_batch_progress",
                "processing_status": row.state,
                "total": row.total,
                **counts,
                "input_tokens": sum(one.input_tokens for one in spent),
                "output_tokens": sum(one.output_tokens for one in spent),
                "cost_usd": dollars(sum(one.cost_pico for one in spent)),
                "saved_usd": dollars(sum(self._saved(one) for one in spent)),
            },
            headers=_ignored(request),
        )

    def _saved(self, spent: Spent) -> int:
        """What the same answers had cost more by themselves, in pico-dollars."""
        price = self._prices.get(spent.tier or "")
        percent = price.batch_percent if price else 100
        return spent.cost_pico * (100 - percent) // percent if percent else 0

    async def _caller(self, request: Request) -> Caller:
        caller = await self._auth.caller(request, "batches")
        self._account.note(request, caller)
        version_of(request)
        if not self._config.batches.enabled:
            raise NotFound("this server takes no batches: `enabled` of [batches] is off")
        return caller

    async def _named(self, field: str, batch_id: str | None, caller: Caller) -> BatchRow | None:
        if batch_id is None:
            return None
        try:
            return await self._batches.get(caller.workspace, batch_id)
        except NotFound as error:
            raise InvalidRequest(f"{field}: {error.message}") from error

    def _lane_of(self, model: object) -> str:
        return lane_of(self._router, model)

    def _answer(self, request: Request, row: BatchRow) -> JSONResponse:
        return JSONResponse(self._described(request, row), headers=_ignored(request))

    def _described(self, request: Request, row: BatchRow) -> MessageBatch:
        ended = row.state == "ended"
        return {
            "id": row.batch_id,
            "type": "message_batch",
            "processing_status": row.state,  # type: ignore[typeddict-item]
            "request_counts": {
                "processing": 0 if ended else row.total,
                "succeeded": row.succeeded,
                "errored": row.errored,
                "canceled": row.canceled,
                "expired": row.expired,
            },
            "created_at": _time(row.created_us),
            "expires_at": _time(row.expires_us),
            "ended_at": _time_or_none(row.ended_us),
            "archived_at": _time_or_none(row.archived_us),
            "cancel_initiated_at": _time_or_none(row.cancel_us),
            "results_url": self._url(request, row.batch_id) if has_results(row) else None,
        }

    def _url(self, request: Request, batch_id: str) -> str:
        """Where the results are, under the name that the client asked; clients follow it."""
        host = request.headers.get("host", "")
        base = self._config.server.public_url.rstrip("/")
        if not base and host:
            base = f"{request.url.scheme}://{host}"
        return f"{base}/v1/messages/batches/{batch_id}/results"


_ENDS = ("succeeded", "errored", "canceled", "expired")


def lane_of(router: Router, model: object) -> str:
    """The tier that `model` asks for, or "" where nobody can tell yet."""
    try:
        canonical = router.canonical(model) if isinstance(model, str) else ""
    except NotFound:
        return ""
    return next((tier for tier in TIERS if CANONICAL[tier] == canonical), "")


def request_of(raw: str, version: str, betas: Sequence[str]) -> MessagesRequest:
    """What a batch's request asks, by the rules of `POST /v1/messages` and some more.

    Raises InvalidRequest.
    """
    sent = raw.encode()
    params: dict[str, Any] = decode(sent)["params"]
    refuse_infinite(params, sent)
    if params.get("stream"):
        raise InvalidRequest("stream: streaming is not supported in a batch; leave it out")
    if params.get("max_tokens") == 0:
        raise InvalidRequest("max_tokens: Input should be greater than or equal to 1 in a batch")
    if params.get("speed") is not None:
        raise InvalidRequest("speed: it is not supported in a batch; leave it out")
    asked, _ = understand_body(MessagesRequest, params, version, betas)
    return asked


def make_pools(app: App) -> list[Pool]:
    """Who works on which lanes: a pool for each tier that is configured.

    It has half as many again under way as its backends run at once, so that the next is there when
    one ends.
    """
    lanes: dict[str, list[str]] = {}
    for tier in TIERS:
        lanes.setdefault(app.router.served_by(tier), []).append(tier)
    first = next(iter(lanes))
    lanes[first].append("")  # a name that was none: it is refused when its turn comes
    return [
        Pool(
            tuple(names),
            app.config.batches.in_flight or _in_flight(app, served),
            steady=_is_handed(app, served),
        )
        for served, names in lanes.items()
    ]


def _is_handed(app: App, tier: str) -> bool:
    """Whether requests for `tier` go into batches of another server."""
    return app.config.backends[app.config.tiers[tier].backends[0]].batch == "upstream"


def _in_flight(app: App, tier: str) -> int:
    if _is_handed(app, tier):
        return HANDED
    backends = (app.config.backends[name] for name in app.config.tiers[tier].backends)
    at_once = sum(_at_once(backend) for backend in backends)
    return at_once + max(1, at_once // 2)


def _at_once(backend: BackendConfig) -> int:
    return (backend.slots or SLOTS) if backend.kind == "llamacpp" else backend.max_running


async def in_pieces(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in pieces of a size that is worth a thread."""
    waiting: list[bytes] = []
    size = 0
    async for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= PIECE:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


async def _lines(found: AsyncIterator[ItemResult]) -> AsyncIterator[bytes]:
    waiting: list[str] = []
    size = 0
    async for one in found:
        result = one.result or json.dumps({"type": one.state})
        waiting.append(f'{{"custom_id":{json.dumps(one.custom_id)},"result":{result}}}\n')
        size += len(waiting[-1])
        if size >= PIECE // 4:
            yield "".join(waiting).encode()
            waiting, size = [], 0
    yield "".join(waiting).encode()


def _time(us: int) -> str:
    return datetime.fromtimestamp(us / 1e6, UTC).isoformat().replace("+00:00", "Z")


def _time_or_none(us: int | None) -> str | None:
    return None if us is None else _time(us)


def _ignored(request: Request) -> dict[str, str]:
    return ignored_header([*ignored_headers(request), *ignored_query(request, QUERY)])
