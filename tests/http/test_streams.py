"""Streams that wait, fail, or lose their client."""

from __future__ import annotations

import asyncio
import logging

import pytest

from renga.errors import Unavailable
from renga.events import Ping
from renga.http.errors import REQUEST_ID
from renga.http.running import ClientLeft, Running
from renga.http.sse import EventStream
from tests.http.served import Connection, asking, events_of

SLOW = {"token_delay_ms": 5.0, "reply": "one two three four"}
WAITING = {"first_delay_ms": 60_000.0}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fault", "status", "kind"),
    [("overloaded", 529, "overloaded_error"), ("error", 500, "api_error")],
)
async def test_an_error_before_the_first_event_is_a_true_http_error(
    serve, stream, fault, status, kind
):
    served = await serve(haiku={"fault": fault})
    response = await served.post(asking(stream=stream))
    assert response.status_code == status
    assert response.json()["error"]["type"] == kind
    assert response.json()["request_id"] == response.headers["request-id"]
    assert (await served.row(response)).status == "error"
    if fault == "overloaded":
        assert response.headers["retry-after"] == "1"
        assert response.headers["x-should-retry"] == "true"


async def test_an_error_after_the_first_byte_is_the_last_event(serve):
    served = await serve(haiku={"fault": "overloaded", "fail_after": 2})
    response = await served.post(asking(stream=True))
    assert response.status_code == 200
    events = events_of(response.content)
    assert [name for name, _ in events][-3:] == ["content_block_delta"] * 2 + ["error"]
    assert events[-1][1]["error"]["type"] == "overloaded_error"
    assert events[-1][1]["request_id"] == response.headers["request-id"]
    row = await served.row(response)
    assert (row.status, row.error_type, row.tokens.output) == ("error", "overloaded_error", 2)


async def test_an_error_in_the_middle_of_a_whole_answer_is_not_half_an_answer(serve):
    served = await serve(haiku={"fault": "error", "fail_after": 2})
    response = await served.post(asking())
    assert response.status_code == 500
    assert response.json()["type"] == "error"


async def test_an_error_of_ours_tells_the_caller_nothing_and_the_log_everything(serve, caplog):
    served = await serve(haiku={"token_delay_ms": 1.0})

    def broken(_request):
        raise KeyError("a secret of the inside")

    served.backend("HAIKU")._script = broken
    with caplog.at_level(logging.ERROR, logger="renga.http"):
        for stream in (False, True):
            response = await served.post(asking(stream=stream))
            assert response.status_code == 500
            assert "secret" not in response.text
            assert response.json()["error"]["type"] == "api_error"
            assert response.headers["request-id"] in caplog.text
            assert (await served.row(response)).status == "error"
    assert "a secret of the inside" in caplog.text


async def test_silence_before_the_first_event_begins_the_stream_with_a_ping(serve):
    served = await serve(haiku={"first_delay_ms": 250.0}, ping_seconds=0.1)
    response = await served.post(asking("hi", stream=True))
    names = [name for name, _ in events_of(response.content)]
    assert names[:2] == ["ping", "ping"]
    assert names[2:4] == ["message_start", "ping"]
    assert names[-1] == "message_stop"


async def test_silence_between_events_is_broken_by_pings(serve):
    served = await serve(haiku={"token_delay_ms": 250.0, "reply": "2 tokens"}, ping_seconds=0.1)
    response = await served.post(asking(stream=True))
    names = [name for name, _ in events_of(response.content)]
    first = names.index("content_block_delta")
    second = names.index("content_block_delta", first + 1)
    between = names[first + 1 : second]
    assert set(between) == {"ping"}
    assert len(between) >= 2


async def test_a_busy_stream_needs_no_pings_beyond_the_first(serve):
    served = await serve(haiku=SLOW, ping_seconds=0.1)
    response = await served.post(asking(stream=True))
    assert [name for name, _ in events_of(response.content)].count("ping") == 1


async def test_an_error_after_a_ping_is_an_event(serve):
    served = await serve(haiku=WAITING, ping_seconds=0.05)
    connection = Connection(served, asking(stream=True))
    async with asyncio.TaskGroup() as group:
        group.create_task(connection.run())
        await connection.until(lambda c: b"event: ping" in c.body)
        await served.running.drain(0)
    events = events_of(connection.body)
    assert [name for name, _ in events] == ["ping", "error"]
    assert events[-1][1]["error"]["type"] == "api_error"


# Head, message_start, content_block_start, and a delta for each token of SLOW but the last.
HEARD = range(1, 3 + 4 + 1)


@pytest.mark.parametrize("heard", HEARD)
async def test_a_client_that_leaves_a_stream_stops_it_and_is_charged_what_was_made(serve, heard):
    served = await serve(haiku=SLOW)
    connection = Connection(served, asking(stream=True))
    async with asyncio.TaskGroup() as group:
        group.create_task(connection.run())
        await connection.until(lambda c: len(c.messages) >= heard)
        connection.leave()
    assert served.backend("HAIKU").open_streams == 0
    assert b"message_stop" not in connection.body
    row = await served.row(connection.request_id)
    assert row.status == "cancelled"
    assert row.attempts[0].status == "cancelled"
    deltas = connection.body.count(b"event: content_block_delta")
    assert row.tokens.output in (deltas, deltas + 1)
    assert row.cost_pico is not None


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_before_the_first_event_stops_the_work(serve, stream):
    served = await serve(haiku=WAITING)
    connection = Connection(served, asking(stream=stream))
    async with asyncio.TaskGroup() as group:
        group.create_task(connection.run())
        while not served.backend("HAIKU").open_streams:
            await asyncio.sleep(0.001)
        connection.leave()
    assert served.backend("HAIKU").open_streams == 0
    assert connection.messages == []
    rows = await served.app.ledger.rows()
    assert [row.status for row in rows] == ["cancelled"]


async def test_a_client_that_leaves_while_it_waits_for_a_whole_answer_stops_it(serve):
    served = await serve(haiku=SLOW)
    connection = Connection(served, asking())
    async with asyncio.TaskGroup() as group:
        group.create_task(connection.run())
        while not served.backend("HAIKU").open_streams:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.012)
        connection.leave()
    assert served.backend("HAIKU").open_streams == 0
    (row,) = await served.app.ledger.rows()
    assert row.status == "cancelled"
    assert row.tokens.output is not None
    assert 1 <= row.tokens.output <= 4


async def test_a_client_that_leaves_while_it_sends_opens_no_row(serve):
    served = await serve()
    parts = [{"type": "http.request", "body": b'{"model"', "more_body": True}]

    async def receive():
        return parts.pop() if parts else {"type": "http.disconnect"}

    async def send(message):
        raise AssertionError(message)

    await served.http(Connection(served, {})._scope(), receive, send)
    assert await served.app.ledger.rows() == []


async def test_a_client_that_reads_nothing_for_long_has_left():
    closed = []

    async def events():
        try:
            while True:
                await asyncio.sleep(0)
                yield Ping()
        finally:
            closed.append(True)

    async def receive():
        await asyncio.Event().wait()

    sent = []

    async def send(message):
        sent.append(message)
        if len(sent) > 3:
            await asyncio.Event().wait()  # the buffer is full

    stream = EventStream(
        events(), running=Running(), head=dict, ping_seconds=0.02, stall_seconds=0.1
    )
    with pytest.raises(ClientLeft):
        await stream({REQUEST_ID: "req_1"}, receive, send)
    assert closed == [True]


async def test_the_row_is_closed_before_the_last_event_is_heard(serve):
    served = await serve()
    connection = Connection(served, asking(stream=True))
    seen = []

    async def look():
        await connection.until(lambda c: b"message_stop" in c.body)
        seen.append((await served.row(connection.request_id)).status)

    async with asyncio.TaskGroup() as group:
        group.create_task(look())
        group.create_task(connection.run())
    assert seen == ["ok"]


async def test_draining_lets_a_stream_finish_and_refuses_new_requests(serve):
    served = await serve(haiku=SLOW)
    connection = Connection(served, asking(stream=True))
    async with asyncio.TaskGroup() as group:
        group.create_task(connection.run())
        await connection.until(lambda c: len(c.messages) > 2)
        draining = group.create_task(served.running.drain(10))
        await asyncio.sleep(0)
        refused = await served.post(asking())
        ready = await served.client.get("/readyz")
        alive = await served.client.get("/healthz")
        await draining
        assert connection.body.endswith(b'{"type":"message_stop"}\n\n')
    assert refused.status_code == 503
    assert refused.json()["error"]["type"] == "api_error"
    assert refused.headers["retry-after"] == "1"
    assert refused.headers["connection"] == "close"
    assert (ready.status_code, alive.status_code) == (503, 200)
    assert ready.json()["missing"] == ["the server is stopping"]
    assert (await served.row(connection.request_id)).status == "ok"


async def test_what_runs_longer_than_the_drain_is_cut_with_an_error_and_its_row_closed(serve):
    served = await serve(haiku={"token_delay_ms": 20.0, "reply": "x" * 4000})
    stream = Connection(served, asking(stream=True, max_tokens=1000))
    whole = Connection(served, asking(max_tokens=1000))
    async with asyncio.TaskGroup() as group:
        group.create_task(stream.run())
        group.create_task(whole.run())
        await stream.until(lambda c: len(c.messages) > 4)
        await served.running.drain(0.05)
    assert events_of(stream.body)[-1][0] == "error"
    assert whole.messages[0]["status"] == 503
    for connection in (stream, whole):
        assert (await served.row(connection.request_id)).status == "cancelled"
    assert served.backend("HAIKU").open_streams == 0


async def test_hurry_cuts_before_the_time_is_over(serve):
    served = await serve(haiku=WAITING)
    connection = Connection(served, asking(stream=True))
    hurry = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(connection.run())
        while not served.backend("HAIKU").open_streams:
            await asyncio.sleep(0.001)
        group.create_task(served.running.drain(3600, hurry=hurry))
        await asyncio.sleep(0.01)
        hurry.set()
    assert connection.messages[0]["status"] == 503


async def test_work_that_would_begin_after_the_cut_is_refused():
    running = Running()
    with running.request():  # one that still sends its body
        await running.drain(0)

        async def work():
            raise AssertionError("it ran")

        async def receive():
            raise AssertionError("nobody listens for a client that is refused")

        with pytest.raises(Unavailable):
            await running.guard(work(), receive)


async def test_a_timeout_of_the_work_itself_is_not_taken_for_the_clients_leaving():
    async def work():
        raise TimeoutError("mine")

    async def receive():
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError, match="mine"):
        await Running().guard(work(), receive)


async def test_cancelling_the_guard_cancels_the_work():
    ended = []

    async def work():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def receive():
        await asyncio.Event().wait()

    task = asyncio.create_task(Running().guard(work(), receive))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [True]
