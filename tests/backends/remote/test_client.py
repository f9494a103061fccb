"""The HTTP client: every fault by its name, nothing without a bound, connections kept or closed."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from renga.backends.remote import Upstream
from renga.backends.remote.faults import message_of, retry_after
from renga.config import BackendConfig
from renga.errors import (
    BackendFailed,
    GatewayTimeout,
    InvalidRequest,
    Overloaded,
    RengaError,
    RequestTooLarge,
)
from tests.upstreams.faulty import FAULTS, RETRY_AFTER, faulty

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def config(*urls: str, **settings: Any) -> BackendConfig:
    given = {"timeout_s": 0.4, "api_key": "sk-secret", **settings}
    return BackendConfig("far", "messages", model="m", urls=urls, **given)


@asynccontextmanager
async def upstream(*urls: str, **settings: Any) -> AsyncIterator[Upstream]:
    made = Upstream(
        config(*urls, **settings),
        headers={"x-api-key": "sk-secret"},
        probe="/v1/models",
        now=lambda: NOW,
        rng=random.Random(0),
    )
    await made.start()
    try:
        yield made
    finally:
        await made.aclose()


async def ask(made: Upstream, *, streamed: bool, deadline: float | None = None) -> None:
    """One request, read to its end by whoever reads such an answer."""
    body = b'{"stream": true}' if streamed else b"{}"
    async with made.post("/v1/messages", body, deadline=deadline) as reply:
        if not streamed:
            if (await reply.json())["stop_reason"] is None:
                raise reply.fault("missing_stop")
            return
        stopped = False
        async for event in reply.events():
            try:
                stopped = json.loads(event.data)["type"] == "message_stop"
            except ValueError as error:
                raise reply.fault("malformed_json") from error
        if not stopped:
            raise reply.fault("missing_stop")


KINDS: dict[str, type[RengaError]] = {
    "slow_first_byte": GatewayTimeout,
    "slow_trickle": GatewayTimeout,
    "status_429": Overloaded,
    "status_429_retry_after": Overloaded,
    "status_503": Overloaded,
    "status_529": Overloaded,
}
# What is broken in a way that an answer in one piece cannot be: it is broken JSON there.
PLAIN = {"malformed_sse": "malformed_json"}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("fault", FAULTS)
async def test_every_fault_has_its_cause_and_says_whose_it_is(fault: str, streamed: bool) -> None:
    async with faulty(fault) as server, upstream(server.url) as made:
        with pytest.raises(RengaError) as told:
            await ask(made, streamed=streamed)
    error = told.value
    assert error.cause == (fault if streamed else PLAIN.get(fault, fault))
    assert type(error) is KINDS.get(fault, BackendFailed)
    assert error.again
    assert "'far'" in error.message
    assert "secret" not in error.message
    assert (error.retry_after == RETRY_AFTER) == (fault == "status_429_retry_after")


@pytest.mark.parametrize("fault", FAULTS)
async def test_no_fault_tells_a_caller_where_the_server_is(fault: str) -> None:
    async with faulty(fault) as server, upstream(server.url) as made:
        with pytest.raises(RengaError) as told:
            await ask(made, streamed=True)
    host, port = server.url.rpartition("/")[2].split(":")
    assert host not in told.value.message
    assert port not in told.value.message


async def test_a_server_that_goes_away_is_told_in_the_log_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with saying(lambda head, out: out.write(whole(b"{}", JSON))) as (url, _):
        pass  # nobody is there any more
    async with upstream(url) as made:
        made.replicas.found(made.replicas.all[0])  # as it was before that
        caplog.clear()
        for _ in range(2):
            with pytest.raises(BackendFailed):
                await ask(made, streamed=False)
    told = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert len(told) == 1
    assert told[0].startswith("backend 'far' cannot be reached")
    assert url in told[0]


async def test_a_server_that_is_not_there_is_marked_and_found_when_it_comes() -> None:
    async with faulty("refused") as server, upstream(server.url) as made:
        assert made.health().state == "restarting"
        assert "refused" in made.health().words
        with pytest.raises(BackendFailed):
            await ask(made, streamed=False)
        port = int(server.url.rpartition(":")[2])
    # The port was held and is free now: somebody comes.
    async with upstream(server.url) as made:
        assert not made.health().ready

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(whole(b"{}", JSON, b"connection: close"))
            await writer.drain()
            writer.close()

        there = await asyncio.start_server(serve, "127.0.0.1", port)
        while not made.health().ready:
            await asyncio.sleep(0.02)
        there.close()


# --- a server that says what a test wants ---------------------------------------------------------


@asynccontextmanager
async def saying(
    answer: Callable[[bytes, asyncio.StreamWriter], Any],
) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that answers requests but probes with `answer`; its address, and all heads."""
    heads: list[bytes] = []
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.get_running_loop().create_task(serve(reader, writer)))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                for line in head.lower().split(b"\r\n"):
                    if line.startswith(b"content-length:"):
                        await reader.readexactly(int(line.split(b":")[1]))
                if head.startswith(b"GET /v1/models"):
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
                else:
                    heads.append(head)
                    await answer(head, writer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", heads
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def whole(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    lines = [b"HTTP/1.1 " + status, b"content-length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


JSON = b"content-type: application/json"
EVENTS = b"content-type: text/event-stream"


async def test_what_is_sent_is_the_key_the_body_and_nothing_of_the_users(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password mine\n")
    netrc.chmod(0o600)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("NETRC", str(netrc))

    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(whole(b'{"a": 1}', JSON, b"set-cookie: s=1"))

    async with saying(answer) as (url, heads), upstream(url + "/") as made:
        for _ in range(2):
            async with made.post("/v1/messages", b"{}", headers={"x-more": "1"}) as reply:
                assert await reply.json() == {"a": 1}
                assert reply.replica == url
    sent = heads[1].lower().decode()
    assert sent.startswith("post /v1/messages http/1.1")
    names = sorted(line.partition(":")[0] for line in sent.split("\r\n")[1:] if line)
    assert names == [
        "accept",
        "accept-encoding",
        "content-length",
        "host",
        "user-agent",
        "x-api-key",
        "x-more",
    ]
    assert "accept-encoding: identity" in sent
    assert "x-api-key: sk-secret" in sent


async def test_a_connection_is_kept_and_one_that_is_left_is_closed() -> None:
    connections: list[Any] = []
    closed = asyncio.Event()

    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        if b"/long" in head:
            writer.write(
                b"HTTP/1.1 200 OK\r\n" + EVENTS + b"\r\ntransfer-encoding: chunked\r\n\r\n"
            )
            writer.write(b"9\r\ndata: 1\n\n\r\n")
            await writer.drain()
            try:
                while True:
                    writer.write(b"3\r\n:\n\n\r\n")
                    await writer.drain()
                    await asyncio.sleep(0.01)
            finally:
                closed.set()
        if b"/stream" in head:
            writer.write(
                b"HTTP/1.1 200 OK\r\n" + EVENTS + b"\r\ntransfer-encoding: chunked\r\n\r\n"
            )
            writer.write(b"9\r\ndata: 1\n\n\r\n")
            await writer.drain()
            await asyncio.sleep(0.02)
            writer.write(b"0\r\n\r\n")
            return
        writer.write(whole(b"{}", JSON))

    async with saying(answer) as (url, _), upstream(url, timeout_s=5.0) as made:
        for path in ("/plain", "/stream", "/plain", "/stream"):
            async with made.post(path, b"{}") as reply:
                if path == "/plain":
                    await reply.json()
                    continue
                async for _event in reply.events():
                    break  # the end of it comes a moment later
        assert len({id(one) for one in connections}) == 1
        async with made.post("/long", b"{}") as reply:
            async for _event in reply.events():
                reply.leave()
                break
        await asyncio.wait_for(closed.wait(), 5)
        assert made.replicas.all[0].open == 0


@pytest.mark.parametrize(
    ("answer", "cause", "kind"),
    [
        (whole(b"", b"location: /", status=b"307 Moved"), "status_307", BackendFailed),
        (whole(b"{}", JSON, b"content-encoding: gzip"), "wrong_content_type", BackendFailed),
        (whole(b"[" * 200_000, JSON), "malformed_json", BackendFailed),
        (whole(b"{\xff}", JSON), "malformed_json", BackendFailed),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "wrong_content_type", BackendFailed),
        (whole(b"no json", status=b"401 No"), "status_401", BackendFailed),
        (whole(b"{}", status=b"404 No"), "status_404", BackendFailed),
        (whole(b"{}", status=b"504 Slow"), "status_504", GatewayTimeout),
        (whole(b'{"error": "too  long\\n"}', status=b"400 Bad"), "status_400", InvalidRequest),
        (whole(b'{"detail": "no such field"}', status=b"422 Bad"), "status_422", InvalidRequest),
        (whole(b"\x00\xff", status=b"413 Big"), "status_413", RequestTooLarge),
    ],
)  # fmt: skip
async def test_what_else_servers_say(answer: bytes, cause: str, kind: type[RengaError]) -> None:
    async def say(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with saying(say) as (url, _), upstream(url, timeout_s=5.0) as made:
        with pytest.raises(RengaError) as told:
            await ask(made, streamed=False)
    assert (told.value.cause, type(told.value)) == (cause, kind)
    assert "secret" not in told.value.message
    callers = kind in (InvalidRequest, RequestTooLarge)
    assert told.value.again == (not callers)
    if cause in ("status_400", "status_422"):
        assert told.value.message in ("too long", "no such field")


async def test_a_key_that_a_server_repeats_reaches_nobody() -> None:
    async def say(head: bytes, writer: asyncio.StreamWriter) -> None:
        said = b'{"error": {"message": "Incorrect API key provided: sk-secret"}}'
        writer.write(whole(said, JSON, status=b"401 Unauthorized"))

    async with saying(say) as (url, _), upstream(url) as made:
        with pytest.raises(BackendFailed, match="api_key_env") as told:
            await ask(made, streamed=False)
    assert "sk-secret" not in told.value.message


async def test_no_body_is_read_without_end() -> None:
    async def say(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n" + EVENTS + b"\r\n\r\ndata: ")
        for _ in range(40):
            writer.write(b"x" * 1_000_000)
            await writer.drain()

    async with saying(say) as (url, _), upstream(url, timeout_s=30.0) as made:
        with pytest.raises(BackendFailed) as told:
            await ask(made, streamed=True)
    assert told.value.cause == "malformed_sse"


async def test_a_deadline_ends_what_would_take_longer() -> None:
    async with faulty("slow_first_byte") as server, upstream(server.url, timeout_s=60.0) as made:
        with pytest.raises(GatewayTimeout) as told:
            await ask(made, streamed=True, deadline=0.05)
    assert told.value.cause == "slow_first_byte"


async def test_a_reader_that_takes_its_time_is_no_silence_of_the_server() -> None:
    seen = 0
    async with (
        faulty() as server,
        upstream(server.url, timeout_s=0.2) as made,
        made.post("/v1/messages", b'{"stream": true}') as reply,
    ):
        async for _ in reply.events():
            await asyncio.sleep(0.1)
            seen += 1
    assert seen > 5


async def test_others_take_over_for_a_replica_that_breaks_and_it_is_marked() -> None:
    async with (
        faulty("reset_before_headers") as bad,
        faulty() as good,
        upstream(bad.url, good.url) as made,
    ):
        failed = 0
        for _ in range(30):
            try:
                await ask(made, streamed=False)
            except BackendFailed:
                failed += 1
        assert failed <= 3
        assert len(good.whole) == 30 - failed
        assert made.health().ready


async def test_what_a_server_refuses_counts_not_against_it() -> None:
    async with faulty("status_429") as server, upstream(server.url) as made:
        for _ in range(30):
            with pytest.raises(Overloaded):
                await ask(made, streamed=False)
        assert made.health().ready


# --- words ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"type": "error", "error": {"type": "x", "message": "No."}}', "No."),
        (b'{"error": "No."}', "No."),
        (b'{"message": "No."}', "No."),
        (b'{"detail": "No."}', "No."),
        (b'{"error": {"message": null}}', ""),
        (b'{"error": {"code": 3}}', ""),
        (b"[]", ""),
        (b"<html>", ""),
        (b"", ""),
    ],
)
def test_the_words_of_an_error_are_found_in_every_form(body: bytes, words: str) -> None:
    assert message_of(body) == words


def test_words_are_one_line_of_bounded_length() -> None:
    words = message_of(b'{"error": "' + b"a\\n" * 5_000 + b'"}')
    assert len(words) == 500
    assert "\n" not in words


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "1e9"}, 3_600.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({}, None),
        ({"retry-after": "60", "retry-after-ms": "250"}, 0.25),
        ({"retry-after": "Mon, 23 Nov 2026 12:00:09 GMT"}, 9.0),
        ({"retry-after": "Mon, 23 Nov 2026 11:00:00 GMT"}, 0.0),
    ],
)
def test_how_long_to_wait_is_read_in_every_form(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert retry_after(headers, NOW) == seconds


async def test_an_answer_that_keeps_coming_may_take_longer_than_any_begins_to() -> None:
    passed = 0.0

    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal passed
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n" + EVENTS + b"\r\n\r\n")
        for _ in range(20):
            passed += 90.0
            writer.write(b"data: {}\n\n")
            await writer.drain()
            await asyncio.sleep(0.005)
        writer.close()

    async with saying(answer) as (url, _):
        made = Upstream(
            config(url, timeout_s=120.0), headers={}, probe="/v1/models", ticks=lambda: passed
        )
        await made.start()
        try:
            async with made.post("/v1/messages", b"{}") as reply:
                assert len([event async for event in reply.events()]) == 20
        finally:
            await made.aclose()


@pytest.mark.parametrize(
    "words",
    [
        "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing.",
        "You have reached your specified API usage limits. You will regain access on 2027-01-01.",
    ],
)
async def test_an_account_that_cannot_pay_is_no_fault_of_the_request(words: str) -> None:
    body = json.dumps(
        {"type": "error", "error": {"type": "invalid_request_error", "message": words}}
    )

    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(whole(body.encode(), JSON, status=b"400 Bad Request"))

    async with saying(answer) as (url, _), upstream(url) as made:
        with pytest.raises(BackendFailed, match="'far' wants to be paid first") as told:
            await ask(made, streamed=False)
    assert (told.value.cause, told.value.again) == ("status_402", True)
