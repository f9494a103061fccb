"""Our completion against what OpenAI's official package accumulates of the chunks that we send."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from openai._streaming import SSEDecoder
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from renga.events import BlockDelta, Candidate, Event, TextDelta, TokenLogprob
from renga.http.openai.answers import Choice, ChunkForm, Completion
from tests.sdks.test_fold import streams


def chunks(events: list[Event], *, size: int, reused: int, logprobs: bool) -> list[bytes]:
    """The bytes of a stream of `events`, so many at a time."""
    choice = Choice(created=1_800_000_000, reused=lambda: reused, logprobs=logprobs)
    form = ChunkForm(choice, include_usage=True)
    wire = b"".join(form.write(event) for event in events) + form.end()
    wire = form.ping + wire
    return [wire[at : at + size] for at in range(0, len(wire), size)]


def accumulated(sent: list[bytes]) -> ChatCompletion:
    """What the package makes of these bytes, by its own decoder and its own accumulation."""
    state = ChatCompletionStreamState()
    data = [event.data for event in SSEDecoder().iter_bytes(iter(sent))]
    assert data.pop() == "[DONE]"
    for one in data:
        state.handle_chunk(ChatCompletionChunk.model_validate_json(one))
    return state.current_completion_snapshot


def plain(completion: ChatCompletion) -> dict[str, Any]:
    """It without what the package adds for its own ends."""
    found: dict[str, Any] = json.loads(completion.model_dump_json(exclude_none=True))
    message = found["choices"][0]["message"]
    for call in message.get("tool_calls") or ():
        call.pop("index", None)
        call["function"].pop("parsed_arguments", None)
    if not message.get("tool_calls"):
        message.pop("tool_calls", None)
    message.setdefault("content", "")
    for choice in found["choices"]:
        choice["logprobs"] = (choice.get("logprobs") or {}).get("content") or []
    return found


@settings(max_examples=200, deadline=None)
@given(events=streams(), data=st.data())
def test_the_completion_is_what_the_package_accumulates_from_our_chunks(
    events: list[Event], data: st.DataObject
) -> None:
    logprobs = data.draw(st.booleans(), label="logprobs")
    if logprobs:
        events = [_with_logprobs(event, data) for event in events]
    reused = data.draw(st.integers(0, 10**6), label="reused")
    size = data.draw(st.integers(1, 300), label="bytes at a time")
    sent = chunks(events, size=size, reused=reused, logprobs=logprobs)

    choice = Choice(created=1_800_000_000, reused=lambda: reused, logprobs=logprobs)
    completion = Completion(choice)
    for event in events:
        completion.see(event)
    ours = ChatCompletion.model_validate_json(completion.body(logprobs=logprobs))

    assert plain(accumulated(sent)) == plain(ours)
    calls = ours.choices[0].message.tool_calls or []
    assert all(isinstance(json.loads(call.function.arguments), dict) for call in calls)  # type: ignore[union-attr]


def _with_logprobs(event: Event, data: st.DataObject) -> Event:
    if not isinstance(event, BlockDelta) or not isinstance(event.delta, TextDelta):
        return event
    text = event.delta.text.encode()
    certainty = st.floats(-50, 0)
    other = Candidate(data=b"\xff", logprob=data.draw(certainty))
    token = TokenLogprob(data=text, logprob=data.draw(certainty), top=(other,))
    return event.model_copy(update={"delta": event.delta.model_copy(update={"logprobs": (token,)})})
