"""Answers over HTTP: whole and streamed, their headers, versions, betas, and the ledger's row."""

from __future__ import annotations

import gzip
import json
import random

import pytest

from renga.types import UNSUPPORTED_FIELDS
from tests.http.served import asking, events_of

JSON = "application/json"


async def test_an_answer_is_a_message_with_its_tier_backend_and_exact_cost(echo):
    response = await echo.post(asking("hello"))
    assert response.status_code == 200
    assert response.headers["content-type"] == JSON
    message = response.json()
    assert message["content"] == [{"type": "text", "text": "hello", "citations": None}]
    assert message["model"] == "renga-haiku-1"
    assert message["stop_reason"] == "end_turn"
    usage = message["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == (2, 2)
    assert response.headers["renga-tier"] == "haiku"
    assert response.headers["renga-backend"] == "HAIKU"
    assert response.headers["renga-cost-usd"] == "0.000012"  # 2 x $1/M + 2 x $5/M
    assert "renga-ignored" not in response.headers


async def test_the_cost_in_the_header_is_the_ledgers(echo):
    response = await echo.post(asking("hello " * 7))
    row = await echo.row(response)
    assert row.status == "ok"
    assert row.cost_usd == response.headers["renga-cost-usd"]


async def test_a_tier_that_another_serves_says_so(echo):
    response = await echo.post(asking(model="claude-sonnet-4-5"))
    assert response.json()["model"] == "renga-sonnet-1"
    assert response.headers["renga-tier"] == "sonnet"
    assert response.headers["renga-served-tier"] == "haiku"


async def test_a_stream_is_the_same_message_in_events(echo):
    response = await echo.post(asking("hello", stream=True))
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["renga-backend"] == "HAIKU"
    events = events_of(response.content)
    assert [name for name, _ in events] == [
        "message_start",
        "ping",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert all(data["type"] == name for name, data in events)
    assert events[0][1]["message"]["content"] == []
    assert events[0][1]["message"]["usage"]["input_tokens"] == 2
    assert events[-2][1]["delta"]["stop_reason"] == "end_turn"
    assert events[-2][1]["usage"]["output_tokens"] == 2
    assert (await echo.row(response)).status == "ok"


async def test_the_bytes_of_a_stream_are_the_documented_ones(serve):
    served = await serve(haiku={"reply": "é"})
    response = await served.post(asking(stream=True))
    assert (
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
        b'"delta":{"type":"text_delta","text":"\xc3\xa9"}}\n\n'
    ) in response.content
    assert response.content.endswith(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')


async def test_no_character_of_an_answer_ends_a_line_of_the_stream(serve):
    text = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\r\nh"
    served = await serve(haiku={"reply": text})
    response = await served.post(asking(stream=True))
    lines = [json.loads(line[6:]) for line in response.text.splitlines() if line[:6] == "data: "]
    deltas = [event["delta"]["text"] for event in lines if event["type"] == "content_block_delta"]
    assert "".join(deltas) == text


async def test_counting_gives_the_size_that_the_answer_bills(echo):
    body = asking("count me", system="be brief")
    answer = await echo.post(body)
    del body["max_tokens"]
    counted = await echo.post(body, "/v1/messages/count_tokens")
    assert counted.json() == {"input_tokens": answer.json()["usage"]["input_tokens"]}
    assert counted.headers["renga-tier"] == "haiku"
    assert "renga-cost-usd" not in counted.headers


async def test_a_long_prompt_is_understood_like_a_short_one(echo):
    body = {"model": "haiku", "messages": [{"role": "user", "content": "word" * 500_000}]}
    counted = await echo.post(body, "/v1/messages/count_tokens", anthropic_beta="x-2030-01-01")
    assert counted.json() == {"input_tokens": 500_000}
    refused = await echo.post({**body, "zork": 1}, "/v1/messages/count_tokens")
    assert refused.json()["error"]["message"].startswith("zork: ")


async def test_a_long_gzip_body_is_unpacked(echo):
    turns = [{"role": "user", "content": random.Random(1).randbytes(400_000).hex()}]
    packed = gzip.compress(json.dumps({"model": "haiku", "messages": turns}).encode())
    assert len(packed) > 262_144
    counted = await echo.client.post(
        "/v1/messages/count_tokens", content=packed, headers={"content-encoding": "gzip"}
    )
    assert counted.json() == {"input_tokens": 200_000}


async def test_gzip_is_unpacked_even_in_several_members(echo):
    raw = json.dumps(asking("packed")).encode()
    packed = gzip.compress(raw[:20]) + gzip.compress(raw[20:])
    response = await echo.client.post(
        "/v1/messages", content=packed, headers={"content-encoding": "gzip"}
    )
    assert response.json()["content"][0]["text"] == "packed"


@pytest.mark.parametrize("encoding", ["identity", "", "x-gzip"])
async def test_other_names_of_accepted_encodings(echo, encoding):
    raw = json.dumps(asking("plain")).encode()
    content = gzip.compress(raw) if encoding == "x-gzip" else raw
    headers = {"content-encoding": encoding}
    response = await echo.client.post("/v1/messages", content=content, headers=headers)
    assert response.status_code == 200


@pytest.mark.parametrize("version", ["2023-06-01", "2026-10-21"])
async def test_both_versions_are_spoken(echo, version):
    response = await echo.post(asking(), anthropic_version=version)
    assert response.status_code == 200


async def test_sampling_fields_belong_to_the_older_version(echo):
    body = asking(temperature=0.5, top_p=0.9, top_k=40)
    assert (await echo.post(body)).status_code == 200
    nulls = asking(temperature=None, top_p=None, top_k=None)
    assert (await echo.post(nulls, anthropic_version="2026-10-21")).status_code == 200


async def test_beta_true_in_the_query_is_accepted_and_other_parameters_are_named(echo):
    response = await echo.client.post("/v1/messages?beta=true", json=asking())
    assert "renga-ignored" not in response.headers
    response = await echo.client.post("/v1/messages?beta=true&turbo=1", json=asking())
    assert response.headers["renga-ignored"] == "?turbo"


async def test_headers_that_say_what_only_the_key_can_say_are_named(echo):
    response = await echo.post(asking(), anthropic_workspace_id="wrkspc_1")
    assert response.headers["renga-ignored"] == "anthropic-workspace-id"
    assert (await echo.row(response)).workspace == "default"


@pytest.mark.parametrize("stream", [False, True])
async def test_what_has_no_effect_is_named(echo, stream):
    mark = {"type": "ephemeral"}
    body = asking(cache_control=mark, metadata={"user_id": "u"}, stream=stream)
    headers = [("anthropic-beta", "next-2030-01-01, old-2024-01-01"), ("anthropic-beta", "third")]
    response = await echo.client.post("/v1/messages", json=body, headers=headers)
    assert response.status_code == 200
    named = response.headers["renga-ignored"].split(", ")
    assert named == ["next-2030-01-01", "old-2024-01-01", "third", "metadata", "cache_control"]


async def test_counting_says_nothing_of_caching(echo):
    body = asking(cache_control={"type": "ephemeral"})
    del body["max_tokens"]
    response = await echo.post(body, "/v1/messages/count_tokens")
    assert response.status_code == 200
    assert "renga-ignored" not in response.headers


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_of_no_tokens_is_only_its_prompt(echo, stream):
    response = await echo.post(asking("x" * 40, max_tokens=0, stream=stream))
    assert response.status_code == 200
    if stream:
        events = [e for e in events_of(response.content) if e[0] != "ping"]
        assert [name for name, _ in events] == ["message_start", "message_delta", "message_stop"]
        ending = events[1][1]
        assert (ending["delta"]["stop_reason"], ending["usage"]["output_tokens"]) == (
            "max_tokens",
            0,
        )
    else:
        message = response.json()
        assert (message["content"], message["stop_reason"]) == ([], "max_tokens")
        assert (message["usage"]["input_tokens"], message["usage"]["output_tokens"]) == (10, 0)
    row = await echo.row(response)
    assert (row.status, row.tokens.input, row.tokens.output) == ("ok", 10, 0)


@pytest.mark.parametrize("name", sorted(UNSUPPORTED_FIELDS))
async def test_a_known_field_is_refused_by_name_whatever_the_beta(echo, name):
    response = await echo.post(asking() | {name: {}}, anthropic_beta="warp-2030-01-01")
    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith(f"{name}: ")


async def test_a_beta_cannot_break_the_header_that_names_it(echo):
    headers = [(b"anthropic-beta", b"caf\xc3\xa9-2030-01-01")]
    response = await echo.client.post("/v1/messages", json=asking(), headers=headers)
    assert response.status_code == 200
    assert response.headers["renga-ignored"].isascii()


@pytest.mark.parametrize("stream", [False, True])
async def test_no_name_that_a_caller_chose_can_break_the_header(echo, stream):
    names = ["a\r\nset-cookie: b=c", "名前", "x" * 5000, "a,b", ""]
    body = asking(stream=stream) | dict.fromkeys(names, 1)
    response = await echo.client.post(
        "/v1/messages?caf%C3%A9%0D%0A=1", json=body, headers={"anthropic-beta": "x-2030-01-01"}
    )
    assert response.status_code == 200
    assert "set-cookie" not in response.headers
    named = response.headers["renga-ignored"].split(", ")
    assert named[:4] == ["x-2030-01-01", "?caf???", "a??set-cookie:?b=c", "??"]
    assert named[4:] == ["x" * 100, "a?b", ""]


async def test_a_thousand_ignored_names_are_counted(echo):
    body = asking() | {f"k{i}": i for i in range(1000)}
    response = await echo.post(body, anthropic_beta="x-2030-01-01")
    assert response.headers["renga-ignored"].endswith(", k98, 901 more")


async def test_a_bearer_token_is_a_key_too(echo):
    response = await echo.client.post(
        "/v1/messages", json=asking(), headers={"x-api-key": "", "authorization": "Bearer any"}
    )
    assert response.status_code == 200
