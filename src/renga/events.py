"""The events of a stream: their types, their legal order, and the fold into a message.

Owns two rules: the order of events is the table `ORDER`, checked on every stream in production by
`Order`; and a message is `fold(events)`, so that streaming and non-streaming cannot differ. Knows
nothing of SSE, backends or the ledger. Source: claude-api section 6; the official SDK's accumulator
is the oracle of `fold`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from typing import Annotated, Any, Literal, assert_never

from jiter import from_json
from pydantic import Field

from renga.errors import ApiError
from renga.types import (
    AppliedEdits,
    Citation,
    CompactionBlock,
    ContentBlock,
    Count,
    Iteration,
    Message,
    OutputDetails,
    RedactedThinkingBlock,
    RefusalDetails,
    ServerToolUseBlock,
    StopReason,
    TextBlock,
    ThinkingBlock,
    ToolSearchResultBlock,
    ToolUseBlock,
    Usage,
    Wire,
    absent,
)


class Candidate(Wire):
    """A token's bytes and its natural log probability, before temperature and masks."""

    data: bytes
    logprob: float


class TokenLogprob(Candidate):
    """A token of the text, and the likeliest ones at its place."""

    top: tuple[Candidate, ...] = ()


class TextDelta(Wire):
    """More text of a text block.

    `logprobs` are there where a `TunedRequest` asked for them: of the tokens that brought this
    text, special ones left out. The Messages API has no such field, so it is never written there.
    """

    type: Literal["text_delta"] = "text_delta"
    text: str
    logprobs: Annotated[tuple[TokenLogprob, ...] | None, Field(exclude=True)] = None


class InputJsonDelta(Wire):
    """More of a tool call's input, as JSON text."""

    type: Literal["input_json_delta"] = "input_json_delta"
    partial_json: str


class ThinkingDelta(Wire):
    """More text of a thinking block."""

    type: Literal["thinking_delta"] = "thinking_delta"
    thinking: str


class SignatureDelta(Wire):
    """The signature of a thinking block, once, last."""

    type: Literal["signature_delta"] = "signature_delta"
    signature: str


class CitationsDelta(Wire):
    """One more citation of a text block."""

    type: Literal["citations_delta"] = "citations_delta"
    citation: Citation


class CompactionDelta(Wire):
    """The summary of a compaction block, whole."""

    type: Literal["compaction_delta"] = "compaction_delta"
    content: str | None
    encrypted_content: str | None = None


Delta = Annotated[
    TextDelta | InputJsonDelta | ThinkingDelta | SignatureDelta | CitationsDelta | CompactionDelta,
    Field(discriminator="type"),
]


class MessageStart(Wire):
    """The first event: the message without content, with the size of the prompt."""

    type: Literal["message_start"] = "message_start"
    message: Message


class BlockStart(Wire):
    """A block opens; indices rise from 0 without gaps."""

    type: Literal["content_block_start"] = "content_block_start"
    index: int
    content_block: ContentBlock


class BlockDelta(Wire):
    """More of the open block."""

    type: Literal["content_block_delta"] = "content_block_delta"
    index: int
    delta: Delta


class BlockStop(Wire):
    """The open block is complete."""

    type: Literal["content_block_stop"] = "content_block_stop"
    index: int


class Ending(Wire):
    """Why the message ended."""

    stop_reason: StopReason
    stop_sequence: str | None = None
    stop_details: RefusalDetails | None = None
    container: None = None


class DeltaUsage(Wire):
    """Cumulative totals; they replace those of message_start."""

    output_tokens: Count
    input_tokens: Count | None = None
    cache_creation_input_tokens: Count | None = None
    cache_read_input_tokens: Count | None = None
    output_tokens_details: OutputDetails | None = None
    iterations: list[Iteration] | None = Field(default=None, exclude_if=absent)


class MessageDelta(Wire):
    """The end of the message: reason and final usage, and what was left out of the prompt."""

    type: Literal["message_delta"] = "message_delta"
    delta: Ending
    usage: DeltaUsage
    context_management: AppliedEdits | None = Field(default=None, exclude_if=absent)


class MessageStop(Wire):
    """The last event."""

    type: Literal["message_stop"] = "message_stop"


class Ping(Wire):
    """Nothing happened, the connection lives."""

    type: Literal["ping"] = "ping"


Event = Annotated[
    MessageStart | BlockStart | BlockDelta | BlockStop | MessageDelta | MessageStop | Ping,
    Field(discriminator="type"),
]

State = Literal["start", "message", "block", "ending", "done"]

# state -> event type -> next state. What is not here is illegal.
ORDER: dict[State, dict[str, State]] = {
    "start": {"message_start": "message", "ping": "start"},
    "message": {"content_block_start": "block", "message_delta": "ending", "ping": "message"},
    "block": {"content_block_delta": "block", "content_block_stop": "message", "ping": "block"},
    "ending": {"message_stop": "done", "ping": "ending"},
    "done": {},
}

DELTAS_OF: dict[str, frozenset[str]] = {
    "text": frozenset({"text_delta", "citations_delta"}),
    "thinking": frozenset({"thinking_delta", "signature_delta"}),
    "tool_use": frozenset({"input_json_delta"}),
    "redacted_thinking": frozenset(),
    "server_tool_use": frozenset({"input_json_delta"}),
    "tool_search_tool_result": frozenset(),
    "compaction": frozenset({"compaction_delta"}),
}


class OrderError(ApiError):
    """A backend broke the order of events: our side's fault, never the caller's."""


class Order:
    """The state machine over one stream. `see` raises OrderError at the first illegal event."""

    def __init__(self) -> None:
        self.state: State = "start"
        self._blocks = 0
        self._open = ""

    def see(self, event: Event) -> None:
        """Check `event` against the table and move on."""
        following = ORDER[self.state].get(event.type)
        if following is None:
            legal = ", ".join(sorted(ORDER[self.state])) or "nothing"
            raise OrderError(f"event {event.type} in state '{self.state}'; legal here: {legal}")
        # Most events are deltas, and asking what a model's instance is not costs a call of Python.
        if event.type == "content_block_delta":
            self._check_index(event, self._blocks - 1)
            if event.delta.type not in DELTAS_OF[self._open]:
                raise OrderError(f"{event.delta.type} in a block of type {self._open}")
        elif event.type == "content_block_start":
            self._check_index(event, self._blocks)
            self._blocks += 1
            self._open = event.content_block.type
        elif event.type == "content_block_stop":
            self._check_index(event, self._blocks - 1)
        self.state = following

    def _check_index(self, event: BlockStart | BlockDelta | BlockStop, expected: int) -> None:
        if event.index != expected:
            raise OrderError(f"{event.type} has index {event.index}; expected {expected}")

    def end(self) -> None:
        """The stream ended: legal only after message_stop."""
        if self.state != "done":
            raise OrderError(f"the stream ended in state '{self.state}', before message_stop")


async def ordered(events: AsyncIterator[Event]) -> AsyncIterator[Event]:
    """Pass `events` on, each checked; closing this closes the source."""
    order = Order()
    async with aclosing(events) as source:  # type: ignore[type-var]
        async for event in source:
            order.see(event)
            yield event
    order.end()


class Fold:
    """The message so far. Feed events with `see`; `message()` gives what they amount to."""

    def __init__(self) -> None:
        self._start: Message | None = None
        self._blocks: list[ContentBlock] = []
        self._pieces: list[str] = []
        self._signature = ""
        self._citations: list[Citation] = []
        self._ending: MessageDelta | None = None

    def see(self, event: Event) -> None:
        """Take one event. Assumes legal order (see `Order`)."""
        match event:
            case BlockDelta():  # first, as most are
                self._see_delta(event.delta)
            case MessageStart():
                self._start = event.message
            case BlockStart():
                self._blocks.append(event.content_block)
                self._pieces, self._signature, self._citations = [], "", []
            case BlockStop():
                self._blocks[-1] = self._closed(self._blocks[-1])
                self._pieces, self._signature, self._citations = [], "", []
            case MessageDelta():
                self._ending = event
            case MessageStop() | Ping():
                pass
            case _:
                assert_never(event)

    def _see_delta(self, delta: Delta) -> None:
        match delta:
            case TextDelta():
                self._pieces.append(delta.text)
            case ThinkingDelta():
                self._pieces.append(delta.thinking)
            case InputJsonDelta():
                self._pieces.append(delta.partial_json)
            case SignatureDelta():
                self._signature = delta.signature
            case CitationsDelta():
                self._citations.append(delta.citation)
            case CompactionDelta():
                self._see_compaction(delta)
            case _:
                assert_never(delta)

    def _see_compaction(self, delta: CompactionDelta) -> None:
        given = {"content": delta.content, "encrypted_content": delta.encrypted_content}
        self._blocks[-1] = self._blocks[-1].model_copy(
            update={name: value for name, value in given.items() if value is not None}
        )

    def _closed(self, block: ContentBlock) -> ContentBlock:
        piece = "".join(self._pieces)
        match block:
            case TextBlock():
                found = [*(block.citations or ()), *self._citations] or block.citations
                return block.model_copy(update={"text": block.text + piece, "citations": found})
            case ThinkingBlock():
                signature = self._signature or block.signature
                return block.model_copy(
                    update={"thinking": block.thinking + piece, "signature": signature}
                )
            case ToolUseBlock() | ServerToolUseBlock():
                # Of a call that was cut, as much as was written, as the SDK reads it.
                said = from_json(piece.encode(), partial_mode=True) if piece else block.input
                return block.model_copy(update={"input": said})
            case RedactedThinkingBlock() | ToolSearchResultBlock() | CompactionBlock():
                return block
            case _:
                assert_never(block)

    def message(self) -> Message:
        """The message that the events seen so far amount to."""
        if self._start is None:
            raise OrderError("no message_start was seen")
        open_pieces = bool(self._pieces or self._signature or self._citations)
        blocks = self._blocks
        if open_pieces and blocks and not isinstance(blocks[-1], ToolUseBlock | ServerToolUseBlock):
            blocks = [*blocks[:-1], self._closed(blocks[-1])]
        changes: dict[str, Any] = {"content": list(blocks)}
        if self._ending is not None:
            changes["stop_reason"] = self._ending.delta.stop_reason
            changes["stop_sequence"] = self._ending.delta.stop_sequence
            changes["stop_details"] = self._ending.delta.stop_details
            changes["usage"] = final_usage(self._start.usage, self._ending.usage)
            edits = self._ending.context_management
            changes["context_management"] = edits or self._start.context_management
        return self._start.model_copy(update=changes)


def final_usage(start: Usage, end: DeltaUsage) -> Usage:
    """Cumulative totals of message_delta replace those of message_start; what is absent stays."""
    given = {k: v for k in DeltaUsage.model_fields if (v := getattr(end, k)) is not None}
    return start.model_copy(update=given)


def fold(events: Iterable[Event]) -> Message:
    """The message that a whole, legal list of events amounts to."""
    folding, order = Fold(), Order()
    for event in events:
        order.see(event)
        folding.see(event)
    order.end()
    return folding.message()


async def fold_stream(events: AsyncIterator[Event], *, checked: bool = False) -> Message:
    """`fold` over a live stream; closes it. `checked`: its order was, as the gateway's is."""
    folding = Fold()
    async with aclosing(events if checked else ordered(events)) as source:  # type: ignore[type-var]
        async for event in source:
            folding.see(event)
    return folding.message()
