"""Servers killed at any moment, and two of them on one database. sqlite3 is the witness."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from renga.ledger import LEASE_SECONDS, Ledger
from renga.store import sqlite_url

NOW = 1_800_000_000.0
SERVER = Path(__file__).with_name("recording_server.py")


def serve(path: Path, instance: str, *, answers: int, seed: int) -> subprocess.Popen[str]:
    arguments = [sqlite_url(path), instance, str(NOW), str(answers), str(seed)]
    command = [sys.executable, "-W", "error", str(SERVER), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ask(path: Path, query: str) -> list[tuple[Any, ...]]:
    plain = sqlite3.connect(path)
    found = plain.execute(query).fetchall()
    plain.close()
    return found


def killed_at_random(path: Path, seed: int) -> list[list[str]]:
    """Start a server, kill it some time after its first acknowledged row; what it acknowledged."""
    server = serve(path, "victim", answers=10**9, seed=seed)
    assert server.stdout is not None
    assert server.stderr is not None
    lines = [server.stdout.readline()]
    # Read on meanwhile: a full pipe would stop the server where it is easiest to kill.
    reader = threading.Thread(target=lambda: lines.extend(server.stdout or ()))
    reader.start()
    time.sleep(random.Random(seed).uniform(0, 0.2))
    server.send_signal(signal.SIGKILL)
    server.wait()
    reader.join()
    server.stdout.close()
    server.stderr.close()
    # The last line may be torn, as it is the pipe that was cut and not the ledger.
    return [line.split() for line in lines if line.endswith("\n")]


@pytest.mark.parametrize("seed", range(12))
async def test_a_killed_server_loses_nothing_that_was_flushed(tmp_path, seed):
    path = tmp_path / "renga.db"
    news = killed_at_random(path, seed)

    assert ask(path, "PRAGMA integrity_check") == [("ok",)]
    rows = {
        row[0]: row[1:] for row in ask(path, "SELECT request_id, status, cost_pico FROM answers")
    }
    opened = {line[1] for line in news if line[0] == "open"}
    closed = {line[1]: int(line[2]) for line in news if line[0] == "ok"}
    assert opened
    assert opened <= rows.keys()
    assert {request_id: rows[request_id] for request_id in closed} == {
        request_id: ("ok", cost) for request_id, cost in closed.items()
    }
    assert {row[0] for row in rows.values()} <= {"ok", "open"}

    left = {request_id for request_id, row in rows.items() if row[0] == "open"}
    before = await Ledger.start(
        sqlite_url(path), clock=lambda: NOW + LEASE_SECONDS - 0.001, instance_id="early"
    )
    assert {row.request_id for row in await before.rows(1000, status="open")} >= set(
        sorted(left, reverse=True)[:1000]
    )
    assert ask(path, "SELECT count(*) FROM answers WHERE status = 'interrupted'") == [(0,)]
    await before.aclose()
    after = await Ledger.start(
        sqlite_url(path), clock=lambda: NOW + LEASE_SECONDS, instance_id="late"
    )
    await after.aclose()
    marked = ask(path, "SELECT request_id FROM answers WHERE status = 'interrupted'")
    assert {row[0] for row in marked} == left
    assert ask(path, "SELECT count(*) FROM attempts WHERE status = 'open'") == [(0,)]
    assert ask(
        path,
        "SELECT count(*) FROM answers WHERE status = 'interrupted' AND"
        " (cost_pico IS NOT NULL OR output_tokens IS NOT NULL OR closed_by != 'late')",
    ) == [(0,)]


@pytest.mark.parametrize("delay", [0.3, 0.4, 0.5, 0.6])
async def test_a_server_killed_while_it_starts_leaves_a_file_that_opens(tmp_path, delay):
    path = tmp_path / "renga.db"
    server = serve(path, "victim", answers=10**9, seed=0)
    time.sleep(delay)  # noqa: ASYNC251  nothing else runs here
    server.kill()
    server.communicate()
    async with await Ledger.start(sqlite_url(path), clock=lambda: NOW, instance_id="next"):
        pass
    assert ask(path, "PRAGMA integrity_check") == [("ok",)]


def test_two_servers_write_one_database_at_once(tmp_path):
    path = tmp_path / "renga.db"
    servers = [serve(path, f"server{n}", answers=2000, seed=n) for n in range(2)]
    outputs = [server.communicate(timeout=50) for server in servers]
    assert [server.returncode for server in servers] == [0, 0], outputs
    counted = ask(path, "SELECT instance_id, workspace, count(*) FROM answers GROUP BY 1, 2")
    assert counted == [("server0", "server0", 2000), ("server1", "server1", 2000)]
    # Each ended in order, so each marked its own open rows itself, and no other's.
    assert ask(path, "SELECT DISTINCT instance_id = closed_by, status != 'open' FROM answers") == [
        (1, 1)
    ]
    acknowledged = [line.split() for out, _ in outputs for line in out.splitlines()]
    costs = dict(ask(path, "SELECT request_id, cost_pico FROM answers WHERE status = 'ok'"))
    for line in acknowledged:
        if line[0] == "ok":
            assert costs[line[1]] == int(line[2])
