"""What of a prompt a model reads, in which order: the one source of that for everything else.

Owns: the tools, the system text and the messages as a row of turns, each of blocks of one kind or
another; turns of one role in a row are one; results of tools are turns of their own; lines that are
only a client's bookkeeping are left out, and so is a system message whose time is over. It knows no
templates and no tokens, and not which thinking is this server's own: what it is given, it reads.
What stands for something else in a conversation, `renga.toolkit` has written out before.

Sources: "Messages", "Tool use" and "Mid-conversation system messages" of the API's documentation,
and the docstrings of the official `anthropic` package, 2.12.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, dropwhile
from typing import Any, Final, Literal

from renga.sources import PICTURE, Counting, lengths_of, written
from renga.toolkit import ToolSpec, definition, each_spec, listed, specs_of
from renga.toolkit.expansion import expanded
from renga.types import (
    AnyBlockParam,
    AnyResultParam,
    CacheControl,
    DocumentParam,
    ImageParam,
    MessageParam,
    Prompt,
    SearchResultParam,
    TextParam,
    ThinkingParam,
    ToolReferenceParam,
    ToolResultParam,
    ToolUseParam,
)

# The first line of the system text of some clients; it changes with every call (lessons, 1).
BOOKKEEPING = "x-anthropic-billing-header"

ERROR = "Error:"
"""How the text of a tool's failure begins."""
NO_REASON: Final = "the tool gave no reason"


# --- blocks ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Definition:
    """A tool that the prompt begins with: `function` is its name, description and parameters."""

    path: str
    function: dict[str, Any]
    control: CacheControl | None = None


@dataclass(frozen=True, slots=True)
class Text:
    """A text that is not empty. `path` is where the caller wrote it."""

    path: str
    text: str
    control: CacheControl | None = None


@dataclass(frozen=True, slots=True)
class Thought:
    """Thinking of an earlier answer. It cannot be marked, so it is part of what follows it."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a tool by the assistant."""

    path: str
    id: str
    name: str
    arguments: dict[str, Any]
    control: CacheControl | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What the tool `name` said to the call `id`, which may be nothing.

    Each text of a result is a block, the last one by the path of the result itself; `goes_on` is
    whether this one belongs to the same result as the block before it.
    """

    path: str
    id: str
    name: str
    text: str
    control: CacheControl | None = None
    goes_on: bool = False


Block = Definition | Text | Thought | Call | Result
Role = Literal["tools", "system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class WrittenTurn:
    """Consecutive blocks of one role; results of tools have one of their own.

    A message without anything to read is a turn without blocks.
    """

    role: Role
    blocks: tuple[Block, ...]


# --- what the model reads -------------------------------------------------------------------------


def written_turns(prompt: Prompt, *, system_first: bool = False) -> list[WrittenTurn]:
    """The blocks of `prompt` that the model reads, by turns: tools, system text, messages.

    With `system_first`, the system text stands before the tools, as in models' templates that write
    the tools behind it.
    """
    prompt = expanded(prompt)
    reading = _Reading(prompt)
    reading.add("tools", list(_read_tools(prompt)))
    reading.add("system", list(_read_system(prompt)))
    if system_first:
        reading.turns.reverse()
    last_user = _last_user(prompt)
    for i, message in enumerate(prompt.messages):
        if message.clear_at == "next_user_message" and i < last_user:
            continue
        reading.read(i, message)
    return [WrittenTurn(role, tuple(blocks)) for role, blocks in reading.turns]


def _read_tools(prompt: Prompt) -> Iterator[Definition]:
    """The tools that stand at the beginning; those deferred are read where a result names them."""
    for spec in listed(prompt):
        yield Definition(spec.path, _function(spec), spec.control)


def _function(spec: ToolSpec) -> dict[str, Any]:
    """A tool as templates expect it, who cannot do without a description."""
    return {"name": spec.name, "description": spec.description, **definition(spec)}


def _read_system(prompt: Prompt) -> Iterator[Text]:
    """System blocks without the lines of bookkeeping at their head."""
    at_head = True
    for i, block in enumerate(prompt.system or []):
        text = block.text
        if at_head:
            text = "".join(dropwhile(_is_bookkeeping, text.splitlines(keepends=True)))
        if text:
            at_head = False
            yield Text(f"system.{i}", text, block.cache_control)


def _is_bookkeeping(line: str) -> bool:
    return line.lower().startswith(BOOKKEEPING)


def _last_user(prompt: Prompt) -> int:
    """Index of the last message of the user's, or -1."""
    last = range(len(prompt.messages) - 1, -1, -1)
    return next((i for i in last if prompt.messages[i].role == "user"), -1)


@dataclass(slots=True)
class _Reading:
    """A prompt while it is read: the turns so far, and what later blocks refer to."""

    prompt: Prompt
    turns: list[tuple[Role, list[Block]]] = field(default_factory=list)
    _called: dict[str, str] = field(default_factory=dict)
    _deferred: dict[str, dict[str, Any]] | None = None
    _counting: Counting = field(default_factory=Counting)

    def add(self, role: Role, blocks: Sequence[Block]) -> None:
        """Go on with a turn, or begin one."""
        if self.turns and self.turns[-1][0] == role:
            self.turns[-1][1].extend(blocks)
        elif blocks or role in ("user", "assistant"):
            self.turns.append((role, list(blocks)))

    def read(self, i: int, message: MessageParam) -> None:
        """Add the `i`-th message."""
        empty = True
        for j, block in enumerate(message.content):
            role, blocks = self._blocks(f"messages.{i}.content.{j}", message.role, block)
            if blocks:
                self.add(role, blocks)
                empty = False
        if empty:
            self.add(message.role, [])

    def _blocks(self, path: str, role: Role, block: AnyBlockParam) -> tuple[Role, list[Block]]:
        """What is read of a block, and by whose turn."""
        match block:
            case TextParam(text=text) if text:
                return role, [Text(path, text, block.cache_control)]
            case DocumentParam() | SearchResultParam():
                text = written(block, self._counting.next(block))
                return role, [Text(path, text, block.cache_control)]
            case ThinkingParam(thinking=text) if text:
                return role, [Thought(path, text)]
            case ToolUseParam():
                self._called[block.id] = block.name
                return role, [Call(path, block.id, block.name, block.input, block.cache_control)]
            case ToolResultParam():
                return "tool", [*self._results(path, block)]
            case _:
                return role, []

    def _results(self, path: str, block: ToolResultParam) -> list[Result]:
        """The texts of a result, of which there is always one."""
        shown = [
            (k, self._shown(inner), inner.cache_control) for k, inner in enumerate(block.content)
        ]
        parts = [part for part in shown if part[1]] or [(0, "", None)]
        if block.is_error and not parts[0][1].startswith(ERROR):
            first = parts[0]
            parts[0] = (first[0], f"{ERROR} {first[1] or NO_REASON}", first[2])
        id_, name = block.tool_use_id, self._called.get(block.tool_use_id, "")
        results = [
            Result(f"{path}.content.{k}", id_, name, text, control, goes_on=nth > 0)
            for nth, (k, text, control) in enumerate(parts)
        ]
        # Of two marks on one place the earlier: the later one may not ask for longer.
        control = results[-1].control or block.cache_control
        results[-1] = replace(results[-1], path=path, control=control)
        return results

    def _shown(self, inner: AnyResultParam) -> str:
        """A text, or a referenced tool: its definition, and from the second time on its name."""
        if isinstance(inner, TextParam):
            return inner.text
        if isinstance(inner, DocumentParam | SearchResultParam):
            return written(inner, self._counting.next(inner))
        if not isinstance(inner, ToolReferenceParam):
            return ""
        if self._deferred is None:
            specs = specs_of(self.prompt)
            self._deferred = {spec.name: _function(spec) for spec in specs if spec.deferred}
        found = self._deferred.pop(inner.tool_name, {"name": inner.tool_name})
        return json.dumps(found, ensure_ascii=False, separators=(",", ":"))


_ALWAYS_READ: Final = (ToolUseParam, ImageParam, DocumentParam, SearchResultParam)


def last_read(prompt: Prompt) -> tuple[str, CacheControl | None] | None:
    """Path and mark of the last block that the model reads and that can be marked.

    It looks from the end: a prompt may have a million.
    """
    last_user = _last_user(prompt)
    for i, message in reversed(list(enumerate(prompt.messages))):
        if message.clear_at == "next_user_message" and i < last_user:
            continue
        for j, block in reversed(list(enumerate(message.content))):
            if isinstance(block, _ALWAYS_READ) or (isinstance(block, TextParam) and block.text):
                return f"messages.{i}.content.{j}", block.cache_control
            if isinstance(block, ToolResultParam):
                return f"messages.{i}.content.{j}", _mark_of(block)
    head: list[Definition | Text] = [*_read_tools(prompt), *_read_system(prompt)]
    return (head[-1].path, head[-1].control) if head else None


def _mark_of(block: ToolResultParam) -> CacheControl | None:
    """The mark on a result, or on the last thing in it."""
    shown = [b for b in block.content if not isinstance(b, TextParam) or b.text]
    return (shown[-1].cache_control if shown else None) or block.cache_control


# --- how much there is ----------------------------------------------------------------------------


def text_of(block: AnyBlockParam) -> str:
    """The text of a block, empty where it is of another type."""
    return block.text if isinstance(block, TextParam) else ""


def is_longer(prompt: Prompt, most: int, per_block: int) -> bool:
    """Whether `prompt` has more than `most` characters, where a tool or a block adds `per_block`.

    It stops counting there, and works no more on a long prompt than on one of that length.
    """
    size = 0
    for one in chain(prompt.system or (), _contents(prompt), each_spec(prompt)):
        size += per_block
        for length in _lengths(one):
            size += length
            if size > most:
                return True
    return False


def _contents(prompt: Prompt) -> Iterator[AnyBlockParam]:
    return (block for message in prompt.messages for block in message.content)


def _lengths(one: AnyBlockParam | ToolSpec) -> Iterator[int]:
    """Characters of the strings in a block or a tool."""
    match one:
        case TextParam():
            yield len(one.text)
        case ThinkingParam():
            yield len(one.thinking)
        case ToolUseParam():
            yield from _lengths_in(one.input)
        case ToolResultParam():
            for inner in one.content:
                yield from _lengths_of_part(inner)
        case ImageParam() | DocumentParam() | SearchResultParam():
            yield from _lengths_of_part(one)
        case ToolSpec():
            yield len(one.description)
            yield from _lengths_in(one.schema)
        case _:
            yield 0


def _lengths_of_part(inner: AnyBlockParam | AnyResultParam) -> Iterator[int]:
    if isinstance(inner, TextParam):
        yield len(inner.text)
    elif isinstance(inner, ImageParam):
        yield PICTURE
    elif isinstance(inner, DocumentParam | SearchResultParam):
        yield from lengths_of(inner)


def _lengths_in(value: Any) -> Iterator[int]:
    if isinstance(value, str):
        yield len(value)
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield len(key)
            yield from _lengths_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _lengths_in(inner)
