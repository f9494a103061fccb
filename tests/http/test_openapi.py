"""The OpenAPI document: true to the routes, valid, and what the server answers is what it says."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio
from jsonschema import Draft202012Validator
from starlette.routing import Route

from renga.http.openapi import PATH, document
from tests.http.served import Served, asking, start

DOCUMENT = document()
SCHEMAS = DOCUMENT["components"]["schemas"]

# Answers that no person reads: what a client of the API asks to know that somebody is there.
NOT_DESCRIBED = {("GET", PATH), ("GET", "/api/hello"), ("HEAD", "/api/hello"), ("GET", "/metrics")}

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """One server for all of it."""
    async with AsyncExitStack() as stack:
        yield await start(stack, tmp_path_factory.mktemp("home"))


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": DOCUMENT["components"]})


def answer_schema(path: str, method: str, status: int) -> dict[str, Any]:
    response = DOCUMENT["paths"][path][method]["responses"][str(status)]
    found: dict[str, Any] = response["content"]["application/json"]["schema"]
    return found


async def test_every_route_is_described_and_nothing_else(served: Served) -> None:
    routes = [route for route in served.http.routes if isinstance(route, Route)]
    there = {
        (method, route.path.replace(":path}", "}"))
        for route in routes
        for method in route.methods or ()
        if method != "HEAD" or "GET" not in (route.methods or ())
    }
    described = {(method.upper(), path) for method, path, _ in operations()}
    assert described == there - NOT_DESCRIBED


async def test_it_is_served_without_a_key_and_as_it_is_made(served: Served) -> None:
    response = await served.client.get(PATH, headers={"x-api-key": ""})
    assert response.status_code == 200
    assert response.json() == json.loads(json.dumps(DOCUMENT))
    assert response.json()["openapi"].startswith("3.1")


async def test_each_schema_is_one_and_each_reference_leads_somewhere() -> None:
    for schema in SCHEMAS.values():
        Draft202012Validator.check_schema(schema)
    text = json.dumps(DOCUMENT)
    names = [part.split('"')[0] for part in text.split("#/components/schemas/")[1:]]
    assert set(names) == SCHEMAS.keys()
    assert "__" not in "".join(SCHEMAS)  # two types of one name


async def test_operations_have_names_of_their_own_and_a_sentence() -> None:
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(set(names)) == len(names)
    assert all(operation["summary"].endswith(".") for _, _, operation in operations())


async def test_every_field_of_a_body_is_told_in_words() -> None:
    for _, path, operation in operations():
        if "requestBody" not in operation:
            continue
        (content,) = operation["requestBody"]["content"].values()
        name = content["schema"].get("$ref", "").rpartition("/")[2]
        fields = (SCHEMAS[name] if name else content["schema"])["properties"]
        silent = [name for name, field in fields.items() if not field.get("description")]
        assert silent == [], path


CALLS: list[tuple[str, str, str, Any, int]] = [
    ("post", "/v1/messages", "", asking(), 200),
    ("post", "/v1/messages", "", asking(max_tokens=-1), 400),
    ("post", "/v1/messages", "", asking(model="gpt-4"), 404),
    ("post", "/v1/messages/count_tokens", "", {"model": "haiku", "messages": asking()["messages"]},
     200),
    ("post", "/v1/chat/completions", "", {"model": "haiku", "messages": asking()["messages"]}, 200),
    ("post", "/v1/chat/completions", "", {"model": "haiku"}, 400),
    ("post", "/v1/chat/completions/input_tokens", "",
     {"model": "haiku", "messages": asking()["messages"]}, 200),
    ("post", "/v1/chat/completions", "", {"model": "x", "messages": asking()["messages"]}, 404),
    ("get", "/v1/models", "", None, 200),
    ("get", "/v1/models/{name}", "opus", None, 200),
    ("get", "/v1/models/{name}", "nobody", None, 404),
    ("get", "/v1/renga/requests/{request_id}", "req_none", None, 404),
    ("get", "/v1/renga/models", "", None, 200),
    ("post", "/v1/renga/models/{name}/load", "HAIKU", None, 200),
    ("post", "/v1/renga/models/{name}/load", "nobody", None, 404),
    ("get", "/v1/messages/batches", "", None, 200),
    ("get", "/v1/messages/batches/{batch_id}", "none", None, 404),
    ("post", "/v1/messages/batches", "", {"requests": []}, 400),
    ("post", "/v1/messages/batches", "", {"requests": [{"custom_id": "a", "params": asking()}]},
     200),
    ("get", "/v1/renga/batches/{batch_id}", "none", None, 404),
    ("get", "/v1/files", "", None, 200),
    ("get", "/v1/files/{file_id}", "file_none", None, 404),
    ("get", "/v1/files/{file_id}/content", "file_none", None, 404),
    ("delete", "/v1/files/{file_id}", "file_none", None, 404),
    ("post", "/v1/files", "", {}, 400),
    ("get", "/healthz", "", None, 200),
    ("get", "/readyz", "", None, 200),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "name", "body", "status"), CALLS)
async def test_an_answer_is_what_is_described(
    served: Served, method: str, path: str, name: str, body: Any, status: int
) -> None:
    url = path.partition("{")[0] + name + path.partition("}")[2]
    response = await served.client.request(method, url, json=body)
    assert response.status_code == status
    validator(answer_schema(path, method, status)).validate(response.json())


async def test_a_file_is_as_described(served: Served) -> None:
    made = await served.client.post("/v1/files", files={"file": ("a.txt", b"words")})
    validator(answer_schema("/v1/files", "post", 200)).validate(made.json())
    url = f"/v1/files/{made.json()['id']}"
    for headers in ({}, {"anthropic-beta": "files-api-2025-04-14"}):
        listed = (await served.client.get("/v1/files", headers=headers)).json()
        validator(answer_schema("/v1/files", "get", 200)).validate(listed)
    for method in ("get", "delete"):
        found = await served.client.request(method, url)
        validator(answer_schema("/v1/files/{file_id}", method, 200)).validate(found.json())


async def test_both_kinds_of_clients_get_models_as_described(served: Served) -> None:
    headers = {"authorization": "Bearer any"}
    for path, url in (("/v1/models", "/v1/models"), ("/v1/models/{name}", "/v1/models/haiku")):
        request = served.client.build_request("get", url, headers=headers)
        del request.headers["x-api-key"], request.headers["anthropic-version"]
        response = await served.client.send(request)
        assert response.json()["object"] in ("list", "model")
        validator(answer_schema(path, "get", 200)).validate(response.json())


async def test_a_row_is_as_described(served: Served) -> None:
    made = await served.post(asking())
    url = f"/v1/renga/requests/{made.headers['request-id']}"
    row = (await served.client.get(url)).json()
    validator(answer_schema("/v1/renga/requests/{request_id}", "get", 200)).validate(row)
    assert row["status"] == "ok"


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions"])
async def test_the_events_of_a_stream_are_as_described(served: Served, path: str) -> None:
    body = {**asking(), "stream": True}
    if "chat" in path:
        body["stream_options"] = {"include_usage": True}
    content = DOCUMENT["paths"][path]["post"]["responses"]["200"]["content"]
    data = content["text/event-stream"]["schema"]["properties"]["data"]
    events = validator(data.get("anyOf", [data])[0]["contentSchema"])
    text = (await served.post(body, path)).text
    lines = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
    found = [json.loads(line) for line in lines if line != "[DONE]"]
    assert len(found) > 5
    for event in found:
        events.validate(event)


async def test_requests_of_every_form_are_what_is_described(served: Served) -> None:
    tool = {"name": "add", "input_schema": {"type": "object"}, "strict": None}
    call = {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {}}
    body = asking(
        system=[{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}],
        tools=[tool, {"type": "bash_20250124", "name": "bash"}],
        tool_choice={"type": "auto"},
        thinking={"type": "adaptive"},
        output_config={"effort": "low"},
    )
    body["messages"] += [
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1"}]},
    ]
    messages = validator({"$ref": "#/components/schemas/MessagesRequest"})
    messages.validate(body)
    assert not messages.is_valid({**body, "colour": "red"})
    assert not messages.is_valid({**body, "messages": [{"role": "robot", "content": "x"}]})
