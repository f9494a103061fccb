"""`/v1/organizations/me`, and the limits that are configured: of tiers, and of a workspace.

Owns how limits of the configuration are told as the API's: a tier is a group of models. They are
changed in renga.toml, not here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from renga.config import LimitConfig
from renga.errors import InvalidRequest, NotFound
from renga.http.admin.entry import Entry, answer
from renga.http.admin.shapes import (
    LimitGroup,
    LimitValue,
    Organization,
    RateLimitEntry,
    RateLimitPage,
    WorkspaceRateLimitEntry,
    WorkspaceRateLimitPage,
)
from renga.http.admin.workspaces import wanted
from renga.limits import Limits
from renga.routing import Router, tier_of
from renga.workspaces import Workspaces

PATH = "/v1/organizations"
GROUPS = ("batch", "files", "model_group", "skills", "token_count", "web_search")
# The configuration's name of a limit -> the API's: cache reads are not counted.
TYPES = {
    "requests_per_minute": "requests_per_minute",
    "input_tokens_per_minute": "input_tokens_per_minute_cache_aware",
    "output_tokens_per_minute": "output_tokens_per_minute",
}
QUERY = frozenset({"beta", "group_type", "limit", "model", "page", "include_inherited"})


class OrganizationEndpoints:
    """The endpoints over what is configured."""

    def __init__(
        self, *, limits: Limits, router: Router, workspaces: Workspaces, entry: Entry
    ) -> None:
        self._limits = limits
        self._router = router
        self._workspaces = workspaces
        self._entry = entry

    def routes(self) -> list[Route]:
        """What it answers."""
        return [
            Route(PATH + "/me", self.me, methods=["GET"]),
            Route(PATH + "/rate_limits", self.rate_limits, methods=["GET"]),
            Route(
                PATH + "/workspaces/{workspace_id}/rate_limits",
                self.workspace_rate_limits,
                methods=["GET"],
            ),
        ]

    async def me(self, request: Request) -> Response:
        """This installation."""
        await self._entry.admit(request)
        body = Organization(id=self._entry.organization, type="organization", name="renga")
        return answer(request, body)

    async def rate_limits(self, request: Request) -> Response:
        """The limits of each tier, for all keys and workspaces together."""
        await self._entry.admit(request)
        found: list[RateLimitEntry] = []
        if _of_models(request):
            found = [self._of_tier(tier) for tier in self._tiers(request)]
        return answer(request, RateLimitPage(data=found, next_page=None), QUERY)

    async def workspace_rate_limits(self, request: Request) -> Response:
        """The limits of one workspace, for all its keys together."""
        await self._entry.admit(request)
        workspace = await wanted(request, self._workspaces)
        limits = list(_values(self._limits.of(workspace.name, scope="workspace")))
        found: list[WorkspaceRateLimitEntry] = []
        if limits and _of_models(request):
            models = [model.id for model in self._router.models()]
            found.append(
                {
                    "type": "workspace_rate_limit",
                    "rate_limit_id": _id("rl", "all"),
                    "workspace_id": workspace.id,
                    "group": _group("all", "all models"),
                    "models": models,
                    "limits": [
                        {**limit, "org_limit": None, "source": {"type": "workspace"}}
                        for limit in limits
                    ],
                }
            )
        return answer(request, WorkspaceRateLimitPage(data=found, next_page=None), QUERY)

    def _tiers(self, request: Request) -> list[str]:
        served = [model.id for model in self._router.models()]
        named = request.query_params.get("model")
        if named is not None:
            wanted_id = self._router.canonical(named)
            if wanted_id not in served:
                raise NotFound(f"model: '{named[:100]}' is not served here")
            served = [wanted_id]
        return list(dict.fromkeys(tier_of(model_id) for model_id in served))

    def _of_tier(self, tier: str) -> RateLimitEntry:
        return {
            "id": _id("rl", tier),
            "type": "rate_limit",
            "group": _group(tier, tier),
            "models": [m.id for m in self._router.models() if tier_of(m.id) == tier],
            "limits": list(_values(self._limits.of(tier, scope="tier"))),
        }


def _of_models(request: Request) -> bool:
    """Whether groups of models are asked for; there are no limits of other groups."""
    kind = request.query_params.get("group_type", "model_group")
    if kind not in GROUPS:
        raise InvalidRequest(f"group_type: '{kind[:40]}'; accepted: {', '.join(GROUPS)}")
    return kind == "model_group"


def _values(limits: LimitConfig) -> Iterator[LimitValue]:
    for name, told in TYPES.items():
        value = getattr(limits, name)
        if value is not None:
            yield {"type": told, "value": value}


def _group(name: str, shown: str) -> LimitGroup:
    return {"id": _id("rlg", name), "type": "model_group", "display_name": shown}


def _id(prefix: str, name: str) -> str:
    return f"{prefix}_{hashlib.sha256(name.encode()).hexdigest()[:24]}"
