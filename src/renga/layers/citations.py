"""Citations: an answer about documents says, sentence by sentence, where it has that from.

Owns how an answer's text is cut: a sentence with citations is a text block of its own, what stands
between is one block; put together the blocks are the text as the model wrote it. A sentence goes
out when it is whole, with one character behind it. And the one line that models are told for it.
What supports a sentence is `renga.citations`'s.

Source: "Citations" of the API's documentation.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from dataclasses import replace
from typing import Final, TypeVar

from renga.caller import Caller
from renga.citations.finding import Finder, ReadPages, wants_citations
from renga.citations.sentences import Cutter
from renga.events import (
    BlockDelta,
    BlockStart,
    BlockStop,
    CitationsDelta,
    Event,
    TextDelta,
)
from renga.layers.base import Layer, Ways
from renga.types import (
    Citation,
    ContentBlock,
    MessagesRequest,
    Prompt,
    TextBlock,
    TextParam,
    TokenCount,
)

Asked = TypeVar("Asked", bound=Prompt)

ADVICE: Final = (
    "Answer from the documents and search results in this conversation, and stay close to their "
    "words. Write nothing about where in them something stands: that is added to your answer."
)


def citing(pages: ReadPages) -> Layer:
    """The layer; `pages` reads the pages of PDFs."""

    def layer(below: Ways) -> Ways:
        def stream(request: MessagesRequest, caller: Caller) -> AsyncIterator[Event]:
            if not wants_citations(request):
                return below.stream(request, caller)
            return _cited(below.stream(_advised(request), caller), request, pages)

        async def count(prompt: Prompt, caller: Caller) -> TokenCount:
            return await below.count(
                _advised(prompt) if wants_citations(prompt) else prompt, caller
            )

        return replace(below, stream=stream, count=count)

    return layer


def _advised(prompt: Asked) -> Asked:
    """`prompt` with the advice behind its system text, whose cache marks stay where they are."""
    return prompt.model_copy(update={"system": [*(prompt.system or ()), TextParam(text=ADVICE)]})


async def _cited(
    answer: AsyncIterator[Event], request: MessagesRequest, pages: ReadPages
) -> AsyncIterator[Event]:
    citing = Citing(lambda: Finder.over(request, pages))
    async with aclosing(answer) as events:  # type: ignore[type-var]
        async for event in events:
            for written in await citing.see(event):
                yield written


class Citing:
    """An answer while its texts are cut. `find` makes what finds citations, when first needed.

    That is not before the model has read the prompt, which may be too long for it.
    """

    def __init__(self, find: Callable[[], Awaitable[Finder]]) -> None:
        self._find = find
        self._finder: Finder | None = None
        self._cutter: Cutter | None = None  # of the text block that the model is writing
        self._blocks = 0
        self._plain = False  # a block without citations is open
        self._begun = False  # the model's block has brought one of ours

    async def see(self, event: Event) -> list[Event]:
        """What goes out for an event of the answer."""
        match event:
            case BlockStart(content_block=TextBlock(text=text)):
                self._finder = self._finder or await self._find()
                self._cutter, self._begun = Cutter(), False
                return await self._sentences(self._cutter.take(text))
            case BlockStart(content_block=block):
                return [self._open(block)]
            case BlockDelta(delta=TextDelta(text=text)) if self._cutter is not None:
                return await self._sentences(self._cutter.take(text))
            case BlockDelta(delta=delta):
                return [BlockDelta(index=self._blocks - 1, delta=delta)]
            case BlockStop() if self._cutter is not None:
                return await self._end(self._cutter)
            case BlockStop():
                return [BlockStop(index=self._blocks - 1)]
            case _:
                return [event]

    def _open(self, block: ContentBlock) -> Event:
        self._blocks += 1
        return BlockStart(index=self._blocks - 1, content_block=block)

    async def _sentences(self, sentences: list[str]) -> list[Event]:
        return [
            event
            for sentence in sentences
            for event in self._sentence(sentence, await self._found(sentence))
        ]

    async def _found(self, sentence: str) -> list[Citation]:
        """What supports a sentence; looking for it in long documents takes a while."""
        if self._finder is None:
            return []
        return await asyncio.to_thread(self._finder.cite, sentence)

    def _sentence(self, sentence: str, found: list[Citation]) -> Iterator[Event]:
        """A sentence, in a block of its own where something supports it."""
        if found:
            yield from self._close()
        if not self._plain:
            yield self._open(TextBlock(text=""))
            self._plain = self._begun = True
        yield BlockDelta(index=self._blocks - 1, delta=TextDelta(text=sentence))
        for citation in found:
            yield BlockDelta(index=self._blocks - 1, delta=CitationsDelta(citation=citation))
        if found:
            yield from self._close()

    def _close(self) -> Iterator[Event]:
        if self._plain:
            yield BlockStop(index=self._blocks - 1)
            self._plain = False

    async def _end(self, cutter: Cutter) -> list[Event]:
        """The model's block is over: what is left of it, and where it was empty, an empty one."""
        self._cutter = None
        rest = cutter.rest()
        events = await self._sentences([rest] if rest else [])
        if not self._begun:
            events.append(self._open(TextBlock(text="")))
            self._plain = True
        return [*events, *self._close()]
