"""From words somewhere on a page to text that reads as the page does.

Owns the layout: words of one height are a line, a wider gap between them becomes more spaces, so
that the columns of a table or a receipt stay under each other; lines that are far apart have an
empty one between them; columns of running text are read one after the other. A page that was
scanned askew is turned upright first. It knows no pixels and no recognition.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Final

_WIDEST_GAP: Final = 24  # spaces
_SAME_LINE: Final = 0.5  # of the lower one's height, by which words of one line overlap
_EMPTY_LINE: Final = 1.6  # line heights from one line's middle to the next one's
_RUNNING: Final = 22  # letters of a line that is running text and no cell of a table
_COLUMN_LINES: Final = 4

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Word:
    """Some letters in a row, and the rectangle around them: pixels from the upper left corner."""

    text: str
    left: float
    top: float
    right: float
    bottom: float

    @property
    def middle(self) -> float:
        return (self.top + self.bottom) / 2

    @property
    def height(self) -> float:
        return max(self.bottom - self.top, 1.0)

    @property
    def width(self) -> float:
        return max(self.right - self.left, 1.0)


def upright(texts: Sequence[str], corners: Sequence[Sequence[Point]]) -> list[Word]:
    """Words by their four corners (upper left first, clockwise), on a page turned upright."""
    told = [(text.strip(), quad) for text, quad in zip(texts, corners, strict=True)]
    told = [(text, quad) for text, quad in told if text]
    angle = _slope([quad for _, quad in told])
    cos, sin = math.cos(-angle), math.sin(-angle)
    words = []
    for text, quad in told:
        turned = [(x * cos - y * sin, x * sin + y * cos) for x, y in quad]
        left, right = sorted((_mean(turned[0][0], turned[3][0]), _mean(turned[1][0], turned[2][0])))
        top, bottom = sorted((_mean(turned[0][1], turned[1][1]), _mean(turned[3][1], turned[2][1])))
        words.append(Word(text, left, top, right, bottom))
    return words


def _slope(quads: Sequence[Sequence[Point]]) -> float:
    """The angle of most of the writing, in radians; of the words long enough to tell it."""
    found = sorted(
        (math.atan2(q[1][1] - q[0][1], q[1][0] - q[0][0]), q[1][0] - q[0][0])
        for q in quads
        if q[1][0] - q[0][0] > 2 * abs(q[3][1] - q[0][1])
    )
    half, weight = sum(wide for _, wide in found) / 2, 0.0
    for angle, wide in found:
        weight += wide
        if weight >= half:
            return angle
    return 0.0


def _mean(one: float, other: float) -> float:
    return (one + other) / 2


def text_of(words: Sequence[Word]) -> str:
    """The page as text; empty for no words."""
    if not words:
        return ""
    letter = median(word.width / len(word.text) for word in words)
    return "\n\n".join("\n".join(_written(part, letter)) for part in _in_order(_lines(words)))


# --- columns --------------------------------------------------------------------------------------


def _in_order(lines: list[list[Word]]) -> list[list[list[Word]]]:
    """The parts of a page in the order in which they are read, each of lines."""
    at = _gutter(lines)
    if at is None:
        return [lines] if lines else []
    start, end = _longest_run([not any(w.left < at < w.right for w in line) for line in lines])
    beside = [word for line in lines[start:end] for word in line]
    left = [word for word in beside if word.right <= at]
    right = [word for word in beside if word.left >= at]
    if not (_runs(left) and _runs(right)):
        return [lines]
    columns = [*_in_order(_lines(left)), *_in_order(_lines(right))]
    return [*_in_order(lines[:start]), *columns, *_in_order(lines[end:])]


def _gutter(lines: Sequence[Sequence[Word]]) -> float | None:
    """Where two columns of running text part, if there are any: the middle of most gaps."""
    gaps = [
        _mean(one.right, other.left)
        for line in lines
        for one, other in pairwise(line)
        if min(len(one.text), len(other.text)) >= _RUNNING and other.left > one.right
    ]
    return median(gaps) if len(gaps) >= _COLUMN_LINES else None


def _longest_run(fits: Sequence[bool]) -> tuple[int, int]:
    """Where the longest row of truths begins and ends."""
    best, start = (0, 0), 0
    for at, fit in enumerate([*fits, False]):
        if not fit:
            best = max(best, (start, at), key=lambda run: run[1] - run[0])
            start = at + 1
    return best


def _runs(words: Sequence[Word]) -> bool:
    """Whether a column is running text: several lines, most of them long."""
    return len(words) >= _COLUMN_LINES and median(len(w.text) for w in words) >= _RUNNING


# --- lines ----------------------------------------------------------------------------------------


def _lines(words: Sequence[Word]) -> list[list[Word]]:
    """Words by lines from top to bottom, each from left to right."""
    lines: list[list[Word]] = []
    for word in sorted(words, key=lambda word: word.middle):
        near = lines[-1] if lines else []
        if any(_on_one_line(word, other) for other in near[-4:]):
            near.append(word)
        else:
            lines.append([word])
    return [sorted(line, key=lambda word: word.left) for line in lines]


def _on_one_line(one: Word, other: Word) -> bool:
    overlap = min(one.bottom, other.bottom) - max(one.top, other.top)
    return overlap >= _SAME_LINE * min(one.height, other.height)


def _written(lines: Sequence[Sequence[Word]], letter: float) -> list[str]:
    """The lines of one column as text, with empty ones where there is room for them."""
    words = [word for line in lines for word in line]
    margin = min(word.left for word in words)
    heights = median(word.height for word in words)
    written: list[str] = []
    before: float | None = None
    for line in lines:
        middle = sum(word.middle for word in line) / len(line)
        if before is not None and middle - before > _EMPTY_LINE * max(heights, line[0].height):
            written.append("")
        written.append(_line(line, margin, letter))
        before = middle
    return written


def _line(line: Sequence[Word], margin: float, letter: float) -> str:
    """One line: what stands further right begins further right, after a space at least."""
    text, end = "", margin
    for word in line:
        gap = round((word.left - end) / letter)
        if not text:
            text = " " * min(max(gap, 0), _WIDEST_GAP)
        elif word.left - end > 0.3 * letter:
            text += " " * min(max(gap, 1), _WIDEST_GAP)
        text += word.text
        end = word.right
    return text
