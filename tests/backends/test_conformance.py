"""What every backend owes the path, checked on every kind in the table."""

from __future__ import annotations

import asyncio
import json
import pkgutil
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jsonschema
import pytest
import pytest_asyncio
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import RawMessageStreamEvent
from pydantic import TypeAdapter

import renga.backends
from renga.backends import BACKENDS, make_backend
from renga.backends.base import Attempt, Backend
from renga.backends.scripted import calling
from renga.config import KINDS, BackendConfig
from renga.errors import InvalidRequest, Unavailable
from renga.events import (
    BlockDelta,
    Event,
    InputJsonDelta,
    MessageDelta,
    MessageStart,
    TextDelta,
    fold,
)
from renga.types import Message, MessagesRequest, ToolUseBlock
from tests.seeing_model import write_seeing_model
from tests.serving import serving
from tests.tiny_model import write_gguf, write_model
from training.vocabulary import TEMPLATE

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHIPPED = Path(renga.__file__).parent / "models" / "shipped" / "haiku" / "openvino_model.bin"

# The other server of the kinds that have one: scripted, in its own process.
OTHER = """
[backends.other]
kind = "scripted"
window = 1024
token_delay_ms = 0.5
[tiers.haiku]
backends = ["other"]
"""


def _other(kind: Literal["openai", "messages"], model: Path) -> BackendConfig:
    url = (model / "url").read_text()
    return BackendConfig(
        "b",
        kind,
        urls=(f"{url}/v1" if kind == "openai" else url,),
        model="haiku",
        window=1_024,
        api_key="any",
        lacks=("structured_output",),
    )


# A configuration for each kind; `model` is a folder with a small model of random weights.
KIND_CONFIGS: dict[str, Callable[[Path], BackendConfig]] = {
    "scripted": lambda model: BackendConfig("b", "scripted", window=1_024, token_delay_ms=0.5),
    "local": lambda model: BackendConfig("b", "local", model=str(model), threads=1, kv_cache_mb=16),
    "openvino_vlm": lambda model: BackendConfig(
        "b", "openvino_vlm", model=str(model / "seeing"), threads=1
    ),
    "llamacpp": lambda model: BackendConfig(
        "b", "llamacpp", model=str(model / "gguf"), threads=1, window=2_048, cache_mb=16
    ),
    "openai": lambda model: _other("openai", model),
    "messages": lambda model: _other("messages", model),
}
CASES = [*BACKENDS, *(["shipped"] if SHIPPED.exists() else [])]

WORDS = "Zürich 東京 🦊🦆 naïve — “quoted” and plain, "


@dataclass
class Case:
    """A started backend and how to make more of its kind."""

    backend: Backend
    config: BackendConfig
    home: Path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = write_model(tmp_path_factory.mktemp("tiny"), template=TEMPLATE)
    write_gguf(folder)
    write_seeing_model(folder / "seeing")
    with serving(tmp_path_factory.mktemp("other"), OTHER, home=folder / "other") as other:
        (folder / "url").write_text(other.url)
        yield folder


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=CASES)
async def case(
    request: pytest.FixtureRequest, tiny: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Case]:
    if request.param == "shipped":
        config = BackendConfig("b", "local", threads=1, window=2_048, kv_cache_mb=64)
    else:
        config = KIND_CONFIGS[request.param](tiny)
    home = tmp_path_factory.mktemp("home")
    backend = make_backend(config, home=home)
    await backend.start()
    yield Case(backend, config, home)
    await backend.aclose()


@pytest.fixture
def backend(case: Case) -> Backend:
    return case.backend


def attempt(workspace: str = "default") -> Attempt:
    return Attempt("req_test", workspace)


def ask(text: str, **fields: Any) -> MessagesRequest:
    fields = {"max_tokens": 40, "temperature": 0.0, "stream": True, **fields}
    messages = [{"role": "user", "content": text}]
    return MessagesRequest.model_validate({"model": "haiku", "messages": messages, **fields})


def _can_be_led(backend: Backend) -> None:
    """Skip the test where a model draws every answer freely: its kind has a file of its own."""
    scripted = backend.kind in ("scripted", "openai", "messages")
    if not scripted and not backend.capabilities.structured_output:
        pytest.skip(f"nothing can choose what a model of kind {backend.kind} says")


def forced(backend: Backend, text: str, **fields: Any) -> MessagesRequest:
    """A request whose answer is `text` as a JSON string, whatever the backend is."""
    _can_be_led(backend)
    written = json.dumps(text, ensure_ascii=False)
    fields = {"max_tokens": 2_000, **fields}
    if backend.capabilities.structured_output:
        schema = {"type": "json_schema", "schema": {"const": text}}
        fields["output_config"] = {"format": schema}
    return ask(written, **fields)


def free(backend: Backend, letters: str, count: int, **fields: Any) -> MessagesRequest:
    """A request whose answer is `count` of these letters and comes in many pieces.

    Which ones, the model draws: what leaves no choice would all be there in one step.
    """
    _can_be_led(backend)
    fields = {"max_tokens": 2_000, "temperature": 1.0, **fields}
    if backend.capabilities.structured_output:
        pattern = {"type": "regex", "pattern": f"[{letters}]{{{count}}}"}
        fields["output_config"] = {"format": pattern}
    return ask((letters * count)[:count], **fields)


SUM = {"a": 17, "b": 25, "note": 'a "quoted" ü 🦊 \\ note'}
ADD = {
    "name": "add",
    "description": "Adds two numbers.",
    "input_schema": {
        "type": "object",
        "properties": {name: {"const": value} for name, value in SUM.items()},
        "required": list(SUM),
        "additionalProperties": False,
    },
}


def forced_call(text: str | None = None, **fields: Any) -> MessagesRequest:
    """A request whose answer is one call of `add`, whatever the backend is."""
    choice = {"type": "tool", "name": "add", "disable_parallel_tool_use": True}
    given = {"max_tokens": 400, "tools": [ADD], "tool_choice": choice, **fields}
    return ask(text or calling("add", **SUM), **given)


async def run(
    backend: Backend, request: MessagesRequest, meter: Attempt | None = None
) -> list[Event]:
    async with aclosing(backend.stream(request, meter or attempt())) as events:  # type: ignore[type-var]
        return [event async for event in events]


def text_of(message: Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def as_the_sdk_builds_it(events: list[Event]) -> dict[str, Any]:
    adapter: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    for event in events:
        raw = adapter.validate_python(event.model_dump(mode="json"))
        snapshot = accumulate_event(event=raw, current_snapshot=snapshot, json_bufs=buffers)
    built: dict[str, Any] = snapshot.model_dump(mode="json")
    return built


# --- the table ------------------------------------------------------------------------------------


async def test_every_module_is_in_the_table_and_every_row_has_a_module() -> None:
    shared = {"base", "chosen", "remote", "steps", "telling"}
    modules = {m.name for m in pkgutil.iter_modules(renga.backends.__path__)} - shared
    assert {target.split(":")[0].rpartition(".")[2] for target in BACKENDS.values()} == modules
    assert set(BACKENDS) == set(KINDS) - {"auto"} == set(KIND_CONFIGS)


async def test_a_backend_is_called_what_its_row_says(case: Case) -> None:
    assert case.backend.kind == case.config.kind
    assert case.backend.name == case.config.name


# --- answers --------------------------------------------------------------------------------------


async def test_an_answer_is_legal_and_has_text_as_the_sdk_sees_it(backend: Backend) -> None:
    events = await run(backend, forced(backend, "Hello there"))
    message = fold(events)
    assert text_of(message) == '"Hello there"'
    assert message.stop_reason == "end_turn"
    theirs = as_the_sdk_builds_it(events)
    ours = message.model_dump(mode="json")
    assert {k: theirs[k] for k in ("content", "stop_reason", "stop_sequence", "role")} == {
        k: ours[k] for k in ("content", "stop_reason", "stop_sequence", "role")
    }
    assert theirs["usage"]["output_tokens"] == ours["usage"]["output_tokens"]
    assert theirs["usage"]["input_tokens"] == ours["usage"]["input_tokens"]


async def test_usage_adds_up_and_the_meter_agrees(backend: Backend) -> None:
    request, meter = forced(backend, WORDS), attempt()
    events = await run(backend, request, meter)
    usage = fold(events).usage
    size = await backend.count_tokens(request)
    read, written = usage.cache_read_input_tokens, usage.cache_creation_input_tokens
    assert usage.input_tokens + read + written == size
    assert meter.output == usage.output_tokens > 0
    assert 0 <= meter.reused < size
    assert isinstance(events[0], MessageStart)
    assert events[0].message.usage.input_tokens == usage.input_tokens


async def test_cache_classes_add_up_and_stand_at_both_ends(backend: Backend) -> None:
    mark = {"type": "ephemeral"}
    system = [{"type": "text", "text": WORDS * 4, "cache_control": mark}]
    for _ in range(2):
        request, meter = ask("Hello", system=system, max_tokens=2), attempt()
        events = await run(backend, request, meter)
        for event in events:
            meter.see(event)
        message, start, end = fold(events), events[0], events[-2]
        assert isinstance(start, MessageStart)
        assert isinstance(end, MessageDelta)
        usage = message.usage
        read, written = usage.cache_read_input_tokens, usage.cache_creation_input_tokens
        assert usage.input_tokens + read + written == await backend.count_tokens(request)
        assert start.message.usage.model_copy(update={"output_tokens": 2}) == usage
        assert end.usage.input_tokens == usage.input_tokens
        assert meter.tokens().prompt == await backend.count_tokens(request)
        assert (read + written > 0) == backend.capabilities.prompt_caching
    assert (read > 0, written) == (backend.capabilities.prompt_caching, 0)
    assert (backend.capabilities.ignored_in(request) == ()) == backend.capabilities.prompt_caching


async def test_no_tokens_asked_is_the_prompt_alone(backend: Backend) -> None:
    request, meter = ask("Hello there, warm this up", max_tokens=0), attempt()
    events = await run(backend, request, meter)
    assert [event.type for event in events] == ["message_start", "message_delta", "message_stop"]
    message = fold(events)
    assert (message.content, message.stop_reason) == ([], "max_tokens")
    assert message.usage.output_tokens == meter.output == 0
    assert message.usage.input_tokens == await backend.count_tokens(request)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"system": "You are terse."},
        {"system": [{"type": "text", "text": WORDS}, {"type": "text", "text": "<|im_end|>"}]},
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
        {"messages": [{"role": "user", "content": "x"}] * 3},
    ],
)
async def test_the_count_is_what_message_start_says(
    backend: Backend, fields: dict[str, Any]
) -> None:
    request = ask("Where is my order?", **{"max_tokens": 1, **fields})
    events = await run(backend, request)
    assert isinstance(events[0], MessageStart)
    assert events[0].message.usage.input_tokens == await backend.count_tokens(request)


async def test_max_tokens_is_respected_and_reported(backend: Backend) -> None:
    message = fold(await run(backend, forced(backend, "x " * 50, max_tokens=3)))
    assert message.usage.output_tokens == 3
    assert message.stop_reason == "max_tokens"


async def test_a_stop_sequence_is_reported_and_cut(backend: Backend) -> None:
    request = forced(backend, WORDS, stop_sequences=["never", "naïve —"])
    message = fold(await run(backend, request))
    assert message.stop_reason == "stop_sequence"
    assert message.stop_sequence == "naïve —"
    assert text_of(message) == '"' + WORDS.partition("naïve —")[0]


async def test_characters_are_whole_in_every_piece(backend: Backend) -> None:
    letters = "ü東京🦊🦆ï—“”q"
    for request in (forced(backend, WORDS * 3), free(backend, letters, 60)):
        events = await run(backend, request)
        deltas = [e.delta for e in events if isinstance(e, BlockDelta)]
        pieces = [d.text for d in deltas if isinstance(d, TextDelta)]
        assert all(piece and "�" not in piece for piece in pieces)
    assert len(pieces) > 3
    assert re.fullmatch(f"[{letters}]{{60}}", "".join(pieces))


async def test_the_likeliest_answer_is_the_same_each_time(backend: Backend) -> None:
    request = ask("What do you know about haiku?")
    first, second = [fold(await run(backend, request)) for _ in range(2)]
    assert text_of(first) == text_of(second)
    assert first.usage == second.usage


async def test_streams_side_by_side_do_not_mix(backend: Backend) -> None:
    letters = ["ab", "cd", "ef", "ü東", "京🦊", "🦆ï", "—“", "12"]
    requests = [free(backend, own, 40) for own in letters]
    answers = await asyncio.gather(*(run(backend, request) for request in requests))
    for own, events in zip(letters, answers, strict=True):
        assert re.fullmatch(f"[{own}]{{40}}", text_of(fold(events)))


async def test_structured_output_is_what_the_schema_says(backend: Backend) -> None:
    if not backend.capabilities.structured_output:
        fields = {"output_config": {"format": {"type": "json_schema", "schema": {}}}}
        assert backend.capabilities.missing_for(ask("x", **fields)) == "output_config.format"
        return
    schema = {
        "type": "object",
        "properties": {
            "kind": {"enum": ["refund", "order", "other"]},
            "count": {"type": "integer", "minimum": 0, "maximum": 999},
            "urgent": {"type": "boolean"},
            "name": {"type": ["string", "null"], "maxLength": 12},
        },
        "required": ["kind", "count", "urgent", "name"],
        "additionalProperties": False,
    }
    config = {"format": {"type": "json_schema", "schema": schema}}
    for temperature in (0.0, 1.0, 1.0):
        request = ask("Card?", max_tokens=200, temperature=temperature, output_config=config)
        message = fold(await run(backend, request))
        assert message.stop_reason == "end_turn"
        value = json.loads(text_of(message))
        jsonschema.validate(value, schema)
        assert text_of(message) == json.dumps(value, separators=(",", ":"), ensure_ascii=False)


# --- calls and thinking ---------------------------------------------------------------------------


async def test_a_call_is_a_block_whose_input_comes_in_pieces(backend: Backend) -> None:
    if not backend.capabilities.tools:
        assert backend.capabilities.missing_for(forced_call()) == "tools"
        return
    events = await run(backend, forced_call())
    message = fold(events)
    (block,) = message.content
    assert isinstance(block, ToolUseBlock)
    assert (block.name, block.input, message.stop_reason) == ("add", SUM, "tool_use")
    assert re.fullmatch(r"toolu_[a-zA-Z0-9]{24}", block.id)
    deltas = [e.delta for e in events if isinstance(e, BlockDelta)]
    pieces = [d.partial_json for d in deltas if isinstance(d, InputJsonDelta)]
    assert len(pieces) == len(deltas) > 1
    assert pieces[0] == ""
    (theirs,) = as_the_sdk_builds_it(events)["content"]
    assert (theirs["id"], theirs["input"]) == (block.id, SUM)


async def test_every_call_has_an_id_of_its_own(backend: Backend) -> None:
    if not backend.capabilities.tools:
        return
    answers = [fold(await run(backend, forced_call())) for _ in range(3)]
    ids = {b.id for answer in answers for b in answer.content if isinstance(b, ToolUseBlock)}
    assert len(ids) == 3


async def test_where_no_call_may_be_there_is_none(backend: Backend) -> None:
    if not backend.capabilities.tools:
        return
    message = fold(await run(backend, forced_call(tool_choice={"type": "none"})))
    assert {block.type for block in message.content} <= {"text"}
    assert message.stop_reason != "tool_use"


async def test_a_call_that_is_cut_has_its_input_as_far_as_it_was_written(backend: Backend) -> None:
    if not backend.capabilities.tools:
        return
    whole = fold(await run(backend, forced_call())).usage.output_tokens
    shown = []
    for most in range(1, whole, max(1, whole // 8)):
        request, meter = forced_call(max_tokens=most), attempt()
        events = await run(backend, request, meter)
        message = fold(events)
        assert message.usage.output_tokens == meter.output == most
        if message.stop_reason == "max_tokens":
            found = [b.input for b in message.content if isinstance(b, ToolUseBlock)]
            for name, value in [item for input in found for item in input.items()]:
                assert str(SUM[name]).startswith(str(value))
            assert as_the_sdk_builds_it(events)["content"] == [
                {**theirs, **b.model_dump(mode="json")}
                for b, theirs in zip(
                    message.content, as_the_sdk_builds_it(events)["content"], strict=True
                )
            ]
            shown.append(len(found))
    assert set(shown) == {0, 1}


async def test_a_stop_sequence_ends_no_call(backend: Backend) -> None:
    if not backend.capabilities.tools:
        return
    message = fold(await run(backend, forced_call(stop_sequences=["quoted", '{"', "17"])))
    (block,) = message.content
    assert isinstance(block, ToolUseBlock)
    assert (block.input, message.stop_sequence) == (SUM, None)


async def test_a_conversation_with_tools_is_counted_as_it_is_read(backend: Backend) -> None:
    if not backend.capabilities.tools:
        return
    call = {"type": "tool_use", "id": "toolu_1", "name": "add", "input": SUM}
    results = [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "42"}]
    request = ask(
        "",
        messages=[
            {"role": "user", "content": "17 + 25?"},
            {"role": "assistant", "content": [{"type": "text", "text": "I add."}, call]},
            {"role": "user", "content": results},
        ],
        tools=[ADD],
        max_tokens=1,
    )
    usage = fold(await run(backend, request)).usage
    assert usage.input_tokens == await backend.count_tokens(request)
    longer = [*results, {"type": "text", "text": "Tell me."}]
    more = request.model_copy(
        update={
            "messages": [
                *request.messages[:2],
                ask("", messages=[{"role": "user", "content": longer}]).messages[0],
            ]
        }
    )
    assert await backend.count_tokens(more) > usage.input_tokens


@pytest.mark.parametrize("effort", ["low", "medium", "max"])
async def test_thinking_comes_first_and_is_part_of_the_output(
    backend: Backend, effort: str
) -> None:
    fields = {"thinking": {"type": "adaptive"}, "output_config": {"effort": effort}}
    request, meter = ask("Think about it", max_tokens=80, **fields), attempt()
    if "adaptive" not in backend.capabilities.thinking:
        assert backend.capabilities.missing_for(request) in (
            "thinking.type",
            "output_config.effort",
        )
        return
    message = fold(await run(backend, request, meter))
    kinds = [block.type for block in message.content]
    assert "thinking" not in kinds[1:]
    assert backend.capabilities.ignored_in(request) == ()
    unthinking = ask("x", **{**fields, "thinking": {"type": "disabled"}})
    assert backend.capabilities.ignored_in(unthinking) == ("output_config.effort",)
    details = message.usage.output_tokens_details
    assert (details is None) == (effort == "low")
    thought = 0 if details is None else details.thinking_tokens
    assert thought == meter.thinking <= 40
    assert meter.tokens().output == message.usage.output_tokens >= thought
    assert (thought > 0) or "thinking" not in kinds


# --- ends that are not answers --------------------------------------------------------------------


async def test_a_prompt_beyond_the_window_is_refused_before_any_event(backend: Backend) -> None:
    window = backend.capabilities.window
    request = ask("poem " * window)
    size = await backend.count_tokens(request)
    assert size >= window
    wanted = rf"^prompt is too long: {size} tokens > {window - 1} maximum$"
    stream = backend.stream(request, attempt())
    with pytest.raises(InvalidRequest, match=wanted):
        await anext(stream)


async def test_a_consumer_that_leaves_stops_the_work(case: Case) -> None:
    backend: Any = case.backend
    meter = attempt()
    seen = 0
    request = free(backend, "leavs", 1_200)
    async with aclosing(backend.stream(request, meter)) as events:
        assert backend.open_streams == 0
        async for event in events:
            seen += isinstance(event, BlockDelta)
            if seen == 3:
                break
        assert backend.open_streams == 1
    assert backend.open_streams == 0
    assert 3 <= meter.output < 200
    # The backend is free for the next one, at once.
    async with asyncio.timeout(10):
        assert text_of(fold(await run(backend, forced(backend, "next")))) == '"next"'


async def test_a_cancelled_consumer_stops_the_work(case: Case) -> None:
    backend: Any = case.backend
    began = asyncio.Event()
    request = free(backend, "leavs", 1_200)

    async def consume() -> None:
        async with aclosing(backend.stream(request, attempt())) as events:
            async for event in events:
                if isinstance(event, BlockDelta):
                    began.set()

    consumer = asyncio.create_task(consume())
    await began.wait()
    consumer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await consumer
    assert backend.open_streams == 0


async def test_a_closed_backend_says_so(case: Case) -> None:
    backend = make_backend(case.config, home=case.home)
    await backend.start()
    assert backend.health().ready
    await backend.aclose()
    await backend.aclose()
    assert not backend.health().ready
    with pytest.raises(Unavailable):
        await run(backend, ask("Hello"))
    with pytest.raises(Unavailable):
        await backend.count_tokens(ask("Hello"))
