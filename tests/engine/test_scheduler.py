"""The scheduler against a cache that remembers what was written where: nothing leaks, all end."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from renga.engine.blocks import BLOCK_SIZE
from renga.engine.messages import EngineSettings, Lane
from renga.engine.scheduler import Piece, Scheduler, Sequence
from tests.engine.fakes import PrefixCache, WatchedPool

STEP_TOKENS = 96


def following(tokens: list[int]) -> int:
    """The same text goes on the same way, so that generated blocks are shared, too."""
    return sum(tokens[-3:]) % 7


def guesses(sequence: Sequence, count: int, wrong_at: int) -> list[int]:
    """A draft that is right up to one place."""
    tokens = list(sequence.tokens)
    for place in range(count):
        tokens.append(following(tokens) if place != wrong_at else 99)
    return tokens[len(sequence.tokens) :]


class Bench:
    """A scheduler with a make-believe model, and the rules that must hold after every step."""

    def __init__(self, blocks: int = 24, max_running: int = 4, max_waiting: int = 1_000) -> None:
        self.pool = WatchedPool(blocks)
        self.now = 0.0
        self.token_seconds = 0.0001
        self.scheduler = Scheduler(
            self.pool,
            EngineSettings(
                model="",
                max_running=max_running,
                max_waiting=max_waiting,
                step_tokens=STEP_TOKENS,
                step_seconds=0.05,
            ),
            clock=lambda: self.now,
        )
        self.cache = PrefixCache()
        self.live: dict[str, Sequence] = {}
        self.ended: list[str] = []
        self.first_token: list[str] = []
        self.steps = 0
        self.made = 0
        self.guess: Callable[[Sequence], list[int]] | None = None
        self.forced: Callable[[Sequence], list[int]] = lambda sequence: []

    def submit(
        self, prompt: list[int], output: int, workspace: str = "a", lane: str = "interactive"
    ) -> str:
        self.made += 1
        sequence = Sequence(
            id=f"{workspace}{self.made}",
            workspace=workspace,
            lane="batch" if lane == "batch" else "interactive",
            tokens=list(prompt),
            limit=min(len(prompt) + output, self.pool.blocks * BLOCK_SIZE),
        )
        assert self.scheduler.submit(sequence) is None
        self.live[sequence.id] = sequence
        return sequence.id

    def refused(self, workspace: str = "a", lane: Lane = "interactive") -> float:
        """Submit one that is refused itself; the seconds it is told."""
        sequence = Sequence(id="extra", workspace=workspace, lane=lane, tokens=[1], limit=2)
        refusal = self.scheduler.submit(sequence)
        assert refusal is not None
        assert refusal.sequence is sequence
        return refusal.retry_after

    def cancel(self, id: str) -> None:
        assert self.scheduler.end(id) is self.live.pop(id)

    def step(self) -> list[Piece]:
        self.now += 0.01
        self.steps += 1
        for sequence in self.live.values():
            sequence.draft = self.guess(sequence) if self.guess else []
        pieces = self.scheduler.plan()
        self.check_plan(pieces)
        for piece in pieces:
            self.cache.compute(piece)
        ends = [self.tokens(piece) for piece in pieces]
        computed = sum(piece.count for piece in pieces)
        self.scheduler.advance(pieces, computed * self.token_seconds)
        for piece, last in zip(pieces, ends, strict=True):
            if last:
                self.end(piece.sequence)
        self.check_books()
        return pieces

    def tokens(self, piece: Piece) -> bool:
        """Add what the step sampled, and note what was guessed wrong; whether it is the last."""
        sequence = piece.sequence
        if not piece.samples:
            return False
        if not sequence.generated:
            self.first_token.append(sequence.id)
        accepted = 0
        for guessed in [*sequence.draft[: piece.draft], None]:
            sequence.tokens.append(following(sequence.tokens))
            if len(sequence.tokens) >= sequence.limit or sequence.tokens[-1] != guessed:
                break
            accepted += 1
        piece.rejected = piece.draft - accepted
        sequence.tokens += self.forced(sequence)[: sequence.limit - len(sequence.tokens)]
        return len(sequence.tokens) >= sequence.limit

    def end(self, sequence: Sequence) -> None:
        self.scheduler.end(sequence.id)
        del self.live[sequence.id]
        self.ended.append(sequence.id)

    def check_plan(self, pieces) -> None:
        if self.live:
            assert pieces, "somebody waits and nothing is planned"
        assert len({piece.sequence.id for piece in pieces}) == len(pieces)
        prefill = sum(piece.count for piece in pieces if not piece.sequence.generated)
        assert prefill <= STEP_TOKENS
        for piece in pieces:
            self.check_piece(piece)

    def check_piece(self, piece) -> None:
        sequence = piece.sequence
        end = sequence.computed + piece.count
        known = end - piece.draft
        assert piece.count > piece.draft >= 0
        assert known == len(sequence.tokens) if piece.samples else known % BLOCK_SIZE == 0
        assert piece.samples or not piece.draft
        assert end <= len(sequence.blocks) * BLOCK_SIZE
        assert end < sequence.limit or not piece.draft
        for index in range(sequence.computed // BLOCK_SIZE, (end - 1) // BLOCK_SIZE + 1):
            block = sequence.blocks[index]
            assert self.pool.holders[block] == 1, "a block is shared with its writer"
            assert block not in self.pool.published, "a block in the tree is written"

    def check_books(self) -> None:
        held: dict[int, int] = {}
        for sequence in self.live.values():
            for block in sequence.blocks:
                held[block] = held.get(block, 0) + 1
        assert self.pool.available + len(held) == self.pool.blocks, "a block is lost"
        assert all(self.pool.holders[block] == count for block, count in held.items())
        assert self.scheduler.running + self.scheduler.waiting == len(self.live)

    def finish(self, limit: int = 20_000) -> None:
        begun = self.steps
        while self.live:
            assert self.steps - begun < limit, f"{len(self.live)} sequences never end"
            self.step()
        assert self.pool.available == self.pool.blocks


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
                lane = draw.choice(["interactive", "interactive", "batch"])
                bench.submit(shared + own, draw.randrange(1, 150), draw.choice("abc"), lane)
        if bench.live and draw.random() < 0.05:
            bench.cancel(draw.choice(list(bench.live)))
        if bench.live:
            bench.step()
        else:
            bench.steps += 1
    bench.finish()
    assert bench.scheduler.preemptions > 50, "the pool was never short: this proved little"
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
    )
    def submit(self, kind, length, output, workspace, lane):
        self.bench.submit([kind] * length, output, workspace, lane)

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
