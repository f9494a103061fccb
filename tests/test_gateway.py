"""The path: each request ends once, its rows close once, layers attempt under the same answer."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from renga.app import App
from renga.backends.base import Attempt
from renga.backends.scripted import Reply, ScriptedBackend
from renga.caller import Caller
from renga.config import BackendConfig, Config, TierConfig
from renga.errors import BackendFailed, InvalidRequest, NotFound, Overloaded, RengaError
from renga.events import Event, OrderError, Ping, fold_stream
from renga.gateway import Gateway
from renga.layers.base import Layer, Ways
from renga.ledger import AnswerRow, Ledger
from renga.prices import NO_TOKENS, load_prices
from renga.routing import Router
from renga.types import MessagesRequest, TextBlock

NOW = 1_800_000_000.0


def ask(text: str = "one two three", model: str = "haiku", **more: object) -> MessagesRequest:
    turns = [{"role": "user", "content": text}]
    return MessagesRequest.model_validate(
        {"model": model, "max_tokens": 50, "messages": turns, **more}
    )


def caller(number: int = 1) -> Caller:
    return Caller(workspace="team", request_id=f"req_{number}")


class Bench:
    """A gateway over a real ledger and one scripted backend."""

    def __init__(self, ledger: Ledger, backend: ScriptedBackend, *layers: object) -> None:
        counter = itertools.count(1)
        self.ledger, self.backend = ledger, backend
        self.gateway = Gateway(
            router=Router({"haiku": [backend]}),
            ledger=ledger,
            prices=load_prices(),
            clock=lambda: NOW,
            ids=lambda prefix: f"{prefix}_{next(counter)}",
            layers=layers,  # type: ignore[arg-type]
        )

    async def row(self, number: int = 1) -> AnswerRow:
        await self.ledger.flush()
        row = await self.ledger.get(f"req_{number}")
        assert row is not None
        return row


def with_bench(
    folder: Path, use: Callable[[Bench], Awaitable[None]], reply: Reply, *layers: object
) -> None:
    async def run() -> None:
        ledger = await Ledger.start(
            f"sqlite:///{folder / 'l.db'}", clock=lambda: NOW, instance_id="inst_1"
        )
        try:
            backend = ScriptedBackend(
                BackendConfig(name="echo", kind="scripted"), script=lambda _: reply
            )
            await use(Bench(ledger, backend, *layers))
        finally:
            await ledger.aclose()

    asyncio.run(run())


def test_an_answer_is_signed_counted_and_charged_once(tmp_path: Path) -> None:
    async def use(bench: Bench) -> None:
        asked = caller()
        message = await fold_stream(bench.gateway.stream(ask(model="claude-opus-5"), asked))
        row = await bench.row()
        assert (message.id, message.model) == ("msg_1", "renga-opus-1")
        assert message.content == [TextBlock(text="hello world!")]
        assert (message.usage.input_tokens, message.usage.output_tokens) == (4, 3)
        assert (row.status, row.stop_reason, row.workspace) == ("ok", "end_turn", "team")
        assert (row.tier, row.served_tier, row.backend) == ("opus", "haiku", "echo")
        assert row.model_requested == "claude-opus-5"
        # 4 input at 1 $ and 3 output at 5 $ per million: who served it sets the price.
        assert row.cost_pico == 4 * 1_000_000 + 3 * 5_000_000
        assert row.cost_usd == asked.receipt.cost_usd == "0.000019"
        assert [(a.number, a.status, a.backend) for a in row.attempts] == [(1, "ok", "echo")]

    with_bench(tmp_path, use, Reply("hello world!"))


@pytest.mark.parametrize("leave_after", range(1, 6))
def test_a_consumer_that_leaves_at_any_event_cancels_and_pays_for_what_was_made(
    tmp_path: Path, leave_after: int
) -> None:
    async def use(bench: Bench) -> None:
        stream = bench.gateway.stream(ask(), caller())
        async with aclosing(stream) as events:  # type: ignore[type-var]
            for _ in range(leave_after):
                await anext(events)
        row = await bench.row()
        # message_start comes with content_block_start, and that with the first token.
        made = [1, 1, 1, 2, 3][leave_after - 1]
        assert (row.status, row.tokens.input, row.tokens.output) == ("cancelled", 4, made)
        assert row.attempts[0].status == "cancelled"
        assert bench.backend.open_streams == 0

    with_bench(tmp_path, use, Reply("hello wonderful world!"))


def test_a_cancelled_task_closes_its_row(tmp_path: Path) -> None:
    async def use(bench: Bench) -> None:
        task = asyncio.ensure_future(fold_stream(bench.gateway.stream(ask(), caller())))
        while not bench.backend.open_streams:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await bench.row()).status == "cancelled"
        assert bench.backend.open_streams == 0

    with_bench(tmp_path, use, Reply("never", first_delay=60))


@pytest.mark.parametrize("fail_after", [0, 2])
@pytest.mark.parametrize("error", [Overloaded("full", retry_after=2), BackendFailed("broke")])
def test_a_backends_error_reaches_the_caller_and_both_rows(
    tmp_path: Path, error: BackendFailed, fail_after: int
) -> None:
    async def use(bench: Bench) -> None:
        with pytest.raises(type(error)) as caught:
            await fold_stream(bench.gateway.stream(ask(), caller()))
        row = await bench.row()
        assert caught.value is error
        assert (row.status, row.error_type) == ("error", error.type)
        assert row.tokens.output == fail_after
        assert (row.attempts[0].status, row.attempts[0].error) == ("error", error.message)

    with_bench(tmp_path, use, Reply("a long reply", error=error, fail_after=fail_after))


def test_a_request_that_cannot_be_routed_leaves_no_row(tmp_path: Path) -> None:
    async def use(bench: Bench) -> None:
        schema = {"format": {"type": "json_schema", "schema": {"type": "object"}}}
        with pytest.raises(NotFound):
            await fold_stream(bench.gateway.stream(ask(model="gpt"), caller()))
        with pytest.raises(InvalidRequest):
            await fold_stream(bench.gateway.stream(ask(output_config=schema), caller()))
        await bench.ledger.flush()
        assert await bench.ledger.get("req_1") is None

    with_bench(tmp_path, use, Reply("x"))


def twice(below: Ways) -> Ways:
    """A layer that makes up its mind over a first answer, and asks again."""

    async def stream(request: MessagesRequest, caller: Caller) -> AsyncIterator[Event]:
        with suppress(BackendFailed):
            await fold_stream(below.stream(request, caller))
        again = replace(caller, layer="twice")
        async with aclosing(below.stream(request, again)) as events:  # type: ignore[type-var]
            async for event in events:
                yield event

    return replace(below, stream=stream)


def test_a_layers_further_attempts_stand_under_the_same_answer_and_add_up(tmp_path: Path) -> None:
    async def use(bench: Bench) -> None:
        asked = caller()
        await fold_stream(bench.gateway.stream(ask(), asked))
        row = await bench.row()
        assert [(a.number, a.status, a.layer) for a in row.attempts] == [
            (1, "ok", None),
            (2, "ok", "twice"),
        ]
        assert [(a.tokens.input, a.tokens.output) for a in row.attempts] == [(4, 3), (4, 3)]
        assert (row.tokens.input, row.tokens.output) == (8, 6)
        assert row.cost_pico == 8 * 1_000_000 + 6 * 5_000_000
        assert asked.receipt.tokens == row.tokens

    with_bench(tmp_path, use, Reply("hello world!"), twice)


def test_a_failed_attempt_that_another_made_up_for_is_not_charged(tmp_path: Path) -> None:
    replies = iter([Reply("a long reply", error=BackendFailed("broke"), fail_after=2), Reply("x")])

    async def run() -> None:
        async with await Ledger.start(
            f"sqlite:///{tmp_path / 'l.db'}", clock=lambda: NOW, instance_id="inst_1"
        ) as ledger:
            config = BackendConfig(name="echo", kind="scripted")
            backend = ScriptedBackend(config, script=lambda _: next(replies))
            bench = Bench(ledger, backend, twice)
            await fold_stream(bench.gateway.stream(ask(), caller()))
            row = await bench.row()
            assert [(a.status, a.tokens.output) for a in row.attempts] == [("error", 2), ("ok", 1)]
            assert (row.status, row.tokens.input, row.tokens.output) == ("ok", 4, 1)

    asyncio.run(run())


def test_layers_wrap_from_top_to_bottom(tmp_path: Path) -> None:
    seen: list[str] = []

    def named(name: str) -> Layer:
        def layer(below: Ways) -> Ways:
            def stream(request: MessagesRequest, caller: Caller) -> AsyncIterator[Event]:
                seen.append(name)
                return below.stream(request, caller)

            return replace(below, stream=stream)

        return layer

    async def use(bench: Bench) -> None:
        await fold_stream(bench.gateway.stream(ask(), caller()))
        assert seen == ["outer", "inner"]

    with_bench(tmp_path, use, Reply("x"), named("outer"), named("inner"))


@pytest.mark.parametrize(
    ("error", "status"),
    [(InvalidRequest("no such file"), "refused"), (Overloaded("busy"), "error")],
)
def test_what_a_layer_refuses_before_a_backend_was_asked_is_refused_in_the_ledger(
    tmp_path: Path, error: RengaError, status: str
) -> None:
    def refusing(below: Ways) -> Ways:
        async def stream(request: MessagesRequest, caller: Caller) -> AsyncIterator[Event]:
            raise error
            yield Ping()

        return replace(below, stream=stream)

    async def use(bench: Bench) -> None:
        with pytest.raises(type(error)):
            await fold_stream(bench.gateway.stream(ask(), caller()))
        row = await bench.row()
        assert (row.status, row.error_type, row.attempts) == (status, error.type, ())
        assert (row.tokens, row.cost_usd) == (NO_TOKENS, "0")

    with_bench(tmp_path, use, Reply("x"), refusing)


def test_what_a_backend_refuses_is_an_error_of_both_rows(tmp_path: Path) -> None:
    async def use(bench: Bench) -> None:
        with pytest.raises(InvalidRequest):
            await fold_stream(bench.gateway.stream(ask(), caller()))
        row = await bench.row()
        assert (row.status, row.attempts[0].status) == ("error", "error")

    with_bench(tmp_path, use, Reply("x", error=InvalidRequest("prompt is too long")))


class Disorderly(ScriptedBackend):
    """A backend that breaks the order of events."""

    async def stream(self, request: MessagesRequest, attempt: Attempt) -> AsyncIterator[Event]:
        yield Ping()


def test_a_backend_that_breaks_the_order_is_a_clean_api_error(tmp_path: Path) -> None:
    async def use(bench: Bench) -> None:
        disorderly = Disorderly(BackendConfig(name="bad", kind="scripted"))
        gateway = Bench(bench.ledger, disorderly).gateway
        with pytest.raises(OrderError, match="before message_stop"):
            await fold_stream(gateway.stream(ask(), caller()))
        assert (await bench.row()).error_type == "api_error"

    with_bench(tmp_path, use, Reply("x"))


class Broken(ScriptedBackend):
    """A backend with a bug."""

    async def stream(self, request: MessagesRequest, attempt: Attempt) -> AsyncIterator[Event]:
        raise ZeroDivisionError
        yield Ping()


def test_a_bug_in_a_backend_still_closes_the_row(tmp_path: Path) -> None:
    async def use(bench: Bench) -> None:
        gateway = Bench(bench.ledger, Broken(BackendConfig(name="bad", kind="scripted"))).gateway
        with pytest.raises(ZeroDivisionError):
            await fold_stream(gateway.stream(ask(), caller()))
        assert ((await bench.row()).status, (await bench.row()).error_type) == (
            "error",
            "api_error",
        )

    with_bench(tmp_path, use, Reply("x"))


def test_batch_service_pays_half(tmp_path: Path) -> None:
    async def use(bench: Bench) -> None:
        asked = Caller(workspace="team", request_id="req_1", service="batch")
        await fold_stream(bench.gateway.stream(ask(), asked))
        assert (await bench.row()).cost_pico == (4 * 1_000_000 + 3 * 5_000_000) // 2

    with_bench(tmp_path, use, Reply("hello world!"))


def test_counting_writes_no_row_and_agrees_with_the_answer(tmp_path: Path) -> None:
    async def use(bench: Bench) -> None:
        counted = await bench.gateway.count_tokens(ask("how long is this?"), caller(2))
        message = await fold_stream(bench.gateway.stream(ask("how long is this?"), caller()))
        await bench.ledger.flush()
        assert counted.input_tokens == message.usage.input_tokens
        assert await bench.ledger.get("req_2") is None

    with_bench(tmp_path, use, Reply("x"))


def test_an_app_is_composed_from_configuration_and_taken_down(tmp_path: Path) -> None:
    config = Config(
        home=tmp_path,
        backends={"echo": BackendConfig(name="echo", kind="scripted")},
        tiers={"sonnet": TierConfig(name="sonnet", backends=("echo",))},
    )

    async def run() -> str:
        app = await App.start(config)
        try:
            message = await fold_stream(app.gateway.stream(ask("hi there"), caller()))
            return message.model + ": " + message.content[0].text  # type: ignore[union-attr]
        finally:
            await app.aclose()

    assert asyncio.run(run()) == "renga-haiku-1: hi there"
    assert (tmp_path / "renga.db").exists()
