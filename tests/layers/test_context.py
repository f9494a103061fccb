"""When edits are due, what they report, and that a request without them pays nothing."""

from __future__ import annotations

from typing import Any

import pytest

from renga.layers.context import context_edits
from renga.layers.edits import CLEARED
from renga.types import (
    AppliedEdits,
    ClearedThinking,
    ClearedToolUses,
    MessagesRequest,
    OriginalCount,
)
from tests.layers.below import Below, Says, count, run, text, words_in
from tests.layers.test_edits import calls, conversation_of_thoughts, results

KEEP_ALL = {"type": "clear_thinking_20251015", "keep": "all"}
TOOL_USES = {"type": "clear_tool_uses_20250919"}


def with_edits(prompt: MessagesRequest, *edits: dict[str, Any]) -> MessagesRequest:
    changes = {"context_management": {"edits": list(edits)}}
    return MessagesRequest.model_validate(prompt.model_dump(by_alias=True) | changes)


def tokens(value: int) -> dict[str, Any]:
    return {"type": "input_tokens", "value": value}


def uses(value: int) -> dict[str, Any]:
    return {"type": "tool_uses", "value": value}


def hello() -> Below:
    return Below([Says([text("Hello.")])])


def test_a_request_without_edits_is_passed_on_and_says_nothing_of_them() -> None:
    below, asked = hello(), calls(5)
    message, _ = run(context_edits, below, asked)
    assert below.asked[0] is asked
    assert below.counted == 0
    assert "context_management" not in message.model_dump(mode="json")


@pytest.mark.parametrize("edits", [[KEEP_ALL], [], [KEEP_ALL | {"keep": {"type": "all"}}]])
def test_keeping_all_thinking_counts_nothing_and_changes_nothing(edits: list[Any]) -> None:
    below, asked = hello(), with_edits(conversation_of_thoughts(), *edits)
    message, _ = run(context_edits, below, asked)
    assert below.asked[0] is asked
    assert below.counted == 0
    assert message.context_management == AppliedEdits()


def test_what_was_left_out_is_told_at_the_end_of_a_stream_and_in_the_message() -> None:
    below = hello()
    asked = with_edits(calls(5), TOOL_USES | {"trigger": uses(4)})
    message, events = run(context_edits, below, asked)
    read = below.asked[0]
    saved = words_in(asked) - words_in(read)
    applied = AppliedEdits(
        applied_edits=[ClearedToolUses(cleared_input_tokens=max(0, saved), cleared_tool_uses=2)]
    )
    assert message.context_management == applied
    deltas = [e.context_management for e in events if e.type == "message_delta"]
    assert deltas == [applied]
    assert results(read)[:2] == [CLEARED] * 2


@pytest.mark.parametrize(
    ("trigger", "due"),
    [(uses(4), True), (uses(5), False), (tokens(10), True), (tokens(40), False), (None, False)],
)
def test_results_are_cleared_once_the_prompt_is_past_the_trigger(trigger: Any, due: bool) -> None:
    below = hello()
    # 26 words: one of the user, and for each of five calls a name, two arguments and two of result.
    asked = with_edits(calls(5), TOOL_USES | {"trigger": trigger})
    assert words_in(asked) == 26
    run(context_edits, below, asked)
    assert (CLEARED in results(below.asked[0])) == due


def test_a_trigger_beyond_the_window_is_three_quarters_of_it() -> None:
    below, asked = hello(), with_edits(calls(5), TOOL_USES)
    below.window = 36
    run(context_edits, below, asked)
    assert below.asked[0] is asked
    below.window = 32  # 24 tokens of 26 and more
    run(context_edits, below, asked)
    assert CLEARED in results(below.asked[1])


def long_results() -> MessagesRequest:
    prompt = calls(5)
    body = prompt.model_dump(by_alias=True)
    for message in body["messages"]:
        for block in message["content"]:
            if block["type"] == "tool_result":
                block["content"] = "word " * 12
    return MessagesRequest.model_validate(body)


@pytest.mark.parametrize(("least", "due"), [(20, True), (21, False)])
def test_clearing_must_be_worth_it(least: int, due: bool) -> None:
    below = hello()
    asked = with_edits(
        long_results(), TOOL_USES | {"trigger": uses(0), "clear_at_least": tokens(least)}
    )
    message, _ = run(context_edits, below, asked)
    assert message.context_management is not None
    assert bool(message.context_management.applied_edits) == due
    assert (CLEARED in results(below.asked[0])) == due


def test_edits_follow_one_another_and_each_tells_what_it_saved() -> None:
    below = hello()
    thinking = {"type": "clear_thinking_20251015", "keep": {"type": "thinking_turns", "value": 1}}
    asked = with_edits(
        conversation_of_thoughts(), thinking, TOOL_USES | {"trigger": uses(0), "keep": uses(0)}
    )
    message, _ = run(context_edits, below, asked)
    assert message.context_management == AppliedEdits(
        applied_edits=[
            ClearedThinking(cleared_input_tokens=1, cleared_thinking_turns=1),
            ClearedToolUses(cleared_input_tokens=0, cleared_tool_uses=1),
        ]
    )


def test_a_count_tells_the_size_before_and_after() -> None:
    asked = with_edits(long_results(), TOOL_USES | {"trigger": uses(0)})
    below = hello()
    counted = count(context_edits, below, asked)
    assert counted.context_management == OriginalCount(original_input_tokens=words_in(asked))
    run(context_edits, below, asked)
    assert counted.input_tokens == words_in(below.asked[0]) == words_in(asked) - 20
    assert below.counted == 4  # two sizes for the count, two for the answer: none of them twice


def test_a_count_without_edits_says_nothing_of_them() -> None:
    assert count(context_edits, hello(), calls(2)).context_management is None
