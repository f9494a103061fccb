"""Tries through the path: one answer of one backend, in time, with every row closed."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from renga.backends.base import Attempt, Capabilities, Health
from renga.caller import Caller
from renga.config import BreakerConfig, RetryConfig
from renga.errors import BackendFailed, GatewayTimeout, InvalidRequest, Overloaded, RengaError
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
    Ping,
    TextDelta,
)
from renga.gateway import Gateway
from renga.prices import load_prices
from renga.routing import Router
from renga.tries import Tries
from renga.types import Message, MessagesRequest, Prompt, TextBlock, TextParam, Usage
from tests.tries.virtual import run

DEADLINE = 60.0
ATTEMPTS = 3
CAP = 8.0


@dataclass(frozen=True)
class Say:
    """What a backend does with one request: waits, then answers or fails after some events."""

    wait: float = 0.0
    error: RengaError | None = None
    after: int = 0  # events before the error: 1 is message_start, 2 the block, 3 and on text
    between: float = 0.0


GOOD = Say()


def failing(cause: str = "status_500", *, again: bool = True, **more: Any) -> Say:
    return Say(error=BackendFailed("broke", cause=cause, again=again), **more)


def busy(retry_after: float | None = None) -> Say:
    return Say(error=Overloaded("busy", cause="status_429", again=True, retry_after=retry_after))


@dataclass
class Scripted:
    """A backend with a script; after its end it is well. It notes when it was asked."""

    name: str
    script: list[Say]
    window: int = 100_000
    kind: str = "openai"
    asked_at: list[float] = field(default_factory=list)
    open_streams: int = 0

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(window=self.window, max_output=1_000)

    async def start(self) -> None: ...

    async def aclose(self) -> None: ...

    def health(self) -> Health:
        return Health("ready", "scripted")

    async def count_tokens(self, request: Prompt) -> int:
        blocks = (block for message in request.messages for block in message.content)
        return sum(len(block.text) for block in blocks if isinstance(block, TextParam))

    async def score(self, request: Any, attempt: Attempt) -> Any:
        raise NotImplementedError

    async def stream(self, request: MessagesRequest, attempt: Attempt) -> AsyncIterator[Event]:
        number = len(self.asked_at)
        self.asked_at.append(asyncio.get_running_loop().time())
        say = self.script[number] if number < len(self.script) else GOOD
        self.open_streams += 1
        try:
            await asyncio.sleep(say.wait)
            for made, event in enumerate(events(f"{self.name}{number};")):
                if say.error is not None and made >= say.after:
                    raise say.error
                yield event
                await asyncio.sleep(say.between)
        finally:
            self.open_streams -= 1


def events(mark: str) -> list[Event]:
    usage = Usage(input_tokens=7, output_tokens=0)
    message = Message(id="msg_x", model="m", content=[], stop_reason=None, usage=usage)
    return [
        MessageStart(message=message),
        BlockStart(index=0, content_block=TextBlock(text="")),
        BlockDelta(index=0, delta=TextDelta(text=mark)),
        BlockDelta(index=0, delta=TextDelta(text=mark)),
        BlockStop(index=0),
        MessageDelta(delta=Ending(stop_reason="end_turn"), usage=DeltaUsage(output_tokens=2)),
        MessageStop(),
    ]


class Rows:
    """What a ledger is told, with its rule that every row is opened and closed once."""

    def __init__(self) -> None:
        self.answer: dict[str, Any] = {}
        self.attempts: list[dict[str, Any]] = []

    def open_answer(self, **values: Any) -> None:
        assert not self.answer
        self.answer = {"open": True}

    def open_attempt(self, *, number: int, backend: str, **values: Any) -> None:
        assert self.answer["open"]
        assert not any(one["open"] for one in self.attempts)
        assert number == len(self.attempts) + 1
        self.attempts.append({"open": True, "backend": backend})

    def close_attempt(self, request_id: str, number: int, **values: Any) -> None:
        one = self.attempts[number - 1]
        assert one["open"]
        one.update(values, open=False)

    def close_answer(self, request_id: str, **values: Any) -> int:
        assert self.answer["open"]
        self.answer.update(values, open=False)
        return 0


@dataclass
class Seen:
    """What a caller saw of one answer, and when."""

    texts: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    error: RengaError | None = None
    content_at: float | None = None
    ended_at: float = 0.0


@dataclass
class World:
    """A gateway over scripted backends, in virtual time."""

    backends: Sequence[Scripted]
    rows: Rows = field(default_factory=Rows)
    retry: RetryConfig = RetryConfig(attempts=ATTEMPTS, cap_ms=CAP * 1000, deadline_s=DEADLINE)
    breaker: BreakerConfig = BreakerConfig(failures=1_000)
    limits: dict[str, float] = field(default_factory=dict)
    fallback: Sequence[Scripted] = ()

    def __post_init__(self) -> None:
        tiers: dict[Any, Any] = {"haiku": self.backends}
        if self.fallback:
            tiers["opus"] = self.fallback
        self.tries = Tries(self.retry, self.breaker, limits=self.limits, rng=random.Random(1))
        self.router = Router(tiers, fallbacks={"haiku": "opus"} if self.fallback else {})

    async def ask(
        self, leave: float | None = None, text: str = "hi", **caller: Any
    ) -> tuple[Seen, Rows]:
        """One request, left after `leave` seconds."""
        counter, rows, seen = itertools.count(1), Rows(), Seen()
        gateway = Gateway(
            router=self.router,
            ledger=rows,  # type: ignore[arg-type]
            prices=load_prices(),
            clock=lambda: 0.0,
            ids=lambda prefix: f"{prefix}_{next(counter)}",
            tries=self.tries,
        )
        turns = [{"role": "user", "content": text}]
        request = MessagesRequest.model_validate(
            {"model": "haiku", "max_tokens": 5, "messages": turns}
        )
        now = asyncio.get_running_loop().time
        begun = now()
        asked = Caller(workspace="team", request_id="req_1", **caller)
        with suppress(TimeoutError):
            async with asyncio.timeout(leave):
                await self._listen(gateway, request, asked, seen, begun)
        seen.ended_at = now() - begun
        return seen, rows

    async def _listen(
        self, gateway: Gateway, request: MessagesRequest, asked: Caller, seen: Seen, begun: float
    ) -> None:
        now = asyncio.get_running_loop().time
        try:
            async for event in gateway.stream(request, asked):
                seen.kinds.append(event.type)
                if event.type == "content_block_start":
                    seen.content_at = now() - begun
                if event.type == "content_block_delta":
                    assert isinstance(event.delta, TextDelta)
                    seen.texts.append(event.delta.text)
        except RengaError as error:
            seen.error = error


def tried(rows: Rows) -> list[tuple[str, str, str | None]]:
    return [(one["backend"], one["status"], one["cause"]) for one in rows.attempts]


def ask(*backends: Scripted, leave: float | None = None, **more: Any) -> tuple[Seen, Rows]:
    return run(World(backends, **more).ask(leave))


# -- the property --

says = st.builds(
    Say,
    wait=st.sampled_from([0.0, 0.5, 3.0, 25.0, 1e6]),
    error=st.one_of(
        st.none(),
        st.builds(
            BackendFailed,
            st.just("broke"),
            cause=st.sampled_from(["status_500", "refused", "tls", "slow_first_byte"]),
            again=st.booleans(),
        ),
        st.builds(
            Overloaded,
            st.just("busy"),
            cause=st.sampled_from(["status_429", None]),
            again=st.booleans(),
            retry_after=st.sampled_from([None, 0.5, 5.0, 500.0]),
        ),
        st.builds(InvalidRequest, st.just("no such thing")),
    ),
    after=st.integers(0, 6),
    between=st.sampled_from([0.0, 1.0, 40.0]),
)
scripts = st.lists(st.lists(says, max_size=4), min_size=1, max_size=3)


@given(scripts=scripts, leave=st.sampled_from([None, 0.1, 2.0, 59.0]), limit=st.booleans())
@example(scripts=[[failing(after=3)], []], leave=None, limit=False)
@example(scripts=[[Say(wait=1e6)] * 4], leave=None, limit=True)
@settings(max_examples=150, deadline=None)
def test_whatever_breaks_there_is_one_answer_of_one_backend_in_time(
    scripts: list[list[Say]], leave: float | None, limit: bool
) -> None:
    backends = [Scripted("abc"[i], script) for i, script in enumerate(scripts)]
    limits = {"a": 10.0, "b": 10.0, "c": 10.0} if limit else {}
    seen, rows = ask(*backends, leave=leave, limits=limits)

    # One answer, of one try of one backend, and whole where nothing went wrong.
    assert len(set(seen.texts)) <= 1
    assert seen.kinds.count("message_start") <= 1
    whole = seen.kinds[-1:] == ["message_stop"]
    left = leave is not None and not whole and seen.error is None
    assert whole + left + (seen.error is not None) == 1

    # In time: content, or an error, by the deadline; and nothing goes on behind a caller's back.
    begun = seen.content_at if seen.content_at is not None else seen.ended_at
    assert begun <= DEADLINE + 0.001
    assert not left or seen.ended_at == pytest.approx(leave)
    assert all(backend.open_streams == 0 for backend in backends)

    # Rows: all closed, one for each try, none behind the one that had content.
    assert rows.answer["open"] is False
    assert all(one["open"] is False for one in rows.attempts)
    asked = [one["backend"] for one in rows.attempts]
    assert asked == sorted(asked)
    assert all(asked.count(b.name) == len(b.asked_at) <= ATTEMPTS for b in backends)
    statuses = [one["status"] for one in rows.attempts]
    assert all(status == "error" for status in statuses[:-1])
    if whole:
        assert (rows.answer["status"], statuses[-1]) == ("ok", "ok")
    elif left:
        assert rows.answer["status"] == "cancelled"
    else:
        assert rows.answer["status"] == "error"


@given(waits=st.lists(st.sampled_from([0.0, 0.3, 2.0, 7.9]), min_size=2, max_size=2))
def test_a_server_that_says_when_is_not_asked_before(waits: list[float]) -> None:
    backend = Scripted("a", [busy(wait) for wait in waits])
    seen, _ = ask(backend)
    assert seen.texts == ["a2;", "a2;"]
    gaps = [b - a for a, b in itertools.pairwise(backend.asked_at)]
    assert all(gap >= wait for gap, wait in zip(gaps, waits, strict=True))


def test_pauses_grow_within_their_bounds_and_are_not_all_alike() -> None:
    gaps: list[list[float]] = [[], []]

    async def many() -> None:
        for _ in range(50):
            backend = Scripted("a", [failing(), failing()])
            world.router = Router({"haiku": [backend]})
            await world.ask()
            for i, (a, b) in enumerate(itertools.pairwise(backend.asked_at)):
                gaps[i].append(b - a)

    world = World([])
    run(many())
    for longest, found in zip((0.25, 0.5), gaps, strict=True):
        assert 0.8 * longest < max(found) <= longest
        assert min(found) < 0.2 * longest


# -- single cases --


def test_a_try_that_fails_before_content_is_made_up_for_and_not_seen() -> None:
    seen, rows = ask(Scripted("a", [failing(after=1)]))
    assert seen.texts == ["a1;", "a1;"]
    assert seen.kinds.count("message_start") == 1
    assert tried(rows) == [("a", "error", "status_500"), ("a", "ok", None)]


def test_once_there_is_content_what_breaks_is_told() -> None:
    seen, rows = ask(Scripted("a", [failing("cut_mid_stream", after=3)]), Scripted("b", []))
    assert seen.texts == ["a0;"]
    assert seen.error is not None
    assert tried(rows) == [("a", "error", "cut_mid_stream")]


def test_who_is_busy_for_longer_than_a_pause_is_not_waited_for() -> None:
    first = Scripted("a", [busy(30.0)])
    seen, rows = ask(first, Scripted("b", []))
    assert (seen.texts, seen.ended_at) == (["b0;", "b0;"], 0.0)
    seen, _ = ask(Scripted("a", [busy(30.0)]))
    assert isinstance(seen.error, Overloaded)
    assert (seen.error.retry_after, seen.ended_at) == (30.0, 0.0)


def test_a_model_here_that_is_full_is_passed_over_at_once() -> None:
    full = Say(error=Overloaded("the queue is full", retry_after=1.0))
    seen, rows = ask(Scripted("a", [full], kind="local"), Scripted("b", []))
    assert (seen.texts, seen.ended_at) == (["b0;", "b0;"], 0.0)
    assert tried(rows) == [("a", "error", None), ("b", "ok", None)]


def test_what_the_request_itself_has_wrong_is_asked_of_nobody_else() -> None:
    wrong = Say(error=InvalidRequest("messages.0: no", cause="status_400"))
    seen, rows = ask(Scripted("a", [wrong]), Scripted("b", []))
    assert isinstance(seen.error, InvalidRequest)
    assert tried(rows) == [("a", "error", "status_400")]


def test_when_all_fail_who_says_when_to_come_again_is_told() -> None:
    seen, _ = ask(Scripted("a", [busy(30.0)]), Scripted("b", [failing("status_401")]))
    assert isinstance(seen.error, Overloaded)
    seen, _ = ask(Scripted("a", [failing()] * 3), Scripted("b", [failing("status_401")]))
    assert seen.error is not None
    assert (seen.error.cause, seen.error.again) == ("status_401", False)


def test_a_backend_that_never_begins_is_left_after_its_own_time() -> None:
    seen, rows = ask(Scripted("a", [Say(wait=1e6)]), Scripted("b", []), limits={"a": 10.0})
    assert (seen.texts[0], seen.content_at) == ("b0;", 10.0)
    assert tried(rows)[0] == ("a", "error", "slow_first_byte")


class Pinging(Scripted):
    """A backend that lives and says nothing."""

    async def stream(self, request: MessagesRequest, attempt: Attempt) -> AsyncIterator[Event]:
        yield events("x")[0]
        while True:
            yield Ping()
            await asyncio.sleep(1.0)


def test_pings_are_no_content() -> None:
    seen, rows = ask(Pinging("a", []), Scripted("b", []), limits={"a": 10.0})
    assert (seen.texts[0], seen.content_at) == ("b0;", 10.0)
    assert tried(rows)[0] == ("a", "error", "slow_trickle")


def test_the_deadline_is_over_all_tries_and_that_of_the_client_if_it_is_shorter() -> None:
    slow = [Say(wait=25.0, error=BackendFailed("x", cause="reset_before_headers", again=True))] * 9
    seen, _ = ask(Scripted("a", slow), Scripted("b", slow))
    assert isinstance(seen.error, GatewayTimeout)
    assert seen.ended_at == pytest.approx(DEADLINE)
    seen, _ = run(World([Scripted("a", slow)]).ask(patience=30.0))
    assert seen.ended_at == pytest.approx(30.0)


def test_requests_of_batches_have_no_deadline_over_all() -> None:
    seen, _ = run(World([Scripted("a", [Say(wait=5_000.0)])]).ask(service="batch"))
    assert (seen.error, seen.content_at) == (None, 5_000.0)


def test_a_tier_falls_back_to_another_when_its_own_backends_failed() -> None:
    world = World([Scripted("a", [failing()] * 3)], fallback=[Scripted("b", [])])
    seen, rows = run(world.ask())
    assert seen.texts == ["b0;", "b0;"]
    assert rows.answer["served_tier"] == "opus"
    assert [one["backend"] for one in rows.attempts] == ["a", "a", "a", "b"]


def test_a_prompt_goes_where_it_has_room_and_is_sent_nowhere_else() -> None:
    small, large = Scripted("a", [], window=2_000), Scripted("b", [], window=9_000)
    seen, rows = run(World([small, large]).ask(text="x" * 5_000))
    assert (seen.texts[0], small.asked_at) == ("b0;", [])
    seen, rows = run(World([small, large]).ask(text="x" * 20_000))
    assert isinstance(seen.error, InvalidRequest)
    assert seen.error.message == "prompt is too long: 20000 tokens > 8999 maximum"
    assert (rows.attempts, rows.answer["status"]) == ([], "refused")


def test_a_model_here_that_fails_is_asked_the_next_time_all_the_same() -> None:
    broken = Scripted("a", [Say(error=BackendFailed("its process died"))] * 9, kind="local")
    world = World([broken], breaker=BreakerConfig(failures=1))

    async def story() -> None:
        for _ in range(9):
            seen, _ = await world.ask()
            assert isinstance(seen.error, BackendFailed)
        seen, _ = await world.ask()
        assert seen.texts == ["a9;", "a9;"]

    run(story())


def test_a_backend_that_keeps_failing_is_left_alone_until_one_try_finds_it_well(
    caplog: pytest.LogCaptureFixture,
) -> None:
    breaker = BreakerConfig(failures=3, share=0.5, window_s=30.0, open_s=10.0)
    broken = Scripted("a", [failing("tls")] * 4)
    world = World([broken], breaker=breaker)

    async def story() -> None:
        for _ in range(3):
            seen, _ = await world.ask()
            assert seen.error is not None
            assert seen.error.cause == "tls"
        seen, rows = await world.ask()
        assert isinstance(seen.error, Overloaded)
        assert (seen.error.retry_after, rows.attempts) == (10.0, [])
        assert len(broken.asked_at) == 3
        await asyncio.sleep(10.0)
        asked = await asyncio.gather(*(world.ask() for _ in range(5)))
        assert len(broken.asked_at) == 4  # one alone tries it, and finds it as it was
        assert all(seen.error is not None for seen, _ in asked)
        await asyncio.sleep(10.0)
        seen, _ = await world.ask()
        assert seen.texts == ["a4;", "a4;"]
        assert world.tries.standings() == {"a": "closed"}

    run(story())
    told = [one.getMessage() for one in caplog.records]
    assert told == ["backend 'a' keeps failing and is left alone for 10 s: broke"] * 2
