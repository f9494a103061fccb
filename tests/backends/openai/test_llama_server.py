"""llama.cpp's own server live, with the shipped model: every part of an answer, and its end."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
import pytest_asyncio

import renga
from renga.backends.base import Attempt
from renga.backends.openai import OpenaiBackend
from renga.config import BackendConfig
from renga.errors import InvalidRequest
from renga.events import BlockDelta, TextDelta, fold
from renga.types import Message, MessagesRequest, TunedRequest
from tests.backends.openai.replaying import TOOL, asking
from training import gguf_export

pytest.importorskip("xllamacpp")
SHIPPED = Path(renga.__file__).parent / "models" / "shipped" / "haiku"
SLOTS = 2
pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(
        not (SHIPPED / "openvino_model.bin").exists(), reason="the shipped model is not here"
    ),
]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    file = tmp_path_factory.mktemp("shipped") / "haiku.gguf"
    assert gguf_export.main([str(SHIPPED), str(file)]) == 0
    server = Path(__file__).with_name("llama_server.py")
    command = [sys.executable, str(server), str(file), str(SLOTS)]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    lines = (line.split() for line in process.stdout if line.startswith("listening "))
    yield next(lines)[1]
    process.kill()
    process.communicate()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def backend(address: str) -> AsyncIterator[OpenaiBackend]:
    config = BackendConfig("b", "openai", urls=(f"{address}/v1",), model="haiku")
    made = OpenaiBackend(config)
    await made.start()
    yield made
    await made.aclose()


async def run(
    backend: OpenaiBackend, request: MessagesRequest, meter: Attempt | None = None
) -> Message:
    events = backend.stream(request, meter or Attempt("req_test", "default"))
    async with aclosing(events) as source:  # type: ignore[type-var]
        return fold([event async for event in source])


def drawn(text: str, *, stream: bool = True, **fields: Any) -> MessagesRequest:
    return asking(text, **{"temperature": 0.0, "stream": stream, **fields})


async def test_the_server_is_known_by_what_it_says(backend: OpenaiBackend) -> None:
    assert "llama-server" in backend.health().words
    assert backend.capabilities.window == 2_048


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_adds_up_and_is_counted_before(
    backend: OpenaiBackend, stream: bool
) -> None:
    request = drawn("Hello!", stream=stream)
    meter = Attempt("req_test", "default")
    message = await run(backend, request, meter)
    (block,) = message.content
    assert block.type == "text"
    assert block.text
    assert message.stop_reason == "end_turn"
    assert meter.tokens().prompt == await backend.count_tokens(request)
    assert (meter.output, meter.estimated) == (message.usage.output_tokens, False)


async def test_streamed_and_whole_answers_are_the_same(backend: OpenaiBackend) -> None:
    one, other = [
        await run(backend, drawn("What can you do?", stream=stream)) for stream in (True, False)
    ]
    assert one.content == other.content
    assert one.usage.output_tokens == other.usage.output_tokens


@pytest.mark.parametrize("stream", [True, False])
async def test_a_forced_call_is_one_that_its_schema_accepts(
    backend: OpenaiBackend, stream: bool
) -> None:
    request = drawn(
        "What is the weather in Paris?", stream=stream, tools=[TOOL], tool_choice={"type": "any"}
    )
    message = await run(backend, request)
    (call,) = message.content
    assert call.type == "tool_use"
    assert call.name == TOOL["name"]
    jsonschema.validate(call.input, TOOL["input_schema"])
    assert message.stop_reason == "tool_use"


async def test_a_conversation_with_a_result_is_read_and_counted(backend: OpenaiBackend) -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Oslo"}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "rain, 9 degrees"}
    request = MessagesRequest.model_validate(
        {
            "model": "haiku",
            "max_tokens": 40,
            "temperature": 0.0,
            "tools": [TOOL],
            "messages": [
                {"role": "user", "content": "The weather in Oslo?"},
                {"role": "assistant", "content": [call]},
                {"role": "user", "content": [result]},
            ],
        }
    )
    meter = Attempt("req_test", "default")
    await run(backend, request, meter)
    assert meter.tokens().prompt == await backend.count_tokens(request)


async def test_thinking_is_there_where_it_is_wanted(backend: OpenaiBackend) -> None:
    thinking = {"type": "enabled", "budget_tokens": 1_024}
    text = "What is the weather in Paris?"
    wanted = await run(backend, drawn(text, tools=[TOOL], thinking=thinking, max_tokens=1_200))
    assert wanted.content[0].type == "thinking"
    unwanted = await run(backend, drawn(text, tools=[TOOL], max_tokens=100))
    assert "thinking" not in [block.type for block in unwanted.content]


async def test_a_form_is_followed(backend: OpenaiBackend) -> None:
    schema = {
        "type": "object",
        "properties": {"kind": {"enum": ["refund", "order"]}, "sure": {"type": "boolean"}},
        "required": ["kind", "sure"],
        "additionalProperties": False,
    }
    config = {"format": {"type": "json_schema", "schema": schema}}
    message = await run(backend, drawn("I want my money back", output_config=config))
    (block,) = message.content
    assert block.type == "text"
    jsonschema.validate(json.loads(block.text), schema)
    config = {"format": {"type": "choice", "choices": ['réd "x"', "blue\n"]}}
    message = await run(backend, drawn("Which?", output_config=config))
    assert [getattr(b, "text", "") for b in message.content][0] in ('réd "x"', "blue\n")


async def test_a_stop_sequence_is_told_and_not_shown(backend: OpenaiBackend) -> None:
    whole = await run(backend, drawn("What can you do?"))
    (block,) = whole.content
    assert block.type == "text"
    stop = block.text[4:9]
    cut = await run(backend, drawn("What can you do?", stop_sequences=["never", stop]))
    assert (cut.stop_reason, cut.stop_sequence) == ("stop_sequence", stop)
    assert [getattr(b, "text", "") for b in cut.content] == [block.text.partition(stop)[0]]


async def test_likelihoods_are_those_of_the_text(backend: OpenaiBackend) -> None:
    fields = drawn("Hello!", max_tokens=8).model_dump(exclude_unset=True)
    request = TunedRequest.model_validate({**fields, "logprobs": 2, "seed": 7})
    events = backend.stream(request, Attempt("req_test", "default"))
    deltas = [event.delta async for event in events if isinstance(event, BlockDelta)]
    texts = [delta for delta in deltas if isinstance(delta, TextDelta)]
    told = [one for delta in texts for one in delta.logprobs or ()]
    assert b"".join(one.data for one in told).decode() == "".join(d.text for d in texts)
    assert all(one.logprob <= 0 and len(one.top) == 2 for one in told)


async def test_the_window_bounds_prompts_and_answers(backend: OpenaiBackend) -> None:
    window = backend.capabilities.window
    with pytest.raises(InvalidRequest, match=r"^prompt is too long: "):
        await run(backend, drawn("x " * window))
    message = await run(backend, drawn("x " * (window - 100), max_tokens=4_000, temperature=1.0))
    assert message.stop_reason in ("model_context_window_exceeded", "end_turn")


async def test_leaving_frees_the_slot(backend: OpenaiBackend, address: str) -> None:
    config = {"format": {"type": "json_schema", "schema": {
        "type": "array", "items": {"type": "integer"}, "minItems": 600}}}  # fmt: skip
    request = drawn("Count.", max_tokens=1_900, output_config=config)

    async def busy() -> int:
        async with httpx.AsyncClient() as client:
            slots = (await client.get(f"{address}/slots")).json()
        return sum(slot["is_processing"] for slot in slots)

    events = backend.stream(request, Attempt("req_test", "default"))
    async with aclosing(events) as source:  # type: ignore[type-var]
        async for event in source:
            if isinstance(event, BlockDelta):
                break
        assert await busy() == 1
    async with asyncio.timeout(10):
        while await busy():
            await asyncio.sleep(0.02)
