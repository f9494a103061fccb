"""Calls in other forms than the shipped one, on models with random weights and special marks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from tokenizers import AddedToken, Tokenizer

from renga.backends.local import LocalBackend
from renga.config import BackendConfig
from renga.types import TextBlock, ThinkingBlock
from tests.backends.test_calls import answer, ask, check_call, with_tools
from tests.chat.templates import LLAMA, OTHER_FORMS
from tests.tiny_model import write_model

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Tokens that have no text: what the models of these templates mark calls with.
MARKS = (
    *("<|start|>", "<|message|>", "<|end|>", "<|channel|>", "<|constrain|>", "<|call|>"),
    *("<tool_call>", "</tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"),
    *("[TOOL_CALLS]", "[ARGS]", "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"),
    *("<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>", "<|eot_id|>"),
)
TEMPLATES = {**OTHER_FORMS, "llama": LLAMA.replace("bos_token", "'<|endoftext|>'")}


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=sorted(TEMPLATES))
async def backend(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[LocalBackend]:
    folder = tmp_path_factory.mktemp(request.param)
    model = write_model(folder, template=TEMPLATES[request.param])
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    added = [AddedToken(mark, special=True, normalized=False) for mark in MARKS]
    tokenizer.add_special_tokens(added)
    tokenizer.save(str(model / "tokenizer.json"))
    config = BackendConfig(request.param, "local", model=str(model), threads=1, kv_cache_mb=16)
    found = LocalBackend(config, home=folder)
    await found.start()
    yield found
    await found.aclose()


async def test_what_is_drawn_is_a_call_where_one_is_asked_for(backend: LocalBackend) -> None:
    for _ in range(3):
        message = await answer(backend, with_tools("any", once=True, temperature=1.0))
        assert message.stop_reason == "tool_use"
        (block,) = message.content
        check_call(block)
    (block,) = (await answer(backend, with_tools("add", once=True, temperature=0.0))).content
    check_call(block)


async def test_text_and_calls_are_told_apart(backend: LocalBackend) -> None:
    for _ in range(3):
        message = await answer(backend, with_tools(temperature=1.0, max_tokens=60))
        for block in message.content:
            if isinstance(block, TextBlock):
                assert not any(mark in block.text for mark in MARKS)
            elif message.stop_reason == "tool_use":
                check_call(block)


async def test_without_tools_all_of_it_is_text(backend: LocalBackend) -> None:
    (block,) = (await answer(backend, ask(temperature=1.0, max_tokens=20))).content
    assert isinstance(block, TextBlock)
    assert not any(mark in block.text for mark in MARKS)
    form = {"type": "json_schema", "schema": {"type": "object", "properties": {}}}
    (block,) = (await answer(backend, ask(output_config={"format": form}))).content
    assert isinstance(block, TextBlock)
    assert block.text == "{}"


async def test_thinking_comes_before_both_where_the_template_has_it(backend: LocalBackend) -> None:
    thinks = "adaptive" in backend.capabilities.thinking
    assert thinks == (backend.name == "harmony")
    if not thinks:
        return
    fields: Any = {"thinking": {"type": "adaptive"}, "max_tokens": 300}
    thought, called = (await answer(backend, with_tools("any", once=True, **fields))).content
    assert isinstance(thought, ThinkingBlock)
    check_call(called)
    thought, text = (await answer(backend, ask(**fields))).content
    assert (type(thought), type(text)) == (ThinkingBlock, TextBlock)


async def test_calls_and_results_are_read_again(backend: LocalBackend) -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"a": 1, "b": 2}}
    thought = {"type": "thinking", "thinking": "Add.", "signature": "s"}
    said = {"type": "text", "text": "Let me see."}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "3"}
    turns = [
        {"role": "user", "content": "1 + 2?"},
        {"role": "assistant", "content": [thought, said, call]},
        {"role": "user", "content": [result]},
    ]
    base = await backend.count_tokens(with_tools(messages=turns[:1]))
    assert await backend.count_tokens(with_tools(messages=turns)) > base
    assert (await answer(backend, with_tools(messages=turns, max_tokens=20))).stop_reason
