"""Limits as callers meet them: headers, refusals, and what a workspace keeps apart."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import anthropic
import httpx2
import pytest

from renga.app import App
from renga.config import LimitConfig, LimitsConfig
from renga.http.openai.limits import duration
from tests.http.served import Connection, Served, asking, configured, open_served


@pytest.fixture
async def limited(tmp_path: Path):
    """Starts a server with limits: `await limited(requests_per_minute=3)`, or whole tables."""
    async with AsyncExitStack() as stack:

        async def begin(
            config: LimitsConfig | None = None,
            *,
            haiku: Mapping[str, Any] = MappingProxyType({}),
            **default: Any,
        ) -> Served:
            config = config or LimitsConfig(default=LimitConfig(**default))
            whole = replace(configured(tmp_path / "home", haiku=dict(haiku)), limits=config)
            app = await App.start(whole)
            stack.push_async_callback(app.aclose)
            return await open_served(stack, app)

        yield begin


async def test_headers_count_down_and_stand_on_refusals(limited):
    served = await limited(requests_per_minute=3, input_tokens_per_minute=100_000)
    answers = [await served.post(asking()) for _ in range(4)]
    assert [a.status_code for a in answers] == [200, 200, 200, 429]
    left = [a.headers["anthropic-ratelimit-requests-remaining"] for a in answers]
    assert left == ["2", "1", "0", "0"]
    for answer in answers:
        assert answer.headers["anthropic-ratelimit-requests-limit"] == "3"
        assert answer.headers["anthropic-ratelimit-tokens-limit"] == "100000"
        assert int(answer.headers["anthropic-ratelimit-input-tokens-remaining"]) % 1_000 == 0
        reset = answer.headers["anthropic-ratelimit-requests-reset"]
        assert datetime.fromisoformat(reset).tzinfo is not None
        assert "anthropic-ratelimit-output-tokens-limit" not in answer.headers
    refused = answers[-1]
    assert 0 < int(refused.headers["retry-after"]) <= 20
    assert refused.json()["error"]["type"] == "rate_limit_error"
    assert "3 requests per minute" in refused.json()["error"]["message"]


async def test_a_refused_request_has_no_row_and_a_wrong_one_has_headers(limited):
    served = await limited(requests_per_minute=1)
    await served.post(asking())
    refused = await served.post(asking(), path="/v1/messages")
    assert refused.status_code == 429
    assert await served.app.ledger.get(refused.headers["request-id"]) is None
    wrong = await served.post(asking(max_tokens=-1))
    assert wrong.status_code == 400
    assert wrong.headers["anthropic-ratelimit-requests-limit"] == "1"


async def test_the_official_client_waits_and_comes_again(limited):
    served = await limited(requests_per_minute=60, concurrent=1)
    http = httpx2.AsyncClient(transport=httpx2.ASGITransport(served.http))
    async with anthropic.AsyncAnthropic(
        api_key="any", base_url="http://localhost", http_client=http, max_retries=4
    ) as client:
        asked = [client.messages.create(**asking("one two three")) for _ in range(3)]
        answers = await asyncio.gather(*asked)
        assert {answer.content[0].text for answer in answers} == {"one two three"}
        again = client.with_options(max_retries=0)
        with pytest.raises(anthropic.RateLimitError):
            for _ in range(70):
                await again.messages.create(**asking())


async def test_openai_s_clients_read_the_same_in_their_words(limited):
    served = await limited(requests_per_minute=2, output_tokens_per_minute=8_000)
    body = {"model": "haiku", "messages": [{"role": "user", "content": "hi"}]}
    answers = [await served.post(body, path="/v1/chat/completions") for _ in range(3)]
    assert [a.status_code for a in answers] == [200, 200, 429]
    assert [a.headers["x-ratelimit-remaining-requests"] for a in answers] == ["1", "0", "0"]
    assert answers[0].headers["x-ratelimit-limit-tokens"] == "8000"
    assert answers[-1].json()["error"]["code"] == "rate_limit_exceeded"


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0, "0s"), (0.34, "340ms"), (1.5, "1.5s"), (59.9996, "1m0s"), (360, "6m0s")],
)
def test_durations_are_written_as_go_writes_them(seconds, told):
    assert duration(seconds) == told


async def test_a_client_that_leaves_frees_its_slot(limited):
    served = await limited(concurrent=1, haiku={"token_delay_ms": 500.0})
    leaving = Connection(served, asking("one two three four", stream=True))
    running = asyncio.create_task(leaving.run())
    await leaving.until(lambda connection: len(connection.messages) > 1)
    assert (await served.post(asking())).status_code == 429
    leaving.leave()
    await running
    await asyncio.sleep(0.05)  # a refusal is repeated for so long without asking again
    assert (await served.post(asking("short"))).status_code == 200


async def test_dollars_that_are_spent_are_a_400(limited):
    served = await limited(usd_per_day=0)
    refused = await served.post(asking())
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"].startswith("You have reached your specified API usage limits. You will")


async def test_limits_of_names_that_nobody_has_are_told_at_start(limited, caplog):
    one = LimitConfig(requests_per_minute=1)
    with caplog.at_level(logging.WARNING):
        await limited(LimitsConfig(keys={"alcie": one}, workspaces={"taem": one, "default": one}))
    told = [r.getMessage() for r in caplog.records if "limits nobody" in r.getMessage()]
    assert [line.split("]")[0] for line in told] == [
        "[limits.keys.alcie",
        "[limits.workspaces.taem",
    ]


async def test_a_workspace_sees_no_files_and_rows_of_another(limited):
    served = await limited()
    mine, theirs = [await served.app.keys.create(n, n) for n in ("mine", "theirs")]
    answer = await served.post(asking(), x_api_key=mine.plain)
    row = f"/v1/renga/requests/{answer.headers['request-id']}"
    uploaded = await served.client.post(
        "/v1/files", files={"file": ("a.txt", b"text")}, headers={"x-api-key": mine.plain}
    )
    file = f"/v1/files/{uploaded.json()['id']}"
    for path in (row, file):
        found = await served.client.get(path, headers={"x-api-key": mine.plain})
        hidden = await served.client.get(path, headers={"x-api-key": theirs.plain})
        assert (found.status_code, hidden.status_code) == (200, 404)
    listed = await served.client.get("/v1/files", headers={"x-api-key": theirs.plain})
    assert listed.json()["data"] == []
