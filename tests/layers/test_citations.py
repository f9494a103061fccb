"""Cutting an answer into cited blocks: nothing of it is lost, in whatever pieces it comes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from renga.caller import Caller
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
    Ping,
    TextDelta,
    fold,
)
from renga.layers.base import Ways
from renga.layers.citations import ADVICE, citing
from renga.types import (
    ContentBlock,
    DocumentParam,
    Message,
    MessagesRequest,
    Prompt,
    TextBlock,
    TokenCount,
    ToolUseBlock,
    Usage,
)
from tests.layers.below import no_score

TEXT = "The bridge opened in 1932. It is 503 metres long. Nobody may swim below it."
SAID = [
    "The bridge opened in 1932. ",
    "I like it. ",
    "It is 503 metres long.\n",
    "Ask me more! ",
    "x",
]
CALL = ToolUseBlock(id="toolu_1", name="look", input={})


async def no_pages(document: DocumentParam, path: str) -> Sequence[str]:
    return ()


def asked(enabled: bool = True, system: Any = None) -> MessagesRequest:
    document = {
        "type": "document",
        "source": {"type": "text", "media_type": "text/plain", "data": TEXT},
        "citations": {"enabled": enabled},
    }
    question = {"type": "text", "text": "When did the bridge open?"}
    turns = [{"role": "user", "content": [document, question]}]
    fields = {"model": "haiku", "max_tokens": 99, "messages": turns, "system": system}
    return MessagesRequest.model_validate(fields)


def answer(parts: Sequence[str | ToolUseBlock], cuts: Sequence[int] = ()) -> list[Event]:
    """The events of an answer; a text is cut at some of `cuts`."""
    usage = Usage(input_tokens=5, output_tokens=0)
    events: list[Event] = [
        MessageStart(message=Message(id="m", model="haiku", content=[], usage=usage))
    ]
    for index, part in enumerate(parts):
        block: ContentBlock = TextBlock(text="") if isinstance(part, str) else part
        events.append(BlockStart(index=index, content_block=block))
        if isinstance(part, str):
            places = [0, *sorted({cut for cut in cuts if 0 < cut < len(part)}), len(part)]
            for start, end in zip(places, places[1:], strict=False):
                events += [
                    BlockDelta(index=index, delta=TextDelta(text=part[start:end])),
                    Ping(),
                ]
        else:
            events.append(BlockDelta(index=index, delta=InputJsonDelta(partial_json="{}")))
        events.append(BlockStop(index=index))
    ending = Ending(stop_reason="end_turn")
    events.append(MessageDelta(delta=ending, usage=DeltaUsage(output_tokens=42)))
    return [*events, MessageStop()]


class Below:
    """The way below the layer: it keeps what it was asked."""

    def __init__(self, events: Sequence[Event] = ()) -> None:
        self.events = events
        self.asked: list[Prompt] = []

    async def stream(self, request: MessagesRequest, caller: Caller) -> AsyncIterator[Event]:
        self.asked.append(request)
        for event in self.events:
            yield event

    async def count(self, prompt: Prompt, caller: Caller) -> TokenCount:
        self.asked.append(prompt)
        return TokenCount(input_tokens=1)

    def ways(self) -> Ways:
        return citing(no_pages)(Ways(self.stream, self.count, lambda prompt: 1000, no_score))


async def through(events: Sequence[Event], request: MessagesRequest | None = None) -> list[Event]:
    ways = Below(events).ways()
    return [e async for e in ways.stream(request or asked(), Caller("w", "req_1"))]


async def test_a_cited_sentence_is_a_block_and_what_is_between_is_one() -> None:
    message = fold(await through(answer(["".join(SAID)])))
    blocks = [block for block in message.content if isinstance(block, TextBlock)]
    assert [block.text for block in blocks] == [SAID[0], SAID[1], SAID[2], SAID[3] + SAID[4]]
    cited = [[c.cited_text for c in block.citations or ()] for block in blocks]
    assert cited == [["The bridge opened in 1932."], [], ["It is 503 metres long."], []]
    assert [block.citations is None for block in blocks] == [False, True, False, True]
    assert message.usage.output_tokens == 42  # what is cited costs nothing


PARTS = st.lists(
    st.one_of(st.lists(st.sampled_from(SAID), max_size=6).map("".join), st.just(CALL)), max_size=4
)


@given(PARTS, st.lists(st.integers(0, 150), max_size=20))
async def test_however_an_answer_comes_its_text_and_its_blocks_are_the_same(
    parts: list[str | ToolUseBlock], cuts: list[int]
) -> None:
    given_, whole = answer(parts, cuts), fold(await through(answer(parts)))
    found = fold(await through(given_))  # which checks the order of events too
    assert found == whole
    texts = "".join(b.text if isinstance(b, TextBlock) else "|" for b in found.content)
    plain = "".join(b.text if isinstance(b, TextBlock) else "|" for b in fold(given_).content)
    assert texts == plain
    assert all(b.text or b.citations is None for b in found.content if isinstance(b, TextBlock))


@given(st.lists(st.sampled_from(SAID[:4]), min_size=1, max_size=6))
async def test_no_more_than_a_sentence_is_held_back(said: list[str]) -> None:
    text = "".join(said)
    events = answer([text], list(range(len(text))))
    sent = shown = 0
    held = 0
    ways = Below(()).ways()

    async def spy(request: MessagesRequest, caller: Caller) -> AsyncIterator[Event]:
        nonlocal sent, held
        for event in events:
            if isinstance(event, BlockDelta) and isinstance(event.delta, TextDelta):
                sent += len(event.delta.text)
            yield event
            if sent < len(text):
                held = max(held, sent - shown)

    ways = citing(no_pages)(Ways(spy, ways.count, lambda prompt: 1000, no_score))
    async for event in ways.stream(asked(), Caller("w", "req_1")):
        if isinstance(event, BlockDelta) and isinstance(event.delta, TextDelta):
            shown += len(event.delta.text)
    assert held <= max(map(len, said)) + 1  # and the character that tells its end


async def test_where_nothing_is_to_be_cited_nothing_is_touched() -> None:
    events = answer(["".join(SAID), CALL])
    assert await through(events, asked(enabled=False)) == events


async def test_the_model_is_told_and_the_count_says_so() -> None:
    below = Below(answer(["x"]))
    ways = below.ways()
    mark = {"type": "ephemeral"}
    system = [{"type": "text", "text": "Be kind.", "cache_control": mark}]
    [e async for e in ways.stream(asked(system=system), Caller("w", "r"))]
    await ways.count(asked(), Caller("w", "r"))
    await ways.count(asked(enabled=False), Caller("w", "r"))
    told = [[block.text for block in prompt.system or ()] for prompt in below.asked]
    assert told == [["Be kind.", ADVICE], [ADVICE], []]
