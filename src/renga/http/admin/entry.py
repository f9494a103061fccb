"""How a request for the Admin API comes in: its key, its version, its body, its page.

Owns that it needs the scope `admin`, pages by ids, and how what `renga.keys` and `renga.workspaces`
refuse is told to a caller. Knows no field.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from renga.errors import InvalidRequest, RengaError, SetupError
from renga.http.account import Account
from renga.http.auth import Auth
from renga.http.body import decode, read_body
from renga.http.models import limit_of
from renga.http.validation import parse
from renga.http.versions import ignored_header, ignored_headers, ignored_query, version_of

LARGEST_BODY = 1_000_000  # bytes
PAGE_QUERY = frozenset({"beta", "limit", "after_id", "before_id"})

T = TypeVar("T")
Model = TypeVar("Model", bound=BaseModel)


class Entry:
    """What all endpoints of the Admin API begin with."""

    def __init__(self, auth: Auth, account: Account) -> None:
        self._auth = auth
        self._account = account

    @property
    def organization(self) -> str:
        """The id of this installation."""
        return self._account.organization

    async def admit(self, request: Request) -> str:
        """Let it in, and say which version it speaks. Raises RengaError."""
        caller = await self._auth.caller(request, "admin")
        self._account.note(request, caller)
        return version_of(request)


async def body_of(request: Request, model: type[Model]) -> Model:
    """The body as a `model`. Raises InvalidRequest."""
    return parse(model, decode(await read_body(request, LARGEST_BODY)))


async def accepted(work: Awaitable[T]) -> T:
    """What comes of `work`; what it refuses is the request's fault."""
    try:
        return await work
    except RengaError:
        raise
    except SetupError as error:
        raise InvalidRequest(error.message) from error


def answer(request: Request, body: Any, query: frozenset[str] = frozenset({"beta"})) -> Response:
    """`body`, and what of the request had no effect."""
    ignored = ignored_header([*ignored_headers(request), *ignored_query(request, query)])
    return JSONResponse(body, headers=ignored)


def page_of(request: Request, found: Sequence[T], id_of: Callable[[T], str]) -> dict[str, Any]:
    """A page of `found`, as the query asks for it, by its items' ids. Raises InvalidRequest."""
    query = request.query_params
    limit, after, before = (query.get(n) for n in ("limit", "after_id", "before_id"))
    size = limit_of(limit)
    if after is not None and before is not None:
        raise InvalidRequest("before_id: send either after_id or before_id")
    ids = [id_of(item) for item in found]
    rest, shown = list(found), list(found)[:size]
    if after is not None:
        rest = rest[_place(ids, after, "after_id") + 1 :]
        shown = rest[:size]
    elif before is not None:
        rest = rest[: _place(ids, before, "before_id")]
        shown = rest[-size:]
    return {
        "data": shown,
        "has_more": len(rest) > size,
        "first_id": id_of(shown[0]) if shown else None,
        "last_id": id_of(shown[-1]) if shown else None,
    }


def _place(ids: list[str], wanted: str, field: str) -> int:
    if wanted not in ids:
        raise InvalidRequest(f"{field}: '{wanted[:100]}' is not in the list")
    return ids.index(wanted)


def flag_of(request: Request, name: str) -> bool:
    """A query parameter that is true or false; absent is false. Raises InvalidRequest."""
    given = request.query_params.get(name, "false").lower()
    if given not in ("true", "false"):
        raise InvalidRequest(f"{name}: '{given[:40]}'; accepted: true, false")
    return given == "true"


def time_of(seconds: float | None) -> str | None:
    """RFC 3339, as the API writes it."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
