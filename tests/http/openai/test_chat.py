"""OpenAI's chat against a whole server, through the official package."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion

from renga.errors import Overloaded
from tests.http.openai.clients import client_of
from tests.http.served import Connection, Serve, Served

TURNS: Any = [{"role": "user", "content": "one two three"}]
ASK: Any = {"model": "haiku", "messages": TURNS}
CHAT = "/v1/chat/completions"


@pytest.fixture
async def client(echo: Served) -> AsyncIterator[openai.AsyncOpenAI]:
    """A client of a server whose haiku repeats what it is told."""
    async with client_of(echo) as client:
        yield client


def text_of(completion: ChatCompletion) -> str | None:
    return completion.choices[0].message.content


async def test_a_completion_has_the_words_of_the_api(client):
    raw = await client.chat.completions.with_raw_response.create(**ASK)
    completion = raw.parse()
    assert completion.object == "chat.completion"
    assert completion.id.startswith("chatcmpl-")
    assert completion.model == "renga-haiku-1"
    assert completion.created > 1_700_000_000
    (choice,) = completion.choices
    assert (choice.message.role, choice.message.content) == ("assistant", "one two three")
    assert (choice.index, choice.finish_reason, choice.logprobs) == (0, "stop", None)
    assert choice.message.tool_calls is None
    usage = completion.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (4, 4, 8)
    assert usage.prompt_tokens_details.cached_tokens == 0
    assert usage.completion_tokens_details.reasoning_tokens == 0
    assert raw.headers["x-request-id"] == raw.headers["request-id"] == completion._request_id
    assert raw.headers["renga-tier"] == "haiku"


async def test_a_stream_amounts_to_the_completion(client):
    whole = await client.chat.completions.create(**ASK)
    async with client.chat.completions.stream(**ASK) as stream:
        async for _ in stream:
            pass
        streamed = await stream.get_final_completion()
    assert text_of(streamed) == text_of(whole)
    assert streamed.choices[0].finish_reason == whole.choices[0].finish_reason


async def test_usage_comes_last_and_only_where_it_was_asked_for(client):
    async def chunks(**more: Any) -> list[Any]:
        return [c async for c in await client.chat.completions.create(**ASK, stream=True, **more)]

    plain, counted = await chunks(), await chunks(stream_options={"include_usage": True})
    assert all("usage" not in chunk.to_dict() for chunk in plain)
    *others, last = counted
    assert [chunk.to_dict()["usage"] for chunk in others] == [None] * len(others)
    assert last.choices == []
    assert last.usage.total_tokens == 8
    assert len({chunk.id for chunk in counted}) == 1


async def test_the_bytes_of_a_stream_are_data_lines_and_done(echo):
    response = await echo.post({**ASK, "stream": True}, CHAT)
    assert response.headers["content-type"].startswith("text/event-stream")
    frames = response.text.split("\n\n")
    assert frames[-2:] == ["data: [DONE]", ""]
    chunks = [json.loads(frame.removeprefix("data: ")) for frame in frames[:-2]]
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in chunks) == "one two three"
    assert [c["choices"][0]["finish_reason"] for c in chunks] == [None] * (len(chunks) - 1) + [
        "stop"
    ]


async def test_a_silence_is_filled_with_a_comment_that_clients_skip(serve: Serve):
    served = await serve(haiku={"first_delay_ms": 120}, ping_seconds=0.02)
    response = await served.post({**ASK, "stream": True}, CHAT)
    assert response.text.startswith(": ping\n\n")
    async with client_of(served) as client:
        chunks = [c async for c in await client.chat.completions.create(**ASK, stream=True)]
    assert chunks[-1].choices[0].finish_reason == "stop"


@pytest.mark.parametrize(
    ("fields", "reason", "text"),
    [
        ({"max_tokens": 2}, "length", "one two "),
        ({"max_completion_tokens": 2}, "length", "one two "),
        ({"max_completion_tokens": 2, "max_tokens": 2}, "length", "one two "),
        ({"stop": "two"}, "stop", "one "),
        ({"stop": ["three", "two"]}, "stop", "one "),
    ],
)
async def test_an_answer_ends_where_it_was_told_to(client, fields, reason, text):
    completion = await client.chat.completions.create(**ASK, **fields)
    assert (completion.choices[0].finish_reason, text_of(completion)) == (reason, text)


async def test_what_has_no_effect_is_named(echo):
    ignored = {"user": "u", "store": True, "presence_penalty": 0.5, "frequency_penalty": 0}
    response = await echo.post({**ASK, **ignored, "n": 1, "logit_bias": {}}, CHAT)
    assert response.status_code == 200
    named = response.headers["renga-ignored"].split(", ")
    assert sorted(named) == ["presence_penalty", "store", "user"]


async def test_likelihoods_are_refused_by_a_backend_that_has_none(client):
    with pytest.raises(openai.BadRequestError, match="logprobs: backend 'HAIKU' cannot honour"):
        await client.chat.completions.create(**ASK, logprobs=True)


async def test_a_client_that_leaves_stops_the_work(serve: Serve):
    served = await serve(haiku={"reply": "word " * 500, "token_delay_ms": 5})
    connection = Connection(served, {**ASK, "stream": True}, CHAT)
    running = asyncio.create_task(connection.run())
    await connection.until(lambda c: len(c.messages) > 5)
    assert served.backend("HAIKU").open_streams == 1
    connection.leave()
    await running
    assert served.backend("HAIKU").open_streams == 0
    row = await served.row(connection.request_id)
    assert row.status == "cancelled"
    assert 0 < (row.tokens.output or 0) < 500


async def test_an_error_in_the_middle_of_a_stream_is_raised(serve: Serve):
    served = await serve(haiku={"reply": "a long reply", "fault": "error", "fail_after": 1})
    async with client_of(served) as client:
        with pytest.raises(openai.APIError, match="scripted failure") as raised:
            async for _ in await client.chat.completions.create(**ASK, stream=True):
                pass
    assert raised.value.type == "server_error"


async def test_an_overload_is_a_503_that_says_when_to_come_again(serve: Serve):
    served = await serve(haiku={"fault": "overloaded"})
    async with client_of(served) as client:
        for stream in (False, True):
            with pytest.raises(openai.InternalServerError) as raised:
                await client.chat.completions.create(**ASK, stream=stream)
            assert raised.value.status_code == 503
            assert raised.value.code == "server_overloaded"
            assert raised.value.response.headers["retry-after"] == "1"
    assert Overloaded.status == 529  # as the Messages API has it


async def test_models_are_listed_in_the_words_of_whoever_asks(echo, client):
    listed = [model.id async for model in client.models.list()]
    assert listed == ["renga-opus-1", "renga-sonnet-1", "renga-haiku-1"]
    found = await client.models.retrieve("claude-haiku-4-5")
    assert (found.id, found.object, found.owned_by) == ("renga-haiku-1", "model", "renga")
    with pytest.raises(openai.NotFoundError) as raised:
        await client.models.retrieve("gpt-4o")
    assert raised.value.code == "model_not_found"
    theirs = await echo.client.get("/v1/models")
    assert theirs.json()["first_id"] == "renga-opus-1"
    newest = {"authorization": "Bearer any", "x-api-key": ""}
    ours = await echo.client.get("/v1/models", headers=newest)  # with a version: Anthropic's
    assert ours.json()["data"][0]["type"] == "model"


async def test_a_key_is_needed_and_checked_like_everywhere(serve: Serve):
    served = await serve()
    await served.app.keys.create("first", workspace="w")
    async with client_of(served) as client:
        with pytest.raises(openai.AuthenticationError) as raised:
            await client.chat.completions.create(**ASK)
        assert raised.value.code == "invalid_api_key"
        with pytest.raises(openai.AuthenticationError):
            await client.models.list()


async def test_system_messages_are_the_system_text_and_later_ones_stay(serve: Serve):
    served = await serve()
    system = [{"role": "system", "content": "be brief"}, {"role": "developer", "content": "now"}]
    async with client_of(served) as client:
        completion = await client.chat.completions.create(model="haiku", messages=system + TURNS)
    assert text_of(completion) == "one two three"
    assert completion.usage is not None
    assert completion.usage.prompt_tokens == 4 + 2 + 1
