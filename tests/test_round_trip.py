"""A turn of thinking, calls and results over the whole path, and over a new start of the server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from renga.app import App
from renga.backends.scripted import calling
from renga.caller import Caller
from renga.config import BackendConfig, Config, TierConfig
from renga.errors import InvalidRequest
from renga.events import BlockDelta, fold_stream
from renga.types import Message, MessagesRequest
from tests.tiny_model import write_model
from training.vocabulary import TEMPLATE

ADD = {
    "name": "add",
    "input_schema": {"type": "object", "properties": {"a": {"const": 17}}, "required": ["a"]},
}
QUESTION = {"role": "user", "content": "17 + 25?"}
ONCE = {"type": "tool", "name": "add", "disable_parallel_tool_use": True}
SCRIPT = f"<think>I add 17 and 25.</think>\n\nSo.\n{calling('add', a=17)}"

CONFIGS: dict[str, Callable[[Path], BackendConfig]] = {
    "scripted": lambda _: BackendConfig("b", "scripted", reply=SCRIPT),
    "local": lambda folder: BackendConfig(
        "b", "local", model=str(write_model(folder, template=TEMPLATE)), threads=1, kv_cache_mb=16
    ),
}


@pytest.fixture(params=sorted(CONFIGS))
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Config:
    backend = CONFIGS[request.param](tmp_path / "model")
    tier = TierConfig(name="haiku", backends=("b",))
    return Config(home=tmp_path / "home", backends={"b": backend}, tiers={"haiku": tier})


def ask(*messages: Any, **fields: Any) -> MessagesRequest:
    given = {"max_tokens": 200, "tools": [ADD], "thinking": {"type": "adaptive"}, **fields}
    return MessagesRequest.model_validate({"model": "haiku", "messages": [*messages], **given})


def caller(number: int = 1) -> Caller:
    return Caller(workspace="team", request_id=f"req_{number}")


def with_app(config: Config, use: Callable[[App], Awaitable[None]]) -> None:
    async def run() -> None:
        app = await App.start(config)
        try:
            await use(app)
        finally:
            await app.aclose()

    asyncio.run(run())


def turn(message: Message) -> list[dict[str, Any]]:
    """The conversation up to the results of what the answer called."""
    content = [block.model_dump(mode="json", exclude_none=True) for block in message.content]
    results = [
        {"type": "tool_result", "tool_use_id": block["id"], "content": "42"}
        for block in content
        if block["type"] == "tool_use"
    ]
    assistant = {"role": "assistant", "content": content}
    return [QUESTION, assistant, {"role": "user", "content": results}]


async def size(app: App, messages: list[dict[str, Any]]) -> int:
    return (await app.gateway.count_tokens(ask(*messages), caller(9))).input_tokens


@pytest.mark.parametrize("display", ["summarized", "omitted"])
def test_thinking_is_read_again_also_by_a_server_that_was_started_anew(
    config: Config, display: str
) -> None:
    answers: list[Message] = []

    async def first(app: App) -> None:
        thinking = {"type": "adaptive", "display": display}
        request = ask(QUESTION, thinking=thinking, tool_choice=ONCE)
        answers.append(await fold_stream(app.gateway.stream(request, caller())))

    async def second(app: App) -> None:
        conversation = turn(answers[0])
        thought = conversation[1]["content"][0]
        assert thought["type"] == "thinking"
        assert (thought["thinking"] == "") == (display == "omitted")
        without = [QUESTION, {**conversation[1], "content": conversation[1]["content"][1:]}]
        without.append(conversation[2])
        foreign = {"type": "thinking", "thinking": "I am another. " * 9, "signature": "EqQBCkYI"}
        content = [foreign, *conversation[1]["content"][1:]]
        of_another = [QUESTION, {**conversation[1], "content": content}, conversation[2]]
        read = await size(app, conversation)
        assert read > await size(app, without) == await size(app, of_another)
        # It is read as well as counted.
        message = await fold_stream(app.gateway.stream(ask(*conversation), caller(2)))
        assert message.usage.input_tokens == read
        # The question after it needs no thoughts about the one before.
        thought["signature"] = thought["signature"][:-4] + "AAAA"
        with pytest.raises(InvalidRequest, match=r"^messages\.1\.content\.0: .*cannot be modified"):
            await size(app, conversation)

    with_app(config, first)
    with_app(config, second)


def test_thinking_is_charged_and_recorded_as_output(config: Config) -> None:
    async def use(app: App) -> None:
        request = ask(QUESTION, tool_choice=ONCE)
        message = await fold_stream(app.gateway.stream(request, caller()))
        details = message.usage.output_tokens_details
        assert details is not None
        await app.ledger.flush()
        row = await app.ledger.get("req_1")
        assert row is not None
        assert row.stop_reason == message.stop_reason == "tool_use"
        assert row.tokens.thinking == row.attempts[0].tokens.thinking == details.thinking_tokens > 0
        assert row.tokens.output == message.usage.output_tokens > details.thinking_tokens
        assert row.tokens.input is not None
        assert row.cost_pico == (
            row.tokens.input * row.price.input + row.tokens.output * row.price.output
        )

    with_app(config, use)


def test_a_caller_that_leaves_while_it_is_thought_pays_for_that(config: Config) -> None:
    async def use(app: App) -> None:
        stream = app.gateway.stream(ask(QUESTION, max_tokens=1_500), caller())
        async with aclosing(stream) as events:  # type: ignore[type-var]
            async for event in events:
                if isinstance(event, BlockDelta):
                    break
        await app.ledger.flush()
        row = await app.ledger.get("req_1")
        assert row is not None
        assert row.status == "cancelled"
        assert row.tokens.thinking == row.tokens.output
        assert row.tokens.output is not None
        assert 0 < row.tokens.output < 700

    with_app(config, use)
