"""The loop around the model: how requests end, what they are told, and what a fault costs."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher

from renga.engine.engine import Engine
from renga.engine.grammar import Grammars
from renga.engine.messages import (
    EngineSettings,
    Finished,
    FromEngine,
    Output,
    Refused,
    Started,
    Submit,
)
from renga.engine.request import Language
from renga.engine.text import Vocabulary
from tests.engine.fakes import BreakingGrammars, CountingModel
from tests.engine.harness import NAMES, Workbench, model_folder, run
from tests.tiny_model import TURN_END, write_words

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("words")
    write_words(folder)
    path: Path = folder / "tokenizer.json"
    return path


@pytest.fixture(scope="module", params=NAMES)
def bench(request, tmp_path_factory) -> Workbench:
    folder = model_folder(request.param, tmp_path_factory.mktemp("engine"))
    return Workbench(folder, precision="exact", kv_bytes=200_000_000)


def _engine(words: Path, model: CountingModel | None = None, **changes) -> Engine:
    model = model or CountingModel()
    grammars = changes.pop("grammars", None) or Grammars(words, model.vocab, [TURN_END])
    return Engine(
        model,
        Language(Vocabulary.load(words), grammars, frozenset([TURN_END])),
        EngineSettings(model="counting", **changes),
        clock=itertools.count().__next__,
        entropy=lambda: 0,
    )


def _submit(id: str = "one", **changes) -> Submit:
    given: dict[str, Any] = {
        "salt": "team",
        "prompt": [10, 11, 12],
        "max_tokens": 5,
        "temperature": 0.0,
    }
    return Submit(id=id, **{**given, **changes})


def _finished(event: FromEngine) -> Finished:
    assert isinstance(event, Finished)
    return event


def _tokens(event: FromEngine) -> list[int]:
    assert isinstance(event, Output)
    return event.tokens


def test_an_answer_is_started_then_output_then_finished_once(words):
    engine = _engine(words)
    assert engine.submit(_submit()) == []
    events = list(itertools.chain.from_iterable(engine.step() for _ in range(6)))
    # The clock tells a second more each time it is asked.
    assert events[0] == Started("one", 3, 0, waited_seconds=3, prefill_seconds=2, prefill_steps=1)
    assert [_tokens(event) for event in events[1:-1]] == [[13], [14], [15], [16], [17]]
    assert events[-1] == Finished(
        id="one", reason="max_tokens", prompt_tokens=3, reused_tokens=0, output_tokens=5, steps=5
    )
    assert not engine.busy
    assert engine.stats().free_blocks == engine.stats().blocks


def test_a_prompt_of_several_steps_says_how_many_and_how_long_it_waited(words):
    engine = _engine(words, CountingModel(window=4_096))
    engine.submit(_submit(prompt=[100] * 600, max_tokens=2))
    events: list[FromEngine] = []
    while engine.busy:
        events += engine.step()
    started = events[0]
    assert isinstance(started, Started)
    assert started.prefill_steps == 3  # of 256 tokens at most
    assert started.waited_seconds > 0
    assert started.prefill_seconds > started.prefill_steps
    assert _finished(events[-1]).steps == 4


def test_the_end_token_ends_the_turn_and_is_counted(words):
    model = CountingModel()
    engine = _engine(words, model)
    model.next_token = TURN_END
    [answer] = run(engine, [_submit()]).values()
    assert (answer.tokens, answer.text) == ([TURN_END], "")
    assert (answer.end.reason, answer.end.output_tokens) == ("end_turn", 1)


def test_generation_that_reaches_the_window_says_so(words):
    engine = _engine(words, CountingModel(window=64))
    [answer] = run(engine, [_submit(prompt=[100] * 60, max_tokens=128_000)]).values()
    assert (answer.end.reason, answer.end.output_tokens) == ("window", 4)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"prompt": []}, "prompt: it is empty"),
        ({"prompt": [5] * 64}, "prompt is too long: 64 tokens > 63 maximum"),
        ({"prompt": [600]}, "token ids from 0 to 599"),
        ({"prompt": [-1]}, "token ids from 0 to 599"),
        ({"max_tokens": -1}, "max_tokens: -1; 0 (the prompt alone)"),
        ({"temperature": -1.0}, "temperature: -1.0"),
        ({"temperature": float("nan")}, "temperature: nan"),
        ({"temperature": float("inf")}, "temperature: inf"),
        ({"top_p": 0.0}, "top_p: 0.0"),
        ({"top_k": -1}, "top_k: -1"),
        ({"min_p": 1.5}, "min_p: 1.5"),
    ],
)
def test_an_impossible_request_ends_at_once_with_a_sentence(words, changes, sentence):
    engine = _engine(words, CountingModel(window=64))
    [event] = engine.submit(_submit(**changes))
    assert isinstance(event, Finished)
    assert event.reason == "error"
    assert sentence in (event.error or "")
    assert not engine.busy


def test_a_grammar_that_is_none_is_told_from_what_is_the_engines_fault(words):
    engine = _engine(words)
    [event] = engine.submit(_submit(grammar="start: nonsense("))
    assert isinstance(event, Finished)
    assert event.reason == "grammar"
    assert (event.error or "").startswith("grammar: ")
    assert not engine.busy


def test_a_step_that_raises_ends_its_sequences_and_the_engine_lives_on(words):
    model = CountingModel()
    engine = _engine(words, model)
    engine.submit(_submit("one"))
    engine.submit(_submit("two", prompt=[99] * 100))
    engine.step()
    model.raises = RuntimeError("out of luck")
    ends = [event for event in engine.step() if isinstance(event, Finished)]
    assert {event.id for event in ends} == {"one", "two"}
    assert all("out of luck" in (event.error or "") for event in ends)
    model.raises = None
    [answer] = run(engine, [_submit("three")]).values()
    assert answer.end.reason == "max_tokens"
    assert engine.stats().free_blocks == engine.stats().blocks


def test_a_first_token_of_a_step_that_raises_after_it_comes_behind_its_start(words):
    grammars = BreakingGrammars(words, MemoryError("out of luck"), calls=0)
    engine = _engine(words, grammars=grammars)
    engine.submit(_submit("one"))
    engine.submit(_submit("two", grammar=LLMatcher.grammar_from_regex("[a-z]{3,40}")))
    events = engine.step()
    assert [type(event) for event in events] == [Started, Output, Finished, Finished]
    assert [getattr(event, "id", "") for event in events] == ["one", "one", "one", "two"]
    assert _finished(events[2]).output_tokens == len(_tokens(events[1])) == 1
    assert _finished(events[3]).output_tokens == 0
    stats = engine.stats()
    assert (stats.prompt_tokens, stats.output_tokens) == (3, 1)
    assert stats.free_blocks == stats.blocks


def test_a_full_queue_refuses_with_a_time(words):
    engine = _engine(words, max_running=1, max_waiting=2)
    answers = run(engine, [_submit(str(number)) for number in range(5)])
    refused = [answer.refused for answer in answers.values() if answer.refused]
    assert [one.id for one in refused] == ["3", "4"]
    assert all(1 <= one.retry_after <= 60 for one in refused)
    assert all(answers[id].end.reason == "max_tokens" for id in "012")


def test_cancelling_frees_the_blocks_before_the_next_step(words):
    engine = _engine(words)
    engine.submit(_submit(prompt=[7] * 500, max_tokens=1_000))
    engine.step()
    assert engine.stats().free_blocks < engine.stats().blocks
    [event] = engine.cancel("one")
    assert isinstance(event, Finished)
    assert (event.reason, event.prompt_tokens) == ("cancelled", 500)
    assert engine.stats().free_blocks == engine.stats().blocks
    assert engine.step() == []
    assert engine.cancel("one") == []


def test_an_id_in_use_is_an_error_and_leaves_the_first_alone(words):
    engine = _engine(words)
    engine.submit(_submit())
    [event] = engine.submit(_submit())
    assert isinstance(event, Finished)
    assert "in use" in (event.error or "")
    assert engine.busy


def test_too_few_blocks_are_an_error_and_not_a_hang(words):
    engine = _engine(words, CountingModel(blocks=2))
    [answer] = run(engine, [_submit(prompt=[99] * 40, max_tokens=100)]).values()
    assert answer.end.reason == "error"
    assert "too few blocks" in (answer.end.error or "")


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 250), st.integers(1, 80), st.sampled_from("ab"), st.booleans()),
        min_size=1,
        max_size=12,
    ),
    st.lists(st.integers(0, 11), max_size=4),
)
def test_every_request_ends_exactly_once(words, requests, cancelled):
    engine = _engine(words, CountingModel(blocks=12, window=384), max_running=3, max_waiting=6)
    ends: list[str] = []
    events = []
    for number, (length, output, salt, batch) in enumerate(requests):
        lane = "batch" if batch else "interactive"
        events += engine.submit(
            _submit(str(number), prompt=[number] * length, max_tokens=output, salt=salt, lane=lane)
        )
        events += engine.step()
    for number in cancelled:
        events += engine.cancel(str(number))
    while engine.busy:
        events += engine.step()
    ends = [event.id for event in events if isinstance(event, Finished | Refused)]
    assert sorted(ends) == sorted(str(number) for number in range(len(requests)))
    for id in set(ends):
        own = [event for event in events if getattr(event, "id", None) == id]
        assert isinstance(own[-1], Finished | Refused)
    assert engine.stats().free_blocks == engine.stats().blocks


def test_who_fills_a_full_queue_loses_a_place_to_a_quiet_workspace_and_is_told_so(words):
    engine = _engine(words, max_running=1, max_waiting=2)
    events = [event for id in "abc" for event in engine.submit(_submit(id, salt="flood"))]
    assert events == []
    [refused] = engine.submit(_submit("quiet", salt="quiet"))
    assert isinstance(refused, Refused)
    assert (refused.id, refused.reason) == ("c", "overloaded")
    assert refused.retry_after >= 1
    assert engine.cancel("c") == []
    while engine.busy:
        events += engine.step()
    ended = [event.id for event in events if isinstance(event, Finished)]
    assert sorted(ended) == ["a", "b", "quiet"]


def test_a_stop_sequence_across_tokens_cuts_the_text_and_is_named(bench):
    [plain] = run(bench.engine(), [_greedy(bench, 40)]).values()
    text = plain.text
    middle = len(text) // 2
    stop = text[middle : middle + 5]
    place = text.find(stop)
    [cut] = run(bench.engine(), [_greedy(bench, 40, stop=["\u0000never", stop])]).values()
    assert cut.text == text[:place]
    assert (cut.end.reason, cut.end.stop_sequence) == ("stop_sequence", stop)
    assert cut.tokens == plain.tokens[: len(cut.tokens)]
    assert cut.end.output_tokens == len(cut.tokens) < len(plain.tokens)


def test_the_text_is_what_the_tokens_decode_to(bench):
    answers = run(bench.engine(), [_greedy(bench, 60, number=n, id=str(n)) for n in range(8)])
    for answer in answers.values():
        assert answer.text == bench.tokenizer.decode(answer.tokens, skip_special_tokens=True)


def test_a_seed_reproduces_the_answer_alone_and_in_company(bench):
    wanted = _greedy(bench, 40, temperature=1.0, seed=7, top_p=0.95)
    [alone] = run(bench.engine(), [wanted]).values()
    others = [_greedy(bench, 40, id=f"o{n}", number=n, temperature=1.0) for n in range(15)]
    together = run(bench.engine(), [*others, wanted])
    assert together["greedy"].tokens == alone.tokens
    other_seed = _greedy(bench, 40, temperature=1.0, seed=8, top_p=0.95)
    [different] = run(bench.engine(), [other_seed]).values()
    assert different.tokens != alone.tokens


SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "kind": {"enum": ["refund", "invoice"]},
        "count": {"type": "integer", "minimum": 0, "maximum": 99},
        "paid": {"type": "boolean"},
    },
    "required": ["name", "kind", "count", "paid"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("temperature", [0.0, 1.0, 3.0])
def test_under_a_schema_the_answer_is_valid_whatever_is_drawn(bench, temperature):
    grammar = LLMatcher.grammar_from_json_schema(SCHEMA, overrides={"whitespace_flexible": False})
    submits = [
        _greedy(bench, 400, id=str(n), number=n, temperature=temperature, grammar=grammar, seed=n)
        for n in range(6)
    ]
    plain = _greedy(bench, 30, id="plain")
    answers = run(bench.engine(), [*submits, plain])
    expected = run(bench.engine(), [plain])["plain"].tokens
    assert answers.pop("plain").tokens == expected
    for answer in answers.values():
        assert answer.end.reason == "end_turn", answer.end
        jsonschema.validate(json.loads(answer.text), SCHEMA)


def test_a_regular_grammar_may_end_where_it_accepts(bench):
    grammar = LLMatcher.grammar_from_regex("(yes|no)( indeed)?")
    [answer] = run(bench.engine(ends=True), [_greedy(bench, 20, grammar=grammar)]).values()
    assert answer.text in {"yes", "no", "yes indeed", "no indeed"}
    assert answer.end.reason == "end_turn"


def _greedy(
    bench: Workbench, tokens: int, *, number: int = 3, id: str = "greedy", **changes
) -> Submit:
    prompt = bench.prompts(16)[number]
    given: dict[str, Any] = {"salt": "team", "max_tokens": tokens, "temperature": 0.0}
    return Submit(id=id, prompt=prompt, **{**given, **changes})


def test_started_comes_just_before_the_first_output(bench):
    engine = bench.engine(step_tokens=32)
    engine.submit(_greedy(bench, 3, number=7))
    events = []
    while engine.busy:
        events += engine.step()
    assert isinstance(events[0], Started)
    assert isinstance(events[1], Output)
