"""The server as a process: real sockets, signals, and what is left in the database afterwards."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from renga.errors import SetupError
from renga.http.server import listen, url_of
from renga.ledger import LEASE_SECONDS, Ledger
from renga.store import sqlite_url
from tests.conftest import scripted
from tests.http.served import HEADERS, asking, events_of

SLOW = {"token_delay_ms": 20, "reply": "x" * 400}  # 100 tokens: two seconds


@contextmanager
def connected(url: str) -> Iterator[HTTPConnection]:
    host = url.removeprefix("http://")
    with closing(HTTPConnection(host, timeout=20)) as connection:
        yield connection


def post(connection: HTTPConnection, body: Any) -> Any:
    connection.request("POST", "/v1/messages", json.dumps(body), HEADERS)
    return connection.getresponse()


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def status_of_rows(tmp_path: Path) -> list[str]:
    with closing(sqlite3.connect(tmp_path / "home" / "renga.db")) as database:
        return [row[0] for row in database.execute("SELECT status FROM answers")]


def test_a_stopped_server_lets_its_stream_finish_and_refuses_the_next(start_server, tmp_path):
    server = start_server(scripted(**SLOW))
    with connected(server.url) as streaming, connected(server.url) as idle:
        idle.request("GET", "/healthz")
        assert idle.getresponse().read() == b'{"status":"ok"}'
        stream = post(streaming, asking(stream=True, max_tokens=200))
        beginning = stream.read1()
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        refused = post(idle, asking())
        assert refused.status == 503
        assert refused.headers["retry-after"] == "1"
        assert json.loads(refused.read())["request_id"] == refused.headers["request-id"]
        events = events_of(beginning + stream.read())
    assert events[-1][0] == "message_stop"
    server.process.communicate(timeout=20)
    assert server.process.returncode == 0
    assert status_of_rows(tmp_path) == ["ok"]


@pytest.mark.parametrize("how", ["the time is over", "a second signal"])
def test_a_stream_longer_than_the_drain_is_cut_with_an_error(start_server, tmp_path, how):
    seconds = 0.3 if how == "the time is over" else 3600
    config = scripted(**{**SLOW, "reply": "x" * 40_000})
    server = start_server(f"[server]\ndrain_seconds = {seconds}\n{config}")
    with connected(server.url) as connection:
        stream = post(connection, asking(stream=True, max_tokens=20_000))
        beginning = stream.read1()
        server.process.send_signal(signal.SIGTERM)
        if how == "a second signal":
            time.sleep(0.1)
            server.process.send_signal(signal.SIGINT)
        events = events_of(beginning + stream.read())
    assert events[-1][0] == "error"
    assert events[-1][1]["error"]["message"].startswith("the server is stopping")
    server.process.communicate(timeout=20)
    assert server.process.returncode == 0
    assert status_of_rows(tmp_path) == ["cancelled"]


async def test_a_killed_server_leaves_a_readable_database_and_an_interrupted_row(
    start_server, tmp_path
):
    server = start_server(scripted(**SLOW))
    with connected(server.url) as connection:
        stream = post(connection, asking(stream=True, max_tokens=200))
        stream.read1()
        while status_of_rows(tmp_path) != ["open"]:
            await asyncio.sleep(0.01)
        server.process.kill()
        server.process.communicate(timeout=20)
    path = tmp_path / "home" / "renga.db"
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    for seconds, found in ((0, ["open"]), (LEASE_SECONDS + 1, ["interrupted"])):
        later = time.time() + seconds
        async with await Ledger.start(
            sqlite_url(path), clock=partial(float, later), instance_id=f"inst_{seconds}"
        ):
            assert status_of_rows(tmp_path) == found


@pytest.mark.parametrize("stream", [False, True])
def test_a_connection_that_closes_ends_the_work(start_server, tmp_path, stream):
    server = start_server(scripted(**{**SLOW, "reply": "x" * 40_000}))
    with connected(server.url) as connection:
        body = json.dumps(asking(stream=stream, max_tokens=20_000))
        connection.request("POST", "/v1/messages", body, HEADERS)
        while status_of_rows(tmp_path) != ["open"]:
            time.sleep(0.01)
    while (found := status_of_rows(tmp_path)) == ["open"]:
        time.sleep(0.01)
    assert found == ["cancelled"]


def test_a_body_over_the_limit_gets_its_answer_while_it_is_still_sent(start_server):
    server = start_server(scripted())
    with connected(server.url) as connection:
        connection.request("POST", "/v1/messages", b" " * 40_000_000, HEADERS)
        response = connection.getresponse()
        assert response.status == 413
        assert json.loads(response.read())["error"]["type"] == "request_too_large"
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_without_keys_a_proxy_here_does_not_open_the_server_to_others(start_server, host):
    if host == "::1" and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    server = start_server(scripted(), "--host", host)
    with connected(server.url) as connection:
        headers = HEADERS | {"x-forwarded-for": "203.0.113.5"}
        connection.request("POST", "/v1/messages", json.dumps(asking()), headers)
        response = connection.getresponse()
        assert response.status == 401
        assert "renga keys create" in json.loads(response.read())["error"]["message"]


def test_the_first_byte_of_a_stream_leaves_before_the_last_is_made(start_server):
    server = start_server(scripted(**SLOW))
    with connected(server.url) as connection:
        began = time.monotonic()
        stream = post(connection, asking(stream=True, max_tokens=200))
        stream.read1()
        first = time.monotonic() - began
        stream.read()
        assert first < (time.monotonic() - began) / 2


def test_a_port_in_use_is_one_line_and_a_hint():
    with closing(listen("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SetupError, match=f"^port {port} on 127.0.0.1 is in use$") as refused:
            listen("127.0.0.1", port)
    assert "--port" in refused.value.hint


@pytest.mark.parametrize("host", ["no.such.host.invalid", "256.1.1.1", "203.0.113.7", "x" * 300])
def test_an_address_that_is_not_ours_is_one_line_and_a_hint(host):
    with pytest.raises(SetupError, match="cannot listen on") as refused:
        listen(host, 0)
    assert "--host" in refused.value.hint


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1"),
        ("localhost", "http://127.0.0.1"),
        ("0.0.0.0", "http://127.0.0.1"),
    ],
)
def test_the_url_of_a_server_is_one_that_a_client_here_can_use(host, url):
    with closing(listen(host, 0)) as listener:
        port = listener.getsockname()[1]
        assert url_of(listener) == f"{url}:{port}"
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
