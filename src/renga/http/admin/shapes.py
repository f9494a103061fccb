"""What the Admin API takes and answers.

Owns the shapes. Source: the `organization` resources and types of the official `anthropic` package,
2.12. Fields beyond those are renga's: `scopes` and `last_used_at` of a key, and all that makes one.
"""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from renga.types.wire import Wire, only_null

Name = Annotated[str, Field(min_length=1, max_length=200)]
_ONE_PLACE = "this server stores and computes in one place; leave it out"


class ApiKeyScope(TypedDict):
    """Where a key belongs."""

    type: Literal["workspace"]
    workspace_id: str


class ApiKey(TypedDict):
    """A key, without what is secret of it. Times are RFC 3339; null is never, or nobody.

    `workspace_id` is there in version 2023-06-01, which knows no `scope`.
    """

    id: str
    type: Literal["api_key"]
    name: str
    status: Literal["active", "inactive", "archived", "expired"]
    partial_key_hint: str
    scope: ApiKeyScope
    workspace_id: NotRequired[str]
    created_at: str
    created_by: None
    expires_at: str | None
    principal: None
    scopes: list[str]
    last_used_at: str | None


class NewApiKey(ApiKey):
    """A key just made; `key` is shown this once."""

    key: str


class ApiKeyPage(TypedDict):
    """Keys, the newest first."""

    data: list[ApiKey]
    has_more: bool
    first_id: str | None
    last_id: str | None


class ApiKeyCreate(Wire):
    """A key to make."""

    name: Name
    workspace_id: str | None = None
    scopes: list[str] | None = None
    expires_at: str | None = None


class ApiKeyUpdate(Wire):
    """What of a key is to change; null leaves it."""

    name: Name | None = None
    status: Literal["active", "inactive", "archived"] | None = None


class DataResidency(TypedDict):
    """Always the same: there is one place."""

    allowed_inference_geos: Literal["unrestricted"]
    default_inference_geo: Literal["global"]
    workspace_geo: Literal["us"]


class WorkspaceShape(TypedDict):
    """A workspace. Times are RFC 3339."""

    id: str
    type: Literal["workspace"]
    name: str
    created_at: str
    archived_at: str | None
    display_color: str
    tags: dict[str, str]
    compartment_id: str
    data_residency: DataResidency
    external_key_id: None
    user_profile_id: None


class WorkspacePage(TypedDict):
    """Workspaces, the newest first."""

    data: list[WorkspaceShape]
    has_more: bool
    first_id: str | None
    last_id: str | None


class WorkspaceCreate(Wire):
    """A workspace to make."""

    name: Name
    display_color: str | None = None
    tags: dict[str, str] | None = None
    data_residency: only_null(_ONE_PLACE) = None  # type: ignore[valid-type]
    external_key_id: only_null("this server encrypts with no keys of yours") = None  # type: ignore[valid-type]
    user_profile_id: only_null("this server has no user profiles") = None  # type: ignore[valid-type]


class WorkspaceUpdate(Wire):
    """What of a workspace is to change. A tag that is null goes."""

    name: Name | None = None
    display_color: str | None = None
    tags: dict[str, str | None] | None = None
    data_residency: only_null(_ONE_PLACE) = None  # type: ignore[valid-type]
    external_key_id: only_null("this server encrypts with no keys of yours") = None  # type: ignore[valid-type]
    user_profile_id: only_null("this server has no user profiles") = None  # type: ignore[valid-type]


class Organization(TypedDict):
    """This installation."""

    id: str
    type: Literal["organization"]
    name: str


class LimitGroup(TypedDict):
    """Which models a limit is of."""

    id: str
    type: Literal["model_group"]
    display_name: str


class LimitValue(TypedDict):
    """One limit."""

    type: str
    value: int


class RateLimitEntry(TypedDict):
    """The limits of one tier."""

    id: str
    type: Literal["rate_limit"]
    group: LimitGroup
    models: list[str]
    limits: list[LimitValue]


class RateLimitPage(TypedDict):
    """All of them, in one page."""

    data: list[RateLimitEntry]
    next_page: None


class LimitSource(TypedDict):
    """Where a value comes from."""

    type: Literal["workspace"]


class WorkspaceLimitValue(LimitValue):
    """One limit of a workspace, beside the one of the whole server."""

    org_limit: int | None
    source: LimitSource


class WorkspaceRateLimitEntry(TypedDict):
    """The limits of a workspace, for all models together."""

    type: Literal["workspace_rate_limit"]
    rate_limit_id: str
    workspace_id: str
    group: LimitGroup
    models: list[str]
    limits: list[WorkspaceLimitValue]


class WorkspaceRateLimitPage(TypedDict):
    """All of them, in one page."""

    data: list[WorkspaceRateLimitEntry]
    next_page: None
