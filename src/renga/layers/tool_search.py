"""Tool search: the server makes the searches that the model asks for, and lets it go on.

Owns the loop of one answer: a call of a search tool becomes a `server_tool_use` block, what was
found its `tool_search_tool_result`, and the model is asked again with both behind its turn, until
it calls a tool of the caller's, ends, or has searched too often. How tools are found is
`toolkit.search`'s, how the found ones are read is `toolkit.expansion`'s.

Source: "Tool search tool" and "Server tools" of the API's documentation.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final

from renga.caller import Caller
from renga.events import (
    BlockDelta,
    BlockStart,
    BlockStop,
    Ending,
    Event,
    InputJsonDelta,
    OrderError,
)
from renga.ids import Ids
from renga.layers.base import Layer, Path, Ways
from renga.layers.joining import Joined, as_sent_back
from renga.toolkit import ToolSpec, has_search, specs_of
from renga.toolkit.expansion import expanded
from renga.toolkit.search import InvalidSearch, find_by_pattern, find_by_words
from renga.types import (
    AutoChoice,
    ContentBlock,
    DirectCaller,
    FoundToolsBlock,
    MessagesRequest,
    NamedChoice,
    SearchFailed,
    ServerToolUseBlock,
    ThinkingEnabled,
    ToolReferenceBlock,
    ToolSearchResultBlock,
    ToolUseBlock,
)

MOST_ROUNDS: Final = 10
"""Inferences of one answer; behind the last one it pauses: the API's limit."""

LAYER: Final = "tool_search"

Find = Callable[[Sequence[ToolSpec], str], list[ToolSpec]]


def tool_search(ids: Ids) -> Layer:
    """The layer; `ids` names its searches."""

    def layer(below: Ways) -> Ways:
        def stream(request: MessagesRequest, caller: Caller) -> AsyncIterator[Event]:
            if not has_search(request):
                return below.stream(request, caller)
            found = _Searches(specs_of(request), ids)
            return _answer(request, caller, below.stream, found)

        return replace(below, stream=stream)

    return layer


async def _answer(
    request: MessagesRequest, caller: Caller, path: Path, searches: _Searches
) -> AsyncIterator[Event]:
    """The rounds of one answer."""
    joined = Joined()
    asked = request
    for _ in range(MOST_ROUNDS):
        this = _Round(joined, searches)
        async with aclosing(path(asked, caller)) as events:  # type: ignore[type-var]
            async for event in events:
                async for written in this.see(event):
                    yield written
        left = request.max_tokens - joined.output_tokens
        if not this.goes_on or left < 1:
            break
        asked = _further(request, joined, left)
        caller = replace(caller, layer=LAYER)
    for event in joined.finish(this.ending(left)):
        yield event


class _Round:
    """One inference of an answer: what it says goes out, but for its calls of searches."""

    def __init__(self, joined: Joined, searches: _Searches) -> None:
        self._joined = joined
        self._searches = searches
        self._search: ServerToolUseBlock | None = None
        self._pieces: list[str] = []
        self._searched = self._called = False

    @property
    def goes_on(self) -> bool:
        """Whether the model waits for what was found, and for nothing else."""
        ending = self._joined.ending
        waits = ending is not None and ending.stop_reason == "tool_use"
        return waits and self._searched and not self._called

    def ending(self, left: int) -> Ending:
        """Why the answer ends behind this round; `left` are the tokens that it may still have."""
        ending = self._joined.ending
        if ending is None:
            raise OrderError("an inference ended without message_delta")
        if self.goes_on:
            return Ending(stop_reason="max_tokens" if left < 1 else "pause_turn")
        return ending

    async def see(self, event: Event) -> AsyncIterator[Event]:
        """What goes out for `event`."""
        if self._search is not None:
            if isinstance(event, BlockStop):
                async for written in self._conclude(self._search):
                    yield written
            elif isinstance(event, BlockDelta) and isinstance(event.delta, InputJsonDelta):
                self._pieces.append(event.delta.partial_json)
        elif isinstance(event, BlockStart):
            yield self._joined.open(self._opened(event.content_block))
        else:
            for passed in self._joined.take(event):
                yield passed

    def _opened(self, block: ContentBlock) -> ContentBlock:
        if not isinstance(block, ToolUseBlock):
            return block
        if block.name not in self._searches.names:
            self._called = True
            return block
        self._searched, self._pieces = True, []
        self._search = self._searches.begin(block.name)
        return self._search

    async def _conclude(self, search: ServerToolUseBlock) -> AsyncIterator[Event]:
        """The arguments of a search in one piece, for they are short, and then what was found."""
        arguments = _read("".join(self._pieces))
        yield self._joined.add(InputJsonDelta(partial_json=""))
        yield self._joined.add(InputJsonDelta(partial_json=json.dumps(arguments)))
        yield self._joined.close()
        self._search = None
        # Thousands of tools take a while to look through; the others should not wait for it.
        found = await asyncio.to_thread(self._searches.result, search.name, arguments)
        yield self._joined.open(ToolSearchResultBlock(tool_use_id=search.id, content=found))
        yield self._joined.close()


class _Searches:
    """What can be searched in one request, and the names of its searches."""

    def __init__(self, specs: Sequence[ToolSpec], ids: Ids) -> None:
        self.names = frozenset(spec.name for spec in specs if spec.searches)
        self._deferred = [spec for spec in specs if spec.deferred]
        self._ids = ids

    def begin(self, name: str) -> ServerToolUseBlock:
        """The block of a search that is about to be made."""
        return ServerToolUseBlock.model_validate(
            {"id": self._ids("srvtoolu"), "name": name, "input": {}, "caller": DirectCaller()}
        )

    def result(self, name: str, arguments: dict[str, Any]) -> FoundToolsBlock | SearchFailed:
        """What is found."""
        word, find = SEARCHES[name]
        asked = arguments.get(word)
        if not isinstance(asked, str):
            return _failed(f"{word}: a string is required")
        try:
            found = find(self._deferred, asked)
        except InvalidSearch as error:
            return _failed(str(error))
        references = [ToolReferenceBlock(tool_name=spec.name) for spec in found]
        return FoundToolsBlock(tool_references=references)


SEARCHES: Final[dict[str, tuple[str, Find]]] = {
    "tool_search_tool_regex": ("pattern", find_by_pattern),
    "tool_search_tool_bm25": ("query", find_by_words),
}


def _failed(why: str) -> SearchFailed:
    return SearchFailed(error_code="invalid_tool_input", error_message=why)


def _read(arguments: str) -> dict[str, Any]:
    """The arguments of a call; none where it was cut off or is no object."""
    try:
        found = json.loads(arguments or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _further(request: MessagesRequest, joined: Joined, left: int) -> MessagesRequest:
    """`request` with the answer so far behind it, and `left` tokens to go on with."""
    choice, thinking = request.tool_choice, request.thinking
    if isinstance(choice, NamedChoice) and choice.name in SEARCHES:
        # The search that had to be made was made.
        choice = AutoChoice(disable_parallel_tool_use=choice.disable_parallel_tool_use)
    if isinstance(thinking, ThinkingEnabled) and thinking.budget_tokens >= left:
        thinking = thinking.model_copy(update={"budget_tokens": max(1, left - 1)})
    grown = request.model_copy(
        update={
            "messages": [*request.messages, as_sent_back(joined.content)],
            "max_tokens": left,
            "tool_choice": choice,
            "thinking": thinking,
        }
    )
    return expanded(grown)
