"""An answer's text as blocks: legal, as the official SDK builds it, and the same however cut."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import RawMessageStreamEvent
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from renga.chat.forms import FORMS
from renga.chat.writing import Writer
from renga.events import (
    BlockDelta,
    BlockStart,
    DeltaUsage,
    Ending,
    Event,
    InputJsonDelta,
    MessageDelta,
    MessageStart,
    MessageStop,
    TextDelta,
    TokenLogprob,
    fold,
)
from renga.types import Message, StopReason, ToolUseBlock, Usage

CALL = (
    '<tool_call>\n{"name":"add","arguments":{"a":17,"b":"\\"x\\" \\ud83e\\udd8a ü"}}\n</tool_call>'
)
ADD = ("tool_use", "add", {"a": 17, "b": '"x" 🦊 ü'})
SCRAPS = [CALL, "<tool_call>", '{"name":"f",', '"arguments":{"a":[1', "}}", "So. ", "\n\n", "🦊<to"]

# What a model writes, thinking and answer in turn, and how each is cut.
scripts = st.lists(
    st.tuples(st.booleans(), st.lists(st.sampled_from(SCRAPS), max_size=5).map("".join)),
    max_size=4,
)
reasons: Any = st.sampled_from(["end_turn", "max_tokens", "stop_sequence"])


def write(
    script: list[tuple[bool, str]],
    reason: StopReason = "end_turn",
    toolsets: dict[str, str] | None = None,
) -> list[Event]:
    """The events of a whole answer whose pieces are `script`: thinking or not, and text."""
    numbers = itertools.count(1)
    writer = Writer(lambda prefix: f"{prefix}_{next(numbers)}", FORMS[0], toolsets)
    usage = Usage(input_tokens=1, output_tokens=0)
    events: list[Event] = [MessageStart(message=Message(id="", model="", content=[], usage=usage))]
    for thinks, text in script:
        events += writer.thinking(text) if thinks else writer.text(text)
    events += writer.finish(reason)
    ending = Ending(stop_reason=writer.reason(reason))
    return [*events, MessageDelta(delta=ending, usage=DeltaUsage(output_tokens=3)), MessageStop()]


def blocks(events: list[Event]) -> list[tuple[Any, ...]]:
    shown: list[tuple[Any, ...]] = []
    for block in fold(events).content:
        match block.type:
            case "tool_use":
                shown.append(("tool_use", block.name, block.input))
            case "thinking":
                shown.append(("thinking", block.thinking))
            case "text":
                shown.append(("text", block.text))
            case _:
                raise AssertionError(f"nobody writes a {block.type}")
    return shown


# --- any text -------------------------------------------------------------------------------------


@settings(deadline=None)
@given(scripts, reasons, st.data())
def test_cuts_change_no_block(script: list[tuple[bool, str]], reason: Any, data: Any) -> None:
    cut = [
        (thinks, text[begin:end])
        for thinks, text in script
        for begin, end in itertools.pairwise(
            [0, *sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5))), len(text)]
        )
    ]
    one, other = fold(write(script, reason)), fold(write(cut, reason))
    assert one == other


@settings(deadline=None, max_examples=50)
@given(scripts, reasons)
def test_the_official_sdk_builds_the_same_message(
    script: list[tuple[bool, str]], reason: Any
) -> None:
    cut = [(thinks, text[i : i + 9]) for thinks, text in script for i in range(0, len(text), 9)]
    events = write(cut, reason)
    adapter: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    for event in events:
        raw = adapter.validate_python(event.model_dump(mode="json"))
        snapshot = accumulate_event(event=raw, current_snapshot=snapshot, json_bufs=buffers)
    theirs = snapshot.model_dump(mode="json", exclude_none=True)
    ours = fold(events).model_dump(mode="json", exclude_none=True)
    assert theirs["content"] == ours["content"]
    assert theirs["stop_reason"] == ours["stop_reason"]


@settings(deadline=None)
@given(scripts, reasons)
def test_no_block_is_empty_and_each_call_begins_with_an_empty_piece(
    script: list[tuple[bool, str]], reason: Any
) -> None:
    events = write(script, reason)
    for before, event in itertools.pairwise(events):
        if isinstance(before, BlockStart):
            assert isinstance(event, BlockDelta)
            if isinstance(before.content_block, ToolUseBlock):
                assert event.delta == InputJsonDelta(partial_json="")
    for kind, said, *_ in blocks(events):
        assert kind == "tool_use" or said.strip()


# --- blocks ---------------------------------------------------------------------------------------


def test_thinking_text_and_calls_are_blocks_in_their_order() -> None:
    script = [(True, "\nI add."), (False, "\n\nI'll add.\n"), (False, f"{CALL}\n{CALL}\n")]
    events = write(script)
    assert blocks(events) == [("thinking", "I add."), ("text", "I'll add."), ADD, ADD]
    ids = [b.id for b in fold(events).content if isinstance(b, ToolUseBlock)]
    assert ids == ["toolu_1", "toolu_2"]
    assert fold(events).stop_reason == "tool_use"


def test_thinking_of_white_space_is_none() -> None:
    assert blocks(write([(True, "\n"), (True, "\n"), (False, "\n\nHi \n")])) == [("text", "Hi \n")]
    assert fold(write([(True, " "), (False, "\n")])).content == []


def test_the_white_space_of_an_answer_without_calls_and_thinking_is_its_own() -> None:
    writer = Writer(lambda prefix: prefix)
    events = [*writer.text("\n\nHi "), *writer.text(CALL), *writer.finish("end_turn")]
    deltas = [e.delta for e in events if isinstance(e, BlockDelta)]
    assert deltas == [TextDelta(text="\n\nHi "), TextDelta(text=CALL)]
    assert writer.reason("end_turn") == "end_turn"


@pytest.mark.parametrize(
    ("end", "shown"),
    [
        ('"arguments":{', {}),
        ('"arguments":{"a":1', {"a": 1}),
        ('"arguments":{"a":17,"b":"\\"x\\" ', {"a": 17}),
    ],
)
def test_a_call_that_is_cut_has_the_input_that_is_certain(end: str, shown: Any) -> None:
    text = CALL[: CALL.index(end) + len(end)]
    message = fold(write([(False, text)], "max_tokens"))
    assert [(b.name, b.input) for b in message.content if isinstance(b, ToolUseBlock)] == [
        ("add", shown)
    ]
    assert message.stop_reason == "max_tokens"


def test_a_call_that_is_cut_before_its_input_is_no_block() -> None:
    text = 'So.\n<tool_call>\n{"name":"add","arg'
    assert blocks(write([(False, text)], "max_tokens")) == [("text", "So.\n")]


def test_a_call_of_a_toolsets_member_names_the_set() -> None:
    (block,) = fold(write([(False, CALL)], toolsets={"add": "computer"})).content
    assert isinstance(block, ToolUseBlock)
    assert block.toolset_name == "computer"


def test_scores_go_with_the_text_that_their_tokens_brought() -> None:
    scores = [TokenLogprob(data=str(n).encode(), logprob=-1.0) for n in range(4)]
    writer = Writer(lambda prefix: prefix, FORMS[0])
    events = [
        *writer.text("Hi ", (scores[0], scores[1])),
        *writer.text(" <", (scores[2],)),
        *writer.text(" all", (scores[3],)),
        *writer.finish("end_turn"),
    ]
    found = [e.delta for e in events if isinstance(e, BlockDelta)]
    assert found == [
        TextDelta(text="Hi", logprobs=(scores[0], scores[1])),
        TextDelta(text="  < all", logprobs=(scores[2], scores[3])),
    ]
