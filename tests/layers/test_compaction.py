"""Compaction: when it is due, what the model reads then, and blocks that come back."""

from __future__ import annotations

import asyncio
import base64
from contextlib import aclosing
from typing import Any

import pytest
from anthropic.types.beta import BetaMessage
from hypothesis import given
from hypothesis import strategies as st

from renga import conversation
from renga.caller import Caller
from renga.chat.signing import Signer
from renga.errors import InvalidRequest
from renga.layers.base import Layer
from renga.layers.compaction import PROMPT, check_signed, compaction
from renga.toolkit import visible
from renga.toolkit.expansion import SUMMARY, expanded
from renga.types import (
    CompactionBlock,
    MessagesRequest,
    NoChoice,
    StopReason,
    TextParam,
    ThinkingBlock,
)
from tests.layers.below import (
    Below,
    Says,
    assistant,
    call,
    count,
    request,
    run,
    text,
    user,
    words_in,
)

SIGNER = Signer.temporary()
LAYER: Layer = compaction(SIGNER)
LONG = "word " * 50_000
TOOL = {"name": "add", "input_schema": {"type": "object"}}


def compact(**more: Any) -> dict[str, Any]:
    trigger = {"type": "input_tokens", "value": 50_000}
    return {"type": "compact_20260112", "trigger": trigger, **more}


def ask(words: str = LONG, edit: dict[str, Any] | None = None, **more: Any) -> MessagesRequest:
    management = {"edits": [edit or compact()]}
    return request([user(words)], context_management=management, **more)


def summarising(*answers: Says) -> Below:
    return Below([Says([text("Short, it was.")]), *answers])


def texts(prompt: MessagesRequest) -> list[tuple[str, list[str]]]:
    return [
        (m.role, [b.text for b in m.content if isinstance(b, TextParam)]) for m in prompt.messages
    ]


def test_a_prompt_below_the_trigger_is_answered_as_it_is() -> None:
    below, asked = Below([Says([text("Yes.")])]), ask("word " * 49_999)
    message, _ = run(LAYER, below, asked)
    assert below.asked == [asked]
    assert message.usage.iterations is None
    run(LAYER, below, ask("word " * 149_999, {"type": "compact_20260112"}))
    assert len(below.asked) == 2


@pytest.mark.parametrize("asked", [request([user(LONG)]), ask("word " * 1_000)])
def test_a_request_without_the_edit_or_much_to_sum_up_is_not_even_counted(
    asked: MessagesRequest,
) -> None:
    below = Below([Says([text("Yes.")])])
    run(LAYER, below, asked)
    assert below.asked[0] is asked
    assert below.counted == 0


def test_a_prompt_past_the_trigger_is_summarised_and_answered_from_its_summary() -> None:
    below = summarising(Says([text("Yes it is."), call("add", a=1)], "tool_use"))
    message, events = run(LAYER, below, ask(tools=[TOOL]))
    assert message.content[:2] == [CompactionBlock(content="Short, it was."), text("Yes it is.")]
    assert message.stop_reason == "tool_use"
    assert texts(below.asked[1]) == [("user", [SUMMARY.format(summary="Short, it was.")])]
    assert [e.delta.type for e in events if e.type == "content_block_delta"][:2] == [
        "compaction_delta",
        "text_delta",
    ]
    assert [caller.layer for caller in below.callers] == ["compaction", None]
    BetaMessage.model_validate(message.model_dump(mode="json"))


def test_a_summary_is_asked_for_behind_the_conversation_without_tools_or_form() -> None:
    below = summarising(Says([text("Yes.")]))
    asked = ask(
        tools=[TOOL],
        tool_choice={"type": "any"},
        stop_sequences=["word"],
        thinking={"type": "adaptive"},
        output_config={"format": {"type": "json_object"}, "effort": "low"},
    )
    run(LAYER, below, asked)
    summary = below.asked[0]
    assert texts(summary) == [("user", [LONG]), ("user", [PROMPT])]
    assert summary.tools == asked.tools
    assert summary.tool_choice == NoChoice()
    assert (summary.thinking, summary.output_config, summary.stop_sequences) == (None, None, [])
    answered = below.asked[1]
    assert (answered.tool_choice, answered.thinking) == (asked.tool_choice, asked.thinking)


def test_instructions_take_the_place_of_the_prompt_for_a_summary() -> None:
    below = summarising(Says([text("Yes.")]))
    run(LAYER, below, ask(edit=compact(instructions="In one word.")))
    assert texts(below.asked[0])[-1] == ("user", ["In one word."])
    below = summarising(Says([text("Yes.")]))
    run(LAYER, below, ask(edit=compact(instructions="  ")))
    assert texts(below.asked[0])[-1] == ("user", [PROMPT])


def test_the_totals_are_the_answers_and_the_iterations_tell_the_summarys() -> None:
    below = summarising(Says([text("Yes it is.")]))
    message, events = run(LAYER, below, ask())
    iterations = message.usage.iterations
    assert iterations is not None
    assert [i.type for i in iterations] == ["compaction", "message"]
    assert iterations[0].input_tokens == words_in(below.asked[0])
    assert message.usage.input_tokens == words_in(below.asked[1]) == iterations[1].input_tokens
    assert message.usage.output_tokens == iterations[1].output_tokens == 3
    assert events[0].type == "message_start"
    assert events[0].message.usage.input_tokens == 0


def test_an_answer_that_pauses_is_the_summary_alone() -> None:
    below = summarising()
    message, _ = run(LAYER, below, ask(edit=compact(pause_after_compaction=True)))
    assert message.content == [CompactionBlock(content="Short, it was.")]
    assert message.stop_reason == "compaction"
    assert message.usage.output_tokens == 0
    assert len(below.asked) == 1


def test_a_summary_that_came_to_nothing_is_said_so_and_the_prompt_stays() -> None:
    below = Below([Says([text("  ")]), Says([text("Yes.")])])
    asked = ask()
    message, _ = run(LAYER, below, asked)
    assert message.content == [CompactionBlock(content=None), text("Yes.")]
    assert below.asked[1] is asked


def test_the_next_request_begins_as_this_answer_did() -> None:
    below = summarising(Says([text("Yes it is.")]))
    asked = ask()
    message, _ = run(LAYER, below, asked)
    blocks = [block.model_dump(mode="json") for block in message.content]
    further = request([user(LONG), assistant(*blocks), user("And now?")])
    read = expanded(further)
    assert read.messages[:1] == below.asked[1].messages
    assert texts(read)[1:] == [("assistant", ["Yes it is."]), ("user", ["And now?"])]
    assert words_in(read) < 50


def test_a_count_triggers_no_summary() -> None:
    below = summarising()
    assert count(LAYER, below, ask()).input_tokens == 50_000
    assert below.asked == []


@pytest.mark.parametrize(
    ("window", "words", "due"),
    [(8_000, 6_000, True), (8_000, 5_999, False), (50_000, 37_500, True), (54_096, 49_999, False)],
)
def test_a_trigger_beyond_the_window_is_three_quarters_of_it(
    window: int, words: int, due: bool
) -> None:
    below = summarising(Says([text("Yes.")]))
    below.window = window
    run(LAYER, below, ask("word " * words))
    assert len(below.asked) == 1 + due


_said = st.lists(
    st.sampled_from(
        [
            text("Short."),
            text(" "),
            ThinkingBlock(thinking="hm", signature=""),
            call("add", a=1),
        ]
    ),
    max_size=3,
)
_stops: st.SearchStrategy[StopReason] = st.sampled_from(["end_turn", "max_tokens", "tool_use"])


@given(st.builds(Says, _said, _stops), st.builds(Says, _said, _stops), st.booleans())
def test_whatever_a_model_says_the_answer_begins_with_its_summary(
    summary: Says, answer: Says, pauses: bool
) -> None:
    below = Below([summary, answer], window=100)
    edit = compact(pause_after_compaction=pauses)
    message, _ = run(LAYER, below, ask("word " * 80, edit, tools=[TOOL]))
    first, *others = message.content
    assert isinstance(first, CompactionBlock)
    written = "".join(block.text for block in summary.content if block.type == "text").strip()
    assert (first.content or "") == written
    assert others == ([] if pauses else list(answer.content))
    assert message.stop_reason == ("compaction" if pauses else answer.stop)
    iterations = message.usage.iterations or []
    own = [i for i in iterations if i.type == "message"]
    assert message.usage.output_tokens == sum(i.output_tokens for i in own)
    assert message.usage.input_tokens == sum(i.input_tokens for i in own)
    assert len(iterations) == len(below.asked) == below.closed == 2 - pauses


# --- tools that were in view ----------------------------------------------------------------------

FIND = {"name": "find", "input_schema": {"type": "object"}}
HIDDEN = [
    {"name": name, "input_schema": {"type": "object"}, "defer_loading": True} for name in "abc"
]


def having_found(*names: str) -> MessagesRequest:
    """A long conversation in which the caller's own search found some tools."""
    references = [{"type": "tool_reference", "tool_name": name} for name in names]
    call = {"type": "tool_use", "id": "toolu_1", "name": "find", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": references}
    return request(
        [user(LONG), assistant(call), user([result])],
        tools=[FIND, *HIDDEN],
        context_management={"edits": [compact()]},
    )


def in_view(prompt: MessagesRequest) -> list[str]:
    return [spec.name for spec in visible(prompt)]


def test_tools_in_view_stay_in_view_behind_a_summary_and_behind_the_next() -> None:
    below = summarising(Says([text("Yes.")]))
    message, _ = run(LAYER, below, having_found("b", "a"))
    answered = below.asked[1]
    assert in_view(answered) == ["find", "b", "a"]
    conversation.check(answered)
    blocks = [block.model_dump(mode="json") for block in message.content]
    tools = [FIND, *HIDDEN]
    read = expanded(request([user(LONG), assistant(*blocks), user(LONG)], tools=tools))
    assert read.messages[: len(answered.messages)] == answered.messages
    again = read.model_copy(update={"context_management": answered.context_management})
    below = summarising(Says([text("Yes.")]))
    run(LAYER, below, again)
    assert below.asked[1].messages == answered.messages


def test_tools_that_are_gone_are_not_brought_back() -> None:
    message, _ = run(LAYER, summarising(Says([text("Yes.")])), having_found("b", "a"))
    block = message.content[0].model_dump(mode="json")
    fewer = [FIND, HIDDEN[0]]
    read = expanded(request([assistant(block), user("On.")], tools=fewer))
    assert in_view(read) == ["find", "a"]
    assert len(expanded(request([assistant(block), user("On.")])).messages) == 2


NESTED = "rg1." + base64.urlsafe_b64encode(b"[" * 100_000).decode()


@pytest.mark.parametrize(
    "said", ["EvAB", "rg1.!", "rg1.\u00e4", "rg1.e30=", "rg1.WzFd", "rg1.W10=", NESTED]
)
def test_what_is_not_ours_brings_nothing_back(said: str) -> None:
    block = {"type": "compaction", "content": "s", "encrypted_content": said}
    read = expanded(request([assistant(block), user("On.")], tools=[FIND, *HIDDEN]))
    assert len(read.messages) == 2


# --- a request that is a compaction ---------------------------------------------------------------


def summarise(**more: Any) -> MessagesRequest:
    return request([user("Long ago.")], compaction={"type": "summarize", **more})


def sent_back(**changes: Any) -> dict[str, Any]:
    message, _ = run(LAYER, summarising(), summarise())
    return message.content[0].model_dump(mode="json") | changes


def test_a_compaction_answers_with_a_signed_block_alone() -> None:
    below = summarising()
    message, _ = run(LAYER, below, summarise(instructions="Briefly."))
    (block,) = message.content
    assert isinstance(block, CompactionBlock)
    assert block.content == "Short, it was."
    assert block.signature
    assert message.stop_reason == "compaction"
    assert texts(below.asked[0]) == [("user", ["Long ago."]), ("user", ["Briefly."])]


def test_a_signed_block_comes_back_first_in_the_place_of_what_it_sums_up() -> None:
    further = request([assistant(sent_back()), user("And now?")])
    check_signed(further, SIGNER)
    assert texts(expanded(further)) == [
        ("user", [SUMMARY.format(summary="Short, it was.")]),
        ("user", ["And now?"]),
    ]


@pytest.mark.parametrize(
    ("messages", "code", "path"),
    [
        (
            lambda: [assistant(sent_back(content="Long, it was."))],
            "compaction_content_mismatch",
            "messages.0.content.0.content",
        ),
        (
            lambda: [assistant(sent_back(signature="EqQBCgIYAh"))],
            "compaction_signature_invalid",
            "messages.0.content.0.signature",
        ),
        (
            lambda: [user("First."), assistant(sent_back())],
            "compaction_block_misplaced",
            "messages.1.content.0",
        ),
        (
            lambda: [assistant(sent_back()), user("Then."), assistant(sent_back())],
            "compaction_block_ambiguous",
            "messages.2.content.0",
        ),
    ],
)
def test_a_signed_block_that_was_changed_or_moved_is_refused_with_the_apis_code(
    messages: Any, code: str, path: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_signed(request([*messages(), user("Go on.")]), SIGNER)
    assert caught.value.code == code
    assert caught.value.message.startswith(f"{path}:")


def test_blocks_without_a_signature_may_stand_anywhere() -> None:
    block = {"type": "compaction", "content": "s"}
    check_signed(request([user("a"), assistant(block), user("b"), assistant(block)]), SIGNER)


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        ([assistant()], "compaction_nothing_to_summarize"),
        (
            [user("Go."), assistant({"type": "tool_use", "id": "t_1", "name": "add", "input": {}})],
            "compaction_incomplete_turn",
        ),
    ],
)
def test_a_conversation_that_cannot_be_summed_up_is_refused_with_the_apis_code(
    messages: list[Any], code: str
) -> None:
    asked = request(messages, tools=[TOOL], compaction={"type": "summarize"})
    with pytest.raises(InvalidRequest) as caught:
        run(LAYER, summarising(), asked)
    assert caught.value.code == code


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("leave_after", [1, 2, 5])
def test_who_leaves_closes_what_runs_below(leave_after: int, whole: bool) -> None:
    below = summarising(Says([text("And so it goes on.")]))
    asked = request([user("hi")], compaction={"type": "summarize"}) if whole else ask()

    async def leave() -> None:
        stream = LAYER(below.ways).stream(asked, Caller(workspace="team", request_id="req_1"))
        async with aclosing(stream) as events:  # type: ignore[type-var]
            for _ in range(leave_after):
                await anext(events)
        assert below.closed == len(below.asked)

    asyncio.run(leave())
