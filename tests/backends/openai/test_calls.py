"""Calls in pieces: however a server numbers, names and cuts them, the same calls come of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renga.backends.openai.calls import Arguments, Begun, BrokenCall, CallReader, Ended, Part
from renga.backends.openai.chunks import CallPiece, Function

Calls = list[tuple[str, dict[str, Any]]]

values = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
arguments = st.dictionaries(st.text(max_size=5), values, max_size=3)
calls = st.lists(st.tuples(st.sampled_from(["add", "get_weather", "f"]), arguments), max_size=4)


def read(reader: CallReader, pieces: Sequence[CallPiece], *, cut: bool = False) -> list[Part]:
    parts = [part for piece in pieces for part in reader.feed(piece)]
    return [*parts, *reader.finish(cut=cut)]


def built(parts: Sequence[Part]) -> Calls:
    """The calls that parts amount to; raises where one begins before the other ended."""
    found: list[tuple[str, list[str]]] = []
    is_open = False
    for part in parts:
        if isinstance(part, Begun):
            assert not is_open
            is_open = True
            found.append((part.name, []))
        elif isinstance(part, Arguments):
            assert is_open
            assert part.text
            found[-1][1].append(part.text)
        else:
            assert isinstance(part, Ended)
            assert is_open
            is_open = False
    assert not is_open
    return [(name, json.loads("".join(texts) or "{}")) for name, texts in found]


def cuts(data: st.DataObject, text: str) -> list[str]:
    places = data.draw(st.lists(st.integers(0, len(text)), max_size=4).map(sorted))
    bounds = [0, *places, len(text)]
    return [text[a:b] for a, b in zip(bounds, bounds[1:], strict=False)]


def piece(index: int | None, id: str | None, name: str | None, text: Any) -> CallPiece:
    return CallPiece(index, id, Function(name, text))


def numbered(data: st.DataObject, wanted: Calls) -> Iterator[list[CallPiece]]:
    """The pieces of each call as OpenAI numbers them, with what servers vary."""
    again = data.draw(st.booleans())  # the name stands on every piece
    told = data.draw(st.booleans())  # ids are told
    step = data.draw(st.integers(1, 3))  # indices have gaps
    for n, (name, values) in enumerate(wanted):
        id = f"call_{n}" if told or again else None
        written = json.dumps(values, ensure_ascii=data.draw(st.booleans()))
        first, *rest = cuts(data, written)
        pieces = [piece(n * step, id, name, first)]
        id_again, name_again = (id, name) if again else (None, None)
        pieces += [piece(n * step, id_again, name_again, text or None) for text in rest]
        yield pieces


@given(calls, st.data())
def test_calls_one_after_the_other_are_read_however_they_are_cut(
    wanted: Calls, data: st.DataObject
) -> None:
    reader = CallReader()
    pieces = [piece for one in numbered(data, wanted) for piece in one]
    assert built(read(reader, pieces)) == wanted
    assert reader.called == bool(wanted)


@given(calls, st.data())
def test_calls_whose_pieces_come_by_turns_are_told_one_after_the_other(
    wanted: Calls, data: st.DataObject
) -> None:
    queues = list(numbered(data, wanted))
    pieces = [queue.pop(0) for queue in queues]
    while any(queues):
        queue = data.draw(st.sampled_from([queue for queue in queues if queue]))
        pieces.append(queue.pop(0))
    # A call whose first piece is whole ends where the next begins: nothing follows but blanks.
    pieces = [p for p in pieces if p.function and (p.function.name or p.function.arguments)]
    assert built(read(CallReader(), pieces)) == wanted


@given(calls, st.sampled_from(["index", "zero", "nothing"]), st.booleans(), st.booleans())
def test_whole_calls_are_read_whatever_numbers_them(
    wanted: Calls, numbers: str, told: bool, as_objects: bool
) -> None:
    pieces = []
    for n, (name, values) in enumerate(wanted):
        index = {"index": n, "zero": 0, "nothing": None}[numbers]
        written = values if as_objects else json.dumps(values)
        pieces.append(piece(index, f"call_{n}" if told else None, name, written))
    assert built(read(CallReader(), pieces)) == wanted


@given(calls, st.data())
def test_of_several_calls_one_is_told_where_one_is_wanted(
    wanted: Calls, data: st.DataObject
) -> None:
    pieces = [piece for one in numbered(data, wanted) for piece in one]
    assert built(read(CallReader(single=True), pieces)) == wanted[:1]


@pytest.mark.parametrize("nothing", [None, "", "null", " ", {}])
def test_a_call_without_arguments_has_none(nothing: Any) -> None:
    assert built(read(CallReader(), [piece(0, "a", "f", nothing)])) == [("f", {})]


def test_a_name_may_come_behind_the_first_piece() -> None:
    pieces = [
        piece(0, "a", None, ""),
        piece(0, None, "f", None),
        CallPiece(0),
        piece(0, None, None, "{}"),
    ]
    assert built(read(CallReader(), pieces)) == [("f", {})]


@pytest.mark.parametrize(
    ("pieces", "why"),
    [
        ([piece(0, "a", "f", '{"a": ')], "no JSON object"),
        ([piece(0, "a", "f", "[1]")], "no JSON object"),
        ([piece(0, "a", "f", '"x"')], "no JSON object"),
        ([piece(0, "a", None, "{}")], "without a name"),
        ([piece(0, "a", "f", "{}"), piece(1, "b", "g", "{}"), piece(0, "a", None, "x")], "over"),
        ([piece(0, "a", "f", "[" * 100_000)], "no JSON object"),
    ],
)
def test_what_is_no_call_is_refused(pieces: list[CallPiece], why: str) -> None:
    with pytest.raises(BrokenCall, match=why):
        read(CallReader(), pieces)


def test_a_call_that_was_cut_with_its_answer_is_told_as_far_as_it_came() -> None:
    parts = read(CallReader(), [piece(0, "a", "f", '{"a": [1, ')], cut=True)
    assert parts == [Begun("f"), Arguments('{"a": [1, '), Ended()]
