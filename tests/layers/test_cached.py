"""Old answers in the place of none: for the very same request alone, marked, and for nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from renga.app import App
from renga.caller import Caller
from renga.config import BackendConfig, Config, ResponseCacheConfig, RetryConfig, TierConfig
from renga.costs.check import check
from renga.errors import RengaError
from renga.events import (
    BlockDelta,
    BlockStart,
    BlockStop,
    DeltaUsage,
    Ending,
    Event,
    MessageDelta,
    MessageStart,
    MessageStop,
    TextDelta,
    fold_stream,
)
from renga.layers.base import Ways
from renga.layers.cached import MOST_EVENTS, CachedAnswers
from renga.prices import load_prices
from renga.store import Store
from renga.store.responses import KeptResponse, find, keep
from renga.store.schema import responses
from renga.types import Message, MessagesRequest, TextBlock, Usage
from tests.http.served import Served, asking, open_served
from tests.upstreams.faulty import Faulty, faulty
from tests.upstreams.test_what_faults_come_to import TEXT, text_of

ALLOWED = {"renga_allow_cached": "true"}
TOOL = {"name": "look", "description": "Look.", "input_schema": {"type": "object"}}


class Clock:
    """Wall time that a test moves."""

    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


async def serve(stack: AsyncExitStack, home: Path, **more: Any) -> tuple[Served, Faulty]:
    """A server that keeps answers, over one that answers until it is told to break."""
    upstream = await stack.enter_async_context(faulty())
    far = BackendConfig(
        name="far", kind="messages", urls=(upstream.url,), model="m", window=8_192, timeout_s=20.0
    )
    config = Config(
        home=home,
        backends={"far": far, "near": replace(far, name="near")},
        tiers={
            "haiku": TierConfig(name="haiku", backends=("far",)),
            "opus": TierConfig(name="opus", backends=("near",)),
        },
        retry=RetryConfig(attempts=2, base_ms=1.0),
        response_cache=ResponseCacheConfig(enabled=True, max_age_s=3_600.0),
    )
    app = await App.start(replace(config, **more.pop("config", {})), **more)
    stack.push_async_callback(app.aclose)
    return await open_served(stack, app), upstream


@pytest.mark.parametrize("first", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("then", [False, True], ids=["plain", "streamed"])
async def test_the_same_request_gets_the_answer_it_had_and_says_so(
    tmp_path: Path, first: bool, then: bool
) -> None:
    clock = Clock()
    async with AsyncExitStack() as stack:
        served, upstream = await serve(stack, tmp_path, clock=clock)
        before = await served.post(asking(stream=first, metadata={"user_id": "a"}))
        assert "renga-cached" not in before.headers
        upstream.always, clock.now = "status_500", clock.now + 90.0
        body = asking(model="claude-haiku-4-5", stream=then, metadata={"user_id": "b"})
        after = await served.post(body, **ALLOWED)
        assert text_of(after, then) == text_of(before, first) == TEXT
        assert after.headers["renga-cached"] == "true"
        assert after.headers["renga-cached-age"] == "90"
        row = await served.row(after)
        assert (row.status, row.cost_usd, row.tokens.output) == ("ok", "0", 0)
        assert [one.cause for one in row.attempts] == ["status_500"] * 2
        assert row.notes == {"cached_response": {"age_s": 90, "in_place_of": "status_500"}}
        found = await check(served.app.ledger.store, load_prices())
        assert (found.answers, found.first) == (2, [])


async def test_nobody_gets_one_who_did_not_ask_for_it(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        served, upstream = await serve(stack, tmp_path)
        await served.post(asking())
        upstream.always = "status_500"
        assert (await served.post(asking())).status_code == 500
        assert (await served.post(asking(), renga_allow_cached="false")).status_code == 500


OTHERS: dict[str, dict[str, Any]] = {
    "text": {"text": "one two four"},
    "temperature": {"temperature": 0.5},
    "tokens": {"max_tokens": 51},
    "tools": {"tools": [TOOL]},
    "system": {"system": "Be brief."},
    "stop": {"stop_sequences": ["x"]},
    "tier": {"model": "opus"},
    "thinking": {"thinking": {"type": "disabled"}},
}


async def test_another_request_never_gets_it(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        served, upstream = await serve(stack, tmp_path)
        await served.post(asking())
        upstream.always = "status_401"  # which is not tried again
        for name, other in OTHERS.items():
            refused = await served.post(asking(**other), **ALLOWED)
            assert refused.status_code in (500, 529), name
            assert "renga-cached" not in refused.headers
        assert (await served.post(asking(), **ALLOWED)).status_code == 200


async def test_another_workspace_never_gets_it(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        served, upstream = await serve(stack, tmp_path)
        request = MessagesRequest.model_validate(asking())

        async def ask(workspace: str, number: int) -> str:
            caller = Caller(workspace, f"req_{number}", allows_cached=True)
            message = await fold_stream(served.app.gateway.stream(request, caller))
            return message.content[0].text  # type: ignore[union-attr]

        assert await ask("one", 1) == TEXT
        upstream.always = "status_500"
        with pytest.raises(RengaError):
            await ask("two", 2)
        assert await ask("one", 3) == TEXT


async def test_what_the_request_has_wrong_and_what_was_cut_is_not_made_up_for(
    tmp_path: Path,
) -> None:
    async with AsyncExitStack() as stack:
        served, upstream = await serve(stack, tmp_path)
        await served.post(asking(stream=True))
        upstream.always = "status_400"
        assert (await served.post(asking(), **ALLOWED)).status_code == 400
        upstream.always = "cut_mid_stream"
        cut = await served.post(asking(stream=True), **ALLOWED)
        assert cut.text.count("event: message_start") == cut.text.count("event: error") == 1


async def test_an_answer_gets_too_old(tmp_path: Path) -> None:
    clock = Clock()
    async with AsyncExitStack() as stack:
        served, upstream = await serve(stack, tmp_path, clock=clock)
        await served.post(asking())
        upstream.always, clock.now = "status_500", clock.now + 3_601.0
        assert (await served.post(asking(), **ALLOWED)).status_code == 500


async def test_an_answer_is_there_after_a_restart(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        served, _ = await serve(stack, tmp_path)
        await served.post(asking())
    async with AsyncExitStack() as stack:
        served, upstream = await serve(stack, tmp_path)
        upstream.always = "status_503"
        assert (await served.post(asking(), **ALLOWED)).status_code == 200


async def test_nothing_is_kept_where_nobody_said_so(tmp_path: Path) -> None:
    off = {"response_cache": ResponseCacheConfig()}
    async with AsyncExitStack() as stack:
        served, upstream = await serve(stack, tmp_path, config=off)
        await served.post(asking())
        upstream.always = "status_500"
        assert (await served.post(asking(), **ALLOWED)).status_code == 500
    async with await Store.open(f"sqlite:///{tmp_path / 'renga.db'}") as store:
        assert await count(store) == 0


async def test_no_text_of_a_prompt_is_kept(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        served, _ = await serve(stack, tmp_path)
        await served.post(asking("a marker of its own"))
    names = await asyncio.to_thread(lambda: list(tmp_path.glob("renga.db*")))
    kept = b"".join([await asyncio.to_thread(file.read_bytes) for file in names])
    assert b"one two three" not in kept
    assert b"marker" not in kept


@pytest.mark.parametrize(("pieces", "kept"), [(MOST_EVENTS - 5, 1), (MOST_EVENTS, 0)])
async def test_an_answer_that_is_too_long_to_be_held_is_not_kept(
    store_url: str, pieces: int, kept: int
) -> None:
    async def stream(request: MessagesRequest, caller: Caller) -> AsyncIterator[Event]:
        usage = Usage(input_tokens=1, output_tokens=0)
        yield MessageStart(message=Message(id="", model="", content=[], usage=usage))
        yield BlockStart(index=0, content_block=TextBlock(text=""))
        for _ in range(pieces):
            yield BlockDelta(index=0, delta=TextDelta(text="a"))
        yield BlockStop(index=0)
        yield MessageDelta(
            delta=Ending(stop_reason="end_turn"), usage=DeltaUsage(output_tokens=pieces)
        )
        yield MessageStop()

    unused: Any = None
    request = MessagesRequest.model_validate(asking())
    config = ResponseCacheConfig(enabled=True)
    async with await Store.open(store_url) as store:
        cached = CachedAnswers(store, config, clock=Clock(), tier_of=lambda model: model)
        layered = cached.layer(Ways(stream, unused, unused, unused))
        seen = [event async for event in layered.stream(request, Caller("default", "req_1"))]
        assert len(seen) == pieces + 5
        await cached.flush()
        assert await count(store) == kept


async def test_the_oldest_leave_where_there_is_no_room(store_url: str) -> None:
    async with await Store.open(store_url) as store:
        rows = [KeptResponse(f"r{i}", "team", i, bytes(100)) for i in range(30)]
        await keep(store, rows, oldest_us=0, most_bytes=10_000)
        assert await count(store) == 30
        again = [KeptResponse("r5", "team", at, b"new") for at in (5_000, 5_001)]
        await keep(store, again, oldest_us=20, most_bytes=503)
        left = [i for i in range(30) if await find(store, f"r{i}", oldest_us=0) is not None]
        assert left == [5, *range(25, 30)]
        assert await find(store, "r5", oldest_us=0) == again[1]
        assert await find(store, "r5", oldest_us=5_002) is None


async def count(store: Store) -> int:
    asked = select(func.count()).select_from(responses)
    return int(await store.read(lambda connection: connection.execute(asked).scalar_one()))
