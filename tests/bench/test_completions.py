"""The client of a completions server, against a server of the standard library."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from renga.bench.load import Ask, BenchError, answered
from renga.bench.peers.completions import Completions, connect
from renga.errors import SetupError


@contextmanager
def serving(events: list[dict[str, Any]], status: int = 200) -> Iterator[tuple[str, list[Any]]]:
    """A server that says the same to everybody; its address, and what it was asked."""
    asked: list[Any] = []

    class Said(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size = int(self.headers["content-length"])
            asked.append((self.path, json.loads(self.rfile.read(size))))
            self.send_response(status)
            self.end_headers()
            for event in events:
                self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")
            self.wfile.write(b"data: [DONE]\n\n")

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Said)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def piece(text: str) -> dict[str, Any]:
    return {"choices": [{"text": text}]}


async def test_tokens_are_sent_as_they_are_and_every_piece_is_timed():
    usage = {"choices": [], "usage": {"prompt_tokens": 2, "total_tokens": 5}}
    with serving([piece("a"), piece("b"), piece("c"), piece(""), usage]) as (url, asked):
        timing = await answered(Completions(url), Ask([7, 8], 3))
    [(path, body)] = asked
    assert path == "/v1/completions"
    assert body["prompt"] == [7, 8]
    assert (body["max_tokens"], body["temperature"], body["ignore_eos"]) == (3, 0.0, True)
    assert [count for _, count in timing.came] == [1, 1, 1]
    assert 0 < timing.ttft <= timing.end - timing.due


async def test_tokens_without_a_piece_of_their_own_are_counted_at_the_end():
    usage = {"choices": [], "usage": {"prompt_tokens": 2, "total_tokens": 6}}
    with serving([piece("a"), piece("bcd"), usage]) as (url, _):
        timing = await answered(Completions(url), Ask([7, 8], 4))
    assert timing.tokens == 4


async def test_an_error_of_the_server_is_an_error_of_the_measurement():
    with (
        serving([{"error": {"message": "too long"}}]) as (url, _),
        pytest.raises(BenchError, match="too long"),
    ):
        await answered(Completions(url), Ask([1], 1))
    with serving([], status=500) as (url, _), pytest.raises(BenchError, match="500"):
        await answered(Completions(url), Ask([1], 1))


async def test_a_stranger_is_refused_before_anything_is_measured():
    with serving([], status=404) as (url, _), pytest.raises(SetupError, match="404"):
        await connect(url)
    with serving([piece("a")]) as (url, _):
        server = await connect(url)
        await server.aclose()
