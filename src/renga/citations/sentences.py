"""Sentences: where one ends, in a text that is there and in one that is still coming.

Owns the rule where a sentence ends. It looks at the text up to the first character behind the white
space that follows, and no further, so that a text that comes in pieces is cut as if it were whole.
White space behind a sentence is part of it. It knows a few abbreviations of English, and the marks
of scripts that are written without spaces.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

LONGEST: Final = 600
"""Characters after which a sentence ends at the next white space."""
MOST: Final = 2_000
"""Characters after which it ends wherever it is."""
LOOK_BACK: Final = 40
"""Characters before a pause that tell whether a sentence ends there."""
FULL_LINE: Final = 40
"""Characters of a line of a document that was wrapped; a shorter one ends by itself."""

# A run of white space, or a full stop that needs none, with what closes quotes behind it.
_PAUSE: Final = re.compile(r"\s++(?=\S)|(?<=[。！？])[」』”’）]*+\s*+(?=\S)")
_STOPPED: Final = re.compile(r"[.!?…]+[\"'”’»)\]*_`]*\Z")
_WORD_BEFORE: Final = re.compile(r"([^\s\"'“‘(\[]*)\.\Z")
_LIST_ITEM: Final = re.compile(r"[-*•–|#>]|\d{1,3}[.)]\s")
_ABBREVIATIONS: Final = frozenset(
    "al approx apr aug ca cf co corp dec dept dr e.g ed eq est etc feb fig figs gen hon i.e inc "
    "jan jr jul jun lt ltd mr mrs ms mt no nos nov oct p pp prof rev sec sep sept sr st vol "
    "vs".split()
)


def _ends(before: str, gap: str, following: str) -> bool:
    """Whether `before` is a whole sentence, with the white space `gap` and a character behind."""
    if before[-1:] in "。！？」』”’）" and not gap:
        return True
    if before[-1:] in "。！？":
        return True
    if not _STOPPED.search(before):
        return False
    word = _WORD_BEFORE.search(before)
    if word is None:
        return True
    if following.islower():
        return False
    name = word[1].lower()
    is_initial = len(name) == 1 and name.isalpha()
    is_number_of_item = name.isdigit() and word.start() == len(before) - len(before.lstrip())
    return not (name in _ABBREVIATIONS or is_initial or is_number_of_item)


class Cutter:
    """Cuts a text that comes in pieces into sentences."""

    def __init__(self) -> None:
        self._text = ""
        self._seen = 0

    def take(self, piece: str) -> list[str]:
        """The sentences that `piece` completes."""
        self._text += piece
        found = []
        while (end := self._end()) is not None:
            found.append(self._text[:end])
            self._text, self._seen = self._text[end:], 0
        return found

    def rest(self) -> str:
        """What is left when no more comes."""
        text, self._text, self._seen = self._text, "", 0
        return text

    def _end(self) -> int | None:
        """Where the first sentence ends, if that can be told yet."""
        start = len(self._text) - len(self._text.lstrip())
        for pause in _PAUSE.finditer(self._text, max(self._seen, start), MOST + 1):
            at = pause.start()
            self._seen = at
            gap = pause[0]
            is_long = at - start >= LONGEST
            if (
                "\n" in gap
                or is_long
                or _ends(self._text[max(0, at - LOOK_BACK) : at], gap, self._text[pause.end()])
            ):
                return min(pause.end(), MOST)
        return MOST if len(self._text) > MOST else None


def spans_of(text: str) -> list[tuple[int, int]]:
    """Where the sentences of a document begin and end, white space around them left out.

    A line that ends in the middle of a sentence was wrapped; an empty line ends one.
    """
    found: list[tuple[int, int]] = []
    start = len(text) - len(text.lstrip())
    # White space at the end is left out of the search: nothing follows it, which would be found
    # out again for each of its characters.
    end = len(text.rstrip())
    for pause in _PAUSE.finditer(text, start, end):
        if _parts(text, start, pause):
            found += _bounded(start, pause.start() + len(pause[0].rstrip()))
            start = pause.end()
    return [*found, *_bounded(start, end)]


def _bounded(start: int, end: int) -> Iterator[tuple[int, int]]:
    """A sentence in parts of MOST characters, where it has more; white space has ended it before
    that, so that none is at their ends.
    """
    return ((at, min(at + MOST, end)) for at in range(start, end, MOST))


def _parts(text: str, start: int, pause: re.Match[str]) -> bool:
    """Whether a sentence of a document that began at `start` ends at `pause`."""
    at, gap, behind = pause.start(), pause[0], pause.end()
    if at - start >= LONGEST:
        return True
    lines = gap.count("\n")
    if lines > 1 or (lines and _LIST_ITEM.match(text, behind)):
        return True
    if lines:
        line = text.rfind("\n", 0, at) + 1
        if at - line < FULL_LINE and not text[behind].islower():
            return True
    return _ends(text[max(start, at - LOOK_BACK) : at], gap, text[behind])
