"""What `--against` makes of servers that misbehave: one line, never a short answer or a trace."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from tests.conftest import RunRenga

START = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","type":"message",'
    b'"role":"assistant","model":"m","content":[],"usage":{"input_tokens":1,"output_tokens":0}}}\n\n'
)


@contextmanager
def answering(status: int, body: bytes, **headers: str) -> Iterator[str]:
    """The address of a server that says one thing to everybody."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "body", "headers", "word"),
    [
        (502, b"<html>bad gateway</html>", {}, "502"),
        (401, b'{"error":{"type":"authentication_error","message":"no such key"}}', {}, "no such"),
        (200, START, {"content_type": "text/event-stream"}, "before message_stop"),
        (200, b"fff\r\n" + START, {"transfer_encoding": "chunked"}, "was lost"),
        (200, b"data: nothing\n\n", {}, "does not answer as a server of this API"),
        (200, b'data: {"type":"song"}\n\n', {}, "does not answer as a server of this API"),
        (200, b'data: {"type":"error","error":{"type":"api_error","message":"oh"}}\n\n', {}, "oh"),
    ],
    ids=["no envelope", "an error", "ends early", "cut", "no JSON", "unknown", "an error event"],
)  # fmt: skip
def test_a_server_that_misbehaves_is_one_line(
    renga: RunRenga, status: int, body: bytes, headers: dict[str, str], word: str
):
    with answering(status, body, **headers) as url:
        done = renga("ask", "hi", "--against", url)
    assert done.returncode == 2
    assert done.stderr.startswith("renga: ")
    assert word in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"[]",
        b"{}",
        b'{"data": [{}]}',
        b'{"data": 3}',
        b'{"data": [{"id": "x", "max_input_tokens": "many"}]}',
    ],
)
def test_a_server_of_something_else_is_one_line(renga: RunRenga, body: bytes):
    with answering(200, body) as url:
        done = renga("models", "--against", url)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "renga: 127.0.0.1 does not answer as a server of this API does\n"
