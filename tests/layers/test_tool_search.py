"""The loop of tool search: what goes out, what is asked again, and where it ends."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest
from anthropic.types import Message as OfficialMessage
from hypothesis import given
from hypothesis import strategies as st

from renga import conversation
from renga.caller import Caller
from renga.layers.tool_search import MOST_ROUNDS, tool_search
from renga.toolkit import listed, visible
from renga.toolkit.expansion import expanded
from renga.types import (
    AutoChoice,
    FoundToolsBlock,
    Message,
    MessagesRequest,
    SearchFailed,
    ServerToolUseBlock,
    StopReason,
    TextBlock,
    ThinkingBlock,
    ToolResultParam,
    ToolSearchResultBlock,
)
from tests.layers.below import Below, Says, call, ids, request, run, text, user

BM25 = {"type": "tool_search_tool_bm25_20251119", "name": "tool_search_tool_bm25"}
REGEX = {"type": "tool_search_tool_regex_20251119", "name": "tool_search_tool_regex"}
LAYER = tool_search(ids)


def deferred(name: str, description: str) -> dict[str, Any]:
    schema = {"type": "object", "properties": {}}
    return {
        "name": name,
        "description": description,
        "input_schema": schema,
        "defer_loading": True,
    }


WEATHER = deferred("get_weather", "The weather at a place.")
MAIL = deferred("send_mail", "Send a letter.")
NOW = {"name": "now", "description": "What time it is.", "input_schema": {"type": "object"}}


def ask(*tools: dict[str, Any], **more: Any) -> MessagesRequest:
    return request(
        [user("Is it raining?")], tools=list(tools or (BM25, WEATHER, MAIL, NOW)), **more
    )


def search(query: str) -> Any:
    return call("tool_search_tool_bm25", query=query)


def kinds(message: Message) -> list[str]:
    return [block.type for block in message.content]


def references(message: Message, at: int) -> list[str]:
    block = message.content[at]
    assert isinstance(block, ToolSearchResultBlock)
    assert isinstance(block.content, FoundToolsBlock)
    return [reference.tool_name for reference in block.content.tool_references]


def test_a_request_without_a_search_tool_passes_untouched() -> None:
    below = Below([Says([text("No.")])])
    asked = ask(NOW)
    message, _ = run(LAYER, below, asked)
    assert below.asked == [asked]
    assert below.asked[0] is asked
    assert message.usage.iterations is None


def test_a_search_is_made_and_the_model_goes_on_in_the_same_answer() -> None:
    below = Below(
        [
            Says([text("I look."), search("weather")], "tool_use"),
            Says([text("There it is."), call("get_weather")], "tool_use"),
        ]
    )
    message, events = run(LAYER, below, ask())
    assert kinds(message) == [
        "text", "server_tool_use", "tool_search_tool_result", "text", "tool_use",
    ]  # fmt: skip
    searched = message.content[1]
    assert isinstance(searched, ServerToolUseBlock)
    assert searched.id.startswith("srvtoolu_")
    assert (searched.name, searched.input) == ("tool_search_tool_bm25", {"query": "weather"})
    assert references(message, 2) == ["get_weather"]
    assert message.stop_reason == "tool_use"
    assert [e.type for e in events].count("message_start") == 1
    OfficialMessage.model_validate(message.model_dump(mode="json"))


def test_what_was_found_comes_into_view_behind_a_prompt_that_stays() -> None:
    below = Below([Says([search("weather")], "tool_use"), Says([text("Yes.")])])
    run(LAYER, below, ask())
    first, second = below.asked
    assert listed(first) == listed(second)
    assert [spec.name for spec in visible(first)] == ["tool_search_tool_bm25", "now"]
    assert [spec.name for spec in visible(second)][2:] == ["get_weather"]
    assert second.messages[: len(first.messages)] == first.messages
    assert [m.role for m in second.messages] == ["user", "assistant", "user"]
    assert isinstance(second.messages[2].content[0], ToolResultParam)


def test_usage_adds_up_and_tells_each_inference() -> None:
    below = Below([Says([search("weather")], "tool_use"), Says([text("Yes it does.")])])
    message, events = run(LAYER, below, ask())
    iterations = message.usage.iterations
    assert iterations is not None
    assert [i.type for i in iterations] == ["message", "message"]
    assert message.usage.input_tokens == sum(i.input_tokens for i in iterations)
    assert message.usage.output_tokens == sum(i.output_tokens for i in iterations)
    assert iterations[1].output_tokens == 3
    assert below.asked[1].max_tokens == 1_000 - iterations[0].output_tokens
    assert [caller.layer for caller in below.callers] == [None, "tool_search"]


def test_a_call_of_the_callers_tool_beside_a_search_ends_the_answer() -> None:
    below = Below([Says([search("mail"), call("now")], "tool_use")])
    message, _ = run(LAYER, below, ask())
    assert kinds(message) == ["server_tool_use", "tool_search_tool_result", "tool_use"]
    assert references(message, 1) == ["send_mail"]
    assert message.stop_reason == "tool_use"
    assert len(below.asked) == 1


def test_each_of_several_searches_has_its_result_right_behind_it() -> None:
    below = Below([Says([search("mail"), search("weather")], "tool_use"), Says([text("So.")])])
    message, _ = run(LAYER, below, ask())
    assert kinds(message)[:4] == ["server_tool_use", "tool_search_tool_result"] * 2
    assert references(message, 1) + references(message, 3) == ["send_mail", "get_weather"]
    assert [m.role for m in below.asked[1].messages] == ["user"] + ["assistant", "user"] * 2


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"pattern": "("}, "no regular expression"),
        ({"pattern": "x" * 201}, "201 characters"),
        ({}, "pattern: a string is required"),
        ({"pattern": 3}, "pattern: a string is required"),
    ],
)
def test_a_search_that_cannot_be_made_says_so_and_the_model_goes_on(
    arguments: dict[str, Any], why: str
) -> None:
    bad = call("tool_search_tool_regex", **arguments)
    below = Below([Says([bad], "tool_use"), Says([text("Well.")])])
    message, _ = run(LAYER, below, ask(REGEX, WEATHER))
    block = message.content[1]
    assert isinstance(block, ToolSearchResultBlock)
    assert isinstance(block.content, SearchFailed)
    assert why in (block.content.error_message or "")
    assert block.content.error_code == "invalid_tool_input"
    assert message.content[2] == TextBlock(text="Well.")


def test_a_search_without_end_pauses_and_goes_on_when_it_is_sent_back() -> None:
    below = Below([Says([search("rain")], "tool_use")])
    message, _ = run(LAYER, below, ask())
    assert message.stop_reason == "pause_turn"
    assert len(below.asked) == MOST_ROUNDS
    assert kinds(message) == ["server_tool_use", "tool_search_tool_result"] * MOST_ROUNDS


def test_an_answer_whose_tokens_are_used_up_by_searches_ends_with_max_tokens() -> None:
    below = Below([Says([search("rain")], "tool_use")])
    message, _ = run(LAYER, below, ask(max_tokens=8))
    assert message.stop_reason == "max_tokens"
    assert len(below.asked) < MOST_ROUNDS


def test_a_search_that_was_cut_off_has_a_result_too() -> None:
    below = Below([Says([call("tool_search_tool_bm25")], "max_tokens")])
    message, _ = run(LAYER, below, ask())
    assert kinds(message) == ["server_tool_use", "tool_search_tool_result"]
    assert message.stop_reason == "max_tokens"


def test_a_search_that_had_to_be_made_is_made_once() -> None:
    choice = {"type": "tool", "name": "tool_search_tool_bm25", "disable_parallel_tool_use": True}
    below = Below([Says([search("rain")], "tool_use"), Says([text("Yes.")])])
    run(LAYER, below, ask(tool_choice=choice))
    assert below.asked[1].tool_choice == AutoChoice(disable_parallel_tool_use=True)


def test_thinking_stands_before_the_search_in_the_next_round_and_keeps_within_its_budget() -> None:
    thought = ThinkingBlock(thinking="hm", signature="")
    thinking = {"type": "enabled", "budget_tokens": 1_024}
    below = Below([Says([thought, search("rain")], "tool_use"), Says([text("Yes.")])])
    message, _ = run(LAYER, below, ask(thinking=thinking, max_tokens=1_025))
    again = below.asked[1]
    assert [b.type for b in again.messages[1].content] == ["thinking", "tool_use"]
    assert again.thinking is not None
    assert again.thinking.type == "enabled"
    assert again.thinking.budget_tokens < again.max_tokens
    assert kinds(message)[0] == "thinking"


@pytest.mark.parametrize("leave_after", range(1, 12))
def test_who_leaves_closes_what_runs_below(leave_after: int) -> None:
    below = Below([Says([search("rain")], "tool_use"), Says([text("Yes it does.")])])

    async def leave() -> None:
        ways = LAYER(below.ways)
        stream = ways.stream(ask(), Caller(workspace="team", request_id="req_1"))
        async with aclosing(stream) as events:  # type: ignore[type-var]
            for _ in range(leave_after):
                await anext(events)
        # Closed by now, and not when the loop ends.
        assert below.closed == len(below.asked)

    asyncio.run(leave())


# --- properties -----------------------------------------------------------------------------------

_blocks = st.sampled_from(
    [
        text("Well then."),
        ThinkingBlock(thinking="hm", signature=""),
        search("weather"),
        call("tool_search_tool_bm25", query=7),
        call("now", zone="utc"),
    ]
)
_stops: st.SearchStrategy[StopReason] = st.sampled_from(
    ["end_turn", "max_tokens", "stop_sequence", "tool_use", "model_context_window_exceeded"]
)
_replies = st.builds(Says, st.lists(_blocks, max_size=4), _stops)


@given(st.lists(_replies, min_size=1, max_size=4), st.integers(1, 60))
def test_whatever_a_model_says_the_answer_can_be_sent_back(
    replies: list[Says], max_tokens: int
) -> None:
    below = Below([numbered(reply, i) for i, reply in enumerate(replies)])
    message, _ = run(LAYER, below, ask(max_tokens=max_tokens))
    assert below.closed == len(below.asked) <= MOST_ROUNDS
    for at, block in enumerate(message.content):
        if isinstance(block, ServerToolUseBlock):
            behind = message.content[at + 1]
            assert isinstance(behind, ToolSearchResultBlock)
            assert behind.tool_use_id == block.id
    asked = [b for b in message.content if b.type == "tool_use"]
    if len({b.id for b in asked}) < len(asked):
        return  # the model that speaks here has an id for each name
    results = [{"type": "tool_result", "tool_use_id": block.id} for block in asked]
    answered = [b.model_dump(mode="json") for b in message.content]
    sent = request(
        [user("Is it?"), {"role": "assistant", "content": answered}, user([*results, SO])],
        tools=[BM25, WEATHER, MAIL, NOW],
    )
    conversation.check(sent)
    conversation.check(expanded(sent))


SO = {"type": "text", "text": "So?"}


def numbered(reply: Says, number: int) -> Says:
    """`reply`, with ids that no other has."""
    content = [
        block.model_copy(update={"id": f"{block.id}_{number}"})
        if block.type == "tool_use"
        else block
        for block in reply.content
    ]
    return Says(content, reply.stop)
