"""The server that breaks: what is good of it is good, and each fault is what its name says."""

from __future__ import annotations

import asyncio
from typing import Any

import anthropic
import httpx
import openai
import pytest

from tests.upstreams.faulty import FAULTS, INPUT_TOKENS, OUTPUT_TOKENS, WORDS, faulty

TEXT = "".join(WORDS)
TURN = [{"role": "user", "content": "hi"}]


async def test_the_official_sdks_read_its_good_answers() -> None:
    async with (
        faulty() as server,
        anthropic.AsyncAnthropic(base_url=server.url, api_key="k", max_retries=0) as theirs,
        openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="k", max_retries=0) as others,
    ):
        whole = await theirs.messages.create(model="m", max_tokens=9, messages=TURN)  # type: ignore[arg-type]
        async with theirs.messages.stream(model="m", max_tokens=9, messages=TURN) as stream:  # type: ignore[arg-type]
            streamed = await stream.get_final_message()
        for message in (whole, streamed):
            assert message.content[0].text == TEXT  # type: ignore[union-attr]
            assert message.usage.input_tokens == INPUT_TOKENS
            assert message.usage.output_tokens == OUTPUT_TOKENS
        completion = await others.chat.completions.create(model="m", messages=TURN)  # type: ignore[arg-type]
        assert completion.choices[0].message.content == TEXT
        chunks: Any = await others.chat.completions.create(model="m", messages=TURN, stream=True)  # type: ignore[arg-type]
        told = [c.choices[0].delta.content or "" async for c in chunks if c.choices]
        assert "".join(told) == TEXT
        assert len(server.whole) == 4


# What an HTTP client that is not ours makes of each, plain and streamed: an error, or a status.
SEEN: dict[str, tuple[object, object]] = {
    "refused": (httpx.ConnectError, httpx.ConnectError),
    "tls": (httpx.ConnectError, httpx.ConnectError),
    "reset_before_headers": (httpx.ReadError, httpx.ReadError),
    "reset_after_headers": (httpx.RemoteProtocolError, httpx.ReadError),
    "cut_mid_stream": (httpx.RemoteProtocolError, httpx.RemoteProtocolError),
    "slow_first_byte": (httpx.ReadTimeout, httpx.ReadTimeout),
    "slow_trickle": (httpx.ReadTimeout, TimeoutError),
    "status_429": (429, 429),
    "status_429_retry_after": (429, 429),
    "status_500": (500, 500),
    "status_503": (503, 503),
    "status_529": (529, 529),
    "malformed_json": (200, 200),
    "malformed_sse": (200, 200),
    "wrong_content_type": (200, 200),
    "empty_stream": (200, 200),
    "missing_stop": (200, 200),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions"])
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_fault_is_what_its_name_says(fault: str, path: str, streamed: bool) -> None:
    patience = 0.3 if fault.startswith("slow") else 10.0
    async with faulty(always=fault) as server, httpx.AsyncClient(timeout=patience) as client:
        seen: object
        try:
            async with asyncio.timeout(3 * patience):
                body = {"model": "m", "messages": TURN, "stream": streamed}
                seen = (await client.post(server.url + path, json=body)).status_code
        except (httpx.TransportError, TimeoutError) as error:
            seen = type(error)
    assert seen == SEEN[fault][streamed]


async def test_a_fault_that_is_scripted_comes_once() -> None:
    async with faulty(script=["status_429_retry_after"]) as server, httpx.AsyncClient() as client:
        body = {"model": "m", "messages": TURN}
        first = await client.post(f"{server.url}/v1/messages", json=body)
        second = await client.post(f"{server.url}/v1/messages", json=body)
        assert (first.status_code, first.headers["retry-after"]) == (429, "30")
        assert second.status_code == 200
        assert [one.fault for one in server.served] == ["status_429_retry_after", "good"]
