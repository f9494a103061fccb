"""Prompt caching by the API's rules: what a prompt consists of, where it is marked, what is near.

Owns: a prompt is a row of positions, its content blocks in the order system, messages, and each has
a digest of everything up to it that the model reads, so that equal digests mean equal beginnings;
lines that are only a client's bookkeeping are no part of it; which marks a request may carry, and
how far behind a mark an earlier entry may lie. It knows no tokens, no lifetimes' clock and no
entries: those are the engine's.

Source: "Prompt caching" of the API's documentation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import dropwhile
from typing import Final, Literal

from renga.errors import InvalidRequest
from renga.types import AnyBlockParam, CacheControl, Prompt, TextParam

Ttl = Literal["5m", "1h"]
TTL_SECONDS: Final[dict[Ttl, int]] = {"5m": 300, "1h": 3600}

MOST_BREAKPOINTS: Final = 4
LOOK_BACK: Final = 20
"""Positions at which a breakpoint looks for an entry, itself included."""

# The first line of the system text of some clients; it changes with every call (lessons, 1).
BOOKKEEPING = "x-anthropic-billing-header"

_KEY_BYTES = 16


@dataclass(frozen=True, slots=True)
class Block:
    """A content block that the model reads. `path` is where the caller wrote it."""

    path: str
    text: str
    control: CacheControl | None = None


@dataclass(frozen=True, slots=True)
class WrittenTurn:
    """Consecutive messages of one role. A message without text is a turn without blocks."""

    role: str
    blocks: tuple[Block, ...]


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


# --- what the model reads -------------------------------------------------------------------------


def written_turns(prompt: Prompt) -> list[WrittenTurn]:
    """The blocks of `prompt` that the model reads, system text first, by turns."""
    turns: list[tuple[str, list[Block]]] = []
    system = list(_read_system(prompt))
    if system:
        turns.append(("system", system))
    for i, message in enumerate(prompt.messages):
        read = [
            Block(f"messages.{i}.content.{j}", text_of(block), control_of(block))
            for j, block in enumerate(message.content)
            if text_of(block)
        ]
        if turns and turns[-1][0] == message.role:
            turns[-1][1].extend(read)
        else:
            turns.append((message.role, read))
    return [WrittenTurn(role, tuple(blocks)) for role, blocks in turns]


def _read_system(prompt: Prompt) -> Iterator[Block]:
    """System blocks without the lines of bookkeeping at their head."""
    at_head = True
    for i, block in enumerate(prompt.system or []):
        text = block.text
        if at_head:
            text = "".join(dropwhile(_is_bookkeeping, text.splitlines(keepends=True)))
        if text:
            at_head = False
            yield Block(f"system.{i}", text, block.cache_control)


def _is_bookkeeping(line: str) -> bool:
    return line.lower().startswith(BOOKKEEPING)


def text_of(block: AnyBlockParam) -> str:
    """The text of a block, empty where it is of another type."""
    return block.text if isinstance(block, TextParam) else ""


def control_of(block: AnyBlockParam) -> CacheControl | None:
    """The mark on a block, where its type can carry one."""
    control: CacheControl | None = getattr(block, "cache_control", None)
    return control


def positions(turns: Sequence[WrittenTurn]) -> list[Position]:
    """The ends of all blocks, in order."""
    digest = hashlib.blake2b(digest_size=_KEY_BYTES)
    found = []
    for i, turn in enumerate(turns):
        # Lengths keep apart what would read the same in a row: borders are part of the prompt.
        digest.update(f"<{turn.role}>".encode())
        for j, block in enumerate(turn.blocks):
            raw = block.text.encode("utf-8", "surrogatepass")
            digest.update(f"{len(raw)}:".encode())
            digest.update(raw)
            found.append(Position(block.path, i, j, digest.digest()))
    return found


# --- where it is marked ---------------------------------------------------------------------------


def check(prompt: Prompt) -> None:
    """Raise InvalidRequest, in the API's words, where the marks of `prompt` break its rules."""
    if not is_marked(prompt):
        return
    marked = list(_marked(prompt))
    for path, block in marked:
        if isinstance(block, TextParam) and not block.text:
            raise InvalidRequest(f"{path}.text: cache_control cannot be set for empty text blocks")
    # The mark on the request takes a slot even where it adds nothing: so the API counts.
    count = len(marked) + (prompt.cache_control is not None)
    if count > MOST_BREAKPOINTS:
        raise InvalidRequest(
            f"A maximum of {MOST_BREAKPOINTS} blocks with cache_control may be provided. "
            f"Found {count}."
        )
    controls = [(f"{path}.cache_control", control_of(block)) for path, block in marked]
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


def _marked(prompt: Prompt) -> Iterator[tuple[str, AnyBlockParam]]:
    """The marked blocks as they were written, with their paths, in the order of caching."""
    for i, block in enumerate(prompt.system or []):
        if block.cache_control is not None:
            yield f"system.{i}", block
    for i, message in enumerate(prompt.messages):
        for j, inner in enumerate(message.content):
            if control_of(inner) is not None:
                yield f"messages.{i}.content.{j}", inner


def _last_read(prompt: Prompt) -> Block | None:
    """The last block that the model reads. It looks from the end: a prompt may have a million."""
    for i, message in reversed(list(enumerate(prompt.messages))):
        for j, block in reversed(list(enumerate(message.content))):
            if text_of(block):
                return Block(f"messages.{i}.content.{j}", text_of(block), control_of(block))
    return next(iter([*_read_system(prompt)][-1:]), None)


def _automatic(prompt: Prompt) -> str | None:
    """Path of the block that the mark on the whole request falls on, where it adds a breakpoint.

    That is the last block that can be marked; nothing where it is marked so already.
    """
    if prompt.cache_control is None:
        return None
    last = _last_read(prompt)
    if last is None:
        return None
    if last.control is None:
        return last.path
    asked, own = ttl_of(prompt.cache_control), ttl_of(last.control)
    if asked != own:
        raise InvalidRequest(
            f"cache_control.ttl: '{asked}' for the last block, but {last.path} is marked with "
            f"ttl='{own}'; accepted: the same ttl in both, or only one of the two marks"
        )
    return None


def breakpoints(
    prompt: Prompt, turns: Sequence[WrittenTurn], found: Sequence[Position]
) -> list[Marked]:
    """The breakpoints of a prompt that `check` accepts, in order, over its positions `found`."""
    automatic = _automatic(prompt)
    marked = []
    for at, position in enumerate(found):
        control = turns[position.turn].blocks[position.block].control
        if position.path == automatic:
            control = prompt.cache_control
        if control is not None:
            marked.append(Marked(at, ttl_of(control)))
    return marked


def is_marked(prompt: Prompt) -> bool:
    """Whether `prompt` asks for caching anywhere. Quick, because most do not."""
    if prompt.cache_control is not None:
        return True
    contents: list[Sequence[AnyBlockParam]] = [prompt.system or []]
    contents += [message.content for message in prompt.messages]
    return any(control_of(block) is not None for content in contents for block in content)
