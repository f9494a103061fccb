"""What servers of OpenAI's chat API say, replayed: every form of them, cut at every byte."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import RawMessageStreamEvent
from pydantic import TypeAdapter

from renga.backends.base import Attempt
from renga.events import Event, MessageStart, fold
from renga.types import Message
from tests.backends.openai.recorded import RECORDED, Recorded
from tests.backends.openai.replaying import Replay, backend_on, replayed

CASES = pytest.mark.parametrize("one", RECORDED.values(), ids=RECORDED.keys())


def shown(message: Message) -> list[dict[str, Any]]:
    """The blocks without what nobody can foresee."""
    dropped = {"id", "caller", "citations", "signature"}
    return [
        {k: v for k, v in block.model_dump().items() if k not in dropped}
        for block in message.content
    ]


def settings(one: Recorded) -> dict[str, Any]:
    """A model that can do what its request asks, whatever the row assumes."""
    return {"has": ("thinking",)} if one.request.thinking else {}


@CASES
async def test_an_answer_is_the_message_that_its_server_meant(one: Recorded) -> None:
    meter = Attempt("req_test", "default")
    events = await replayed([one.data], one.request, one.quirks, meter, **settings(one))
    message = fold(events)
    assert shown(message) == one.content
    assert (message.stop_reason, message.stop_sequence) == (one.reason, one.stopped)
    assert meter.estimated == one.estimated
    usage = message.usage
    counted = (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens)
    if one.estimated:
        assert min(usage.input_tokens, usage.output_tokens) > 0
    else:
        assert counted == one.usage
    assert (meter.input, meter.cache_read, meter.output) == counted
    if one.thinking is not None:
        assert usage.output_tokens_details is not None
        assert usage.output_tokens_details.thinking_tokens == meter.thinking == one.thinking


@CASES
async def test_the_official_accumulator_builds_the_same_message(one: Recorded) -> None:
    events = await replayed([one.data], one.request, one.quirks, **settings(one))
    theirs: Any = None
    adapter: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
    buffers: dict[int, bytes] = {}
    for event in events:
        raw = adapter.validate_python(event.model_dump(mode="json"))
        theirs = accumulate_event(event=raw, current_snapshot=theirs, json_bufs=buffers)
    ours = fold(events)
    built = [block.model_dump(mode="json", exclude_none=True) for block in theirs.content]
    assert built == [block.model_dump(mode="json", exclude_none=True) for block in ours.content]
    assert (theirs.stop_reason, theirs.stop_sequence) == (ours.stop_reason, ours.stop_sequence)


def without_ids(events: list[Event]) -> list[dict[str, Any]]:
    dumped = [event.model_dump() for event in events]
    for event in dumped:
        event.get("content_block", {}).pop("id", None)
    return dumped


@CASES
async def test_where_bytes_are_cut_changes_nothing(one: Recorded) -> None:
    replay = Replay([one.data])
    backend = await backend_on(replay, one.quirks, **settings(one))

    async def run(*pieces: bytes) -> list[dict[str, Any]]:
        replay.pieces = pieces
        meter = Attempt("req_test", "default")
        return without_ids([event async for event in backend.stream(one.request, meter)])

    whole = await run(one.data)
    assert await run(*(bytes([byte]) for byte in one.data)) == whole
    for at in range(1, len(one.data)):
        assert await run(one.data[:at], one.data[at:]) == whole, f"cut at byte {at}"


@CASES
async def test_an_answer_that_was_asked_for_whole_is_the_same(one: Recorded) -> None:
    """The same content as one message, as these servers send it without `stream`."""
    if one.quirks == "openai" and one.request.stop_sequences:
        pytest.skip("such an answer is not asked for whole")
    streamed = fold(await replayed([one.data], one.request, one.quirks, **settings(one)))
    request = one.request.model_copy(update={"stream": False})
    replay = Replay([_whole(one, streamed)])
    backend = await backend_on(replay, one.quirks, **settings(one))
    meter = Attempt("req_test", "default")
    whole = fold([event async for event in backend.stream(request, meter)])
    assert shown(whole) == shown(streamed)
    assert whole.stop_reason == streamed.stop_reason
    ((_, body),) = replay.asked
    assert "stream" not in body


def _whole(one: Recorded, message: Message) -> bytes:
    """A whole answer that says what `message` does."""
    fields: dict[str, Any] = {"role": "assistant", "content": None}
    for block in message.content:
        if block.type == "text":
            key = "refusal" if one.reason == "refusal" else "content"
            fields[key] = (fields.get(key) or "") + block.text
        elif block.type == "thinking":
            fields["reasoning_content"] = block.thinking
        elif block.type == "tool_use":
            function = {"name": block.name, "arguments": json.dumps(block.input)}
            call = {"id": block.id, "type": "function", "function": function}
            fields.setdefault("tool_calls", []).append(call)
    finish = {
        "tool_use": "tool_calls",
        "max_tokens": "length",
        "model_context_window_exceeded": "model_length",
    }.get(one.reason, "stop")
    choice = {"index": 0, "message": fields, "finish_reason": finish, "logprobs": None}
    if one.stopped:
        choice |= {"stop_reason": one.stopped}
    return json.dumps({"object": "chat.completion", "choices": [choice]}).encode()


async def test_a_stream_that_tells_tokens_first_tells_them_in_the_first_event() -> None:
    for name in ("vllm_text", "llamacpp_text"):
        one = RECORDED[name]
        events = await replayed([one.data], one.request, one.quirks)
        assert isinstance(events[0], MessageStart)
        usage = events[0].message.usage
        assert usage.input_tokens + usage.cache_read_input_tokens == sum(one.usage[:2])


async def test_a_stop_sequence_found_here_leaves_the_server() -> None:
    one = RECORDED["openai_stopped"]
    replay = Replay([one.data])
    backend = await backend_on(replay, one.quirks)
    meter = Attempt("req_test", "default")
    assert [event async for event in backend.stream(one.request, meter)]
    assert replay.replies[0].left
    assert "stop" not in replay.asked[0][1]


async def test_thinking_that_nobody_asked_for_is_not_shown_and_is_paid() -> None:
    one = RECORDED["sglang_thinking"]
    request = one.request.model_copy(update={"thinking": None})
    meter = Attempt("req_test", "default")
    message = fold(await replayed([one.data], request, one.quirks, meter))
    assert [block.type for block in message.content] == ["text"]
    assert (meter.output, meter.thinking) == (9, 4)


async def test_a_caller_who_wants_one_call_gets_one() -> None:
    one = RECORDED["openai_calls"]
    choice = {"type": "auto", "disable_parallel_tool_use": True}
    fields = one.request.model_dump(exclude_unset=True) | {"tool_choice": choice}
    request = type(one.request).model_validate(fields)
    message = fold(await replayed([one.data], request, one.quirks))
    assert shown(message) == one.content[:1]
    assert message.stop_reason == "tool_use"


async def test_an_answer_of_no_tokens_is_the_prompt_alone() -> None:
    one = replace(RECORDED["vllm_text"])
    request = one.request.model_copy(update={"max_tokens": 0})
    meter = Attempt("req_test", "default")
    message = fold(await replayed([one.data], request, one.quirks, meter))
    assert (message.content, message.stop_reason, meter.output) == ([], "max_tokens", 0)
    assert (message.usage.input_tokens, message.usage.cache_read_input_tokens) == (5, 16)
