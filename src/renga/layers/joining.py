"""One message out of several inferences: their blocks in a row, their tokens added up.

Owns the numbering of blocks across inferences, and the usage of such a message: its totals are
those of the inferences that wrote the answer, a summary's tokens stand in `iterations` alone. Knows
no layer's reasons to ask again.

Source: the docstrings of `usage.iterations` in the official `anthropic` package, 2.12.
"""

from __future__ import annotations

from typing import Literal

from renga.events import (
    BlockDelta,
    BlockStart,
    BlockStop,
    Delta,
    DeltaUsage,
    Ending,
    Event,
    Fold,
    MessageDelta,
    MessageStart,
    MessageStop,
    OrderError,
    Ping,
    final_usage,
)
from renga.types import (
    ContentBlock,
    Iteration,
    MessageParam,
    OutputDetails,
    Usage,
)


class Joined:
    """A message in the making. What its methods return are the events that go out.

    `ending` is why the inference ended that ended last.
    """

    def __init__(self) -> None:
        self._fold = Fold()
        self._started = False
        self._blocks = 0
        self._usage: Usage | None = None
        self.ending: Ending | None = None
        self._ended: list[tuple[Literal["message", "compaction"], Usage]] = []

    @property
    def content(self) -> list[ContentBlock]:
        """The blocks so far."""
        return self._fold.message().content

    @property
    def output_tokens(self) -> int:
        """Tokens of the answer so far, of inferences that ended."""
        return sum(usage.output_tokens for kind, usage in self._ended if kind == "message")

    def take(self, event: Event) -> list[Event]:
        """What goes out for an event of an inference that is a part of the answer."""
        match event:
            case MessageStart():
                return self.begin(event)
            case BlockStart():
                return [self.open(event.content_block)]
            case BlockDelta():
                return [self.add(event.delta)]
            case BlockStop():
                return [self.close()]
            case MessageDelta():
                self.end(event)
                return []
            case MessageStop():
                return []
            case Ping():
                return [event]

    def begin(self, event: MessageStart, *, shown: Usage | None = None) -> list[Event]:
        """An inference begins; the message does with the first, saying its usage, or `shown`."""
        self._usage = event.message.usage
        if self._started:
            return []
        self._started = True
        changes = {"usage": shown or event.message.usage}
        message = event.message.model_copy(update=changes)
        return [self._seen(MessageStart(message=message))]

    def open(self, block: ContentBlock) -> Event:
        """A block opens, with the next number."""
        self._blocks += 1
        return self._seen(BlockStart(index=self._blocks - 1, content_block=block))

    def add(self, delta: Delta) -> Event:
        """More of the open block."""
        return self._seen(BlockDelta(index=self._blocks - 1, delta=delta))

    def close(self) -> Event:
        """The open block is complete."""
        return self._seen(BlockStop(index=self._blocks - 1))

    def end(self, event: MessageDelta, kind: Literal["message", "compaction"] = "message") -> None:
        """The inference that began last ended with `event`."""
        if self._usage is None:
            raise OrderError("an inference ended that had not begun")
        self._ended.append((kind, final_usage(self._usage, event.usage)))
        self.ending = event.delta

    def finish(self, ending: Ending) -> list[Event]:
        """The message ends."""
        return [MessageDelta(delta=ending, usage=self._totals()), MessageStop()]

    def _seen(self, event: Event) -> Event:
        self._fold.see(event)
        return event

    def _totals(self) -> DeltaUsage:
        own = [usage for kind, usage in self._ended if kind == "message"]
        details = [u.output_tokens_details for u in own if u.output_tokens_details is not None]
        thought = OutputDetails(thinking_tokens=sum(d.thinking_tokens for d in details))
        return DeltaUsage(
            output_tokens=sum(u.output_tokens for u in own),
            input_tokens=sum(u.input_tokens for u in own),
            cache_creation_input_tokens=sum(u.cache_creation_input_tokens for u in own),
            cache_read_input_tokens=sum(u.cache_read_input_tokens for u in own),
            output_tokens_details=thought if details else None,
            iterations=self._iterations() if len(self._ended) > len(own) or len(own) > 1 else None,
        )

    def _iterations(self) -> list[Iteration]:
        return [
            Iteration(
                type=kind,
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                cache_creation_input_tokens=usage.cache_creation_input_tokens,
                cache_read_input_tokens=usage.cache_read_input_tokens,
                cache_creation=usage.cache_creation,
            )
            for kind, usage in self._ended
        ]


def as_sent_back(content: list[ContentBlock]) -> MessageParam:
    """Blocks of an answer as a client sends them back, without empty texts."""
    blocks = [block.model_dump(mode="json") for block in content]
    kept = [block for block in blocks if block["type"] != "text" or block["text"]]
    return MessageParam.model_validate({"role": "assistant", "content": kept})
