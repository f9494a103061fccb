"""The endpoints of the Admin API, as they are described."""

from __future__ import annotations

from renga import errors
from renga.http.admin.shapes import (
    ApiKey,
    ApiKeyCreate,
    ApiKeyPage,
    ApiKeyUpdate,
    NewApiKey,
    Organization,
    RateLimitPage,
    WorkspaceCreate,
    WorkspacePage,
    WorkspaceRateLimitPage,
    WorkspaceShape,
    WorkspaceUpdate,
)
from renga.http.described import (
    ALWAYS,
    BETAS,
    PAGES,
    TEXT,
    VERSION,
    Operation,
    parameter,
)
from renga.keys import SCOPES

ADMIN = (*ALWAYS, errors.PermissionDenied)
CHANGING = (
    *ADMIN,
    errors.InvalidRequest,
    errors.NotFound,
    errors.RequestTimeout,
    errors.RequestTooLarge,
)
API_KEY = parameter("api_key_id", "path", "a key's id", TEXT)
WORKSPACE = parameter("workspace_id", "path", "a workspace's id", TEXT)
GROUP = parameter(
    "group_type", "query", "limits of this kind of group; there are those of models alone", TEXT
)
ADMIN_PAGES = PAGES[:3]
KEY_FILTERS = (
    parameter("status", "query", "active, inactive, archived or expired ones", TEXT),
    parameter("workspace_id", "query", "those of this workspace", TEXT),
    parameter("created_by_user_id", "query", "none: who made a key is not recorded", TEXT),
)
WORKSPACE_FILTERS = (
    parameter("include_archived", "query", "archived ones too", {"type": "boolean"}),
    parameter("include_default", "query", "the default one too", {"type": "boolean"}),
    parameter("ids[]", "query", "these alone", {"type": "array", "items": TEXT, "maxItems": 100}),
)
WORKSPACE_WORDS = {
    "display_color": "such as `#6C5BB9`",
    "tags": "names and texts, 50 at most",
    "data_residency": "null: there is one place",
    "external_key_id": "null: there are no such keys here",
    "user_profile_id": "null: there are no user profiles here",
}


ADMIN_OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "list_api_keys",
        "get",
        "/v1/organizations/api_keys",
        "Admin",
        "The keys of this server in pages, the newest first.",
        answer=ApiKeyPage,
        parameters=(VERSION, BETAS, *ADMIN_PAGES, *KEY_FILTERS),
        raises=(*ADMIN, errors.InvalidRequest),
        scope="admin",
    ),
    Operation(
        "create_api_key",
        "post",
        "/v1/organizations/api_keys",
        "Admin",
        "Make a key, which the answer shows this once. Not part of the API: there the console does "
        "it.",
        answer=NewApiKey,
        body=ApiKeyCreate,
        words={
            "name": "what it is called; limits go by it",
            "workspace_id": "what it opens, by id or name; the default workspace if absent",
            "scopes": f"what it may do: {', '.join(SCOPES)}; all but the last two if absent",
            "expires_at": "from when on it is refused, in RFC 3339; never if absent",
        },
        parameters=(VERSION, BETAS),
        raises=CHANGING,
        scope="admin",
    ),
    Operation(
        "get_api_key",
        "get",
        "/v1/organizations/api_keys/{api_key_id}",
        "Admin",
        "One key.",
        answer=ApiKey,
        parameters=(API_KEY, VERSION, BETAS),
        raises=(*ADMIN, errors.InvalidRequest, errors.NotFound),
        scope="admin",
    ),
    Operation(
        "update_api_key",
        "post",
        "/v1/organizations/api_keys/{api_key_id}",
        "Admin",
        "Rename, disable, enable or archive a key; servers heed it within two seconds.",
        answer=ApiKey,
        body=ApiKeyUpdate,
        words={
            "name": "what it is called from now on",
            "status": "`inactive` refuses it, `active` takes it again, `archived` refuses it for "
            "good",
        },
        parameters=(API_KEY, VERSION, BETAS),
        raises=CHANGING,
        scope="admin",
    ),
    Operation(
        "list_workspaces",
        "get",
        "/v1/organizations/workspaces",
        "Admin",
        "The workspaces of this server in pages, the newest first.",
        answer=WorkspacePage,
        parameters=(VERSION, BETAS, *ADMIN_PAGES, *WORKSPACE_FILTERS),
        raises=(*ADMIN, errors.InvalidRequest),
        scope="admin",
    ),
    Operation(
        "create_workspace",
        "post",
        "/v1/organizations/workspaces",
        "Admin",
        "Make a workspace.",
        answer=WorkspaceShape,
        body=WorkspaceCreate,
        words={"name": "what it is called, for good", **WORKSPACE_WORDS},
        parameters=(VERSION, BETAS),
        raises=CHANGING,
        scope="admin",
    ),
    Operation(
        "get_workspace",
        "get",
        "/v1/organizations/workspaces/{workspace_id}",
        "Admin",
        "One workspace.",
        answer=WorkspaceShape,
        parameters=(WORKSPACE, VERSION, BETAS),
        raises=(*ADMIN, errors.InvalidRequest, errors.NotFound),
        scope="admin",
    ),
    Operation(
        "update_workspace",
        "post",
        "/v1/organizations/workspaces/{workspace_id}",
        "Admin",
        "Note another colour or other tags of a workspace.",
        answer=WorkspaceShape,
        body=WorkspaceUpdate,
        words={"name": "the one it has: it cannot be changed", **WORKSPACE_WORDS},
        parameters=(WORKSPACE, VERSION, BETAS),
        raises=CHANGING,
        scope="admin",
    ),
    Operation(
        "archive_workspace",
        "post",
        "/v1/organizations/workspaces/{workspace_id}/archive",
        "Admin",
        "Refuse all keys of a workspace for good; what it holds stays.",
        answer=WorkspaceShape,
        parameters=(WORKSPACE, VERSION, BETAS),
        raises=(*ADMIN, errors.InvalidRequest, errors.NotFound),
        scope="admin",
    ),
    Operation(
        "list_workspace_rate_limits",
        "get",
        "/v1/organizations/workspaces/{workspace_id}/rate_limits",
        "Admin",
        "What is configured for a workspace in [limits.workspaces].",
        answer=WorkspaceRateLimitPage,
        parameters=(WORKSPACE, VERSION, BETAS, GROUP),
        raises=(*ADMIN, errors.InvalidRequest, errors.NotFound),
        scope="admin",
    ),
    Operation(
        "list_rate_limits",
        "get",
        "/v1/organizations/rate_limits",
        "Admin",
        "What is configured for each tier in [limits.tiers].",
        answer=RateLimitPage,
        parameters=(VERSION, BETAS, GROUP, parameter("model", "query", "of this model", TEXT)),
        raises=(*ADMIN, errors.InvalidRequest, errors.NotFound),
        scope="admin",
    ),
    Operation(
        "get_organization",
        "get",
        "/v1/organizations/me",
        "Admin",
        "This installation.",
        answer=Organization,
        parameters=(VERSION, BETAS),
        raises=(*ADMIN, errors.InvalidRequest),
        scope="admin",
    ),
)
