"""Answers of another server of the Messages API: as published, however they are cut."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from anthropic._streaming import SSEDecoder
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import RawMessageStreamEvent
from pydantic import TypeAdapter

from renga.backends.base import Attempt
from renga.backends.messages import MessagesBackend
from renga.backends.messages.answer import Answer
from renga.backends.remote.faults import Cause, fault
from renga.config import BackendConfig
from renga.errors import BackendFailed, Overloaded, RengaError, SetupError
from renga.events import Event, fold
from renga.media.documents import Documents
from renga.media.transcribing import Transcribing
from renga.types import MessagesRequest
from tests.backends.messages import streams
from tests.backends.messages.replaying import Replaying, replaying
from tests.media.pictures import pdf

STREAMS = {
    "text": streams.TEXT,
    "thinking and tools": streams.THINKING_AND_TOOLS,
    "refused": streams.REFUSED,
}


@asynccontextmanager
async def backend(server: Replaying, **settings: Any) -> AsyncIterator[MessagesBackend]:
    given = {"timeout_s": 10.0, "api_key": "sk-far", "urls": (server.url,), **settings}
    made = MessagesBackend(BackendConfig("far", "messages", model="claude-far-1", **given))
    await made.start()
    try:
        yield made
    finally:
        await made.aclose()


def ask(text: str = "Hello", **fields: Any) -> MessagesRequest:
    turns = [{"role": "user", "content": text}]
    given = {"model": "opus", "max_tokens": 500, "messages": turns, **fields}
    return MessagesRequest.model_validate(given)


async def run(
    made: MessagesBackend, request: MessagesRequest, meter: Attempt | None = None
) -> list[Event]:
    meter = meter or Attempt("req_1", "default")
    found = []
    async for event in made.stream(request, meter):
        meter.see(event)
        found.append(event)
    return found


def as_the_sdk_builds_it(stream: bytes) -> dict[str, Any]:
    adapter: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    for event in SSEDecoder().iter_bytes(iter([stream])):
        if event.event in (None, "ping", "a_new_event") or "a_new_delta" in event.data:
            continue
        raw = adapter.validate_json(event.data)
        snapshot = accumulate_event(event=raw, current_snapshot=snapshot, json_bufs=buffers)
    built: dict[str, Any] = snapshot.model_dump(mode="json")
    return built


def unmarked(content: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without what says that thinking is `far`'s."""
    for block in content:
        for name in ("signature", "data"):
            if name in block:
                assert block[name].startswith("far:")
                block[name] = block[name].removeprefix("far:")
    return content


NOT_COMPARED = ("citations", "caller", "a_new_field", "toolset_name")


def compared(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in block.items() if k not in NOT_COMPARED} for block in blocks]


@pytest.mark.parametrize("name", STREAMS)
async def test_a_stream_amounts_to_what_the_sdk_makes_of_it(name: str) -> None:
    async with replaying(body=STREAMS[name]) as server, backend(server) as made:
        message = fold(await run(made, ask(stream=True)))
    ours, theirs = message.model_dump(mode="json"), as_the_sdk_builds_it(STREAMS[name])
    assert compared(unmarked(ours["content"])) == compared(theirs["content"])
    assert (ours["stop_reason"], ours["stop_sequence"]) == (
        theirs["stop_reason"],
        theirs["stop_sequence"],
    )
    if theirs["stop_details"]:
        told = {k: v for k, v in theirs["stop_details"].items() if k != "a_new_field"}
        assert ours["stop_details"] == told
    for name_ in ("input_tokens", "output_tokens"):
        assert ours["usage"][name_] == theirs["usage"][name_]


class Cut:
    """What a reply says of a fault; `Answer` asks for no more of one."""

    backend = "far"

    def fault(self, cause: Cause, words: str = "") -> RengaError:
        return fault(cause, "far", words)


def replayed(pieces: list[bytes]) -> list[Event]:
    """The events of a stream in these pieces, without a connection."""
    from renga.backends.remote.sse import Parser

    answer, parser, reply = Answer("far", Attempt("r", "w")), Parser(), Cut()
    found: list[Event] = []
    for piece in pieces:
        for event in parser.feed(piece):
            found += answer.see(*event, reply)
    if last := parser.end():
        found += answer.see(*last, reply)
    found += answer.end(reply)
    return found


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_cut_at_any_byte_has_the_same_events(name: str) -> None:
    stream = STREAMS[name]
    whole = replayed([stream])
    for at in range(len(stream)):
        assert replayed([stream[:at], stream[at:]]) == whole


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_that_ends_at_any_byte_is_whole_or_an_error_with_its_cause(name: str) -> None:
    stream, causes = STREAMS[name], set()
    whole = fold(replayed([stream]))
    for at in range(len(stream)):
        try:
            found = fold(replayed([stream[:at]]))
        except RengaError as error:
            causes.add(error.cause)
        else:
            assert found == whole
    assert causes == {"missing_stop", "empty_stream"}


async def test_a_stream_in_many_pieces_comes_through_a_connection() -> None:
    stream = streams.THINKING_AND_TOOLS
    cut = range(1, len(stream), 3)
    async with replaying(body=stream, cut=cut) as server, backend(server) as made:
        assert await run(made, ask(stream=True)) == replayed([stream])


async def test_an_answer_is_over_with_its_last_event_whether_or_not_the_stream_ends() -> None:
    stream = streams.TEXT
    async with (
        replaying(body=stream, ends=False) as server,
        backend(server, timeout_s=0.5) as made,
    ):
        assert await run(made, ask(stream=True)) == replayed([stream])


@pytest.mark.parametrize(
    ("stream", "whole"),
    [
        (streams.TEXT, streams.TEXT_WHOLE),
        (streams.THINKING_AND_TOOLS, streams.THINKING_AND_TOOLS_WHOLE),
    ],
)
async def test_an_answer_in_one_piece_is_the_one_that_is_streamed(
    stream: bytes, whole: bytes
) -> None:
    async with replaying(body=whole) as server, backend(server) as made:
        plain, meter = ask(), Attempt("r", "w")
        message = fold(await run(made, plain, meter))
    other = Attempt("r", "w")
    for event in replayed([stream]):
        other.see(event)
    assert message == fold(replayed([stream]))
    assert meter.tokens() == other.tokens()
    assert "stream" not in server.bodies[-1]


async def test_usage_is_taken_over_class_by_class() -> None:
    meter = Attempt("r", "w")
    async with replaying(body=streams.TEXT) as server, backend(server) as made:
        await run(made, ask(stream=True), meter)
    tokens = meter.tokens()
    assert (tokens.input, tokens.cache_read, tokens.cache_write_5m, tokens.cache_write_1h) == (
        21,
        1_800,
        20,
        100,
    )
    assert (tokens.output, meter.estimated) == (15, False)


def changed(stream: bytes, old: str, new: str) -> bytes:
    assert stream.count(old.encode()) == 1
    return stream.replace(old.encode(), new.encode())


def test_counts_that_come_at_the_end_are_the_ones_that_are_billed() -> None:
    usage = '"usage":{"output_tokens":89}'
    late = '"usage":{"output_tokens":89,"input_tokens":7,"cache_read_input_tokens":400,' + (
        '"cache_creation_input_tokens":65}'
    )
    meter = Attempt("r", "w")
    for event in replayed([changed(streams.THINKING_AND_TOOLS, usage, late)]):
        meter.see(event)
    assert (meter.input, meter.cache_read, meter.cache_write_5m) == (7, 400, 65)


async def test_what_was_said_before_a_cut_is_metered_and_marked_as_an_estimate() -> None:
    meter = Attempt("r", "w")
    cut = streams.TEXT[: streams.TEXT.index(b"event: content_block_stop")]
    async with replaying(body=cut) as server, backend(server) as made:
        with pytest.raises(BackendFailed) as told:
            await run(made, ask(stream=True), meter)
    assert told.value.cause == "missing_stop"
    assert (meter.input, meter.output, meter.estimated) == (21, 4, True)


async def test_an_error_in_the_middle_is_told_with_its_words() -> None:
    found: list[Event] = []
    async with replaying(body=streams.OVERLOADED) as server, backend(server) as made:
        with pytest.raises(Overloaded, match=r"'far' .*: Overloaded") as told:
            async for event in made.stream(ask(stream=True), Attempt("r", "w")):
                found.append(event)  # noqa: PERF401 - what came before the error is what counts
    assert told.value.cause == "status_529"
    assert [event.type for event in found] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
    ]


@pytest.mark.parametrize(
    ("old", "new", "cause"),
    [
        ('"index":2,"delta":{"type":"text_delta"', '"index":7,"delta":{"type":"text_delta"', "sse"),
        ('"type":"text_delta","text":"Let me look."', '"type":"text_delta","text":5', "sse"),
        ('"type":"text_delta","text":"Let me look."', '"type":"text_delta"', "sse"),
        ('"delta":{"type":"text_delta","text":"Let me look."}', '"delta":null', "sse"),
        ('{"type":"text","text":""}', '{"type":"web_search_tool_result","content":[]}', "sse"),
        ('{"type":"text","text":""}', "[]", "sse"),
        ('"usage":{"input_tokens":472,"output_tokens":2}', '"usage":{}', "sse"),
        ('"usage":{"input_tokens":472,"output_tokens":2}', '"usage":{"input_tokens":-1}', "sse"),
        ('{"type":"message_stop"}', '{"type":"message_stop"', "json"),
        ('{"type":"message_stop"}', '"message_stop"', "sse"),
        ('"stop_reason":"tool_use"', '"stop_reason":7', "none"),
        ('"stop_reason":"tool_use"', '"stop_reason":null', "stop"),
    ],
)
def test_what_is_not_as_published_is_an_error_and_never_a_wrong_answer(
    old: str, new: str, cause: str
) -> None:
    stream = changed(streams.THINKING_AND_TOOLS, old, new)
    causes = {"sse": "malformed_sse", "json": "malformed_json", "stop": "malformed_sse"}
    if cause == "none":  # a reason that is not known here: the answer is whole nonetheless
        assert fold(replayed([stream])).stop_reason == "end_turn"
        return
    with pytest.raises(RengaError) as told:
        replayed([stream])
    assert told.value.cause == causes[cause]


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (b"[]", "malformed_json"),
        (b"{}", "malformed_json"),
        (b'{"content": [], "usage": {"input_tokens": 1}}', "missing_stop"),
        (b'{"content": [7], "usage": {"input_tokens": 1}, "stop_reason": "x"}', "malformed_sse"),
        (b'{"type": "error", "error": {"type": "overloaded_error"}}', "status_529"),
        (b"", "empty_stream"),
    ],
)
async def test_an_answer_in_one_piece_that_is_none_is_an_error(body: bytes, cause: str) -> None:
    async with replaying(body=body) as server, backend(server) as made:
        with pytest.raises(RengaError) as told:
            await run(made, ask())
    assert told.value.cause == cause


# --- what is asked --------------------------------------------------------------------------------


async def test_a_request_goes_out_nearly_as_it_came_in() -> None:
    mark = {"type": "ephemeral", "ttl": "1h"}
    tools = [
        {"name": "look", "input_schema": {"type": "object", "default": None}, "cache_control": mark}
    ]
    given = {
        "system": [{"type": "text", "text": "Be brief.", "cache_control": mark}],
        "tools": tools,
        "tool_choice": {"type": "any"},
        "stop_sequences": ["!"],
        "metadata": {"user_id": "u"},
        "thinking": {"type": "adaptive", "display": "omitted"},
        "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": {}}},
        "cache_control": {"type": "ephemeral"},
    }
    request = ask("Zürich 🦆", stream=True, **given)
    async with replaying(body=streams.TEXT) as server, backend(server) as made:
        await run(made, request)
    (sent,), (headers,) = server.bodies, server.heads
    written: dict[str, Any] = {"defer_loading": False, "strict": False}
    assert sent == {
        "model": "claude-far-1",
        "max_tokens": 500,
        "stream": True,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Zürich 🦆"}]}],
        **given,
        "tools": [{**tools[0], **written}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": False},
    }
    assert (headers["x-api-key"], headers["anthropic-version"]) == ("sk-far", "2023-06-01")
    assert headers["content-type"] == "application/json"
    assert "anthropic-beta" not in headers


async def test_what_the_server_does_itself_is_not_asked_for_again() -> None:
    edits = {"edits": [{"type": "clear_thinking_20251015"}]}
    document = {
        "type": "document",
        "source": {"type": "text", "media_type": "text/plain", "data": "It rains."},
        "citations": {"enabled": True},
    }
    turns = [{"role": "user", "content": [document, {"type": "text", "text": "Does it?"}]}]
    search = {"type": "tool_search_tool_bm25_20251119", "name": "tool_search_tool_bm25"}
    late = {"name": "late", "input_schema": {"type": "object"}, "defer_loading": True}
    request = ask(
        context_management=edits, messages=turns, tools=[search, late], diagnostics={}, stream=True
    )
    async with replaying(body=streams.TEXT) as server, backend(server) as made:
        await run(made, request)
    (sent,) = server.bodies
    assert "context_management" not in sent
    assert "diagnostics" not in sent
    assert "citations" not in sent["messages"][0]["content"][0]
    assert [tool["name"] for tool in sent["tools"]] == ["tool_search_tool_bm25", "late"]
    assert "type" not in sent["tools"][0]
    assert sent["tools"][0]["input_schema"]["type"] == "object"
    assert sent["tools"][1]["defer_loading"]


@pytest.mark.parametrize("lacks", [(), ("pdfs",)])
async def test_a_pdf_stays_one_where_the_server_reads_them(lacks: tuple[str, ...]) -> None:
    data = base64.b64encode(pdf("It rains in Zürich.")).decode()
    source = {"type": "base64", "media_type": "application/pdf", "data": data}
    turns = [{"role": "user", "content": [{"type": "document", "source": source}]}]
    documents = Documents()
    async with (
        replaying(body=streams.TEXT_WHOLE) as server,
        backend(server, lacks=lacks) as made,
    ):
        reading = Transcribing(made, documents)
        async for _ in reading.stream(ask(messages=turns), Attempt("r", "w")):
            pass
    await documents.aclose()
    sent = server.bodies[0]["messages"][0]["content"][0]["source"]
    assert (sent == source) == (not lacks)
    if lacks:
        assert any("It rains" in block.get("text", "") for block in sent["content"])


def back(*blocks: dict[str, Any]) -> MessagesRequest:
    turns = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": list(blocks)},
        {"role": "user", "content": "And?"},
    ]
    return ask(messages=turns)


async def test_what_it_signed_goes_back_as_it_was_and_what_others_signed_does_not() -> None:
    thought = {"type": "thinking", "thinking": "hm", "signature": "far:EqoB+/="}
    hidden = {"type": "redacted_thinking", "data": "far:Emw"}
    others = [
        {"type": "thinking", "thinking": "hm", "signature": "near:EqoB"},
        {"type": "thinking", "thinking": "hm", "signature": ""},
        {"type": "redacted_thinking", "data": "Emw"},
    ]
    text = {"type": "text", "text": "Well."}
    async with replaying(body=streams.TEXT_WHOLE) as server, backend(server) as made:
        await run(made, back(thought, hidden, *others, text))
        await run(made, back(*others))
    first, second = server.bodies
    assert first["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": "EqoB+/="},
        {"type": "redacted_thinking", "data": "Emw"},
        text,
    ]
    assert [turn["role"] for turn in second["messages"]] == ["user", "user"]


async def test_a_screen_names_the_beta_that_it_is_behind() -> None:
    screen = {
        "type": "computer_20250124",
        "name": "computer",
        "display_width_px": 800,
        "display_height_px": 600,
    }
    async with replaying(body=streams.TEXT_WHOLE) as server, backend(server) as made:
        await run(made, ask(tools=[screen]))
    assert server.heads[0]["anthropic-beta"] == "computer-use-2025-01-24"


# --- what it can do -------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
async def test_a_url_may_end_as_those_of_other_apis_do(suffix: str) -> None:
    async with (
        replaying(body=streams.TEXT_WHOLE) as server,
        backend(server, urls=(server.url + suffix,)) as made,
    ):
        await run(made, ask())
    assert server.paths == ["/v1/messages"]


async def test_the_prompt_is_counted_by_the_server() -> None:
    async with replaying(count={"input_tokens": 77}) as server, backend(server) as made:
        assert await made.count_tokens(ask(system="Be brief.", stream=True)) == 77
        (sent,) = server.bodies
        assert set(sent) == {"model", "messages", "system"}
        wrong: Any
        for wrong in ({}, {"input_tokens": "7"}, {"input_tokens": -1}, {"input_tokens": True}, []):
            server.count = wrong
            with pytest.raises(BackendFailed):
                await made.count_tokens(ask())


async def test_its_list_of_models_says_what_it_can_do() -> None:
    no = {"supported": False}
    info = {
        "id": "claude-far-1",
        "max_input_tokens": 90_000,
        "max_tokens": 8_000,
        "capabilities": {
            "image_input": no,
            "structured_outputs": {"supported": True},
            "thinking": {"supported": True, "types": {"adaptive": no}},
            "effort": {"supported": True, "max": no},
        },
    }
    async with replaying(models=info) as server, backend(server) as made:
        able = made.capabilities
        assert (able.window, able.max_output) == (90_000, 8_000)
        assert not able.images
        assert able.structured_output
        assert able.thinking == {"enabled", "disabled"}
        assert "max" not in able.efforts
        assert "high" in able.efforts
    async with replaying(models=info) as server, backend(server, window=5_000) as made:
        assert made.capabilities.window == 5_000


@pytest.mark.parametrize("models", [{}, [], "x", {"capabilities": 7, "max_tokens": "x"}])
async def test_a_list_of_models_that_says_nothing_takes_nothing_away(models: Any) -> None:
    async with (
        replaying(models=models, body=streams.TEXT_WHOLE) as server,
        backend(server) as made,
    ):
        able = made.capabilities
        assert (able.window, able.images, able.tools) == (200_000, True, True)
        assert fold(await run(made, ask())).stop_sequence == "!"


async def test_what_is_configured_goes_before_what_is_said() -> None:
    async with replaying(models={"capabilities": {"image_input": {"supported": False}}}) as server:
        settings = {"has": ("images",), "lacks": ("thinking", "tools"), "max_output": 99}
        async with backend(server, **settings) as made:
            able = made.capabilities
    assert (able.images, able.tools, able.max_output) == (True, False, 99)
    assert able.thinking == {"disabled"}
    assert not able.efforts


@pytest.mark.parametrize(
    ("settings", "hint"),
    [
        ({"has": ("image",)}, "did you mean 'images'"),
        ({"lacks": ("everything",)}, "accepted: documents, images, pdfs"),
        ({"has": ("tools",), "lacks": ("tools",)}, "leave one out"),
    ],
)
def test_an_ability_that_is_none_is_refused(settings: dict[str, Any], hint: str) -> None:
    with pytest.raises(SetupError) as told:
        MessagesBackend(BackendConfig("far", "messages", urls=("http://x",), **settings))
    assert hint in told.value.hint


def test_the_streams_are_what_they_say() -> None:
    for stream in STREAMS.values():
        for event in SSEDecoder().iter_bytes(iter([stream])):
            assert json.loads(event.data)["type"] == event.event
