"""A renga behind a renga: the official SDK gets of the two what it gets of the one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anthropic
import pytest

from renga.app import App
from renga.config import BackendConfig, Config, TierConfig
from renga.http.server import listen
from tests.upstreams.renga import renga_upstream, served

THOUGHT = "<think>Let me see. 17 and 25.</think> It is 42, I believe."
CALL = "<think>I should look.</think> I look.\n" + (
    '<tool_call>\n{"name": "look", "arguments": {"at": "Zürich 🦆", "deep": 3}}\n</tool_call>'
)
LOOK = {"name": "look", "input_schema": {"type": "object"}}


class Two:
    """A server, and one in front of it; a client of each."""

    def __init__(self, behind: App, front: App, urls: tuple[str, str]) -> None:
        self.behind, self.front = behind, front
        self.direct, self.through = (
            anthropic.AsyncAnthropic(base_url=url, api_key="any", max_retries=0) for url in urls
        )


@asynccontextmanager
async def two(home: Path, **scripted: Any) -> AsyncIterator[Two]:
    async with AsyncExitStack() as stack:
        other = BackendConfig("B", "scripted", **scripted)
        upstream = await stack.enter_async_context(renga_upstream(home / "behind", other))
        config = Config(
            home=home / "front",
            backends={"far": BackendConfig("far", "messages", model="haiku", urls=(upstream.url,))},
            tiers={"sonnet": TierConfig(name="sonnet", backends=("far",))},
        )
        front = await App.start(config)
        stack.push_async_callback(front.aclose)
        url = await stack.enter_async_context(served(front))
        found = Two(upstream.app, front, (upstream.url, url))
        async with found.direct, found.through:
            yield found


ASKED: dict[str, dict[str, Any]] = {
    "plain": {},
    "thinking": {"thinking": {"type": "adaptive"}},
    "omitted": {"thinking": {"type": "adaptive", "display": "omitted"}},
    "tools": {"tools": [LOOK], "thinking": {"type": "enabled", "budget_tokens": 1_024}},
    "cut": {"max_tokens": 3},
    "stopped": {"stop_sequences": ["believe"]},
}


def compared(message: Any) -> dict[str, Any]:
    """A message without what is each server's own."""
    found: dict[str, Any] = message.model_dump(mode="json")
    for block in found["content"]:
        if block["type"] == "thinking":
            assert block.pop("signature").startswith("rg")
        if block["type"] == "tool_use":
            assert block.pop("id").startswith("toolu_")
    return {k: v for k, v in found.items() if k not in ("id", "model", "diagnostics")}


@pytest.mark.parametrize("name", ASKED)
async def test_messages_through_two_servers_are_those_of_one(tmp_path: Path, name: str) -> None:
    asked = {"model": "haiku", "max_tokens": 2_000, **ASKED[name]}
    turns: Any = [{"role": "user", "content": "17 + 25?"}]
    async with two(tmp_path, reply=CALL if name == "tools" else THOUGHT) as both:
        one = await both.direct.messages.create(messages=turns, **asked)
        other = await both.through.messages.create(messages=turns, **asked)
        assert compared(other) == compared(one)
        assert other.model == "renga-haiku-1"
        async with both.through.messages.stream(messages=turns, **asked) as stream:
            streamed = await stream.get_final_message()
        assert compared(streamed) == compared(one)
        tools: Any = asked.get("tools", anthropic.NOT_GIVEN)
        counting = both.through.messages.count_tokens
        count = await counting(model="haiku", messages=turns, tools=tools)
        assert count.input_tokens == one.usage.input_tokens


async def test_a_turn_with_thinking_and_tools_goes_back_to_who_thought_it(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"model": "haiku", "max_tokens": 2_000, **ASKED["tools"]}
    question: Any = {"role": "user", "content": "17 + 25?"}
    async with two(tmp_path, reply=CALL) as both:
        first = await both.through.messages.create(messages=[question], **asked)
        call = next(block for block in first.content if block.type == "tool_use")
        result = {"type": "tool_result", "tool_use_id": call.id, "content": "wet"}
        turns: Any = [
            question,
            {"role": "assistant", "content": first.model_dump(mode="json")["content"]},
            {"role": "user", "content": [result]},
        ]
        await both.through.messages.create(messages=turns, **asked)
        with_it = await both.through.messages.count_tokens(model="haiku", messages=turns)
        # Whoever is behind reads the thinking: it knows its own signature again.
        turns[1]["content"] = turns[1]["content"][1:]
        without = await both.through.messages.count_tokens(model="haiku", messages=turns)
        assert with_it.input_tokens > without.input_tokens


async def test_thinking_that_was_changed_on_the_way_is_refused_as_by_the_one(
    tmp_path: Path,
) -> None:
    asked: dict[str, Any] = {"model": "haiku", "max_tokens": 2_000, **ASKED["thinking"]}
    question: Any = {"role": "user", "content": "17 + 25?"}
    async with two(tmp_path, reply=THOUGHT) as both:
        first = await both.through.messages.create(messages=[question], **asked)
        content = first.model_dump(mode="json")["content"]
        content[0]["thinking"] += "!"
        turns: Any = [question, {"role": "assistant", "content": content}, question]
        with pytest.raises(anthropic.BadRequestError, match="cannot be modified"):
            await both.through.messages.create(messages=turns, **asked)


async def test_the_ledger_of_the_front_counts_as_that_of_the_one_behind(tmp_path: Path) -> None:
    turns: Any = [{"role": "user", "content": "17 + 25?"}]
    async with two(tmp_path, reply=THOUGHT) as both:
        found = []
        for client, app in ((both.direct, both.behind), (both.through, both.front)):
            raw = await client.messages.with_raw_response.create(
                model="haiku", max_tokens=500, messages=turns, thinking={"type": "adaptive"}
            )
            row = await app.ledger.get(raw.headers["request-id"])
            assert row is not None
            found.append((row.tokens, row.status, row.stop_reason))
        assert found[0] == found[1]
        assert found[0][0].thinking


async def test_who_leaves_the_one_leaves_the_other(tmp_path: Path) -> None:
    turns: Any = [{"role": "user", "content": "word " * 2_000}]
    async with two(tmp_path, token_delay_ms=20.0) as both:
        backend: Any = both.behind.backends["B"]
        async with both.through.messages.stream(
            model="haiku", max_tokens=2_000, messages=turns
        ) as stream:
            async for _ in stream.text_stream:
                break
            assert backend.open_streams == 1

        async with asyncio.timeout(20):
            while backend.open_streams:
                await asyncio.sleep(0.02)


async def test_a_refusal_comes_in_the_words_of_who_refused(tmp_path: Path) -> None:
    turns: Any = [{"role": "user", "content": "word " * 2_000}]
    async with two(tmp_path, window=100) as both:
        with pytest.raises(anthropic.BadRequestError, match=r"prompt is too long: .* > 99 maximum"):
            await both.through.messages.create(model="haiku", max_tokens=50, messages=turns)


async def test_a_server_that_is_not_there_when_ours_starts_serves_when_it_comes(
    tmp_path: Path,
) -> None:

    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    listener.close()
    far = BackendConfig("far", "messages", model="haiku", urls=(f"http://127.0.0.1:{port}",))
    config = Config(
        home=tmp_path / "front",
        backends={"far": far},
        tiers={"haiku": TierConfig(name="haiku", backends=("far",))},
    )
    async with AsyncExitStack() as stack:
        app = await App.start(config)
        stack.push_async_callback(app.aclose)
        url = await stack.enter_async_context(served(app))
        client = anthropic.AsyncAnthropic(base_url=url, api_key="any", max_retries=0)
        await stack.enter_async_context(client)
        backend = app.backends["far"]
        assert backend.health().state == "restarting"
        assert "refused" in backend.health().words
        other = BackendConfig("B", "scripted", window=5_000)
        await stack.enter_async_context(renga_upstream(tmp_path / "other", other, port=port))
        async with asyncio.timeout(30):
            while not backend.health().ready:
                await asyncio.sleep(0.05)
        turns: Any = [{"role": "user", "content": "there?"}]
        answer = await client.messages.create(model="haiku", max_tokens=50, messages=turns)
        assert answer.content[0].text == "there?"  # type: ignore[union-attr]
        assert backend.capabilities.window == 5_000  # it was asked what it can do, too
