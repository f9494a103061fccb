"""Prompt caching through the whole engine: what a request is told, and what that rests on."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from renga.engine.engine import Engine
from renga.engine.grammar import Grammars
from renga.engine.messages import Breakpoint, EngineSettings, Finished, Mark, Score, Started, Submit
from renga.engine.request import Language
from renga.engine.text import Vocabulary
from tests.engine.fakes import CountingModel
from tests.engine.harness import Answer, run
from tests.tiny_model import TURN_END, write_words

PREFIX = [7] * 100


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("words")
    write_words(folder)
    path: Path = folder / "tokenizer.json"
    return path


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def engine(words, clock) -> Engine:
    model = CountingModel(blocks=64)
    grammars = Grammars(words, model.vocab, [TURN_END])
    return Engine(
        model,
        Language(Vocabulary.load(words), grammars, frozenset([TURN_END])),
        EngineSettings(model="counting"),
        clock=clock,
        entropy=itertools.count().__next__,
    )


def cached(tokens: int = 100, *, ttl: int = 300, key: bytes = b"prefix") -> Breakpoint:
    return Breakpoint(ttl_seconds=ttl, marks=[Mark(key, tokens)])


def ask(engine: Engine, *breakpoints: Breakpoint, **changes) -> Answer:
    submit = Submit(
        **{
            "id": "one",
            "salt": "team",
            "prompt": [*PREFIX, 8, 9],
            "max_tokens": 3,
            "temperature": 0.0,
            "cache": list(breakpoints),
            **changes,
        }
    )
    [answer] = run(engine, [submit]).values()
    return answer


def usage(answer: Answer) -> tuple[int, int, int, int]:
    started = answer.started
    assert started is not None
    return (
        started.reused_tokens,
        started.cache_read_tokens,
        started.cache_write_5m_tokens,
        started.cache_write_1h_tokens,
    )


def test_the_first_request_writes_and_the_second_reads(engine):
    assert usage(ask(engine, cached())) == (0, 0, 96, 0)
    assert usage(ask(engine, cached())) == (96, 96, 0, 0)
    assert engine.stats().pinned_blocks == 3


def test_reuse_that_nobody_asked_for_is_told_apart_from_the_cache(engine):
    ask(engine)
    assert usage(ask(engine)) == (96, 0, 0, 0)
    assert usage(ask(engine, cached(ttl=3_600))) == (96, 0, 0, 96)
    assert usage(ask(engine, cached())) == (96, 96, 0, 0)


def test_when_its_time_is_over_a_prefix_is_not_read_though_its_blocks_are_still_there(
    engine, clock
):
    ask(engine, cached())
    clock.now = 301.0
    assert engine.stats().pinned_blocks == 0
    assert usage(ask(engine, cached())) == (96, 0, 96, 0)


def test_a_prompt_alone_warms_the_cache_and_says_nothing(engine):
    warmed = ask(engine, cached(), max_tokens=0)
    assert usage(warmed) == (0, 0, 96, 0)
    assert warmed.tokens == []
    assert warmed.end == Finished(
        id="one",
        reason="max_tokens",
        prompt_tokens=102,
        reused_tokens=0,
        output_tokens=0,
        steps=1,
    )
    assert usage(ask(engine, cached())) == (96, 96, 0, 0)
    assert usage(ask(engine, cached(), max_tokens=0)) == (96, 96, 0, 0)


def test_another_workspace_neither_reads_nor_reuses(engine):
    ask(engine, cached())
    assert usage(ask(engine, cached(), salt="others")) == (0, 0, 96, 0)


def test_a_prefix_outlives_the_blocks_around_it(engine):
    ask(engine, cached())
    for number in range(8):
        ask(engine, prompt=[number + 10] * 900)
    assert usage(ask(engine, cached())) == (96, 96, 0, 0)


def test_prompts_that_come_together_are_told_what_each_of_them_truly_read(engine):
    submits = [
        Submit(
            id=str(number),
            salt="team",
            prompt=[*PREFIX, number],
            max_tokens=2,
            temperature=0.0,
            cache=[cached()],
        )
        for number in range(5)
    ]
    answers = run(engine, submits)
    told = [usage(answers[str(number)]) for number in range(5)]
    assert told == [(0, 0, 96, 0)] + [(96, 96, 0, 0)] * 4


def test_pins_give_way_to_a_score_that_else_had_no_blocks(engine):
    for number in range(8):
        prompt = [number] * 127
        ask(engine, cached(127, key=bytes([number])), prompt=prompt, max_tokens=1)
    assert engine.stats().pinned_blocks == 24
    score = Score(
        id="score",
        salt="team",
        prompt=[5] * 1_150,
        continuations=[[number] * 200 for number in range(3)],
    )
    events = engine.submit(score)
    while engine.busy:
        events += engine.step()
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Finished)
    assert events[-1].reason == "end_turn"
