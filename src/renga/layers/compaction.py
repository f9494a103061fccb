"""Compaction: a long conversation becomes a summary of itself.

Owns when that is due, what the model is asked for, and what the caller gets: a `compaction` block
first in the answer, which a later request brings back in place of all that stood before it
(`toolkit.expansion`). Also the request that is a compaction as a whole, whose block is signed: one
that was changed on its way back is refused. Other edits of the context are made before this one
looks.

Source: "Compaction" of the API's documentation; the types and error classes of the official
`anthropic` package, 2.12.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Final

from renga.caller import Caller
from renga.chat.signing import Signer
from renga.errors import InvalidRequest
from renga.events import (
    CompactionDelta,
    Ending,
    Event,
    Fold,
    MessageDelta,
    MessageStart,
)
from renga.layers.base import Layer, Path, Ways
from renga.layers.joining import Joined
from renga.layers.sizing import may_have, within_reach
from renga.toolkit.expansion import expanded, view_of
from renga.types import (
    Compact,
    Compaction,
    CompactionBlock,
    CompactionParam,
    ContentBlock,
    MessageParam,
    MessagesRequest,
    NoChoice,
    Prompt,
    TextBlock,
    TextParam,
    ToolUseParam,
    Usage,
)

LAYER: Final = "compaction"
TRIGGER_TOKENS: Final = 150_000
SUMMARY_TOKENS: Final = 4_096
"""Most tokens of a summary; ours."""

PAUSED: Final = Ending(stop_reason="compaction")

PROMPT: Final = (
    "Stop here and write a summary of this conversation. It will replace everything above, and you "
    "will go on from it alone, so leave out nothing that is still needed: what was asked for, word "
    "for word where the wording matters; what was done and found out, with names, numbers and "
    "paths; what is decided; what remains to be done next. Write the summary and nothing else."
)


def _place(view: str | None) -> bytes:
    """What a summary's signature is bound to: that it is one, and what it brings back with it."""
    return b"compaction" + (view or "").encode()


def compaction(signer: Signer) -> Layer:
    """The layer; `signer` signs the blocks of requests that are a compaction as a whole."""

    def layer(below: Ways) -> Ways:
        def stream(request: MessagesRequest, caller: Caller) -> AsyncIterator[Event]:
            if request.compaction is not None:
                return _summarised(request, request.compaction, caller, below.stream, signer)
            edit = _edit_of(request)
            if edit is None or not request.max_tokens:
                return below.stream(request, caller)
            trigger = _trigger(edit, below.window(request))
            if not may_have(request, trigger):
                return below.stream(request, caller)
            return _compacted(request, edit, trigger, caller, below)

        return replace(below, stream=stream)

    return layer


def _edit_of(request: MessagesRequest) -> Compact | None:
    edits = request.context_management.edits if request.context_management else []
    return next((edit for edit in edits if isinstance(edit, Compact)), None)


def _trigger(edit: Compact, window: int) -> int:
    """From which size on it is due. The summary has to fit into the window behind the prompt."""
    asked = edit.trigger.value if edit.trigger else TRIGGER_TOKENS
    return within_reach(asked, window - SUMMARY_TOKENS, window)


async def _compacted(
    request: MessagesRequest, edit: Compact, trigger: int, caller: Caller, below: Ways
) -> AsyncIterator[Event]:
    """The answer to `request`, with a summary in front of it where the prompt is so long."""
    size = (await below.count(request, caller)).input_tokens
    if size < trigger:
        async with aclosing(below.stream(request, caller)) as events:  # type: ignore[type-var]
            async for event in events:
                yield event
        return
    joined = Joined()
    summary = _Summary(joined)
    async with aclosing(summary.write(request, edit.instructions, caller, below.stream)) as begun:  # type: ignore[type-var]
        async for event in begun:
            yield event
    view = view_of(request)
    for event in _whole(joined, CompactionBlock(), summary.text, view):
        yield event
    if edit.pause_after_compaction:
        for event in joined.finish(PAUSED):
            yield event
        return
    shorter = _after(request, summary.text, view) if summary.text else request
    async with aclosing(below.stream(shorter, caller)) as answer:  # type: ignore[type-var]
        async for event in answer:
            for written in joined.take(event):
                yield written
    for event in joined.finish(joined.ending or PAUSED):
        yield event


async def _summarised(
    request: MessagesRequest, asked: Compaction, caller: Caller, path: Path, signer: Signer
) -> AsyncIterator[Event]:
    """The answer to a request that is a compaction: its block, signed, and nothing else."""
    _check_complete(request)
    joined = Joined()
    summary = _Summary(joined)
    async with aclosing(summary.write(request, asked.instructions, caller, path)) as begun:  # type: ignore[type-var]
        async for event in begun:
            yield event
    view = view_of(request)
    signature = signer.sign(summary.text, _place(view), shown=True) if summary.text else None
    for event in _whole(joined, CompactionBlock(signature=signature), summary.text, view):
        yield event
    for event in joined.finish(PAUSED):
        yield event


def _whole(joined: Joined, block: ContentBlock, text: str, view: str | None) -> list[Event]:
    """A compaction block: its summary comes in one piece, with the tools that are in view."""
    delta = CompactionDelta(content=text or None, encrypted_content=view if text else None)
    return [joined.open(block), joined.add(delta), joined.close()]


class _Summary:
    """A summary in the making; `text` is empty where the model gave none."""

    def __init__(self, joined: Joined) -> None:
        self._joined = joined
        self.text = ""

    async def write(
        self, request: MessagesRequest, instructions: str | None, caller: Caller, path: Path
    ) -> AsyncIterator[Event]:
        """Have it written; the message begins with it, and costs nothing itself so far."""
        fold = Fold()
        nothing = Usage(input_tokens=0, output_tokens=0)
        asked = _for_summary(request, instructions)
        caller = replace(caller, layer=LAYER)
        async with aclosing(path(asked, caller)) as events:  # type: ignore[type-var]
            async for event in events:
                fold.see(event)
                if isinstance(event, MessageStart):
                    for begun in self._joined.begin(event, shown=nothing):
                        yield begun
                elif isinstance(event, MessageDelta):
                    self._joined.end(event, "compaction")
        content = fold.message().content
        self.text = "".join(b.text for b in content if isinstance(b, TextBlock)).strip()


def _for_summary(request: MessagesRequest, instructions: str | None) -> MessagesRequest:
    """`request` as one for a summary of its conversation; its beginning stays as it is cached."""
    words = instructions if instructions and instructions.strip() else PROMPT
    asked = MessageParam(role="user", content=[TextParam(text=words)])
    return request.model_copy(
        update={
            "messages": [*request.messages, asked],
            "max_tokens": SUMMARY_TOKENS,
            "tool_choice": NoChoice() if request.tools else None,
            "thinking": None,
            "output_config": None,
            "stop_sequences": [],
            "context_management": None,
            "compaction": None,
            "diagnostics": None,
        }
    )


def _after(request: MessagesRequest, summary: str, view: str | None) -> MessagesRequest:
    """`request` as the one that brings the summary back will read it."""
    block = CompactionParam(content=summary, encrypted_content=view)
    answered = MessageParam(role="assistant", content=[block])
    return expanded(request.model_copy(update={"messages": [answered]}))


# --- blocks that come back ------------------------------------------------------------------------


def _check_complete(request: MessagesRequest) -> None:
    """Raise InvalidRequest where there is nothing to summarise, or a turn that is not finished."""
    if not any(m.content for m in request.messages if m.role != "system"):
        raise InvalidRequest(
            "messages: there is no user or assistant content to summarize",
            code="compaction_nothing_to_summarize",
        )
    last = request.messages[-1]
    if last.role == "assistant" and any(isinstance(b, ToolUseParam) for b in last.content):
        raise InvalidRequest(
            f"messages.{len(request.messages) - 1}: a compaction cannot end on a `tool_use` that "
            "has no result yet",
            code="compaction_incomplete_turn",
        )


def check_signed(prompt: Prompt, signer: Signer) -> None:
    """Raise InvalidRequest where a signed compaction block was changed or stands elsewhere.

    Blocks without a signature come from `compact_20260112` and may stand anywhere.
    """
    signed = [
        (f"messages.{i}.content.{j}", block)
        for i, message in enumerate(prompt.messages)
        for j, block in enumerate(message.content)
        if isinstance(block, CompactionParam) and block.signature is not None and block.content
    ]
    if not signed:
        return
    path, block = signed[-1]
    if len(signed) > 1:
        raise InvalidRequest(
            f"{path}: there is more than one signed `compaction` block; send the newest alone",
            code="compaction_block_ambiguous",
        )
    if path != "messages.0.content.0" or prompt.messages[0].role == "system":
        raise InvalidRequest(
            f"{path}: a signed `compaction` block must be the first block of the conversation",
            code="compaction_block_misplaced",
        )
    place = _place(block.encrypted_content)
    verdict = signer.check(block.content or "", block.signature or "", place).verdict
    if verdict == "tampered":
        raise InvalidRequest(
            f"{path}.content: differs from the text that the signature was made for",
            code="compaction_content_mismatch",
        )
    if verdict == "foreign":
        raise InvalidRequest(
            f"{path}.signature: was not made by this server", code="compaction_signature_invalid"
        )
