"""How load is put on an engine, and what is read from its times."""

from __future__ import annotations

import asyncio
import itertools
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renga.bench.load import (
    Ask,
    BenchError,
    Timing,
    answered,
    at_times,
    overall_rate,
    p95,
    poisson,
    some_at_a_time,
    span,
    together_rate,
    without_end,
)


class Counted:
    """A peer that counts who is with it, and gives as many tokens as it is told."""

    kind = name = "counted"

    def __init__(self, tokens: int | None = None) -> None:
        self.tokens = tokens
        self.open = self.most = self.asked = 0

    async def answer(self, ask: Ask, timing: Timing) -> None:
        self.open += 1
        self.asked += 1
        self.most = max(self.most, self.open)
        try:
            for _ in range(ask.tokens if self.tokens is None else self.tokens):
                await asyncio.sleep(0)
                timing.add(1)
        finally:
            self.open -= 1

    async def aclose(self) -> None:
        """Nothing is held."""


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 20), st.integers(1, 6), st.integers(1, 4))
def test_never_more_than_so_many_are_open_and_each_is_answered_once(count, width, tokens):
    peer = Counted()
    timings = asyncio.run(some_at_a_time(peer, [Ask([1], tokens)] * count, width))
    assert peer.most == min(count, width)
    assert (peer.asked, peer.open) == (count, 0)
    assert [timing.tokens for timing in timings] == [tokens] * count


async def test_an_answer_that_is_too_short_is_no_measurement():
    with pytest.raises(BenchError, match="counted: 2 tokens were answered of 3"):
        await answered(Counted(2), Ask([1], 3))
    assert (await answered(Counted(2), Ask([1], 3, whole=False))).tokens == 2


async def test_one_failure_ends_the_whole_load():
    peer = Counted(1)
    with pytest.raises(BenchError):
        await some_at_a_time(peer, [Ask([1], 2)] * 9, 3)
    await asyncio.sleep(0.01)
    assert peer.open == 0


async def test_a_time_to_first_token_counts_from_when_the_request_was_due():
    timings = await at_times(Counted(), [Ask([1], 1)] * 2, [0.0, 0.05])
    assert timings[1].due - timings[0].due == pytest.approx(0.05)
    assert all(timing.ttft >= 0 for timing in timings)


async def test_clients_without_end_stop_at_the_event_and_what_came_of_them_counts():
    stop = asyncio.Event()
    peer = Counted()
    asyncio.get_running_loop().call_later(0.02, stop.set)
    timings = await without_end(peer, lambda: Ask([1, 2], 10**9), 3, stop)
    assert len(timings) == peer.most == 3
    assert all(timing.tokens for timing in timings)
    assert peer.open == 0


async def test_clients_without_end_pass_on_what_goes_wrong():
    class Broken(Counted):
        async def answer(self, ask: Ask, timing: Timing) -> None:
            raise BenchError("broken")

    with pytest.raises(BenchError, match="broken"):
        await without_end(Broken(), lambda: Ask([1], 1), 2, asyncio.Event())


def timing(due: float, *came: float) -> Timing:
    return Timing(due, 10, [(at, 1) for at in came])


def test_a_rate_counts_only_while_everybody_is_answered():
    early, late = timing(0, 1, 2, 3, 4), timing(0, 2, 3, 4, 5)
    assert together_rate([early, late]) == pytest.approx(4 / 2)
    assert overall_rate([early, late]) == pytest.approx(7 / 4)
    assert together_rate([early]) == pytest.approx(3 / 3)
    assert together_rate([timing(0, 1, 2), timing(0, 3, 4)]) == pytest.approx(3 / 3)
    with pytest.raises(BenchError, match="a single token"):
        together_rate([timing(0, 1)])


def test_the_span_is_from_the_first_request_to_the_last_token():
    assert span([timing(1, 2, 3), timing(0.5, 4, 6)]) == 5.5


def test_p95_is_the_statisticians():
    waits = [float(n) for n in range(1, 101)]
    assert p95([timing(0, wait) for wait in waits]) == pytest.approx(
        statistics.quantiles(waits, n=20, method="inclusive")[-1]
    )


def test_arrivals_are_in_order_and_as_many_a_second_as_asked():
    times = poisson(5_000, 10.0, seed=1)
    assert times[0] == 0
    assert all(a < b for a, b in itertools.pairwise(times))
    assert times[-1] == pytest.approx(500, rel=0.1)
    assert times == poisson(5_000, 10.0, seed=1) != poisson(5_000, 10.0, seed=2)
