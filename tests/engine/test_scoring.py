"""Scoring: equal to what feeding prompt and continuation plainly gives, in one prompt's work."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from hypothesis import given
from hypothesis import strategies as st

from renga.engine.choosing import END, forks_of
from renga.engine.engine import Engine
from renga.engine.messages import Finished, FromEngine, Score, Scored, Started, Submit
from renga.engine.scoring import Scoring
from tests.engine.harness import NAMES, Workbench, model_folder, run

pytestmark = pytest.mark.timeout(120)

CONTINUATIONS = [[40, 41], [40, 41, 42, 43, 44], [50], [40, 41], [60, 61, 62], [50, 51]]


@pytest.fixture(scope="module", params=NAMES)
def folder(request, tmp_path_factory) -> Path:
    return model_folder(request.param, tmp_path_factory.mktemp("scoring"))


@pytest.fixture(scope="module")
def bench(folder) -> Workbench:
    return Workbench(folder, precision="exact", kv_bytes=200_000_000)


@pytest.fixture(scope="module")
def plain(folder) -> Any:
    """The model as openvino runs it by itself, in float32: all of a text in one call."""
    properties = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}
    compiled = ov.Core().compile_model(folder / "openvino_model.xml", "CPU", properties)

    def logprobs(prompt: list[int], tail: list[int]) -> list[float]:
        request = compiled.create_infer_request()
        ids = np.array([prompt + tail], dtype=np.int64)
        found = request.infer(
            {
                "input_ids": ids,
                "attention_mask": np.ones_like(ids),
                "position_ids": np.arange(ids.size, dtype=np.int64)[None],
                "beam_idx": np.zeros(1, dtype=np.int32),
            }
        )
        logits = found[0][0].astype(np.float64)
        logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return [float(logs[len(prompt) - 1 + n, token]) for n, token in enumerate(tail)]

    return logprobs


def _score(engine: Engine, **changes) -> list[FromEngine]:
    given: dict[str, Any] = {"id": "s", "salt": "t", "continuations": CONTINUATIONS}
    events = engine.submit(Score(**{**given, **changes}))
    while engine.busy:
        events += engine.step()
    return events


def _logprobs(events: list[FromEngine]) -> list[list[float]]:
    [scored] = [event for event in events if isinstance(event, Scored)]
    return scored.logprobs


@pytest.mark.parametrize("length", [1, 31, 32, 33, 63, 64, 100])
def test_scores_are_those_of_prompt_and_continuation_read_as_one(bench, plain, length):
    prompt = np.random.default_rng(length).integers(3, 500, length).tolist()
    engine = bench.engine()
    events = _score(engine, prompt=prompt)
    for tail, logs in zip(CONTINUATIONS, _logprobs(events), strict=True):
        assert logs == pytest.approx(plain(prompt, tail), abs=2e-3)
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Finished)
    assert (events[-1].reason, events[-1].output_tokens) == ("end_turn", 0)
    assert engine.stats().free_blocks == engine.stats().blocks


@pytest.mark.parametrize("changes", [{"step_tokens": 32}, {"blocks": 6}])
def test_tails_that_do_not_fit_one_step_take_several(bench, changes):
    prompt = list(range(20, 110))
    long = [list(range(30 + n, 90 + n)) for n in range(6)]
    expected = _logprobs(_score(bench.engine(), prompt=prompt, continuations=long))
    engine = bench.engine(**changes)
    found = _logprobs(_score(engine, prompt=prompt, continuations=long))
    assert [len(logs) for logs in found] == [60] * 6
    np.testing.assert_allclose(found, expected, atol=2e-3)
    assert engine.stats().free_blocks == engine.stats().blocks


def test_the_prompt_is_computed_once_and_the_tails_in_one_step(bench):
    engine = bench.engine()
    prompt = list(range(20, 120))
    _score(engine, prompt=prompt)
    assert engine.stats().steps == 2
    again = _score(engine, prompt=prompt, continuations=[[50], [51]])
    assert isinstance(again[0], Started)
    assert again[0].reused_tokens == 96
    assert engine.stats().steps == 3


def test_scores_and_answers_run_side_by_side(bench):
    prompt = list(range(20, 110))
    alone = _logprobs(_score(bench.engine(), prompt=prompt))
    engine = bench.engine()
    submit = Submit(id="a", salt="t", prompt=prompt, max_tokens=30, temperature=0.0)
    events = engine.submit(submit)
    for number in range(3):
        score = Score(id=f"s{number}", salt="t", prompt=prompt, continuations=CONTINUATIONS)
        events += engine.submit(score)
    while engine.busy:
        events += engine.step()
    for scored in (event for event in events if isinstance(event, Scored)):
        assert np.concatenate(scored.logprobs) == pytest.approx(np.concatenate(alone), abs=2e-3)
    ends = [event for event in events if isinstance(event, Finished)]
    assert sorted(end.id for end in ends) == ["a", "s0", "s1", "s2"]
    assert {end.reason for end in ends} == {"max_tokens", "end_turn"}


def test_a_cancelled_score_gives_its_blocks_back(bench):
    engine = bench.engine(step_tokens=32)
    engine.submit(Score(id="s", salt="t", prompt=[9] * 40, continuations=[[5] * 50, [6] * 50]))
    for _ in range(3):
        engine.step()
    [end] = engine.cancel("s")
    assert isinstance(end, Finished)
    assert end.reason == "cancelled"
    assert engine.stats().free_blocks == engine.stats().blocks


@pytest.mark.parametrize("length", [70, 95])
def test_tails_without_a_block_for_a_copy_are_written_behind_the_prompt(bench, plain, length):
    prompt = np.random.default_rng(length).integers(3, 500, length).tolist()
    tails = [tail[: 96 - length + 1] for tail in CONTINUATIONS]
    engine = bench.engine(blocks=3)
    events = _score(engine, prompt=prompt, continuations=tails)
    for tail, logs in zip(tails, _logprobs(events), strict=True):
        assert logs == pytest.approx(plain(prompt, tail), abs=2e-3)
    assert engine.stats().free_blocks == 3
    again = run(engine, [Submit(id="a", salt="t", prompt=prompt, max_tokens=2, temperature=0.0)])
    other = run(
        bench.engine(), [Submit(id="a", salt="u", prompt=prompt, max_tokens=2, temperature=0.0)]
    )
    assert again["a"].tokens == other["a"].tokens


def test_too_few_blocks_for_any_tail_are_an_error_and_not_a_hang(bench):
    engine = bench.engine(blocks=3)
    events = _score(engine, prompt=[9] * 90, continuations=[[5] * 60])
    assert isinstance(events[-1], Finished)
    assert "too few blocks" in (events[-1].error or "")
    assert engine.stats().free_blocks == 3


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"continuations": []}, "continuations: there are none"),
        ({"continuations": [[5], []]}, "continuations[1]: it is empty"),
        ({"continuations": [[5], [5] * 2_000]}, "continuations[1] is too long: 100 tokens of"),
        ({"continuations": [[-1]]}, "continuations[0]: token ids from 0"),
        ({"prompt": []}, "prompt: it is empty"),
    ],
)
def test_an_impossible_score_ends_at_once_with_a_sentence(bench, changes, sentence):
    engine = bench.engine()
    engine._model.window = min(engine._model.window, 2_048)
    [event] = _score(engine, **{"prompt": [9] * 100, **changes})
    assert isinstance(event, Finished)
    assert event.reason == "error"
    assert sentence in (event.error or "")


tails = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=4), min_size=1, max_size=8)


@given(tails)
def test_no_tail_begins_another_and_every_continuation_has_its_own_numbers(continuations):
    score = Score(id="s", salt="t", prompt=[1], continuations=continuations)
    scoring = Scoring(score, 64, frozenset())
    kept = [tail.tokens for tail in scoring.tails]
    assert not any(a != b and b[: len(a)] == a for a in kept for b in kept)
    assert len({tuple(tokens) for tokens in kept}) == len(kept)
    for tail in scoring.tails:
        tail.logprobs = [float(hash(tuple(tail.tokens[:n])) % 97) for n in range(len(tail.tokens))]
    for tokens, logs in zip(continuations, scoring.scored().logprobs, strict=True):
        assert logs == [float(hash(tuple(tokens[:n])) % 97) for n in range(len(tokens))]


# Answers that part at once, later, and where one of them ends.
CHOICES = [
    [[40], [50], [60]],
    [[40, 41, 42], [40, 41, 43], [40, 41, 43, 44], [50, 51], [50, 51]],
    [[40, 41], [40, 41, 42, 43, 44, 45], [60, 61, 62, 63], [60, 61, 62, 64]],
    [[70, 71, 72]],
]


@pytest.mark.parametrize("length", [1, 32, 70])
@pytest.mark.parametrize("answers", CHOICES)
def test_a_choice_is_as_likely_as_it_is_drawn_from_the_choices_alone(bench, plain, answers, length):
    """By the plain model's shares of all tokens: what leads to no answer is left out of them."""
    prompt = np.random.default_rng(length).integers(3, 500, length).tolist()
    engine = bench.engine(ends=True)
    found = _logprobs(_score(engine, prompt=prompt, continuations=answers, choice=True))
    assert [len(logs) for logs in found] == [len(answer) for answer in answers]
    distinct = {tuple(answer): sum(logs) for answer, logs in zip(answers, found, strict=True)}
    assert sum(map(math.exp, distinct.values())) == pytest.approx(1.0, abs=1e-6)
    ends = sorted(bench.language.end_ids)
    for answer, logprob in distinct.items():
        expected = 0.0
        for at in range(len(answer) + 1):
            here = list(answer[:at])
            ways = {(*other, None)[at] for other in distinct if list(other[:at]) == here}
            told = {
                way: [plain(prompt, [*here, token])[-1] for token in ([way] if way else ends)]
                for way in ways
            }
            shares = {way: np.logaddexp.reduce(logs) for way, logs in told.items()}
            taken = shares[(*answer, None)[at]]
            expected += taken - np.logaddexp.reduce(list(shares.values()))
        assert logprob == pytest.approx(expected, abs=3e-3)
    assert engine.stats().free_blocks == engine.stats().blocks


def test_a_choice_of_answers_that_part_at_once_takes_the_prompt_alone(bench):
    engine = bench.engine()
    answers = [[40 + n, *range(60, 90)] for n in range(6)]
    _score(engine, prompt=list(range(20, 44)), continuations=answers, choice=True)
    assert engine.stats().steps == 1


@given(st.lists(st.lists(st.integers(3, 6), min_size=1, max_size=6), min_size=1, max_size=12))
def test_forks_are_where_answers_part_and_nowhere_else(answers):
    passed = forks_of(answers)
    for answer, forks in zip(answers, passed, strict=True):
        places = {fork.depth: set(fork.ways) for fork in forks}
        assert [fork.depth for fork in forks] == sorted(places)
        for depth in range(len(answer) + 1):
            ways = {(*other, END)[depth] for other in answers if other[:depth] == answer[:depth]}
            assert places.get(depth, ways) == ways
            assert (depth in places) == (len(ways) > 1)
