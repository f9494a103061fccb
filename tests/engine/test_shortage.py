"""Scores and answers over far too few blocks, on a model whose answers follow from its blocks.

Each slot of a block remembers the token and a digest of the whole text up to it. Logits follow from
that digest, so that a block that is not what it should be shows in an answer or a likelihood.
"""

from __future__ import annotations

import itertools
import random
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renga.engine.batch import Batch
from renga.engine.blocks import BLOCK_SIZE
from renga.engine.engine import Engine
from renga.engine.grammar import Grammars
from renga.engine.messages import (
    EngineSettings,
    Finished,
    FromEngine,
    Output,
    Score,
    Scored,
    Submit,
)
from renga.engine.request import Language
from renga.engine.sampler import log_likelihood
from renga.engine.text import Vocabulary

VOCAB = 40
NO_TEXT = Language(Vocabulary([b""] * VOCAB, frozenset()), Grammars(None, VOCAB, []), frozenset())  # type: ignore[arg-type]


def _after(state: int, token: int) -> int:
    return hash((state, token)) % 2**40


def _row(state: int) -> npt.NDArray[np.float32]:
    row = np.random.default_rng(state % 7).normal(size=VOCAB).astype(np.float32)
    row[state % 5] += 3
    return row


class RememberingModel:
    """Computes from what its blocks hold, and checks that it is one text."""

    vocab = VOCAB

    def __init__(self, blocks: int) -> None:
        self.blocks = blocks
        self.window = blocks * BLOCK_SIZE
        self.slots: dict[tuple[int, int], tuple[int, int]] = {}
        """Block and place in it -> the token, and the state after it."""

    def forward(self, batch: Batch) -> npt.NDArray[np.float32]:
        states: list[int] = []
        begins, blocks = batch.subsequence_begins, batch.block_indices_begins
        for number, past in enumerate(batch.past_lens):
            table = batch.block_indices[blocks[number] : blocks[number + 1]].tolist()
            state = 0
            for place in range(past):
                token, there = self.slots[table[place // BLOCK_SIZE], place % BLOCK_SIZE]
                state = _after(state, token)
                assert there == state, "a block of another text is read"
            tokens = batch.input_ids[begins[number] : begins[number + 1]].tolist()
            for place, token in enumerate(tokens, past):
                state = _after(state, token)
                self.slots[table[place // BLOCK_SIZE], place % BLOCK_SIZE] = token, state
                states.append(state)
        return np.stack([_row(states[row]) for row in batch.rows] or [np.zeros(VOCAB, np.float32)])

    def copy_block(self, source: int, target: int) -> None:
        for place in range(BLOCK_SIZE):
            self.slots.pop((target, place), None)
            if (source, place) in self.slots:
                self.slots[target, place] = self.slots[source, place]


def _engine(blocks: int, **changes: Any) -> Engine:
    return Engine(
        RememberingModel(blocks),
        NO_TEXT,
        EngineSettings(model="", kv_precision="f32", **changes),
        clock=itertools.count().__next__,
        entropy=lambda: 0,
    )


def _text(seed: int, length: int) -> list[int]:
    draw = random.Random(seed)
    return [draw.randrange(5) for _ in range(length)]


def _finish(engine: Engine, events: list[FromEngine], steps: int = 3_000) -> list[FromEngine]:
    while engine.busy:
        events += engine.step()
        steps -= 1
        assert steps, "somebody starves"
    return events


def _check(message: Submit | Score, events: list[FromEngine]) -> None:
    """That what came is what plain reading gives, and all of it."""
    own = [event for event in events if getattr(event, "id", "") == message.id]
    end = own[-1]
    assert isinstance(end, Finished)
    assert end.error is None
    state = 0
    for token in message.prompt:
        state = _after(state, token)
    if isinstance(message, Submit):
        tokens = [token for event in own if isinstance(event, Output) for token in event.tokens]
        assert len(tokens) == message.max_tokens
        for token in tokens:
            assert token == _row(state).argmax()
            state = _after(state, token)
        return
    [scored] = [event for event in own if isinstance(event, Scored)]
    for tokens, logprobs in zip(message.continuations, scored.logprobs, strict=True):
        at = state
        for token, logprob in zip(tokens, logprobs, strict=True):
            assert logprob == pytest.approx(log_likelihood(_row(at))[token])
            at = _after(at, token)


def _submit(id: str, prompt: list[int], max_tokens: int, **changes: Any) -> Submit:
    changes = {"salt": "a", "temperature": 0.0, **changes}
    return Submit(id=id, prompt=prompt, max_tokens=max_tokens, **changes)


def test_a_chat_takes_the_blocks_of_a_long_tail_of_the_batch_lane_and_both_end():
    engine = _engine(16, step_tokens=64)
    score = Score(
        id="s", salt="a", prompt=_text(1, 40), continuations=[_text(2, 400)], lane="batch"
    )
    chat = _submit("c", _text(3, 200), 5)
    events = engine.submit(score)
    for _ in range(3):
        events += engine.step()
    events += engine.submit(chat)
    _finish(engine, events)
    _check(chat, events)
    _check(score, events)


def test_scores_whose_tails_do_not_fit_beside_each_other_go_one_after_the_other():
    engine = _engine(16)
    scores = [
        Score(id=str(n), salt="a", prompt=_text(n, 220), continuations=[_text(n + 9, 100)])
        for n in range(2)
    ]
    events = [event for score in scores for event in engine.submit(score)]
    _finish(engine, events)
    for score in scores:
        _check(score, events)


def test_a_score_that_waits_for_blocks_is_not_overtaken_for_ever():
    engine = _engine(16)
    score = Score(id="s", salt="a", prompt=_text(1, 100), continuations=[_text(2, 300)])
    events = engine.submit(_submit("c0", _text(100, 150), 40))
    events += engine.step()
    events += engine.submit(score)
    for number in itertools.count(1):
        if any(isinstance(event, Scored) for event in events):
            break
        assert number < 300, "the score starves"
        # Always two of them, whose ends never meet.
        if number % 20 == 0:
            events += engine.submit(_submit(f"c{number}", _text(100 + number, 150), 39))
        events += engine.step()
    _check(score, _finish(engine, events))


heads = st.tuples(st.integers(0, 2), st.sampled_from([1, 31, 32, 33, 64, 90, 128, 200]))
lanes = st.sampled_from(["interactive", "batch"])
answers = st.tuples(heads, st.integers(1, 60), lanes)
scores = st.tuples(
    heads, st.lists(st.sampled_from([1, 2, 20, 64, 150]), min_size=1, max_size=3), lanes
)
work = st.tuples(st.integers(0, 6), st.one_of(answers, scores))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(work, min_size=1, max_size=12), st.sampled_from([12, 16, 24]), st.sampled_from([0, 6])
)
def test_with_too_few_blocks_everybody_ends_with_the_right_answer(given_work, blocks, drafts):
    engine = _engine(blocks, step_tokens=64, max_running=6, draft_tokens=drafts)
    messages: list[Submit | Score] = []
    events: list[FromEngine] = []
    for number, (steps, ((seed, length), wanted, lane)) in enumerate(given_work):
        id, prompt = str(number), _text(seed, length)
        if isinstance(wanted, int):
            messages.append(_submit(id, prompt, wanted, lane=lane))
        else:
            tails = [_text(7 + place, size) for place, size in enumerate(wanted)]
            messages.append(Score(id=id, salt="a", prompt=prompt, continuations=tails, lane=lane))
        events += engine.submit(messages[-1])
        for _ in range(steps):
            events += engine.step()
    _finish(engine, events)
    for message in messages:
        _check(message, events)
    stats = engine.stats()
    assert stats.free_blocks == stats.blocks
