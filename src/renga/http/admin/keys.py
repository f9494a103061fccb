"""`/v1/organizations/api_keys`: keys listed, looked at, renamed, disabled, archived; and made.

Owns their shape on the wire. That they can be made here is renga's: in the API the console does it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import cast

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from renga.errors import InvalidRequest, NotFound
from renga.http.admin.entry import (
    PAGE_QUERY,
    Entry,
    accepted,
    answer,
    body_of,
    page_of,
    time_of,
)
from renga.http.admin.shapes import ApiKey, ApiKeyCreate, ApiKeyPage, ApiKeyUpdate, NewApiKey
from renga.http.versions import OLD
from renga.keys import Key, Keys
from renga.workspaces import DEFAULT, Workspaces, workspace_id

PATH = "/v1/organizations/api_keys"
STATUSES = ("active", "inactive", "archived", "expired")
QUERY = PAGE_QUERY | {"status", "workspace_id", "created_by_user_id"}


class ApiKeyEndpoints:
    """The endpoints over the keys of one database. `clock`: Unix seconds."""

    def __init__(
        self, *, keys: Keys, workspaces: Workspaces, entry: Entry, clock: Callable[[], float]
    ) -> None:
        self._keys = keys
        self._workspaces = workspaces
        self._entry = entry
        self._clock = clock

    def routes(self) -> list[Route]:
        """What it answers."""
        return [
            Route(PATH, self.list, methods=["GET"]),
            Route(PATH, self.create, methods=["POST"]),
            Route(PATH + "/{api_key_id}", self.retrieve, methods=["GET"]),
            Route(PATH + "/{api_key_id}", self.update, methods=["POST"]),
        ]

    async def list(self, request: Request) -> Response:
        """A page of keys."""
        version = await self._entry.admit(request)
        query = request.query_params
        status, workspace = query.get("status"), query.get("workspace_id")
        if status is not None and status not in STATUSES:
            raise InvalidRequest(f"status: '{status[:40]}'; accepted: {', '.join(STATUSES)}")
        now = self._clock()
        found = [
            key
            for key in reversed(await self._keys.list())
            if (status is None or key.status(now) == status)
            and (workspace is None or workspace_id(key.workspace) == workspace)
            and "created_by_user_id" not in query  # nobody's: who made a key is not recorded
        ]
        page = page_of(request, found, lambda key: key.key_id)
        page["data"] = [self._described(key, version) for key in page["data"]]
        return answer(request, cast(ApiKeyPage, page), QUERY)

    async def create(self, request: Request) -> Response:
        """Make a key, and show it once."""
        version = await self._entry.admit(request)
        asked = await body_of(request, ApiKeyCreate)
        workspace = await self._workspaces.get(asked.workspace_id or DEFAULT)
        if workspace is None:
            raise NotFound(f"workspace_id: there is no '{(asked.workspace_id or '')[:100]}'")
        made = await accepted(
            self._keys.create(
                asked.name,
                workspace.name,
                scopes=asked.scopes,
                expires_at=_moment(asked.expires_at),
            )
        )
        body = NewApiKey(**self._described(made.key, version), key=made.plain)
        return answer(request, body)

    async def retrieve(self, request: Request) -> Response:
        """One key."""
        version = await self._entry.admit(request)
        return answer(request, self._described(await self._wanted(request), version))

    async def update(self, request: Request) -> Response:
        """Rename, disable, enable or archive a key."""
        version = await self._entry.admit(request)
        asked = await body_of(request, ApiKeyUpdate)
        key = await self._wanted(request)
        if key.archived_at is not None and (asked.name or asked.status in ("active", "inactive")):
            raise InvalidRequest(f"api_key_id: {key.key_id} is archived, which is for good")
        if asked.name is not None:
            key = await accepted(self._keys.rename(key.key_id, asked.name))
        if asked.status is not None:
            do = {
                "active": self._keys.enable,
                "inactive": self._keys.disable,
                "archived": self._keys.archive,
            }[asked.status]
            key = await accepted(do(key.key_id))
        return answer(request, self._described(key, version))

    async def _wanted(self, request: Request) -> Key:
        key_id: str = request.path_params["api_key_id"]
        key = await self._keys.get(key_id)
        if key is None:
            raise NotFound(f"api_key_id: there is no key '{key_id[:100]}'")
        return key

    def _described(self, key: Key, version: str) -> ApiKey:
        workspace = workspace_id(key.workspace)
        body: ApiKey = {
            "id": key.key_id,
            "type": "api_key",
            "name": key.name,
            "status": key.status(self._clock()),
            "partial_key_hint": f"{key.hint}...",
            "scope": {"type": "workspace", "workspace_id": workspace},
            "created_at": time_of(key.created_at) or "",
            "created_by": None,
            "expires_at": time_of(key.expires_at),
            "principal": None,
            "scopes": [*key.scopes],
            "last_used_at": time_of(key.last_used_at),
        }
        if version == OLD:
            body["workspace_id"] = workspace
        return body


def _moment(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidRequest(
            f"expires_at: '{text[:40]}'; accepted: RFC 3339, such as 2027-01-31T00:00:00Z"
        ) from error
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
