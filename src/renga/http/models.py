"""`GET /v1/models` and `GET /v1/models/{id or alias}`: what is served, in pages.

Owns the meaning of `limit`, `after_id`, `before_id` and `lifecycle[]`. What a model is stands in
`renga.routing`.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from renga.errors import InvalidRequest
from renga.http.auth import Auth
from renga.http.messages import JSON
from renga.http.versions import ignored_header, ignored_headers, ignored_query, version_of
from renga.routing import Router
from renga.types import ModelInfo, ModelPage

PAGE, LARGEST_PAGE = 20, 1000
LIFECYCLES = ("active", "deprecated", "retired")
LISTED = ("active", "deprecated")  # without `lifecycle[]`
QUERY = frozenset({"beta", "limit", "after_id", "before_id", "lifecycle", "lifecycle[]"})


class Models:
    """The endpoints over the router."""

    def __init__(self, *, router: Router, auth: Auth) -> None:
        self._router = router
        self._auth = auth

    def routes(self) -> list[Route]:
        """What it answers."""
        return [
            Route("/v1/models", self.list, methods=["GET"]),
            Route("/v1/models/{name:path}", self.retrieve, methods=["GET"]),
        ]

    async def list(self, request: Request) -> Response:
        """A page of models."""
        await self._auth.caller(request, "models")
        version_of(request)
        query = request.query_params
        wanted = lifecycles(query.getlist("lifecycle[]") + query.getlist("lifecycle"))
        found = [m for m in self._router.models() if m.lifecycle in wanted]
        after, before = query.get("after_id"), query.get("before_id")
        shown = page(found, limit_of(query.get("limit")), after=after, before=before)
        return Response(shown.model_dump_json(), headers=_ignored(request), media_type=JSON)

    async def retrieve(self, request: Request) -> Response:
        """One model, by its id or by any name that resolves to it."""
        await self._auth.caller(request, "models")
        version_of(request)
        found = self._router.model(request.path_params["name"])
        return Response(found.model_dump_json(), headers=_ignored(request), media_type=JSON)


def limit_of(text: str | None) -> int:
    """The size of a page. Raises InvalidRequest."""
    if text is None:
        return PAGE
    if text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= LARGEST_PAGE:
        return int(text)
    raise InvalidRequest(f"limit: '{text[:40]}'; accepted: a whole number, 1 to {LARGEST_PAGE}")


def lifecycles(given: Sequence[str]) -> Sequence[str]:
    """Which lifecycles are listed. Raises InvalidRequest."""
    for value in given:
        if value not in LIFECYCLES:
            accepted = ", ".join(LIFECYCLES)
            raise InvalidRequest(f"lifecycle[]: '{value[:40]}'; accepted: {accepted}")
    return given or LISTED


def page(
    found: Sequence[ModelInfo], limit: int, *, after: str | None, before: str | None
) -> ModelPage:
    """The part of `found` after or before an id, `limit` long at most. Raises InvalidRequest."""
    if after is not None and before is not None:
        raise InvalidRequest("before_id: send either after_id or before_id")
    if after is not None:
        rest = found[_place(found, after, "after_id") + 1 :]
        shown, more = rest[:limit], len(rest) > limit
    elif before is not None:
        rest = found[: _place(found, before, "before_id")]
        shown, more = rest[-limit:], len(rest) > limit
    else:
        shown, more = found[:limit], len(found) > limit
    return ModelPage(
        data=list(shown),
        has_more=more,
        first_id=shown[0].id if shown else None,
        last_id=shown[-1].id if shown else None,
    )


def _place(found: Sequence[ModelInfo], name: str, field: str) -> int:
    for at, model in enumerate(found):
        if model.id == name:
            return at
    accepted = ", ".join(m.id for m in found) or "none is listed"
    raise InvalidRequest(f"{field}: '{name[:100]}' is not in the list; accepted: {accepted}")


def _ignored(request: Request) -> dict[str, str]:
    return ignored_header([*ignored_headers(request), *ignored_query(request, QUERY)])
