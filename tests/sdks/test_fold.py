"""Our fold of a stream against the newest SDK's accumulation of the bytes that we send for it."""

from __future__ import annotations

import json
from typing import Any

import anthropic
from anthropic._streaming import SSEDecoder
from anthropic.lib.streaming._messages import accumulate_event
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from renga.events import (
    BlockDelta,
    BlockStart,
    BlockStop,
    Delta,
    DeltaUsage,
    Ending,
    Event,
    InputJsonDelta,
    MessageDelta,
    MessageStart,
    MessageStop,
    Ping,
    SignatureDelta,
    TextDelta,
    ThinkingDelta,
    fold,
)
from renga.http.sse import encode
from renga.types import (
    ContentBlock,
    Message,
    OutputDetails,
    RedactedThinkingBlock,
    StopReason,
    TextBlock,
    ThinkingBlock,
    ToolUseBlock,
    Usage,
)
from tests.sdks.releases import RELEASES

Block = tuple[ContentBlock, list[Delta]]

counts = st.integers(0, 10**6)
words = st.text(max_size=12)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@st.composite
def pieces_of(draw: st.DrawFn, text: str) -> list[str]:
    """`text` in pieces, some of them empty."""
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=5)))
    ends = [0, *cuts, len(text)]
    return [text[a:b] for a, b in zip(ends, ends[1:], strict=False)]


@st.composite
def text_blocks(draw: st.DrawFn) -> Block:
    return TextBlock(text=""), [TextDelta(text=piece) for piece in draw(st.lists(words))]


@st.composite
def thinking_blocks(draw: st.DrawFn) -> Block:
    deltas: list[Delta] = [ThinkingDelta(thinking=piece) for piece in draw(st.lists(words))]
    return ThinkingBlock(thinking="", signature=""), [
        *deltas,
        SignatureDelta(signature=draw(words)),
    ]


@st.composite
def redacted_blocks(draw: st.DrawFn) -> Block:
    return RedactedThinkingBlock(data=draw(words)), []


@st.composite
def tool_blocks(draw: st.DrawFn) -> Block:
    value = draw(st.dictionaries(words, json_values, max_size=4))
    said = bool(value) or draw(st.booleans())  # a call without arguments may send no JSON at all
    text = json.dumps(value, ensure_ascii=False) if said else ""
    pieces = ["", *draw(pieces_of(text))]
    start = ToolUseBlock(id="toolu_1", name="look", input={})
    return start, [InputJsonDelta(partial_json=piece) for piece in pieces]


@st.composite
def streams(draw: st.DrawFn) -> list[Event]:
    """Any legal list of events."""
    kinds = text_blocks() | thinking_blocks() | redacted_blocks() | tool_blocks()
    usage = Usage(
        input_tokens=draw(counts),
        cache_read_input_tokens=draw(counts),
        cache_creation_input_tokens=draw(counts),
        output_tokens=draw(counts),
    )
    start = Message(id="msg_1", model="renga-haiku-1", content=[], usage=usage)
    events: list[Event] = [MessageStart(message=start)]
    for index, (block, deltas) in enumerate(draw(st.lists(kinds, max_size=4))):
        events.append(BlockStart(index=index, content_block=block))
        events += [BlockDelta(index=index, delta=delta) for delta in deltas]
        events.append(BlockStop(index=index))
    events += [draw(endings()), MessageStop()]
    for at in draw(st.lists(st.integers(0, len(events) - 1), max_size=3)):
        events.insert(at, Ping())
    return events


REASONS: list[StopReason] = ["end_turn", "max_tokens", "stop_sequence", "tool_use", "refusal"]


@st.composite
def endings(draw: st.DrawFn) -> MessageDelta:
    maybe = st.none() | counts
    details = st.none() | st.builds(OutputDetails, thinking_tokens=counts)
    return MessageDelta(
        delta=Ending(
            stop_reason=draw(st.sampled_from(REASONS)), stop_sequence=draw(st.none() | words)
        ),
        usage=DeltaUsage(
            output_tokens=draw(counts),
            input_tokens=draw(maybe),
            cache_creation_input_tokens=draw(maybe),
            cache_read_input_tokens=draw(maybe),
            output_tokens_details=draw(details),
        ),
    )


def accumulated(chunks: list[bytes]) -> Any:
    """What the SDK makes of these bytes, by its own decoder and its own accumulation."""
    adapter: TypeAdapter[Any] = TypeAdapter(anthropic.types.RawMessageStreamEvent)
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    for sent in SSEDecoder().iter_bytes(iter(chunks)):
        if sent.event == "ping":
            continue
        event = adapter.validate_python(sent.json())
        snapshot = accumulate_event(event=event, current_snapshot=snapshot, json_bufs=buffers)
    return snapshot


def test_the_oracle_is_the_newest_release() -> None:
    assert anthropic.__version__ == RELEASES[-1]


@settings(max_examples=200, deadline=None)
@given(events=streams(), data=st.data())
def test_the_fold_is_what_the_sdk_accumulates_from_our_bytes(
    events: list[Event], data: st.DataObject
) -> None:
    wire = b"".join(encode(event) for event in events)
    size = data.draw(st.integers(1, 300), label="bytes at a time")
    theirs = accumulated([wire[at : at + size] for at in range(0, len(wire), size)])
    ours = json.loads(fold(events).model_dump_json())
    assert json.loads(theirs.to_json(exclude_unset=True)) == ours
