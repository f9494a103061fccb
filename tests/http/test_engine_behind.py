"""The edge over the engine, on random weights: windows, schemas, clients that leave, deaths."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
import pytest_asyncio

from renga.app import App
from renga.backends.local import LocalBackend
from renga.config import BackendConfig
from tests.http.served import Connection, Served, asking, configured, events_of, open_served
from tests.tiny_model import write_model

pytestmark = pytest.mark.asyncio(loop_scope="module")

WINDOW = 256
SCHEMA = {
    "type": "object",
    "properties": {"paid": {"type": "boolean"}, "size": {"enum": ["small", "large"]}},
    "required": ["paid", "size"],
    "additionalProperties": False,
}
ENDLESS = {"format": {"type": "json_schema", "schema": {"type": "string", "minLength": 5000}}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def local(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """A server whose haiku is the engine."""
    home = tmp_path_factory.mktemp("home")
    model = write_model(home / "model")
    engine = BackendConfig(name="HAIKU", kind="local", model=str(model), window=WINDOW)
    config = replace(configured(home, haiku={}), backends={"HAIKU": engine})
    async with AsyncExitStack() as stack:
        app = await App.start(config)
        stack.push_async_callback(app.aclose)
        yield await open_served(stack, app)


def backend(local: Served) -> LocalBackend:
    found = local.app.backends["HAIKU"]
    assert isinstance(found, LocalBackend)
    return found


async def idle(local: Served) -> bool:
    """Whether the engine runs nothing, by its own count."""
    engine = backend(local).engine
    assert engine is not None
    for _ in range(500):
        stats = engine.stats()
        if stats is not None and stats.running == stats.waiting == 0:
            return True
        await asyncio.sleep(0.01)
    return False


async def test_generation_that_reaches_the_window_says_so(local):
    response = await local.post(asking(max_tokens=128_000, output_config=ENDLESS))
    assert response.json()["stop_reason"] == "model_context_window_exceeded"
    usage = response.json()["usage"]
    assert usage["input_tokens"] + usage["output_tokens"] == WINDOW


async def test_a_prompt_beyond_the_window_is_refused_with_both_numbers(local):
    body = {"model": "haiku", "messages": [{"role": "user", "content": "word " * 500}]}
    size = (await local.post(body, "/v1/messages/count_tokens")).json()["input_tokens"]
    for stream in (False, True):
        response = await local.post({**body, "max_tokens": 5, "stream": stream})
        assert response.status_code == 400
        message = response.json()["error"]["message"]
        assert message == f"prompt is too long: {size} tokens > {WINDOW - 1} maximum"
        assert (await local.row(response)).status == "error"


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_under_a_schema_is_json_that_the_schema_accepts(local, stream):
    form = {"format": {"type": "json_schema", "schema": SCHEMA}}
    response = await local.post(asking(output_config=form, stream=stream))
    assert response.status_code == 200
    if stream:
        events = [data for _, data in events_of(response.content)]
        deltas = [e["delta"] for e in events if e["type"] == "content_block_delta"]
        text = "".join(delta["text"] for delta in deltas)
    else:
        text = response.json()["content"][0]["text"]
    found = json.loads(text)
    assert found.keys() == {"paid", "size"}
    assert found["size"] in ("small", "large")


async def test_a_schema_that_is_none_is_refused_by_its_path(local):
    form = {"format": {"type": "json_schema", "schema": {"type": "chair"}}}
    response = await local.post(asking(output_config=form))
    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith("output_config.format.schema")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_frees_the_engine_and_is_charged_what_was_made(local, stream):
    connection = Connection(local, asking(stream=stream, max_tokens=5000, output_config=ENDLESS))
    before = {row.request_id for row in await local.app.ledger.rows()}
    async with asyncio.TaskGroup() as group:
        group.create_task(connection.run())
        if stream:
            await connection.until(lambda c: len(c.messages) > 5)
        while not backend(local).open_streams:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)
        connection.leave()
    assert backend(local).open_streams == 0
    assert await idle(local)
    (row,) = [r for r in await local.app.ledger.rows() if r.request_id not in before]
    assert row.status == "cancelled"
    assert row.cost_pico is not None
    if stream:
        assert row.tokens.output
        assert row.tokens.input


async def test_the_death_of_the_engine_ends_its_stream_with_an_error_and_the_server_lives(local):
    connection = Connection(local, asking(stream=True, max_tokens=5000, output_config=ENDLESS))
    engine = backend(local).engine
    assert engine is not None
    assert engine.process_id is not None
    async with asyncio.TaskGroup() as group:
        group.create_task(connection.run())
        await connection.until(lambda c: len(c.messages) > 5)
        os.kill(engine.process_id, signal.SIGKILL)
    last, data = events_of(connection.body)[-1]
    assert last == "error"
    assert data["error"]["type"] == "api_error"
    ready = await local.client.get("/readyz")
    assert ready.status_code == 503
    assert [m for m in ready.json()["missing"] if m.startswith("tier haiku: ")]
    row = await local.row(connection.request_id)
    assert (row.status, row.error_type) == ("error", "api_error")
    assert (await local.post(asking())).status_code == 200
    assert (await local.client.get("/readyz")).status_code == 200
