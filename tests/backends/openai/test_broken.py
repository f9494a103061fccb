"""Nothing that a server says breaks the order of events: it is an answer, or a fault."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renga.backends.base import Attempt
from renga.backends.openai.quirks import QUIRKS
from renga.backends.remote import Cause
from renga.errors import BackendFailed, InvalidRequest, Overloaded, RengaError
from renga.events import Order, fold
from tests.backends.openai.recorded import BOTH
from tests.backends.openai.replaying import TOOL, asking, delta, frames, replayed


def called(index: int | None, name: str | None, text: Any, id: str | None = None) -> dict[str, Any]:
    return delta(
        tool_calls=[{"index": index, "id": id, "function": {"name": name, "arguments": text}}]
    )


BROKEN: dict[str, tuple[bytes, str, str]] = {
    "nothing": (b"", "empty_stream", "nothing"),
    "comments": (b": hello\n\n: still here\n\n", "empty_stream", "nothing"),
    "done at once": (b"data: [DONE]\n\n", "empty_stream", "nothing"),
    "no reason": (frames(delta(content="Hi")), "missing_stop", "without saying why"),
    "neither end": (frames(delta(content="Hi"), done=False), "missing_stop", "without saying why"),
    "given up": (frames(delta("abort", content="Hi")), "missing_stop", "'abort'"),
    "no JSON": (b"data: {not json\n\n", "malformed_json", "cannot be read"),
    "cut JSON": (frames(delta(content="Hi"))[:40] + b"\n\n", "malformed_json", "cannot be read"),
    "a cut event": (frames(delta(content="Hi"))[:40], "empty_stream", "nothing"),
    "not a chunk": (frames([1, 2]), "malformed_sse", "cannot be read"),
    "text of a number": (frames(delta(content=3)), "malformed_sse", "cannot be read"),
    "tokens below none": (
        frames({**delta("stop", content="Hi"), "usage": {"prompt_tokens": -1}}),
        "malformed_sse",
        "cannot be read",
    ),
    "nested": (b'data: {"error":' + b"[" * 100_000 + b"\n\n", "malformed_json", "cannot be read"),
    "unknown part": (
        frames(delta(content=[{"type": "audio"}])), "malformed_sse", "audio",
    ),
    "no arguments": (
        frames(called(0, "get_weather", '{"city"'), delta("tool_calls")),
        "malformed_json",
        "no JSON",
    ),
    "a nameless call": (
        frames(called(0, None, "{}"), delta("tool_calls")), "malformed_json", "without a name",
    ),
    "text inside a call": (
        frames(called(0, "get_weather", '{"city"'), delta(content="so"), delta("stop")),
        "malformed_json",
        "no JSON",
    ),
    "no room": (frames(delta("insufficient_system_resource")), "status_503", "out of room"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "cause", "words"), BROKEN.values(), ids=BROKEN.keys())
async def test_what_is_no_answer_is_a_fault_with_its_cause(
    data: bytes, cause: str, words: str
) -> None:
    with pytest.raises(RengaError, match=words) as caught:
        await replayed([data], asking(tools=[TOOL]))
    assert (caught.value.cause, caught.value.again) == (cause, True)
    assert "'b'" in caught.value.message


ERRORS: dict[str, tuple[Any, type[RengaError], str]] = {
    "OpenAI": ({"message": "The server had an error", "type": "server_error"}, BackendFailed,
               "status_500"),
    "OpenRouter": ({"code": 429, "message": "Rate limited"}, Overloaded, "status_429"),
    "OpenRouter's code": ({"code": "server_error", "message": "Provider disconnected"},
                          BackendFailed, "status_500"),
    "vLLM": ({"message": "bad", "type": "BadRequestError", "code": 400}, InvalidRequest,
             "status_400"),
    "llama.cpp": ({"code": 503, "message": "Loading model", "type": "unavailable_error"},
                  Overloaded, "status_503"),
    "Anthropic's": ({"type": "overloaded_error", "message": "Overloaded"}, Overloaded,
                    "status_529"),
    "words": ("something broke", BackendFailed, "status_500"),
}  # fmt: skip


@pytest.mark.parametrize(("said", "error", "cause"), ERRORS.values(), ids=ERRORS.keys())
@pytest.mark.parametrize("begun", [False, True])
async def test_an_error_inside_an_answer_is_that_error(
    said: Any, error: type[RengaError], cause: str, begun: bool
) -> None:
    before = [delta(content="Hi")] if begun else []
    with pytest.raises(error) as caught:
        await replayed([frames(*before, {"error": said, "choices": []})], asking())
    assert caught.value.cause == cause


async def test_an_error_at_a_choice_is_that_error() -> None:
    chunk = delta("error", content="")
    chunk["choices"][0]["error"] = {"code": 502, "message": "Provider disconnected"}
    with pytest.raises(BackendFailed, match="Provider disconnected") as caught:
        await replayed([frames(chunk)], asking())
    assert caught.value.cause == "status_502"


LONG = (
    "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens",
    "request (5011 tokens) exceeds the available context size (2048 tokens), try increasing it",
    "The input (5001 tokens) is longer than the model's context length (4096 tokens).",
)


@pytest.mark.parametrize("said", LONG)
async def test_a_prompt_that_its_server_finds_too_long_is_refused_in_the_words_of_the_api(
    said: str,
) -> None:
    with pytest.raises(InvalidRequest, match=r"^prompt is too long: ") as caught:
        await replayed([frames({"error": {"message": said, "code": 400}})], asking())
    assert said in caught.value.message


# --- anything at all ------------------------------------------------------------------------------

scalars = st.none() | st.booleans() | st.integers(-5, 50) | st.sampled_from(
    ["", " ", "stop", "length", "tool_calls", "get_weather", "{", "}", '{"city":"Oslo"}', "é"]
)  # fmt: skip
texts = st.none() | st.sampled_from(["", " ", "a", "\n\n", "some words", '{"a":', "1}", "{}"])
pieces = st.fixed_dictionaries(
    {},
    optional={
        "index": st.none() | st.integers(-1, 2),
        "id": st.none() | st.sampled_from(["a", "b"]),
        "function": st.none()
        | st.fixed_dictionaries(
            {},
            optional={
                "name": st.none() | st.sampled_from(["get_weather", "f"]),
                "arguments": texts | st.just({"city": "Oslo"}),
            },
        ),
    },
)
deltas = st.fixed_dictionaries(
    {},
    optional={
        "role": st.just("assistant"),
        "content": texts,
        "reasoning_content": texts,
        "reasoning": texts,
        "refusal": texts,
        "tool_calls": st.none() | st.lists(pieces, max_size=2),
    },
)
usages = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "prompt_tokens": st.none() | st.integers(0, 9),
        "completion_tokens": st.none() | st.integers(0, 9),
        "prompt_tokens_details": st.none()
        | st.fixed_dictionaries({"cached_tokens": st.none() | st.integers(0, 20)}),
        "completion_tokens_details": st.none()
        | st.fixed_dictionaries({"reasoning_tokens": st.none() | st.integers(0, 20)}),
    },
)
finishes = st.sampled_from(
    [None, None, None, "stop", "length", "tool_calls", "content_filter", "abort", "something"]
)
choices = st.builds(
    lambda d, finish, index: {"index": index, "delta": d, "finish_reason": finish},
    deltas | scalars,
    finishes,
    st.sampled_from([0, 0, 0, 1]),
)
chunks = st.fixed_dictionaries(
    {}, optional={"choices": st.lists(choices, max_size=2) | scalars, "usage": usages}
)


@given(st.lists(chunks, max_size=8), st.booleans(), st.sampled_from(sorted(QUIRKS)))
async def test_whatever_chunks_come_the_events_are_legal_or_the_fault_has_a_cause(
    said: list[Any], done: bool, quirks: str
) -> None:
    meter = Attempt("req_test", "default")
    try:
        events = await replayed([frames(*said, done=done)], BOTH, quirks, meter, has=("thinking",))
    except RengaError as error:
        cause = error.cause or ""
        if cause not in get_args(Cause) and not cause.startswith("status_"):
            raise
        return
    order = Order()
    for event in events:
        order.see(event)
    order.end()
    message = fold(events)
    assert meter.input is not None
    assert min(meter.input, meter.cache_read, meter.output) >= 0
    assert meter.thinking <= meter.output
    for block in message.content:
        if block.type == "text":
            assert block.text.strip()
        elif block.type == "thinking":
            assert block.thinking
    calls = [block for block in message.content if block.type == "tool_use"]
    if message.stop_reason == "tool_use":
        assert calls
    json.dumps(message.model_dump(mode="json"))
