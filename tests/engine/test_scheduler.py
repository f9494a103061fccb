"""The scheduler against a cache that remembers what was written where: nothing leaks, all end."""

from __future__ import annotations

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from renga.engine.blocks import BLOCK_SIZE
from renga.engine.messages import Lane
from renga.engine.sequence import Sequence
from tests.engine.bench import STEP_TOKENS, Bench, breakpoints, guesses


def test_no_block_leaks_over_ten_thousand_random_steps():
    draw = random.Random(20)
    bench = Bench(blocks=20, max_running=6)
    bench.guess = lambda sequence: guesses(sequence, draw.choice([0, 3, 40]), draw.randrange(50))
    bench.forced = lambda sequence: [5] * draw.choice([0, 0, 0, 1, 9, 70])
    while bench.steps < 10_000:
        for _ in range(draw.choice([0, 0, 0, 0, 1, 3])):
            if len(bench.live) < 30:
                shared = [draw.randrange(3)] * draw.choice([0, 10, BLOCK_SIZE, 100])
                own = [draw.randrange(7) for _ in range(draw.randrange(1, 200))]
                lane: Lane = draw.choice(["interactive", "interactive", "batch"])
                points = breakpoints(shared + own, draw.choice([(), (32,), (90, 180)]))
                output = draw.randrange(1, 150)
                bench.submit(shared + own, output, draw.choice("abc"), lane, points)
        if draw.random() < 0.01:
            bench.now += draw.choice([1, 299, 3_000])
        if bench.live and draw.random() < 0.05:
            bench.cancel(draw.choice(list(bench.live)))
        if bench.live:
            bench.step()
        else:
            bench.steps += 1
    bench.finish()
    assert bench.scheduler.preemptions > 50, "the pool was never short: this proved little"
    assert min(bench.cached) > 1_000, "the cache was never used: this proved little"
    assert len(bench.ended) > 300


class Life(RuleBasedStateMachine):
    """Any order of submitting, cancelling and stepping keeps the books, and all end."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench(blocks=10, max_running=3)

    @rule(
        kind=st.integers(0, 2),
        length=st.integers(1, 150),
        output=st.integers(1, 90),
        workspace=st.sampled_from("ab"),
        lane=st.sampled_from(["interactive", "batch"]),
        places=st.lists(st.integers(1, 150), max_size=4),
    )
    def submit(self, kind, length, output, workspace, lane, places):
        prompt = [kind] * length
        self.bench.submit(prompt, output, workspace, lane, breakpoints(prompt, places))

    @rule(seconds=st.sampled_from([0.1, 10, 299, 301, 4_000]))
    def wait(self, seconds):
        self.bench.now += seconds

    @precondition(lambda self: self.bench.live)
    @rule(which=st.integers(0, 10))
    def cancel(self, which):
        self.bench.cancel(list(self.bench.live)[which % len(self.bench.live)])

    @rule(times=st.integers(1, 12), ahead=st.integers(0, 40), wrong=st.integers(0, 50))
    def step(self, times, ahead, wrong):
        self.bench.guess = lambda sequence: guesses(sequence, ahead, wrong)
        for _ in range(times):
            self.bench.step()

    @rule(count=st.sampled_from([0, 1, 40, 130]))
    def force(self, count):
        self.bench.forced = lambda sequence: [3] * count

    @invariant()
    def books_balance(self):
        self.bench.check_books()

    def teardown(self):
        self.bench.finish()


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_decodes_go_on_while_a_long_prompt_is_computed():
    bench = Bench(blocks=64)
    talker = bench.submit([1] * 10, 200, "talker")
    bench.step()
    bench.submit([2] * 900, 5, "reader")
    for _ in range(8):
        before = bench.live[talker].generated
        bench.step()
        assert bench.live[talker].generated == before + 1


def test_chunks_shrink_to_the_target_time_only_while_a_stream_runs():
    bench = Bench(blocks=200)
    bench.token_seconds = 0.001
    talker = bench.submit([1] * 40, 30, "talker")
    bench.step()
    bench.submit([2] * 1_500, 5, "reader")
    counts = []
    for _ in range(6):
        pieces = bench.step()
        counts.append(max(piece.count for piece in pieces))
    assert set(counts) == {32}
    bench.cancel(talker)
    bench.step()
    assert max(piece.count for piece in bench.step()) == STEP_TOKENS


def test_a_short_prompt_goes_beside_a_long_one_of_its_workspace():
    bench = Bench(blocks=400)
    long = bench.submit([1] * 6_000, 3)
    for _ in range(3):
        bench.step()
    short = bench.submit([2] * 200, 3)
    for _ in range(8):
        bench.step()
    assert bench.first_token == [short]
    assert bench.live[long].computed > 3 * STEP_TOKENS
    bench.finish()
    assert bench.ended == [short, long]


def test_a_prompt_that_shares_what_a_long_one_is_about_to_compute_waits_for_it():
    bench = Bench(blocks=400)
    bench.submit([1] * 6_000, 3)
    bench.step()
    follower = bench.submit([1] * 5_000 + [2] * 10, 3)
    kept = bench.live[follower]
    bench.finish()
    assert kept.reused >= 4_900


def test_a_quiet_workspace_gets_its_turn_beside_a_flood():
    bench = Bench(blocks=64, max_running=8)
    for number in range(60):
        bench.submit([number % 7] * 90 + [number], 3, "flood")
    quiet = bench.submit([3] * 80, 3, "quiet")
    for _ in range(3):
        bench.step()
    assert quiet in bench.first_token
    assert bench.first_token.index(quiet) <= 2


def test_turns_are_even_between_two_floods():
    bench = Bench(blocks=64, max_running=4)
    for number in range(40):
        bench.submit([number % 7] * 60 + [number], 2, "x")
        bench.submit([number % 5] * 60 + [number], 2, "y")
    while len(bench.ended) < 40:
        bench.step()
    share = sum(id.startswith("x") for id in bench.ended[:40])
    assert 18 <= share <= 22


def test_interactive_requests_go_before_batch_requests():
    bench = Bench(blocks=64, max_running=2)
    slow = [bench.submit([9, number] * 20, 50, "b", "batch") for number in range(4)]
    bench.step()
    quick = [bench.submit([1, number] * 20, 3, "i") for number in range(2)]
    bench.step()
    assert set(quick) <= set(bench.first_token)
    assert not bench.live[slow[0]].running
    bench.finish()
    assert set(bench.ended[:2]) == set(quick)


def test_prompts_that_share_a_prefix_compute_it_once():
    bench = Bench(blocks=64, max_running=8)
    shared = [draw % 11 for draw in range(5 * BLOCK_SIZE)]
    ids = [bench.submit([*shared, 100 + number], 4) for number in range(6)]
    kept = dict(bench.live)
    bench.finish()
    assert [kept[id].reused for id in ids] == [0] + [5 * BLOCK_SIZE] * 5


def test_at_least_one_prompt_token_is_computed():
    bench = Bench()
    bench.submit([4] * (2 * BLOCK_SIZE), 2)
    bench.finish()
    again = bench.submit([4] * (2 * BLOCK_SIZE), 2)
    kept = bench.live[again]
    bench.finish()
    assert kept.reused == BLOCK_SIZE


def test_a_large_prompt_is_not_overtaken_for_ever():
    bench = Bench(blocks=16, max_running=4)
    for number in range(3):
        bench.submit([number] * 100, 60, "small")
    bench.step()
    large = bench.submit([5] * 450, 5, "large")
    for number in range(200):
        bench.submit([number % 7] * 40 + [number], 20, "small")
        bench.step()
        if large in bench.ended:
            return
    pytest.fail("small prompts kept overtaking the large one")


def test_a_cancelled_sequence_frees_its_blocks_at_once():
    bench = Bench(blocks=16)
    id = bench.submit([1] * 300, 50)
    bench.step()
    assert bench.pool.available < 16
    bench.cancel(id)
    assert bench.pool.available == 16


def test_a_full_queue_says_when_to_come_back():
    bench = Bench(max_running=1, max_waiting=3)
    for _ in range(4):
        bench.submit([1] * 40, 10)
    assert bench.refused() == 1.0
    bench.now += 4.0
    # One that was told so may come first, but no other is known to be done by then.
    assert bench.refused() == pytest.approx(4.0)
    assert bench.refused() == pytest.approx(8.0)
    bench.finish()
    bench.submit([1], 1)


def test_an_id_in_use_is_refused():
    bench = Bench()
    id = bench.submit([1], 3)
    again = Sequence(id=id, workspace="a", lane="interactive", tokens=[1], limit=2)
    with pytest.raises(ValueError, match="in use"):
        bench.scheduler.submit(again)


def test_who_waits_for_a_shared_prefix_puts_nobody_out_meanwhile():
    bench = Bench(blocks=400, max_running=2)
    bench.submit([1] * 40, 500, "b", "batch")
    bench.step()
    shared = [draw % 5 for draw in range(2_000)]
    bench.submit(shared + [5] * 2_000, 5, "a")
    bench.submit(shared + [6], 5, "a")
    for _ in range(15):
        bench.step()
    assert bench.scheduler.preemptions == 0
    bench.finish()


def test_a_right_guess_saves_steps_and_a_wrong_one_costs_none():
    def steps(wrong_at: int) -> int:
        bench = Bench()
        bench.submit([1] * 20, 100)
        bench.guess = lambda sequence: guesses(sequence, 4, wrong_at)
        bench.finish()
        return bench.steps

    assert steps(wrong_at=9) == 21
    assert steps(wrong_at=2) <= 35
    assert steps(wrong_at=0) == 100


def test_a_draft_puts_nobody_out_and_ends_where_blocks_do():
    bench = Bench(blocks=4, max_running=2)
    bench.submit([1] * 40, 40)
    bench.step()
    bench.submit([2] * 20, 12)
    bench.step()
    bench.guess = lambda sequence: guesses(sequence, 90, 100)
    most = max(piece.draft for piece in bench.step())
    assert 0 < most < 90
    bench.finish()
    assert bench.scheduler.preemptions == 0


def test_forced_tokens_are_computed_with_the_next_one_up_to_the_budget():
    bench = Bench(blocks=64)
    id = bench.submit([1] * 20, 400)
    bench.forced = lambda sequence: [3] * (10 if sequence.generated < 5 else 250)
    bench.step()
    bench.step()
    sequence = bench.live[id]
    [piece] = bench.step()
    assert not piece.samples
    assert sequence.computed == 31 + piece.count == 3 * BLOCK_SIZE
    bench.forced = lambda sequence: []
    bench.finish()


def test_a_sequence_whose_tokens_are_all_computed_waits_for_the_engine():
    bench = Bench()
    id = bench.submit([1] * 40, 5)
    bench.scheduler.advance(bench.scheduler.plan(), 0.1)
    assert bench.scheduler.plan() == []
    assert bench.live[id].missing == 0
    bench.cancel(id)
    bench.check_books()
