"""An answer as events, while its text comes: thinking, text and calls of tools as blocks.

Owns four rules: a block opens with the first of what is in it, so that none is empty; white space
around thinking and calls is no text; a call's input is streamed as the model writes it, behind an
empty piece, as the API does it; and an answer that calls a tool says so as its reason to stop,
unless it was cut. It knows no engine and no signatures: thinking leaves here unsigned.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Literal

from renga.chat.forms import CallBegin, CallEnd, CallJson, Form, Part, Reader, Text, Tool
from renga.events import (
    BlockDelta,
    BlockStart,
    BlockStop,
    Delta,
    Event,
    InputJsonDelta,
    TextDelta,
    ThinkingDelta,
    TokenLogprob,
)
from renga.ids import Ids
from renga.types import (
    ContentBlock,
    DirectCaller,
    StopReason,
    TextBlock,
    ThinkingBlock,
    ToolUseBlock,
)

Kind = Literal["thinking", "text", "call"]

# Reasons to stop that are the model's own: what it had begun, it had finished.
_OWN_ENDS: Collection[StopReason] = ("end_turn", "stop_sequence")


class Writer:
    """One answer's content as events. `form` is None where no call is expected.

    `tools` are those that may be called, for forms whose reader must know them; `toolsets` has the
    set of each tool that is a member of one; `begun` is whether the caller wrote the beginning of
    the answer. Indices of blocks begin at 0.
    """

    def __init__(
        self,
        ids: Ids,
        form: Form | None = None,
        toolsets: Mapping[str, str] | None = None,
        *,
        tools: Mapping[str, Tool] | None = None,
        begun: bool = False,
    ) -> None:
        self.called = False
        """Whether a call was written, or began to be."""
        self._ids = ids
        self._reader = Reader(form, tools, begun=begun)
        self._toolsets = toolsets or {}
        self._index = 0
        self._open: Kind | None = None
        self._bare = False  # whether white space that comes now stands before any text
        self._held: list[TokenLogprob] = []

    def thinking(self, text: str) -> Iterator[Event]:
        """More of the thinking, which comes before the answer."""
        if self._open != "thinking":
            self._bare = True
            text = text.lstrip()
        if text:
            yield from self._write("thinking", ThinkingDelta(thinking=text))

    def text(self, text: str, logprobs: tuple[TokenLogprob, ...] | None = None) -> Iterator[Event]:
        """More of what the model says: text and calls. `logprobs` are of the tokens of `text`."""
        self._held += logprobs or ()
        for part in self._reader.feed(text):
            yield from self._part(part, logprobs is not None)

    def finish(self, reason: StopReason) -> Iterator[Event]:
        """The model stopped for that reason: what was held back, and the end of the last block."""
        for part in self._reader.finish(cut=reason not in _OWN_ENDS):
            yield from self._part(part, bool(self._held))
        yield from self._close()

    def reason(self, reason: StopReason) -> StopReason:
        """The reason to stop as the API tells it."""
        return "tool_use" if reason == "end_turn" and self.called else reason

    def _part(self, part: Part, scored: bool) -> Iterator[Event]:
        match part:
            case Text():
                text = part.text.lstrip() if self._bare else part.text
                if text:
                    self._bare = False
                    scores = tuple(self._held) if scored else None
                    self._held = []
                    yield from self._write("text", TextDelta(text=text, logprobs=scores))
            case CallBegin():
                yield from self._close()
                self.called, self._held = True, []
                yield from self._write("call", InputJsonDelta(partial_json=""), part.name)
            case CallJson():
                yield from self._write("call", InputJsonDelta(partial_json=part.json))
            case CallEnd():
                yield from self._close()

    def _write(self, kind: Kind, delta: Delta, name: str = "") -> Iterator[Event]:
        """`delta` in a block of its kind, which is opened where another one is, or none."""
        if self._open != kind:
            yield from self._close()
            self._open = kind
            yield BlockStart(index=self._index, content_block=self._empty(kind, name))
        yield BlockDelta(index=self._index, delta=delta)

    def _close(self) -> Iterator[Event]:
        if self._open is not None:
            self._open = None
            yield BlockStop(index=self._index)
            self._index += 1

    def _empty(self, kind: Kind, name: str) -> ContentBlock:
        if kind == "thinking":
            return ThinkingBlock(thinking="", signature="")
        if kind == "text":
            return TextBlock(text="")
        return ToolUseBlock(
            id=self._ids("toolu"),
            name=name,
            input={},
            caller=DirectCaller(),
            toolset_name=self._toolsets.get(name),
        )
