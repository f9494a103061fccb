"""Where sentences end: in a text that is there, and in one that comes in any pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renga.citations.sentences import LONGEST, MOST, Cutter, spans_of

# Texts with much of what decides where a sentence ends.
TEXTS = st.lists(
    st.sampled_from(
        ["Dr", "A", "e.g", "3", "14", "word", "Word", ".", "!", "?", "…", " ", "  ", "\n", "\n\n",
         "。", "」", "你好", '"', ")", "- ", "1. ", ",", "x" * 50, "\u00a0"]
    ),
    max_size=60,
).map("".join) | st.text(max_size=200)  # fmt: skip


def cut(pieces: list[str]) -> list[str]:
    cutter = Cutter()
    found = [sentence for piece in pieces for sentence in cutter.take(piece)]
    rest = cutter.rest()
    return [*found, rest] if rest else found


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three? Four", ["One. ", "Two! ", "Three? ", "Four"]),
        ("Dr. A. Who ate 3.14 of No. 5 today.", ["Dr. A. Who ate 3.14 of No. 5 today."]),
        ('He said "Go." Then he went.', ['He said "Go." ', "Then he went."]),
        ("See e.g. the U.S. market. Next.", ["See e.g. the U.S. market. ", "Next."]),
        ("First line\nSecond line", ["First line\n", "Second line"]),
        ("1. An item.\n2. Another.", ["1. An item.\n", "2. Another."]),
        ("版本一。版本二！「好。」然后", ["版本一。", "版本二！", "「好。」", "然后"]),
        ("It costs $5.00. (Really.) Yes.", ["It costs $5.00. ", "(Really.) ", "Yes."]),
        ("Wait... what? No.", ["Wait... what? ", "No."]),
        ("", []),
        ("  \n ", ["  \n "]),
    ],
)  # fmt: skip
def test_sentences_end_where_people_end_them(text: str, sentences: list[str]) -> None:
    assert cut([text]) == sentences


@given(TEXTS, st.data())
def test_however_a_text_comes_it_is_cut_alike_and_nothing_is_lost(text: str, data: st.DataObject):
    whole = cut([text])
    assert "".join(whole) == text
    places = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]
    assert cut(pieces) == whole
    assert cut(list(text)) == whole


def test_a_sentence_without_an_end_is_ended() -> None:
    assert [len(s) for s in cut(["x" * (MOST + 10)])] == [MOST, 10]
    words = cut(["word " * 1000])
    assert all(LONGEST <= len(s) <= LONGEST + 5 for s in words[:-1])


@given(TEXTS)
def test_the_sentences_of_a_document_are_its_own_words_in_order(text: str) -> None:
    spans = spans_of(text)
    assert all(text[start:end].strip() == text[start:end] != "" for start, end in spans)
    assert all(a[1] <= b[0] for a, b in zip(spans, spans[1:], strict=False))
    assert "".join("".join(text[a:b].split()) for a, b in spans) == "".join(text.split())


def test_wrapped_lines_are_one_sentence_and_lists_are_several() -> None:
    wrapped = (
        "The tower was built between 1887 and 1889 by the company\n"
        "of Gustave Eiffel. It is made of wrought iron and weighs\n10,100 tonnes.\n\n"
        "Prices\n- Adults: 30 euros\n- Children: 15 euros\n"
    )
    assert [wrapped[a:b] for a, b in spans_of(wrapped)] == [
        "The tower was built between 1887 and 1889 by the company\nof Gustave Eiffel.",
        "It is made of wrought iron and weighs\n10,100 tonnes.",
        "Prices",
        "- Adults: 30 euros",
        "- Children: 15 euros",
    ]


def test_much_white_space_at_the_end_is_passed_over_once() -> None:
    # Looked at again from each of its characters, this would take hours.
    assert spans_of("One. Two." + " \n" * 1_000_000) == [(0, 4), (5, 9)]


def test_a_document_without_pauses_has_bounded_sentences() -> None:
    text = "x" * (2 * MOST + 5)
    assert spans_of(f" {text} ") == [
        (1, 1 + MOST),
        (1 + MOST, 1 + 2 * MOST),
        (1 + 2 * MOST, 6 + 2 * MOST),
    ]
