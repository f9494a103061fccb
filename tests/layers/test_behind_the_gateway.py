"""The layers of a server in their places: what is answered, recorded and charged."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from renga.backends.base import Attempt, Capabilities
from renga.backends.scripted import ScriptedBackend
from renga.caller import Caller
from renga.chat.signing import Signer
from renga.config import BackendConfig
from renga.errors import BackendFailed, InvalidRequest
from renga.events import Event, fold_stream
from renga.gateway import Gateway
from renga.layers import standard
from renga.layers.tool_search import MOST_ROUNDS
from renga.ledger import AnswerRow, Ledger
from renga.prices import load_prices
from renga.routing import Router
from renga.types import (
    CompactionBlock,
    Message,
    MessagesRequest,
    Prompt,
    ThinkingBlock,
    ThinkingParam,
    ToolResultParam,
    ToolUseBlock,
)
from tests.layers.below import Below, Says, assistant, call, ids, request, text, user
from tests.layers.test_compaction import LONG, compact
from tests.layers.test_tool_search import BM25, WEATHER

ANYBODY = Caller(workspace="team", request_id="req_0")
SEARCH = call("tool_search_tool_bm25", query="weather")
THOUGHT = ThinkingBlock(thinking="It may rain.", signature="")


class Told(ScriptedBackend):
    """A backend that says what it is told, with calls and thinking; tokens are words."""

    def __init__(self, replies: Sequence[Says]) -> None:
        super().__init__(BackendConfig(name="told", kind="scripted"))
        self.below = Below(replies)
        self.failing_at: int | None = None

    @property
    def capabilities(self) -> Capabilities:
        thinking = frozenset({"enabled", "adaptive", "disabled"})
        return Capabilities(window=10**6, max_output=10**5, tools=True, thinking=thinking)

    async def count_tokens(self, request: Prompt) -> int:
        return (await self.below.count(request, ANYBODY)).input_tokens

    async def stream(self, request: MessagesRequest, attempt: Attempt) -> AsyncIterator[Event]:
        if len(self.below.asked) == self.failing_at:
            raise BackendFailed("it broke")
        async for event in self.below.stream(request, ANYBODY):
            yield event


class Server:
    """A gateway with the standard layers over a real ledger."""

    def __init__(self, ledger: Ledger, backend: Told) -> None:
        self.ledger, self.backend, self._numbers = ledger, backend, itertools.count(1)
        signer = Signer.temporary()
        self._gateway = Gateway(
            router=Router({"haiku": [backend]}),
            ledger=ledger,
            prices=load_prices(),
            clock=lambda: 1_800_000_000.0,
            ids=ids,
            signer=signer,
            layers=standard(ids=ids, signer=signer),
        )

    async def ask(self, asked: MessagesRequest) -> tuple[Message, AnswerRow]:
        """The answer, and its row."""
        caller = Caller(workspace="team", request_id=f"req_{next(self._numbers)}")
        message = await fold_stream(self._gateway.stream(asked, caller))
        row = await self.row(caller.request_id)
        assert caller.receipt.tokens == row.tokens
        return message, row

    async def count(self, asked: Prompt) -> int:
        return (await self._gateway.count_tokens(asked, ANYBODY)).input_tokens

    async def row(self, request_id: str) -> AnswerRow:
        await self.ledger.flush()
        row = await self.ledger.get(request_id)
        assert row is not None
        return row


def serve(
    folder: Path, use: Callable[[Server], Awaitable[None]], *replies: Says, failing_at: Any = None
) -> None:
    async def run() -> None:
        async with await Ledger.start(
            f"sqlite:///{folder / 'l.db'}", clock=lambda: 1_800_000_000.0, instance_id="inst_1"
        ) as ledger:
            backend = Told(replies)
            backend.failing_at = failing_at
            await use(Server(ledger, backend))

    asyncio.run(run())


def weather(**more: Any) -> MessagesRequest:
    return request([user("Is it raining?")], tools=[BM25, WEATHER], **more)


def sent_back(message: Message) -> dict[str, Any]:
    return assistant(*(block.model_dump(mode="json") for block in message.content))


def check_sums(row: AnswerRow) -> None:
    """The answer is charged for its attempts together."""
    for name in ("input", "output", "cache_read", "reused"):
        assert getattr(row.tokens, name) == sum(getattr(a.tokens, name) for a in row.attempts)


def test_each_inference_of_a_search_is_an_attempt_and_the_answer_pays_for_all(
    tmp_path: Path,
) -> None:
    async def use(server: Server) -> None:
        message, row = await server.ask(weather())
        assert [(a.number, a.status, a.layer) for a in row.attempts] == [
            (1, "ok", None),
            (2, "ok", "tool_search"),
        ]
        check_sums(row)
        assert row.tokens.input == message.usage.input_tokens
        assert row.tokens.output == message.usage.output_tokens
        assert (row.status, row.stop_reason) == ("ok", "tool_use")

    replies = Says([SEARCH], "tool_use"), Says([call("get_weather")], "tool_use")
    serve(tmp_path, use, *replies)


def test_what_a_search_found_is_read_again_when_the_answer_comes_back(tmp_path: Path) -> None:
    async def use(server: Server) -> None:
        message, _ = await server.ask(weather())
        (used,) = (block for block in message.content if isinstance(block, ToolUseBlock))
        result = {"type": "tool_result", "tool_use_id": used.id, "content": "Yes."}
        messages = [user("Is it raining?"), sent_back(message), user([result])]
        asked = request(messages, tools=[BM25, WEATHER])
        size = await server.count(asked)
        again, row = await server.ask(asked)
        before, after = server.backend.below.asked[1], server.backend.below.asked[2]
        assert after.messages[: len(before.messages)] == before.messages
        assert size == row.tokens.input
        assert again.content == [text("So it is.")]

    replies = (
        Says([SEARCH], "tool_use"),
        Says([call("get_weather")], "tool_use"),
        Says([text("So it is.")]),
    )
    serve(tmp_path, use, *replies)


def test_a_reference_to_no_tool_of_the_request_is_refused_with_the_apis_code(
    tmp_path: Path,
) -> None:
    async def use(server: Server) -> None:
        call_ = {"type": "tool_use", "id": "toolu_1", "name": "find", "input": {}}
        found = [{"type": "tool_reference", "tool_name": name} for name in ("get_weather", "gone")]
        result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": found}
        messages = [user("Go."), assistant(call_), user([result])]
        with pytest.raises(InvalidRequest, match="Tool reference 'gone' has no") as caught:
            await server.ask(request(messages, tools=[BM25, WEATHER]))
        assert caught.value.code == "tool_reference_unresolved"
        assert caught.value.message.startswith("messages.2.content.0.content.1.tool_name: ")
        assert server.backend.below.asked == []

    serve(tmp_path, use, Says([text("Yes.")]))


def test_an_answer_that_paused_goes_on_when_it_is_sent_back(tmp_path: Path) -> None:
    async def use(server: Server) -> None:
        paused, row = await server.ask(weather())
        assert paused.stop_reason == "pause_turn"
        assert len(row.attempts) == MOST_ROUNDS
        check_sums(row)
        server.backend.below.replies = [Says([text("It is.")])]
        asked = request([user("Is it raining?"), sent_back(paused)], tools=[BM25, WEATHER])
        message, _ = await server.ask(asked)
        assert message.content == [text("It is.")]
        assert server.backend.below.asked[-1].messages[-1].role == "user"

    serve(tmp_path, use, Says([SEARCH], "tool_use"))


def test_a_summary_is_charged_and_stands_in_no_total(tmp_path: Path) -> None:
    async def use(server: Server) -> None:
        management = {"edits": [compact()]}
        message, row = await server.ask(request([user(LONG)], context_management=management))
        assert [a.layer for a in row.attempts] == ["compaction", None]
        check_sums(row)
        assert message.usage.iterations is not None
        assert row.tokens.input == sum(i.input_tokens for i in message.usage.iterations)
        assert (message.usage.input_tokens or 0) < 50
        further = [user(LONG), sent_back(message), user("And now?")]
        assert await server.count(request(further)) < 50

    serve(tmp_path, use, Says([text("Short.")]), Says([text("Yes.")]))


def test_thinking_before_a_search_is_signed_and_read_again(tmp_path: Path) -> None:
    async def use(server: Server) -> None:
        thinking = {"type": "adaptive", "display": "omitted"}
        message, _ = await server.ask(weather(thinking=thinking))
        first = message.content[0]
        assert isinstance(first, ThinkingBlock)
        assert first.thinking == ""
        assert first.signature
        further = [user("Is it raining?"), sent_back(message), user("Sure?")]
        await server.ask(request(further, tools=[BM25, WEATHER], thinking=thinking))
        read = server.backend.below.asked[-1].messages[1].content[0]
        assert isinstance(read, ThinkingParam)
        assert read.thinking == THOUGHT.thinking

    serve(tmp_path, use, Says([THOUGHT, SEARCH], "tool_use"), Says([text("Yes.")]))


def test_thinking_stays_ours_when_old_results_are_cleared(tmp_path: Path) -> None:
    async def use(server: Server) -> None:
        tools = [{"name": "add", "input_schema": {"type": "object"}}]
        thinking = {"type": "adaptive"}
        messages: list[dict[str, Any]] = [user("Go.")]
        for _ in range(5):
            message, _ = await server.ask(request(messages, tools=tools, thinking=thinking))
            block = message.content[-1]
            assert isinstance(block, ToolUseBlock)
            result = {"type": "tool_result", "tool_use_id": block.id, "content": "a result"}
            messages += [sent_back(message), user([result])]
        edit = {
            "type": "clear_tool_uses_20250919",
            "trigger": {"type": "tool_uses", "value": 1},
            "clear_tool_inputs": True,
        }
        management = {"edits": [edit]}
        asked = request(messages, tools=tools, thinking=thinking, context_management=management)
        message, _ = await server.ask(asked)
        assert message.context_management is not None
        (applied,) = message.context_management.applied_edits
        row = await server.row("req_6")
        assert row.notes == {"applied_edits": [applied.model_dump()]}
        read = [b for m in server.backend.below.asked[-1].messages for b in m.content]
        thoughts = [b.thinking for b in read if isinstance(b, ThinkingParam)]
        assert thoughts == [THOUGHT.thinking] * 5
        results = [b.text for b in read if isinstance(b, ToolResultParam)]
        assert results == ["[result cleared]"] * 2 + ["a result"] * 3

    replies = [
        Says([THOUGHT, ToolUseBlock(id=f"toolu_{i}", name="add", input={"n": i})], "tool_use")
        for i in range(6)
    ]
    serve(tmp_path, use, *replies)


def test_a_backend_that_breaks_in_a_later_inference_ends_the_answer_and_charges_the_first(
    tmp_path: Path,
) -> None:
    async def use(server: Server) -> None:
        with pytest.raises(BackendFailed):
            await server.ask(weather())
        row = await server.row("req_1")
        assert (row.status, row.error_type) == ("error", "api_error")
        assert [a.status for a in row.attempts] == ["ok", "error"]
        check_sums(row)
        assert (row.tokens.output or 0) > 0

    serve(tmp_path, use, Says([SEARCH], "tool_use"), failing_at=1)


def test_a_whole_compaction_goes_out_signed_and_is_understood_by_its_server(tmp_path: Path) -> None:
    async def use(server: Server) -> None:
        message, _ = await server.ask(request([user("Go.")], compaction={"type": "summarize"}))
        (block,) = message.content
        assert isinstance(block, CompactionBlock)
        await server.ask(request([sent_back(message), user("On.")]))
        changed = block.model_copy(update={"content": "Other."}).model_dump(mode="json")
        with pytest.raises(InvalidRequest) as caught:
            await server.ask(request([assistant(changed), user("On.")]))
        assert caught.value.code == "compaction_content_mismatch"
        await server.ledger.flush()
        assert await server.ledger.get("req_3") is None

    serve(tmp_path, use, Says([text("Short.")]))
