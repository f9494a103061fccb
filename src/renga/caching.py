"""Prompt caching by the API's rules: where a prompt's blocks end, where it is marked, what is near.

Owns: a prompt is a row of positions, the ends of what `renga.reading` says that the model reads, in
the order tools, system, messages (or system first, where a model's template writes it so); each has
a digest of everything up to it, so that equal digests mean equal beginnings; which marks a request
may carry, and how far behind a mark an earlier entry may lie. It knows no tokens, no lifetimes'
clock and no entries: those are the engine's.

Sources: "Prompt caching" and "Tool use with prompt caching" of the API's documentation.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from renga.errors import InvalidRequest
from renga.reading import Block, Call, Definition, Result, Thought, WrittenTurn, last_read
from renga.toolkit.expansion import expanded
from renga.types import (
    CacheControl,
    CompactionParam,
    DocumentParam,
    FoundTools,
    ImageParam,
    Prompt,
    SearchResultParam,
    ServerToolUseParam,
    TextParam,
    ThinkingEnabled,
    Tool,
    ToolReferenceParam,
    ToolResultParam,
    ToolSearchResultParam,
    ToolUseParam,
)

Ttl = Literal["5m", "1h"]
TTL_SECONDS: Final[dict[Ttl, int]] = {"5m": 300, "1h": 3600}

MOST_BREAKPOINTS: Final = 4
LOOK_BACK: Final = 20
"""Positions at which a breakpoint looks for an entry, itself included."""

SERVED: Final = "srvtoolu_"
"""With what ids of calls begin that the server answered."""

_KEY_BYTES = 16


@dataclass(frozen=True, slots=True)
class Position:
    """The end of a block: the `block`-th of the `turn`-th turn.

    `key` digests everything that the model reads up to there.
    """

    path: str
    turn: int
    block: int
    key: bytes


@dataclass(frozen=True, slots=True)
class Marked:
    """A breakpoint: the index of its position, and how long what ends there is to be kept."""

    at: int
    ttl: Ttl

    @property
    def looks_at(self) -> range:
        """Indices of the positions where an entry serves, itself first, then ever earlier ones."""
        return range(self.at, max(self.at - LOOK_BACK, -1), -1)


# --- positions ------------------------------------------------------------------------------------


def positions(prompt: Prompt, turns: Sequence[WrittenTurn]) -> list[Position]:
    """The ends of all blocks of `turns`, which are those of `prompt`, in order.

    Thinking ends nowhere: it belongs to the block behind it. What a request says of tools' choice,
    thinking and effort stands between the system text and the messages.
    """
    digest = hashlib.blake2b(digest_size=_KEY_BYTES)
    settings = _settings(prompt)
    found = []
    for i, turn in enumerate(turns):
        if settings and not _is_head(turn):
            _add(digest, settings)
            settings = ()
        # Lengths keep apart what would read the same in a row: borders are part of the prompt.
        digest.update(f"<{turn.role}>".encode())
        for j, block in enumerate(turn.blocks):
            _add(digest, _words(block))
            if not isinstance(block, Thought):
                found.append(Position(block.path, i, j, digest.digest()))
    return found


def _add(digest: hashlib.blake2b, words: Sequence[str]) -> None:
    for word in words:
        raw = word.encode("utf-8", "surrogatepass")
        digest.update(f"{len(raw)}:".encode())
        digest.update(raw)


def _is_head(turn: WrittenTurn) -> bool:
    """Whether a turn is the tools or the system text, not a message."""
    return turn.role == "tools" or (
        turn.role == "system" and turn.blocks[0].path.startswith("system.")
    )


def _settings(prompt: Prompt) -> tuple[str, ...]:
    """What else than text makes messages others, in the API's table of what invalidates a cache."""
    chosen = prompt.tool_choice
    choice = chosen.model_dump_json() if chosen else ""
    if chosen is None or choice == '{"type":"auto","disable_parallel_tool_use":false}':
        choice = "auto" if prompt.tools else "none"
    thinking: str = prompt.thinking.type if prompt.thinking else "disabled"
    if isinstance(prompt.thinking, ThinkingEnabled):
        thinking = str(prompt.thinking.budget_tokens)
    effort = (prompt.output_config and prompt.output_config.effort) or "high"
    return choice, thinking, effort


def _words(block: Block) -> tuple[str, ...]:
    """What there is to read in a block, so that no two kinds of blocks have the same."""
    match block:
        case Definition():
            return "tool", json.dumps(block.function)
        case Call():
            return "call", block.id, block.name, json.dumps(block.arguments)
        case Result():
            return "more" if block.goes_on else "result", block.id, block.name, block.text
        case Thought():
            return "thinking", block.text
        case _:
            return "text", block.text


# --- where it is marked ---------------------------------------------------------------------------


def check(prompt: Prompt) -> None:
    """Raise InvalidRequest, in the API's words, where the marks of `prompt` break its rules."""
    if not is_marked(prompt):
        return
    marked = list(_marked(prompt))
    for path, block in marked:
        if isinstance(block, TextParam) and not block.text:
            raise InvalidRequest(f"{path}.text: cache_control cannot be set for empty text blocks")
    for i, tool in enumerate(prompt.tools or []):
        if tool.cache_control is not None and getattr(tool, "defer_loading", False):
            raise InvalidRequest(
                f"tools.{i}: Tool '{getattr(tool, 'name', tool.type)}' cannot have both "
                "defer_loading=true and cache_control set. "
                "Tools with defer_loading cannot use prompt caching."
            )
    # The mark on the request takes a slot even where it adds nothing: so the API counts.
    count = len(marked) + (prompt.cache_control is not None)
    if count > MOST_BREAKPOINTS:
        raise InvalidRequest(
            f"A maximum of {MOST_BREAKPOINTS} blocks with cache_control may be provided. "
            f"Found {count}."
        )
    controls = [(f"{path}.cache_control", block.cache_control) for path, block in marked]
    if _automatic(prompt) is not None:
        controls.append(("cache_control", prompt.cache_control))
    _check_order([(path, ttl_of(control)) for path, control in controls])


def _check_order(controls: Sequence[tuple[str, Ttl]]) -> None:
    short = False
    for path, ttl in controls:
        if ttl == "1h" and short:
            raise InvalidRequest(
                f"{path}.ttl: a ttl='1h' cache_control block must not come after a ttl='5m' "
                "cache_control block. Note that blocks are processed in the following order: "
                "`tools`, `system`, `messages`."
            )
        short = short or ttl == "5m"


def ttl_of(control: CacheControl | None) -> Ttl:
    """The lifetime that a mark asks for."""
    return (control.ttl if control else None) or "5m"


_MarkableBlock = (
    TextParam
    | ImageParam
    | DocumentParam
    | SearchResultParam
    | ToolUseParam
    | ToolResultParam
    | ServerToolUseParam
    | ToolSearchResultParam
    | CompactionParam
)
Markable = Tool | ToolReferenceParam | _MarkableBlock


def _markable(prompt: Prompt) -> Iterator[tuple[str, Markable]]:
    """What can carry a mark, as it was written, with its path, in the order of caching."""
    for i, tool in enumerate(prompt.tools or []):
        yield f"tools.{i}", tool
    for i, text in enumerate(prompt.system or []):
        yield f"system.{i}", text
    for i, message in enumerate(prompt.messages):
        for j, block in enumerate(message.content):
            path = f"messages.{i}.content.{j}"
            if isinstance(block, ToolResultParam):
                yield from ((f"{path}.content.{k}", one) for k, one in enumerate(block.content))
            elif isinstance(block, ToolSearchResultParam) and isinstance(block.content, FoundTools):
                found = block.content.tool_references
                yield from (
                    (f"{path}.content.tool_references.{k}", one) for k, one in enumerate(found)
                )
            if isinstance(block, _MarkableBlock):
                yield path, block


def _marked(prompt: Prompt) -> Iterator[tuple[str, Markable]]:
    return ((path, one) for path, one in _markable(prompt) if one.cache_control is not None)


def _automatic(prompt: Prompt) -> str | None:
    """Path of the block that the mark on the whole request falls on, where it adds a breakpoint.

    That is the last block that can be marked; nothing where it is marked so already.
    """
    if prompt.cache_control is None:
        return None
    last = last_read(expanded(prompt))
    if last is None:
        return None
    path, control = last
    if control is None:
        return path
    asked, own = ttl_of(prompt.cache_control), ttl_of(control)
    if asked != own:
        raise InvalidRequest(
            f"cache_control.ttl: '{asked}' for the last block, but {path} is marked with "
            f"ttl='{own}'; accepted: the same ttl in both, or only one of the two marks"
        )
    return None


def breakpoints(
    prompt: Prompt, turns: Sequence[WrittenTurn], found: Sequence[Position]
) -> list[Marked]:
    """The breakpoints of a prompt that `check` accepts, in order, over its positions `found`.

    Where the system text stands before the tools, a mark at its end is one at theirs: it asks for
    both. Where anything is marked, the last result of a tool that the server ran is too, for five
    minutes, unless a mark lies there or behind it: each round of an answer reads what the one
    before it read, and an answer that is sent back is read from memory up to there.
    """
    controls = [
        (at, block.control)
        for at, position in enumerate(found)
        if not isinstance(block := turns[position.turn].blocks[position.block], Thought)
    ]
    automatic = _automatic(prompt)
    if automatic is not None:
        last = max(at for at, position in enumerate(found) if position.path == automatic)
        controls.append((last, prompt.cache_control))
    marked: dict[int, Ttl] = {}
    moved = _moved(turns)
    for at, control in controls:
        if control is not None:
            place = moved.get(at, at)
            marked[place] = "1h" if "1h" in (ttl_of(control), marked.get(place)) else "5m"
    served = _served(turns, found)
    if marked and served > max(marked):
        marked[served] = "5m"
    return [Marked(at, ttl) for at, ttl in sorted(marked.items())]


def _served(turns: Sequence[WrittenTurn], found: Sequence[Position]) -> int:
    """Index of the position at the end of the last result of the server's own tools, or -1."""
    for at in range(len(found) - 1, -1, -1):
        block = turns[found[at].turn].blocks[found[at].block]
        if isinstance(block, Result) and block.id.startswith(SERVED):
            return at
    return -1


def _moved(turns: Sequence[WrittenTurn]) -> dict[int, int]:
    """From the position at the end of the system text to that of the tools behind it, if any."""
    if [turn.role for turn in turns[:2]] != ["system", "tools"]:
        return {}
    system, tools = len(turns[0].blocks), len(turns[1].blocks)
    return {system - 1: system + tools - 1}


def is_marked(prompt: Prompt) -> bool:
    """Whether `prompt` asks for caching anywhere."""
    return prompt.cache_control is not None or next(_marked(prompt), None) is not None
