"""What was sent becomes what can be read: searches, references and summaries in place."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renga.errors import InvalidRequest
from renga.toolkit import visible
from renga.toolkit.expansion import expanded
from renga.types import (
    CompactionParam,
    CountRequest,
    ServerToolUseParam,
    TextParam,
    ToolReferenceParam,
    ToolResultParam,
    ToolSearchResultParam,
    ToolUseParam,
)

TOOLS = [
    {"type": "tool_search_tool_bm25", "name": "tool_search_tool_bm25"},
    {"name": "a", "input_schema": {"type": "object"}, "defer_loading": True},
    {"name": "b", "input_schema": {"type": "object"}, "defer_loading": True},
]


def asked(number: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "type": "server_tool_use",
        "id": f"srvtoolu_{number}",
        "name": "tool_search_tool_bm25",
        "input": {"query": "a"},
        **more,
    }


def found(*names: str, number: int = 1, **more: Any) -> dict[str, Any]:
    references = [{"type": "tool_reference", "tool_name": name} for name in names]
    content = {"type": "tool_search_tool_search_result", "tool_references": references}
    return {
        "type": "tool_search_tool_result",
        "tool_use_id": f"srvtoolu_{number}",
        "content": content,
        **more,
    }


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def summary(words: str | None, **more: Any) -> dict[str, Any]:
    return {"type": "compaction", "content": words, **more}


def prompt(*messages: tuple[str, list[dict[str, Any]]]) -> CountRequest:
    turns = [{"role": role, "content": content} for role, content in messages]
    return CountRequest.model_validate({"model": "haiku", "messages": turns, "tools": TOOLS})


def shape(request: CountRequest) -> list[tuple[str, list[str]]]:
    """Roles and what each turn holds, in short."""

    def told(block: Any) -> str:
        match block:
            case TextParam():
                return str(block.text)
            case ToolUseParam():
                return f"call {block.name}"
            case ToolResultParam(content=content):
                return "result " + "+".join(
                    item.tool_name if isinstance(item, ToolReferenceParam) else str(item.text)
                    for item in content
                    if isinstance(item, ToolReferenceParam | TextParam)
                )
            case _:
                return str(block.type)

    return [(m.role, [told(block) for block in m.content]) for m in request.messages]


def test_a_conversation_without_anything_to_expand_is_handed_on_as_it_is() -> None:
    request = prompt(("user", [text("Hello.")]), ("assistant", [text("Yes?")]))
    assert expanded(request) is request


def test_a_search_becomes_a_call_and_its_result_and_the_turn_goes_on_behind() -> None:
    control = {"type": "ephemeral"}
    request = prompt(
        ("user", [text("Do it.")]),
        (
            "assistant",
            [text("I look."), asked(), found("b", "a", cache_control=control), text("There.")],
        ),
        ("user", [text("Thanks.")]),
    )
    read = expanded(request)
    assert shape(read) == [
        ("user", ["Do it."]),
        ("assistant", ["I look.", "call tool_search_tool_bm25"]),
        ("user", ["result b+a"]),
        ("assistant", ["There."]),
        ("user", ["Thanks."]),
    ]
    result = read.messages[2].content[0]
    assert isinstance(result, ToolResultParam)
    assert result.cache_control is not None
    assert [spec.name for spec in visible(read)] == ["tool_search_tool_bm25", "b", "a"]
    assert visible(read) == visible(request)


def test_a_call_of_the_callers_tool_beside_a_search_stands_where_its_result_follows() -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "a", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "done"}
    request = prompt(
        ("user", [text("Do it.")]),
        ("assistant", [text("So."), call, asked(), found("b"), text("There.")]),
        ("user", [result]),
    )
    assert shape(expanded(request))[1:] == [
        ("assistant", ["So.", "call tool_search_tool_bm25"]),
        ("user", ["result b"]),
        ("assistant", ["There.", "call a"]),
        ("user", ["result done"]),
    ]


def test_an_answer_that_paused_after_a_search_goes_on_from_its_result() -> None:
    request = prompt(("user", [text("Do it.")]), ("assistant", [asked(), found()]))
    assert shape(expanded(request))[1:] == [
        ("assistant", ["call tool_search_tool_bm25"]),
        ("user", ["result No tool was found."]),
    ]


def test_a_search_that_failed_is_a_result_that_says_so() -> None:
    content = {
        "type": "tool_search_tool_result_error",
        "error_code": "invalid_tool_input",
        "error_message": "no such pattern",
    }
    failed = {"type": "tool_search_tool_result", "tool_use_id": "srvtoolu_1", "content": content}
    read = expanded(prompt(("user", [text("Do it.")]), ("assistant", [asked(), failed])))
    result = read.messages[-1].content[0]
    assert isinstance(result, ToolResultParam)
    assert result.is_error
    assert result.text == "no such pattern"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([asked()], "'srvtoolu_1' was found without its `tool_search_tool_result`"),
        ([asked(), text("x"), found()], "without its `tool_search_tool_result`"),
        ([found()], r"messages\.1\.content\.0\.tool_use_id"),
        ([asked(1), found(number=2)], "'srvtoolu_2' is no `server_tool_use` just before it"),
    ],
)
def test_a_search_and_its_result_belong_together(content: list[Any], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        expanded(prompt(("user", [text("Do it.")]), ("assistant", content)))


def test_everything_before_a_summary_is_gone_and_the_newest_counts() -> None:
    request = prompt(
        ("user", [text("Once.")]),
        ("assistant", [summary("first"), text("Then.")]),
        ("user", [text("More.")]),
        ("assistant", [text("Lost."), summary("second", cache_control={"type": "ephemeral"})]),
        ("user", [text("Go on.")]),
    )
    read = expanded(request)
    assert shape(read) == [
        ("user", ["This is a summary of the conversation so far:\n\nsecond"]),
        ("user", ["Go on."]),
    ]
    first = read.messages[0].content[0]
    assert isinstance(first, TextParam)
    assert first.cache_control is not None


def test_a_summary_that_failed_changes_nothing() -> None:
    request = prompt(
        ("user", [text("Once.")]),
        ("assistant", [summary(None), text("Then.")]),
        ("user", [text("More.")]),
    )
    assert shape(expanded(request)) == [
        ("user", ["Once."]),
        ("assistant", ["Then."]),
        ("user", ["More."]),
    ]


# --- properties -----------------------------------------------------------------------------------

_pieces = st.one_of(
    st.sampled_from(["x", "yy"]).map(lambda words: [text(words)]),
    st.lists(st.sampled_from("ab"), max_size=3).map(lambda names: [asked(), found(*names)]),
    st.sampled_from([None, "s1", "s2"]).map(lambda words: [summary(words)]),
)
_answers = st.lists(_pieces, max_size=4).map(lambda found: [b for piece in found for b in piece])
_conversations = st.lists(_answers, min_size=1, max_size=4)


def conversation(answers: list[list[dict[str, Any]]]) -> CountRequest:
    turns: list[tuple[str, list[dict[str, Any]]]] = []
    for i, answer in enumerate(answers):
        turns += [("user", [text(f"question {i}")]), ("assistant", answer)]
    return prompt(*turns)


@given(_conversations)
def test_what_is_read_has_no_blocks_that_stand_for_something_else(answers: Any) -> None:
    read = expanded(conversation(answers))
    kinds = {type(block) for message in read.messages for block in message.content}
    assert not kinds & {CompactionParam, ServerToolUseParam, ToolSearchResultParam}
    assert expanded(read) is read


@given(_conversations)
def test_every_call_is_answered_by_the_turn_behind_it(answers: Any) -> None:
    messages = expanded(conversation(answers)).messages
    for at, message in enumerate(messages):
        calls = [b.id for b in message.content if isinstance(b, ToolUseParam)]
        behind = messages[at + 1].content if at + 1 < len(messages) else []
        assert calls == [b.tool_use_id for b in behind if isinstance(b, ToolResultParam)]


@given(_conversations, _answers)
def test_what_was_read_stays_as_it_was_when_the_conversation_grows(
    answers: Any, further: Any
) -> None:
    before = shape(expanded(conversation(answers)))
    after = shape(expanded(conversation([*answers, further])))
    if not any(b["type"] == "compaction" and b["content"] for b in further):
        assert after[: len(before)] == before
