"""The long ones, for `make test-all`: kill campaigns over whole servers, a soak over the engine."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import threading
import time
from contextlib import aclosing, closing
from functools import partial
from pathlib import Path

import anthropic
import pytest
from anthropic.types import MessageParam

from renga.app import App
from renga.backends.local import LocalBackend
from renga.caller import Caller
from renga.config import BackendConfig, Config, TierConfig
from renga.errors import BackendFailed
from renga.ledger import LEASE_SECONDS, Ledger
from renga.store import sqlite_url
from renga.types import MessagesRequest
from tests.conftest import Served, StartServer, scripted
from tests.tiny_model import write_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

KILLS = 30
CLIENTS = 4
# A group of rows is committed within 20 ms (docs/ledger.md); a loaded disk takes longer.
DURABLE_SECONDS = 1.0


def ask_until_dead(url: str, done: list[tuple[str, float]]) -> None:
    """Stream answers one after the other; note id and time of those that came whole."""
    client = anthropic.Anthropic(base_url=url, api_key="any", max_retries=0)
    turns: list[MessageParam] = [{"role": "user", "content": "count to seven"}]
    while True:
        try:
            with client.messages.stream(model="haiku", max_tokens=50, messages=turns) as stream:
                message = stream.get_final_message()
        except Exception:  # noqa: BLE001 - the server was killed: any failure is the end
            return
        # A connection that was cut ends the loop of the client without an error.
        if message.stop_reason == "end_turn":
            assert stream.request_id is not None
            done.append((stream.request_id, time.monotonic()))


def killed_at_random(server: Served, rng: random.Random) -> list[str]:
    """Ids of the answers that were whole long enough before the kill to be durable."""
    done: list[tuple[str, float]] = []
    clients = [
        threading.Thread(target=ask_until_dead, args=(server.url, done)) for _ in range(CLIENTS)
    ]
    for client in clients:
        client.start()
    time.sleep(DURABLE_SECONDS + rng.random())
    killed = time.monotonic()
    server.process.kill()
    server.process.communicate(timeout=20)
    for client in clients:
        client.join(timeout=60)
    return [request_id for request_id, at in done if at < killed - DURABLE_SECONDS]


async def test_no_kill_of_the_server_loses_an_answer_or_leaves_a_row_open_for_ever(
    start_server: StartServer, tmp_path: Path
) -> None:
    rng = random.Random(7)
    kept: list[str] = []
    for _ in range(KILLS):
        server = start_server(scripted(reply="one two three four five six seven", token_delay_ms=2))
        kept += await asyncio.to_thread(killed_at_random, server, rng)
    path = tmp_path / "home" / "renga.db"
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        rows = dict(database.execute("SELECT request_id, status FROM answers"))
    assert len(kept) > KILLS
    assert {rows.get(request_id) for request_id in kept} == {"ok"}
    later = partial(float, time.time() + LEASE_SECONDS + 1)
    async with await Ledger.start(sqlite_url(path), clock=later, instance_id="inst_after"):
        pass
    with closing(sqlite3.connect(path)) as database:
        after = dict(database.execute("SELECT status, count(*) FROM answers GROUP BY status"))
        charged = database.execute(
            "SELECT count(*) FROM answers WHERE status = 'ok' AND cost_pico IS NULL"
        ).fetchone()
    assert after.keys() <= {"ok", "interrupted", "cancelled", "error"}
    assert charged == (0,)


async def started(folder: Path) -> tuple[App, LocalBackend]:
    """An app over the engine with random weights."""
    model = write_model(folder / "model")
    config = Config(
        home=folder,
        backends={"small": BackendConfig(name="small", model=str(model), kv_cache_mb=4)},
        tiers={"haiku": TierConfig(name="haiku", backends=("small",))},
    )
    app = await App.start(config)
    backend = app.backends["small"]
    assert isinstance(backend, LocalBackend)
    return app, backend


def random_request(rng: random.Random) -> MessagesRequest:
    shared = "The quick brown fox jumps over the lazy dog. " * rng.choice((0, 2, 8))
    text = shared + " ".join(str(rng.random()) for _ in range(rng.randrange(1, 12)))
    body = {
        "model": "haiku",
        "max_tokens": rng.randrange(1, 60),
        "temperature": rng.choice((0.0, 0.7, 1.0)),
        "messages": [{"role": "user", "content": text}],
        "stop_sequences": rng.choice(([], ["the"])),
    }
    return MessagesRequest.model_validate(body)


async def one_client(app: App, number: int, rng: random.Random) -> str:
    """One answer, left at a random event in a third of the cases; how its row must have closed."""
    asked = Caller(workspace=f"team{number % 3}", request_id=f"req_{number}")
    leave = rng.randrange(1, 20) if rng.random() < 0.3 else 10**9
    stream = app.gateway.stream(random_request(rng), asked)
    async with aclosing(stream) as events:  # type: ignore[type-var]
        seen = 0
        async for event in events:
            seen += 1
            if seen == leave and event.type != "message_stop":
                return "cancelled"
    return "ok"


async def test_a_soak_leaves_no_block_no_request_and_no_row_behind(tmp_path: Path) -> None:
    app, backend = await started(tmp_path)
    rng, wanted = random.Random(3), dict[str, str]()
    gate = asyncio.Semaphore(24)

    async def run(number: int) -> None:
        async with gate:
            wanted[f"req_{number}"] = await one_client(app, number, random.Random(rng.random()))

    try:
        for begin in range(0, 3_000, 500):
            await asyncio.gather(*(run(n) for n in range(begin, begin + 500)))
        async with asyncio.timeout(30):
            while not await _idle(backend):
                await asyncio.sleep(0.1)
        await app.ledger.flush()
        with closing(sqlite3.connect(tmp_path / "renga.db")) as database:
            rows = dict(database.execute("SELECT request_id, status FROM answers"))
        assert rows == wanted
        assert backend.open_streams == 0
    finally:
        await app.aclose()


async def _idle(backend: LocalBackend) -> bool:
    """Nothing runs, and every block is free or kept only for its prefix."""
    assert backend.engine is not None
    stats = backend.engine.stats()
    return (
        stats is not None
        and stats.running == stats.waiting == 0
        and (stats.free_blocks == stats.blocks)
    )


async def answers_again(app: App, number: int) -> None:
    """The engine serves within seconds. A request that is there as it dies may end with it."""
    async with asyncio.timeout(20):
        while True:
            try:
                await one_client(app, number, random.Random(1))
            except BackendFailed:
                number += 1
                await asyncio.sleep(0.05)
            else:
                return


async def test_killing_the_engine_again_and_again_ends_its_requests_and_nothing_else(
    tmp_path: Path,
) -> None:
    app, backend = await started(tmp_path)
    rng = random.Random(5)
    try:
        for round_ in range(10):
            tasks = [
                asyncio.ensure_future(one_client(app, round_ * 100 + n, random.Random(n)))
                for n in range(12)
            ]
            await asyncio.sleep(rng.random() * 0.2)
            assert backend.engine is not None
            if backend.engine.alive and backend.engine.process_id:
                os.kill(backend.engine.process_id, signal.SIGKILL)
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(e in ("ok", "cancelled") or isinstance(e, BackendFailed) for e in ends), ends
            await answers_again(app, 5_000 + round_ * 100)
        await app.ledger.flush()
        with closing(sqlite3.connect(tmp_path / "renga.db")) as database:
            query = "SELECT count(*) FROM answers WHERE status = 'open'"
            assert database.execute(query).fetchone() == (0,)
    finally:
        await app.aclose()
