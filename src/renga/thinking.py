"""Thinking on its way out and back: signed blocks, and what is read of those that come back.

Owns five rules: a block of thinking leaves with a signature, once, last, and without its text where
the caller wants none; what comes back changed in the latest assistant turn is refused in the API's
words; what is not ours, or stood elsewhere, is left out without a word; the text of a block that
was not shown is the one in its signature, whatever its caller wrote into it; and what a backend
signed its thinking with travels in ours, and comes back to the backends as it was. It knows no
models and no keys.

A block that is left out keeps its place with no text in it, so that what a message about another
block calls it stays true; empty thinking is not read (`renga.reading`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any, TypeVar

from renga.chat.signing import Signer
from renga.errors import InvalidRequest
from renga.events import (
    BlockDelta,
    BlockStop,
    Event,
    Fold,
    SignatureDelta,
    ThinkingDelta,
)
from renga.types import (
    AnyBlockParam,
    ContentBlock,
    MessageParam,
    Prompt,
    RedactedThinkingParam,
    ServerToolUseBlock,
    ServerToolUseParam,
    TextBlock,
    TextParam,
    ThinkingAdaptive,
    ThinkingBlock,
    ThinkingEnabled,
    ThinkingParam,
    ToolResultParam,
    ToolUseBlock,
    ToolUseParam,
)

AnyPrompt = TypeVar("AnyPrompt", bound=Prompt)

CANNOT_BE_MODIFIED = (
    "`thinking` or `redacted_thinking` blocks in the latest assistant message cannot be modified. "
    "These blocks must remain as they were in the original response."
)

_THOUGHTS = (ThinkingParam, RedactedThinkingParam)


class Place:
    """Where in a conversation a thought stands: what it was about, as a digest that grows.

    That is the question of its turn, what the model said and called since, and which calls were
    answered. Not what clients rewrite from one request to the next: system text, tools, results
    that grew old, turns that are long past.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._digest = self._fresh()

    def _fresh(self) -> Any:
        return hashlib.blake2b(self._model.encode(), digest_size=32)

    @property
    def digest(self) -> bytes:
        """Of all that was seen."""
        found: bytes = self._digest.digest()
        return found

    def see(self, message: MessageParam) -> None:
        """Take a whole message."""
        if message.role == "user" and _is_question(message):
            self._digest = self._fresh()
            for block in message.content:
                self.see_block(block)
        elif message.role == "user":
            for block in message.content:
                if isinstance(block, ToolResultParam):
                    self._add("result", block.tool_use_id)
        elif message.role == "assistant":
            for block in message.content:
                self.see_block(block)

    def see_block(self, block: AnyBlockParam | ContentBlock) -> None:
        """Take a block of an answer, or of a question. Thinking is none of it."""
        if isinstance(block, TextParam | TextBlock):
            if text := block.text.strip():  # clients trim
                self._add("text", text)
        elif isinstance(block, _CALLS):
            self._add("call", block.id, block.name, _canonical(block.input))

    def _add(self, *said: str) -> None:
        # Lengths keep apart what would read the same in a row.
        for one in said:
            raw = one.encode("utf-8", "surrogatepass")
            self._digest.update(f"{len(raw)}:".encode() + raw)


def _canonical(value: Any) -> str:
    """JSON text that is the same after a client read it and wrote it: 1 and 1.0 are one number."""
    return json.dumps(json.loads(json.dumps(value), parse_int=float), sort_keys=True)


_CALLS = (ToolUseParam, ToolUseBlock, ServerToolUseParam, ServerToolUseBlock)


def _is_question(message: MessageParam) -> bool:
    """Whether a user's message begins a turn, and does not only carry results of tools."""
    texts = False
    for block in message.content:
        if isinstance(block, ToolResultParam):
            return False
        texts = texts or (isinstance(block, TextParam) and bool(block.text.strip()))
    return texts


# --- back -----------------------------------------------------------------------------------------


def opened(prompt: AnyPrompt, signer: Signer, model: str) -> AnyPrompt:
    """`prompt` with the thinking that is to be read in it, and no other.

    Raises InvalidRequest for a changed block in the latest assistant turn.
    """
    if not any(isinstance(block, _THOUGHTS) for m in prompt.messages for block in m.content):
        return prompt
    latest = _latest_turn(prompt)
    place = Place(model)
    messages = []
    for i, message in enumerate(prompt.messages):
        if message.role == "assistant":
            content = list(_read(message, signer, place, f"messages.{i}", strict=i in latest))
            messages.append(message.model_copy(update={"content": content}))
        else:
            place.see(message)
            messages.append(message)
    return prompt.model_copy(update={"messages": messages})


def _latest_turn(prompt: Prompt) -> range:
    """Indices of the last assistant messages that stand together."""
    last = len(prompt.messages)
    while last and prompt.messages[last - 1].role != "assistant":
        last -= 1
    first = last
    while first and prompt.messages[first - 1].role == "assistant":
        first -= 1
    return range(first, last)


def _read(
    message: MessageParam, signer: Signer, place: Place, path: str, *, strict: bool
) -> Iterator[AnyBlockParam]:
    """The blocks of an assistant message, its thinking checked."""
    for j, block in enumerate(message.content):
        if not isinstance(block, ThinkingParam):
            place.see_block(block)
            yield block
            continue
        checked = signer.check(block.thinking, block.signature, place.digest)
        if checked.verdict == "tampered" and strict:
            raise InvalidRequest(f"{path}.content.{j}: {CANNOT_BE_MODIFIED}")
        # Both are "" where the block is not ours.
        read = {"thinking": checked.thinking, "signature": checked.origin}
        yield block.model_copy(update=read)


# --- out ------------------------------------------------------------------------------------------


async def signed(
    events: AsyncIterator[Event], prompt: Prompt, signer: Signer, model: str
) -> AsyncIterator[Event]:
    """The events of the answer to `prompt` (as its caller sent it), its thinking signed.

    Closing this closes the source. Where no thinking was asked for there is none, but for models
    elsewhere that think unasked, and begin with it.
    """
    asked = isinstance(prompt.thinking, ThinkingEnabled | ThinkingAdaptive)
    signing = _Signing(prompt, signer, model) if asked else None
    start: Event | None = None
    async with aclosing(events) as source:  # type: ignore[type-var]
        async for event in source:
            if signing is None and _thinks_unasked(event):
                signing = _Signing(prompt, signer, model)
                signing.fold(start)
            if signing is not None:
                for written in signing.see(event):
                    yield written
                continue
            if event.type == "message_start":
                start = event
            yield event


def _thinks_unasked(event: Event) -> bool:
    """Whether an answer begins with thinking here."""
    return (
        event.type == "content_block_start"
        and event.index == 0
        and event.content_block.type == "thinking"
    )


class _Signing:
    """One answer on its way out, folded as far as it is needed to know where a thought stands."""

    def __init__(self, prompt: Prompt, signer: Signer, model: str) -> None:
        asked = prompt.thinking
        self._shown = not (
            isinstance(asked, ThinkingEnabled | ThinkingAdaptive) and asked.display == "omitted"
        )
        self._signer = signer
        self._place, self._folding = Place(model), Fold()
        for message in prompt.messages:
            self._place.see(message)

    def fold(self, event: Event | None) -> None:
        """Take an event that is on its way already."""
        if event is not None:
            self._folding.see(event)

    def see(self, event: Event) -> Iterator[Event]:
        """What goes out for an event: not the signature of its origin, which ours carries."""
        self._folding.see(event)
        if isinstance(event, BlockStop):
            block = self._folding.message().content[-1]
            self._place.see_block(block)
            if isinstance(block, ThinkingBlock):
                signature = self._signer.sign(
                    block.thinking, self._place.digest, shown=self._shown, origin=block.signature
                )
                yield BlockDelta(index=event.index, delta=SignatureDelta(signature=signature))
        delta = event.delta if isinstance(event, BlockDelta) else None
        hidden = not self._shown and isinstance(delta, ThinkingDelta)
        if not hidden and not isinstance(delta, SignatureDelta):
            yield event
