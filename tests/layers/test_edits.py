"""What edits leave out, and the properties that hold for every conversation."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renga import conversation
from renga.layers.edits import CLEARED, tool_uses, without_thinking, without_tool_uses
from renga.types import (
    ClearToolUses,
    MessagesRequest,
    ThinkingParam,
    ToolResultParam,
    ToolUseParam,
)
from tests.layers.below import assistant, request, user

TOOLS = [{"name": name, "input_schema": {"type": "object"}} for name in "ab"] + [
    {"name": "hidden", "input_schema": {"type": "object"}, "defer_loading": True}
]


def use(number: int, name: str = "a") -> dict[str, Any]:
    arguments = {"n": number}
    return {"type": "tool_use", "id": f"toolu_{number}", "name": name, "input": arguments}


def result(number: int, content: Any = None, **more: Any) -> dict[str, Any]:
    said = f"result {number}" if content is None else content
    return {"type": "tool_result", "tool_use_id": f"toolu_{number}", "content": said, **more}


def thought(words: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": words, "signature": ""}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def calls(count: int, **more: Any) -> MessagesRequest:
    """A conversation of `count` calls, alternately of a and b."""
    messages = [user("Go.")]
    for number in range(count):
        messages += [assistant(use(number, "ab"[number % 2])), user([result(number)])]
    return request(messages, tools=TOOLS, **more)


def results(prompt: MessagesRequest) -> list[str]:
    return [b.text for m in prompt.messages for b in m.content if isinstance(b, ToolResultParam)]


def inputs(prompt: MessagesRequest) -> list[dict[str, Any]]:
    return [use.input for use in tool_uses(prompt)]


def edit(**fields: Any) -> ClearToolUses:
    if "keep" in fields:
        fields["keep"] = {"type": "tool_uses", "value": fields["keep"]}
    return ClearToolUses.model_validate(fields)


def test_old_results_are_emptied_oldest_first_and_the_newest_three_stay() -> None:
    left, cleared = without_tool_uses(calls(5), edit())
    assert cleared == 2
    assert results(left) == [CLEARED, CLEARED, "result 2", "result 3", "result 4"]
    assert inputs(left) == inputs(calls(5))


@pytest.mark.parametrize(
    ("fields", "cleared"),
    [
        ({"keep": 0}, [0, 1, 2, 3]),
        ({"keep": 1}, [0, 1, 2]),
        ({"keep": 9}, []),
        ({"keep": 1, "exclude_tools": ["b"]}, [0, 2]),
        ({"keep": 0, "exclude_tools": ["a", "b"]}, []),
    ],
)
def test_what_is_kept_and_excluded_stays(fields: dict[str, Any], cleared: list[int]) -> None:
    left, count = without_tool_uses(calls(4), edit(**fields))
    assert count == len(cleared)
    assert [i for i, said in enumerate(results(left)) if said == CLEARED] == cleared


@pytest.mark.parametrize(("which", "emptied"), [(True, [0, 1]), (["b"], [1]), (False, [])])
def test_arguments_go_only_where_the_edit_says_so(which: Any, emptied: list[int]) -> None:
    left, _ = without_tool_uses(calls(3), edit(keep=1, clear_tool_inputs=which))
    assert [i for i, given in enumerate(inputs(left)) if given == {}] == emptied


def test_an_error_stays_an_error_and_a_mark_stays_where_it_is() -> None:
    marked = result(0, is_error=True, cache_control={"type": "ephemeral"})
    prompt = request([user("Go."), assistant(use(0)), user([marked])], tools=TOOLS)
    left, _ = without_tool_uses(prompt, edit(keep=0))
    block = left.messages[2].content[0]
    assert isinstance(block, ToolResultParam)
    assert block.is_error
    assert block.cache_control is not None


def test_a_result_that_brought_a_tool_into_view_is_never_cleared() -> None:
    found = result(0, [{"type": "tool_reference", "tool_name": "hidden"}])
    prompt = request([user("Go."), assistant(use(0)), user([found])], tools=TOOLS)
    assert without_tool_uses(prompt, edit(keep=0)) == (prompt, 0)


def conversation_of_thoughts() -> MessagesRequest:
    return request(
        [
            user("One."),
            assistant(thought("1"), text("a")),
            user("Two."),
            assistant(text("b")),
            user("Three."),
            assistant(thought("2"), use(0)),
            user([result(0)]),
            assistant(thought("3"), text("c")),
            user("Four."),
        ],
        tools=TOOLS,
    )


@pytest.mark.parametrize(
    ("kept", "thoughts", "cleared"), [(1, ["2", "3"], 1), (2, ["1", "2", "3"], 0), (0, [], 2)]
)
def test_thinking_of_the_newest_turns_stays_and_results_do_not_end_a_turn(
    kept: int, thoughts: list[str], cleared: int
) -> None:
    left, turns = without_thinking(conversation_of_thoughts(), kept)
    found = [b.thinking for m in left.messages for b in m.content if isinstance(b, ThinkingParam)]
    assert (found, turns) == (thoughts, cleared)


def test_thinking_that_was_emptied_because_it_is_foreign_is_no_turn_of_thinking() -> None:
    prompt = request(
        [user("One."), assistant(thought("ours"), text("a")), user("Two."), assistant(thought(""))]
    )
    assert without_thinking(prompt, 1) == (prompt, 0)


# --- properties -----------------------------------------------------------------------------------


@st.composite
def conversations(draw: st.DrawFn) -> MessagesRequest:
    """Turns of text, thinking and calls, every call answered in the next message."""
    number = 0
    messages: list[dict[str, Any]] = []
    for _ in range(draw(st.integers(1, 4))):
        messages.append(user(draw(st.sampled_from(["Go.", "Again."]))))
        for _ in range(draw(st.integers(0, 3))):
            count = draw(st.integers(0, 2))
            names = [draw(st.sampled_from("ab")) for _ in range(count)]
            thoughts = [thought("hm")] * draw(st.integers(0, 1))
            blocks = [*thoughts, text("so"), *(use(number + i, n) for i, n in enumerate(names))]
            messages.append(assistant(*blocks))
            if not count:
                break
            messages.append(user([result(number + i) for i in range(count)]))
            number += count
    if messages[-1]["role"] == "assistant":
        messages.append(user("And?"))
    return request(messages, tools=TOOLS)


edits = st.builds(
    edit,
    keep=st.integers(0, 4),
    exclude_tools=st.sampled_from([None, ["a"], ["a", "b"]]),
    clear_tool_inputs=st.sampled_from([None, True, ["b"]]),
)


@given(conversations(), edits)
def test_no_edit_breaks_a_rule_of_conversations(prompt: MessagesRequest, which: Any) -> None:
    conversation.check(prompt)
    left, _ = without_tool_uses(prompt, which)
    conversation.check(without_thinking(left, 1)[0])


@given(conversations(), edits)
def test_every_call_keeps_its_place_and_its_result(prompt: MessagesRequest, which: Any) -> None:
    def shape(of: MessagesRequest) -> list[list[str]]:
        def told(block: Any) -> str:
            if isinstance(block, ToolUseParam):
                return f"call {block.id}"
            return f"result {block.tool_use_id}" if isinstance(block, ToolResultParam) else "text"

        return [[told(block) for block in message.content] for message in of.messages]

    assert shape(without_tool_uses(prompt, which)[0]) == shape(prompt)


@given(conversations(), edits)
def test_an_edit_made_twice_is_made_once(prompt: MessagesRequest, which: Any) -> None:
    left, _ = without_tool_uses(prompt, which)
    again, cleared = without_tool_uses(left, which)
    assert again is left
    assert cleared == 0
    silent, _ = without_thinking(left, 1)
    assert without_thinking(silent, 1) == (silent, 0)


@given(conversations(), conversations(), edits)
def test_what_was_cleared_stays_cleared_as_the_conversation_grows(
    prompt: MessagesRequest, further: MessagesRequest, which: Any
) -> None:
    behind = [m for m in further.messages if not tool_uses(request_of([m]))]
    grown = prompt.model_copy(update={"messages": [*prompt.messages, *behind]})
    before, after = without_tool_uses(prompt, which)[0], without_tool_uses(grown, which)[0]
    for old, new in zip(results(before), results(after), strict=False):
        assert new in (old, CLEARED)


def request_of(messages: list[Any]) -> MessagesRequest:
    return MessagesRequest.model_construct(messages=messages)
