"""Who gets a slot, in which order, and who is sent away."""

from __future__ import annotations

import asyncio

import pytest

from renga.engine.client import EngineOverloaded
from renga.llamacpp.queue import SlotQueue


def queue(slots: int = 1, waiting: int = 8) -> SlotQueue:
    return SlotQueue(slots, waiting, asyncio.get_running_loop().time)


async def test_no_more_run_than_there_are_slots():
    line, most, now = queue(3, 100), 0, 0

    async def work() -> None:
        nonlocal most, now
        async with line.take("interactive"):
            now += 1
            most = max(most, now)
            await asyncio.sleep(0)
            now -= 1

    await asyncio.gather(*(work() for _ in range(40)))
    assert (most, line.running, line.waiting) == (3, 0, 0)


async def test_they_are_served_in_order_and_batches_last():
    line, served = queue(), []

    async def work(name: str) -> None:
        async with line.take("batch" if name.startswith("b") else "interactive"):
            served.append(name)
            await asyncio.sleep(0)

    await asyncio.gather(*(work(name) for name in ("first", "b1", "a1", "b2", "a2")))
    assert served == ["first", "a1", "a2", "b1", "b2"]


async def test_beyond_the_queue_the_answer_is_overloaded_with_a_time():
    line = queue(1, 2)
    gate = asyncio.Event()

    async def work() -> None:
        async with line.take("interactive"):
            await gate.wait()

    tasks = [asyncio.create_task(work()) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(EngineOverloaded) as raised:
        await work()
    assert raised.value.retry_after >= 1
    gate.set()
    await asyncio.gather(*tasks)
    assert (line.running, line.waiting) == (0, 0)


@pytest.mark.parametrize("when", range(8))
async def test_whoever_leaves_at_any_moment_leaves_nothing_behind(when):
    line, served = queue(), []

    async def work(name: int) -> None:
        async with line.take("interactive"):
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            served.append(name)

    tasks = [asyncio.create_task(work(name)) for name in range(4)]
    for _ in range(when):
        await asyncio.sleep(0)
    for task in (tasks[0], tasks[2]):
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert {1, 3} <= set(served)
    assert (line.running, line.waiting) == (0, 0)
