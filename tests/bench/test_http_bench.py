"""The client of `renga bench http`, and a run of it."""

from __future__ import annotations

import asyncio
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renga.bench.calls import Connection, Target
from renga.bench.http import CHUNKS, MESSAGE, STREAM, TOKENS, figures, measure
from renga.bench.load import BenchError

WHOLE = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
STREAMED = (
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    b"9\r\ndata: a\n\n\r\n12\r\ndata: b\n\ndata: c\n\n\r\n0\r\n\r\n"
)


class Wire(asyncio.Transport):
    """A transport that sends nothing."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        pass


async def played(answers: bytes, sizes: list[int], calls: int) -> Connection:
    """A connection that was given `answers` in pieces of those sizes, for so many calls."""
    connection = Connection()
    connection.connection_made(Wire())
    calling = asyncio.ensure_future(connection.call(b""))
    await asyncio.sleep(0)
    made = 1
    at = 0
    while at < len(answers):
        size = sizes[at % len(sizes)]
        connection.data_received(answers[at : at + size])
        at += size
        await asyncio.sleep(0)
        if calling.done() and made < calls:
            calling = asyncio.ensure_future(connection.call(b""))
            made += 1
            await asyncio.sleep(0)
    await asyncio.wait_for(calling, 1)
    return connection


@settings(deadline=None)
@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_the_client_finds_the_end_of_an_answer_however_it_comes(sizes: list[int]) -> None:
    assert asyncio.run(played(WHOLE, sizes, 1)).events == 0
    assert asyncio.run(played(STREAMED, sizes, 1)).events == 3


def test_a_refusal_ends_the_measurement() -> None:
    refused = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}"
    with pytest.raises(BenchError, match="the server refused"):
        asyncio.run(played(refused, [1000], 1))


def test_a_bar_is_held_or_not_by_the_median_of_the_rounds() -> None:
    stub, ours = Target("stub", (), 0), Target("renga", (), 0)
    for target in (stub, ours):
        for found in (target.rates, target.cpu_us, target.alone_ms, target.events):
            found.update({name: [1.0, 5000.0, 2.0] for name in ("message", "chat completion")})
            found.update({STREAM.name: [1e5, 1e5, 1.0], CHUNKS.name: [1.0]})
    ours.alone_ms["message"] = [2.9, 2.9, 90.0]
    table = {figure.name: figure for figure in figures(stub, ours)}
    assert table["added by the API"].renga == pytest.approx(0.9)
    assert table["added by the API"].holds
    assert not table["messages"].holds
    assert table["streamed events"].holds


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="CPU times as Linux tells them")
def test_a_run_measures_every_workload() -> None:
    told: list[str] = []
    report = measure(1, 32, told.append)
    assert len(report.figures) == 10
    assert all(figure.renga >= 0 for figure in report.figures if "added" not in figure.name)
    assert told[-1] == "round 1 of 1"
    assert MESSAGE.request("k").startswith(b"POST /v1/messages HTTP/1.1")
    assert TOKENS == 500
