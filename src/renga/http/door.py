"""Where every request comes in and every response goes out.

Owns the `request-id` on each response and the headers that were noted for it on its way, the 503 of
a server that drains, the refusal of addresses that no database can look up, and the last resort: an
exception that nobody expected becomes an envelope, or a cut stream, and a line in the log. Knows no
paths but those that say how the server is.
"""

from __future__ import annotations

import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from renga.errors import InvalidRequest
from renga.http.access import Access
from renga.http.account import HEADERS, Noted
from renga.http.errors import REQUEST_ID, Envelopes, unexpected
from renga.http.running import ClientLeft, Running, stopping
from renga.ids import Ids

ALWAYS_OPEN = ("/healthz", "/readyz")

_log = logging.getLogger(__name__)


class Door:
    """ASGI middleware around the whole application."""

    def __init__(
        self, app: ASGIApp, *, ids: Ids, running: Running, envelopes: Envelopes, access: Access
    ) -> None:
        self._app = app
        self._ids = ids
        self._running = running
        self._envelopes = envelopes
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = scope[REQUEST_ID] = self._ids("req")
        signed = _Signed(send, request_id, scope)
        visit = self._access.begin(scope)
        try:
            await self._admit(scope, receive, signed, request_id)
        finally:
            self._access.end(visit, scope, signed.status)

    async def _admit(
        self, scope: Scope, receive: Receive, signed: _Signed, request_id: str
    ) -> None:
        if self._running.draining and scope["path"] not in ALWAYS_OPEN:
            response = self._envelopes(scope)(stopping(), request_id)
            response.headers["connection"] = "close"
            await response(scope, receive, signed)
            return
        if "\0" in scope["path"] or b"%00" in scope["query_string"]:
            # PostgreSQL's texts hold none, so that nothing can be found under it.
            refused = InvalidRequest("path: it holds a NUL character (%00); accepted: text without")
            await self._envelopes(scope)(refused, request_id)(scope, receive, signed)
            return
        with self._running.request():
            await self._serve(scope, receive, signed, request_id)

    async def _serve(
        self, scope: Scope, receive: Receive, signed: _Signed, request_id: str
    ) -> None:
        try:
            await self._app(scope, receive, signed)
        except ClientLeft:
            return
        except Exception:
            _log.exception("request %s failed", request_id)
            if signed.status is not None:
                raise
            response = self._envelopes(scope)(unexpected(), request_id)
            await response(scope, receive, signed)


class _Signed:
    """`send`, with the request's id on the response, and what was noted for it on the way."""

    def __init__(self, send: Send, request_id: str, scope: Scope) -> None:
        self._send = send
        self._scope = scope
        self._header = (b"request-id", request_id.encode())
        self.status: int | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            noted: Noted | None = self._scope.get(HEADERS)
            message["headers"] = [
                *message.get("headers", ()),
                *(noted() if noted is not None else ()),
                self._header,
            ]
        await self._send(message)
