"""Calls and thinking on a model with random weights: whatever it draws, the form is right."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import pytest_asyncio

from renga.backends.base import Attempt
from renga.backends.local import LocalBackend
from renga.config import BackendConfig
from renga.errors import InvalidRequest
from renga.events import BlockDelta, BlockStart, Event, InputJsonDelta, TextDelta, fold
from renga.toolkit.client_tools import MEMBERS, TOOLSET
from renga.types import (
    Message,
    MessagesRequest,
    TextBlock,
    ThinkingBlock,
    ToolUseBlock,
    TunedRequest,
)
from tests.backends.test_conformance import as_the_sdk_builds_it
from tests.chat.templates import HERMES
from tests.tiny_model import TEMPLATE, write_model
from training.vocabulary import TEMPLATE as SHIPPED

pytestmark = pytest.mark.asyncio(loop_scope="module")

ADD: dict[str, Any] = {
    "name": "add",
    "description": "Adds two numbers.",
    "input_schema": {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
        "additionalProperties": False,
    },
}
LOOK_UP: dict[str, Any] = {
    "name": "look-up_2",
    "input_schema": {
        "type": "object",
        "properties": {"kind": {"enum": ["order", "refund"]}, "deep": {"type": "boolean"}},
        "required": ["kind"],
    },
}
SCHEMAS: dict[str, Any] = {tool["name"]: tool["input_schema"] for tool in (ADD, LOOK_UP)}
ADAPTIVE = {"type": "adaptive"}
ANSWER = {
    "type": "object",
    "properties": {"sure": {"type": "boolean"}},
    "required": ["sure"],
    "additionalProperties": False,
}


async def start(folder: Path, template: str) -> LocalBackend:
    model = write_model(folder, template=template)
    config = BackendConfig("small", "local", model=str(model), threads=1, kv_cache_mb=16)
    backend = LocalBackend(config, home=folder)
    await backend.start()
    return backend


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def local(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalBackend]:
    backend = await start(tmp_path_factory.mktemp("shipped"), SHIPPED)
    yield backend
    await backend.aclose()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hermes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalBackend]:
    backend = await start(tmp_path_factory.mktemp("hermes"), HERMES)
    yield backend
    await backend.aclose()


def ask(text: str = "17 + 25?", **fields: Any) -> MessagesRequest:
    given = {"max_tokens": 300, "messages": [{"role": "user", "content": text}], **fields}
    return MessagesRequest.model_validate({"model": "haiku", **given})


def with_tools(choice: str | None = None, **fields: Any) -> MessagesRequest:
    options = {"disable_parallel_tool_use": True} if fields.pop("once", False) else {}
    if choice in (None, "auto", "any", "none"):
        given = None if choice is None else {"type": choice, **options}
    else:
        given = {"type": "tool", "name": choice, **options}
    return ask(**{"tools": [ADD, LOOK_UP], "tool_choice": given, **fields})


async def run(
    backend: LocalBackend, request: MessagesRequest, meter: Attempt | None = None
) -> list[Event]:
    """The events, which the official SDK has accumulated to the same message."""
    attempt = meter or Attempt("req", "w")
    async with aclosing(backend.stream(request, attempt)) as events:  # type: ignore[type-var]
        found = [event async for event in events]
    theirs, ours = as_the_sdk_builds_it(found), fold(found).model_dump(mode="json")
    for mine, other in zip(ours["content"], theirs["content"], strict=True):
        assert {**other, **mine} == other
    return found


async def answer(backend: LocalBackend, request: MessagesRequest) -> Message:
    return fold(await run(backend, request))


def check_call(block: Any, schemas: dict[str, Any] = SCHEMAS) -> None:
    """A call names a tool, and its input is what the tool's schema says."""
    assert isinstance(block, ToolUseBlock)
    assert re.fullmatch(r"toolu_[a-zA-Z0-9]{24}", block.id)
    jsonschema.validate(block.input, schemas[block.name])


# --- calls ----------------------------------------------------------------------------------------


async def test_any_calls_some_tool_and_says_nothing_before(local: LocalBackend) -> None:
    names = set()
    for seed in range(8):
        message = await answer(local, with_tools("any", once=seed % 2 == 0, temperature=1.0))
        if message.stop_reason == "max_tokens":  # more and more calls
            assert len(message.content) > 1
            continue
        assert message.stop_reason == "tool_use"
        assert seed % 2 or len(message.content) == 1
        for block in message.content:
            check_call(block)
            names.add(getattr(block, "name", ""))
    assert names <= set(SCHEMAS)


@pytest.mark.parametrize("name", sorted(SCHEMAS))
async def test_a_named_tool_is_the_one_that_is_called(local: LocalBackend, name: str) -> None:
    for temperature in (0.0, 1.0):
        message = await answer(local, with_tools(name, once=True, temperature=temperature))
        (block,) = message.content
        check_call(block)
        assert isinstance(block, ToolUseBlock)
        assert (block.name, message.stop_reason) == (name, "tool_use")


async def test_a_call_is_streamed_as_pieces_behind_an_empty_one(local: LocalBackend) -> None:
    events = await run(local, with_tools("add", once=True))
    deltas = [e.delta for e in events if isinstance(e, BlockDelta)]
    pieces = [d.partial_json for d in deltas if isinstance(d, InputJsonDelta)]
    assert len(pieces) == len(deltas) > 2
    assert pieces[0] == ""
    (block,) = fold(events).content
    assert isinstance(block, ToolUseBlock)
    assert json.loads("".join(pieces)) == block.input


async def test_the_model_may_call_or_not_where_it_is_left_to_it(local: LocalBackend) -> None:
    """Of so many tokens at random some are the one that calls; what follows it is a call."""
    called: list[Message] = []
    tries = 0
    while len(called) < 3 and tries < 40:
        tries += 1
        message = await answer(local, with_tools(temperature=1.0, max_tokens=500))
        texts = [b for b in message.content if isinstance(b, TextBlock)]
        calls = [b for b in message.content if isinstance(b, ToolUseBlock)]
        assert message.content == [*texts, *calls]
        assert len(texts) <= 1
        assert all("<tool_call>" not in text.text for text in texts)
        if message.stop_reason == "tool_use":
            for block in calls:
                check_call(block)
            called.append(message)
        elif not calls:
            assert message.stop_reason in ("end_turn", "max_tokens")
    assert called


@pytest.mark.parametrize("tools", [[ADD], [{**ADD, "defer_loading": True}]])
async def test_no_call_is_made_where_none_may_be(local: LocalBackend, tools: list[Any]) -> None:
    choice = "auto" if "defer_loading" in tools[0] else "none"
    for _ in range(6):
        request = with_tools(choice, tools=tools, temperature=1.0, max_tokens=700)
        message = await answer(local, request)
        assert [b.type for b in message.content] in (["text"], [])
        assert all("<tool_call>" not in b.text for b in message.content if b.type == "text")


async def test_a_form_and_tools_are_one_or_the_other(local: LocalBackend) -> None:
    form = {"format": {"type": "json_schema", "schema": ANSWER}}
    kinds = set()
    for _ in range(12):
        request = with_tools("auto", once=True, output_config=form, temperature=1.0)
        message = await answer(local, request)
        (block,) = message.content
        kinds.add(block.type)
        if isinstance(block, TextBlock):
            jsonschema.validate(json.loads(block.text), ANSWER)
            assert message.stop_reason == "end_turn"
        else:
            check_call(block)
    assert kinds <= {"text", "tool_use"}
    form = {"format": {"type": "choice", "choices": ["yes", "no"]}}
    request = with_tools("none", output_config=form)
    (block,) = (await answer(local, request)).content
    assert isinstance(block, TextBlock)
    assert block.text in ("yes", "no")


async def test_stop_sequences_do_not_end_a_call(local: LocalBackend) -> None:
    word = "It ends\n\nhere, or <tool_call> does it?"
    tool = {"name": "say", "input_schema": {"properties": {"text": {"const": word}}}}
    schema = {**tool["input_schema"], "type": "object", "required": ["text"]}  # type: ignore[dict-item]
    request = with_tools(
        "say", tools=[{**tool, "input_schema": schema}], stop_sequences=["ends", '{"text"', "\n"]
    )
    message = await answer(local, request)
    assert message.stop_sequence is None
    first = message.content[0]
    assert isinstance(first, ToolUseBlock)
    assert first.input == {"text": word}


async def test_stop_sequences_end_a_form_and_not_the_call_beside_it(local: LocalBackend) -> None:
    form = {"format": {"type": "choice", "choices": ["number one", "number two"]}}
    kinds = set()
    for seed in range(12):
        fields = {"output_config": form, "temperature": 1.0, "stop_sequences": ["u", '"a"', "{"]}
        request = with_tools("auto", tools=[ADD], once=True, **fields)
        tuned = TunedRequest.model_validate({**request.model_dump(by_alias=True), "seed": seed})
        message = await answer(local, tuned)
        (block,) = message.content
        kinds.add(block.type)
        if isinstance(block, TextBlock):
            assert (block.text, message.stop_sequence) == ("n", "u")
        else:
            check_call(block)
            assert message.stop_reason == "tool_use"
    assert kinds == {"text", "tool_use"}


async def test_a_call_that_is_cut_is_a_block_with_what_is_certain(local: LocalBackend) -> None:
    whole = await answer(local, with_tools("add", once=True, temperature=0.0))
    seen = set()
    for most in range(1, whole.usage.output_tokens):
        request = with_tools("add", once=True, temperature=0.0, max_tokens=most)
        message = await answer(local, request)
        assert message.usage.output_tokens == most
        if message.stop_reason == "tool_use":  # all but what ends the call
            continue
        assert message.stop_reason == "max_tokens"
        for block in message.content:
            assert isinstance(block, ToolUseBlock)
            assert block.name == "add"
            assert set(block.input) <= {"a", "b"}
        seen.add(len(message.content))
    assert seen == {0, 1}


async def test_members_of_a_toolset_are_called_by_its_name(local: LocalBackend) -> None:
    off = {name: {"enabled": False} for name in MEMBERS if name != "cursor_position"}
    tools = [{"type": "computer_toolset_20260801", "configs": off}]
    (block,) = (await answer(local, with_tools("any", tools=tools, once=True))).content
    assert isinstance(block, ToolUseBlock)
    assert (block.name, block.toolset_name) == ("cursor_position", TOOLSET)


async def test_a_template_without_tools_refuses_them(tmp_path: Path) -> None:
    backend = await start(tmp_path, TEMPLATE)
    try:
        assert backend.capabilities.missing_for(with_tools()) == "tools"
        with pytest.raises(InvalidRequest, match=r"^tools: this model writes calls in a form that"):
            await backend.count_tokens(with_tools())
    finally:
        await backend.aclose()


# --- thinking -------------------------------------------------------------------------------------


def thoughts(message: Message) -> list[str]:
    return [block.thinking for block in message.content if isinstance(block, ThinkingBlock)]


async def test_thinking_comes_first_within_its_budget_and_is_counted(
    local: LocalBackend, hermes: LocalBackend
) -> None:
    for backend in (local, hermes):
        meter = Attempt("req", "w")
        events = await run(backend, ask(thinking=ADAPTIVE, max_tokens=60, temperature=1.0), meter)
        message = fold(events)
        first, *rest = message.content
        assert isinstance(first, ThinkingBlock)
        assert all(isinstance(block, TextBlock) for block in rest)
        assert "</think>" not in first.thinking
        details = message.usage.output_tokens_details
        assert details is not None
        assert 1 < details.thinking_tokens <= 30  # half of the answer
        assert meter.thinking == details.thinking_tokens
        assert meter.output == message.usage.output_tokens <= 60


async def test_enabled_thinking_has_the_budget_that_was_asked_for(local: LocalBackend) -> None:
    thinking = {"type": "enabled", "budget_tokens": 1_024}
    message = await answer(local, ask(thinking=thinking, max_tokens=1_100, temperature=1.0))
    details = message.usage.output_tokens_details
    assert details is not None
    assert details.thinking_tokens <= 1_024
    assert len(thoughts(message)) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"thinking": {"type": "disabled"}},
        {"thinking": ADAPTIVE, "output_config": {"effort": "low"}},
    ],
)
async def test_an_answer_that_is_not_to_think_does_not(
    local: LocalBackend, fields: dict[str, Any]
) -> None:
    message = await answer(local, ask(max_tokens=40, **fields))
    assert thoughts(message) == []
    assert message.usage.output_tokens_details is None
    assert await local.count_tokens(ask(**fields)) == await local.count_tokens(ask())


async def test_a_thought_that_nobody_wants_is_closed_at_once(tmp_path: Path) -> None:
    always = TEMPLATE + "{% if add_generation_prompt %}{{ '<think>\\n' }}{% endif %}"
    backend = await start(tmp_path, always)
    try:
        meter = Attempt("req", "w")
        message = fold(await run(backend, ask(max_tokens=40), meter))
        assert thoughts(message) == []
        assert 0 < meter.thinking <= 4
        assert len(thoughts(await answer(backend, ask(thinking=ADAPTIVE, max_tokens=40)))) == 1
    finally:
        await backend.aclose()


async def test_an_answer_that_is_cut_in_its_thinking_is_thinking_alone(
    local: LocalBackend,
) -> None:
    thinking = {"type": "enabled", "budget_tokens": 2_000}
    request = ask(thinking=thinking, max_tokens=2_040, temperature=1.0)
    size = await local.count_tokens(request)
    message = await answer(local, request)
    if message.stop_reason == "model_context_window_exceeded":
        assert size + message.usage.output_tokens == local.capabilities.window
    assert message.content[0].type == "thinking"


async def test_forms_and_calls_begin_behind_the_thinking(local: LocalBackend) -> None:
    form = {"format": {"type": "json_schema", "schema": ANSWER}}
    fields: dict[str, Any] = {"thinking": ADAPTIVE, "max_tokens": 120, "temperature": 1.0}
    for _ in range(4):
        thought, said = (await answer(local, ask(output_config=form, **fields))).content
        assert isinstance(said, TextBlock)
        assert thought.type == "thinking"
        jsonschema.validate(json.loads(said.text), ANSWER)
        thought, called = (await answer(local, with_tools("any", once=True, **fields))).content
        assert thought.type == "thinking"
        check_call(called)


async def test_stop_sequences_are_for_what_is_said(local: LocalBackend) -> None:
    request = ask(thinking=ADAPTIVE, max_tokens=200, temperature=1.0, stop_sequences=["e", "a"])
    thought = ""
    for _ in range(4):
        message = await answer(local, request)
        thought += "".join(thoughts(message))
        said = "".join(b.text for b in message.content if isinstance(b, TextBlock))
        assert not {"e", "a"} & set(said)
    assert {"e", "a"} & set(thought)


async def test_a_caller_that_leaves_while_it_thinks_pays_for_that(local: LocalBackend) -> None:
    meter = Attempt("req", "w")
    thinking = {"type": "enabled", "budget_tokens": 1_900}
    request = ask(thinking=thinking, max_tokens=1_950, temperature=1.0)
    async with aclosing(local.stream(request, meter)) as events:  # type: ignore[type-var]
        async for event in events:
            if isinstance(event, BlockDelta):
                break
    # It may have ended its thinking by itself, and gone on while we were leaving.
    assert 0 < meter.thinking <= meter.output < 1_900


async def test_thinking_leaves_half_of_the_window_to_the_answer(local: LocalBackend) -> None:
    request = ask("poem " * 480, thinking=ADAPTIVE, max_tokens=30_000, temperature=1.0)
    room = local.capabilities.window - await local.count_tokens(request)
    details = (await answer(local, request)).usage.output_tokens_details
    assert details is not None
    assert 0 < details.thinking_tokens <= room / 2 < 1_000


async def test_a_prefill_goes_on_without_thinking(local: LocalBackend) -> None:
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "The"}]
    message = await answer(local, ask(messages=messages, thinking=ADAPTIVE, max_tokens=20))
    assert [block.type for block in message.content] == ["text"]


async def test_efforts_are_worth_ever_more_thinking(local: LocalBackend) -> None:
    """What was said of it last counts, be it in mid-conversation."""
    spent = []
    for effort in ("medium", "high"):
        system = {"role": "system", "content": [], "output_config": {"effort": effort}}
        messages = [{"role": "user", "content": "Think."}, system]
        request = ask(messages=messages, thinking=ADAPTIVE, temperature=1.0, max_tokens=1_900)
        details = (await answer(local, request)).usage.output_tokens_details
        assert details is not None
        spent.append(details.thinking_tokens)
    assert spent[0] <= 950
    low = {"role": "system", "content": [], "output_config": {"effort": "low"}}
    request = ask(messages=[*messages[:1], low], thinking=ADAPTIVE, max_tokens=20)
    assert thoughts(await answer(local, request)) == []


# --- likelihoods ----------------------------------------------------------------------------------


async def test_tokens_of_the_text_come_with_their_likelihoods(local: LocalBackend) -> None:
    fields = {"max_tokens": 12, "temperature": 1.0, "seed": 7, "logprobs": 2}
    messages = [{"role": "user", "content": "Hello"}]
    request = TunedRequest.model_validate({"model": "haiku", "messages": messages, **fields})
    first, second = [await run(local, request) for _ in range(2)]
    assert fold(first) == fold(second)
    deltas = [e.delta for e in first if isinstance(e, BlockDelta)]
    scores = [s for d in deltas if isinstance(d, TextDelta) for s in d.logprobs or ()]
    text = "".join(b.text for b in fold(first).content if isinstance(b, TextBlock))
    assert b"".join(score.data for score in scores).decode(errors="replace") == text
    assert 0 < len(scores) <= 12
    for score in scores:
        assert len(score.top) == 2
        assert score.top[0].logprob >= score.top[1].logprob
        assert score.logprob <= score.top[0].logprob <= 0


async def test_blocks_start_with_what_is_in_them(local: LocalBackend) -> None:
    events = await run(local, with_tools("any", once=True, thinking=ADAPTIVE, max_tokens=200))
    for before, event in zip(events, events[1:], strict=False):
        if isinstance(before, BlockStart):
            assert isinstance(event, BlockDelta)
