"""Server-sent events: read as the official SDK's decoder reads them, however the bytes are cut."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from anthropic._streaming import SSEDecoder
from hypothesis import given
from hypothesis import strategies as st

from renga.backends.remote.sse import Parser, ServerEvent, TooLarge

STREAM = (
    'event: message_start\ndata: {"type": "message_start"}\n\n'
    ": a comment\n\n"
    "event: ping\r\ndata: {}\r\n\r\n"
    "data: first\rdata:second\r\r"
    "id: 7\nretry: 10\nevent:x\ndata:  two spaces\n\n"
    "data: Zürich 東京 🦊\n\n"
    "event: without data\n\n"
    "data\n\n"
    "data: [DONE]\n\n"
).encode()
EVENTS = [
    ServerEvent("message_start", b'{"type": "message_start"}'),
    ServerEvent("ping", b"{}"),
    ServerEvent("", b"first\nsecond"),
    ServerEvent("x", b" two spaces"),
    ServerEvent("", "Zürich 東京 🦊".encode()),
    ServerEvent("", b""),
    ServerEvent("", b"[DONE]"),
]


def read(pieces: list[bytes]) -> list[ServerEvent]:
    parser = Parser()
    found = [event for piece in pieces for event in parser.feed(piece)]
    last = parser.end()
    return [*found, last] if last else found


def as_the_sdk_reads_it(stream: bytes) -> list[ServerEvent]:
    def whole() -> Iterator[bytes]:
        yield stream

    return [
        ServerEvent(event.event or "", event.data.encode())
        for event in SSEDecoder().iter_bytes(whole())
        if event.data
    ]


@pytest.mark.parametrize("at", range(len(STREAM)))
def test_a_stream_cut_anywhere_has_the_same_events(at: int) -> None:
    assert read([STREAM[:at], STREAM[at:]]) == EVENTS


def test_a_stream_byte_by_byte_and_behind_a_mark_of_byte_order_has_the_same_events() -> None:
    marked = b"\xef\xbb\xbf" + STREAM
    assert read([marked[i : i + 1] for i in range(len(marked))]) == EVENTS
    assert read([marked]) == EVENTS


LINES = st.sampled_from(
    [b"data: a", b"data:", b"data: {}", b"event: x", b": c", b"id: 1", b"", b"other: y", b"data"]
)
ENDS = st.sampled_from([b"\n", b"\r\n"])


@given(st.lists(st.tuples(LINES, ENDS), max_size=30), st.lists(st.integers(0, 300), max_size=5))
def test_any_lines_are_read_as_the_sdk_reads_them(
    lines: list[tuple[bytes, bytes]], cuts: list[int]
) -> None:
    stream = b"".join(line + end for line, end in lines) + b"\n\n"
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    pieces = [stream[a:b] for a, b in zip(places, places[1:], strict=False)]
    ours = [event for event in read(pieces) if event.data]
    assert ours == as_the_sdk_reads_it(stream)


def test_an_event_without_the_empty_line_behind_it_is_given_and_a_line_that_was_cut_is_not() -> (
    None
):
    assert read([b"data: {}\n"]) == [ServerEvent("", b"{}")]
    assert read([b"data: {}"]) == []
    assert read([b": only a comment"]) == []


@pytest.mark.parametrize("data", [b"data: " + b"x" * 2_000, b"x" * 2_000, b"data: x\n" * 2_000])
def test_an_event_that_never_ends_is_not_kept(data: bytes) -> None:
    parser = Parser(most_bytes=1_000)
    with pytest.raises(TooLarge):
        list(parser.feed(data))


@given(st.binary(max_size=400), st.integers(0, 400))
def test_no_bytes_break_it(data: bytes, at: int) -> None:
    assert read([data]) == read([data[:at], data[at:]])
