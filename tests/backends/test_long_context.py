"""A window of 200,000 tokens, end to end: said before, filled, and shared with a chat beside it."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from renga.backends.base import Attempt
from renga.backends.local import LocalBackend
from renga.config import BackendConfig
from renga.engine.memory import plan_memory
from renga.errors import InvalidRequest
from renga.events import BlockDelta, MessageStart, fold
from renga.models.find import find_model
from renga.types import MessagesRequest
from tests.tiny_model import write_model

WINDOW = 200_000
SENTENCE = "The quick brown fox jumps over the lazy dog. "
FREE = {"format": {"type": "json_schema", "schema": {"type": "string", "minLength": 40}}}


def ask(text: str, **fields: Any) -> MessagesRequest:
    messages = [{"role": "user", "content": text}]
    fields = {"max_tokens": 8, "temperature": 0.0, **fields}
    return MessagesRequest.model_validate({"model": "haiku", "messages": messages, **fields})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(
        tmp_path_factory.mktemp("long"),
        num_hidden_layers=2,
        num_attention_heads=1,
        num_key_value_heads=1,
        max_position_embeddings=WINDOW,
    )


def configured(folder: Path, **fields: Any) -> BackendConfig:
    return BackendConfig("long", model=str(folder), **fields)


def test_a_window_beyond_32k_is_taken_where_it_is_asked_for_and_its_memory_is_said(
    folder: Path, tmp_path: Path
) -> None:
    model = find_model(str(folder), tmp_path)
    _, usual = plan_memory(configured(folder), model, None)
    _, long = plan_memory(configured(folder, window=WINDOW), model, None)
    assert (usual.window, long.window) == (32_768, WINDOW)
    assert long.token is not None
    assert long.kv is not None
    assert long.kv >= WINDOW * long.token


def resident(process: int) -> int:
    """Bytes of memory that a process truly has."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * 4096


async def test_blocks_that_nothing_was_written_to_take_no_memory(
    folder: Path, tmp_path: Path
) -> None:
    backend = LocalBackend(configured(folder, kv_cache_mb=1_500), home=tmp_path)
    await backend.start()
    try:
        assert backend.engine is not None
        assert backend.engine.process_id is not None
        assert backend.engine.facts.kv_bytes > 1_400_000_000
        assert resident(backend.engine.process_id) < 700_000_000
    finally:
        await backend.aclose()


@pytest.mark.slow
@pytest.mark.timeout(1_800)
async def test_a_prompt_of_199_000_tokens_is_answered_while_a_chat_beside_it_streams(
    folder: Path, tmp_path: Path
) -> None:
    backend = LocalBackend(configured(folder, window=WINDOW), home=tmp_path)
    await backend.start()
    try:
        one = await backend.count_tokens(ask(SENTENCE * 2)) - await backend.count_tokens(
            ask(SENTENCE)
        )
        long = ask(SENTENCE * (199_000 // one))
        size = await backend.count_tokens(long)
        assert 198_000 < size < WINDOW
        order: list[str] = []

        async def follow(name: str, request: MessagesRequest) -> list[Any]:
            seen = []
            async with aclosing(backend.stream(request, Attempt(name, "w"))) as events:  # type: ignore[type-var]
                async for event in events:
                    if isinstance(event, MessageStart | BlockDelta):
                        order.append(name)
                    seen.append(event)
            return seen

        reading = asyncio.create_task(follow("long", long))
        await computing(backend)
        chat = fold(await follow("chat", ask("Hello", max_tokens=40, output_config=FREE)))
        assert set(order) == {"chat"}, "the chat's answer ends while the long prompt is computed"
        assert len(order) > 5, "its tokens came one after the other, between the prompt's chunks"
        assert chat.usage.output_tokens > 5
        answer = fold(await reading)
        assert answer.usage.output_tokens > 0
        assert answer.usage.input_tokens == size
        with pytest.raises(InvalidRequest, match="prompt is too long"):
            await follow("more", ask(SENTENCE * (202_000 // one)))
    finally:
        await backend.aclose()


async def computing(backend: LocalBackend) -> None:
    """Wait until the engine is well inside a prompt."""
    assert backend.engine is not None
    async with asyncio.timeout(60):
        while (stats := backend.engine.stats()) is None or stats.steps < 20:
            await asyncio.sleep(0.01)
