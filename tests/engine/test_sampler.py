"""Sampling: against the warpers of transformers, and by counting what is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from renga.engine.sampler import Draw, pick


def sample(rows, draws: list[Draw]) -> list[int]:
    return [pick(row, draw) for row, draw in zip(rows, draws, strict=True)]


def _draw(seed: int = 0, **changes) -> Draw:
    return Draw(random=np.random.default_rng(seed), **changes)


def _reference(row: np.ndarray, temperature: float, top_k: int, top_p: float, min_p: float):
    """The distribution after transformers' own warpers, in the same order."""
    warpers = LogitsProcessorList([TemperatureLogitsWarper(temperature)])
    if top_k:
        warpers.append(TopKLogitsWarper(top_k))
    if top_p < 1:
        warpers.append(TopPLogitsWarper(top_p))
    if min_p:
        warpers.append(MinPLogitsWarper(min_p))
    before: Any = torch.zeros(1, 1, dtype=torch.long)
    given_scores: Any = torch.from_numpy(row[None].copy())
    scores = warpers(before, given_scores)
    return torch.softmax(scores[0].double(), dim=-1).numpy()


choices = st.fixed_dictionaries(
    {
        "temperature": st.floats(0.3, 2.0),
        "top_k": st.sampled_from([0, 1, 5, 40, 5_000]),
        "top_p": st.sampled_from([0.05, 0.5, 0.9, 0.99, 1.0]),
        "min_p": st.sampled_from([0.0, 0.02, 0.3]),
    }
)


@settings(deadline=None)
@given(choices, st.integers(0, 10_000), st.sampled_from([70, 700, 3_000]))
def test_only_tokens_that_the_reference_leaves_are_drawn_and_all_of_them_can_be(
    chosen, seed, vocab
):
    row = (np.random.default_rng(seed).standard_normal(vocab) * 3).astype(np.float32)
    expected = _reference(row, **chosen)
    # Where top_p's border falls on a token to the last bit, either side is right.
    border = {**chosen, "top_p": min(chosen["top_p"] + 1e-5, 1.0)}
    possible = set(np.flatnonzero(_reference(row, **border)).tolist())
    draw = _draw(seed, **chosen)
    drawn = set(sample(np.tile(row, (300, 1)), [draw] * 300))
    assert drawn <= possible
    likely = {int(token) for token in np.flatnonzero(expected > 0.06)}
    assert likely <= drawn


@pytest.mark.parametrize(
    "chosen",
    [
        {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0},
        {"temperature": 0.7, "top_k": 0, "top_p": 1.0, "min_p": 0.0},
        {"temperature": 1.3, "top_k": 12, "top_p": 0.9, "min_p": 0.0},
        {"temperature": 1.0, "top_k": 0, "top_p": 0.8, "min_p": 0.05},
    ],
)
def test_tokens_are_drawn_as_often_as_the_reference_says(chosen):
    row = (np.random.default_rng(3).standard_normal(200) * 2).astype(np.float32)
    expected = _reference(row, **chosen)
    times = 20_000
    draw = _draw(1, **chosen)
    tokens = sample(np.broadcast_to(row, (times, 200)), [draw] * times)
    counts = np.bincount(tokens, minlength=200)
    assert counts[expected == 0].sum() == 0
    # Rare tokens together, so that chi-square's approximation holds.
    rare = expected * times < 10
    seen = np.append(counts[~rare], counts[rare].sum())
    wanted = np.append(expected[~rare], expected[rare].sum()) * times
    seen, wanted = seen[wanted > 0], wanted[wanted > 0]
    statistic = ((seen - wanted) ** 2 / wanted).sum()
    degrees = len(wanted) - 1
    assert statistic < degrees + 4.5 * np.sqrt(2 * degrees)


@settings(deadline=None)
@given(st.integers(0, 1_000), st.integers(2, 500))
def test_temperature_zero_takes_the_largest_and_the_first_among_equals(seed, vocab):
    rows = np.random.default_rng(seed).integers(0, 5, (3, vocab)).astype(np.float32)
    expected = [row.tolist().index(max(row)) for row in rows]
    assert sample(rows, [_draw(temperature=0.0)] * 3) == expected


def test_a_seed_draws_the_same_whoever_shares_the_step():
    rows = np.random.default_rng(5).standard_normal((4, 64)).astype(np.float32)
    alone = _draw(7)
    by_itself = [sample(rows[:1], [alone])[0] for _ in range(50)]
    shared = _draw(7)
    others = [_draw(1, top_p=0.5), _draw(2, temperature=0.0), _draw(3, top_k=4)]
    together = [sample(rows, [shared, *others])[0] for _ in range(50)]
    assert together == by_itself
    assert len(set(by_itself)) > 5


@settings(deadline=None)
@given(st.integers(0, 500), choices, st.booleans())
def test_a_masked_token_is_never_drawn(seed, chosen, greedy):
    random = np.random.default_rng(seed)
    rows = random.standard_normal((20, 130)).astype(np.float32) * 20
    allowed = random.random(130) < 0.1
    allowed[seed % 130] = True
    if greedy:
        chosen = {**chosen, "temperature": 0.0}
    draw = _draw(seed, **chosen, allowed=allowed)
    assert all(allowed[token] for token in sample(rows, [draw] * 20))


def test_the_logits_given_are_not_changed():
    rows = np.random.default_rng(1).standard_normal((2, 90)).astype(np.float32)
    before = rows.copy()
    sample(rows, [_draw(top_p=0.5, allowed=np.arange(90) < 5), _draw(min_p=0.5)])
    assert (rows == before).all()


@pytest.mark.parametrize("temperature", [1e-6, 1e-3, 50.0])
def test_extreme_temperatures_stay_finite(temperature):
    row = np.linspace(-300, 300, 100, dtype=np.float32)[None]
    token = sample(row, [_draw(temperature=temperature, top_p=0.9)])[0]
    assert token == 99 if temperature < 1 else 0 <= token < 100
