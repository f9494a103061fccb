"""What stands below a layer in these tests: a model that says what it is told, and keeps count."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2
from anthropic.lib.streaming._beta_messages import accumulate_event
from anthropic.types.beta import BetaRawMessageStreamEvent
from pydantic import TypeAdapter

from renga.caller import Caller
from renga.events import (
    BlockDelta,
    BlockStart,
    BlockStop,
    DeltaUsage,
    Ending,
    Event,
    InputJsonDelta,
    MessageDelta,
    MessageStart,
    MessageStop,
    TextDelta,
    ThinkingDelta,
    fold,
    ordered,
)
from renga.layers.base import Layer, Ways
from renga.types import (
    ContentBlock,
    Message,
    MessagesRequest,
    Prompt,
    ScoreRequest,
    Scores,
    StopReason,
    TextBlock,
    TextParam,
    ThinkingBlock,
    ThinkingParam,
    TokenCount,
    ToolResultParam,
    ToolUseBlock,
    ToolUseParam,
    Usage,
)


async def no_score(request: ScoreRequest, caller: Caller) -> Scores:
    """The way of scores, where none is asked for."""
    raise AssertionError("nobody asks for scores here")


@dataclass
class Says:
    """One inference: blocks, and why it ended."""

    content: Sequence[ContentBlock]
    stop: StopReason = "end_turn"


def text(words: str) -> TextBlock:
    return TextBlock(text=words)


def call(name: str, /, **arguments: Any) -> ToolUseBlock:
    return ToolUseBlock(id=f"toolu_{name}", name=name, input=arguments)


@dataclass
class Below:
    """Ways that end here. Tokens are words; `asked` and `callers` are what came down."""

    replies: Sequence[Says] = ()
    window: int = 1_000_000
    asked: list[MessagesRequest] = field(default_factory=list)
    callers: list[Caller] = field(default_factory=list)
    counted: int = 0
    closed: int = 0

    @property
    def ways(self) -> Ways:
        return Ways(self.stream, self.count, lambda _: self.window, no_score)

    async def count(self, prompt: Prompt, caller: Caller) -> TokenCount:
        self.counted += 1
        return TokenCount(input_tokens=words_in(prompt))

    async def stream(self, request: MessagesRequest, caller: Caller) -> AsyncIterator[Event]:
        reply = self.replies[len(self.asked) % len(self.replies)]
        self.asked.append(request)
        self.callers.append(caller)
        try:
            usage = Usage(input_tokens=words_in(request), output_tokens=0)
            yield MessageStart(message=Message(id="", model="", content=[], usage=usage))
            made = 0
            for index, block in enumerate(reply.content):
                for event in events_of(index, block):
                    made += isinstance(event, BlockDelta)
                    yield event
            yield MessageDelta(
                delta=Ending(stop_reason=reply.stop), usage=DeltaUsage(output_tokens=made)
            )
            yield MessageStop()
        finally:
            self.closed += 1


def events_of(index: int, block: ContentBlock) -> list[Event]:
    """A block in pieces of one word, or of some characters of its arguments."""
    match block:
        case TextBlock():
            start: ContentBlock = TextBlock(text="")
            deltas: list[Any] = [
                TextDelta(text=word) for word in re.findall(r"\S+\s*|^\s+", block.text)
            ]
        case ThinkingBlock():
            start = ThinkingBlock(thinking="", signature="")
            deltas = [ThinkingDelta(thinking=block.thinking)]
        case ToolUseBlock():
            start = block.model_copy(update={"input": {}})
            written = json.dumps(block.input)
            parts = ["", *(written[at : at + 5] for at in range(0, len(written), 5))]
            deltas = [InputJsonDelta(partial_json=part) for part in parts]
        case _:
            raise TypeError(block)
    return [
        BlockStart(index=index, content_block=start),
        *(BlockDelta(index=index, delta=delta) for delta in deltas),
        BlockStop(index=index),
    ]


def words_in(prompt: Prompt) -> int:
    """Words of all texts, results, thinking and arguments; a call is one word more."""
    total = 0
    for message in prompt.messages:
        for block in message.content:
            match block:
                case TextParam() | ToolResultParam():
                    total += len(block.text.split())
                case ThinkingParam():
                    total += len(block.thinking.split())
                case ToolUseParam():
                    total += 1 + len(json.dumps(block.input).split())
                case _:
                    raise TypeError(block)
    return total


def run(layer: Layer, below: Below, request: MessagesRequest) -> tuple[Message, list[Event]]:
    """The answer through `layer`, as a message and as its events, in legal order.

    The official package, which accumulates the same events, has to come to the same message.
    """

    async def collect() -> list[Event]:
        stream = layer(below.ways).stream(request, Caller(workspace="team", request_id="req_1"))
        return [event async for event in ordered(stream)]

    events = asyncio.run(collect())
    message = fold(events)
    assert accumulated(events) == message.model_dump(mode="json")
    return message, events


def accumulated(events: Sequence[Event]) -> Any:
    """The message that the official package makes of `events`, its beta fields included."""
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    for event in events:
        snapshot = accumulate_event(
            event=_OFFICIAL.validate_python(event.model_dump(mode="json")),
            current_snapshot=snapshot,
            json_bufs=buffers,
            request_headers=httpx2.Headers(),
        )
    return json.loads(snapshot.to_json(exclude_unset=True))


_OFFICIAL: TypeAdapter[Any] = TypeAdapter(BetaRawMessageStreamEvent)


def count(layer: Layer, below: Below, prompt: Prompt) -> TokenCount:
    """The count through `layer`."""

    async def ask() -> TokenCount:
        return await layer(below.ways).count(prompt, Caller(workspace="team", request_id="req_1"))

    return asyncio.run(ask())


def ids(prefix: str) -> str:
    return f"{prefix}_{next(_NUMBERS)}"


_NUMBERS = iter(range(1, 10**9))


def request(messages: list[dict[str, Any]], **more: Any) -> MessagesRequest:
    body = {"model": "haiku", "max_tokens": 1_000, "messages": messages, **more}
    return MessagesRequest.model_validate(body)


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(*content: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": list(content)}
