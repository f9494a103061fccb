"""Loading and unloading: states, turns, and that no answer is ever left without an end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing, suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renga.backends.base import Attempt, Capabilities, Health
from renga.errors import BackendFailed, RengaError, SetupError, Unavailable
from renga.events import Event
from renga.loading import Loadable
from renga.types import MessagesRequest

DRAIN = 0.02


def ask(text: str, **fields: Any) -> MessagesRequest:
    messages = [{"role": "user", "content": text}]
    fields = {"max_tokens": 1, "messages": messages, **fields}
    return MessagesRequest.model_validate({"model": "haiku", **fields})


class Moody:
    """A backend whose model may not load, may die, and comes back by itself."""

    name, kind = "moody", "moody"

    def __init__(self) -> None:
        self.broken: Exception | None = None
        self.loads = 0
        self.alive = self.up = False
        self._died = asyncio.Event()

    @property
    def capabilities(self) -> Capabilities:
        if not self.up:
            raise Unavailable("not running")
        return Capabilities(window=100, max_output=100)

    async def start(self) -> None:
        assert not self.up, "started twice"
        await asyncio.sleep(0.001)
        if self.broken is not None:
            raise self.broken
        self.loads += 1
        self.up = self.alive = True
        self._died = asyncio.Event()

    def die(self) -> None:
        self._died.set()
        self._died = asyncio.Event()

    def health(self) -> Health:
        return Health("ready" if self.alive else "restarting", "moody")

    async def count_tokens(self, request: Any) -> int:
        return 1

    async def score(self, request: Any, attempt: Attempt) -> list[Any]:
        return [number async for number in self.stream(request, attempt)]

    async def stream(self, request: MessagesRequest, attempt: Attempt) -> AsyncIterator[Any]:
        died = self._died
        for number in range(request.max_tokens):
            with suppress(TimeoutError):
                await asyncio.wait_for(died.wait(), 0.001)
            if not self.up:
                raise Unavailable("not running")
            if died.is_set():
                raise BackendFailed("it died")
            yield number

    async def aclose(self) -> None:
        self.up = False
        self._died.set()


async def read(loadable: Loadable, tokens: int) -> list[Event]:
    request = ask("hi", max_tokens=tokens)
    async with aclosing(loadable.stream(request, Attempt("req", "w"))) as events:  # type: ignore[type-var]
        return [event async for event in events]


async def loaded(drain: float = DRAIN) -> tuple[Moody, Loadable]:
    inner = Moody()
    loadable = Loadable(inner, drain_seconds=drain)
    await loadable.load()
    return inner, loadable


async def test_before_it_is_loaded_it_says_what_to_do() -> None:
    loadable = Loadable(Moody(), drain_seconds=DRAIN)
    assert loadable.health() == Health("unloaded", "unloaded; `renga models load moody` loads it")
    for call in (read(loadable, 1), loadable.count_tokens(ask("hi"))):
        with pytest.raises(Unavailable, match=r"backend 'moody': unloaded; `renga models load"):
            await call
    with pytest.raises(Unavailable):
        _ = loadable.capabilities


async def test_an_unload_waits_for_counts_too() -> None:
    inner, loadable = await loaded(drain=5)
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def count(request: Any) -> int:
        begun.set()
        await may_end.wait()
        return 7 if inner.up else -1

    inner.count_tokens = count  # type: ignore[method-assign]
    counting = asyncio.create_task(loadable.count_tokens(ask("hi")))
    await begun.wait()
    unloading = asyncio.create_task(loadable.unload())
    await asyncio.sleep(0.01)
    may_end.set()
    assert await counting == 7
    await unloading
    assert loadable.health().state == "unloaded"


async def test_a_load_that_fails_is_told_and_can_be_tried_again() -> None:
    inner = Moody()
    inner.broken = SetupError("no weights", "copy them")
    loadable = Loadable(inner, drain_seconds=DRAIN)
    with pytest.raises(SetupError, match="no weights"):
        await loadable.load()
    health = loadable.health()
    assert health.state == "failed"
    assert health.words == (
        "failed to load: no weights (copy them); `renga models load moody` tries again"
    )
    with pytest.raises(Unavailable, match="no weights"):
        await read(loadable, 1)
    inner.broken = None
    await loadable.load()
    assert loadable.health().ready


async def test_what_nobody_expected_is_a_failure_to_load_too() -> None:
    inner = Moody()
    inner.broken = ZeroDivisionError("oops")
    loadable = Loadable(inner, drain_seconds=DRAIN)
    with pytest.raises(SetupError, match="ZeroDivisionError: oops"):
        await loadable.load()
    assert loadable.health().state == "failed"


async def test_both_can_be_asked_for_twice() -> None:
    inner, loadable = await loaded()
    await asyncio.gather(*(loadable.load() for _ in range(3)))
    assert inner.loads == 1
    await asyncio.gather(*(loadable.unload() for _ in range(3)))
    assert loadable.health().state == "unloaded"
    assert loadable.capabilities.window == 100, "what it was stays known"


async def test_unloading_lets_a_running_answer_finish_and_refuses_new_ones() -> None:
    inner, loadable = await loaded(drain=5)
    running = asyncio.create_task(read(loadable, 20))
    await asyncio.sleep(0.005)
    unloading = asyncio.create_task(loadable.unload())
    await asyncio.sleep(0.001)
    assert loadable.health().state == "unloading"
    with pytest.raises(Unavailable, match="unloading"):
        await read(loadable, 1)
    await unloading
    assert running.done()
    assert len(running.result()) == 20
    assert not inner.up


async def test_unloading_waits_for_a_score_too() -> None:
    inner, loadable = await loaded(drain=5)
    request: Any = ask("hi", max_tokens=20)
    running = asyncio.create_task(loadable.score(request, Attempt("r", "w")))
    await asyncio.sleep(0.005)
    await loadable.unload()
    assert running.done()
    assert len(running.result()) == 20
    assert not inner.up


async def test_an_answer_that_outlasts_the_drain_time_is_cut_with_a_503() -> None:
    _, loadable = await loaded()
    running = asyncio.create_task(read(loadable, 10_000))
    await asyncio.sleep(0.005)
    await loadable.unload()
    with pytest.raises(Unavailable, match="was unloaded before the answer ended; send it again"):
        await running


async def test_a_caller_that_leaves_does_not_stop_the_load() -> None:
    loadable = Loadable(Moody(), drain_seconds=DRAIN)
    with suppress(TimeoutError):
        async with asyncio.timeout(0):
            await loadable.load()
    assert loadable.health().state == "loading"
    await loadable.load()
    assert loadable.health().ready


async def test_closing_ends_a_load_under_way() -> None:
    loadable = Loadable(Moody(), drain_seconds=DRAIN)
    task = asyncio.create_task(loadable.load())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await loadable.aclose()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert loadable.health().state == "unloaded"


async def test_a_model_that_died_still_takes_requests() -> None:
    inner, loadable = await loaded()
    inner.alive = False
    assert loadable.health().state == "restarting"
    assert loadable.health().loaded
    assert await loadable.count_tokens(ask("hi")) == 1


# --- any order of things --------------------------------------------------------------------------

STEPS = st.sampled_from(["load", "unload", "stream", "short", "die", "break", "mend", "wait"])


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=25))
def test_whatever_happens_every_answer_ends_and_the_states_hold(steps: list[str]) -> None:
    asyncio.run(play(steps))


async def play(steps: list[str]) -> None:
    inner = Moody()
    loadable = Loadable(inner, drain_seconds=DRAIN)
    asked: list[asyncio.Task[Any]] = []
    answers: list[asyncio.Task[Any]] = []

    def begin(tasks: list[asyncio.Task[Any]], work: Coroutine[Any, Any, Any]) -> None:
        tasks.append(asyncio.create_task(work))

    acts: dict[str, Callable[[], Any]] = {
        "load": lambda: begin(asked, loadable.load()),
        "unload": lambda: begin(asked, loadable.unload()),
        "stream": lambda: begin(answers, read(loadable, 60)),
        "short": lambda: begin(answers, read(loadable, 1)),
        "die": inner.die,
        "break": lambda: setattr(inner, "broken", SetupError("broken")),
        "mend": lambda: setattr(inner, "broken", None),
        "wait": lambda: None,
    }
    for step in steps:
        acts[step]()
        await asyncio.sleep(0.003 if step == "wait" else 0)
    async with asyncio.timeout(5):
        for error in await asyncio.gather(*asked, return_exceptions=True):
            assert error is None or isinstance(error, SetupError)
        ended = await asyncio.gather(*answers, return_exceptions=True)
    for answer in ended:
        assert isinstance(answer, RengaError) or (
            isinstance(answer, list) and len(answer) in (1, 60)
        )
    assert loadable.health().state in ("ready", "unloaded", "failed")
    assert inner.up == (loadable.health().state == "ready")
    inner.broken = None
    await loadable.load()
    assert len(await read(loadable, 3)) == 3
    await loadable.aclose()
    assert not inner.up
