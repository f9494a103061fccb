"""Message Batches over HTTP: what clients see of one from its creation to its deletion."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import anthropic.types.messages as published
import httpx
import pytest

from renga.app import App
from renga.config import BatchesConfig
from renga.http.app import create_http, make_batches
from renga.http.running import Running
from renga.http.server import working
from tests.http.served import HEADERS, Served, asking, configured

Begin = Callable[..., Awaitable[Served]]
PATH = "/v1/messages/batches"


@pytest.fixture
async def begin(tmp_path: Path) -> AsyncIterator[Begin]:
    """A server that works on batches: `await begin(reply="hi", batches={"tries": 2})`."""
    async with AsyncExitStack() as stack:

        async def start(
            *, batches: dict[str, Any] | None = None, clock: Any = None, **script: Any
        ) -> Served:
            config = configured(tmp_path / "home", haiku=script)
            config = replace(config, batches=BatchesConfig(**(batches or {})))
            app = await App.start(config, **({"clock": clock} if clock else {}))
            stack.push_async_callback(app.aclose)
            shared = make_batches(app)
            running = Running()
            http = create_http(app, running=running, batches=shared)
            await stack.enter_async_context(working(app, shared))
            client = httpx.AsyncClient(
                transport=httpx.ASGITransport(http), base_url="http://localhost", headers=HEADERS
            )
            await stack.enter_async_context(client)
            return Served(app, http, running, client)

        yield start


def batch_of(*params: dict[str, Any]) -> dict[str, Any]:
    return {"requests": [{"custom_id": f"r{i}", "params": p} for i, p in enumerate(params)]}


async def created(served: Served, *params: dict[str, Any], **headers: str) -> dict[str, Any]:
    response = await served.post(batch_of(*params), PATH, **headers)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    published.MessageBatch.model_validate(found, strict=False)
    return found


async def ended(served: Served, batch_id: str) -> dict[str, Any]:
    while True:
        found: dict[str, Any] = (await served.client.get(f"{PATH}/{batch_id}")).json()
        counts = found["request_counts"]
        if found["processing_status"] == "ended":
            return found
        assert {counts[name] for name in counts if name != "processing"} == {0}
        assert found["results_url"] is None
        await asyncio.sleep(0.02)


async def results(served: Served, batch: dict[str, Any]) -> dict[str, dict[str, Any]]:
    response = await served.client.get(batch["results_url"])
    assert response.headers["content-type"] == "application/x-jsonl"
    lines = [json.loads(line) for line in response.text.splitlines()]
    for line in lines:
        published.MessageBatchIndividualResponse.model_validate(line, strict=False)
    found = {line["custom_id"]: line["result"] for line in lines}
    assert len(found) == len(lines)
    return found


async def test_a_batch_is_answered_counted_and_charged_half(begin: Begin) -> None:
    served = await begin()
    batch = await created(served, asking("one two"), asking("three", max_tokens=1))
    assert batch["request_counts"]["processing"] == 2
    over = await ended(served, batch["id"])
    assert over["request_counts"] == {
        "processing": 0, "succeeded": 2, "errored": 0, "canceled": 0, "expired": 0,
    }  # fmt: skip
    assert over["results_url"] == f"http://localhost{PATH}/{batch['id']}/results"
    found = await results(served, over)
    message = found["r0"]["message"]
    assert message["content"][0]["text"] == "one two"
    assert message["usage"]["service_tier"] == "batch"
    alone = await served.post(asking("one two"))
    assert alone.json()["usage"]["service_tier"] == "standard"
    rows = {row.service: row for row in await served.app.ledger.rows() if row.stop_reason}
    assert rows["batch"].stop_reason in ("end_turn", "max_tokens")
    progress = (await served.client.get(f"/v1/renga/batches/{batch['id']}")).json()
    assert (progress["succeeded"], progress["waiting"], progress["running"]) == (2, 0, 0)
    assert progress["cost_usd"] == progress["saved_usd"] != "0"
    costs: dict[str, list[int]] = {"batch": [], "standard": []}
    for row in await served.app.ledger.rows():
        costs[row.service].append(row.cost_pico or 0)
    assert sum(costs["batch"]) == round(float(progress["cost_usd"]) * 10**12)
    assert costs["standard"] == [2 * max(costs["batch"])]


WRONG_PARAMS: list[tuple[dict[str, Any], str, str]] = [
    (asking(stream=True), "invalid_request_error", "stream: streaming is not supported in a batch"),
    (asking(max_tokens=0), "invalid_request_error", "max_tokens: Input should be greater than or"),
    (asking(max_tokens=-1), "invalid_request_error", "max_tokens: "),
    (asking(model="gpt-4"), "not_found_error", "model: gpt-4"),
    (asking(speed="fast"), "invalid_request_error", "speed: "),
    (asking(nonsense=1), "invalid_request_error", "nonsense: Extra inputs are not permitted"),
    ({"model": "haiku", "max_tokens": 5}, "invalid_request_error", "messages: Field required"),
    ({}, "invalid_request_error", "model: Field required"),
    (asking(messages=[]), "invalid_request_error", "messages"),
    ({**asking(), "model": 7}, "invalid_request_error", "model: Input should be a valid string"),
]


async def test_what_is_wrong_with_one_request_is_its_result_and_nobody_elses(begin: Begin) -> None:
    served = await begin()
    batch = await created(served, *(params for params, _, _ in WRONG_PARAMS), asking("fine"))
    found = await results(served, await ended(served, batch["id"]))
    for i, (_, kind, told) in enumerate(WRONG_PARAMS):
        result = found[f"r{i}"]
        assert result["type"] == "errored"
        assert result["error"]["type"] == "error"
        assert result["error"]["error"]["type"] == kind
        assert result["error"]["error"]["message"].startswith(told)
        assert result["error"]["request_id"].startswith("req_")
    assert found[f"r{len(WRONG_PARAMS)}"]["type"] == "succeeded"


async def test_the_versions_rules_hold_for_each_request(begin: Begin) -> None:
    served = await begin()
    for version, kind in (("2023-06-01", "succeeded"), ("2026-10-21", "errored")):
        batch = await created(served, asking(temperature=0.5), anthropic_version=version)
        found = await results(served, await ended(served, batch["id"]))
        assert found["r0"]["type"] == kind
    assert "temperature: not part of API version" in found["r0"]["error"]["error"]["message"]


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        (b"", 400, "body: it is empty"),
        (b"{", 400, "body: it is not valid JSON"),
        (b'{"requests": []}', 400, "requests: List should have at least 1 item"),
        (
            json.dumps({"requests": [{"custom_id": "a", "params": {}}] * 2}).encode(),
            400,
            "requests.1.custom_id: 'a' is there twice",
        ),
        (b'{"requests": [{"custom_id": "a b", "params": {}}]}', 400, "requests.0.custom_id: Str"),
        (b"x" * 33_000_000, 400, "body: Input should be an object"),
        (
            b'{"requests": [{"custom_id": "a", "params": {"system": "' + b"x" * 33_000_000,
            413,
            "requests.0: it is over the limit of 32 MB",
        ),
    ],
)
async def test_a_body_that_is_no_batch_leaves_nothing(
    begin: Begin, body: bytes, status: int, told: str
) -> None:
    served = await begin()
    response = await served.client.post(PATH, content=body)
    assert response.status_code == status
    assert response.json()["error"]["message"].startswith(told)
    listed = (await served.client.get(PATH)).json()
    assert listed == {"data": [], "has_more": False, "first_id": None, "last_id": None}


async def test_a_body_over_the_limit_is_a_413_before_it_is_read(begin: Begin) -> None:
    served = await begin()
    headers = {"content-length": str(257_000_000)}
    response = await served.client.post(PATH, content=b"{", headers=headers)
    assert response.status_code == 413
    assert response.json()["error"]["type"] == "request_too_large"


async def test_a_gzip_body_is_taken_in_pieces_too(begin: Begin) -> None:
    served = await begin()
    plain = json.dumps(batch_of(*(asking(f"text {i}") for i in range(700)))).encode()
    packed = gzip.compress(plain[:50_000]) + gzip.compress(plain[50_000:])

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(packed), 1_000):
            yield packed[at : at + 1_000]

    headers = {"content-encoding": "gzip"}
    response = await served.client.post(PATH, content=pieces(), headers=headers)
    assert response.json()["request_counts"]["processing"] == 700
    cut = await served.client.post(PATH, content=packed[:-20], headers=headers)
    assert cut.status_code == 400
    assert "gzip was announced" in cut.json()["error"]["message"]
    assert len((await served.client.get(PATH)).json()["data"]) == 1


async def test_what_is_asked_too_early_or_of_nothing_is_told_as_published(begin: Begin) -> None:
    served = await begin(first_delay_ms=60_000)
    batch = await created(served, asking())
    path = f"{PATH}/{batch['id']}"
    early = await served.client.get(f"{path}/results")
    assert early.status_code == 404
    assert early.json()["error"] == {
        "type": "not_found_error",
        "message": f"Message Batch {batch['id']} has no available results.",
    }
    running = await served.client.delete(path)
    assert running.status_code == 400
    assert running.json()["error"]["message"] == (
        "In progress batches cannot be deleted. Consider canceling the batch instead."
    )
    for method, missing in (("GET", ""), ("GET", "/results"), ("POST", "/cancel"), ("DELETE", "")):
        response = await served.client.request(method, f"{PATH}/msgbatch_none{missing}")
        assert response.status_code == 404
        told = "Message Batch msgbatch_none not found."
        assert response.json()["error"] == {"type": "not_found_error", "message": told}


async def test_cancelling_ends_what_runs_and_what_waits_and_charges_neither(begin: Begin) -> None:
    served = await begin(first_delay_ms=60_000, batches={"in_flight": 2})
    batch = await created(served, *(asking(f"{i}") for i in range(30)))
    path = f"{PATH}/{batch['id']}"
    while (await served.client.get(f"/v1/renga/batches/{batch['id']}")).json()["running"] == 0:
        await asyncio.sleep(0.02)
    canceling = (await served.client.post(f"{path}/cancel")).json()
    assert canceling["processing_status"] == "canceling"
    assert canceling["cancel_initiated_at"] is not None
    assert canceling["request_counts"]["processing"] == 30
    over = await ended(served, batch["id"])
    assert over["request_counts"]["canceled"] == 30
    found = await results(served, over)
    assert {json.dumps(result) for result in found.values()} == {'{"type": "canceled"}'}
    rows = await served.app.ledger.rows()
    assert {row.status for row in rows} <= {"cancelled"}
    assert sum(row.cost_pico or 0 for row in rows) == 0
    again = (await served.client.post(f"{path}/cancel")).json()
    assert again["processing_status"] == "ended"
    assert (await served.client.delete(path)).json() == {
        "id": batch["id"], "type": "message_batch_deleted",
    }  # fmt: skip
    assert (await served.client.get(path)).status_code == 404


class Clock:
    """Wall time that a test moves."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


async def test_what_is_not_done_in_its_time_expires_and_results_are_archived(begin: Begin) -> None:
    clock = Clock()
    served = await begin(first_delay_ms=60_000, batches={"in_flight": 1}, clock=clock)
    batch = await created(served, *(asking(f"{i}") for i in range(8)))
    assert batch["expires_at"] == "2027-01-16T08:00:00Z"
    clock.now += 86_399
    await asyncio.sleep(1.2)
    assert (await served.client.get(f"{PATH}/{batch['id']}")).json()["ended_at"] is None
    clock.now += 2
    over = await ended(served, batch["id"])
    assert over["request_counts"]["expired"] == 8
    found = await results(served, over)
    assert {json.dumps(result) for result in found.values()} == {'{"type": "expired"}'}

    clock.now += 28 * 86_400
    shared = make_batches(served.app)
    await shared.tidy()
    kept = (await served.client.get(f"{PATH}/{batch['id']}")).json()
    assert kept["archived_at"] is not None
    assert kept["results_url"] is None
    assert kept["request_counts"]["expired"] == 8
    assert (await served.client.get(f"{PATH}/{batch['id']}/results")).status_code == 404


async def test_a_workspace_sees_its_own_batches_alone(begin: Begin) -> None:
    served = await begin()
    mine = (await served.app.keys.create("a", "mine")).plain
    other = (await served.app.keys.create("b", "other")).plain
    batch = await created(served, asking(), x_api_key=mine)
    path = f"{PATH}/{batch['id']}"
    served.client.headers["x-api-key"] = other
    for method, rest in (("GET", ""), ("GET", "/results"), ("POST", "/cancel"), ("DELETE", "")):
        assert (await served.client.request(method, path + rest)).status_code == 404
    assert (await served.client.get(f"/v1/renga/batches/{batch['id']}")).status_code == 404
    assert (await served.client.get(PATH)).json()["data"] == []
    cursor = await served.client.get(f"{PATH}?after_id={batch['id']}")
    assert cursor.status_code == 400
    assert cursor.json()["error"]["message"].startswith("after_id: Message Batch")
    served.client.headers["x-api-key"] = mine
    assert (await ended(served, batch["id"]))["request_counts"]["succeeded"] == 1


async def test_lists_come_in_pages_from_both_ends(begin: Begin) -> None:
    served = await begin()
    made = [(await created(served, asking()))["id"] for _ in range(5)][::-1]

    async def page(query: str) -> tuple[list[str], bool]:
        found = (await served.client.get(f"{PATH}?{query}")).json()
        ids = [batch["id"] for batch in found["data"]]
        assert (found["first_id"], found["last_id"]) == (ids[0], ids[-1]) if ids else (None, None)
        return ids, found["has_more"]

    assert await page("") == (made, False)
    assert await page("limit=2&beta=true") == (made[:2], True)
    assert await page(f"limit=2&after_id={made[1]}") == (made[2:4], True)
    assert await page(f"limit=2&after_id={made[3]}") == (made[4:], False)
    assert await page(f"limit=2&before_id={made[4]}") == (made[2:4], True)
    assert await page(f"before_id={made[2]}") == (made[:2], False)
    both = await served.client.get(f"{PATH}?after_id=a&before_id=b")
    assert both.status_code == 400
    assert (await served.client.get(f"{PATH}?limit=0")).status_code == 400


async def test_a_backend_that_breaks_is_tried_again_and_then_named(begin: Begin) -> None:
    served = await begin(fault="error", batches={"tries": 2})
    batch = await created(served, asking())
    over = await ended(served, batch["id"])
    assert over["request_counts"]["errored"] == 1
    found = await results(served, over)
    assert found["r0"]["error"]["error"]["type"] == "api_error"
    rows = [row for row in await served.app.ledger.rows() if row.service == "batch"]
    assert len(rows) == 2
    assert {(row.status, row.cost_pico) for row in rows} == {("error", 0)}


async def test_a_server_that_is_full_fails_no_request(begin: Begin) -> None:
    served = await begin(fault="overloaded", batches={"tries": 1})
    batch = await created(served, asking())
    refused: list[Any] = []
    while len(refused) < 2:
        await asyncio.sleep(0.05)
        rows = await served.app.ledger.rows()
        refused = [row for row in rows if row.error_type == "overloaded_error"]
    found = (await served.client.get(f"{PATH}/{batch['id']}")).json()
    assert found["processing_status"] == "in_progress"
    assert {row.cost_pico for row in refused} == {0}


async def test_results_lie_where_clients_reach_the_server(begin: Begin) -> None:
    served = await begin()
    batch = await created(served, asking())
    await ended(served, batch["id"])
    asked = await served.client.get(f"{PATH}/{batch['id']}", headers={"host": "localhost:99"})
    assert asked.json()["results_url"] == f"http://localhost:99{PATH}/{batch['id']}/results"


async def test_batches_can_be_off(begin: Begin) -> None:
    served = await begin(batches={"enabled": False})
    response = await served.client.get(PATH)
    assert response.status_code == 404
    assert "`enabled` of [batches] is off" in response.json()["error"]["message"]
