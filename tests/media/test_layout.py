"""Words on a page to lines, columns and tables, however the page lies."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from renga.media.layout import text_of, upright

LETTER, LINE = 10.0, 20.0  # pixels


def page(*lines: str, angle: float = 0.0) -> str:
    """The text of a page on which each cell of a line, parted by two spaces, is a word."""
    texts, corners = [], []
    for row, line in enumerate(lines):
        column = 0
        for cell in line.split("  "):
            if cell.strip():
                left = (column + len(cell) - len(cell.lstrip())) * LETTER
                right, top = left + len(cell.strip()) * LETTER, row * LINE
                quad = [(left, top), (right, top), (right, top + 16), (left, top + 16)]
                texts.append(cell.strip())
                corners.append([_turned(x, y, angle) for x, y in quad])
            column += len(cell) + 2
    return text_of(upright(texts, corners))


def _turned(x: float, y: float, angle: float) -> tuple[float, float]:
    return x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle)


TABLE = ("Item      Qty   Price", "Pens      2     3.00", "Notebook  10    45.90")


def test_columns_stay_under_each_other() -> None:
    assert page(*TABLE) == "\n".join(TABLE)


def test_lines_far_apart_have_an_empty_one_between() -> None:
    assert page("Title here", "", "", "First line", "Second") == "Title here\n\nFirst line\nSecond"


LEFT = [
    "The river rose in the night and",
    "took the lower bridge with it.",
    "By morning the baker had heard",
    "of it from three neighbours now.",
    "Nobody had been hurt at all.",
]
RIGHT = [
    "The council met in the evening",
    "and voted to build a new one,",
    "of stone this time, and higher.",
    "Work begins after the harvest,",
    "when the water is low again.",
]


def test_columns_of_running_text_are_read_one_after_the_other() -> None:
    rows = [f"{one:<40}  {other}" for one, other in zip(LEFT, RIGHT, strict=True)]
    head = "A flood on the river and what became of the old bridge of the village"
    read = page(head, *rows)
    assert read.split() == " ".join([head, *LEFT, *RIGHT]).split()


@settings(deadline=None)
@given(st.floats(-0.08, 0.08))
def test_a_page_that_lies_askew_reads_the_same(angle: float) -> None:
    assert page(*TABLE, angle=angle) == page(*TABLE)


WORDS = st.lists(
    st.tuples(
        st.text("abc dé中", min_size=1, max_size=12),
        st.floats(0, 500),
        st.floats(0, 500),
        st.floats(1, 200),
        st.floats(1, 60),
    ),
    max_size=12,
)


@settings(deadline=None)
@given(WORDS)
def test_no_word_is_lost_or_made_up(found) -> None:
    texts = [text for text, *_ in found]
    quads = [[(x, y), (x + w, y), (x + w, y + h), (x, y + h)] for _, x, y, w, h in found]
    read = text_of(upright(texts, quads))
    assert sorted("".join(read.split())) == sorted("".join("".join(texts).split()))


def test_nothing_is_no_text() -> None:
    assert text_of(upright([], [])) == ""
