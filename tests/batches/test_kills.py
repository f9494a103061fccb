"""Kills at any moment: every request of a batch has one result, and is charged once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anthropic
import pytest
from sqlalchemy import create_engine, text

from renga.store import sqlite_url
from tests.conftest import StartServer, scripted
from tests.postgres import Postgres
from tests.serving import Served

LABELS = ("alpha", "beta", "gamma")
DELAYED = scripted(token_delay_ms=40)
EXPIRING = DELAYED + "[batches]\nexpire_hours = 0.001\nin_flight = 2\n"
SHIPPED = """
[backends.small]
kind = "local"
[tiers.haiku]
backends = ["small"]
[batches]
tries = 1000
"""

Start = Callable[[], Served]


def client_of(server: Served) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=server.url, api_key="any", max_retries=0)


def asked(count: int) -> list[Any]:
    """Requests that share beginnings, the way a classification does."""
    return [
        {
            "custom_id": f"r{n}",
            "params": {
                "model": "haiku",
                "max_tokens": 8,
                "system": f"Say one word about the text. Kind: {LABELS[n % len(LABELS)]}.",
                "messages": [{"role": "user", "content": f"text {n} one two three four five"}],
            },
        }
        for n in range(count)
    ]


def ended(server: Served, batch_id: str) -> Any:
    batches = client_of(server).messages.batches
    while (found := batches.retrieve(batch_id)).processing_status != "ended":
        time.sleep(0.1)
    return found


def results(server: Served, batch_id: str) -> dict[str, Any]:
    with client_of(server) as client:  # which is not to be collected before the last line
        lines = list(client.messages.batches.results(batch_id))
    found = {line.custom_id: line.result.to_dict() for line in lines}
    assert len(found) == len(lines), "a custom_id has two results"
    return found


def killed(server: Served) -> None:
    server.process.kill()
    server.process.communicate(timeout=60)


def check_ledger(url: str, succeeded: int) -> None:
    """Each success is one answer, charged once, and nothing else of any batch is charged."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        items = connection.execute(text("SELECT state, request_id FROM batch_items")).all()
        charged = connection.execute(
            text("SELECT request_id FROM answers WHERE service = 'batch' AND cost_pico > 0")
        ).scalars()
        rows = Counter(charged)
    engine.dispose()
    states = Counter(state for state, _ in items)
    assert states["waiting"] == states["running"] == 0
    assert states["succeeded"] == succeeded
    assert rows == Counter(request_id for state, request_id in items if state == "succeeded")
    assert set(rows.values()) == {1}


def survive(
    start: Start, batch_id: str, kills: int, rng: random.Random, *, most: float = 1.0
) -> Served:
    """Kill the server at random moments of its work on a batch; the last one lives."""
    server = start()
    for _ in range(kills):
        time.sleep(rng.uniform(0.0, most))
        killed(server)
        server = start()
    ended(server, batch_id)
    return server


@pytest.mark.timeout(600)
def test_no_kill_loses_or_repeats_a_result_and_what_was_cancelled_or_expired_stays_so(
    start_server: StartServer, tmp_path: Path
) -> None:
    server = start_server(EXPIRING)
    batches = client_of(server).messages.batches
    canceled, expired = batches.create(requests=asked(4)), batches.create(requests=asked(400))
    batches.cancel(canceled.id)
    settled = {b.id: (ended(server, b.id), results(server, b.id)) for b in (canceled, expired)}
    assert settled[expired.id][0].request_counts.expired > 0
    killed(server)

    server = start_server(DELAYED)
    batch = client_of(server).messages.batches.create(requests=asked(150))
    killed(server)  # at once: it was acknowledged
    server = survive(lambda: start_server(DELAYED), batch.id, 10, random.Random(3))
    over = ended(server, batch.id)
    assert over.request_counts.succeeded == 150
    found = results(server, batch.id)
    assert found.keys() == {f"r{n}" for n in range(150)}
    for n in range(150):
        said = found[f"r{n}"]["message"]["content"][0]["text"]
        assert said.startswith(f"text {n} one")
    for batch_id, (was, lines) in settled.items():
        assert client_of(server).messages.batches.retrieve(batch_id).request_counts == (
            was.request_counts
        )
        assert results(server, batch_id) == lines
    server.stop()
    before = sum(was.request_counts.succeeded for was, _ in settled.values())
    check_ledger(sqlite_url(tmp_path / "home" / "renga.db"), 150 + before)


def test_a_kill_while_a_batch_is_taken_in_leaves_nothing(start_server: StartServer) -> None:
    server = start_server(DELAYED)

    def body() -> Any:
        yield b'{"requests": ['
        for n in range(3_000):
            yield b'{"custom_id": "r%d", "params": {}},' % n
        killed(server)
        yield b"]}"

    with pytest.raises(anthropic.APIConnectionError):
        client_of(server).post("/v1/messages/batches", cast_to=object, content=body())
    server = start_server(DELAYED)
    assert list(client_of(server).messages.batches.list()) == []


def test_a_server_that_ends_in_order_gives_its_requests_back(start_server: StartServer) -> None:
    server = start_server(scripted(first_delay_ms=60_000))
    batch = client_of(server).messages.batches.create(requests=asked(40))
    time.sleep(0.5)
    assert server.stop() == 0
    began = time.monotonic()
    server = start_server(scripted())
    assert ended(server, batch.id).request_counts.succeeded == 40
    assert time.monotonic() - began < 60, "they waited for a lease to run out"


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_a_batch_of_500_on_the_shipped_model_survives_100_kills(
    start_server: StartServer, tmp_path: Path
) -> None:
    server = start_server(SHIPPED)
    batch = client_of(server).messages.batches.create(requests=asked(500))
    killed(server)
    server = survive(lambda: start_server(SHIPPED), batch.id, 100, random.Random(5), most=3.0)
    assert ended(server, batch.id).request_counts.succeeded == 500
    assert len(results(server, batch.id)) == 500
    server.stop()
    check_ledger(sqlite_url(tmp_path / "home" / "renga.db"), 500)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_engine_that_is_killed_fails_no_request(
    start_server: StartServer, tmp_path: Path
) -> None:
    server = start_server(SHIPPED)
    batch = client_of(server).messages.batches.create(requests=asked(300))
    for _ in range(4):
        time.sleep(1.5)
        for child in engines_of(server.process.pid):
            os.kill(child, signal.SIGKILL)
    assert ended(server, batch.id).request_counts.succeeded == 300
    server.stop()
    check_ledger(sqlite_url(tmp_path / "home" / "renga.db"), 300)


def engines_of(parent: int) -> list[int]:
    listed = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(parent)],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line.split(None, 1) for line in listed.stdout.splitlines()]
    return [int(pid) for pid, args in lines if "renga.engine.process" in args]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_servers_on_postgresql_share_a_batch_and_one_is_killed(
    start_server: StartServer, postgres_url: str
) -> None:
    config = DELAYED + f'[store]\nurl = "{postgres_url}"\n'
    one, two = start_server(config), start_server(config)
    batch = client_of(one).messages.batches.create(requests=asked(300))
    time.sleep(1.5)
    killed(one)
    assert ended(two, batch.id).request_counts.succeeded == 300
    assert len(results(two, batch.id)) == 300
    two.stop()
    check_ledger(postgres_url, 300)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_database_that_is_restarted_loses_nothing(
    start_server: StartServer, postgres_url: str, postgres: Postgres
) -> None:
    config = DELAYED + f'[store]\nurl = "{postgres_url}"\n'
    server = start_server(config)
    batch = client_of(server).messages.batches.create(requests=asked(300))
    for _ in range(3):
        time.sleep(1.0)
        postgres.restart()
    while True:  # while the database is away, so is the answer to how far it is
        try:
            over = ended(server, batch.id)
            break
        except anthropic.APIStatusError:
            time.sleep(0.2)
    assert over.request_counts.succeeded == 300
    server.stop()
    check_ledger(postgres_url, 300)
