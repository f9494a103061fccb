"""Whatever is sent, the answer is the API's: no 500, always the envelope, never an open row."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from renga.types import SUPPORTED_BLOCKS, SUPPORTED_TOOLS, UNSUPPORTED_FIELDS, MessagesRequest
from tests.http.served import Served, asking, start

pytestmark = pytest.mark.asyncio(loop_scope="module")

words = st.text(max_size=8) | st.sampled_from(
    ["user", "assistant", "system", "text", "image", "haiku", "5m"]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | words
NAMES = [*MessagesRequest.model_fields, *UNSUPPORTED_FIELDS, "betas"]
keys = (
    st.sampled_from(
        "type text role content cache_control ttl schema id name input tool_use_id is_error "
        "input_schema properties tools edits keep trigger value budget_tokens format effort".split()
    )
    | words
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4)
)
kinds = words | st.sampled_from([*SUPPORTED_BLOCKS, *SUPPORTED_TOOLS, "enabled", "tool", "any"])
blocks = st.fixed_dictionaries({"type": kinds, "text": values}) | values
ids = st.sampled_from(["toolu_1", "toolu_2"])
calls = st.fixed_dictionaries(
    {"type": st.just("tool_use"), "id": ids, "name": words, "input": values}
)
results = st.fixed_dictionaries(
    {"type": st.just("tool_result"), "tool_use_id": ids, "content": values}
)
tools = st.lists(
    st.fixed_dictionaries(
        {"name": words | ids, "input_schema": st.fixed_dictionaries({"type": st.just("object")})},
        optional={"type": kinds, "strict": scalars, "defer_loading": scalars},
    )
    | values,
    max_size=3,
)
written = st.lists(blocks | calls | results, max_size=3)
turns = st.fixed_dictionaries({"role": words, "content": values | written})
bodies = st.builds(
    lambda changes, messages: asking() | changes | ({"messages": messages} if messages else {}),
    st.dictionaries(st.sampled_from(NAMES) | words, values, max_size=3)
    | st.fixed_dictionaries({"tools": tools}, optional={"tool_choice": blocks}),
    st.none() | st.lists(turns | values, max_size=3),
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def once(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """One server for all of it."""
    async with AsyncExitStack() as stack:
        yield await start(stack, tmp_path_factory.mktemp("home"))


async def check(once: Served, content: bytes, **headers: str) -> None:
    response = await once.client.post(
        "/v1/messages",
        content=content,
        headers={k.replace("_", "-"): v for k, v in headers.items()},
    )
    assert response.status_code in (200, 400, 401, 404, 413), response.text
    if response.status_code != 200:
        body = response.json()
        assert body["type"] == "error"
        assert body["error"]["message"]
        assert body["request_id"] == response.headers["request-id"]
    assert await once.app.ledger.rows(status="open") == []


slow_machine = settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow]
)


@slow_machine
@given(body=bodies, newer=st.booleans())
async def test_any_json_object(once: Served, body: dict[str, Any], newer: bool) -> None:
    version = "2026-10-21" if newer else "2023-06-01"
    await check(once, json.dumps(body).encode(), anthropic_version=version)


@slow_machine
@given(content=st.binary(max_size=60) | values.map(lambda value: json.dumps(value).encode()))
async def test_any_bytes(once: Served, content: bytes) -> None:
    await check(once, content)
    await check(once, content, content_encoding="gzip")


@slow_machine
@given(
    key=st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=20),
    version=st.sampled_from(["2023-06-01", "2026-10-21", "x"]),
    beta=st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=40),
)
async def test_any_headers(once: Served, key: str, version: str, beta: str) -> None:
    headers = {b"x-api-key": key, b"anthropic-version": version, b"anthropic-beta": beta}
    response = await once.client.post(
        "/v1/messages",
        json=asking(),
        headers={name: value.encode("latin-1") for name, value in headers.items()},
    )
    assert response.status_code in (200, 400, 401)
