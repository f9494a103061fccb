"""Tools, thinking, structured output and likelihoods in OpenAI's words, through its package."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, Literal

import openai
import pytest
import pytest_asyncio
from pydantic import BaseModel

from renga.app import App
from renga.backends.scripted import Reply, ScriptedBackend, calling
from renga.config import BackendConfig, Config, TierConfig
from renga.types import MessagesRequest, ThinkingParam, ToolResultParam
from tests.http.openai.clients import client_of
from tests.http.served import Serve, Served, open_served
from tests.tiny_model import write_model
from training.vocabulary import TEMPLATE

ADD: Any = {
    "type": "function",
    "function": {
        "name": "add",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a", "b"],
        },
    },
}
USER: Any = {"role": "user", "content": "17 + 25?"}


def answering(served: Served, *replies: Reply) -> list[MessagesRequest]:
    """Have haiku give these replies, one after another; the requests that it then sees."""
    seen: list[MessagesRequest] = []

    def script(request: MessagesRequest) -> Reply:
        seen.append(request)
        return replies[len(seen) - 1]

    config = BackendConfig(name="HAIKU", kind="scripted")
    scripted = ScriptedBackend(config, script=script)
    inner = served.backend("HAIKU")
    inner.stream = scripted.stream  # type: ignore[method-assign]
    return seen


def calls_of(choice: Any) -> list[Any]:
    """The calls of a choice."""
    calls = list(choice.message.tool_calls or ())
    assert all(call.type == "function" for call in calls)
    return calls


CALL = Reply("I add. " + calling("add", a=17, b=25) + "\n" + calling("add"))


async def test_calls_come_whole_and_in_pieces_alike(serve: Serve):
    served = await serve()
    answering(served, CALL, CALL)
    ask: Any = {"model": "haiku", "messages": [USER], "tools": [ADD]}
    async with client_of(served) as client:
        whole = (await client.chat.completions.create(**ask)).choices[0]
        async with client.chat.completions.stream(**ask) as stream:
            async for _ in stream:
                pass
            streamed = (await stream.get_final_completion()).choices[0]
    assert whole.finish_reason == streamed.finish_reason == "tool_calls"
    assert whole.message.content == streamed.message.content == "I add."
    first, second = calls_of(whole)
    assert (first.function.name, json.loads(first.function.arguments)) == (
        "add",
        {"a": 17, "b": 25},
    )
    assert second.function.arguments == "{}"
    found = [(c.function.name, c.function.arguments) for c in calls_of(streamed)]
    assert found == [(c.function.name, c.function.arguments) for c in (first, second)]
    assert first.id != second.id


async def test_an_answer_and_the_results_of_its_calls_are_sent_back(serve: Serve):
    served = await serve()
    thought = Reply("I add. " + calling("add", a=17, b=25), thinking="A sum.")
    seen = answering(served, thought, Reply("It is 42."))
    ask: Any = {"model": "haiku", "tools": [ADD], "reasoning_effort": "high"}
    async with client_of(served) as client:
        first = await client.chat.completions.create(**ask, messages=[USER])
        message = first.choices[0].message
        (call,) = calls_of(first.choices[0])
        result: Any = {"role": "tool", "tool_call_id": call.id, "content": "42"}
        last = await client.chat.completions.create(**ask, messages=[USER, message, result])
    assert message.to_dict()["reasoning_content"] == "A sum."
    assert first.usage is not None
    assert first.usage.completion_tokens_details is not None
    assert first.usage.completion_tokens_details.reasoning_tokens
    assert last.choices[0].message.content == "It is 42."
    thinking, *_ = seen[1].messages[1].content
    assert isinstance(thinking, ThinkingParam)
    assert thinking.thinking == "A sum."
    (read,) = seen[1].messages[2].content
    assert isinstance(read, ToolResultParam)
    assert (read.tool_use_id, read.text) == (call.id, "42")


async def test_a_call_without_a_result_is_named_as_the_caller_wrote_it(serve: Serve):
    served = await serve()
    call = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    said: Any = {"role": "assistant", "content": "I add.", "tool_calls": [call]}
    async with client_of(served) as client:
        with pytest.raises(openai.BadRequestError) as refused:
            await client.chat.completions.create(
                model="haiku", messages=[USER, said, USER], tools=[ADD]
            )
    assert "call_1" in refused.value.message
    assert refused.value.param is not None
    assert refused.value.param.startswith("messages[")


# --- on a model -----------------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def model(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[openai.AsyncOpenAI]:
    """A client of a server with a real model of random weights and the shipped one's form."""
    folder = tmp_path_factory.mktemp("model")
    path = write_model(folder / "tiny", template=TEMPLATE)
    backend = BackendConfig(name="local", kind="local", model=str(path), threads=1)
    tier = TierConfig(name="haiku", backends=("local",))
    config = Config(home=folder, backends={"local": backend}, tiers={"haiku": tier})
    async with AsyncExitStack() as stack:
        app = await App.start(config)
        stack.push_async_callback(app.aclose)
        served = await open_served(stack, app)
        yield await stack.enter_async_context(client_of(served))


class Ticket(BaseModel):
    """What is asked for in the tests of structured output."""

    label: Literal["refund", "delivery"]
    urgent: bool


on_model = pytest.mark.asyncio(loop_scope="module")
SHORT: Any = {"model": "haiku", "messages": [USER], "max_tokens": 24}


@on_model
async def test_parse_gives_an_object_of_the_class(model: openai.AsyncOpenAI):
    parsed = await model.chat.completions.parse(
        model="haiku", messages=[USER], max_tokens=200, response_format=Ticket
    )
    found = parsed.choices[0].message.parsed
    assert found is not None
    assert found.label in ("refund", "delivery")


@on_model
@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "add"}}])
async def test_a_call_that_must_come_does_and_fits_its_parameters(model, choice):
    found = await model.chat.completions.create(
        **{**SHORT, "max_tokens": 400}, tools=[ADD], tool_choice=choice, parallel_tool_calls=False
    )
    (call,) = found.choices[0].message.tool_calls
    if found.choices[0].finish_reason == "tool_calls":
        arguments = json.loads(call.function.arguments)
        assert arguments.keys() == {"a", "b"}
        assert all(isinstance(value, int) for value in arguments.values())
    assert call.function.name == "add"


@on_model
async def test_a_json_object_is_one(model: openai.AsyncOpenAI):
    found = await model.chat.completions.create(
        **{**SHORT, "max_tokens": 600}, response_format={"type": "json_object"}, temperature=0
    )
    choice = found.choices[0]
    assert (choice.message.content or "").lstrip().startswith("{")
    if choice.finish_reason == "stop":
        assert isinstance(json.loads(choice.message.content or ""), dict)


@on_model
async def test_a_seed_draws_the_same_again(model: openai.AsyncOpenAI):
    async def text(seed: int) -> str | None:
        found = await model.chat.completions.create(**SHORT, seed=seed, temperature=1.5)
        said: str | None = found.choices[0].message.content
        return said

    first, again, other = await text(7), await text(7), await text(8)
    assert first == again != other


@on_model
@pytest.mark.parametrize("stream", [False, True])
async def test_each_token_of_the_text_is_told_with_its_likelihood(model, stream):
    ask: Any = {**SHORT, "logprobs": True, "top_logprobs": 3}
    if stream:
        async with model.chat.completions.stream(**ask) as events:
            async for _ in events:
                pass
            choice = events.current_completion_snapshot.choices[0]
    else:
        choice = (await model.chat.completions.create(**ask)).choices[0]
    tokens = choice.logprobs.content
    said = b"".join(bytes(token.bytes) for token in tokens)
    assert said.decode(errors="replace").startswith(choice.message.content.rstrip("\ufffd"))
    for token in tokens:
        assert token.logprob <= 0
        assert len(token.top_logprobs) == 3
        assert token.top_logprobs == sorted(token.top_logprobs, key=lambda t: -t.logprob)


@on_model
async def test_likelihoods_are_there_only_where_they_are_asked_for(model: openai.AsyncOpenAI):
    assert (await model.chat.completions.create(**SHORT)).choices[0].logprobs is None
