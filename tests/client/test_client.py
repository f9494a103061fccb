"""`renga.client` against a running server: rows in order, batches waited for, both edges."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anthropic
import pytest
from anthropic.types import Message
from anthropic.types.messages import MessageBatchIndividualResponse

from renga.client import Answered, AsyncClient, BatchProgress, Client
from tests.serving import Served, serving

pytestmark = pytest.mark.timeout(300)

CONFIG = """
[backends.s]
kind = "scripted"
[tiers.haiku]
backends = ["s"]
"""
ROWS = [{"id": n, "text": f"text {n}"} for n in range(40)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder: Path = tmp_path_factory.mktemp("client")
    with serving(folder, CONFIG, home=folder / "home") as served:
        yield served


async def test_rows_are_answered_in_their_order(server: Served) -> None:
    async with AsyncClient(server.url, "key") as client:
        found = [one async for one in client.map(ROWS, "Say: {text}", concurrency=7)]
    assert [one.value for one in found] == [f"Say: text {n}" for n in range(40)]
    assert [one.row for one in found] == ROWS
    assert all(isinstance(one.message, Message) for one in found)


async def test_rows_are_taken_no_faster_than_they_are_asked(server: Served) -> None:
    taken = 0

    async def endless() -> AsyncIterator[dict[str, str]]:
        nonlocal taken
        while True:
            taken += 1
            yield {"text": "a"}

    async with AsyncClient(server.url, "key") as client:
        answers = client.map(endless(), "{text}", concurrency=5)
        first = await anext(answers)
        await answers.aclose()  # type: ignore[attr-defined]
    assert first.value == "a"
    assert taken <= 6


def test_a_program_without_a_loop_asks_the_same(server: Served) -> None:
    with Client(server.url, "key") as client:
        found: list[Answered] = list(client.map(ROWS, "{text}", max_tokens=1))
    assert all(one.error is not None and "cut" in one.error for one in found)
    with Client(server.url, "key") as client:
        rows: list[dict[str, object]] = [{"text": "fine"}, {"other": 1}, {"text": " "}]
        found = list(client.map(rows, "{text}"))
    assert [one.value for one in found] == ["fine", None, None]
    assert [one.error for one in found] == [
        None,
        "there is no column 'text' in this row",
        "its prompt is empty",
    ]


def test_what_is_wrong_for_every_row_is_raised(server: Served) -> None:
    with Client(server.url, "key") as client:
        with pytest.raises(ValueError, match="--prompt"):
            next(client.map(ROWS, "{text"))
        with pytest.raises(ValueError, match="no object"):
            next(client.map(ROWS, "{text}", schema={}))
        with pytest.raises(ValueError, match="concurrency"):
            next(client.map(ROWS, "{text}", concurrency=0))
        with pytest.raises(anthropic.NotFoundError):
            next(client.map(ROWS, "{text}", tier="gpt-5"))
        with pytest.raises(anthropic.NotFoundError):
            client.batch_of("msgbatch_none")
    with (
        Client("http://127.0.0.1:9", "key", sdk=None) as client,
        pytest.raises(anthropic.APIConnectionError),
    ):
        next(client.map(ROWS, "{text}"))


def test_a_batch_is_handed_in_waited_for_and_read(server: Served) -> None:
    requests = [
        {
            "custom_id": f"r{n}",
            "params": {
                "model": "haiku",
                "max_tokens": 50,
                "messages": [{"role": "user", "content": f"number {n}"}],
            },
        }
        for n in range(30)
    ]
    seen: list[BatchProgress] = []
    with Client(server.url, "key") as client:
        batch = client.batch(requests)  # type: ignore[arg-type]
        ended = batch.wait(progress=seen.append, timeout=120)
        assert ended.request_counts.succeeded == 30
        results = list(batch.results())
        assert all(isinstance(one, MessageBatchIndividualResponse) for one in results)
        texts = {
            one.custom_id: one.result.message.content[0].text  # type: ignore[union-attr]
            for one in results
        }
        assert texts == {f"r{n}": f"number {n}" for n in range(30)}
        again = client.batch_of(batch.id)
        assert again.state.processing_status == "ended"
        again.delete()
        with pytest.raises(anthropic.NotFoundError):
            again.refresh()
    assert seen[-1].done == seen[-1].total == 30
    assert seen[-1].cost_usd is not None
    assert seen[-1].saved_usd is not None


async def test_waiting_can_end_before_the_batch_does(server: Served) -> None:
    async with AsyncClient(server.url, "key") as client:
        batch = await client.batch(
            [
                {
                    "custom_id": "one",
                    "params": {
                        "model": "haiku",
                        "max_tokens": 5,
                        "messages": [{"role": "user", "content": "x"}],
                    },
                }
            ]
        )
        with pytest.raises(TimeoutError):
            await batch.wait(timeout=0)
        await asyncio.sleep(0)
        await batch.wait(timeout=60)
