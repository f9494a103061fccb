"""JSON as it is written: where it ends, and that every beginning of it can be read."""

from __future__ import annotations

import json
from typing import Any

import jiter
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from renga.chat.jsontext import LONGEST_NUMBER, MOST_LEVELS, JsonValue

scalars = st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.text()
numbers = st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    scalars | numbers,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
texts = st.builds(
    lambda value, indent, ascii_: json.dumps(value, indent=indent, ensure_ascii=ascii_),
    values,
    st.sampled_from([None, 0, 2]),
    st.booleans(),
)


def read(text: str, cuts: list[int] | None = None) -> tuple[str, str, JsonValue]:
    """What was accepted of `text` cut at `cuts`, what was left over, and the value."""
    value, out, rest = JsonValue(), "", ""
    places = [0, *sorted(cuts or []), len(text)]
    for begin, end in zip(places, places[1:], strict=False):
        piece = text[begin:end]
        accepted, at = value.feed(piece)
        out, rest = out + accepted, rest + piece[at:]
    return out, rest, value


@settings(deadline=None)
@given(texts)
def test_a_json_text_is_accepted_whole(text: str) -> None:
    out, rest, value = read(text + " ")
    assert (out, rest, value.done) == (text, " ", True)


@settings(deadline=None)
@given(texts, st.sampled_from(["x", "}", '"', ",", "]", "\n</tool_call>"]), st.data())
def test_the_end_is_found_however_the_text_is_cut(text: str, behind: str, data: Any) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(text + behind)), max_size=6))
    out, rest, _ = read(text + behind, cuts)
    assert (out, rest) == (text, behind)


@settings(deadline=None)
@given(st.text('{}[]",:\\udD8c0eE+-.19tfnrulse \n\x01', max_size=40), st.data())
@example('"\\ud83d\\ude00"', None)
@example('"\\ud83d"', None)
@example('"\\ud83d\\n"', None)
@example('"\\ude00\\ud83d\\ud83d\\ude00x"', None)
@example('{"a":"\\ud83dz"}', None)
@example("[1e5,-0.5]", None)
@example("[01]", None)
def test_what_is_accepted_of_anything_is_the_beginning_of_json(text: str, data: Any) -> None:
    """The oracle reads each beginning as the official SDK does, and the whole as `json` does."""
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=6)) if data else []
    out, rest, value = read(text, cuts)
    for end in range(1, len(out) + 1):
        # In a list, for beginnings of a string or a number by itself are beyond that parser.
        jiter.from_json(f"[{out[:end]}".encode(), partial_mode=True)
    if value.done:
        assert json.loads(out) == jiter.from_json(out.encode())
    elif not value.broken:
        assert rest == ""
    # Cuts change nothing.
    assert read(text)[:2] == (out, rest)


def test_whether_a_text_is_json_is_what_json_says() -> None:
    for text in ("[1,]", '{"a"}', "{,}", "tru", "[1 2]", '{"a":1,}', "nul l", "- 1", "1.", '"\t"'):
        with pytest.raises(ValueError, match=r".+"):
            json.loads(text)
        _, rest, value = read(text + "\n")
        assert not value.done
        assert value.broken == bool(rest)


def test_a_half_of_a_character_is_written_as_none() -> None:
    assert read('"\\ud83d\\ud83d\\ude00\\udc00."')[0] == '"\\ufffd\\ud83d\\ude00\\ufffd."'


def test_a_number_that_no_client_would_read_ends_the_value() -> None:
    out, rest, value = read("[" + "7" * 5_000)
    assert value.broken
    assert len(out) == LONGEST_NUMBER + 1
    assert jiter.from_json(out.encode(), partial_mode=True) == [int("7" * LONGEST_NUMBER)]
    assert rest == "7" * (5_000 - LONGEST_NUMBER)


def test_what_no_client_would_read_for_its_depth_ends_the_value() -> None:
    deep = '{"a":[' * (MOST_LEVELS // 2)
    whole = deep + "]}" * (MOST_LEVELS // 2)
    assert read(whole)[2].done
    out, rest, value = read(deep + "[1")
    assert value.broken
    assert (out, rest) == (deep, "[1")
    jiter.from_json(out.encode(), partial_mode=True)
