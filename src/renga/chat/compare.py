"""Where two prompts part: the first token that differs, and what a cache mark would read of it.

Owns what "equal up to there" means for a person: the place is named by the block that it stands in,
as the caller wrote it. It asks no engine: what is really in memory is what usage says.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Final

from renga.caching import Marked, Position, Ttl, breakpoints, check, positions
from renga.chat.render import ChatTemplate, Measured
from renga.types import Prompt

BLOCK_TOKENS: Final = 32
"""Tokens of one of the engine's blocks; an entry of the cache is a row of whole ones."""

AROUND = 40  # characters of text on each side of the place where two prompts part


@dataclass(frozen=True)
class Parting:
    """One prompt at the first token that differs.

    `path` is the block that it stands in, or None in what the template adds behind the last block;
    `before` and `after` are the text around it.
    """

    path: str | None
    before: str
    after: str


@dataclass(frozen=True)
class WouldRead:
    """A mark of the second prompt, and the tokens that it reads where the first one was just sent.

    `found` is the block whose entry it finds, or None.
    """

    path: str
    ttl: Ttl
    tokens: int
    found: str | None
    reads: int


@dataclass(frozen=True)
class Comparison:
    """What two prompts share. Sizes in tokens. `partings` is empty where one begins with the other.

    `marks` are those of the second.
    """

    sizes: tuple[int, int]
    shared: int
    partings: tuple[Parting, ...]
    marks: list[WouldRead]

    @property
    def whole_blocks(self) -> int:
        """Whole blocks of the engine in what is shared."""
        return self.shared // BLOCK_TOKENS


@dataclass(frozen=True)
class _Side:
    """One prompt with all that is known of it."""

    found: list[Position]
    marked: list[Marked]
    measured: Measured


def compare(template: ChatTemplate, first: Prompt, second: Prompt, least: int) -> Comparison:
    """Compare two prompts of one model. `least` tokens is the shortest prefix that is cached.

    Raises InvalidRequest for what a server would refuse too.
    """
    one, other = _read(template, first), _read(template, second)
    ours, theirs = one.measured.tokens, other.measured.tokens
    both = min(len(ours), len(theirs))
    shared = next((i for i in range(both) if ours[i] != theirs[i]), both)
    partings: tuple[Parting, ...] = ()
    if not _goes_on(one, other, shared):
        partings = (_part(template, one, shared), _part(template, other, shared))
    marks = [_would_read(one, other, mark, shared, least) for mark in other.marked]
    return Comparison((len(ours), len(theirs)), shared, partings, marks)


def _read(template: ChatTemplate, prompt: Prompt) -> _Side:
    check(prompt)
    turns = template.read(prompt)
    found = positions(prompt, turns)
    return _Side(found, breakpoints(prompt, turns, found), template.measure(prompt, turns, found))


def _goes_on(one: _Side, other: _Side, shared: int) -> bool:
    """Whether one of the two holds all that the other says, and reads the same up to there."""
    short = min(one, other, key=lambda side: len(side.found))
    count = len(short.found)
    same = [p.key for p in one.found[:count]] == [p.key for p in other.found[:count]]
    return same and shared >= (short.measured.lengths[-1] if count else 0)


def _part(template: ChatTemplate, side: _Side, shared: int) -> Parting:
    measured = side.measured
    begins = template.tokenizer.begins(measured.text, measured.breaker)
    at = begins[shared] if shared < len(begins) else len(measured.text)
    nth = bisect_right(measured.ends, at)
    path = side.found[nth].path if nth < len(side.found) else None
    before, after = measured.text[max(0, at - AROUND) : at], measured.text[at : at + AROUND]
    if measured.breaker is not None:
        before, after = (part.replace(measured.breaker, "") for part in (before, after))
    return Parting(path, before, after)


def _would_read(one: _Side, other: _Side, mark: Marked, shared: int, least: int) -> WouldRead:
    lengths = one.measured.lengths
    entries = {one.found[m.at].key: lengths[m.at] for m in one.marked if lengths[m.at] >= least}
    reads, found = 0, None
    for at in mark.looks_at:
        kept = entries.get(other.found[at].key)
        if kept is not None:
            reads = min(kept, shared) // BLOCK_TOKENS * BLOCK_TOKENS
            found = other.found[at].path
            break
    here = other.found[mark.at]
    return WouldRead(here.path, mark.ttl, other.measured.lengths[mark.at], found, reads)
