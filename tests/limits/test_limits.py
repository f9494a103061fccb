"""Limits over a real database, SQLite and PostgreSQL: servers beside each other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from sqlalchemy import select

from renga.caller import Caller
from renga.config import LimitConfig, LimitsConfig
from renga.errors import InvalidRequest, RateLimited, UsageLimitReached
from renga.ledger import Ledger
from renga.limits import Limits
from renga.limits.limiter import Reservation
from renga.prices import PICO, Price, Tokens
from renga.store.schema import limit_shares
from renga.types import MessagesRequest

PRICE = Price(
    input=10**6, output=5 * 10**6, cache_read=10**5, cache_write_5m=10**6, cache_write_1h=10**6
)
ASKED = MessagesRequest.model_validate(
    {"model": "haiku", "max_tokens": 100, "messages": [{"role": "user", "content": "x" * 100}]}
)


class Server:
    """The limits of one server, and requests to it."""

    def __init__(self, ledger: Ledger, limits: Limits) -> None:
        self.ledger, self.limits = ledger, limits

    def reserved(self, *, key: str = "key_1", workspace: str = "team", **more: Any) -> Reservation:
        caller = Caller(workspace, "req_1", key, more.pop("name", ""), **more)
        return self.limits.reserved(caller, "haiku", ASKED, PRICE)

    async def admits(self, **of: Any) -> bool:
        """Whether a request is let in, one that ends at once."""
        try:
            async with self.reserved(**of) as reservation:
                reservation.settle(tokens(input=10, output=5), 0)
        except RateLimited:
            return False
        return True


def tokens(**counts: int) -> Tokens:
    zero = {"input": 0, "cache_read": 0, "cache_write_5m": 0, "cache_write_1h": 0, "output": 0}
    return Tokens(**{**zero, **counts})


Start = Callable[..., Awaitable[Server]]


@pytest.fixture
async def start(store_url: str) -> AsyncIterator[Start]:
    """Start a server: `await start(requests_per_minute=5)`, or with whole tables."""
    async with AsyncExitStack() as stack:
        names = iter(range(100))

        async def begin(config: LimitsConfig | None = None, **default: Any) -> Server:
            ticks = default.pop("ticks", time.monotonic)
            config = config or LimitsConfig(default=LimitConfig(**default))
            ledger = await Ledger.start(
                store_url, clock=time.time, instance_id=f"inst_{next(names)}", lease_seconds=600
            )
            stack.push_async_callback(ledger.aclose)
            limits = Limits(
                config,
                ledger.store,
                instance_id=ledger.instance_id,
                clock=time.time,
                ticks=ticks,
            )
            limits.start()
            stack.push_async_callback(limits.aclose)
            return Server(ledger, limits)

        yield begin


async def test_two_servers_admit_together_what_one_may(start):
    servers = [await start(requests_per_minute=40) for _ in range(2)]
    admitted = 0
    for _ in range(60):
        admitted += sum([await server.admits() for server in servers])
    # The bucket, and what came into it meanwhile: less than a fourth of a minute's.
    assert 40 <= admitted <= 50


async def test_many_at_once_admit_no_more(start):
    servers = [await start(requests_per_minute=30) for _ in range(2)]
    asked = [server.admits() for server in servers for _ in range(50)]
    assert 30 <= sum(await asyncio.gather(*asked)) <= 38


async def test_a_refusal_names_the_limit_and_when_to_come_again(start):
    server = await start(requests_per_minute=1)
    assert await server.admits()
    with pytest.raises(RateLimited, match="1 requests per minute of this key") as refused:
        async with server.reserved():
            pass
    assert 50 < (refused.value.retry_after or 0) <= 60
    assert "`requests_per_minute` of [limits.default]" in refused.value.message
    assert server.limits.refusals == {("key", "requests_per_minute"): 1}


async def test_no_more_run_at_the_same_time_on_two_servers_than_may(start):
    servers = [await start(concurrent=5) for _ in range(2)]
    running, most = 0, 0

    async def ask(server: Server) -> bool:
        nonlocal running, most
        try:
            async with server.reserved():
                running += 1
                most = max(most, running)
                await asyncio.sleep(0.05)
                running -= 1
        except RateLimited:
            return False
        return True

    admitted = await asyncio.gather(*(ask(s) for s in servers for _ in range(10)))
    assert most <= 5
    assert sum(admitted) >= 5


async def test_what_runs_for_long_is_settled_with_the_limit_that_it_was_reserved_of(start):
    late = 0.0
    server = await start(ticks=lambda: time.monotonic() + late, output_tokens_per_minute=10_000)
    async with server.reserved() as reservation:
        for moment in (10.0, 2_000.0, 2_010.0):  # what nobody uses is forgotten meanwhile
            late = moment
            assert await server.admits(key="key_2")
            await asyncio.sleep(0.2)
        reservation.settle(tokens(input=10, output=9_000), 0)
    assert await server.admits(key="key_3")  # asks the buckets together with what is settled
    assert await server.admits()
    standings = server.limits.standings(Caller("team", "req_1", "key_1"))
    assert standings["output_tokens_per_minute"].remaining <= 2_000


async def test_slots_that_are_free_again_are_given_again(start):
    server = await start(concurrent=1)
    for _ in range(20):
        assert await server.admits()


async def test_cached_input_does_not_count_and_real_output_does(start):
    server = await start(input_tokens_per_minute=1_000, output_tokens_per_minute=1_000)
    for _ in range(30):
        async with server.reserved() as reservation:
            reservation.settle(tokens(input=5, cache_read=5_000, output=10), 0)
    standings = server.limits.standings(Caller("team", "req_1", "key_1"))
    assert standings["input_tokens_per_minute"].remaining >= 800
    assert 650 <= standings["output_tokens_per_minute"].remaining <= 900


async def test_output_that_was_not_expected_is_a_debt_that_delays(start):
    server = await start(output_tokens_per_minute=600)
    async with server.reserved() as reservation:
        reservation.settle(tokens(input=1, output=1_200), 0)
    await asyncio.sleep(0.2)
    with pytest.raises(RateLimited, match="output tokens per minute") as refused:
        async with server.reserved():
            pass
    # 600 too many, and what the next is expected to take, at ten in a second.
    assert 50 < (refused.value.retry_after or 0) < 90


async def test_a_prompt_larger_than_the_limit_waits_for_a_full_bucket(start):
    server = await start(input_tokens_per_minute=10)
    async with server.reserved() as reservation:
        reservation.settle(tokens(input=30), 0)
    assert not await server.admits()


async def test_dollars_that_are_spent_are_a_400_with_the_day_of_access(start):
    server = await start(usd_per_day=0.01)
    async with server.reserved() as reservation:
        reservation.settle(tokens(input=10), PICO // 50)
    with pytest.raises(UsageLimitReached) as refused:
        for _ in range(3):
            async with server.reserved():
                pass
    assert refused.value.message.startswith("You have reached your specified API usage limits. You")
    assert " at 00:00 UTC" in refused.value.message
    assert refused.value.status == InvalidRequest.status == 400


async def test_dollars_reserved_by_running_requests_are_a_429(start):
    server = await start(usd_per_day=0.0001)
    async with server.reserved():
        with pytest.raises(RateLimited, match="is reserved by running requests"):
            async with server.reserved():
                pass
    assert await server.admits()


async def test_a_batch_is_held_to_dollars_alone(start):
    server = await start(requests_per_minute=1, concurrent=1, usd_per_day=0.000001)
    async with server.reserved(service="batch") as first:
        first.settle(tokens(input=1), 10**6)
    await asyncio.sleep(0.7)
    assert "requests_per_minute" in server.limits.standings(Caller("team", "r", "key_1"))
    with pytest.raises(UsageLimitReached):
        async with server.reserved(service="batch"):
            pass


async def test_keys_workspaces_and_tiers_are_limited_each_by_itself(start):
    server = await start(
        LimitsConfig(
            keys={"alice": LimitConfig(requests_per_minute=2)},
            workspaces={"small": LimitConfig(requests_per_minute=3)},
            tiers={"haiku": LimitConfig(requests_per_minute=7)},
        )
    )
    alice = [await server.admits(key="key_a", name="alice") for _ in range(4)]
    small = [await server.admits(key=f"key_{i}", workspace="small") for i in range(5)]
    others = [await server.admits(key=f"key_x{i}") for i in range(5)]
    assert (sum(alice), sum(small), sum(others)) == (2, 3, 2)
    assert server.limits.refusals == {
        ("key", "requests_per_minute"): 2,
        ("workspace", "requests_per_minute"): 2,
        ("tier", "requests_per_minute"): 3,
    }


async def test_what_a_closed_server_held_is_given_back(start):
    first, second = await start(requests_per_minute=1_000), await start(requests_per_minute=1_000)
    for _ in range(10):
        assert await first.admits()
    await first.limits.aclose()
    shares = select(limit_shares).where(limit_shares.c.held != 0)
    assert await first.ledger.store.read(lambda connection: connection.execute(shares).all()) == []
    assert await second.admits()
    left = second.limits.standings(Caller("team", "r", "key_1"))["requests_per_minute"]
    assert left.remaining >= 985


async def test_spending_before_there_was_a_limit_counts(start):
    before = await start()
    values = {"workspace": "team", "tier": "haiku", "model_requested": "m", "model": "m"}
    before.ledger.open_answer(
        request_id="req_0", key_id="key_1", backend=None, service="standard", price=PRICE,
        received_at=time.time(), **values,
    )  # fmt: skip
    before.ledger.close_answer(
        "req_0", status="ok", tokens=tokens(input=10**6), served_tier="haiku"
    )
    await before.ledger.flush()
    after = await start(usd_per_month=1)
    with pytest.raises(UsageLimitReached):
        async with after.reserved():
            pass


async def test_without_limits_nothing_is_reserved_or_told(start):
    server = await start()
    assert await server.admits()
    assert server.limits.standings(Caller("team", "r", "key_1")) == {}
    rows = await server.ledger.store.read(lambda c: c.execute(select(limit_shares)).all())
    assert rows == []


async def test_no_request_waits_in_vain_where_there_is_plenty_however_many_come(start):
    server = await start(
        requests_per_minute=1_000_000,
        input_tokens_per_minute=900_000_000,
        output_tokens_per_minute=900_000_000,
        concurrent=1_000,
        usd_per_month=1_000_000,
    )

    async def client() -> list[bool]:
        return [await server.admits() for _ in range(60)]

    found = await asyncio.gather(*(client() for _ in range(64)))
    assert all(all(admitted) for admitted in found)


async def test_what_was_taken_for_one_who_left_goes_back(start):
    server = await start(concurrent=1)
    async with server.reserved():
        waits = asyncio.create_task(server.admits())
        await asyncio.sleep(0)
    for _ in range(5):
        asking = asyncio.create_task(server.admits())
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    await asyncio.gather(waits, return_exceptions=True)
    for _ in range(100):
        if await server.admits():
            break
        await asyncio.sleep(0.02)
    else:
        pytest.fail("the one slot never came back")
