"""`/v1/organizations/workspaces`: workspaces made, listed, looked at, changed, archived.

Owns their shape on the wire. A workspace's name is what its ledger, files and limits go by, and
cannot be changed; the default one is listed where it is asked for.
"""

from __future__ import annotations

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
    flag_of,
    page_of,
    time_of,
)
from renga.http.admin.shapes import (
    WorkspaceCreate,
    WorkspacePage,
    WorkspaceShape,
    WorkspaceUpdate,
)
from renga.workspaces import DEFAULT, Workspace, Workspaces

PATH = "/v1/organizations/workspaces"
MOST_IDS = 100
QUERY = PAGE_QUERY | {"include_archived", "include_default", "ids", "ids[]"}


class WorkspaceEndpoints:
    """The endpoints over the workspaces of one database."""

    def __init__(self, *, workspaces: Workspaces, entry: Entry) -> None:
        self._workspaces = workspaces
        self._entry = entry

    def routes(self) -> list[Route]:
        """What it answers."""
        return [
            Route(PATH, self.list, methods=["GET"]),
            Route(PATH, self.create, methods=["POST"]),
            Route(PATH + "/{workspace_id}", self.retrieve, methods=["GET"]),
            Route(PATH + "/{workspace_id}", self.update, methods=["POST"]),
            Route(PATH + "/{workspace_id}/archive", self.archive, methods=["POST"]),
        ]

    async def list(self, request: Request) -> Response:
        """A page of workspaces."""
        await self._entry.admit(request)
        query = request.query_params
        ids = query.getlist("ids[]") + query.getlist("ids")
        if len(ids) > MOST_IDS:
            raise InvalidRequest(f"ids: {len(ids):,} of them; accepted: {MOST_IDS} at most")
        archived, default = (flag_of(request, f"include_{n}") for n in ("archived", "default"))
        found = [
            w
            for w in reversed(await self._workspaces.list())
            if (archived or w.archived_at is None)
            and (default or w.name != DEFAULT)
            and (not ids or w.id in ids)
        ]
        page = page_of(request, found, lambda workspace: workspace.id)
        page["data"] = [_described(workspace) for workspace in page["data"]]
        return answer(request, cast(WorkspacePage, page), QUERY)

    async def create(self, request: Request) -> Response:
        """Make a workspace."""
        await self._entry.admit(request)
        asked = await body_of(request, WorkspaceCreate)
        made = await accepted(
            self._workspaces.create(asked.name, display_color=asked.display_color, tags=asked.tags)
        )
        return answer(request, _described(made))

    async def retrieve(self, request: Request) -> Response:
        """One workspace."""
        await self._entry.admit(request)
        return answer(request, _described(await self._wanted(request)))

    async def update(self, request: Request) -> Response:
        """Note another colour or other tags of a workspace."""
        await self._entry.admit(request)
        asked = await body_of(request, WorkspaceUpdate)
        found = await self._wanted(request)
        if asked.name is not None and asked.name != found.name:
            raise InvalidRequest(
                "name: a workspace's ledger, files and limits go by its name, which cannot be "
                f"changed; it is '{found.name}'"
            )
        tags = None
        if asked.tags is not None:
            merged = {**found.tags, **asked.tags}
            tags = {name: value for name, value in merged.items() if value is not None}
        changed = await accepted(
            self._workspaces.update(found.name, display_color=asked.display_color, tags=tags)
        )
        return answer(request, _described(changed))

    async def archive(self, request: Request) -> Response:
        """Refuse all keys of a workspace, for good."""
        await self._entry.admit(request)
        found = await self._wanted(request)
        return answer(request, _described(await accepted(self._workspaces.archive(found.name))))

    async def _wanted(self, request: Request) -> Workspace:
        return await wanted(request, self._workspaces)


async def wanted(request: Request, workspaces: Workspaces) -> Workspace:
    """The workspace that the path names by its id. Raises NotFound."""
    wanted_id: str = request.path_params["workspace_id"]
    found = await workspaces.get(wanted_id)
    if found is None or found.id != wanted_id:
        raise NotFound(f"workspace_id: there is no workspace '{wanted_id[:100]}'")
    return found


def _described(workspace: Workspace) -> WorkspaceShape:
    return {
        "id": workspace.id,
        "type": "workspace",
        "name": workspace.name,
        "created_at": time_of(workspace.created_at) or "",
        "archived_at": time_of(workspace.archived_at),
        "display_color": workspace.display_color,
        "tags": dict(workspace.tags),
        "compartment_id": workspace.id,
        "data_residency": {
            "allowed_inference_geos": "unrestricted",
            "default_inference_geo": "global",
            "workspace_geo": "us",
        },
        "external_key_id": None,
        "user_profile_id": None,
    }
