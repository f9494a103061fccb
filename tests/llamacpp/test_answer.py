"""One answer out of several completions, by a server that says what it is told."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renga.engine.cache import CacheUse
from renga.engine.messages import Finished, Started
from renga.llamacpp.answer import Answer, Event
from renga.llamacpp.asking import Ask, Prompt, Said, Thinking

PROMPT = [1, 2, 3]
THINK = Thinking("\n</think>\n\n", "</think>", budget=8)


class Script:
    """Completes with the next of `texts`, a character a token; "$" is the end of the turn."""

    def __init__(self, *texts: str, cached: int = 0) -> None:
        self.texts, self.cached = list(texts), cached
        self.bodies: list[dict[str, Any]] = []
        self.closed = 0

    async def tokens(self, text: str) -> list[int]:
        return [ord(char) for char in text]

    async def complete(self, body: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        self.bodies.append(body)
        total = len(body["prompt"])
        progress = {"total": total, "cache": self.cached, "processed": total}
        yield {"tokens_predicted": 0, "prompt_progress": {**progress, "processed": 0}}
        yield {"tokens_predicted": 0, "content": "", "prompt_progress": progress}
        try:
            async for event in self._written(body, self.texts.pop(0)):
                yield event
        finally:
            self.closed += 1

    async def _written(
        self, body: dict[str, Any], text: str
    ) -> AsyncGenerator[dict[str, Any], None]:
        shown, count, ended, word = "", 0, "limit", ""
        for char in text[: max(1, body["n_predict"])]:
            count += 1
            if char == "$":
                ended = "eos"
                break
            shown += char
            word = next((stop for stop in body["stop"] if shown.endswith(stop)), "")
            if word:
                ended = "word"
                break
        kept = shown.removesuffix(word)
        sent = 0
        for number in range(1, count + 1):
            # What may yet become a stop is held back, as the library does it.
            held = max((len(stop) for stop in body["stop"]), default=1) - 1
            end = max(sent, min(number - held, len(kept)))
            yield {"tokens_predicted": number, "content": kept[sent:end]}
            sent = end
        final = {"tokens_predicted": count, "content": kept[sent:], "stop": True}
        yield {**final, "stop_type": ended, "stopping_word": word}


def asked(**fields: Any) -> Ask:
    return Ask(**{"workspace": "w", "prompt": Prompt(tokens=PROMPT), "most": 100, **fields})


async def answered(script: Script, ask: Ask, window: int = 1_000) -> list[Event]:
    answer = Answer(ask, script, window, lambda reused: CacheUse(min(reused, 2), 0, 0))
    async with aclosing(answer.events()) as events:
        return [event async for event in events]


def said(events: list[Event], *, thinking: bool = False) -> str:
    return "".join(e.text for e in events if isinstance(e, Said) and e.thinking == thinking)


def end(events: list[Event]) -> Finished:
    last = events[-1]
    assert isinstance(last, Finished)
    counts = [e for e in events if isinstance(e, Said)]
    assert sum(e.count for e in counts) == last.output_tokens
    assert sum(e.count for e in counts if e.thinking) == last.thinking_tokens
    assert [isinstance(e, Started) for e in events].count(True) <= 1
    assert isinstance(events[0], Started | Finished)
    return last


async def test_a_plain_answer_is_one_completion():
    script = Script("hello$", cached=2)
    events = await answered(script, asked())
    started = events[0]
    assert isinstance(started, Started)
    assert (started.prompt_tokens, started.reused_tokens, started.cache_read_tokens) == (3, 2, 2)
    assert (said(events), end(events).reason, end(events).output_tokens) == (
        "hello",
        "end_turn",
        6,
    )
    assert "grammar" not in script.bodies[0]


async def test_no_tokens_asked_is_the_prompt_alone():
    script = Script("hello$")
    events = await answered(script, asked(most=0))
    assert [type(e) for e in events] == [Started, Finished]
    assert (end(events).reason, end(events).output_tokens) == ("max_tokens", 0)


@pytest.mark.parametrize(
    ("most", "window", "reason"), [(3, 1_000, "max_tokens"), (100, 6, "window")]
)
async def test_an_answer_ends_at_its_limit(most, window, reason):
    script = Script("hello world")
    events = await answered(script, asked(most=most), window)
    assert (said(events), end(events).reason) == ("hel", reason)


async def test_a_stop_sequence_ends_the_answer_and_the_work():
    script = Script("one two three$")
    events = await answered(script, asked(stop=["never", " two"]))
    assert (said(events), end(events).reason) == ("one", "stop_sequence")
    assert (end(events).stop_sequence, end(events).output_tokens) == (" two", 7)
    assert script.closed == 1
    assert script.bodies[0]["stop"] == []


async def test_a_thought_that_ends_by_itself_is_closed_as_the_template_does_it():
    for thought in ("hm.\n</think>", "hm.</think>"):
        script = Script(thought, "yes$")
        events = await answered(script, asked(thinking=Thinking("\n</think>\n\n", "</think>", 20)))
        assert (said(events, thinking=True).rstrip("\n"), said(events)) == ("hm.", "yes")
        behind = "".join(map(chr, script.bodies[1]["prompt"][3:]))
        assert behind == thought + "\n\n"
        assert end(events).thinking_tokens == len(thought) + 2
        assert end(events).output_tokens == len(thought) + 2 + 4


async def test_a_thought_beyond_its_budget_is_closed_for_it():
    script = Script("on and on and on", "yes$")
    events = await answered(script, asked(thinking=THINK))
    assert (said(events, thinking=True), said(events)) == ("on and o", "yes")
    assert end(events).thinking_tokens == 8 + len(THINK.closing)


async def test_whoever_ends_the_turn_in_thought_owes_the_answer():
    script = Script("ok$", "yes$")
    events = await answered(script, asked(thinking=THINK))
    assert (said(events, thinking=True), said(events)) == ("ok", "yes")
    assert end(events).thinking_tokens == 2 + len(THINK.closing)


async def test_a_thought_that_nobody_wants_is_closed_before_anything_is_written():
    script = Script("yes$")
    events = await answered(script, asked(thinking=Thinking("</think>\n", "</think>", 0)))
    started = events[0]
    assert isinstance(started, Started)
    assert started.prompt_tokens == 3
    assert len(script.bodies[0]["prompt"]) == 3 + 9
    assert (said(events), end(events).output_tokens) == ("yes", 9 + 4)


async def test_a_grammar_rules_from_its_trigger_on_and_no_stop_does():
    script = Script("Well: <call>{}$", "<call>{}$")
    ask = asked(grammar='start: "<call>{}"', trigger="<call>", stop=["{"])
    events = await answered(script, ask)
    assert (said(events), end(events).reason) == ("Well: <call>{}", "end_turn")
    assert "grammar" not in script.bodies[0]
    assert "whole_answer" not in script.bodies[1]["grammar"]
    assert "".join(map(chr, script.bodies[1]["prompt"][3:])) == "Well: "
    assert end(events).output_tokens == len("Well: <call>{}$")


async def test_without_its_trigger_the_answer_is_text_and_stops_hold():
    ask = asked(grammar='start: "<call>"', trigger="<call>", stop=["."])
    events = await answered(Script("No call. At all$"), ask)
    assert (said(events), end(events).reason) == ("No call", "stop_sequence")


async def test_behind_the_quiet_mark_no_stop_holds():
    ask = asked(grammar="start: /(?s:.*)/", quiet="<call>", stop=["{", "."])
    events = await answered(Script('a <call>{"a":1.5}$'), ask)
    assert (said(events), end(events).reason) == ('a <call>{"a":1.5}', "end_turn")
    events = await answered(Script("a{ <call>$"), ask)
    assert (said(events), end(events).stop_sequence) == ("a", "{")


async def test_what_does_not_follow_its_grammar_is_an_error_and_no_answer():
    events = await answered(Script("abx$"), asked(grammar="start: /[ab]+/"))
    assert (said(events), end(events).reason) == ("ab", "grammar")
    events = await answered(Script("ab$"), asked(grammar='start: "abc"'))
    assert end(events).reason == "grammar"
    script = Script()
    events = await answered(script, asked(grammar="start: nonsense ("))
    assert (end(events).reason, script.bodies) == ("grammar", [])


@given(
    text=st.text("ab<.$", max_size=20),
    most=st.integers(1, 24),
    stops=st.lists(st.text("ab<.", min_size=1, max_size=3), max_size=3),
    budget=st.none() | st.integers(0, 6),
)
async def test_tokens_add_up_and_no_stop_is_shown(text, most, stops, budget):
    thinking = None if budget is None else Thinking("</t>", "</t>", budget)
    script = Script(text or "$", text or "$")
    events = await answered(script, asked(most=most, stop=stops, thinking=thinking))
    last = end(events)
    assert last.output_tokens <= most
    assert not any(stop in said(events) for stop in stops)
    assert (last.reason == "stop_sequence") == (last.stop_sequence is not None)
    if last.output_tokens == most:
        assert last.reason in ("max_tokens", "stop_sequence", "end_turn")
