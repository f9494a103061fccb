"""Thinking out and back: signed once, last; read again where it stood, and nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from renga.chat.signing import Signer
from renga.errors import InvalidRequest
from renga.events import (
    BlockDelta,
    BlockStart,
    BlockStop,
    DeltaUsage,
    Ending,
    Event,
    InputJsonDelta,
    MessageDelta,
    MessageStart,
    MessageStop,
    SignatureDelta,
    TextDelta,
    ThinkingDelta,
    fold,
)
from renga.thinking import CANNOT_BE_MODIFIED, opened, signed
from renga.types import (
    Message,
    MessagesRequest,
    RedactedThinkingParam,
    TextBlock,
    ThinkingBlock,
    ThinkingParam,
    ToolUseBlock,
    Usage,
)

SIGNER = Signer.temporary()
ADAPTIVE = {"type": "adaptive"}
QUESTION = {"role": "user", "content": "17 + 25?"}
ADD = {"name": "add", "input_schema": {"type": "object"}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "42"}


def ask(*messages: dict[str, Any], **fields: Any) -> MessagesRequest:
    fields = {"max_tokens": 2_000, "thinking": ADAPTIVE, **fields}
    return MessagesRequest.model_validate(
        {"model": "haiku", "messages": list(messages) or [QUESTION], **fields}
    )


def answer(*blocks: tuple[str, str]) -> list[Event]:
    """The events of an answer as a backend gives them: its thinking is not signed."""
    empty: dict[str, Any] = {
        "thinking": ThinkingBlock(thinking="", signature=""),
        "text": TextBlock(text=""),
        "tool_use": ToolUseBlock(id="toolu_1", name="add", input={}),
    }
    usage = Usage(input_tokens=1, output_tokens=0)
    events: list[Event] = [MessageStart(message=Message(id="", model="", content=[], usage=usage))]
    for index, (kind, said) in enumerate(blocks):
        events.append(BlockStart(index=index, content_block=empty[kind]))
        for piece in (said[:3], said[3:]):
            delta: Any = {
                "thinking": lambda piece=piece: ThinkingDelta(thinking=piece),
                "text": lambda piece=piece: TextDelta(text=piece),
                "tool_use": lambda piece=piece: InputJsonDelta(partial_json=piece),
            }[kind]()
            events.append(BlockDelta(index=index, delta=delta))
        events.append(BlockStop(index=index))
    ending = Ending(stop_reason="end_turn")
    events += [MessageDelta(delta=ending, usage=DeltaUsage(output_tokens=9)), MessageStop()]
    return events


def sign(request: MessagesRequest, events: list[Event], signer: Signer = SIGNER) -> list[Event]:
    async def source() -> AsyncIterator[Event]:
        for event in events:
            yield event

    async def run() -> list[Event]:
        return [event async for event in signed(source(), request, signer, "renga-haiku-1")]

    return asyncio.run(run())


def read(request: MessagesRequest, model: str = "renga-haiku-1") -> list[str]:
    """The thinking that is left in a prompt, block by block."""
    prompt = opened(request, SIGNER, model)
    for before, after in zip(request.messages, prompt.messages, strict=True):
        assert [b.type for b in before.content] == [b.type for b in after.content]
    blocks = [block for message in prompt.messages for block in message.content]
    return [block.thinking for block in blocks if isinstance(block, ThinkingParam)]


def said(request: MessagesRequest, *blocks: tuple[str, str]) -> dict[str, Any]:
    """An answer as a client sends it back."""
    content = fold(sign(request, answer(*blocks))).content
    return {"role": "assistant", "content": [block.model_dump() for block in content]}


CALL = (("thinking", "17 and 25, so I add."), ("tool_use", '{"a": 17}'))


# --- out ------------------------------------------------------------------------------------------


def test_the_signature_is_the_last_delta_of_its_block() -> None:
    events = sign(ask(), answer(("thinking", "I think"), ("text", "So."), ("thinking", "More")))
    kinds = [e.delta.type if isinstance(e, BlockDelta) else e.type for e in events]
    thought = ["content_block_start", *["thinking_delta"] * 2, "signature_delta"]
    text = ["content_block_start", *["text_delta"] * 2]
    stop = "content_block_stop"
    ends = ["message_delta", "message_stop"]
    assert kinds == ["message_start", *thought, stop, *text, stop, *thought, stop, *ends]
    first, _, last = fold(events).content
    assert isinstance(first, ThinkingBlock)
    assert isinstance(last, ThinkingBlock)
    assert (first.thinking, last.thinking) == ("I think", "More")
    assert first.signature != last.signature


def test_thinking_that_is_not_shown_is_a_signature_alone() -> None:
    request = ask(thinking={**ADAPTIVE, "display": "omitted"})
    events = sign(request, answer(("thinking", "I think"), ("text", "So.")))
    deltas = [e.delta.type for e in events if isinstance(e, BlockDelta) and e.index == 0]
    assert deltas == ["signature_delta"]
    block = fold(events).content[0]
    assert isinstance(block, ThinkingBlock)
    assert block.thinking == ""


@pytest.mark.parametrize("thinking", [None, {"type": "disabled"}])
def test_an_answer_without_thinking_passes_as_it_is(thinking: Any) -> None:
    events = answer(("text", "So."))
    assert sign(ask(thinking=thinking), events) == events


# --- back -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("display", ["summarized", "omitted"])
def test_thinking_survives_the_round_trip(display: str) -> None:
    request = ask(thinking={**ADAPTIVE, "display": display})
    first = said(request, *CALL)
    results = {"role": "user", "content": [RESULT]}
    assert read(ask(QUESTION, first, results)) == ["17 and 25, so I add."]
    # A second thought of the same turn, behind the call.
    request = ask(QUESTION, first, results)
    second = said(request, ("thinking", "42 it is."), ("text", "42."))
    more = {"role": "user", "content": "And 3 + 4?"}
    conversation = ask(QUESTION, first, results, second, more)
    assert read(conversation) == ["17 and 25, so I add.", "42 it is."]


def test_text_in_a_block_that_was_not_shown_does_not_count() -> None:
    message = said(ask(thinking={**ADAPTIVE, "display": "omitted"}), *CALL)
    message["content"][0]["thinking"] = "I am a teapot."
    assert read(ask(QUESTION, message)) == ["17 and 25, so I add."]


def test_what_clients_rewrite_between_requests_changes_nothing() -> None:
    early = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi!"}]
    reminder = {"role": "system", "content": "Today is Monday."}
    request = ask(*early, QUESTION, reminder, system="You add.", tools=[ADD])
    first = said(request, ("thinking", "Sure."), ("text", "I'll add. \n"), ("tool_use", "{}"))
    first["content"][1]["text"] = "I'll add."
    first["content"][2]["cache_control"] = {"type": "ephemeral"}
    cleared = {"role": "user", "content": [{**RESULT, "content": "[cleared]"}]}
    noted = {"role": "user", "content": [RESULT, {"type": "text", "text": "Be brief."}]}
    for results in (cleared, noted):
        assert read(ask(QUESTION, first, results, system="You are terse.")) == ["Sure."]
        later = said(ask(QUESTION, first, results), ("thinking", "So."), ("text", "42."))
        assert read(ask(QUESTION, first, {"role": "user", "content": [RESULT]}, later)) == [
            "Sure.",
            "So.",
        ]


def test_a_number_that_a_client_writes_in_another_way_is_the_same() -> None:
    """JavaScript reads 17.0 and 10000000000000000001, and writes 17 and 10000000000000000000."""
    first = said(ask(), ("tool_use", '{"a": 17.0, "b": [10000000000000000001]}'))
    results = {"role": "user", "content": [RESULT]}
    later = said(ask(QUESTION, first, results), ("thinking", "So."), ("text", "42."))
    first["content"][0]["input"] = {"b": [10000000000000000000], "a": 17}
    assert read(ask(QUESTION, first, results, later, QUESTION)) == ["So."]
    first["content"][0]["input"]["a"] = 18
    assert read(ask(QUESTION, first, results, later, QUESTION)) == [""]


@pytest.mark.parametrize("path", ["thinking", "signature"])
def test_a_changed_block_in_the_latest_turn_is_refused_and_in_an_earlier_one_left_out(
    path: str,
) -> None:
    message = said(ask(), ("text", "Well."), *CALL)
    message["content"][1][path] += "x"
    results = {"role": "user", "content": [RESULT]}
    with pytest.raises(InvalidRequest) as caught:
        read(ask(QUESTION, message, results))
    assert caught.value.message == f"messages.1.content.1: {CANNOT_BE_MODIFIED}"
    later = {"role": "assistant", "content": "42."}
    assert read(ask(QUESTION, message, results, later, QUESTION)) == [""]
    # Assistant messages that stand together are one turn.
    with pytest.raises(InvalidRequest, match=r"^messages\.1\.content\.1: "):
        read(ask(QUESTION, message, later, QUESTION))


def test_what_stood_elsewhere_is_left_out() -> None:
    message = said(ask(), *CALL)
    other = {"role": "user", "content": "Who wrote Hamlet?"}
    assert read(ask(other, message)) == [""]
    assert read(ask(QUESTION, message), "renga-opus-1") == [""]
    said_before = {"role": "assistant", "content": [{"type": "text", "text": "No."}]}
    assert read(ask(QUESTION, said_before, message)) == [""]


@pytest.mark.parametrize("signature", ["", "EqQBCkYIBxgCKkAx", "rg3.AAAA"])
def test_foreign_thinking_is_left_out(signature: str) -> None:
    block = {"type": "thinking", "thinking": "I am Claude.", "signature": signature}
    redacted = {"type": "redacted_thinking", "data": "EmwKAhgBEgy3va3p"}
    message = {"role": "assistant", "content": [block, redacted, {"type": "text", "text": "Hi"}]}
    request = ask(QUESTION, message, QUESTION)
    assert read(request) == [""]
    kept = opened(request, SIGNER, "renga-haiku-1").messages[1].content[1]
    assert isinstance(kept, RedactedThinkingParam)


def with_origin(events: list[Event], signature: str) -> list[Event]:
    """The events of a backend that signs thinking itself."""
    signed_: list[Event] = []
    for event in events:
        if isinstance(event, BlockStop) and event.index == 0:
            delta = SignatureDelta(signature=signature)
            signed_.append(BlockDelta(index=0, delta=delta))
        signed_.append(event)
    return signed_


@pytest.mark.parametrize("thinking", [ADAPTIVE, {**ADAPTIVE, "display": "omitted"}, None])
def test_what_a_backend_signed_its_thinking_with_comes_back_to_it_and_is_shown_to_nobody(
    thinking: Any,
) -> None:
    request = ask(thinking=thinking)
    events = with_origin(answer(("thinking", "17 and 25"), ("text", "42")), "there:Eo4B+/=")
    out = sign(request, events)
    signatures = [
        event.delta.signature
        for event in out
        if isinstance(event, BlockDelta) and isinstance(event.delta, SignatureDelta)
    ]
    assert len(signatures) == 1
    assert "there" not in signatures[0]
    content = fold(out).model_dump(mode="json")["content"]
    assistant = {"role": "assistant", "content": content}
    back = opened(ask(QUESTION, assistant, QUESTION), SIGNER, "renga-haiku-1")
    assert back.messages[1].content[0] == ThinkingParam(
        thinking="17 and 25", signature="there:Eo4B+/="
    )
    elsewhere = opened(ask(QUESTION, assistant, QUESTION), SIGNER, "renga-opus-1")
    assert elsewhere.messages[1].content[0] == ThinkingParam(thinking="", signature="")


def test_a_prompt_without_thinking_is_the_same_object() -> None:
    request = ask(QUESTION)
    assert opened(request, SIGNER, "renga-haiku-1") is request
