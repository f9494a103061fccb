"""How many prompt tokens a step has: what a token costs is learned, its depth included."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renga.engine.blocks import BLOCK_SIZE, BlockPool
from renga.engine.messages import EngineSettings
from renga.engine.pace import PromptWork, Room, StepBudget, TokenCost
from renga.engine.scheduler import Scheduler
from renga.engine.sequence import Sequence

TARGET = 0.4
TOKENS = 256

# Seconds of a token through the weights, and of one look back: from a large machine to a small one.
MACHINES = st.tuples(
    st.floats(1e-5, 1e-2), st.floats(1e-10, 1e-6) | st.just(0.0), st.floats(0.0, 0.3)
)


def work(tokens: int, depth: int) -> PromptWork:
    made = PromptWork()
    made.add(tokens, depth)
    return made


def tokens_of(budget: StepBudget, decodes: int, *, timed: bool, part: int = 1) -> int:
    """The tokens that a step has for a prompt at its beginning."""
    return budget.room(decodes, PromptWork(), least=BLOCK_SIZE, timed=timed, part=part).fits(0)


class Machine:
    """Takes so long for a step: `token` and `back` seconds, times some noise."""

    def __init__(self, token: float, back: float, noise: float = 0.0) -> None:
        self.token, self.back, self.noise = token, back, noise
        self._random = random.Random(7)

    def seconds(self, done: PromptWork) -> float:
        exact = self.token * done.tokens + self.back * done.reads
        return exact * self._random.uniform(1 - self.noise, 1 + self.noise)

    def least(self, depth: int) -> float:
        """What a block takes, of which there is always one."""
        return self.token * BLOCK_SIZE + self.back * BLOCK_SIZE * (depth + BLOCK_SIZE)


def read(budget: StepBudget, machine: Machine, begin: int, end: int) -> list[tuple[int, int]]:
    """Read a prompt from `begin` to `end` in timed steps; how deep each began and its tokens."""
    steps = []
    while begin < end:
        room = budget.room(0, PromptWork(), least=BLOCK_SIZE, timed=True)
        tokens = min(room.fits(begin), end - begin)
        done = work(tokens, begin)
        budget.learn(done, 0, machine.seconds(done))
        steps.append((begin, tokens))
        begin += tokens
    return steps


@settings(max_examples=60, deadline=None)
@given(machine=MACHINES, length=st.sampled_from([40_000, 200_000]))
def test_a_step_keeps_its_time_however_deep_in_a_prompt_it_is(machine, length):
    token, back, noise = machine
    budget, true = StepBudget(TOKENS, TARGET), Machine(token, back, noise)
    for depth, tokens in read(budget, true, 0, min(length, 40_000))[8:]:
        exact = token * tokens + back * tokens * (depth + tokens / 2)
        assert exact <= max(1.7 * TARGET, true.least(depth))
    # As deep as there is a window for, without every step between.
    for depth, tokens in read(budget, true, length, length + 2_000)[4:]:
        exact = token * tokens + back * tokens * (depth + tokens / 2)
        assert exact <= max(1.7 * TARGET, true.least(depth))


@settings(max_examples=60, deadline=None)
@given(machine=MACHINES)
def test_a_step_uses_the_time_that_it_has(machine):
    token, back, _ = machine
    budget, true = StepBudget(TOKENS, TARGET), Machine(token, back)
    for depth, tokens in read(budget, true, 0, 40_000)[40:-1]:
        exact = token * tokens + back * tokens * (depth + tokens / 2)
        assert tokens in (BLOCK_SIZE, TOKENS) or exact >= TARGET / 2


def test_tokens_of_a_step_shrink_as_its_prompt_grows():
    budget, machine = StepBudget(TOKENS, TARGET), Machine(1e-4, 1e-7)
    steps = read(budget, machine, 0, 60_000)
    assert steps[2][1] == TOKENS
    deep = [tokens for depth, tokens in steps if depth > 2_000]
    assert deep[0] > 2 * deep[-1]
    # By the law: at this depth they are what fits into the target.
    depth, tokens = steps[-2]
    assert tokens * (1e-4 + 1e-7 * depth) == pytest.approx(TARGET, rel=0.2)


def test_short_prompts_do_not_make_it_forget_what_depth_costs():
    budget, machine = StepBudget(TOKENS, TARGET), Machine(1e-4, 2e-7, 0.3)
    read(budget, machine, 0, 40_000)
    for _ in range(500):
        read(budget, machine, 0, 150)
    steps = read(budget, machine, 40_000, 41_000)
    times = [tokens * (1e-4 + 2e-7 * depth) for depth, tokens in steps]
    assert times[0] <= 3 * TARGET
    assert max(times[2:]) <= 1.7 * TARGET


def test_one_slow_step_is_not_believed_for_long():
    budget, machine = StepBudget(TOKENS, TARGET), Machine(1e-4, 1e-9)
    read(budget, machine, 0, 4_000)
    budget.learn(work(TOKENS, 4_000), 0, 60.0)
    assert read(budget, machine, 4_000, 8_000)[6][1] == TOKENS


@given(
    token=st.floats(1e-9, 1.0),
    depth=st.integers(0, 1_000_000),
    seconds=st.floats(1e-4, 100.0),
)
def test_what_fits_is_the_most_that_costs_no_more(token, depth, seconds):
    cost = TokenCost()
    cost.learn(work(100, 50), token * 100)
    fits = cost.fits(seconds, depth)
    assert cost.of(work(fits, depth)) <= seconds * (1 + 1e-9)
    assert cost.of(work(fits + 1, depth)) >= seconds * (1 - 1e-9)


def test_the_first_piece_of_a_step_may_have_a_block_whatever_is_left():
    cost = TokenCost()
    cost.learn(work(100, 0), 100.0)
    room = Room(TOKENS, 0.1, cost, PromptWork(), BLOCK_SIZE)
    assert room.fits(100_000) == BLOCK_SIZE
    room.take(BLOCK_SIZE, 100_000)
    assert room.fits(0) == 0


@pytest.mark.parametrize("streams", [False, True])
def test_pieces_of_several_prompts_share_the_time_of_a_step(streams):
    """Two deep prompts, scheduled as they are on a machine whose time is simulated."""
    now = [0.0]
    pool = BlockPool(20_000)
    settings_ = EngineSettings(model="", step_tokens=TOKENS, step_seconds=TARGET, max_running=8)
    scheduler = Scheduler(pool, settings_, clock=lambda: now[0])
    machine = Machine(2e-5, 1e-6)
    for name, length in (("deep", 40_000), ("other", 30_000), ("stream", 40)):
        if name != "stream" or streams:
            tokens = [hash((name, i)) % 1000 for i in range(length)]
            scheduler.submit(Sequence(name, name, "interactive", tokens, 200_000))
    longest = 0.0
    for number in range(2_000):
        pieces = scheduler.plan()
        if not any(piece.sequence.filling for piece in pieces):
            break
        done = PromptWork()
        for piece in pieces:
            done.add(piece.count, piece.sequence.computed)
        seconds = machine.seconds(done)
        now[0] += seconds
        if number > 10:
            longest = max(longest, seconds)
        scheduler.advance(pieces, seconds)
        for piece in pieces:
            if piece.samples:
                piece.sequence.tokens.append(1)
    else:
        pytest.fail("the prompts were not read")
    target = TARGET if streams else TARGET * 5
    assert target / 2 < longest < 1.5 * target + machine.least(40_000)


def test_what_decodes_cost_is_not_taken_for_the_cost_of_prompt_tokens():
    budget = StepBudget(256, 0.05)
    budget.learn(PromptWork(), 16, 0.04)
    budget.learn(work(64, 0), 16, 0.04 + 64 * 0.0005)
    assert tokens_of(budget, 1, timed=True) == pytest.approx(100, abs=1)
    assert tokens_of(budget, 16, timed=True) == BLOCK_SIZE
    assert tokens_of(budget, 16, timed=False) == 240
    assert tokens_of(budget, 16, timed=False, part=4) == 48


def test_a_prompt_that_takes_long_takes_smaller_steps_though_nothing_streams():
    budget = StepBudget(256, 0.4)
    budget.learn(work(256, 0), 0, 16.0)
    assert tokens_of(budget, 0, timed=False) == BLOCK_SIZE
    budget.learn(work(BLOCK_SIZE, 256), 0, BLOCK_SIZE * 0.001)
    budget.learn(work(BLOCK_SIZE, 288), 0, BLOCK_SIZE * 0.001)
    assert BLOCK_SIZE < tokens_of(budget, 0, timed=False) < 256
