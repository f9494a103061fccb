"""The Admin API, asked by the newest official SDK, and what it refuses."""

from __future__ import annotations

import anthropic
import httpx
import pytest
from anthropic.types.organization.api_key import APIKey
from anthropic.types.organization.workspace import Workspace

from renga.http.operations import OPERATIONS
from tests.http.served import HEADERS, Served, asking

KEYS = "/v1/organizations/api_keys"
WORKSPACES = "/v1/organizations/workspaces"


@pytest.fixture
async def admin(echo: Served):
    """A client with a key that may administer."""
    made = await echo.app.keys.create("root", scopes=["admin"])
    headers = {"authorization": f"Bearer {made.plain}", "anthropic-version": "2026-10-21"}
    transport = httpx.ASGITransport(echo.http)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://localhost", headers=headers
    ) as client:
        yield client


@pytest.fixture
async def sdk(echo: Served, admin):
    """The official client over the same application."""
    import httpx2

    key = admin.headers["authorization"].removeprefix("Bearer ")
    http = httpx2.AsyncClient(transport=httpx2.ASGITransport(echo.http))
    async with anthropic.AsyncAnthropic(
        api_key=key, base_url="http://localhost", http_client=http, max_retries=0
    ) as client:
        yield client.organization


async def test_keys_are_listed_renamed_disabled_and_archived_by_the_sdk(echo, sdk):
    made = await echo.app.keys.create("laptop", "team")
    listed = [key async for key in sdk.api_keys.list(limit=1)]
    assert [key.name for key in listed] == ["laptop", "root"]
    key = await sdk.api_keys.retrieve(made.key.key_id)
    APIKey.model_validate(key.model_dump(), strict=True)
    assert (key.status, key.scope.type, key.expires_at) == ("active", "workspace", None)
    assert made.plain.startswith((key.partial_key_hint or "").removesuffix("..."))
    renamed = await sdk.api_keys.update(key.id, name="desktop", status="inactive")
    assert (renamed.name, renamed.status) == ("desktop", "inactive")
    assert (await echo.post(asking(), x_api_key=made.plain)).status_code == 401
    await sdk.api_keys.update(key.id, status="active")
    assert (await echo.post(asking(), x_api_key=made.plain)).status_code == 200
    archived = await sdk.api_keys.update(key.id, status="archived")
    assert archived.status == "archived"
    with pytest.raises(anthropic.BadRequestError, match="archived, which is for good"):
        await sdk.api_keys.update(key.id, status="active")
    assert [k.id async for k in sdk.api_keys.list(status="archived")] == [key.id]
    assert [k.name async for k in sdk.api_keys.list(workspace_id=key.scope.workspace_id)] == [
        "desktop"
    ]


async def test_workspaces_are_made_changed_and_archived_by_the_sdk(echo, sdk):
    made = await sdk.workspaces.create(name="team", tags={"cost": "42"}, display_color="#112233")
    Workspace.model_validate(made.model_dump(), strict=True)
    changed = await sdk.workspaces.update(made.id, tags={"cost": None, "who": "us"})
    assert (changed.tags, changed.display_color) == ({"who": "us"}, "#112233")
    assert (await sdk.workspaces.retrieve(made.id)) == changed
    key = await echo.app.keys.create("laptop", "team")
    assert (await echo.post(asking(), x_api_key=key.plain)).status_code == 200
    assert [w.name async for w in sdk.workspaces.list()] == ["team"]
    assert {w.name async for w in sdk.workspaces.list(include_default=True)} == {"team", "default"}
    archived = await sdk.workspaces.archive(made.id)
    assert archived.archived_at is not None
    assert [w.name async for w in sdk.workspaces.list()] == []
    assert [w.id async for w in sdk.workspaces.list(include_archived=True)] == [made.id]


async def test_an_archived_workspace_refuses_all_its_keys(serve):
    now = 100.0
    served = await serve(ticks=lambda: now)
    keys = [await served.app.keys.create(name, "team") for name in "ab"]
    root = await served.app.keys.create("root", scopes=["admin"])
    spaces = await served.client.get(WORKSPACES, headers={"x-api-key": root.plain})
    path = f"{WORKSPACES}/{spaces.json()['data'][0]['id']}/archive"
    assert (await served.client.post(path, headers={"x-api-key": root.plain})).status_code == 200
    for key in keys:
        refused = await served.post(asking(), x_api_key=key.plain)
        assert refused.status_code == 401
    again = {"name": "c", "workspace_id": "team"}
    made = await served.client.post(KEYS, json=again, headers={"x-api-key": root.plain})
    assert (made.status_code, "is archived" in made.text) == (400, True)


async def test_a_key_is_made_over_http_and_shown_once(echo, admin):
    body = {"name": "ci", "scopes": ["messages"], "expires_at": "2099-01-01T00:00:00Z"}
    made = (await admin.post(KEYS, json=body)).json()
    assert made["key"].startswith("sk-renga-")
    assert (made["scopes"], made["expires_at"]) == (["messages"], "2099-01-01T00:00:00Z")
    assert (await echo.post(asking(), x_api_key=made["key"])).status_code == 200
    assert (
        await echo.client.get("/v1/files", headers={"x-api-key": made["key"]})
    ).status_code == 403
    shown = await admin.get(f"{KEYS}/{made['id']}")
    assert made["key"] not in shown.text
    assert "key" not in shown.json()


async def test_the_older_version_names_the_workspace_in_its_own_field(admin):
    old = (await admin.get(KEYS, headers={"anthropic-version": "2023-06-01"})).json()["data"][0]
    new = (await admin.get(KEYS)).json()["data"][0]
    assert old["workspace_id"] == old["scope"]["workspace_id"] == new["scope"]["workspace_id"]
    assert "workspace_id" not in new


async def test_the_organization_and_its_limits_by_the_sdk(echo, sdk, admin):
    me = await sdk.retrieve()
    answered = await admin.get("/v1/organizations/me")
    assert me.id == answered.headers["anthropic-organization-id"]
    limits = [limit async for limit in sdk.rate_limits.list()]
    assert [limit.group.display_name for limit in limits] == ["opus", "sonnet", "haiku"]
    assert [limit async for limit in sdk.rate_limits.list(group_type="batch")] == []
    assert [e.id async for e in sdk.rate_limits.list(model="claude-haiku-4-5")] == [limits[2].id]
    default = [w async for w in sdk.workspaces.list(include_default=True)]
    assert [x async for x in sdk.workspaces.rate_limits.list(default[0].id)] == []


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "says"),
    [
        ("POST", KEYS, {}, 400, "name: Field required"),
        ("POST", KEYS, {"name": "x", "scopes": ["mesages"]}, 400, "scopes: there is no 'mesages'"),
        ("POST", KEYS, {"name": "x", "scopes": []}, 400, "scopes: none is named"),
        ("POST", KEYS, {"name": "x", "expires_at": "soon"}, 400, "expires_at: 'soon'; accepted"),
        ("POST", KEYS, {"name": "x", "expires_at": "1999-01-01"}, 400, "expires_at: that is not"),
        ("POST", KEYS, {"name": "x", "workspace_id": "wrkspc_1"}, 404, "workspace_id: there is no"),
        ("POST", KEYS, {"name": "x", "color": 1}, 400, "color: Extra inputs"),
        ("POST", f"{KEYS}/key_1", {"name": "x"}, 404, "api_key_id: there is no key 'key_1'"),
        ("GET", f"{KEYS}?status=gone", None, 400, "status: 'gone'; accepted: active"),
        ("GET", f"{KEYS}?after_id=key_1", None, 400, "after_id: 'key_1' is not in the list"),
        ("GET", f"{KEYS}?limit=0", None, 400, "limit: '0'; accepted"),
        ("POST", WORKSPACES, {"name": "default"}, 400, "name: there is a workspace 'default'"),
        ("POST", WORKSPACES, {"name": "a\nb"}, 400, "name: 'a\\nb'; accepted"),
        ("POST", WORKSPACES, {"name": "x", "display_color": "red"}, 400, "display_color: 'red'"),
        ("POST", WORKSPACES, {"name": "x", "tags": {"anthropic": "1"}}, 400, "may not begin"),
        ("POST", WORKSPACES, {"name": "x", "external_key_id": "k"}, 400, "external_key_id: "),
        ("POST", f"{WORKSPACES}/default", {"name": "x"}, 404, "workspace_id: there is no"),
        ("GET", f"{WORKSPACES}?include_default=maybe", None, 400, "include_default: 'maybe'"),
        ("GET", "/v1/organizations/rate_limits?group_type=x", None, 400, "group_type: 'x'"),
    ],
)
async def test_what_cannot_be_done_is_told_by_its_field(admin, method, path, body, status, says):
    refused = await admin.request(method, path, json=body)
    assert refused.status_code == status, refused.text
    assert says in refused.json()["error"]["message"]
    assert len((await admin.get(KEYS)).json()["data"]) == 1


async def test_the_default_workspace_stays(admin):
    default = (await admin.get(f"{WORKSPACES}?include_default=true")).json()["data"][0]
    refused = await admin.post(f"{WORKSPACES}/{default['id']}/archive")
    assert "cannot be archived" in refused.json()["error"]["message"]
    renamed = await admin.post(f"{WORKSPACES}/{default['id']}", json={"name": "other"})
    assert "cannot be changed; it is 'default'" in renamed.json()["error"]["message"]


@pytest.mark.parametrize("operation", [o for o in OPERATIONS if o.keyed], ids=lambda o: o.name)
async def test_each_endpoint_needs_its_scope(echo, operation):
    from renga.keys import SCOPES

    others = [scope for scope in SCOPES if scope != operation.scope]
    without = await echo.app.keys.create("without", scopes=others)
    path = operation.path.replace("{", "").replace("}", "")
    headers = {**HEADERS, "x-api-key": without.plain}
    refused = await echo.client.request(operation.method, path, json={}, headers=headers)
    assert refused.status_code == 403, refused.text
    assert f"'{operation.scope}'" in refused.text


async def test_without_a_key_nobody_administers(echo):
    refused = await echo.client.get(KEYS)
    assert refused.status_code == 403
    error = refused.json()["error"]
    assert "renga keys create NAME --scopes admin" in error["message"]
    assert error["details"]["error_code"] == "api_key_scope_missing"
