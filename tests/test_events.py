"""The order of events and the fold. Its oracle, the SDK's accumulator, is in tests/sdks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renga.events import (
    DELTAS_OF,
    ORDER,
    BlockDelta,
    BlockStart,
    BlockStop,
    CompactionDelta,
    Delta,
    DeltaUsage,
    Ending,
    Event,
    Fold,
    InputJsonDelta,
    MessageDelta,
    MessageStart,
    MessageStop,
    Order,
    OrderError,
    Ping,
    SignatureDelta,
    TextDelta,
    ThinkingDelta,
    fold,
    fold_stream,
    ordered,
)
from renga.types import (
    AppliedEdits,
    ClearedThinking,
    CompactionBlock,
    ContentBlock,
    FoundToolsBlock,
    Message,
    RedactedThinkingBlock,
    ServerToolUseBlock,
    TextBlock,
    ThinkingBlock,
    ToolReferenceBlock,
    ToolSearchResultBlock,
    ToolUseBlock,
    Usage,
)

START = MessageStart(
    message=Message(id="msg_1", model="m", content=[], usage=Usage(input_tokens=7, output_tokens=1))
)
END = MessageDelta(
    delta=Ending(stop_reason="end_turn"), usage=DeltaUsage(output_tokens=3, input_tokens=7)
)
SEARCH = ServerToolUseBlock(id="srvtoolu_1", name="tool_search_tool_bm25", input={"query": "sum"})
FOUND = ToolSearchResultBlock(
    tool_use_id="srvtoolu_1",
    content=FoundToolsBlock(tool_references=[ToolReferenceBlock(tool_name="add")]),
)
EXAMPLES: dict[str, Event] = {
    "message_start": START,
    "content_block_start": BlockStart(index=0, content_block=TextBlock(text="")),
    "content_block_delta": BlockDelta(index=0, delta=TextDelta(text="a")),
    "content_block_stop": BlockStop(index=0),
    "message_delta": END,
    "message_stop": MessageStop(),
    "ping": Ping(),
}
# The shortest legal way into each state.
WAYS: dict[str, list[str]] = {
    "start": [],
    "message": ["message_start"],
    "block": ["message_start", "content_block_start"],
    "ending": ["message_start", "message_delta"],
    "done": ["message_start", "message_delta", "message_stop"],
}
ILLEGAL = [
    (state, kind) for state, legal in ORDER.items() for kind in EXAMPLES if kind not in legal
]


def text_events(*pieces: str) -> list[Event]:
    """A whole stream of one text block."""
    deltas: list[Event] = [BlockDelta(index=0, delta=TextDelta(text=p)) for p in pieces]
    start = BlockStart(index=0, content_block=TextBlock(text=""))
    return [START, start, *deltas, BlockStop(index=0), END, MessageStop()]


@pytest.mark.parametrize(("state", "kind"), ILLEGAL)
def test_each_illegal_event_is_refused_in_each_state(state: str, kind: str) -> None:
    order = Order()
    for step in WAYS[state]:
        order.see(EXAMPLES[step])
    assert order.state == state
    with pytest.raises(OrderError, match=kind):
        order.see(EXAMPLES[kind])
    assert order.state == state


@pytest.mark.parametrize("index", [0, 2, -1])
def test_block_indices_rise_by_one(index: int) -> None:
    order = Order()
    for event in text_events("a")[:4]:
        order.see(event)
    with pytest.raises(OrderError, match="index"):
        order.see(BlockStart(index=index, content_block=TextBlock(text="")))


@pytest.mark.parametrize("block", list(DELTAS_OF))
def test_a_delta_of_another_blocks_type_is_refused(block: str) -> None:
    blocks: dict[str, ContentBlock] = {
        "text": TextBlock(text=""),
        "thinking": ThinkingBlock(thinking="", signature=""),
        "tool_use": ToolUseBlock(id="t", name="n", input={}),
        "redacted_thinking": RedactedThinkingBlock(data="x"),
        "server_tool_use": SEARCH,
        "tool_search_tool_result": FOUND,
        "compaction": CompactionBlock(),
    }
    deltas: list[Delta] = [
        TextDelta(text="a"),
        ThinkingDelta(thinking="a"),
        SignatureDelta(signature="a"),
        InputJsonDelta(partial_json="{}"),
        CompactionDelta(content="a"),
    ]
    for delta in deltas:
        order = Order()
        order.see(START)
        order.see(BlockStart(index=0, content_block=blocks[block]))
        if delta.type in DELTAS_OF[block]:
            order.see(BlockDelta(index=0, delta=delta))
        else:
            with pytest.raises(OrderError, match="block of type"):
                order.see(BlockDelta(index=0, delta=delta))


@pytest.mark.parametrize("cut", range(6))
def test_a_stream_that_ends_early_is_an_error(cut: int) -> None:
    with pytest.raises(OrderError, match="before message_stop"):
        fold(text_events("a")[:cut])


@given(st.lists(st.text(), max_size=20))
def test_any_split_of_a_text_folds_to_the_same_message(pieces: list[str]) -> None:
    message = fold(text_events(*pieces))
    assert message.content == [TextBlock(text="".join(pieces))]
    assert message.usage.output_tokens == 3
    assert message.stop_reason == "end_turn"


JSON = st.dictionaries(st.text(), st.integers() | st.text() | st.lists(st.booleans()))


@given(value=JSON, data=st.data())
def test_any_split_of_a_tool_input_folds_to_the_same_value(
    value: dict[str, object], data: st.DataObject
) -> None:
    text = json.dumps(value)
    cut = data.draw(st.integers(0, len(text)))
    events: list[Event] = [
        START,
        BlockStart(index=0, content_block=ToolUseBlock(id="t", name="n", input={})),
        BlockDelta(index=0, delta=InputJsonDelta(partial_json=text[:cut])),
        BlockDelta(index=0, delta=InputJsonDelta(partial_json=text[cut:])),
        BlockStop(index=0),
        END,
        MessageStop(),
    ]
    block = fold(events).content[0]
    assert isinstance(block, ToolUseBlock)
    assert block.input == value


def test_thinking_keeps_its_signature() -> None:
    events: list[Event] = [
        START,
        BlockStart(index=0, content_block=ThinkingBlock(thinking="", signature="")),
        BlockDelta(index=0, delta=ThinkingDelta(thinking="hm")),
        BlockDelta(index=0, delta=SignatureDelta(signature="sig")),
        BlockStop(index=0),
        END,
        MessageStop(),
    ]
    assert fold(events).content == [ThinkingBlock(thinking="hm", signature="sig")]


def test_a_message_can_be_looked_at_before_its_end() -> None:
    folding = Fold()
    for event in text_events("par", "tial")[:4]:
        folding.see(event)
    assert folding.message().content == [TextBlock(text="partial")]
    assert folding.message().stop_reason is None


def test_usage_of_the_start_survives_what_the_end_leaves_out() -> None:
    end = END.model_copy(update={"usage": DeltaUsage(output_tokens=9)})
    message = fold([START, end, MessageStop()])
    assert (message.usage.input_tokens, message.usage.output_tokens) == (7, 9)


class Source:
    """An async source that knows whether it was closed."""

    def __init__(self, events: list[Event]) -> None:
        self.events, self.closed = events, False

    async def stream(self) -> AsyncIterator[Event]:
        try:
            for event in self.events:
                yield event
        finally:
            self.closed = True


def test_closing_an_ordered_stream_closes_its_source_at_once() -> None:
    async def leave() -> bool:
        source = Source(text_events("a", "b"))
        stream = ordered(source.stream())
        await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]
        return source.closed

    assert asyncio.run(leave())


def test_a_live_stream_is_folded_and_closed_also_where_its_order_is_wrong() -> None:
    good, bad = Source(text_events("a")), Source(text_events("a")[::-1])
    assert asyncio.run(fold_stream(ordered(good.stream()))) == fold(good.events)
    assert good.closed
    with pytest.raises(OrderError):
        asyncio.run(fold_stream(ordered(bad.stream())))
    assert bad.closed


def test_what_the_server_did_arrives_whole() -> None:
    events: list[Event] = [START]
    blocks: list[ContentBlock] = [SEARCH, FOUND]
    for index, block in enumerate(blocks):
        events += [BlockStart(index=index, content_block=block), BlockStop(index=index)]
    assert fold([*events, END, MessageStop()]).content == [SEARCH, FOUND]


def test_a_compaction_comes_in_one_delta() -> None:
    events: list[Event] = [
        START,
        BlockStart(index=0, content_block=CompactionBlock(signature="s")),
        BlockDelta(index=0, delta=CompactionDelta(content="so far")),
        BlockStop(index=0),
    ]
    message = fold([*events, END, MessageStop()])
    assert message.content == [CompactionBlock(content="so far", signature="s")]


def test_edits_of_the_context_are_told_at_the_end_and_else_not_mentioned() -> None:
    assert "context_management" not in fold(text_events("a")).model_dump(mode="json")
    cleared = ClearedThinking(cleared_input_tokens=9, cleared_thinking_turns=1)
    end = END.model_copy(update={"context_management": AppliedEdits(applied_edits=[cleared])})
    told = fold([START, end, MessageStop()]).model_dump(mode="json")["context_management"]
    assert told["applied_edits"] == [cleared.model_dump()]
