"""A prompt of more than 20,000 tokens through a real model: its steps shrink by the learned law."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from renga.engine.batch import Batch
from renga.engine.blocks import BLOCK_SIZE
from renga.engine.engine import Logits
from renga.engine.messages import Submit
from renga.engine.pace import PromptWork, StepBudget
from tests.engine.harness import Answer, Workbench, run
from tests.tiny_model import write_model

LENGTH, ANSWER, WINDOW = 21_000, 8, 22_016
STEP_TOKENS, STEP_SECONDS = 256, 0.03
# What a machine of our own takes for a token, and for each that it looks back at.
TOKEN, BACK = 1e-4, 1e-7


@dataclass
class Clock:
    """A clock that can be set forward, and what it showed to whom asked."""

    source: Callable[[], float]
    ahead: float = 0.0
    shown: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        self.shown.append(self.source() + self.ahead)
        return self.shown[-1]


@dataclass(frozen=True)
class Step:
    """So many tokens behind `depth` others; before it the clock had been asked so often."""

    depth: int
    tokens: int
    asked: int

    @property
    def work(self) -> PromptWork:
        made = PromptWork()
        made.add(self.tokens, self.depth)
        return made


class Reading:
    """The model, noting the steps in which it reads one prompt; each may take time of our own."""

    def __init__(self, bench: Workbench, clock: Clock, takes: Callable[[PromptWork], float]):
        model = bench.model
        self.vocab, self.window, self.blocks = model.vocab, model.window, model.blocks
        self.copy_block = model.copy_block
        self.steps: list[Step] = []
        self._model, self._clock, self._takes = model, clock, takes

    def forward(self, batch: Batch) -> Logits:
        step = Step(int(batch.past_lens[0]), len(batch.input_ids), len(self._clock.shown))
        if step.depth < LENGTH:
            self.steps.append(step)
        self._clock.ahead += self._takes(step.work)
        return self._model.forward(batch)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    folder = write_model(
        tmp_path_factory.mktemp("deep"),
        num_hidden_layers=2,
        num_attention_heads=1,
        num_key_value_heads=1,
        max_position_embeddings=WINDOW,
    )
    return Workbench(folder, precision="exact", window=WINDOW, threads=1, draft_tokens=0)


def read(
    bench: Workbench, clock: Clock, seconds: float, takes: Callable[[PromptWork], float]
) -> tuple[list[Step], Answer]:
    """Have a prompt read in steps of so many seconds; the steps, and the answer."""
    reading = Reading(bench, clock, takes)
    engine = bench.engine(model=reading, clock=clock, step_tokens=STEP_TOKENS, step_seconds=seconds)
    prompt = np.random.default_rng(5).integers(10, bench.model.vocab, LENGTH).tolist()
    submit = Submit(id="a", salt="team", prompt=prompt, max_tokens=ANSWER, temperature=0.0)
    return reading.steps, run(engine, [submit])["a"]


def depths(steps: list[Step]) -> list[int]:
    """Where each step should begin that goes on where the one before it ended, and the end."""
    return [0, *np.cumsum([step.tokens for step in steps]).tolist()]


def test_steps_of_a_long_prompt_shrink_by_the_law_and_the_answer_stays(bench: Workbench) -> None:
    def law(work: PromptWork) -> float:
        return TOKEN * work.tokens + BACK * work.reads

    steps, answer = read(bench, Clock(lambda: 0.0), STEP_SECONDS, law)
    assert depths(steps) == [*(step.depth for step in steps), LENGTH]
    assert steps[1].tokens == STEP_TOKENS
    shrinking = [step.tokens for step in steps[:-1] if step.depth > 6_000]
    assert shrinking == sorted(shrinking, reverse=True)
    assert shrinking[-1] < STEP_TOKENS / 2
    # Nothing streams beside it, so a step may take five times as long; a block more would not fit.
    most = 5 * STEP_SECONDS
    for step in steps[:-1]:
        longer = PromptWork()
        longer.add(step.tokens + BLOCK_SIZE, step.depth)
        if step.depth > 6_000:
            assert law(step.work) <= 1.1 * most
            assert law(longer) >= 0.9 * most

    evenly, same = read(bench, Clock(lambda: 0.0), 1e9, law)
    assert {step.tokens for step in evenly[:-1]} == {STEP_TOKENS}
    assert len(steps) > 1.5 * len(evenly)
    assert len(answer.tokens) == ANSWER
    assert answer.tokens == same.tokens


def test_steps_follow_what_this_machine_took(bench: Workbench) -> None:
    """The clock is real: what it showed leads the same budget to the same steps."""
    clock = Clock(time.monotonic)
    steps, _ = read(bench, clock, STEP_SECONDS / 10, lambda work: 0.0)
    assert depths(steps) == [*(step.depth for step in steps), LENGTH]
    budget = StepBudget(STEP_TOKENS, STEP_SECONDS / 10)
    for step in steps:
        room = budget.room(0, PromptWork(), least=BLOCK_SIZE, timed=False)
        end = step.depth + room.fits(step.depth)
        border = LENGTH if end >= LENGTH else end // BLOCK_SIZE * BLOCK_SIZE
        assert step.tokens == border - step.depth
        budget.learn(step.work, 0, clock.shown[step.asked] - clock.shown[step.asked - 1])
    ahead = budget.room(0, PromptWork(), least=BLOCK_SIZE, timed=False)
    assert ahead.fits(LENGTH) <= ahead.fits(1_000)
