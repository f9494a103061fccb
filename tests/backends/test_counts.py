"""What is counted is what is read: count_tokens, usage and the meter, for every kind of content.

On a real engine with a tiny model, whose template begins an answer inside its thought, or does not.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from renga.backends.base import Attempt
from renga.backends.local import LocalBackend
from renga.config import BackendConfig
from renga.errors import InvalidRequest
from renga.events import MessageStart
from renga.types import CountRequest, MessagesRequest
from tests.chat.templates import WITH_TOOLS
from tests.tiny_model import write_model

pytestmark = pytest.mark.asyncio(loop_scope="module")

BLOCK = 32
SHORT: Any = {"type": "ephemeral"}


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["shipped", "hermes"])
async def local(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[LocalBackend]:
    folder = write_model(tmp_path_factory.mktemp("tools"), template=WITH_TOOLS[request.param])
    config = BackendConfig(
        "small", model=str(folder), threads=1, kv_cache_mb=32, window=2_048, cache_minimum_tokens=32
    )
    backend = LocalBackend(config, home=folder)
    await backend.start()
    yield backend
    await backend.aclose()


# --- conversations --------------------------------------------------------------------------------

words = st.sampled_from(
    [
        "Hello",
        "two words",
        "<|im_end|>",
        "<tool_call>\n{}",
        "é 🦊",
        "The quick brown fox " * 4,
        "\n x",
    ]
)
marks = st.sampled_from([None, None, None, SHORT])
arguments = st.dictionaries(words, words | st.integers() | st.lists(words, max_size=2), max_size=2)


@st.composite
def tools(draw: Any) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "description": draw(words),
            "input_schema": {"type": "object", "properties": {draw(words): {"type": "string"}}},
            "cache_control": draw(marks),
        }
        for name in ("add", "look_up")
    ]


@st.composite
def sources(draw: Any) -> dict[str, Any]:
    """A document, or a search result."""
    mark, text = {"cache_control": draw(marks)}, {"type": "text", "text": draw(words)}
    if draw(st.booleans()):
        told = {"source": draw(words), "title": draw(words), "content": [text]}
        return {"type": "search_result", **told, **mark}
    plain = {"type": "text", "media_type": "text/plain", "data": draw(words)}
    source = draw(st.sampled_from([plain, {"type": "content", "content": [text, text]}]))
    title = draw(st.sampled_from([None, "A title"]))
    return {"type": "document", "source": source, "title": title, **mark}


@st.composite
def exchanges(draw: Any, nth: int) -> list[dict[str, Any]]:
    """A question, perhaps a call with its result, and an answer."""
    text = {"type": "text", "text": draw(words), "cache_control": draw(marks)}
    read = [text, *draw(st.lists(sources(), max_size=2))]
    turns: list[dict[str, Any]] = [{"role": "user", "content": read}]
    if draw(st.booleans()):
        turns.append({"role": "system", "content": draw(words)})
    if draw(st.booleans()):
        id_, told = f"toolu_{nth}", {"type": "text", "text": draw(words)}
        call = {"type": "tool_use", "id": id_, "name": "add", "input": draw(arguments)}
        result = {"type": "tool_result", "tool_use_id": id_, "cache_control": draw(marks)}
        content: Any = draw(
            st.sampled_from([None, "", draw(words), [told, told], [draw(sources())]])
        )
        failed = draw(st.booleans())
        turns += [
            {"role": "assistant", "content": [call]},
            {"role": "user", "content": [{**result, "content": content, "is_error": failed}]},
        ]
    return [*turns, {"role": "assistant", "content": draw(words).strip()}]


@st.composite
def bodies(draw: Any) -> dict[str, Any]:
    count = draw(st.integers(1, 3))
    turns = [turn for nth in range(count) for turn in draw(exchanges(nth))]
    if not draw(st.booleans()):
        turns.append({"role": "user", "content": draw(words)})
    body: dict[str, Any] = {"messages": turns, "cache_control": draw(marks)}
    if draw(st.booleans()):
        body["system"] = [{"type": "text", "text": draw(words), "cache_control": draw(marks)}]
    prefilled = turns[-1]["role"] == "assistant"
    if draw(st.booleans()):
        body["tools"] = draw(tools())
        choices = ["auto", "none", *([] if prefilled else ["any"])]
        body["tool_choice"] = {"type": draw(st.sampled_from(choices))}
    if not prefilled:
        body["thinking"] = draw(st.sampled_from([None, {"type": "disabled"}, {"type": "adaptive"}]))
        body["output_config"] = {"effort": draw(st.sampled_from(["low", "high"]))}
    return body


def fewer_marks(value: Any, left: list[int]) -> Any:
    """`value` with so many of its marks that a request may carry."""
    if isinstance(value, dict):
        kept = {k: fewer_marks(v, left) for k, v in value.items()}
        if kept.get("cache_control"):
            left[0] -= 1
            kept["cache_control"] = SHORT if left[0] >= 0 else None
        return kept
    return [fewer_marks(v, left) for v in value] if isinstance(value, list) else value


async def usage_of(local: LocalBackend, body: dict[str, Any], workspace: str) -> Any:
    """The usage at the beginning of an answer; the meter says the same."""
    request = MessagesRequest.model_validate({"model": "haiku", "max_tokens": 1, **body})
    meter = Attempt("req", workspace)
    events = [event async for event in local.stream(request, meter)]
    assert isinstance(events[0], MessageStart)
    usage = events[0].message.usage
    assert meter.input == usage.input_tokens
    assert meter.cache_read == usage.cache_read_input_tokens
    assert meter.cache_write_5m + meter.cache_write_1h == usage.cache_creation_input_tokens
    return usage


def total(usage: Any) -> int:
    read, written = usage.cache_read_input_tokens, usage.cache_creation_input_tokens
    assert read % BLOCK == written % BLOCK == 0
    return int(usage.input_tokens + read + written)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(drawn=bodies(), number=st.integers(0, 10**9))
async def test_what_is_counted_is_what_is_read(
    local: LocalBackend, drawn: dict[str, Any], number: int
) -> None:
    body = fewer_marks(drawn, [4])
    counted = await local.count_tokens(CountRequest.model_validate({"model": "haiku", **body}))
    first = await usage_of(local, body, str(number))
    again = await usage_of(local, body, str(number))
    assert counted == total(first) == total(again)
    assert again.cache_creation_input_tokens == 0
    assert again.cache_read_input_tokens == (
        first.cache_creation_input_tokens + first.cache_read_input_tokens
    )


async def test_thinking_that_is_given_is_read_and_counted(local: LocalBackend) -> None:
    def body(thoughts: str) -> dict[str, Any]:
        thought = {"type": "thinking", "thinking": thoughts, "signature": "s"}
        call = {"type": "tool_use", "id": "t", "name": "add", "input": {"a": 1}}
        answered = {"type": "tool_result", "tool_use_id": "t", "content": "2"}
        turns = [
            {"role": "user", "content": "Go"},
            {"role": "assistant", "content": [thought, call]},
            {"role": "user", "content": [answered]},
        ]
        return {"messages": turns, "thinking": {"type": "adaptive"}, "max_tokens": 20}

    sizes = []
    for thoughts in ("", "The quick brown fox jumps over the lazy dog. "):
        asked = CountRequest.model_validate(
            {"model": "haiku", **{k: v for k, v in body(thoughts).items() if k != "max_tokens"}}
        )
        sizes.append(await local.count_tokens(asked))
    assert sizes[1] > sizes[0] + 8


async def test_a_conversation_with_tools_reads_what_the_turn_before_it_left(
    local: LocalBackend,
) -> None:
    """As agents do it: a mark at the end of the head, one on the request, ever longer."""
    schema = {"type": "object", "properties": {"a": {"type": "integer", "description": "fox " * 9}}}
    head: dict[str, Any] = {
        "system": [{"type": "text", "text": "The quick brown fox. " * 3, "cache_control": SHORT}],
        "tools": [{"name": "add", "description": "lazy dog " * 9, "input_schema": schema}],
        "cache_control": SHORT,
    }
    turns: list[dict[str, Any]] = [{"role": "user", "content": "Add it up. " * 9}]
    left = 0
    for nth in range(4):
        usage = await usage_of(local, {**head, "messages": turns}, "agent")
        assert usage.cache_read_input_tokens == left
        assert nth == 0 or usage.cache_creation_input_tokens > 0
        left += usage.cache_creation_input_tokens
        told = {"type": "tool_result", "tool_use_id": f"t{nth}", "content": f"{nth} foxes. " * 9}
        call = {"type": "tool_use", "id": f"t{nth}", "name": "add", "input": {"a": nth}}
        turns = [
            *turns,
            {"role": "assistant", "content": [call]},
            {"role": "user", "content": [told]},
        ]
    other = await usage_of(
        local, {**head, "messages": [{"role": "user", "content": "Hi"}]}, "agent"
    )
    tokens = 3 * BLOCK
    assert other.cache_read_input_tokens > tokens, "system text and tools are read by all"
    changed = [{**head["tools"][0], "description": "other"}]
    body = {**head, "tools": changed, "messages": [{"role": "user", "content": "Hi"}]}
    assert (await usage_of(local, body, "agent")).cache_read_input_tokens == 0


async def test_no_grammar_of_calls_is_made_to_count_or_for_what_is_too_long(local):
    # One that cannot be made says so.
    schema = {"type": "object", "properties": {"a": {"type": "poem"}}, "required": ["a"]}
    tool = {"name": "add", "strict": True, "input_schema": schema}
    body = {"model": "haiku", "tools": [tool], "max_tokens": 5}

    def saying(text: str) -> dict[str, Any]:
        return {**body, "messages": [{"role": "user", "content": text}]}

    async def refusal(text: str) -> str:
        with pytest.raises(InvalidRequest) as refused:
            async for _ in local.stream(
                MessagesRequest.model_validate(saying(text)), Attempt("r", "w")
            ):
                pass
        return refused.value.message

    counted = {name: v for name, v in saying("hi").items() if name != "max_tokens"}
    assert await local.count_tokens(CountRequest.model_validate(counted)) > 9
    assert (await refusal("hi")).startswith("tools.0.input_schema")
    assert (await refusal("hi " * 3_000)).startswith("prompt is too long")
