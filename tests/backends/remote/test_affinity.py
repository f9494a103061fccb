"""Prefix affinity finds caches again: on a simulated workload, and over real connections."""

from __future__ import annotations

import asyncio
import json
import random
from contextlib import AsyncExitStack
from functools import partial

import pytest

from benchmarks.affinity import BLOCK, Asked, Cache, in_turn, simulate, table, workload
from renga.backends.remote import Upstream
from renga.backends.remote.affinity import heads_of
from renga.config import BackendConfig
from renga.types import MessagesRequest
from tests.upstreams.faulty import faulty


@pytest.mark.parametrize(("room", "rate"), [(60_000, 16.0), (60_000, 40.0), (150_000, 16.0)])
def test_nine_tenths_of_what_one_cache_of_the_size_of_all_would_hit(room: int, rate: float) -> None:
    found = table(3_000, seed=2, room=room, rate=rate)
    share = {name: result.share for name, result in found.items()}
    assert share["prefix affinity"] >= 0.9 * share["one replica, four caches"]
    assert share["prefix affinity"] > share["one replica, one cache"]
    assert share["prefix affinity"] > 1.2 * share["round robin"]
    assert found["prefix affinity"].busiest < 2


def test_a_cache_holds_what_was_used_last_and_is_read_from_the_beginning() -> None:
    cache = Cache(room=4 * BLOCK)
    first, second = [(1, 0), (1, 1)], [(2, 0), (2, 1)]
    assert cache.read(first) == 0
    assert cache.read([*first, (3, 0)]) == 2 * BLOCK
    assert cache.read(second) == 0  # (1, 0) leaves, and what is behind it is of no use
    assert cache.read(first) == 0


def test_the_workload_is_what_it_says() -> None:
    asked = list(workload(4_000, seed=3, rate=10.0))
    prefixes = [one.blocks[0][0] for one in asked]
    assert len(set(prefixes)) > 150
    assert prefixes.count(0) > 3 * prefixes.count(9) > 0  # Zipf: ten to one, if no turn went on
    assert 350 < asked[-1].at < 450
    assert all(len(one.blocks) * BLOCK < 10_000 for one in asked[:500])


def test_with_one_replica_every_way_to_choose_is_the_same() -> None:
    asked: list[Asked] = list(workload(300, seed=4, rate=10.0))
    one = simulate(asked, in_turn(), replicas=1, room=50_000)
    assert one.busiest == 1.0


async def test_requests_over_real_connections_go_where_their_prefix_was_read() -> None:
    rng = random.Random(5)
    weights = [1 / (rank + 1) for rank in range(40)]
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(faulty()) for _ in range(4)]
        config = BackendConfig("far", "messages", urls=tuple(s.url for s in servers))
        upstream = Upstream(config, headers={}, probe="/v1/models", rng=rng)
        await upstream.start()
        stack.push_async_callback(upstream.aclose)

        async def ask(number: int) -> None:
            prefix = rng.choices(range(40), weights)[0]
            turns = [{"role": "user", "content": f"question {number}"}]
            given = {"model": "m", "max_tokens": 1, "messages": turns}
            request = MessagesRequest.model_validate({**given, "system": f"document {prefix}"})
            body = json.dumps({"prefix": prefix}).encode()
            async with upstream.post(
                "/v1/messages", body, affinity=partial(heads_of, request)
            ) as reply:
                await reply.json()

        for batch in range(20):
            await asyncio.gather(*(ask(batch * 8 + i) for i in range(8)))
        read = [{one.body["prefix"] for one in server.served} for server in servers]
        assert sum(len(server.served) for server in servers) == 160
        assert all(server.served for server in servers)  # their ports, and so the shares, differ
        # Nearly every prefix was read by one server alone.
        assert sum(map(len, read)) <= 1.25 * len(set.union(*read))
