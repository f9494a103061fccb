"""The engine behind the path: what only a backend with a process and a model can get wrong."""

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

from renga.backends.base import Attempt
from renga.backends.local import (
    LEAST_TOP_P,
    LocalBackend,
    count_in,
    read_with_breakpoints,
    sampling_of,
    short_count,
    usage_of,
)
from renga.chat.render import ChatTemplate
from renga.config import BackendConfig
from renga.engine.messages import Started
from renga.errors import BackendFailed, InvalidRequest, Overloaded, SetupError, Unavailable
from renga.events import BlockDelta, Event, fold
from renga.machine import Machine
from renga.models.find import Sampling
from renga.prices import Tokens
from renga.types import MessagesRequest, ScoreRequest
from tests.tiny_model import write_model

pytestmark = pytest.mark.asyncio(loop_scope="module")

WINDOW = 384


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("tiny"))


def configure(model: Path, **fields: Any) -> BackendConfig:
    return BackendConfig("small", model=str(model), threads=1, kv_cache_mb=16, **fields)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def local(tiny: Path) -> AsyncIterator[LocalBackend]:
    backend = LocalBackend(configure(tiny, window=WINDOW, max_running=2, max_waiting=1), home=tiny)
    await backend.start()
    yield backend
    await backend.aclose()


def ask(text: str, answer: str | None = None, **fields: Any) -> MessagesRequest:
    """A request; with `answer`, one that can be answered by that JSON string alone."""
    if answer is not None:
        schema = {"type": "json_schema", "schema": {"const": answer}}
        fields["output_config"] = {"format": schema}
    fields = {"max_tokens": 2_000, "messages": [{"role": "user", "content": text}], **fields}
    return MessagesRequest.model_validate({"model": "haiku", **fields})


def ask_endlessly(text: str, **fields: Any) -> MessagesRequest:
    """A request whose answer fills the window, a token that nothing forces at a time."""
    schema = {"type": "json_schema", "schema": {"type": "string", "minLength": 100_000}}
    return ask(text, output_config={"format": schema}, **fields)


async def run(
    backend: LocalBackend, request: MessagesRequest, meter: Attempt | None = None
) -> list[Event]:
    async with aclosing(backend.stream(request, meter or Attempt("req", "w"))) as events:  # type: ignore[type-var]
        return [event async for event in events]


def text_of(events: list[Event]) -> str:
    return "".join(b.text for b in fold(events).content if b.type == "text")


async def idle(backend: LocalBackend) -> Any:
    """The engine's figures once nothing runs in it."""
    assert backend.engine is not None
    async with asyncio.timeout(10):
        while (stats := backend.engine.stats()) is None or stats.running or stats.waiting:
            await asyncio.sleep(0.01)
    return stats


async def test_health_says_what_runs(local: LocalBackend) -> None:
    health = local.health()
    assert health.ready
    assert local.engine is not None
    held = local.engine.facts.blocks * local.engine.facts.block_size
    context = f"window {WINDOW}, 16 MB for {held:,} tokens"
    assert health.words == f"410K parameters, int8, {context}, 1 thread"


async def test_generation_that_reaches_the_window_says_so(local: LocalBackend) -> None:
    request = ask("poem " * 60, "long " * 400)
    size = await local.count_tokens(request)
    message = fold(await run(local, request))
    assert message.stop_reason == "model_context_window_exceeded"
    assert size + message.usage.output_tokens == WINDOW


async def test_max_tokens_beyond_the_window_is_accepted(local: LocalBackend) -> None:
    events = await run(local, ask("Hello", "short", max_tokens=128_000))
    assert text_of(events) == '"short"'


async def test_a_repeated_prompt_is_read_from_blocks_and_stays_input(local: LocalBackend) -> None:
    request = ask("The same long beginning, again and again. " * 8, "ok")
    size = await local.count_tokens(request)
    meters = [Attempt("req", "alpha"), Attempt("req", "alpha"), Attempt("req", "beta")]
    usages = [fold(await run(local, request, meter)).usage for meter in meters]
    assert [u.input_tokens for u in usages] == [size] * 3
    assert meters[0].reused == 0
    assert size - 32 <= meters[1].reused < size
    assert meters[2].reused == 0, "another workspace must not see these blocks"


async def test_a_full_queue_is_an_overload_with_a_time(local: LocalBackend) -> None:
    requests = [ask_endlessly("Hello", max_tokens=60) for _ in range(6)]
    answers = await asyncio.gather(*(run(local, r) for r in requests), return_exceptions=True)
    refused = [a for a in answers if isinstance(a, Overloaded)]
    assert refused
    assert all(r.retry_after is not None and r.retry_after > 0 for r in refused)
    assert all(text_of(a) for a in answers if isinstance(a, list))
    assert len(refused) + sum(isinstance(a, list) for a in answers) == 6
    assert local.open_streams == 0


async def test_a_caller_that_leaves_frees_the_engine_within_a_step(local: LocalBackend) -> None:
    before = await idle(local)
    meter = Attempt("req", "w")
    request = ask_endlessly("Hello")
    async with aclosing(local.stream(request, meter)) as events:  # type: ignore[type-var]
        async for event in events:
            if isinstance(event, BlockDelta):
                break
    await run(local, ask("Hello", "x"))
    after = await idle(local)
    whole = WINDOW - await local.count_tokens(request)
    assert after.output_tokens - before.output_tokens < whole / 2
    assert after.free_blocks == after.blocks


async def test_a_caller_that_reads_slowly_is_charged_for_what_was_made(local: LocalBackend) -> None:
    before = await idle(local)
    meter = Attempt("req", "w")
    async with aclosing(local.stream(ask("Hello", "unread " * 20), meter)) as events:  # type: ignore[type-var]
        await anext(events)
        async with asyncio.timeout(10):
            while (made := await idle(local)).output_tokens == before.output_tokens:
                await asyncio.sleep(0.01)
    assert meter.output == made.output_tokens - before.output_tokens > 20


async def test_a_caller_that_leaves_before_the_first_token_is_charged_nothing(
    local: LocalBackend,
) -> None:
    meter = Attempt("req", "w")
    task = asyncio.create_task(run(local, ask("early " * 60, "x"), meter))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (meter.input, meter.output) == (None, 0)
    assert local.open_streams == 0


async def test_a_score_that_is_left_halfway_is_charged_its_prompt(local: LocalBackend) -> None:
    tails = [f"{number} where is my order " * 20 for number in range(60)]
    fields = {"model": "haiku", "messages": [{"role": "user", "content": "Hello"}]}
    request = ScoreRequest.model_validate({**fields, "continuations": tails})
    meter = Attempt("req", "w")
    task = asyncio.create_task(local.score(request, meter))
    async with asyncio.timeout(20):
        while meter.input is None:
            await asyncio.sleep(0)
    assert not task.done(), "all of it was computed in a step: this proved little"
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert meter.input == await local.count_tokens(request)
    assert (await idle(local)).running == 0


async def test_a_format_and_a_prefill_exclude_each_other(local: LocalBackend) -> None:
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "{"}]
    with pytest.raises(InvalidRequest, match=r"^output_config.format: .*final assistant message"):
        await run(local, ask("", "x", messages=messages))


async def test_a_schema_is_refused_before_the_engine_sees_it(local: LocalBackend) -> None:
    before = await idle(local)
    schema = {"format": {"type": "json_schema", "schema": {"type": "poem"}}}
    for call in (run, lambda b, r: b.count_tokens(r)):
        with pytest.raises(InvalidRequest, match=r"^output_config\.format\.schema\.type: one of"):
            await call(local, ask("a", output_config=schema))
    assert (await idle(local)).prompt_tokens == before.prompt_tokens


async def test_a_schema_that_turns_out_too_hard_to_follow_is_the_callers_error(
    local: LocalBackend,
) -> None:
    # Twenty repetitions at least: the answer cannot end before following it has become too hard.
    schema = {"type": "string", "pattern": "^(.{0,50}[a-m].{0,60}[n-z]?.{0,70}){20,50}$"}
    request = ask("a", output_config={"format": {"type": "json_schema", "schema": schema}})
    with pytest.raises(InvalidRequest, match=r"^output_config.format.schema: grammar: ") as caught:
        await run(local, request)
    assert "\n" not in caught.value.message
    assert (await idle(local)).running == 0


async def test_a_huge_prompt_does_not_hold_up_the_others(local: LocalBackend) -> None:
    gaps: list[float] = []

    async def beat() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            gaps.append(time.perf_counter() - before)

    beating = asyncio.create_task(beat())
    count = await local.count_tokens(ask("The quick brown fox jumps over the lazy dog. " * 50_000))
    beating.cancel()
    assert count > 400_000
    # A loop that waited for the count would show a single gap as long as the whole.
    assert max(gaps) < max(0.15, sum(gaps) / 5)


async def test_killing_the_engine_ends_its_streams_and_the_next_one_works(
    local: LocalBackend,
) -> None:
    engine = local.engine
    assert engine is not None
    first = engine.process_id
    assert first is not None
    seen: list[Event] = []

    async def watch_it_die(process: int) -> None:
        async for event in local.stream(ask_endlessly("Hi"), Attempt("req", "w")):
            seen.append(event)
            if len(seen) == 5:
                os.kill(process, signal.SIGKILL)

    with pytest.raises(BackendFailed, match="engine process ended; it is being started again"):
        await watch_it_die(first)
    health = local.health()
    assert not health.ready
    assert health.words.endswith("the engine is being started again")
    assert len(seen) >= 5
    assert local.open_streams == 0
    assert text_of(await run(local, ask("Hi", "alive"))) == '"alive"'
    assert engine.process_id != first
    assert local.health().ready


async def test_closing_ends_open_streams_with_a_503(tiny: Path) -> None:
    backend = LocalBackend(configure(tiny), home=tiny)
    await backend.start()
    stream = backend.stream(ask_endlessly("Hi"), Attempt("req", "w"))
    await anext(stream)
    await backend.aclose()
    with pytest.raises(Unavailable, match="backend 'small' is not running"):
        async for _ in stream:
            pass
    assert backend.open_streams == 0
    assert backend.health().words == "stopped"


# --- start ----------------------------------------------------------------------------------------


async def test_a_window_beyond_the_models_is_refused_at_start(tiny: Path) -> None:
    backend = LocalBackend(configure(tiny, window=4_096), home=tiny)
    with pytest.raises(SetupError, match=r"backends.small.window = 4096; accepted: 0 to 2048"):
        await backend.start()


async def test_a_tokenizer_of_another_model_is_refused_at_start(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "small", vocab_size=300)
    with pytest.raises(SetupError, match=r"tokenizer.json has \d+ tokens; .* asks for 3 to 300$"):
        await LocalBackend(configure(folder), home=tmp_path).start()
    folder = write_model(tmp_path / "large", vocab_size=9_000)
    (folder / "generation_config.json").write_text('{"eos_token_id": [2, 8000]}')
    with pytest.raises(SetupError, match=r"asks for 8,001 to 9,000$"):
        await LocalBackend(configure(folder), home=tmp_path).start()


async def test_a_graph_that_does_not_load_is_one_line_at_start(tmp_path: Path) -> None:
    folder = write_model(tmp_path)
    graph = folder / "openvino_model.xml"
    graph.write_text(graph.read_text().replace('type="MatMul"', 'type="MatMurder"'))
    with pytest.raises(SetupError, match=r"backend 'small': model .* cannot be loaded") as caught:
        await LocalBackend(configure(folder), home=tmp_path).start()
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("number", "words"), [(950, "950"), (409_600, "410K"), (12_500_000, "12.5M"), (1.24e9, "1.24B")]
)
async def test_parameters_are_told_in_three_digits(number: int, words: str) -> None:
    assert short_count(int(number)) == words


# --- sampling -------------------------------------------------------------------------------------

OWN = Sampling(temperature=0.3, top_p=0.9, top_k=40, min_p=0.05)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, OWN),
        ({"temperature": 0.0}, Sampling(temperature=0.0)),
        ({"temperature": 1.0}, Sampling()),
        ({"top_p": 0.5}, Sampling(top_p=0.5)),
        ({"top_k": 3}, Sampling(top_k=3)),
        ({"top_k": 0}, Sampling()),
    ],
)
async def test_the_models_own_sampling_rules_only_where_the_caller_asks_for_none(
    fields: dict[str, Any], expected: Sampling
) -> None:
    assert sampling_of(ask("a", **fields), OWN) == expected


async def test_top_p_of_zero_takes_the_likeliest(local: LocalBackend) -> None:
    greedy = text_of(await run(local, ask("Which?", temperature=0.0, max_tokens=20)))
    assert text_of(await run(local, ask("Which?", top_p=0.0, max_tokens=20))) == greedy
    assert LEAST_TOP_P > 0


# --- caching --------------------------------------------------------------------------------------

RULES = {
    "type": "text",
    "text": "Where is my order? " * 20,
    "cache_control": {"type": "ephemeral", "ttl": "1h"},
}


async def test_breakpoints_are_given_with_all_that_lies_near_and_is_long_enough(
    tiny: Path,
) -> None:
    template = ChatTemplate.load(tiny)
    blocks = [{"type": "text", "text": f"Line {n} of my order."} for n in range(25)]
    turns = [{"role": "user", "content": blocks}]
    mark = {"type": "ephemeral"}
    request = ask("", system=[RULES], messages=turns, cache_control=mark)
    tokens, (first, second) = read_with_breakpoints(template, request, 64)
    assert tokens == template.tokens(request)
    assert (first.ttl_seconds, second.ttl_seconds) == (3600, 300)
    assert len(first.marks) == 1
    assert len(second.marks) == 20
    lengths = [mark.tokens for mark in second.marks]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] < len(tokens)
    most = first.marks[0].tokens
    assert len(read_with_breakpoints(template, request, most)[1]) == 2
    (alone,) = read_with_breakpoints(template, request, most + 1)[1]
    assert alone.marks == second.marks
    (some,) = read_with_breakpoints(template, request, lengths[3])[1]
    assert some.marks == second.marks[:4]
    assert read_with_breakpoints(template, request, len(tokens))[1] == []


async def test_the_shortest_prefix_that_is_cached_is_a_setting(tiny: Path) -> None:
    backend = LocalBackend(configure(tiny, window=WINDOW, cache_minimum_tokens=100), home=tiny)
    await backend.start()
    try:
        for words, cached in ((35, False), (60, True)):
            block = {**RULES, "text": "order " * words * 2}
            usage = fold(await run(backend, ask("Hi", system=[block], max_tokens=1))).usage
            assert (usage.cache_creation_input_tokens > 0) == cached
    finally:
        await backend.aclose()


async def test_counts_that_do_not_add_up_are_never_told() -> None:
    with pytest.raises(AssertionError, match="do not add up"):
        usage_of(Started("x", prompt_tokens=64, reused_tokens=64, cache_read_tokens=96))


async def test_blocks_that_were_reused_under_a_new_entry_are_charged_once() -> None:
    meter = Attempt("req", "w")
    count_in(meter, Started("x", 100, 96, cache_read_tokens=32, cache_write_5m_tokens=64))
    assert meter.tokens() == Tokens(
        input=4, cache_read=32, cache_write_5m=64, cache_write_1h=0, output=0, reused=4, thinking=0
    )


async def test_a_close_that_fails_gives_the_memory_back(tiny: Path) -> None:
    class Stuck:
        async def aclose(self) -> None:
            raise OSError("no such process")

    machine = Machine(cores=2, available=lambda: 10**10)
    backend = LocalBackend(configure(tiny), home=tiny, machine=machine)
    machine.promise("small", 10**9)
    backend.engine = Stuck()  # type: ignore[assignment]
    with pytest.raises(OSError, match="no such process"):
        await backend.aclose()
    assert machine.free("another") == 10**10


class Going(LocalBackend):
    """One whose template is there when it is asked for, and gone right after."""

    @property
    def _template(self) -> ChatTemplate | None:
        return self._left.pop() if self._left else None

    @_template.setter
    def _template(self, template: ChatTemplate | None) -> None:
        self._left = [] if template is None else [template]


async def test_what_is_being_read_while_the_model_goes_is_read_to_its_end(tiny: Path) -> None:
    backend = Going(configure(tiny), home=tiny)
    backend._template = ChatTemplate.load(tiny)
    assert len(backend._read(ask("hi"), WINDOW).tokens) > 0
