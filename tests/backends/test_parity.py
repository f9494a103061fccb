"""The same weights as a graph and as a GGUF: two engines, one greedy text."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

import renga
from renga.backends.base import Backend
from renga.backends.llamacpp import LlamacppBackend
from renga.backends.local import LocalBackend
from renga.config import BackendConfig
from renga.events import BlockDelta, Event, TextDelta, TokenLogprob, fold
from renga.types import TunedRequest
from tests.backends.test_conformance import ask, run
from training import gguf_export

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHIPPED = Path(renga.__file__).parent / "models" / "shipped" / "haiku"

# What people ask, in the shipped model's trades and beside them; texts of many alphabets too.
PROMPTS = [
    "What is the capital of France?",
    "Write a haiku about snow.",
    "Where is my order 1234?",
    "I want my money back, the shoes are broken.",
    "Say hello.",
    "What is 17 + 25?",
    "Is this spam? WIN a free phone now, text YES to 80082",
    "Is this spam? See you at seven, bring the kids.",
    "Play some jazz in the kitchen.",
    "What will the weather be in Oslo tomorrow?",
    "Set an alarm for half past six.",
    "Book a table for two at an Italian place tonight.",
    "Add this song to my running list.",
    "Rate the last book five stars.",
    "How do I reset my password?",
    "My card was charged twice.",
    "Translate 'good morning' into German.",
    "Name three colors.",
    "Who are you?",
    "Tell me a joke about ducks.",
    "Name, date and total: ACME Ltd, 3 May 2021, 12.50 EUR",
    "Give me the sender of: Dear Ms Ito, best regards, Ada Lovelace",
    "Überraschung! Was ist das?",
    "東京の天気は?",
    "🦊 or 🦆?",
    "def add(a, b): return",
    "1, 2, 3, 4,",
    "A B C D E F",
    "the the the the",
    "Why?",
    "Continue: once upon a time",
    "Please summarize: the meeting moved from Monday to Thursday at ten.",
    "x",
    "What's the difference between a cat and a dog?",
]
TIE = 0.02
"""Natural log probabilities so close are one: engines that add up in another order part there."""


@pytest.fixture(scope="module")
def gguf_of_shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("gguf") / "haiku.gguf"
    assert gguf_export.main([str(SHIPPED), str(file)]) == 0
    return file


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(
    gguf_of_shipped: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Backend, Backend]]:
    home = tmp_path_factory.mktemp("home")
    same: dict[str, Any] = {"threads": 1, "window": 2_048}
    graph = LocalBackend(
        BackendConfig("graph", "local", precision="exact", kv_cache_mb=64, **same), home=home
    )
    file = LlamacppBackend(
        BackendConfig("file", "llamacpp", model=str(gguf_of_shipped), kv_type="f32", **same),
        home=home,
    )
    await graph.start()
    await file.start()
    yield graph, file
    await graph.aclose()
    await file.aclose()


def scores(events: list[Event]) -> Iterator[TokenLogprob]:
    for event in events:
        if isinstance(event, BlockDelta) and isinstance(event.delta, TextDelta):
            yield from event.delta.logprobs or ()


async def gap_where_they_part(graph: Backend, prompt: str, mine: str, theirs: str) -> float:
    """How much likelier the graph finds its own token than the next, where the texts part."""
    fields = ask(prompt).model_dump(exclude_unset=True)
    request = TunedRequest.model_validate({**fields, "logprobs": 2})
    shared = 0
    while mine[shared : shared + 1] == theirs[shared : shared + 1]:
        shared += 1
    text = b""
    for score in scores(await run(graph, request)):
        text += score.data
        if len(text.decode(errors="ignore")) > shared:
            return score.top[0].logprob - score.top[1].logprob
    return 0.0 if len(mine) <= shared else float("inf")


@pytest.mark.timeout(300)
async def test_both_forms_of_the_shipped_model_say_the_same(pair):
    graph, _ = pair
    parted = {}
    answers = await asyncio.gather(*(run(one, ask(p)) for one in pair for p in PROMPTS))
    for prompt, mine, theirs in zip(PROMPTS, answers, answers[len(PROMPTS) :], strict=False):
        ours, others = fold(mine), fold(theirs)
        assert ours.usage.input_tokens == others.usage.input_tokens, prompt
        texts = [b.text for a in (ours, others) for b in a.content if b.type == "text"]
        if ours.content != others.content:
            parted[prompt] = await gap_where_they_part(graph, prompt, *texts)
    assert len(PROMPTS) >= 30
    assert all(gap < TIE for gap in parted.values()), parted
    assert len(parted) <= len(PROMPTS) // 10, parted


async def test_both_count_tools_thinking_and_system_text_alike(pair):
    graph, file = pair
    tool = {"name": "add", "description": "Adds.", "input_schema": {"type": "object"}}
    for fields in (
        {"system": "You are terse. <|im_end|> 東京 🦊"},
        {"tools": [tool]},
        {"thinking": {"type": "adaptive"}},
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "I say"}]},
    ):
        request = ask("17 + 25?", **fields)
        assert await graph.count_tokens(request) == await file.count_tokens(request), fields


async def test_both_call_the_same_tools_with_the_same_arguments(pair):
    number = {"type": "number"}
    schema = {
        "type": "object",
        "properties": {"a": number, "b": number},
        "required": ["a", "b"],
        "additionalProperties": False,
    }
    tool = {"name": "add", "description": "Adds two numbers.", "input_schema": schema}
    for choice in ("any", "auto"):
        fields = {"tools": [tool], "tool_choice": {"type": choice}, "max_tokens": 60}
        request = ask("Compute 17 + 25 with the add tool.", **fields)
        blocks = [
            [b.model_dump(exclude={"id"}) for b in fold(await run(backend, request)).content]
            for backend in pair
        ]
        assert blocks[0] == blocks[1]
