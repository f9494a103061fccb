"""Loading and unloading over HTTP: who may, what they answer, and what is served meanwhile."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from renga.app import App
from renga.backends.local import LocalBackend
from renga.config import BackendConfig, Config, ServerConfig, TierConfig
from renga.errors import SetupError
from tests.http import served
from tests.http.served import Connection, Serve, Served, asking, events_of, open_served
from tests.tiny_model import write_model

pytestmark = pytest.mark.asyncio(loop_scope="module")

ENDLESS = {"format": {"type": "json_schema", "schema": {"type": "string", "minLength": 5000}}}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


def two(home: Path, model: Path, other: Path, **fields: Any) -> Config:
    """haiku by a whole model, opus by another folder; a drain too short for an endless answer."""
    options: dict[str, Any] = {"threads": 1, "kv_cache_mb": 16, "window": 1_024}
    backends = {
        "small": BackendConfig("small", model=str(model), **options),
        "large": BackendConfig("large", model=str(other), **{**options, **fields}),
    }
    tiers = {"haiku": TierConfig("haiku", ("small",)), "opus": TierConfig("opus", ("large",))}
    return Config(home=home, server=ServerConfig(drain_seconds=0.3), backends=backends, tiers=tiers)


async def start(stack: AsyncExitStack, config: Config) -> Served:
    app = await App.start(config)
    stack.push_async_callback(app.aclose)
    return await open_served(stack, app)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def local(model: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    async with AsyncExitStack() as stack:
        yield await start(stack, two(tmp_path_factory.mktemp("home"), model, model))


async def change(local: Served, action: str, name: str = "large", **headers: str) -> Any:
    return await local.post(None, f"/v1/renga/models/{name}/{action}", **headers)


async def states(local: Served) -> dict[str, str]:
    answer = await local.client.get("/v1/renga/models")
    return {found["backend"]: found["state"] for found in answer.json()["data"]}


async def test_two_models_serve_side_by_side_and_say_so(local: Served) -> None:
    for name in ("haiku", "opus"):
        assert (await local.post(asking(model=name, max_tokens=3))).status_code == 200
    assert await states(local) == {"large": "ready", "small": "ready"}
    opus = (await local.client.get("/v1/models/opus")).json()
    assert opus["renga"]["states"] == {"large": "ready"}


async def test_unloading_frees_the_process_and_loading_brings_it_back(local: Served) -> None:
    backend = local.app.backends["large"]
    assert isinstance(backend, LocalBackend)
    engine = backend.engine
    assert engine is not None
    process = engine.process_id
    assert process is not None
    for _ in range(2):
        done = await change(local, "unload")
        assert (done.status_code, done.json()["state"]) == (200, "unloaded")
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
    refused = await local.post(asking(model="opus"))
    assert refused.status_code == 503
    assert "`renga models load large` loads it" in refused.json()["error"]["message"]
    assert (await local.post(asking(max_tokens=3))).status_code == 200, "haiku serves on"
    ready = await local.client.get("/readyz")
    assert ready.status_code == 200
    assert [m.split(":")[0] for m in ready.json()["missing"]] == ["tier sonnet", "tier opus"]
    opus = (await local.client.get("/v1/models/opus")).json()
    assert (opus["renga"]["states"], opus["max_input_tokens"]) == ({"large": "unloaded"}, 1_024)
    for _ in range(2):
        done = await change(local, "load")
        assert (done.status_code, done.json()["state"], done.json()["tiers"]) == (
            200,
            "ready",
            ["sonnet", "opus"],
        )
    assert (await local.post(asking(model="opus", max_tokens=3))).status_code == 200


async def test_an_answer_that_outlasts_the_drain_is_cut_and_its_row_is_closed(
    local: Served,
) -> None:
    body = asking(model="opus", stream=True, max_tokens=5000, output_config=ENDLESS)
    connection = Connection(local, body)
    async with asyncio.TaskGroup() as group:
        group.create_task(connection.run())
        await connection.until(lambda c: len(c.messages) > 3)
        done = await change(local, "unload")
    assert done.json()["state"] == "unloaded"
    last, data = events_of(connection.body)[-1]
    row = await local.row(connection.request_id)
    if last == "error":  # a quick machine reaches the window first
        assert "was unloaded before the answer ended" in data["error"]["message"]
        assert (row.status, row.error_type) == ("error", "api_error")
        assert row.tokens.output
    assert row.closed_at is not None
    await change(local, "load")


async def test_a_killed_engine_can_be_unloaded_and_loaded(local: Served) -> None:
    backend = local.app.backends["large"]
    assert isinstance(backend, LocalBackend)
    assert backend.engine is not None
    assert backend.engine.process_id is not None
    os.kill(backend.engine.process_id, signal.SIGKILL)
    assert (await change(local, "unload")).json()["state"] == "unloaded"
    assert (await change(local, "load")).json()["state"] == "ready"
    assert (await local.post(asking(model="opus", max_tokens=3))).status_code == 200


@pytest.mark.parametrize("action", ["load", "unload"])
async def test_an_unknown_backend_is_a_404_with_the_nearest(local: Served, action: str) -> None:
    done = await change(local, action, "lrage")
    assert done.status_code == 404
    assert done.json()["error"]["message"].endswith("there is no 'lrage'; did you mean 'large'?")
    assert "there are: large, small" in (await change(local, action, "x")).text


async def test_a_key_is_needed(local: Served) -> None:
    assert (await change(local, "unload", x_api_key="")).status_code == 401
    assert await states(local) == {"large": "ready", "small": "ready"}


# --- a model that cannot be loaded ----------------------------------------------------------------


async def test_a_broken_model_leaves_its_tier_without_and_the_others_serve(
    model: Path, tmp_path: Path
) -> None:
    cut = Path(shutil.copytree(model, tmp_path / "cut"))
    weights = (cut / "openvino_model.bin").read_bytes()
    (cut / "openvino_model.bin").write_bytes(weights[:1000])
    async with AsyncExitStack() as stack:
        local = await start(stack, two(tmp_path / "home", model, cut))
        assert (await local.post(asking(max_tokens=3))).status_code == 200
        refused = await local.post(asking(model="opus"))
        assert refused.status_code == 503
        assert refused.json()["error"]["type"] == "api_error"
        message = refused.json()["error"]["message"]
        for word in ("openvino_model.bin has 1,000 bytes", "`renga models load large` tries again"):
            assert word in message
        counted = await local.post(asking(model="opus"), "/v1/messages/count_tokens")
        assert counted.status_code in (400, 503)
        opus = (await local.client.get("/v1/models/opus")).json()
        assert (opus["renga"]["states"], opus["max_input_tokens"]) == ({"large": "failed"}, None)
        ready = (await local.client.get("/readyz")).json()
        assert ready["status"] == "ready"
        assert "1,000 bytes" in ready["backends"]["large"]
        again = await change(local, "load")
        assert again.status_code == 503
        assert "1,000 bytes" in again.json()["error"]["message"]
        (cut / "openvino_model.bin").write_bytes(weights)
        assert (await change(local, "load")).json()["state"] == "ready"
        assert (await local.post(asking(model="opus", max_tokens=3))).status_code == 200


async def test_a_model_larger_than_memory_is_refused_and_the_others_serve(
    model: Path, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        config = two(tmp_path / "home", model, model, kv_cache_mb=900_000_000)
        local = await start(stack, config)
        assert (await local.post(asking(max_tokens=3))).status_code == 200
        message = (await local.post(asking(model="opus"))).json()["error"]["message"]
        assert "does not fit into memory" in message
        assert "keys and values 900,000.0 GB" in message


async def test_where_no_model_loads_the_start_is_refused_with_each_reason(
    model: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    config = two(tmp_path / "home", tmp_path / "empty", tmp_path / "nowhere")
    with pytest.raises(SetupError) as caught:
        await App.start(config)
    assert "large: model '" in caught.value.message
    assert "small: model file" in caught.value.message


async def test_load_false_waits_until_it_is_asked_for(model: Path, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        local = await start(stack, two(tmp_path / "home", model, model, load=False))
        assert await states(local) == {"large": "unloaded", "small": "ready"}
        assert (await local.post(asking(model="opus"))).status_code == 503
        assert (await change(local, "load")).json()["state"] == "ready"
        assert (await local.post(asking(model="opus", max_tokens=3))).status_code == 200


# --- who may --------------------------------------------------------------------------------------


@pytest.mark.asyncio(loop_scope="function")
async def test_another_workspaces_key_may_look_and_not_touch(serve: Serve) -> None:
    server = await serve()
    guest = (await server.app.keys.create("guest", "guests")).plain
    owner = (await server.app.keys.create("owner", "default")).plain
    refused = await change(server, "unload", "HAIKU", x_api_key=guest)
    assert (refused.status_code, refused.json()["error"]["type"]) == (403, "permission_error")
    assert "'guests'" in refused.json()["error"]["message"]
    seen = await server.client.get("/v1/renga/models", headers={"x-api-key": guest})
    assert [b["state"] for b in seen.json()["data"]] == ["ready"]
    done = await change(server, "unload", "HAIKU", x_api_key=owner)
    assert done.json()["state"] == "unloaded"


# --- any order of things --------------------------------------------------------------------------

STEPS = st.sampled_from(["load", "unload", "stream", "whole", "wait"])


@settings(max_examples=15, deadline=None)
@given(st.lists(STEPS, max_size=15))
async def test_every_answer_has_a_closed_row_whatever_is_loaded_and_unloaded(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    async with AsyncExitStack() as stack:
        home = tmp_path_factory.mktemp("home")
        server = await served.start(stack, home, haiku={"token_delay_ms": 1.0})
        text = "word " * 12
        tasks = []
        for step in steps:
            if step in ("load", "unload"):
                work = change(server, step, "HAIKU")
            elif step != "wait":
                work = server.post(asking(text, stream=step == "stream"))
            else:
                await asyncio.sleep(0.005)
                continue
            tasks.append(asyncio.create_task(work))
            await asyncio.sleep(0)
        answers = await asyncio.gather(*tasks)
        assert {answer.status_code for answer in answers} <= {200, 503}
        rows = await server.app.ledger.rows()
        assert all(row.closed_at is not None for row in rows)
        assert {attempt.status for row in rows for attempt in row.attempts} <= {"ok", "error"}
        assert (await change(server, "load", "HAIKU")).status_code == 200
        assert (await server.post(asking("bye"))).status_code == 200
