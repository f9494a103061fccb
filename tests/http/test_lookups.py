"""What is only read: models, rows of the ledger, health."""

from __future__ import annotations

import pytest

from tests.http.served import asking

PATH = "/v1/renga/requests"


async def get(served, path, **headers):
    named = {k.replace("_", "-"): v for k, v in headers.items()}
    return await served.client.get(path, headers=named)


async def test_models_are_listed_with_what_truly_serves_them(echo):
    page = (await get(echo, "/v1/models")).json()
    assert [m["id"] for m in page["data"]] == ["renga-opus-1", "renga-sonnet-1", "renga-haiku-1"]
    assert (page["first_id"], page["last_id"]) == ("renga-opus-1", "renga-haiku-1")
    assert page["has_more"] is False
    assert {m["renga"]["served_by"] for m in page["data"]} == {"haiku"}
    assert page["data"][0]["max_input_tokens"] == 32_768


@pytest.mark.parametrize(
    ("query", "shown", "more"),
    [
        ("limit=2", ["opus", "sonnet"], True),
        ("limit=1000&beta=true", ["opus", "sonnet", "haiku"], False),
        ("after_id=renga-opus-1&limit=1", ["sonnet"], True),
        ("after_id=renga-haiku-1", [], False),
        ("before_id=renga-haiku-1&limit=1", ["sonnet"], True),
        ("before_id=renga-haiku-1", ["opus", "sonnet"], False),
        ("lifecycle[]=active&lifecycle[]=retired", ["opus", "sonnet", "haiku"], False),
        ("lifecycle%5B%5D=deprecated", [], False),
        ("lifecycle=retired", [], False),
    ],
)
async def test_pages_of_models(echo, query, shown, more):
    page = (await get(echo, f"/v1/models?{query}")).json()
    assert [m["line"] for m in page["data"]] == shown
    assert page["has_more"] is more
    assert page["first_id"] == (page["data"][0]["id"] if shown else None)


@pytest.mark.parametrize(
    ("name", "id_"),
    [
        ("haiku", "renga-haiku-1"),
        ("renga-opus-1", "renga-opus-1"),
        ("claude-3-5-haiku-latest", "renga-haiku-1"),
        ("claude-haiku-4.5", "renga-haiku-1"),
        ("anthropic/claude-sonnet-5", "renga-sonnet-1"),
    ],
)
async def test_a_model_is_found_by_any_name_that_resolves(echo, name, id_):
    assert (await get(echo, f"/v1/models/{name}")).json()["id"] == id_


async def test_ignored_parameters_of_a_lookup_are_named(echo):
    response = await get(echo, "/v1/models?order=desc", anthropic_beta="x-2026-01-01")
    assert response.headers["renga-ignored"] == "x-2026-01-01, ?order"


async def test_a_request_can_be_looked_up_by_its_id(echo):
    answer = await echo.post(asking("hello"))
    row = (await get(echo, f"{PATH}/{answer.headers['request-id']}")).json()
    assert row["request_id"] == answer.headers["request-id"]
    assert row["status"] == "ok"
    assert row["cost_usd"] == answer.headers["renga-cost-usd"]
    assert row["tokens"]["input"] == answer.json()["usage"]["input_tokens"]
    assert row["tokens"]["output"] == answer.json()["usage"]["output_tokens"]
    assert row["model_requested"] == "haiku"
    assert [attempt["status"] for attempt in row["attempts"]] == ["ok"]
    priced = sum(row["tokens"][name] * price for name, price in row["price_pico_per_token"].items())
    assert row["cost_pico"] == priced
    assert row["received_at"].endswith("Z")
    assert row["received_at"] <= row["first_token_at"] <= row["closed_at"]


async def test_another_workspaces_request_is_not_found(echo):
    mine = await echo.app.keys.create("a", "mine")
    theirs = await echo.app.keys.create("b", "theirs")
    answer = await echo.post(asking(), x_api_key=mine.plain)
    path = f"{PATH}/{answer.headers['request-id']}"
    assert (await get(echo, path, x_api_key=mine.plain)).status_code == 200
    refused = await get(echo, path, x_api_key=theirs.plain)
    missing = await get(echo, f"{PATH}/req_none", x_api_key=theirs.plain)
    assert refused.status_code == missing.status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        f"{PATH}/x%00y",
        "/v1/messages/batches/x%00y",
        "/v1/messages/batches?after_id=x%00y",
        "/v1/files/x%00y",
        "/v1/models/%00",
    ],
)
async def test_what_no_database_can_look_up_is_refused_at_the_door(echo, path):
    response = await get(echo, path)
    assert response.status_code == 400
    assert "NUL" in response.json()["error"]["message"]
    assert response.headers["request-id"].startswith("req_")


async def test_health_needs_no_key_and_names_what_serves(echo):
    echo.client.headers.clear()
    assert (await get(echo, "/healthz")).json() == {"status": "ok"}
    ready = await get(echo, "/readyz")
    assert ready.status_code == 200
    assert ready.json()["missing"] == []
    assert "HAIKU" in ready.json()["backends"]
    assert ready.headers["request-id"].startswith("req_")
