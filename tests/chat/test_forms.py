"""A model's text in parts: the same ones however it is cut, and nothing lost on the way."""

from __future__ import annotations

import json
from itertools import groupby
from typing import Any

import jiter
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renga.chat.forms import (
    HERMES,
    CallBegin,
    CallEnd,
    CallJson,
    Part,
    Reader,
    Text,
)

ARGUMENTS = '{"a":17,"b":[2,{"c":"</tool_call> \\u00fc"}]}'
CALL = f'<tool_call>\n{{"name":"add","arguments":{ARGUMENTS}}}\n</tool_call>'
ADD: list[Part] = [CallBegin("add"), CallJson(ARGUMENTS), CallEnd(True)]

# Beside calls as they should be: text that looks like one, calls that break off, strange spacing.
SCRAPS = [
    CALL,
    '<tool_call>{"name": "look_up", "arguments": {}}</tool_call>',
    '<tool_call>\n{"arguments": {"q": "x"}, "id": 3, "name": "look_up"}\n</tool_call>',
    '<tool_call>{"name":"f","arguments":"{\\"a\\":1}"}</tool_call>',
    '<tool_call>{"name":"f"}</tool_call>',
    '<tool_call>{"name":"no such name","arguments":{}}</tool_call>',
    '<tool_call>{"name":"f","arguments":[1]}</tool_call>',
    '<tool_call>{"name":"f","arguments":{"a":1}} and more </tool_call>',
    '<tool_call>{"name":"f","arguments":{"a":nonsense}}</tool_call>',
    '<tool_call>{"name":"f","argu',
    "<tool_call>",
    "</tool_call>",
    "the tag <tool_call> begins a call",
    "<tool_ca",
    "<",
    " ",
    "\n\n",
    "I'll add them.",
    "Zürich 🦊",
    "{}",
]
outputs = st.lists(st.sampled_from(SCRAPS), max_size=6).map("".join)


def joined(parts: list[Part]) -> list[Part]:
    """Parts with neighbours of a kind as one: what a message shows of them."""
    found: list[Part] = []
    for kind, group in groupby(parts, key=type):
        several: list[Any] = list(group)
        if kind is Text:
            found.append(Text("".join(p.text for p in several)))
        elif kind is CallJson:
            found.append(CallJson("".join(p.json for p in several)))
        else:
            found += several
    return found


def read(*pieces: str, cut: bool = False) -> list[Part]:
    reader = Reader(HERMES)
    parts = [part for piece in pieces for part in reader.feed(piece)]
    return joined(parts + reader.finish(cut=cut))


# --- cuts -----------------------------------------------------------------------------------------


@settings(deadline=None)
@given(outputs, st.booleans(), st.data())
def test_cuts_change_no_part(text: str, cut: bool, data: Any) -> None:
    places = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]
    assert read(*pieces, cut=cut) == read(text, cut=cut)


@pytest.mark.parametrize("text", ["So: " + CALL + "\n" + CALL, *SCRAPS])
def test_every_place_to_cut_gives_the_same_parts(text: str) -> None:
    whole = read(text)
    assert read(*text) == whole
    for place in range(len(text)):
        assert read(text[:place], text[place:]) == whole


@settings(deadline=None)
@given(outputs, st.booleans())
def test_parts_are_in_order_and_never_empty(text: str, cut: bool) -> None:
    open_call = False
    for part in read(*text, cut=cut):
        match part:
            case Text():
                assert not open_call
                assert part.text.strip()
            case CallBegin():
                assert not open_call
                open_call = True
            case CallJson():
                assert open_call
                assert isinstance(jiter.from_json(part.json.encode(), partial_mode=True), dict)
            case CallEnd():
                assert open_call
                open_call = False
    assert not open_call


def test_arguments_are_passed_on_as_they_come() -> None:
    reader = Reader(HERMES)
    assert reader.feed('<tool_call>{"name":"f","arguments":') == []
    assert reader.feed('{"a') == [CallBegin("f"), CallJson('{"a')]
    assert reader.feed('":"b\\') == [CallJson('":"b')]
    assert reader.feed('n"}') == [CallJson('\\n"}'), CallEnd(True)]


# --- calls ----------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    st.text("azAZ09_-", min_size=1, max_size=64),
    st.dictionaries(st.text(), st.none() | st.text() | st.integers() | st.lists(st.text())),
    st.sampled_from([None, 1, 4]),
    st.booleans(),
)
def test_a_call_is_read_with_the_arguments_that_were_written(
    name: str, arguments: dict[str, Any], indent: int | None, ascii_: bool
) -> None:
    call = {"name": name, "arguments": arguments}
    text = json.dumps(call, indent=indent, ensure_ascii=ascii_)
    begin, written, end = read(f"<tool_call>\n{text}\n</tool_call>")
    assert isinstance(written, CallJson)
    assert (begin, json.loads(written.json), end) == (CallBegin(name), arguments, CallEnd(True))


def test_text_before_and_between_calls_has_no_white_space_of_theirs() -> None:
    text = f"\n\nI'll look.\n\n{CALL}\n{CALL}\n\nDone. \n"
    assert read(text) == [Text("I'll look."), *ADD, *ADD, Text("Done. \n")]


def test_text_alone_keeps_the_white_space_at_its_end() -> None:
    assert read("Hello \n") == [Text("Hello \n")]
    assert read(" \n") == []


def test_white_space_behind_a_beginning_that_the_caller_wrote_is_text() -> None:
    reader = Reader(HERMES, begun=True)
    parts = reader.feed(" cat") + reader.feed(f"\n{CALL}") + reader.finish(cut=False)
    assert parts[0] == Text(" cat")
    assert parts[1:] == read(CALL)


def test_without_a_form_all_is_text_as_it_is() -> None:
    reader = Reader(None)
    assert reader.feed(f" {CALL}") + reader.finish(cut=False) == [Text(f" {CALL}")]


@pytest.mark.parametrize(
    ("body", "arguments"),
    [
        ('{"name":"f","arguments":{"a":1}}', '{"a":1}'),
        ('{"name":"f","parameters":{"a":1}}', '{"a":1}'),
        ('{"arguments":{"a":1},"name":"f"}', '{"a":1}'),
        ('{"id":"x","name":"f","arguments":{"a":1},"x":[{}]}', '{"a":1}'),
        ('{"name":"f","arguments":"{\\"a\\":1}"}', '{"a":1}'),
        ('{"name":"f","arguments":" {\\"a\\":1} "}', ' {"a":1}'),
        ('{"name":"f","arguments":"{\\"a\\":\\"\\\\ud83d\\"}"}', '{"a":"\\ufffd"}'),
        ('{"name":"f","arguments":null}', "{}"),
        ('{"name":"f"}', "{}"),
        ('{"name":"f","arguments":{}}}', "{}"),
    ],
)
def test_the_ways_to_write_a_call(body: str, arguments: str) -> None:
    call = [CallBegin("f"), CallJson(arguments), CallEnd(True)]
    assert read(f"<tool_call>{body}</tool_call>") == call
    assert read(f"<tool_call>\n{body}\n<tool_call> {body}") == call * 2


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call> is the mark of a call",
        '<tool_call>{"name":"a tool","arguments":{}}</tool_call>',
        '<tool_call>{"name":3,"arguments":{}}</tool_call>',
        '<tool_call>{"arguments":{}}</tool_call>',
        '<tool_call>{"name":"f","arguments":[]}</tool_call>',
        '<tool_call>{"name":"f","arguments":"["}</tool_call>',
        '<tool_call>{"name":"f","arguments":"{}{}"}</tool_call>',
        '<tool_call>{"name":"f","arguments":"{\\"a\\":NaN}"}</tool_call>',
        f'<tool_call>{{"name":"f","arguments":"{"[" * 9_000}"}}</tool_call>',
        f'<tool_call>{{"arguments":{{"a":{"[" * 9_000}{"]" * 9_000}}},"name":"f"}}</tool_call>',
        "<tool_call>",
        "a <tool_c",
        '<tool_call>{"name":"f",',
    ],
)
def test_what_names_no_tool_is_text(text: str) -> None:
    assert read(text) == [Text(text)]


# --- calls that break off -------------------------------------------------------------------------


def test_a_call_that_is_cut_has_the_arguments_that_were_written() -> None:
    for end in range(len('<tool_call>\n{"name":"add","arguments":{'), len(CALL)):
        begin, written, last = read(CALL[:end], cut=True)
        assert isinstance(written, CallJson)
        assert ARGUMENTS.startswith(written.json)
        assert (begin, last) == (CallBegin("add"), CallEnd(written.json == ARGUMENTS))


def test_a_call_that_is_cut_before_its_name_is_dropped() -> None:
    assert read('So. <tool_call>{"name":"ad', cut=True) == [Text("So. ")]


def test_arguments_end_where_they_are_no_json() -> None:
    text = '<tool_call>{"name":"f","arguments":{"a":1,"b":oh no}}</tool_call> Well.'
    assert read(text) == [CallBegin("f"), CallJson('{"a":1,"b":'), CallEnd(False), Text("Well.")]
