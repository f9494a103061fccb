"""The layers over a real engine with random weights: legal, counted alike, and with a prefix."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from renga.backends.local import LocalBackend
from renga.caller import Caller
from renga.chat.signing import Signer
from renga.config import BackendConfig
from renga.events import Event, fold, ordered
from renga.gateway import Gateway
from renga.layers import standard
from renga.ledger import AnswerRow, Ledger
from renga.prices import load_prices
from renga.routing import Router
from renga.types import (
    CompactionBlock,
    Message,
    MessagesRequest,
    ServerToolUseBlock,
    ToolSearchResultBlock,
)
from tests.layers.below import accumulated, assistant, ids, request, user
from tests.layers.test_edits import calls
from tests.layers.test_tool_search import BM25, MAIL, REGEX, WEATHER
from tests.tiny_model import write_model
from training.vocabulary import TEMPLATE

pytestmark = pytest.mark.asyncio(loop_scope="module")

BLOCK = 32
ONCE = {"disable_parallel_tool_use": True}
CALL = {"type": "any", **ONCE}


class Server:
    """A gateway with the standard layers over one engine."""

    def __init__(self, ledger: Ledger, backend: LocalBackend) -> None:
        signer = Signer.temporary()
        self._ledger, self._numbers = ledger, itertools.count(1)
        self.gateway = Gateway(
            router=Router({"haiku": [backend]}),
            ledger=ledger,
            prices=load_prices(),
            clock=lambda: 1_800_000_000.0,
            ids=ids,
            signer=signer,
            layers=standard(ids=ids, signer=signer),
        )

    async def ask(self, asked: MessagesRequest) -> tuple[Message, AnswerRow]:
        caller = Caller(workspace="team", request_id=f"req_{next(self._numbers)}")
        events: list[Event] = [e async for e in ordered(self.gateway.stream(asked, caller))]
        message = fold(events)
        assert accumulated(events) == message.model_dump(mode="json")
        await self._ledger.flush()
        row = await self._ledger.get(caller.request_id)
        assert row is not None
        return message, row

    async def count(self, asked: MessagesRequest) -> int:
        caller = Caller(workspace="team", request_id="req_0")
        return (await self.gateway.count_tokens(asked, caller)).input_tokens


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    folder: Path = tmp_path_factory.mktemp("model")
    model = write_model(folder, template=TEMPLATE)
    backend = LocalBackend(
        BackendConfig("small", "local", model=str(model), threads=1, kv_cache_mb=16), home=folder
    )
    url = f"sqlite:///{folder / 'l.db'}"
    async with await Ledger.start(
        url, clock=lambda: 1_800_000_000.0, instance_id="inst_1"
    ) as ledger:
        await backend.start()
        yield Server(ledger, backend)
        await backend.aclose()


@pytest.mark.parametrize("search", [REGEX, BM25])
@pytest.mark.parametrize("thinking", [None, {"type": "adaptive"}])
async def test_a_search_that_is_made_leaves_the_prompt_before_it_as_it_was(
    server: Server, search: dict[str, Any], thinking: Any
) -> None:
    asked = request(
        [user("What is the weather like, and can you write it down for everybody?")],
        tools=[search, WEATHER, MAIL],
        tool_choice={"type": "tool", "name": search["name"], **ONCE},
        max_tokens=900,
        thinking=thinking,
    )
    message, row = await server.ask(asked)
    kinds = [type(block) for block in message.content]
    first = kinds.index(ServerToolUseBlock)
    assert kinds[first + 1] is ToolSearchResultBlock
    assert row.attempts[1].layer == "tool_search"
    before, after = row.attempts[0].tokens, row.attempts[1].tokens
    assert before.prompt is not None
    assert (after.reused or 0) >= before.prompt // BLOCK * BLOCK
    assert row.tokens.input == message.usage.input_tokens
    assert row.tokens.output == message.usage.output_tokens


async def test_a_search_in_a_marked_request_leaves_what_was_found_to_the_next_request(
    server: Server,
) -> None:
    mark = {"type": "ephemeral", "ttl": "1h"}
    question = {
        "type": "text",
        "text": "What is the weather like, and in how many words? " * 4,
        "cache_control": mark,
    }
    asked = request(
        [user([question])],
        tools=[BM25, WEATHER],
        tool_choice=CALL,
        max_tokens=900,
    )
    message, row = await server.ask(asked)
    first, second = (attempt.tokens for attempt in row.attempts[:2])
    assert (first.cache_write_5m, second.cache_read) == (0, first.cache_write_1h)
    assert first.cache_write_1h
    assert second.cache_write_5m
    assert message.usage.iterations is not None
    kept = message.usage.iterations[1].cache_creation
    assert kept is not None
    assert kept.ephemeral_5m_input_tokens == second.cache_write_5m

    found = [block.model_dump(mode="json") for block in message.content[:2]]
    again = request(
        [user([question]), assistant(*found), user("Thanks.")],
        tools=[BM25, WEATHER],
        tool_choice=CALL,
        max_tokens=1,
    )
    _, row = await server.ask(again)
    assert row.tokens.cache_read == (second.cache_read or 0) + second.cache_write_5m


async def test_what_a_count_says_of_an_edited_prompt_is_what_its_answer_reads(
    server: Server,
) -> None:
    edit = {
        "type": "clear_tool_uses_20250919",
        "trigger": {"type": "tool_uses", "value": 2},
        "keep": {"type": "tool_uses", "value": 1},
    }
    for edits in ([], [edit], [edit | {"clear_tool_inputs": True}]):
        asked = calls(5, context_management={"edits": edits}, max_tokens=5)
        message, row = await server.ask(asked)
        assert await server.count(asked) == row.tokens.input
        assert message.context_management is not None
        applied = message.context_management.applied_edits
        assert len(applied) == len(edits)


async def test_a_model_sums_up_what_it_is_given_and_reads_it_where_it_comes_back(
    server: Server,
) -> None:
    # It leaves little of the window to a summary that may never end, so that it can be read again.
    question = user("The order is 1234. " * 120)
    asked = request([question], compaction={"type": "summarize"}, top_k=1)
    assert 2_048 / 2 < await server.count(asked) < 2_048
    message, row = await server.ask(asked)
    (block,) = message.content
    assert isinstance(block, CompactionBlock)
    assert row.attempts[0].layer == "compaction"
    assert row.tokens.output
    sent = request([assistant(block.model_dump(mode="json")), user("And now?")], max_tokens=5)
    _, again = await server.ask(sent)
    assert await server.count(sent) == again.tokens.input
