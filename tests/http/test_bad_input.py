"""What a caller can get wrong: in the API's envelope, with the field's path, and no row opened."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.http import bad_rules
from tests.http.bad import (
    COUNT,
    MESSAGES,
    Bad,
    bad,
    block_is,
    field_is,
    raw,
    turns_are,
    without,
)
from tests.http.served import HEADERS, Served, asking, start

GOOD = json.dumps(asking()).encode()
PACKED = gzip.compress(GOOD)
MARK = {"type": "ephemeral", "ttl": "1d"}
SHORT, LONG = {"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}
SCHEMA = {"type": "object", "properties": {}, "additionalProperties": False}

BODIES = [
    raw("no body", "body: ", "empty", content=b""),
    raw("white space", "body: ", "empty", content=b" \n"),
    raw("cut JSON", "body: ", "valid JSON", "line 1", content=GOOD[:-1]),
    raw("two JSON values", "body: ", "trailing", content=GOOD + b"{}"),
    raw("form fields", "body: ", "valid JSON", content=b"model=haiku&max_tokens=5"),
    raw("not UTF-8", "body: ", "valid JSON", content=GOOD.replace(b"one", b"\xff\xfe")),
    raw("a lone surrogate", "body: ", "valid JSON", content=GOOD.replace(b"one", b"\\ud800")),
    raw("NaN", "max_tokens: NaN", content=GOOD.replace(b"50", b"NaN")),
    raw("Infinity", "max_tokens: NaN and", content=GOOD.replace(b"50", b"Infinity")),
    raw("negative infinity", "max_tokens: NaN", content=GOOD.replace(b"50", b"-Infinity")),
    raw("NaN alone", "body: NaN", content=b"NaN"),
    raw("more than a float", "max_tokens: the number is", content=GOOD.replace(b"50", b"1e999")),
    raw("more digits", "max_tokens: the", content=GOOD.replace(b"50", b"9" * 320 + b".0")),
    raw(
        "more than a float, deep",
        "tools.0.input_schema.a.1: the number is too large",
        content=GOOD.replace(
            b"{", b'{"tools": [{"name": "a", "input_schema": {"a": [1e308, -1E+309]}}], ', 1
        ),
    ),
    raw("a key twice", "body: ", 'duplicate key "model"', content=GOOD[:-1] + b',"model":"opus"}'),
    raw("a comment", "body: ", content=b"// hi\n" + GOOD),
    raw("too deep", "body: ", "recursion", content=b"[" * 100_000),
    raw("a number of 5,000 digits", "body: ", content=GOOD.replace(b"50", b"9" * 5000)),
    bad("an array", "body: ", "object", "an array", body=[asking()]),
    bad("a string", "body: ", "object", "a string", body="hello"),
    bad("null", "body: ", "object", "null", body=None),
    bad("a number", "body: ", "object", "a number", body=5),
    raw("over the limit", "32 MB", content=b" " * 32_000_001, status=413, kind="request_too_large"),
    raw(
        "over the limit when unpacked",
        "decompressed",
        "32 MB",
        content=gzip.compress(b" " * 32_000_001),
        status=413,
        kind="request_too_large",
        headers={"content-encoding": "gzip"},
    ),
    raw(
        "not gzip",
        "content-encoding: ",
        "gzip",
        content=GOOD,
        headers={"content-encoding": "gzip"},
    ),
    raw(
        "cut gzip",
        "content-encoding: ",
        content=PACKED[:-9],
        headers={"content-encoding": "gzip"},
    ),
    raw(
        "garbage after gzip",
        "content-encoding: ",
        content=PACKED + b"garbage",
        headers={"content-encoding": "gzip"},
    ),
    raw(
        "gzip in very many parts",
        "content-encoding: ",
        "more than 64 parts",
        content=gzip.compress(b"") * 64 + PACKED,
        headers={"content-encoding": "gzip"},
    ),
    raw(
        "brotli",
        "content-encoding: ",
        "br",
        "accepted: gzip",
        content=GOOD,
        headers={"content-encoding": "br"},
    ),
    raw(
        "gzip twice",
        "content-encoding: ",
        content=gzip.compress(PACKED),
        headers={"content-encoding": "gzip, gzip"},
    ),
]

FIELDS = [
    bad("no model", "model: Field required", body=without("model")),
    bad("no max_tokens", "max_tokens: Field required", body=without("max_tokens")),
    bad("no messages", "messages: Field required", body=without("messages")),
    bad("nothing", "model: Field required", "2 more: messages, max_tokens", body={}),
    field_is("model of a wrong type", "model: ", "string", "got 5", model=5),
    field_is("an empty model", "model: ", model=""),
    field_is("a model of 300 letters", "model: ", "256", model="x" * 300),
    field_is("max_tokens negative", "max_tokens: ", "got -1", max_tokens=-1),
    field_is("max_tokens too large", "max_tokens: ", "128000", max_tokens=128_001),
    field_is("max_tokens a string", "max_tokens: ", "integer", '"50"', max_tokens="50"),
    field_is("max_tokens a fraction", "max_tokens: ", "integer", "1.5", max_tokens=1.5),
    field_is("max_tokens true", "max_tokens: ", "integer", "true", max_tokens=True),
    field_is("max_tokens null", "max_tokens: ", "null", max_tokens=None),
    field_is("stream a string", "stream: ", "boolean", stream="yes"),
    field_is("stream 1", "stream: ", "boolean", stream=1),
    field_is("temperature too high", "temperature: ", "1", "got 1.5", temperature=1.5),
    field_is("temperature negative", "temperature: ", "0", "got -0.1", temperature=-0.1),
    field_is("temperature a string", "temperature: ", "number", temperature="hot"),
    field_is("top_p too high", "top_p: ", top_p=2),
    field_is("top_k negative", "top_k: ", "got -1", top_k=-1),
    field_is("top_k a fraction", "top_k: ", "integer", top_k=1.5),
    field_is("stop_sequences a string", "stop_sequences: ", "list", stop_sequences="END"),
    field_is("an empty stop sequence", "stop_sequences.1: ", stop_sequences=["a", ""]),
    field_is("a stop sequence a number", "stop_sequences.0: ", "string", stop_sequences=[5]),
    field_is("system a number", "system: ", "string or a list", system=5),
    field_is("system an object", "system: ", "string or a list", system={"type": "text"}),
    field_is("system a bad block", "system.0.text: Field required", system=[{"type": "text"}]),
    field_is("metadata a string", "metadata: ", metadata="me"),
    field_is("an unknown metadata key", "metadata.email: ", metadata={"email": "a@b.c"}),
    field_is("an unknown service tier", "service_tier: ", "'auto'", service_tier="gold"),
    field_is("fast", "speed: ", "accepted: standard", speed="fast"),
    field_is("a format of no kind", "output_config.format: ", output_config={"format": {}}),
    field_is(
        "choices that are none",
        "output_config.format.choices: ",
        output_config={"format": {"type": "choice", "choices": "card"}},
    ),
    field_is(
        "a regex without a pattern",
        "output_config.format.pattern: ",
        output_config={"format": {"type": "regex"}},
    ),
    field_is(
        "a format that the backend cannot honour",
        "output_config.format: ",
        "HAIKU",
        output_config={"format": {"type": "json_schema", "schema": SCHEMA}},
    ),
    field_is("an unknown field", "zork: Extra inputs are not permitted", zork=1),
    field_is("2,000 unknown fields", "body: ", "2,000 ", **{f"k{i}": i for i in range(2000)}),
    field_is("a misspelt field", "temprature: Extra", "did you mean `temperature`", temprature=1),
    field_is("a cache mark of no ttl", "cache_control.ttl: ", "'5m' or '1h'", cache_control=MARK),
    bad(
        "an unknown model",
        "model: gpt-4",
        body=asking(model="gpt-4"),
        status=404,
        kind="not_found_error",
    ),
    bad("max_tokens for counting", "max_tokens: Extra", body=asking(), path=COUNT),
    bad("no model for counting", "model: Field required", body={"messages": []}, path=COUNT),
]

TURNS = [
    turns_are("no messages at all", "messages: ", "at least 1", messages=[]),
    turns_are("messages a string", "messages: ", "list", '"hi"', messages="hi"),
    turns_are("messages an object", "messages: ", "list", "an object", messages={}),
    turns_are("a turn a string", "messages.0: ", messages=["hi"]),
    turns_are("a turn without role", "messages.0.role: Field", messages=[{"content": "hi"}]),
    turns_are("a turn without content", "messages.0.content: Field", messages=[{"role": "user"}]),
    turns_are(
        "an unknown role",
        "messages.0.role: ",
        "'user', 'assistant' or 'system'",
        '"robot"',
        messages=[{"role": "robot", "content": "hi"}],
    ),
    turns_are(
        "content a number", "messages.0.content: ", messages=[{"role": "user", "content": 5}]
    ),
    turns_are("content null", "messages.0.content: ", messages=[{"role": "user", "content": None}]),
    turns_are("content empty", "messages.0.content: ", messages=[{"role": "user", "content": []}]),
    turns_are("content blank", "messages.0.content: ", messages=[{"role": "user", "content": " "}]),
    turns_are(
        "an extra key",
        "messages.0.name: Extra",
        messages=[{"role": "user", "content": "hi", "name": "me"}],
    ),
    block_is("a block without type", "messages.1.content.1.type: Field required", block={}),
    block_is("a block without text", "messages.1.content.1.text: Field", block={"type": "text"}),
    block_is("text a number", "messages.1.content.1.text: ", block={"type": "text", "text": 5}),
    block_is("a block a string", "messages.1.content.1: ", block="hi"),
    block_is("half an image", "messages.1.content.1.source: Field", block={"type": "image"}),
    block_is("an unknown block", "messages.1.content.1: ", "'song'", block={"type": "song"}),
    turns_are(
        "100,001 turns",
        "messages: ",
        "100000",
        messages=[{"role": "user", "content": "a"}] * 100_001,
    ),
    turns_are(
        "a million bad blocks",
        "messages.0.content.0: ",
        messages=[{"role": "user", "content": [{"type": "x"}] * 1_000_000}],
    ),
    block_is("a block's type a number", "messages.1.content.1.type: ", block={"type": 5}),
    block_is(
        "citations",
        "messages.1.content.1.citations.0.type: ",
        block={"type": "text", "text": "x", "citations": [{}]},
    ),
    block_is(
        "a block's cache mark",
        "messages.1.content.1.cache_control.ttl: ",
        block={"type": "text", "text": "x", "cache_control": MARK},
    ),
]


def got(name: str, *says: str, path: str = "/v1/models", **rest: Any) -> Bad:
    return Bad(name, says, method="GET", path=path, **rest)


NEWER = {"anthropic-version": "2026-10-21"}

HTTP = [
    raw("no version", "anthropic-version: ", content=GOOD, headers={"anthropic-version": None}),
    raw(
        "an unknown version",
        "anthropic-version: ",
        "2099-01-01",
        "accepted: 2023-06-01, 2026-10-21",
        content=GOOD,
        headers={"anthropic-version": "2099-01-01"},
    ),
    bad("temperature, newer", "temperature: ", body=asking(temperature=1.0), headers=NEWER),
    bad("top_p, newer", "top_p: ", "2026-10-21", body=asking(top_p=1.0), headers=NEWER),
    bad("top_k, newer", "top_k: ", "2023-06-01", body=asking(top_k=0), headers=NEWER),
    raw(
        "no key",
        "x-api-key",
        "Bearer",
        content=GOOD,
        headers={"x-api-key": None},
        status=401,
        kind="authentication_error",
    ),
    raw(
        "an empty key",
        "x-api-key",
        content=GOOD,
        headers={"x-api-key": " "},
        status=401,
        kind="authentication_error",
    ),
    raw(
        "another scheme",
        "Bearer",
        content=GOOD,
        headers={"x-api-key": None, "authorization": "Basic YTpi"},
        status=401,
        kind="authentication_error",
    ),
    got("no key for models", "x-api-key", headers={"x-api-key": None}, status=401,
        kind="authentication_error"),
    got("models without version", "anthropic-version: ", headers={"anthropic-version": None}),
    got("limit 0", "limit: ", "1 to 1000", path="/v1/models?limit=0"),
    got("limit 1001", "limit: ", "1001", path="/v1/models?limit=1001"),
    got("limit a word", "limit: ", "'ten'", path="/v1/models?limit=ten"),
    got("an unknown lifecycle", "lifecycle[]: ", "'old'", path="/v1/models?lifecycle[]=old"),
    got("an unknown cursor", "after_id: ", "'x'", path="/v1/models?after_id=x"),
    got("two cursors", "before_id: ", path="/v1/models?after_id=x&before_id=x"),
    got("a model that is not", "model: llama", path="/v1/models/llama", status=404,
        kind="not_found_error"),
    got("a request that is not", "request_id: ", "req_x", path="/v1/renga/requests/req_x",
        status=404, kind="not_found_error"),
    got("no key for a request", "x-api-key", path="/v1/renga/requests/req_x", status=401,
        headers={"x-api-key": None}, kind="authentication_error"),
    got("an unknown path", "/v2/nothing", path="/v2/nothing", status=404, kind="not_found_error"),
    got("no path", "no such path: /", path="/", status=404, kind="not_found_error"),
    got("the docs", "/docs", path="/docs", status=404, kind="not_found_error"),
    got("a path nearly right", "did you mean /v1/messages?", path="/v1/message", status=404,
        kind="not_found_error"),
    got("a slash too much", "/v1/messages/", path="/v1/messages/", status=404,
        kind="not_found_error"),
    got("GET for POST", "GET /v1/messages", "accepted: POST", path=MESSAGES, status=405),
    bad("POST for GET", "POST /v1/models", "GET", path="/v1/models", status=405),
    Bad("PUT", ("PUT", "POST"), GOOD, method="PUT", status=405),
    Bad("DELETE", ("DELETE", "POST"), GOOD, method="DELETE", path=COUNT, status=405),
]  # fmt: skip


def marks_are(name: str, *says: str, marks: list[Any], path: str = MESSAGES, **fields: Any) -> Bad:
    """One user turn, a block for each of `marks`."""
    blocks = [{"type": "text", "text": "x", "cache_control": mark} for mark in marks]
    body = asking(messages=[{"role": "user", "content": blocks}]) | fields
    if path == COUNT:
        del body["max_tokens"]
    return bad(name, *says, body=body, path=path)


MOST = "A maximum of 4 blocks with cache_control may be provided. Found 5."
EMPTY = {"type": "text", "text": "", "cache_control": SHORT}
CACHING = [
    marks_are("five marks", MOST, marks=[SHORT] * 5),
    marks_are("five marks for counting", MOST, marks=[SHORT] * 5, path=COUNT),
    marks_are("four marks and one on all", MOST, marks=[SHORT] * 4 + [None], cache_control=SHORT),
    marks_are(
        "1h after 5m",
        "messages.0.content.1.cache_control.ttl: ",
        "must not come after a ttl='5m'",
        marks=[SHORT, LONG],
    ),
    marks_are(
        "1h after 5m in the system text",
        "messages.0.content.0.cache_control.ttl: ",
        marks=[LONG],
        path=COUNT,
        system=[{"type": "text", "text": "x", "cache_control": SHORT}],
    ),
    marks_are("another ttl on all", "cache_control.ttl: ", marks=[LONG], cache_control=SHORT),
    block_is("an empty block marked", "messages.1.content.1.text: ", "empty", block=EMPTY),
    block_is(
        "a mark of 2h",
        "messages.1.content.1.cache_control.ttl: ",
        "'5m' or '1h'",
        '"2h"',
        block={"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "2h"}},
    ),
    block_is(
        "a mark of another kind",
        "messages.1.content.1.cache_control.type: ",
        "'ephemeral'",
        block={"type": "text", "text": "x", "cache_control": {"type": "persistent"}},
    ),
    block_is(
        "a mark that is true",
        "messages.1.content.1.cache_control: ",
        block={"type": "text", "text": "x", "cache_control": True},
    ),
    turns_are(
        "a mark on a turn",
        "messages.0.cache_control: Extra",
        messages=[{"role": "user", "content": "hi", "cache_control": SHORT}],
    ),
    field_is(
        "a mark on the output's form",
        "output_config.cache_control: Extra",
        output_config={"cache_control": SHORT},
    ),
    field_is("diagnostics a string", "diagnostics: ", diagnostics="msg_1"),
    field_is("diagnostics of a number", "diagnostics.previous_message_id: ", "string",
             diagnostics={"previous_message_id": 5}),
    field_is("diagnostics of more", "diagnostics.verbose: Extra", diagnostics={"verbose": True}),
]  # fmt: skip

CASES = [*BODIES, *FIELDS, *TURNS, *HTTP, *CACHING, *bad_rules.CASES]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def once(home: Path) -> AsyncIterator[Served]:
    """One server for the whole table: what is refused leaves no trace in it."""
    async with AsyncExitStack() as stack:
        yield await start(stack, home)


def test_the_table_has_three_hundred_cases_and_more_each_of_another_name() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 300


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_bad_input_is_refused_by_name_and_opens_no_row(once: Served, case: Bad) -> None:
    given = {**HEADERS, "content-type": "application/json", **case.headers}
    headers = {name: value for name, value in given.items() if value is not None}
    once.client.headers.clear()
    response = await once.client.request(
        case.method, case.path, content=case.content, headers=headers
    )
    assert response.status_code == case.status, response.text
    body = response.json()
    assert body["type"] == "error"
    assert body["error"]["type"] == case.kind
    assert body["request_id"] == response.headers["request-id"]
    message = body["error"]["message"]
    assert all(part in message for part in case.says), message
    if case.says[0].endswith(": "):
        assert message.startswith(case.says[0]), message
    assert await once.app.ledger.rows() == []
    assert once.backend("HAIKU").open_streams == 0


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("case", [c for c in CASES if c.status == 405], ids=lambda c: c.name)
async def test_a_wrong_method_names_the_right_ones_in_a_header(once: Served, case: Bad) -> None:
    response = await once.client.request(case.method, case.path)
    assert response.headers["allow"]


async def test_a_prompt_beyond_the_window_is_refused_and_charged_nothing(serve) -> None:
    served = await serve(haiku={"window": 100})
    response = await served.post(asking("x" * 400))
    assert response.status_code == 400
    message = response.json()["error"]["message"]
    assert message == "prompt is too long: 100 tokens > 99 maximum"
    row = await served.row(response)
    assert row.status != "open"
    assert row.tokens.output == 0


async def test_the_finer_error_codes_of_the_api_are_told(echo) -> None:
    async def code(content: bytes, encoding: str) -> str:
        headers = {"content-encoding": encoding}
        response = await echo.client.post(MESSAGES, content=content, headers=headers)
        found: str = response.json()["error"]["details"]["error_code"]
        return found

    assert await code(GOOD, "zstd") == "request_body_encoding_unsupported"
    assert await code(GOOD, "gzip") == "request_body_encoding_invalid"
    bomb = gzip.compress(b"\0" * 40_000_000)
    assert await code(bomb, "gzip") == "request_body_too_large_after_decoding"


async def test_a_bomb_is_refused_without_being_unpacked(echo) -> None:
    bomb = gzip.compress(b"\0" * 400_000_000, compresslevel=1)
    tracemalloc.start()
    response = await echo.client.post(MESSAGES, content=bomb, headers={"content-encoding": "gzip"})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert response.status_code == 413
    assert peak < 120_000_000


async def test_a_body_without_announced_length_is_refused_when_it_passes_the_limit(serve) -> None:
    served = await serve(max_body_mb=1)
    sent = 0

    async def endless():
        nonlocal sent
        while True:
            sent += 65_536
            yield b" " * 65_536

    response = await served.client.post(MESSAGES, content=endless())
    assert response.status_code == 413
    assert sent < 1_200_000


async def test_more_than_one_error_names_the_first_and_counts_the_rest(echo) -> None:
    turns = [{"role": "user", "content": "hi"}, {"role": "robot"}]
    body = {"model": "haiku", "max_tokens": "5", "messages": turns, "top_k": -1}
    message = (await echo.post(body)).json()["error"]["message"]
    assert message.startswith("messages.1.role: ")
    assert message.endswith("(and 3 more: messages.1.content, max_tokens, top_k)")
