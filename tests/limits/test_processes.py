"""Two servers, a process each, on one database: what they let pass, and one that is killed."""

from __future__ import annotations

import json
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from renga.ledger import LEASE_SECONDS
from tests.serving import Served, serving

CONFIG = """
[store]
url = "{url}"
[backends.script]
kind = "scripted"
token_delay_ms = {delay}
[tiers.haiku]
backends = ["script"]
[limits.default]
{limits}
"""


@pytest.fixture
def two(tmp_path: Path, store_url: str) -> Iterator[list[Served]]:
    yield from _two(tmp_path, store_url, "requests_per_minute = 40", 0)


@pytest.fixture
def slow_two(tmp_path: Path, store_url: str) -> Iterator[list[Served]]:
    yield from _two(tmp_path, store_url, "concurrent = 3", 10_000)


def _two(folder: Path, url: str, limits: str, delay: int) -> Iterator[list[Served]]:
    config = CONFIG.format(url=url, limits=limits, delay=delay)
    with ExitStack() as stack:
        homes = [folder / "a", folder / "b"]
        for home in homes:
            home.mkdir()
        yield [stack.enter_context(serving(home, config, home=home)) for home in homes]


def ask(server: Served, words: str = "hi", *, timeout: float = 20) -> int:
    body = {"model": "haiku", "max_tokens": 9, "messages": [{"role": "user", "content": words}]}
    headers = {"x-api-key": "any", "anthropic-version": "2023-06-01"}
    headers["content-type"] = "application/json"
    request = urllib.request.Request(
        f"{server.url}/v1/messages", json.dumps(body).encode(), headers
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def test_two_processes_admit_together_what_one_may(two: list[Served]):
    began = time.monotonic()
    statuses = [ask(server) for _ in range(30) for server in two]
    filled = (time.monotonic() - began) * 40 / 60
    assert set(statuses) == {200, 429}
    assert 40 <= statuses.count(200) <= 40 + filled + 1


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_what_a_killed_process_held_is_free_when_its_lease_ends(slow_two: list[Served]):
    killed, left = slow_two
    threads = [threading.Thread(target=ask, args=(killed, "a b c")) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(5)  # until all three run: the other server asked earlier would have one of the slots
    assert ask(left, "a b c", timeout=5) == 429
    killed.stop(signal.SIGKILL)
    deadline = time.monotonic() + LEASE_SECONDS + 30
    while ask(left, "a b c", timeout=1.0) == 429:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    for thread in threads:
        thread.join()
