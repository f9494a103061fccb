"""Batches handed to the batches of the server behind: a renga behind a renga, whatever dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
import pytest
from sqlalchemy import select

from renga.app import App
from renga.backends.messages import MessagesBackend
from renga.backends.messages.handing import Handing, Pace
from renga.backends.remote import Upstream
from renga.backends.scripted import Reply, ScriptedBackend, last_user_text
from renga.config import BackendConfig, BatchesConfig, Config, TierConfig, load_config
from renga.errors import BackendFailed, InvalidRequest, SetupError
from renga.http.app import make_batches
from renga.http.server import working
from renga.store import Store, batching, sqlite_url
from renga.store.batching import BatchRow, NewItem
from renga.store.schema import answers, attempts, batch_handovers, batch_items
from renga.types import MessagesRequest
from tests.upstreams.renga import served

PACE = Pace(shortest=0.02, longest=0.1, linger=0.05)
Script = Callable[[MessagesRequest], Reply]


@dataclass
class Side:
    """A server that works on batches, and a client of it."""

    app: App
    url: str
    client: anthropic.AsyncAnthropic

    async def ended(self, batch_id: str) -> Any:
        while True:
            found = await self.client.messages.batches.retrieve(batch_id)
            if found.processing_status == "ended":
                return found
            await asyncio.sleep(0.05)

    async def results(self, batch_id: str) -> dict[str, Any]:
        await self.ended(batch_id)
        lines = [line async for line in await self.client.messages.batches.results(batch_id)]
        found = {line.custom_id: line.result for line in lines}
        assert len(found) == len(lines), "a custom_id has two results"
        return found

    async def rows(self, query: Any) -> list[Any]:
        await self.app.ledger.store.flush()
        return list(await self.app.ledger.store.read(lambda c: c.execute(query).all()))

    async def batches(self) -> list[Any]:
        return [batch async for batch in self.client.messages.batches.list()]


@asynccontextmanager
async def side(config: Config, port: int = 0) -> AsyncIterator[Side]:
    async with AsyncExitStack() as stack:
        app = await App.start(config)
        stack.push_async_callback(app.aclose)
        for backend in app.backends.values():
            if isinstance(backend, MessagesBackend) and backend.handing is not None:
                backend.handing.pace = PACE
        batches = make_batches(app)
        url = await stack.enter_async_context(served(app, port, batches))
        await stack.enter_async_context(working(app, batches))
        client = anthropic.AsyncAnthropic(base_url=url, api_key="any", max_retries=0)
        async with client:
            yield Side(app, url, client)


def behind(home: Path, **options: Any) -> Config:
    """The server that batches are handed to."""
    batches = options.pop("batches", BatchesConfig(tries=1))
    return Config(
        home=home / "behind",
        backends={"B": BackendConfig("B", "scripted", **options)},
        tiers={"haiku": TierConfig(name="haiku", backends=("B",))},
        batches=batches,
    )


def front(home: Path, url: str) -> Config:
    """The server that hands them over."""
    far = BackendConfig("far", "messages", model="haiku", urls=(url,), batch="upstream")
    return Config(
        home=home / "front",
        backends={"far": far},
        tiers={"sonnet": TierConfig(name="sonnet", backends=("far",))},
        batches=BatchesConfig(tries=3),
    )


def asked(count: int) -> list[Any]:
    return [
        {
            "custom_id": f"r{n}",
            "params": {
                "model": "sonnet",
                "max_tokens": 50,
                "messages": [{"role": "user", "content": f"text {n}"}],
            },
        }
        for n in range(count)
    ]


def check_texts(found: dict[str, Any], count: int) -> None:
    said = {name: result.message.content[0].text for name, result in found.items()}
    assert said == {f"r{n}": f"text {n}" for n in range(count)}


async def check_ledger(one: Side, count: int) -> None:
    """Every request is one answer of `far` that is charged, at half price, and no other is."""
    charged = await one.rows(select(answers).where(answers.c.cost_pico > 0))
    results = await one.rows(select(batch_items.c.request_id))
    assert sorted(row.request_id for row in charged) == sorted(row.request_id for row in results)
    assert len(charged) == count
    assert {(r.service, r.backend, r.price_percent) for r in charged} == {("batch", "far", 50)}


async def test_a_batch_goes_to_the_server_behind_as_one_and_is_charged_by_what_that_says(
    tmp_path: Path,
) -> None:
    async with side(behind(tmp_path)) as far, side(front(tmp_path, far.url)) as near:
        batch = await near.client.messages.batches.create(requests=asked(40))
        found = await near.results(batch.id)
        check_texts(found, 40)
        [there] = await far.batches()
        assert there.request_counts.succeeded == 40
        theirs = await far.results(there.id)
        for name, result in theirs.items():
            number = int(name.split("_")[-2])
            usage = result.message.usage
            assert found[f"r{number}"].message.usage.input_tokens == usage.input_tokens
            assert found[f"r{number}"].message.usage.output_tokens == usage.output_tokens
        await check_ledger(near, 40)
        while await near.rows(select(batch_handovers)):
            await asyncio.sleep(0.02)


async def test_a_server_that_ends_leaves_its_batch_there_and_the_next_one_takes_the_results(
    tmp_path: Path,
) -> None:
    async with side(behind(tmp_path, first_delay_ms=300)) as far:
        config = front(tmp_path, far.url)
        async with side(config) as near:
            batch = await near.client.messages.batches.create(requests=asked(60))
            while not await far.batches():
                await asyncio.sleep(0.02)
        async with side(config) as near:
            check_texts(await near.results(batch.id), 60)
            assert len(await far.batches()) == 1
            await check_ledger(near, 60)


async def test_a_server_behind_that_is_gone_for_a_while_costs_time_alone(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        there = AsyncExitStack()
        config = behind(tmp_path, first_delay_ms=500)
        far = await there.enter_async_context(side(config))
        near = await stack.enter_async_context(side(front(tmp_path, far.url)))
        batch = await near.client.messages.batches.create(requests=asked(8))
        while not await far.batches():
            await asyncio.sleep(0.02)
        await there.aclose()
        await asyncio.sleep(0.5)
        await stack.enter_async_context(side(config, port=int(far.url.rsplit(":", 1)[1])))
        check_texts(await near.results(batch.id), 8)
        await check_ledger(near, 8)


async def test_a_batch_that_is_cancelled_is_cancelled_behind_too(tmp_path: Path) -> None:
    config = behind(tmp_path, first_delay_ms=5_000)
    async with side(config) as far, side(front(tmp_path, far.url)) as near:
        batch = await near.client.messages.batches.create(requests=asked(10))
        while not await near.rows(
            select(batch_handovers).where(batch_handovers.c.upstream_id.is_not(None))
        ):
            await asyncio.sleep(0.02)
        await near.client.messages.batches.cancel(batch.id)
        assert (await near.ended(batch.id)).request_counts.canceled == 10
        [there] = await far.batches()
        assert (await far.ended(there.id)).request_counts.canceled == 10
        assert not await near.rows(select(answers).where(answers.c.cost_pico > 0))


async def test_what_fails_behind_fails_alone(tmp_path: Path) -> None:
    failures = ["text 4", "text 4"]

    def script(request: MessagesRequest) -> Reply:
        if last_user_text(request) == "text 3":
            raise InvalidRequest("messages: that one is refused")
        if last_user_text(request) in failures:
            failures.remove(last_user_text(request))
            raise BackendFailed("it broke")
        return Reply(last_user_text(request))

    async with side(behind(tmp_path)) as far, side(front(tmp_path, far.url)) as near:
        backend = far.app.backends["B"]
        assert isinstance(backend, ScriptedBackend)
        backend._script = script
        batch = await near.client.messages.batches.create(requests=asked(6))
        found = await near.results(batch.id)
        wrong = found.pop("r3")
        assert wrong.type == "errored"
        assert wrong.error.error.type == "invalid_request_error"
        assert "that one is refused" in wrong.error.error.message
        assert {result.type for result in found.values()} == {"succeeded"}
        assert not failures
        counts = [batch.request_counts for batch in await far.batches()]
        assert [(c.succeeded, c.errored) for c in counts] == [(1, 0), (0, 1), (4, 2)]


async def test_a_server_behind_without_batches_is_asked_one_by_one(tmp_path: Path) -> None:
    config = behind(tmp_path, batches=BatchesConfig(enabled=False))
    async with side(config) as far, side(front(tmp_path, far.url)) as near:
        batch = await near.client.messages.batches.create(requests=asked(20))
        check_texts(await near.results(batch.id), 20)
        await check_ledger(near, 20)
        assert len(await near.rows(select(attempts))) == 20


# --- deaths at every step -------------------------------------------------------------------------


class Fate:
    """Lets `steps` steps happen; whoever takes the next one, or any after it, stands still."""

    def __init__(self, steps: int) -> None:
        self.left = steps
        self.died = asyncio.Event()

    async def step(self) -> None:
        self.left -= 1
        if self.left < 0:
            self.died.set()
            await asyncio.Event().wait()


class MortalStore:
    """A store whose user may die before and after each transaction."""

    def __init__(self, store: Store, fate: Fate) -> None:
        self._store, self._fate = store, fate

    async def read(self, act: Any) -> Any:
        await self._fate.step()
        return await self._store.read(act)

    async def write(self, act: Any, *, alone: bool = True) -> Any:
        await self._fate.step()
        found = await self._store.write(act, alone=alone)
        await self._fate.step()
        return found


class MortalUpstream:
    """A server whose user may die before and after each request."""

    def __init__(self, upstream: Upstream, fate: Fate) -> None:
        self.name = upstream.name
        self._upstream, self._fate = upstream, fate

    async def get(self, path: str) -> Any:
        await self._fate.step()
        return await self._upstream.get(path)

    @asynccontextmanager
    async def fetch(self, path: str) -> AsyncIterator[Any]:
        await self._fate.step()
        async with self._upstream.fetch(path) as reply:
            yield reply

    @asynccontextmanager
    async def post(self, path: str, body: bytes, **options: Any) -> AsyncIterator[Any]:
        await self._fate.step()
        async with self._upstream.post(path, body, **options) as reply:
            await self._fate.step()  # it has it, and nobody hears of it
            yield reply


async def taken_in(store: Store, batch_id: str, count: int) -> None:
    row = BatchRow(
        batch_id=batch_id,
        workspace="default",
        key_id=None,
        instance_id="inst",
        version="2023-06-01",
        betas="",
        state="coming",
        created_us=0,
        expires_us=0,
    )
    await batching.begin(store, row)
    items = [NewItem(n, f"r{n}", "haiku", "", "{}") for n in range(count)]
    await batching.add(store, batch_id, items)


async def lines(handing: Handing, batch_id: str, count: int) -> list[str]:
    """What the requests of a batch are answered."""

    async def one(number: int) -> str:
        body = (
            b'{"model":"haiku","max_tokens":50,"messages":'
            b'[{"role":"user","content":"text %d"}]}' % number
        )
        async with handing.asked((batch_id, number), body, ()) as waiting:
            assert await waiting.handed
            text: str = (await waiting.line).result["message"]["content"][0]["text"]
            return text

    return list(await asyncio.gather(*(one(n) for n in range(count))))


async def drop(handing: Handing, asking: asyncio.Task[Any]) -> None:
    """What a dead server leaves: nothing of it runs, and nothing was put in order."""
    tasks = [asking, *handing._going, *([handing._asking] if handing._asking else [])]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.timeout(120)
async def test_a_death_at_any_step_loses_nothing_and_hands_nothing_over_twice(
    tmp_path: Path,
) -> None:
    async with AsyncExitStack() as stack:
        far = await stack.enter_async_context(side(behind(tmp_path)))
        store = await stack.enter_async_context(await Store.open(sqlite_url(tmp_path / "near.db")))
        far_config = front(tmp_path, far.url).backends["far"]
        upstream = Upstream(
            far_config,
            headers={
                "anthropic-version": "2023-06-01",
                "x-api-key": "any",
                "content-type": "application/json",
            },
            probe="/v1/models",
        )
        await upstream.start()
        stack.push_async_callback(upstream.aclose)

        def made(fate: Fate) -> Handing:
            return Handing(
                MortalUpstream(upstream, fate),  # type: ignore[arg-type]
                MortalStore(store, fate),  # type: ignore[arg-type]
                path=str,
                clock=far.app.clock,
                pace=PACE,
            )

        steps, alive = 0, False
        while not alive:
            batch_id, fate = f"msgbatch_{steps}", Fate(steps)
            await taken_in(store, batch_id, 3)
            first = made(fate)
            await first.start()
            asking = asyncio.create_task(lines(first, batch_id, 3))
            died = asyncio.create_task(fate.died.wait())
            await asyncio.wait({asking, died}, return_when=asyncio.FIRST_COMPLETED)
            alive = asking.done()
            died.cancel()
            with suppress(asyncio.CancelledError):
                await died
            await drop(first, asking)
            second = made(Fate(10**9))
            await second.start()
            assert await lines(second, batch_id, 3) == ["text 0", "text 1", "text 2"]
            await second.aclose()
            steps += 1
        assert steps > 7
        assert len(await far.batches()) == steps


def test_only_one_server_of_the_messages_api_can_be_handed_batches(tmp_path: Path) -> None:
    for written, told in (
        ('kind = "openai"\nurls = ["http://h"]', "kind 'openai', which has no batches"),
        ('kind = "messages"\nurls = ["http://h", "http://i"]', "2 `urls`"),
        ('kind = "scripted"', "no setting of kind 'scripted'"),
    ):
        path = tmp_path / "renga.toml"
        model = "" if "scripted" in written else 'model = "m"\n'
        path.write_text(
            f'[backends.B]\n{written}\n{model}batch = "upstream"\n[tiers.haiku]\nbackends = ["B"]\n'
        )
        with pytest.raises(SetupError, match=told):
            load_config(path, env={})
