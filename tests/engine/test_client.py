"""The engine behind its process: real pipes, real model, and a process that is killed."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from renga.engine.client import (
    EngineClient,
    EngineDied,
    EngineOverloaded,
    EngineStartError,
    Event,
)
from renga.engine.messages import EngineSettings, Finished, Output, Score, Started, Submit
from tests.engine.harness import NAMES, model_folder

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module", params=NAMES)
def folder(request, tmp_path_factory) -> Path:
    return model_folder(request.param, tmp_path_factory.mktemp("client"))


@pytest_asyncio.fixture
async def client(folder) -> AsyncIterator[EngineClient]:
    settings = EngineSettings(model=str(folder), kv_bytes=100_000_000, max_running=4, max_waiting=4)
    client = await EngineClient.start(settings)
    yield client
    await client.aclose()


def _submit(id: str, **changes: Any) -> Submit:
    # A grammar without an end keeps the answer going for as long as a test wants.
    given: dict[str, Any] = {
        "salt": "team",
        "prompt": list(range(20, 60)),
        "max_tokens": 20,
        "temperature": 0.0,
        "grammar": "start: /(.|\\n){2000,}/",
    }
    return Submit(id=id, **{**given, **changes})


async def _collect(client: EngineClient, submit: Submit) -> list[Event]:
    async with aclosing(client.generate(submit)) as events:
        return [event async for event in events]


def _running(client: EngineClient) -> int | None:
    stats = client.stats()
    return None if stats is None else stats.running


async def _until(condition, seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def _output_tokens(events: list[Event]) -> int:
    return sum(len(event.tokens) for event in events if isinstance(event, Output))


async def test_a_meter_that_fails_ends_its_own_request_alone(client):
    def fail(event: Event) -> None:
        raise ValueError("it does not add up")

    async def metered() -> None:
        async with aclosing(client.generate(_submit("bad", max_tokens=1_500), fail)) as events:
            async for _ in events:
                pass

    other = asyncio.create_task(_collect(client, _submit("good")))
    with pytest.raises(ValueError, match="it does not add up"):
        await metered()
    assert _output_tokens(await other) == 20
    await _until(lambda: _running(client) == 0)
    assert _output_tokens(await _collect(client, _submit("next"))) == 20


async def test_an_answer_comes_through_the_pipe(client):
    events = await _collect(client, _submit("one"))
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Finished)
    assert events[-1].reason == "max_tokens"
    assert _output_tokens(events) == events[-1].output_tokens == 20


async def test_the_facts_say_what_was_loaded(client):
    facts = client.facts
    assert facts.blocks * facts.block_size >= facts.window
    assert facts.kv_bytes <= 100_000_000
    assert facts.vocab > 0
    assert facts.precision == "serving"
    assert 0 < facts.load_seconds < 30


async def test_requests_run_side_by_side(client):
    answers = await asyncio.gather(*[_collect(client, _submit(f"s{n}")) for n in range(6)])
    assert all(_output_tokens(events) == 20 for events in answers)


async def test_a_warm_prefix_is_reported_as_reused(client):
    await _collect(client, _submit("first"))
    again = await _collect(client, _submit("again"))
    other = await _collect(client, _submit("other", salt="other team"))
    assert isinstance(again[0], Started)
    assert isinstance(other[0], Started)
    assert (again[0].reused_tokens, other[0].reused_tokens) == (32, 0)


async def test_leaving_early_cancels_and_frees_the_blocks(client):
    async with aclosing(client.generate(_submit("long", max_tokens=1_500))) as events:
        async for event in events:
            if isinstance(event, Output):
                break
    await _until(lambda: _running(client) == 0)
    stats = client.stats()
    assert stats is not None
    assert stats.free_blocks == stats.blocks
    assert stats.output_tokens < 500


async def test_a_full_queue_is_an_exception_with_a_time(client):
    results = await asyncio.gather(
        *[_collect(client, _submit(f"q{n}", max_tokens=200)) for n in range(12)],
        return_exceptions=True,
    )
    refused = [result for result in results if isinstance(result, EngineOverloaded)]
    assert len(refused) == 4
    assert all(one.retry_after >= 1 for one in refused)
    finished = [result for result in results if isinstance(result, list)]
    assert all(_output_tokens(events) == 200 for events in finished)


async def test_a_killed_process_ends_its_requests_and_is_started_again(client):
    async def killed() -> EngineDied:
        with pytest.raises(EngineDied) as raised:
            await _collect(client, _submit("doomed", max_tokens=1_500))
        return raised.value

    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(killed())
        await _until(lambda: _running(client) == 1)
        first = client.process_id
        os.kill(first, signal.SIGKILL)
    assert "ended" in str(waiting.result())
    events = await _collect(client, _submit("next"))
    assert _output_tokens(events) == 20
    assert client.process_id != first
    assert client.alive


async def test_the_end_of_a_process_is_told_to_the_operator(client, caplog):
    os.kill(client.process_id, signal.SIGKILL)
    await _until(lambda: not client.alive)
    await _until(lambda: client.alive)
    assert "the engine's process ended with status -9; starting it again" in caplog.text


async def test_a_process_that_hangs_is_ended_and_started_again(folder, caplog):
    settings = EngineSettings(model=str(folder), kv_bytes=100_000_000)
    client = await EngineClient.start(settings, patience=1.0)
    first = client.process_id
    assert first is not None
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(_raised(client))
        await _until(lambda: _running(client) == 1)
        os.kill(first, signal.SIGSTOP)
    assert "no sign of life for 1 s" in str(waiting.result())
    assert "no sign of life" in caplog.text
    assert _output_tokens(await _collect(client, _submit("next"))) == 20
    assert client.process_id != first
    await client.aclose()


async def test_a_process_that_owes_nothing_may_be_silent(folder):
    settings = EngineSettings(model=str(folder), kv_bytes=100_000_000)
    client = await EngineClient.start(settings, patience=1.0)
    first = client.process_id
    async with aclosing(client.generate(_submit("slow reader"))) as events:
        await anext(events)
        await asyncio.sleep(2.0)
        rest = [event async for event in events]
    assert _output_tokens(rest) == 20
    assert client.process_id == first
    await client.aclose()


async def test_a_process_owes_nothing_of_what_the_one_before_it_lost(folder):
    settings = EngineSettings(model=str(folder), kv_bytes=100_000_000)
    client = await EngineClient.start(settings, patience=1.0)
    async with aclosing(client.generate(_submit("slow reader", max_tokens=1_900))) as events:
        await anext(events)
        first = client.process_id
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await _until(lambda: client.process_id not in (first, None) and client.alive)
        second = client.process_id
        await asyncio.sleep(2.0)
        assert client.process_id == second
        with pytest.raises(EngineDied):
            _ = [event async for event in events]
    await client.aclose()


async def _raised(client: EngineClient) -> EngineDied:
    with pytest.raises(EngineDied) as raised:
        await _collect(client, _submit("doomed", max_tokens=1_900))
    return raised.value


async def test_scores_come_through_the_pipe(client):
    prompt = list(range(20, 60))
    score = Score(id="s", salt="team", prompt=prompt, continuations=[[70, 71], [80]])
    scored, end = await client.score(score)
    assert scored is not None
    assert [len(logs) for logs in scored.logprobs] == [2, 1]
    assert all(log <= 0 for logs in scored.logprobs for log in logs)
    assert (end.reason, end.prompt_tokens, end.output_tokens) == ("end_turn", 40, 0)
    none, refused = await client.score(Score(id="e", salt="t", prompt=prompt, continuations=[]))
    assert none is None
    assert "continuations: there are none" in (refused.error or "")


async def test_a_process_that_ends_as_soon_as_it_is_up_strands_nobody(tmp_path):
    client = EngineClient(EngineSettings(model=str(tmp_path), start_seconds=0.5))
    waiting = asyncio.create_task(_collect(client, _submit("stranded")))
    await asyncio.sleep(0.05)
    client._up.set()
    client._lose("the engine's process ended")
    with pytest.raises(EngineDied):
        await asyncio.wait_for(waiting, 5)


async def test_a_request_that_cannot_run_ends_with_a_sentence(client):
    prompt = [20] * client.facts.window
    [event] = await _collect(client, _submit("huge", prompt=prompt))
    assert isinstance(event, Finished)
    assert event.reason == "error"
    assert "prompt is too long" in (event.error or "")


async def test_an_id_in_use_is_refused(client):
    async with aclosing(client.generate(_submit("same", max_tokens=500))) as events:
        await anext(events)
        with pytest.raises(ValueError, match="in use"):
            await _collect(client, _submit("same"))


async def test_closing_with_time_lets_open_answers_finish(folder):
    client = await EngineClient.start(EngineSettings(model=str(folder), kv_bytes=100_000_000))
    async with (
        asyncio.TaskGroup() as group,
        aclosing(client.generate(_submit("last", max_tokens=500))) as events,
    ):
        begun = [await anext(events)]
        closing = group.create_task(client.aclose(drain_seconds=50))
        rest = [event async for event in events]
        await closing
    assert _output_tokens(begun + rest) == 500
    assert client.process_id is None
    with pytest.raises(EngineDied, match="closed"):
        await _collect(client, _submit("late"))


async def test_closing_at_once_ends_open_answers_and_the_process(folder):
    client = await EngineClient.start(EngineSettings(model=str(folder), kv_bytes=100_000_000))
    process = client.process_id
    async with asyncio.TaskGroup() as group:
        answer = group.create_task(_died(client))
        await _until(lambda: _running(client) == 1)
        begun = time.monotonic()
        await client.aclose()
        assert time.monotonic() - begun < 5
    assert answer.result()
    assert process is not None
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


async def _died(client: EngineClient) -> bool:
    with pytest.raises(EngineDied):
        await _collect(client, _submit("open", max_tokens=1_900))
    return True


async def test_closing_while_it_is_started_again_strands_nobody(folder):
    client = await EngineClient.start(EngineSettings(model=str(folder), kv_bytes=10_000_000))
    first = client.process_id
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await _until(lambda: client.process_id not in (first, None))
    second = client.process_id
    assert second is not None
    os.kill(second, signal.SIGSTOP)
    assert not client.alive
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(_died(client))
        await asyncio.sleep(0)
        await client.aclose()
        assert await asyncio.wait_for(waiting, 5)
    with pytest.raises(ProcessLookupError):
        os.kill(second, 0)


async def test_an_orderly_end_leaves_no_word_in_the_log(folder, caplog):
    for _ in range(4):
        client = await EngineClient.start(EngineSettings(model=str(folder), kv_bytes=10_000_000))
        await client.aclose()
    assert [record.getMessage() for record in caplog.records] == []


async def test_signals_of_the_terminal_do_not_end_the_process(client):
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(client.process_id, number)
    assert _output_tokens(await _collect(client, _submit("still"))) == 20


async def test_a_folder_without_a_model_fails_to_start_with_a_sentence(tmp_path):
    with pytest.raises(EngineStartError, match=r"no openvino_model\.xml"):
        await EngineClient.start(EngineSettings(model=str(tmp_path)))


async def test_a_broken_model_fails_to_start_with_a_sentence(folder, tmp_path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "openvino_model.xml").write_text("<net>", encoding="utf-8")
    with pytest.raises(EngineStartError, match=r"openvino_model\.xml describes no weights"):
        await EngineClient.start(EngineSettings(model=str(tmp_path)))
