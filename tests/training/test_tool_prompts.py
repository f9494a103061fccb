"""The server writes a conversation with tools as it was written for training, byte for byte."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renga.chat.render import ChatTemplate
from renga.types import MessagesRequest
from training import tools, tools_unused, vocabulary
from training.chat import Example, Turn, pieces, render


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> ChatTemplate:
    """The template of the shipped form, over a vocabulary of these conversations."""
    path = tmp_path_factory.mktemp("model")
    examples = [tools.calling(Random(n)) for n in range(60)]
    texts = ("".join(text for text, _ in pieces(example)) for example in examples)
    vocabulary.write(vocabulary.learn(texts, 700), path, 32_768)
    return ChatTemplate.load(path)


def block_of(turn: Turn, number: int) -> list[dict[str, Any]]:
    """The blocks that a client of the API sends for a turn; calls are numbered by their turn."""
    if turn.role == "tool":
        failed = turn.text.startswith("Error: ")
        return [
            {
                "type": "tool_result",
                "tool_use_id": "",
                "content": turn.text.removeprefix("Error: "),
                "is_error": failed,
            }
        ]
    said: list[dict[str, Any]] = [{"type": "text", "text": turn.text}] if turn.text else []
    return said + [
        {
            "type": "tool_use",
            "id": f"toolu_{number}_{n}",
            "name": call.name,
            "input": dict(call.arguments),
        }
        for n, call in enumerate(turn.calls)
    ]


def request_of(example: Example) -> dict[str, Any]:
    """The body of a request that asks for the turn behind these."""
    messages: list[dict[str, Any]] = []
    open_ids: list[str] = []
    for number, turn in enumerate(t for t in example.turns if t.role != "system"):
        blocks = block_of(turn, number)
        if turn.role == "tool":
            blocks[0]["tool_use_id"] = open_ids.pop(0)
        open_ids += [block["id"] for block in blocks if block["type"] == "tool_use"]
        if turn.role == "tool" and messages[-1]["role"] == "user":
            messages[-1]["content"] += blocks
        else:
            role = "assistant" if turn.role == "assistant" else "user"
            messages.append({"role": role, "content": blocks})
    system = [turn.text for turn in example.turns if turn.role == "system"]
    offered = [
        {
            "name": tool["name"],
            "description": tool["description"] or None,
            "input_schema": tool["parameters"],
        }
        for tool in example.tools
    ]
    body = {"model": "haiku", "max_tokens": 9, "messages": messages, "tools": offered}
    return {**body, "system": system[0]} if system else body


@given(st.integers(0, 2**32))
@settings(deadline=None, max_examples=60)
def test_the_server_s_prompt_is_the_one_trained_on(template: ChatTemplate, seed: int) -> None:
    rng = Random(seed)
    example = tools.calling(rng) if seed % 2 else tools_unused.not_calling(rng, [])
    asked = Example("", example.turns[:-1], tools=example.tools)
    request = MessagesRequest.model_validate(request_of(asked))
    assert template.text(request) == render(asked.turns, asked.tools)
