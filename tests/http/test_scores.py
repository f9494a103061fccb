"""`POST /v1/renga/score`: likelihoods of continuations, charged as input, over the engine."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from renga.app import App
from renga.backends.local import LocalBackend
from renga.config import BackendConfig
from tests.http.served import Connection, Served, configured, open_served
from tests.tiny_model import write_model

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATH = "/v1/renga/score"
WINDOW = 256


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def local(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """A server whose haiku is the engine."""
    home = tmp_path_factory.mktemp("home")
    model = write_model(home / "model")
    engine = BackendConfig(
        name="HAIKU", kind="local", model=str(model), window=WINDOW, precision="exact"
    )
    config = replace(configured(home, haiku={}, opus={}), backends={"HAIKU": engine})
    config = replace(config, tiers={"haiku": config.tiers["haiku"]})
    async with AsyncExitStack() as stack:
        app = await App.start(config)
        stack.push_async_callback(app.aclose)
        yield await open_served(stack, app)


def scoring(*continuations: Any, **more: Any) -> dict[str, Any]:
    turns = [{"role": "user", "content": "Where is my order?"}]
    return {"model": "haiku", "messages": turns, "continuations": list(continuations), **more}


async def counted(local: Served, **more: Any) -> int:
    body = scoring(**more)
    del body["continuations"]
    response = await local.post(body, "/v1/messages/count_tokens")
    size: int = response.json()["input_tokens"]
    return size


async def test_of_a_choice_the_probabilities_add_up_to_one(local):
    labels = ["refund", "order label", "refund please"]
    found = (await local.post(scoring(*labels, choice=True), PATH)).json()["scores"]
    assert sum(math.exp(score["logprob"]) for score in found) == pytest.approx(1.0, abs=1e-6)
    alone = (await local.post(scoring("refund", choice=True), PATH)).json()["scores"]
    assert alone[0]["logprob"] == 0.0
    free = (await local.post(scoring(*labels), PATH)).json()["scores"]
    assert all(one["logprob"] > other["logprob"] for one, other in zip(found, free, strict=True))


async def test_each_continuation_gets_its_likelihood_and_all_of_it_is_input(local):
    response = await local.post(scoring("refund", "order label", "refund"), PATH)
    assert response.status_code == 200
    found = response.json()
    assert (found["type"], found["model"]) == ("renga_scores", "renga-haiku-1")
    first, second, third = found["scores"]
    assert first == third
    assert first["logprob"] < 0
    assert second["tokens"] >= 2
    size = await counted(local) + sum(score["tokens"] for score in found["scores"])
    assert found["usage"]["input_tokens"] == size
    assert found["usage"]["output_tokens"] == 0
    row = await local.row(response)
    assert (row.status, row.tokens.input, row.tokens.output) == ("ok", size, 0)
    assert response.headers["renga-backend"] == "HAIKU"
    assert response.headers["renga-cost-usd"] == row.cost_usd
    assert row.attempts[0].tokens == row.tokens


async def test_continuations_belong_to_scores_alone(local):
    response = await local.post(scoring("a", max_tokens=1))
    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith("continuations: Extra inputs")


async def test_a_longer_continuation_is_its_beginning_and_what_follows(local):
    both = await local.post(scoring("The", "The quick"), PATH)
    short, long = both.json()["scores"]
    begun = [{"role": "user", "content": "Where is my order?"}]
    body = scoring(" quick", messages=[*begun, {"role": "assistant", "content": "The"}])
    (rest,) = (await local.post(body, PATH)).json()["scores"]
    assert short["tokens"] + rest["tokens"] == long["tokens"]
    assert math.isclose(short["logprob"] + rest["logprob"], long["logprob"], abs_tol=1e-3)


async def test_a_control_token_in_a_continuation_is_text(local):
    (score,) = (await local.post(scoring("<|im_end|>"), PATH)).json()["scores"]
    assert score["tokens"] > 1


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (scoring(), "continuations: List should have at least 1 item"),
        (scoring("a", ""), "continuations.1: "),
        (scoring("a", 5), "continuations.1: "),
        (scoring("a") | {"continuations": "a"}, "continuations: "),
        (scoring("a") | {"continuations": None}, "continuations: "),
        ({k: v for k, v in scoring().items() if k != "continuations"}, "continuations: Field"),
        (scoring(*["a"] * 1_001), "continuations: List should have at most 1000 items"),
        (scoring("a", max_tokens=5), "max_tokens: Extra inputs are not permitted"),
        (scoring("a", output_config={}), "output_config: a score has no answer"),
        (scoring("a", messages=[]), "messages: "),
        (scoring("fits", "word " * 300), "continuations.1: "),
        (scoring("a", system="word " * 300), "prompt is too long: "),
    ],
)
async def test_what_cannot_be_scored_is_refused_by_its_path(local, body, says):
    response = await local.post(body, PATH)
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"
    message = response.json()["error"]["message"]
    assert message.startswith(says), message


async def test_a_mark_has_no_effect_on_a_score_and_is_named(local):
    response = await local.post(scoring("a", cache_control={"type": "ephemeral"}), PATH)
    assert response.headers["renga-ignored"] == "cache_control"


async def test_a_backend_without_a_model_refuses_to_score(tmp_path):
    async with AsyncExitStack() as stack:
        app = await App.start(configured(tmp_path, haiku={}))
        stack.push_async_callback(app.aclose)
        served = await open_served(stack, app)
        response = await served.post(scoring("a"), PATH)
        assert response.status_code == 400
        message = response.json()["error"]["message"]
        assert message.startswith("continuations: backend 'HAIKU' cannot honour this")
        assert await app.ledger.rows() == []


async def test_a_client_that_leaves_ends_the_work_and_closes_the_row(local):
    words = [f"{number} orders are on their way. " * 4 for number in range(500)]
    connection = Connection(local, scoring(*words), PATH)
    backend = local.app.backends["HAIKU"]
    assert isinstance(backend, LocalBackend)
    before = {row.request_id for row in await local.app.ledger.rows()}
    async with asyncio.TaskGroup() as group:
        group.create_task(connection.run())
        while not backend.open_streams:
            await asyncio.sleep(0.001)
        connection.leave()
    assert backend.open_streams == 0
    (row,) = [r for r in await local.app.ledger.rows() if r.request_id not in before]
    assert (row.status, row.attempts[0].status) == ("cancelled", "cancelled")
    async with asyncio.timeout(10):
        again = await local.post(scoring("refund"), PATH)
    assert again.status_code == 200


async def test_a_source_is_read_before_it_is_scored(local):
    """What a file says is in the prompt, as if it had come with the request."""
    made = await local.client.post("/v1/files", files={"file": ("a.txt", b"order 4711 is lost")})
    filed = {"type": "file", "file_id": made.json()["id"]}
    text = {"type": "text", "media_type": "text/plain", "data": "order 4711 is lost"}

    async def of(source: Any) -> Any:
        block = {"type": "document", "source": source}
        return await local.post(
            scoring("refund", messages=[{"role": "user", "content": [block]}]), PATH
        )

    assert (await of(filed)).json() == (await of(text)).json()
    refused = await of({"type": "url", "url": "https://site.example/a.pdf"})
    assert refused.status_code == 400
    assert "this server fetches nothing" in refused.json()["error"]["message"]
    gone = await of({"type": "file", "file_id": "file_none"})
    assert (gone.status_code, gone.json()["error"]["type"]) == (404, "not_found_error")
