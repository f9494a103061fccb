"""Prompt caching over the shipped model: the official SDK asks, the engine's blocks answer.

Which entries live how long is tested at the engine's cache, where the clock is given.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import pytest
import pytest_asyncio
from anthropic.types import Message, Usage

import renga
from renga.app import App
from renga.config import BackendConfig
from renga.prices import load_prices
from tests.chat.templates import WITH_TOOLS
from tests.conftest import StartServer
from tests.http.served import Served, asking, configured, events_of, open_served
from tests.tiny_model import write_model

pytestmark = pytest.mark.asyncio(loop_scope="module")

BLOCK = 32
SHORT: Any = {"type": "ephemeral"}
LONG: Any = {"type": "ephemeral", "ttl": "1h"}
ENGINE = BackendConfig("HAIKU", "local", threads=1, window=1_024, kv_cache_mb=64)

_numbers = itertools.count(1)


async def open_app(stack: AsyncExitStack, home: Path, engine: BackendConfig) -> Served:
    config = replace(configured(home, haiku={}), backends={"HAIKU": engine})
    app = await App.start(config)
    stack.push_async_callback(app.aclose)
    return await open_served(stack, app)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def local(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """A server whose haiku is the shipped model."""
    assert (Path(renga.__file__).parent / "models" / "shipped" / "haiku").exists()
    async with AsyncExitStack() as stack:
        yield await open_app(stack, tmp_path_factory.mktemp("home"), ENGINE)


def sdk(served: Served, key: str = "any") -> anthropic.AsyncAnthropic:
    """The official client of that server."""
    transport = httpx2.ASGITransport(served.http)
    client = httpx2.AsyncClient(transport=transport)
    return anthropic.AsyncAnthropic(
        api_key=key, base_url="http://localhost", http_client=client, max_retries=0
    )


def fresh(words: int = 60) -> str:
    """A text that no other test has: about 4 tokens a word."""
    number = next(_numbers)
    return " ".join(f"{number}-{n} orders" for n in range(words))


def text(words: str, mark: Any = None) -> Any:
    return {"type": "text", "text": words, **({"cache_control": mark} if mark else {})}


def user(*blocks: Any) -> Any:
    return [{"role": "user", "content": list(blocks)}]


async def create(served: Served, key: str = "any", **fields: Any) -> Any:
    fields = {"model": "haiku", "max_tokens": 1, **fields}
    async with sdk(served, key) as client:
        message: Message = await client.messages.create(**fields)
    return message


async def usage_of(served: Served, key: str = "any", **fields: Any) -> Any:
    """The usage of an answer, which adds up to the prompt."""
    usage = (await create(served, key, **fields)).usage
    body = {"model": "haiku", **fields}
    body.pop("max_tokens", None)
    counted = await served.post(body, "/v1/messages/count_tokens")
    assert total(usage) == counted.json()["input_tokens"]
    return usage


def total(usage: Usage) -> int:
    read, written = usage.cache_read_input_tokens, usage.cache_creation_input_tokens
    assert read is not None
    assert written is not None
    creation = usage.cache_creation
    assert creation is not None
    split = creation.ephemeral_5m_input_tokens + creation.ephemeral_1h_input_tokens
    assert split == written
    assert read % BLOCK == written % BLOCK == 0
    return usage.input_tokens + read + written


async def test_what_one_request_wrote_the_next_one_reads(local):
    system = [text(fresh(), SHORT)]
    first = await usage_of(local, system=system, messages=user(text("Hello")))
    assert (first.cache_read_input_tokens, first.cache_creation_input_tokens > 64) == (0, True)
    second = await usage_of(local, system=system, messages=user(text("Where is it?")))
    assert second.cache_read_input_tokens == first.cache_creation_input_tokens
    assert second.cache_creation_input_tokens == 0
    third = await usage_of(local, system=system, messages=user(text("Hello")))
    assert third.cache_read_input_tokens == second.cache_read_input_tokens


async def test_an_hour_is_counted_and_charged_as_one(local):
    system = [text(fresh(), LONG)]
    response = await local.post(asking(system=system))
    creation = response.json()["usage"]["cache_creation"]
    assert creation["ephemeral_5m_input_tokens"] == 0
    assert creation["ephemeral_1h_input_tokens"] > 64
    row = await local.row(response)
    assert row.tokens.cache_write_1h == creation["ephemeral_1h_input_tokens"]
    assert row.cost_pico == load_prices()["haiku"].for_service("standard").cost(row.tokens)
    again = await local.row(await local.post(asking(system=system)))
    assert again.tokens.cache_read == row.tokens.cache_write_1h
    assert again.attempts[0].tokens == again.tokens


async def test_two_lifetimes_in_one_request_are_written_apart(local):
    system, turn = [text(fresh(), LONG)], fresh()
    first = await usage_of(local, system=system, messages=user(text(turn, SHORT), text("So?")))
    written = first.cache_creation
    assert written.ephemeral_1h_input_tokens > 64
    assert written.ephemeral_5m_input_tokens > 64
    other = user(text(fresh(), SHORT), text("So?"))
    second = await usage_of(local, system=system, messages=other)
    assert second.cache_read_input_tokens == written.ephemeral_1h_input_tokens
    assert second.cache_creation.ephemeral_1h_input_tokens == 0
    assert second.cache_creation.ephemeral_5m_input_tokens > 64
    third = await usage_of(local, system=system, messages=user(text(turn, SHORT), text("No?")))
    assert third.cache_read_input_tokens == first.cache_creation_input_tokens


async def test_a_conversation_that_goes_on_reads_what_the_last_turn_left(local):
    turns = user(text(fresh()))
    left = 0
    for _ in range(3):
        usage = await usage_of(local, messages=turns, cache_control=SHORT)
        assert usage.cache_read_input_tokens == left
        assert usage.cache_creation_input_tokens > 0
        left += usage.cache_creation_input_tokens
        turns = [*turns, {"role": "assistant", "content": fresh(12)}, *user(text(fresh(12)))]


@pytest.mark.parametrize(("between", "found"), [(18, True), (19, False)])
async def test_an_entry_is_found_at_twenty_positions_and_not_at_twenty_one(local, between, found):
    head = fresh()
    first = await usage_of(local, messages=user(text(head, SHORT), text("Hello")))
    blocks = [text(f"line {n}") for n in range(between)]
    asked = user(text(head), *blocks, text("last", SHORT))
    second = await usage_of(local, messages=asked)
    expected = first.cache_creation_input_tokens if found else 0
    assert second.cache_read_input_tokens == expected
    assert second.cache_creation_input_tokens > 0


async def test_another_workspace_reads_nothing_and_uses_up_nothing(tmp_path):
    async with AsyncExitStack() as stack:
        served = await open_app(stack, tmp_path, ENGINE)
        made = [await served.app.keys.create(name, workspace=name) for name in ("alpha", "beta")]
        alpha, beta = [key.plain for key in made]
        fields = {"system": [text(fresh(), SHORT)], "messages": user(text("Hello"))}
        first, other, again = [
            (await create(served, key, **fields)).usage for key in (alpha, beta, alpha)
        ]
    assert first.cache_creation_input_tokens == other.cache_creation_input_tokens > 64
    assert other.cache_read_input_tokens == 0
    assert again.cache_read_input_tokens == first.cache_creation_input_tokens


async def test_a_clients_bookkeeping_at_the_head_does_not_spoil_the_prefix(local):
    def system(number: int) -> Any:
        head = f"x-anthropic-billing-header: cc_version=2.1.{number}; cch={number:05x};"
        return [text(head), text(words, SHORT)]

    words, turn = fresh(), user(text("Hello"))
    first = await usage_of(local, system=system(1), messages=turn)
    second = await usage_of(local, system=system(2), messages=turn)
    assert second.cache_read_input_tokens == first.cache_creation_input_tokens > 64


async def test_a_prefix_below_the_minimum_is_not_cached_in_silence(local):
    for _ in range(2):
        usage = await usage_of(local, system=[text("Be kind.", SHORT)], messages=user(text("Hi")))
        assert (usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (0, 0)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_warmed_prefix_is_read_by_the_first_real_request(local, stream):
    system = [text(fresh(), SHORT)]
    response = await local.post(
        asking("warm", system=system, max_tokens=0, stream=stream, cache_control=SHORT)
    )
    assert response.status_code == 200
    if stream:
        events = [data for name, data in events_of(response.content) if name != "ping"]
        kinds = [event["type"] for event in events]
        assert kinds == ["message_start", "message_delta", "message_stop"]
        ending, usage = events[1]["delta"], events[0]["message"]["usage"]
    else:
        message = response.json()
        assert message["content"] == []
        ending, usage = message, message["usage"]
        assert usage["output_tokens"] == 0
    assert ending["stop_reason"] == "max_tokens"
    assert usage["cache_creation_input_tokens"] > 64
    row = await local.row(response)
    assert (row.status, row.tokens.output) == ("ok", 0)
    hit = await usage_of(local, system=system, messages=user(text("And now?")))
    assert hit.cache_read_input_tokens > 64


async def test_a_stream_says_at_both_ends_what_the_whole_message_says(local):
    fields = {"system": [text(fresh(), SHORT)], "messages": user(text("Hello"))}
    await create(local, **fields)
    whole = await create(local, **fields, max_tokens=3)
    events = []
    async with sdk(local) as client:
        stream = client.messages.stream(model="haiku", max_tokens=3, **fields)
        async with stream as arriving:
            events = [event async for event in arriving]
            final = await arriving.get_final_message()
    start = next(e for e in events if e.type == "message_start").message.usage
    end = next(e for e in events if e.type == "message_delta").usage
    for one in (start, end, final.usage):
        assert one.input_tokens == whole.usage.input_tokens
        assert one.cache_read_input_tokens == whole.usage.cache_read_input_tokens > 64
        assert one.cache_creation_input_tokens == whole.usage.cache_creation_input_tokens
    assert final.usage.cache_creation == whole.usage.cache_creation


async def test_reuse_without_a_mark_is_input_and_stands_in_the_ledger(local):
    body = asking(fresh())
    rows = [await local.row(await local.post(body)) for _ in range(2)]
    assert rows[0].tokens.input == rows[1].tokens.input
    assert rows[1].tokens.cache_read == 0
    assert rows[1].tokens.reused > 64
    shown = (await local.client.get(f"/v1/renga/requests/{rows[1].request_id}")).json()
    assert shown["tokens"]["reused"] == rows[1].tokens.reused
    assert shown["attempts"][0]["tokens"]["reused"] == rows[1].tokens.reused


async def test_marks_are_not_ignored_here(local):
    response = await local.post(asking(cache_control=SHORT))
    assert "renga-ignored" not in response.headers


async def test_marks_change_no_answer(local):
    turn = "Classify: I want my money back for order 1234. " + fresh(20)
    plain = asking(turn, temperature=0.0, max_tokens=20)
    marked = {**plain, "messages": user(text(turn, SHORT))}
    answers = [(await local.post(b)).json()["content"] for b in (plain, marked, marked)]
    assert answers[0] == answers[1] == answers[2]


async def test_blocks_that_had_to_go_are_not_reported_as_read(tmp_path):
    tight = replace(ENGINE, window=512, kv_cache_mb=6, cache_share=0.4)
    async with AsyncExitStack() as stack:
        served = await open_app(stack, tmp_path, tight)
        kept = {"system": [text(fresh(20), SHORT)], "messages": user(text("Hello"))}
        first = await usage_of(served, **kept)
        assert first.cache_creation_input_tokens > 64
        for _ in range(12):
            await usage_of(served, system=[text(fresh(20), SHORT)], messages=user(text("Hello")))
        gone = await usage_of(served, **kept)
    assert gone.cache_read_input_tokens == 0
    assert gone.cache_creation_input_tokens == first.cache_creation_input_tokens


async def test_diagnostics_say_how_much_was_missed(local):
    words = fresh()
    fields = {"messages": user(text("Hello")), "diagnostics": {"previous_message_id": None}}
    first = await create(local, system=[text(words, SHORT)], **fields)
    assert first.diagnostics is None
    fields["diagnostics"] = {"previous_message_id": first.id}
    second = await create(local, system=[text(words + ".", SHORT)], **fields)
    assert second.diagnostics is not None
    reason = second.diagnostics.cache_miss_reason
    assert reason is not None
    assert reason.type == "system_changed"
    written = first.usage.cache_creation_input_tokens
    assert reason.cache_missed_input_tokens == written


# --- with tools -----------------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tools(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """A server whose haiku has tools and thinking, though it makes no sense."""
    folder = write_model(tmp_path_factory.mktemp("tools"), template=WITH_TOOLS["shipped"])
    engine = replace(ENGINE, model=str(folder), window=2_048)
    async with AsyncExitStack() as stack:
        yield await open_app(stack, tmp_path_factory.mktemp("home"), engine)


def tool(name: str, mark: Any = None, says: str = "") -> Any:
    schema = {"type": "object", "properties": {"a": {"type": "string", "description": "One."}}}
    shown = {"name": name, "description": says or fresh(20), "input_schema": schema}
    return {**shown, **({"cache_control": mark} if mark else {})}


async def test_a_mark_on_the_last_tool_keeps_tools_and_the_system_text_before_them(tools):
    offered, system = [tool("add"), tool("sub", SHORT)], [text(fresh(20))]
    asked = {"tools": offered, "messages": user(text("Hello"))}
    first = await usage_of(tools, system=system, **asked)
    assert first.cache_creation_input_tokens > 64
    second = await usage_of(tools, system=system, **{**asked, "messages": user(text("So?"))})
    assert second.cache_read_input_tokens == first.cache_creation_input_tokens
    # The system text stands before the tools in this model's prompt.
    other = await usage_of(tools, system=[text(fresh(20))], **asked)
    assert other.cache_read_input_tokens == 0
    assert other.cache_creation_input_tokens > 64


async def test_a_mark_on_the_system_text_keeps_the_tools_too(tools):
    offered, system = [tool("add"), tool("sub")], [text(fresh(20), SHORT)]
    asked = {"system": system, "messages": user(text("Hello"))}
    first = await usage_of(tools, tools=offered, **asked)
    alone = await usage_of(tools, **asked)
    assert first.cache_creation_input_tokens > alone.cache_creation_input_tokens + 64
    second = await usage_of(tools, tools=offered, **{**asked, "messages": user(text("So?"))})
    assert second.cache_read_input_tokens == first.cache_creation_input_tokens


async def test_diagnostics_name_tools_that_changed(tools):
    offered = [tool("add", SHORT)]
    fields = {"messages": user(text("Hello")), "system": fresh(20)}
    first = await create(tools, tools=offered, diagnostics={"previous_message_id": None}, **fields)
    changed = [{**offered[0], "description": "Other."}]
    asked = {"previous_message_id": first.id}
    second = await create(tools, tools=changed, diagnostics=asked, **fields)
    reason = second.diagnostics.cache_miss_reason
    assert reason.type == "tools_changed"
    assert reason.cache_missed_input_tokens == first.usage.cache_creation_input_tokens > 64


def agents_request(number: int, turns: Any, offered: Any, rules: str) -> Any:
    """As a coding agent sends it: its books in the head, a reminder behind, a mark that moves."""
    head = f"x-anthropic-billing-header: cc_version=2.1.{number}; cch={number:05x};"
    *before, last = turns
    content = [{**block} for block in last["content"]]
    content[-1]["cache_control"] = SHORT
    return {
        "system": [text(head), text("You are an agent.", SHORT), text(rules, SHORT)],
        "tools": offered,
        "messages": [
            *before,
            {**last, "content": content},
            {"role": "system", "content": f"Reminder {number}.", "clear_at": "next_user_message"},
        ],
        "thinking": {"type": "adaptive", "display": "omitted"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "output_config": {"effort": "medium"},
        "metadata": {"user_id": f'{{"session_id":"{number}"}}'},
    }


async def test_every_turn_of_an_agent_reads_what_the_one_before_it_left(tools):
    offered = [tool("add"), {**tool("late"), "defer_loading": True}]
    rules, turns, left = fresh(20), user(text(fresh(20))), 0
    for number in range(4):
        body = agents_request(number, turns, offered, rules)
        response = await tools.post({"model": "haiku", "max_tokens": 40, **body})
        assert response.status_code == 200, response.text
        usage = response.json()["usage"]
        assert usage["cache_read_input_tokens"] == left
        assert usage["cache_creation_input_tokens"] > 0
        left += usage["cache_creation_input_tokens"]
        size = sum(usage[f"{kind}input_tokens"] for kind in ("", "cache_read_", "cache_creation_"))
        del body["metadata"]
        counted = await tools.post({"model": "haiku", **body}, "/v1/messages/count_tokens")
        assert counted.json()["input_tokens"] == size
        # What it thought comes back as it came, beside a call.
        thoughts = [b for b in response.json()["content"] if b["type"] == "thinking"]
        called = {"type": "tool_use", "id": f"toolu_{number}", "name": "add", "input": {"a": "x"}}
        told: list[Any] = [text(fresh(10))]
        if number == 1:
            told.append({"type": "tool_reference", "tool_name": "late"})
        answered = {"type": "tool_result", "tool_use_id": f"toolu_{number}", "content": told}
        turns = [
            *turns,
            {"role": "assistant", "content": [*thoughts, called]},
            *user(answered),
        ]


async def test_the_server_process_caches_too(start_server: StartServer) -> None:
    served = start_server(
        '[backends.b]\nthreads = 1\nwindow = 1024\n[tiers.haiku]\nbackends = ["b"]'
    )
    client = anthropic.Anthropic(api_key="any", base_url=served.url)
    fields: Any = {"system": [text(fresh(), SHORT)], "messages": user(text("Hello"))}
    usages = [client.messages.create(model="haiku", max_tokens=1, **fields).usage for _ in range(2)]
    assert usages[0].cache_creation_input_tokens == usages[1].cache_read_input_tokens
    assert usages[1].cache_read_input_tokens
