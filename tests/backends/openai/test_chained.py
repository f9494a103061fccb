"""Official clients through a renga whose model is another renga, over OpenAI's API in between."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
import pytest_asyncio

from tests.serving import serving

SCRIPTED = """
[backends.said]
kind = "scripted"
{options}
[tiers.haiku]
backends = ["said"]
"""
CHAINED = """
[backends.far]
kind = "openai"
urls = ["{url}/v1"]
model = "haiku"
api_key_env = "FAR_KEY"
lacks = ["structured_output"]
[tiers.haiku]
backends = ["far"]
"""
CALL = '<tool_call> {"name": "add", "arguments": {"a": 17, "b": 25}} </tool_call>'
ADD: dict[str, Any] = {
    "name": "add",
    "description": "Adds two numbers.",
    "input_schema": {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
    },
}


@dataclass
class Chain:
    near: str
    far: str


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    folder = tmp_path_factory.mktemp("chain")
    said = SCRIPTED.format(options=f"reply = '<think>Two numbers.</think>I add. {CALL}'")
    patch = pytest.MonkeyPatch()
    patch.setenv("FAR_KEY", "any")
    with serving(_made(folder / "far"), said, home=folder / "far" / "home") as far:
        near_config = CHAINED.format(url=far.url)
        with serving(_made(folder / "near"), near_config, home=folder / "near" / "home") as near:
            yield Chain(near.url, far.url)
    patch.undo()


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest_asyncio.fixture
async def client(chain: Chain) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=chain.near, api_key="any", max_retries=0) as made:
        yield made


ASKING: dict[str, Any] = {
    "model": "claude-haiku-4-5",
    "max_tokens": 2_000,
    "messages": [{"role": "user", "content": "What is 17 + 25?"}],
    "tools": [ADD],
    "thinking": {"type": "enabled", "budget_tokens": 1_024},
}


def shown(message: anthropic.types.Message) -> list[dict[str, Any]]:
    kept = ("type", "text", "thinking", "name", "input")
    return [{k: v for k, v in block.model_dump().items() if k in kept} for block in message.content]


async def test_the_anthropic_client_gets_the_same_message_near_and_far(
    chain: Chain, client: anthropic.AsyncAnthropic
) -> None:
    async with anthropic.AsyncAnthropic(base_url=chain.far, api_key="any") as direct:
        far = await direct.messages.create(**ASKING)
    near = await client.messages.create(**ASKING)
    async with client.messages.stream(**ASKING) as stream:
        streamed = await stream.get_final_message()
    assert [block.type for block in far.content] == ["thinking", "text", "tool_use"]
    for message in (near, streamed):
        assert shown(message) == shown(far)
        assert message.stop_reason == far.stop_reason == "tool_use"
        assert message.usage.input_tokens == far.usage.input_tokens
        assert message.usage.output_tokens == far.usage.output_tokens
        assert message.usage.output_tokens_details == far.usage.output_tokens_details


async def test_a_conversation_goes_on_with_signed_thinking_and_a_result(
    client: anthropic.AsyncAnthropic,
) -> None:
    first = await client.messages.create(**ASKING)
    (call,) = [block for block in first.content if block.type == "tool_use"]
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "42"}
    turns = [
        *ASKING["messages"],
        {"role": "assistant", "content": [block.model_dump() for block in first.content]},
        {"role": "user", "content": [result]},
    ]
    second = await client.messages.create(**{**ASKING, "messages": turns})
    assert second.usage.input_tokens > first.usage.input_tokens
    count = await client.messages.count_tokens(
        model=ASKING["model"], messages=turns, tools=ASKING["tools"], thinking=ASKING["thinking"]
    )
    assert count.input_tokens == second.usage.input_tokens


async def test_the_openai_client_gets_the_same_completion_near_and_far(chain: Chain) -> None:
    function = {
        "name": ADD["name"], "description": ADD["description"], "parameters": ADD["input_schema"],
    }  # fmt: skip
    asked: dict[str, Any] = {
        "model": "haiku",
        "messages": ASKING["messages"],
        "tools": [{"type": "function", "function": function}],
        "max_completion_tokens": 500,
    }
    found = []
    for url in (chain.near, chain.far):
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="any") as made:
            whole = await made.chat.completions.create(**asked)
            message = whole.choices[0].message
            (call,) = message.tool_calls or []
            function_called = call.model_dump()["function"]
            arguments = json.loads(function_called["arguments"])
            usage = whole.usage
            assert usage is not None
            counted = (usage.prompt_tokens, usage.completion_tokens)
            reason = whole.choices[0].finish_reason
            found.append((message.content, arguments, reason, counted))
    assert found[0] == found[1]
    assert found[0][1] == {"a": 17, "b": 25}


async def test_what_far_refuses_near_refuses_in_its_words(
    client: anthropic.AsyncAnthropic,
) -> None:
    with pytest.raises(anthropic.BadRequestError, match="prompt is too long"):
        await client.messages.create(
            model="haiku", max_tokens=10, messages=[{"role": "user", "content": "word " * 40_000}]
        )
