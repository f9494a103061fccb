"""What is asked of servers of OpenAI's chat API, and how it is found out which server it is."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from typing import Any

import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming
from pydantic import TypeAdapter

from renga.backends.base import Attempt
from renga.backends.openai.quirks import QUIRKS
from renga.errors import InvalidRequest, SetupError
from renga.types import MessagesRequest, TunedRequest
from tests.backends.openai.replaying import TOOL, Replay, asking, backend_on, delta, frames

PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
URL = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Oslo"}}
DOCUMENT = {
    "type": "document",
    "source": {"type": "text", "media_type": "text/plain", "data": "Snow falls."},
}
THEIRS: TypeAdapter[Any] = TypeAdapter(CompletionCreateParamsStreaming)
GOOD = frames(delta("stop", content="Hi"))


async def asked(request: MessagesRequest, quirks: str = "generic", **settings: Any) -> Any:
    replay = Replay([GOOD], {"/../tokenize": {"count": 7}})
    replay.looked_up["/chat/completions/input_tokens"] = {"input_tokens": 7}
    backend = await backend_on(replay, quirks, **settings)
    events = backend.stream(request, Attempt("req_test", "default"))
    async with aclosing(events) as source:  # type: ignore[type-var]
        assert [event async for event in source]
    return [body for path, body in replay.asked if path == "/chat/completions"][0]


def conversation(**fields: Any) -> MessagesRequest:
    result = {
        "type": "tool_result",
        "tool_use_id": "toolu_1",
        "content": [{"type": "text", "text": "rain"}, IMAGE, {"type": "text", "text": "9 degrees"}],
        "is_error": True,
    }
    body = {
        "model": "haiku",
        "max_tokens": 99,
        "stream": True,
        "system": [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}],
        "tools": [TOOL],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Look:"}, IMAGE, DOCUMENT]},
            {"role": "assistant", "content": [{"type": "text", "text": "I look."}, CALL]},
            {"role": "user", "content": [result, {"type": "text", "text": "And now?"}]},
            {"role": "system", "content": "Be quick."},
        ],
        **fields,
    }
    return MessagesRequest.model_validate(body)


async def test_a_conversation_stands_in_their_words_where_it_stood() -> None:
    body = await asked(conversation(), has=("images",))
    system, user, answer, result, seen, more, quick = body["messages"]
    assert system == {"role": "system", "content": "Be brief.\n\nBe kind."}
    text, image, document = user["content"]
    assert (user["role"], text["text"], image) == ("user", "Look:\n\n", URL)
    assert "Snow falls." in document["text"]
    assert (answer["content"], answer["tool_calls"][0]["id"]) == ("I look.", "toolu_1")
    assert json.loads(answer["tool_calls"][0]["function"]["arguments"]) == {"city": "Oslo"}
    assert result["tool_call_id"] == "toolu_1"
    assert result["content"].startswith("Error: rain")
    assert result["content"].endswith("9 degrees")
    assert seen == {"role": "user", "content": [URL]}
    assert (more["role"], more["content"]) == ("user", "And now?")
    assert quick == {"role": "system", "content": "Be quick."}


CHOICES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"type": "auto"}, {}),
    ({"type": "auto", "disable_parallel_tool_use": True}, {"parallel_tool_calls": False}),
    ({"type": "any"}, {"tool_choice": "required"}),
    ({"type": "none"}, {"tool_choice": "none"}),
    (
        {"type": "tool", "name": "get_weather"},
        {"tool_choice": {"type": "function", "function": {"name": "get_weather"}}},
    ),
]


@pytest.mark.parametrize(("choice", "wanted"), CHOICES)
async def test_every_choice_of_tools_has_its_words(
    choice: dict[str, Any], wanted: dict[str, Any]
) -> None:
    body = await asked(asking(tools=[TOOL], tool_choice=choice))
    found = {k: v for k, v in body.items() if k in ("tool_choice", "parallel_tool_calls")}
    assert found == wanted
    assert body["tools"][0]["function"]["parameters"] == TOOL["input_schema"]


async def test_a_server_that_heeds_no_choice_is_shown_no_tools_that_may_not_be_called() -> None:
    body = await asked(asking(tools=[TOOL], tool_choice={"type": "none"}), "ollama")
    assert "tools" not in body
    backend = await backend_on(Replay(), "ollama")
    forced = asking(tools=[TOOL], tool_choice={"type": "any"})
    assert backend.capabilities.missing_for(forced) == "tool_choice"


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
FORMS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("generic", {"type": "json_object"}, {"response_format": {"type": "json_object"}}),
    ("vllm", {"type": "regex", "pattern": "a+"}, {"structured_outputs": {"regex": "a+"}}),
    ("vllm", {"type": "choice", "choices": ["a", "b"]},
     {"structured_outputs": {"choice": ["a", "b"]}}),
    ("sglang", {"type": "regex", "pattern": "a+"}, {"regex": "a+"}),
    ("sglang", {"type": "choice", "choices": ["a.", "b"]}, {"regex": r"(a\.|b)"}),
    ("llamacpp", {"type": "choice", "choices": ['a"', "b"]}, {"grammar": r'root ::= "a\"" | "b"'}),
]  # fmt: skip


@pytest.mark.parametrize(("quirks", "form", "wanted"), FORMS)
async def test_every_form_has_the_words_of_its_server(
    quirks: str, form: dict[str, Any], wanted: dict[str, Any]
) -> None:
    body = await asked(asking(output_config={"format": form}), quirks)
    keys = ("response_format", "structured_outputs", "regex", "grammar")
    assert {k: v for k, v in body.items() if k in keys} == wanted


async def test_a_form_that_a_server_cannot_be_held_to_is_missing() -> None:
    asked = asking(output_config={"format": {"type": "regex", "pattern": "a"}})
    for quirks in QUIRKS:
        able = (await backend_on(Replay(), quirks)).capabilities
        assert (able.missing_for(asked) is None) == ("regex" in QUIRKS[quirks].forms)


THOUGHTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "vllm": (
        {"chat_template_kwargs": {"enable_thinking": True, "thinking": True}},
        {"chat_template_kwargs": {"enable_thinking": False, "thinking": False}},
    ),
    "ollama": ({"reasoning_effort": "high"}, {"reasoning_effort": "none"}),
    "openrouter": ({"reasoning": {"max_tokens": 9_000}}, {"reasoning": {"enabled": False}}),
    "openai": ({"reasoning_effort": "high"}, {}),
    "generic": ({}, {}),
}


@pytest.mark.parametrize("quirks", THOUGHTS)
async def test_thinking_is_asked_for_and_switched_off_in_the_words_of_the_server(
    quirks: str,
) -> None:
    thinking = {"type": "enabled", "budget_tokens": 9_000}
    keys = ("chat_template_kwargs", "reasoning_effort", "reasoning")
    both: tuple[dict[str, Any], ...] = ({"thinking": thinking}, {})
    for given, wanted in zip(both, THOUGHTS[quirks], strict=True):
        body = await asked(asking(max_tokens=9_100, **given), quirks, has=("thinking",))
        assert {k: v for k, v in body.items() if k in keys} == wanted


@pytest.mark.parametrize("quirks", QUIRKS)
async def test_what_is_asked_is_of_the_official_types(quirks: str) -> None:
    """Fields that are a server's own are not theirs; all others must be as they have them."""
    own = {"chat_template_kwargs", "timings_per_token", "top_k", "reasoning"}
    fields = conversation(
        temperature=0.5, top_p=0.0, top_k=5, stop_sequences=["END"],
        tool_choice={"type": "auto", "disable_parallel_tool_use": True},
        output_config={"format": {"type": "json_schema", "schema": SCHEMA}},
    ).model_dump(exclude_unset=True, by_alias=True)  # fmt: skip
    request = TunedRequest.model_validate({**fields, "seed": 3, "logprobs": 2})
    body = await asked(request, quirks, has=("images",))
    body["stream_options"].pop("continuous_usage_stats", None)
    theirs = {k: v for k, v in body.items() if k not in own}
    checked = THEIRS.validate_python(theirs)
    assert set(theirs) <= set(CompletionCreateParamsStreaming.__annotations__) | set(checked)
    assert 0 < theirs["top_p"] <= 1
    assert ("top_k" in body) == QUIRKS[quirks].top_k


async def test_a_model_that_draws_in_its_own_way_is_given_no_sampling() -> None:
    replay = Replay([GOOD])
    backend = await backend_on(replay, "openai")
    able = backend.capabilities
    assert able.thinking == {"disabled"}
    drawn = asking(temperature=0.5, top_p=0.5)
    config = backend._config.__class__
    fixed = type(backend)(
        config("b", "openai", urls=("http://upstream/v1",), model="gpt-5.1", quirks="openai"),
        upstream=replay,  # type: ignore[arg-type]
    )
    await fixed.start()
    assert fixed.capabilities.ignored_in(drawn) == ("temperature", "top_p")
    assert [event async for event in fixed.stream(drawn, Attempt("r", "w"))]
    assert "temperature" not in replay.asked[-1][1]
    assert "max_completion_tokens" in replay.asked[-1][1]


# --- which server it is ---------------------------------------------------------------------------

LISTS: dict[str, tuple[Any, int]] = {
    "vllm": ({"data": [{"id": "m", "owned_by": "vllm", "max_model_len": 40_960}]}, 40_960),
    "sglang": ({"data": [{"id": "m", "owned_by": "sglang", "max_model_len": 8_192}]}, 8_192),
    "llamacpp": (
        {"data": [{"id": "x", "owned_by": "llamacpp",
                   "meta": {"n_ctx": 2_048, "n_ctx_train": 131_072}}]},
        2_048,
    ),
    "ollama": ({"data": [{"id": "m", "owned_by": "library"}]}, 4_096),
    "renga": ({"data": [{"id": "m", "owned_by": "renga", "context_window": 9_000}]}, 9_000),
    "generic": ({"data": [{"id": "m", "owned_by": "somebody", "context_length": 5_000}]}, 5_000),
}  # fmt: skip


@pytest.mark.parametrize("name", LISTS)
async def test_a_server_is_known_by_its_list_of_models(name: str) -> None:
    models, window = LISTS[name]
    backend = await backend_on(Replay([GOOD], {"/models": models}), "auto")
    assert QUIRKS[name].about in backend.health().words
    assert backend.capabilities.window == window


@pytest.mark.parametrize("models", [None, [], {"data": None}, {"data": [3, {}]}, "x", {"data": {}}])
async def test_a_list_that_tells_nothing_is_of_any_other_server(models: Any) -> None:
    looked_up = {} if models is None else {"/models": models}
    backend = await backend_on(Replay([GOOD], looked_up), "auto")
    assert QUIRKS["generic"].about in backend.health().words


async def test_a_server_that_was_down_is_known_once_it_is_back() -> None:
    replay = Replay([GOOD], {"/models": LISTS["vllm"][0]})
    replay.down = True
    backend = await backend_on(replay, "auto")
    assert "not known yet" in backend.health().words
    replay.down = False
    async with asyncio.timeout(20):
        while "vLLM" not in backend.health().words:
            await asyncio.sleep(0.05)
    await backend.aclose()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"quirks": "vlm"}, "did you mean 'vllm'"),
        ({"quirks": "nothing like it"}, "accepted: auto, vllm"),
        ({"has": ("image",)}, "did you mean 'images'"),
        ({"lacks": ("everything",)}, "accepted: documents"),
        ({"has": ("tools",), "lacks": ("tools",)}, "leave one out"),
    ],
)
async def test_settings_that_name_nothing_are_refused(settings: Any, words: str) -> None:
    with pytest.raises(SetupError) as caught:
        await backend_on(Replay(), **settings)
    assert "backend 'b'" in caught.value.message
    assert words in caught.value.hint


async def test_what_it_has_and_lacks_is_what_the_configuration_says() -> None:
    able = (await backend_on(Replay(), has=("images", "thinking"), lacks=("tools",))).capabilities
    assert (able.images, able.tools) == (True, False)
    assert "enabled" in able.thinking


# --- sizes ----------------------------------------------------------------------------------------


async def test_near_the_window_a_prompt_is_counted_and_its_answer_bounded() -> None:
    replay = Replay([GOOD], {"/../tokenize": {"count": 900}})
    backend = await backend_on(replay, "vllm", window=1_000)
    request = asking("x", max_tokens=5_000)
    assert [event async for event in backend.stream(request, Attempt("r", "w"))]
    assert replay.asked[-1][1]["max_tokens"] == 100
    replay.looked_up["/../tokenize"] = {"count": 1_000}
    with pytest.raises(InvalidRequest, match="prompt is too long: 1000 tokens > 999 maximum"):
        assert [event async for event in backend.stream(request, Attempt("r", "w"))]


async def test_an_estimate_is_rather_high_and_says_that_it_is_one() -> None:
    backend = await backend_on(Replay())
    assert backend.capabilities.counts == "estimated"
    english = "The quick brown fox jumps over the lazy dog and is not seen again. " * 20
    size = await backend.count_tokens(asking(english))
    assert len(english.split()) * 1.3 < size < len(english)


async def test_a_count_that_is_none_is_a_fault() -> None:
    backend = await backend_on(Replay([], {"/../tokenize": {"count": "many"}}), "vllm")
    with pytest.raises(Exception, match="no `count`"):
        await backend.count_tokens(asking())
