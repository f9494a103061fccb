"""`context_management`: what is left out of a long prompt before a model reads it.

Owns when an edit is due, in which order edits follow one another, and what the caller is told of
them: in the message, at the end of a stream, and in a count of tokens. What an edit leaves out is
`layers.edits`'s, summaries are `layers.compaction`'s. A request without edits that are due passes
untouched, and an edit that keeps everything costs nothing.

Source: "Context editing" of the API's documentation.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Final, Generic, TypeVar

from renga.caller import Caller
from renga.events import Event, MessageDelta
from renga.layers.base import Ways
from renga.layers.edits import (
    KEPT_THINKING_TURNS,
    tool_uses,
    without_thinking,
    without_tool_uses,
)
from renga.layers.sizing import may_have, within_reach
from renga.types import (
    AllTurns,
    AppliedEdits,
    ClearedThinking,
    ClearedToolUses,
    ClearThinking,
    ClearToolUses,
    MessagesRequest,
    OriginalCount,
    Prompt,
    TokenCount,
    ToolUses,
)

Asked = TypeVar("Asked", bound=Prompt)
Applied = ClearedToolUses | ClearedThinking

TRIGGER_TOKENS: Final = 100_000


def context_edits(below: Ways) -> Ways:
    """The layer: edits are made above whatever `below` does with what is left."""

    def stream(request: MessagesRequest, caller: Caller) -> AsyncIterator[Event]:
        if request.context_management is None:
            return below.stream(request, caller)
        return _edited(request, caller, below)

    async def count(prompt: Prompt, caller: Caller) -> TokenCount:
        if prompt.context_management is None:
            return await below.count(prompt, caller)
        editing = _Editing(prompt, caller, below)
        original = await editing.size()
        await editing.apply_all()
        return TokenCount(
            input_tokens=await editing.size(),
            context_management=OriginalCount(original_input_tokens=original),
        )

    return replace(below, stream=stream, count=count)


async def _edited(request: MessagesRequest, caller: Caller, below: Ways) -> AsyncIterator[Event]:
    """The answer to what is left of `request`; its end says what was left out."""
    editing = _Editing(request, caller, below)
    applied = AppliedEdits(applied_edits=list(await editing.apply_all()))
    if applied.applied_edits:
        caller.receipt.notes |= applied.model_dump()
    async with aclosing(below.stream(editing.prompt, caller)) as events:  # type: ignore[type-var]
        async for event in events:
            if isinstance(event, MessageDelta):
                yield event.model_copy(update={"context_management": applied})
            else:
                yield event


class _Editing(Generic[Asked]):
    """A prompt that is being edited. It is counted when somebody asks, and then once."""

    def __init__(self, prompt: Asked, caller: Caller, below: Ways) -> None:
        self.prompt = prompt
        self._caller = caller
        self._below = below
        self._size: int | None = None

    async def size(self) -> int:
        """Tokens of the prompt as it is now."""
        if self._size is None:
            self._size = await self._count_of(self.prompt)
        return self._size

    async def apply_all(self) -> list[Applied]:
        """Make the edits that are due, in the order in which the caller wrote them."""
        management = self.prompt.context_management
        applied: list[Applied | None] = []
        for edit in management.edits if management else ():
            if isinstance(edit, ClearThinking):
                applied.append(await self._clear_thinking(edit))
            elif isinstance(edit, ClearToolUses):
                applied.append(await self._clear_tool_uses(edit))
        return [edit for edit in applied if edit is not None]

    async def _clear_thinking(self, edit: ClearThinking) -> ClearedThinking | None:
        if isinstance(edit.keep, AllTurns):
            return None
        kept = edit.keep.value if edit.keep else KEPT_THINKING_TURNS
        left, turns = without_thinking(self.prompt, kept)
        if not turns:
            return None
        saved = await self._leave(left)
        return ClearedThinking(cleared_input_tokens=saved or 0, cleared_thinking_turns=turns)

    async def _clear_tool_uses(self, edit: ClearToolUses) -> ClearedToolUses | None:
        left, uses = without_tool_uses(self.prompt, edit)
        if not uses or not await self._is_due(edit):
            return None
        saved = await self._leave(left, edit.clear_at_least.value if edit.clear_at_least else 0)
        if saved is None:
            return None
        return ClearedToolUses(cleared_input_tokens=saved, cleared_tool_uses=uses)

    async def _is_due(self, edit: ClearToolUses) -> bool:
        if isinstance(edit.trigger, ToolUses):
            return len(tool_uses(self.prompt)) > edit.trigger.value
        trigger = edit.trigger.value if edit.trigger else TRIGGER_TOKENS
        window = self._below.window(self.prompt)
        trigger = within_reach(trigger, window, window)
        return may_have(self.prompt, trigger) and await self.size() > trigger

    async def _leave(self, left: Asked, least: int = 0) -> int | None:
        """Go on with `left` and tell the tokens that this saves; not for fewer than `least`."""
        size = await self._count_of(left)
        saved = max(0, await self.size() - size)
        if saved < least:
            return None
        self.prompt, self._size = left, size
        return saved

    async def _count_of(self, prompt: Prompt) -> int:
        return (await self._below.count(prompt, self._caller)).input_tokens
