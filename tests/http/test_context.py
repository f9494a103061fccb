"""Edits of the context over HTTP: what goes out, in both forms, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic.types.beta import BetaMessage, BetaMessageTokensCount

from tests.http.served import Serve, Served, asking

CLEAR = {"type": "clear_tool_uses_20250919"}
KEEP_ALL = {"type": "clear_thinking_20251015", "keep": "all"}
TRIGGER = {"type": "input_tokens", "value": 50_000}
COMPACT = {"type": "compact_20260112", "trigger": TRIGGER}
LONG = "abc " * 50_000  # a token each for the scripted backend


def events(body: str) -> list[dict[str, Any]]:
    lines = body.splitlines()
    return [json.loads(line[6:]) for line in lines if line.startswith("data: ")]


@pytest.mark.parametrize(
    ("edits", "told"), [(None, None), ([KEEP_ALL], []), ([CLEAR], []), ([KEEP_ALL, CLEAR], [])]
)
async def test_an_answer_says_what_was_left_out_where_it_was_asked_for(
    echo: Served, edits: Any, told: Any
) -> None:
    more: dict[str, Any] = {} if edits is None else {"context_management": {"edits": edits}}
    whole = (await echo.post(asking(**more))).json()
    streamed = events((await echo.post(asking(**more, stream=True))).text)
    (delta,) = (e for e in streamed if e["type"] == "message_delta")
    for said in (whole, delta):
        assert said.get("context_management", {"applied_edits": None})["applied_edits"] == told
    BetaMessage.model_validate(whole)


async def test_a_count_says_what_it_was_before(echo: Served) -> None:
    body = asking(context_management={"edits": [KEEP_ALL]})
    del body["max_tokens"]
    counted = (await echo.post(body, "/v1/messages/count_tokens")).json()
    assert counted == {"input_tokens": 4, "context_management": {"original_input_tokens": 4}}
    BetaMessageTokensCount.model_validate(counted)
    del body["context_management"]
    assert (await echo.post(body, "/v1/messages/count_tokens")).json() == {"input_tokens": 4}


async def test_a_long_conversation_is_summed_up_before_its_answer(serve: Serve) -> None:
    served = await serve(haiku={"window": 100_000, "reply": "In short."})
    body = asking(LONG, context_management={"edits": [COMPACT]}, stream=True)
    response = await served.post(body)
    sent = events(response.text)
    starts = [e["content_block"]["type"] for e in sent if e["type"] == "content_block_start"]
    assert starts == ["compaction", "text"]
    row = await served.row(response)
    assert [a.layer for a in row.attempts] == ["compaction", None]
    assert row.tokens.input == sum(a.tokens.input or 0 for a in row.attempts)
    delta = sent[-2]
    assert delta["delta"]["stop_reason"] == "end_turn"
    assert [i["type"] for i in delta["usage"]["iterations"]] == ["compaction", "message"]


async def test_a_summary_that_was_asked_for_comes_back_only_as_it_was(serve: Serve) -> None:
    served = await serve(haiku={"reply": "In short."})
    answer = (await served.post(asking(compaction={"type": "summarize"}))).json()
    (block,) = answer["content"]
    assert answer["stop_reason"] == "compaction"
    assert (block["type"], block["content"]) == ("compaction", "In short.")
    body = asking("And now?")
    body["messages"].insert(0, {"role": "assistant", "content": [block]})
    assert (await served.post(body)).status_code == 200
    block["content"] = "At length."
    refused = await served.post(body)
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert error["details"]["error_code"] == "compaction_content_mismatch"
    assert error["message"].startswith("messages.0.content.0.content: ")
