"""Who goes first and who may come at all, on a machine whose steps cost what real ones do."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renga.engine.blocks import BLOCK_SIZE, BlockPool
from renga.engine.messages import EngineSettings, Lane
from renga.engine.scheduler import Scheduler
from renga.engine.sequence import Piece, Sequence
from tests.engine.bench import STEP_TOKENS, Bench, breakpoints


@dataclass
class Cost:
    """What a step takes in seconds, on a model of a certain speed."""

    least: float
    decode: float
    prompt_token: float

    def of(self, pieces: list[Piece]) -> float:
        decodes = sum(1 for piece in pieces if piece.sequence.generated)
        tokens = sum(piece.count for piece in pieces if not piece.sequence.generated)
        return max(self.least, tokens * self.prompt_token) + decodes * self.decode


# As measured on two cores: a model of 0.6 billion parameters, and the shipped one.
LARGE = Cost(0.022, 0.0011, 0.0015)
SMALL = Cost(0.0013, 0.00007, 0.00009)


class Machine:
    """Chats that come at random, and a batch lane that always has more to do than runs."""

    def __init__(self, cost: Cost) -> None:
        self.cost = cost
        self.now = 0.0
        self.scheduler = Scheduler(
            BlockPool(2_048), EngineSettings(model=""), clock=lambda: self.now
        )
        self.numbers = itertools.count()
        self.tokens = 0
        self.batch = 0
        self.waits: list[float] = []
        self.came: dict[str, float] = {}

    def submit(self, lane: Lane, prompt: int, output: int) -> None:
        number = next(self.numbers)
        sequence = Sequence(
            id=str(number),
            workspace=f"{lane}{number % 3}",
            lane=lane,
            tokens=[number] * prompt,
            limit=prompt + output,
        )
        assert self.scheduler.submit(sequence) is None
        self.came[sequence.id] = self.now

    def run(self, seconds: float, *, chats: float, batch: bool) -> tuple[float, float]:
        """The 95th percentile of a chat's time to its first token, and tokens a second in all.

        `chats` come each second, each with 300 tokens for 60.
        """
        draw = random.Random(3)
        gaps = (draw.expovariate(chats) for _ in itertools.count()) if chats else iter([seconds])
        following = next(gaps)
        while self.now < seconds:
            while batch and self.batch < 64:
                self.batch += 1
                self.submit("batch", 200, 60)
            while chats and following <= self.now:
                self.submit("interactive", 300, 60)
                self.came[max(self.came, key=int)] = following
                following += next(gaps)
            if not self.step():
                self.now = following
        self.waits.sort()
        return self.waits[int(0.95 * len(self.waits))] if chats else 0.0, self.tokens / self.now

    def step(self) -> bool:
        pieces = self.scheduler.plan()
        if not pieces:
            return False
        seconds = self.cost.of(pieces)
        self.now += seconds
        self.tokens += sum(piece.count for piece in pieces)
        for piece in pieces:
            sequence = piece.sequence
            if piece.samples and sequence.lane == "interactive" and not sequence.generated:
                self.waits.append(self.now - self.came[sequence.id])
        sampled = [piece.sequence for piece in pieces if piece.samples]
        for sequence in sampled:
            sequence.tokens.append(1)
        self.scheduler.advance(pieces, seconds)
        for sequence in sampled:
            if len(sequence.tokens) >= sequence.limit:
                self.scheduler.end(sequence.id)
                self.batch -= sequence.lane == "batch"
        return True


@pytest.mark.parametrize(
    ("cost", "seconds", "chats"), [(LARGE, 300.0, 0.2), (LARGE, 300.0, 0.5), (SMALL, 20.0, 6.0)]
)
def test_chats_start_as_soon_beside_a_full_batch_lane_which_loses_little(cost, seconds, chats):
    alone, _ = Machine(cost).run(seconds, chats=chats, batch=False)
    beside, together = Machine(cost).run(seconds, chats=chats, batch=True)
    _, full = Machine(cost).run(seconds, chats=0.0, batch=True)
    assert beside <= 1.25 * alone
    assert together >= 0.9 * full


def test_the_batch_lane_does_nothing_while_a_chat_waits_for_its_first_token():
    bench = Bench(blocks=64)
    for number in range(3):
        bench.submit([number] * 40, 60, "b", "batch")
    for _ in range(5):
        bench.step()
    chat = bench.submit([9] * 300, 5, "chat")
    while chat not in bench.first_token:
        assert [piece.sequence.id for piece in bench.step()] == [chat]
        assert bench.scheduler.holds_back("batch")
    assert len(bench.step()) == 4
    assert not bench.scheduler.holds_back("batch")
    assert bench.scheduler.preemptions == 0


@pytest.mark.parametrize("blocks", [30, 64])
def test_the_batch_lane_ends_though_chats_never_pause_and_there_is_a_single_slot(blocks):
    machine = Machine(LARGE)
    settings = EngineSettings(model="", max_running=1)
    machine.scheduler = Scheduler(BlockPool(blocks), settings, clock=lambda: machine.now)
    for _ in range(4):
        machine.submit("batch", 600, 60)
    machine.batch = 4
    while machine.batch and machine.now < 600:
        while machine.scheduler.waiting + machine.scheduler.running < machine.batch + 2:
            machine.submit("interactive", 300, 60)
        assert machine.step()
    assert not machine.batch
    # Two chats are always there: one waits for the other's 60 tokens, and at times for the lane.
    assert max(machine.waits) < 6.0


def test_prompts_of_the_batch_lane_are_cut_to_the_target_time_though_nothing_streams():
    bench = Bench(blocks=64)
    bench.token_seconds = 0.0015
    bench.submit([1] * 600, 5, "b", "batch")
    counts = [piece.count for _ in range(4) for piece in bench.step()]
    assert counts == [BLOCK_SIZE] * 4


@pytest.mark.parametrize("max_running", [2, 4])
def test_a_batch_sequence_ends_though_chats_never_pause(max_running):
    bench = Bench(blocks=40, max_running=max_running)
    bench.token_seconds = 0.001
    slow = [bench.submit([number] * 200, 20, "b", "batch") for number in range(4)]
    for number in itertools.count():
        while sum(one.lane == "interactive" for one in bench.live.values()) < 6:
            bench.submit([number % 90 + 5] * 100, 10, "c")
            bench.made += 1
        bench.step()
        if set(slow) <= set(bench.ended):
            break
        assert number < 6_000, "the batch lane starves"
    chats = len(bench.ended) - len(slow)
    assert chats > 40, "the chats starve"


def test_a_chat_does_not_wait_for_a_prefix_that_the_batch_lane_computes():
    bench = Bench(blocks=64)
    bench.submit([1] * 600, 5, "a", "batch")
    bench.step()
    chat = bench.submit([1] * 300, 5, "a")
    assert [piece.sequence.id for piece in bench.step()] == [chat]
    bench.finish()


def test_a_third_prompt_does_not_wait_behind_two_long_ones_and_they_do_not_starve():
    bench = Bench(blocks=800)
    long = [bench.submit([number] * 6_000, 2) for number in (1, 2)]
    bench.step()
    for number in range(10):
        short = bench.submit([3 + number] * 90, 2)
        for _ in range(4):
            bench.step()
        assert short in bench.ended
    assert bench.live[long[0]].computed > 10 * STEP_TOKENS
    for number in range(400):
        bench.submit([number % 90 + 20] * 90, 2)
        bench.step()
    assert set(long) <= set(bench.ended)


def test_a_long_conversation_whose_beginning_is_known_counts_as_short():
    bench = Bench(blocks=800)
    talk = [draw % 7 for draw in range(5_000)]
    bench.submit(talk, 2)
    bench.finish()
    bench.submit([1] * 9_000, 2)
    bench.step()
    again = bench.submit([*talk, 5], 2)
    for _ in range(3):
        bench.step()
    assert again in bench.ended
    assert len(bench.live) == 1


def test_the_batch_lane_cannot_fill_the_queue_of_chats():
    bench = Bench(max_running=2, max_waiting=3)
    for number in range(5):
        bench.submit([number], 3, "b", "batch")
    assert bench.refused("b", "batch") >= 1
    for number in range(5):
        bench.submit([number], 3, "c")
    assert bench.refused("c") >= 1
    bench.finish()
    assert len(bench.ended) == 10


def test_a_full_queue_refuses_the_youngest_of_who_waits_with_most():
    bench = Bench(max_running=2, max_waiting=3)
    flood = [bench.submit([number], 30, "flood") for number in range(5)]
    bench.step()
    quiet = bench.submit([9], 3, "quiet")
    assert bench.displaced == flood[4:]
    # One each would be even: they do not take each other's place in turns.
    assert bench.refused("quiet") >= 1
    assert bench.refused("flood") >= 1
    bench.finish()
    assert quiet in bench.ended


def test_who_was_let_in_once_is_never_refused():
    bench = Bench(blocks=8, max_running=3, max_waiting=0)
    for number in range(3):
        bench.submit([number] * 60, 60, "flood")
    for _ in range(40):
        bench.step()
    assert bench.scheduler.preemptions
    assert bench.refused("quiet") >= 1
    bench.finish()
    assert len(bench.ended) == 3


@given(
    seconds=st.floats(0.2, 3.0),
    early=st.integers(10, 100),
    refused=st.integers(1, 8),
    part=st.floats(0, 1),
)
def test_a_refusal_says_when_there_is_a_place(seconds, early, refused, part):
    """At a steady pace: each of some that are refused, who come back when they were told."""
    bench = Bench(max_running=2, max_waiting=200)
    ids = [bench.submit([number], 30) for number in range(202)]
    for id in ids[:early]:
        bench.now += seconds
        bench.cancel(id)
        bench.submit([1], 30)
    now = bench.now + seconds * part
    bench.now = now
    told = [bench.refused() for _ in range(refused)]
    ends = [(place + 1 - part) * seconds for place in range(refused)]
    for place, end in zip(told, ends, strict=True):
        # A second is the least that anybody is told, and when within its interval the next of them
        # ends is not known.
        assert end / 2 <= place <= 1.001 * max(2 * end, end + seconds / 2, 1.0)


def test_many_who_share_a_prefix_wait_for_the_one_who_computes_it():
    bench = Bench(blocks=200, max_running=8)
    shared = [draw % 11 for draw in range(20 * BLOCK_SIZE)]
    ids = [bench.submit([*shared, 100 + number], 4) for number in range(8)]
    kept = dict(bench.live)
    computed = 0
    while len(bench.first_token) < 8:
        computed += sum(piece.count for piece in bench.step())
    assert computed < len(shared) + 8 * 6
    assert [kept[id].reused for id in ids] == [0] + [len(shared)] * 7


def test_when_the_one_who_computes_a_prefix_is_cancelled_the_next_goes_on_from_there():
    bench = Bench(blocks=200, max_running=8)
    shared = [draw % 11 for draw in range(20 * BLOCK_SIZE)]
    ids = [bench.submit([*shared, 100 + number], 4) for number in range(5)]
    kept = dict(bench.live)
    for gone in ids[:2]:
        for _ in range(3):
            bench.step()
        bench.cancel(gone)
    bench.finish()
    assert bench.ended == ids[2:]
    assert kept[ids[2]].reused == 6 * STEP_TOKENS
    assert [kept[id].reused for id in ids[3:]] == [len(shared)] * 2


def test_when_the_one_who_computes_a_prefix_is_put_out_nobody_waits_for_ever():
    bench = Bench(blocks=30, max_running=2)
    shared = [draw % 11 for draw in range(20 * BLOCK_SIZE)]
    for number in range(4):
        bench.submit([*shared, 100 + number], 4, "b", "batch")
    for _ in range(3):
        bench.step()
    chats = [bench.submit([number] * 300, 40, "c") for number in range(2)]
    while chats[0] in bench.live:
        bench.step()
    assert bench.scheduler.preemptions
    bench.finish()
    assert len(bench.ended) == 6


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(1, 255), st.integers(1, 256), st.booleans()),
        min_size=1,
        max_size=8,
    )
)
def test_a_pool_of_one_window_serves_everybody_whatever_is_pinned(requests):
    bench = Bench(blocks=8, max_running=3)
    for kind, length, output, batch in requests:
        prompt = [kind] * length
        points = breakpoints(prompt, [length // 2, length])
        bench.submit(prompt, output, "ab"[kind % 2], "batch" if batch else "interactive", points)
        bench.step()
    bench.finish()
    assert len(bench.ended) == len(requests)


def test_pins_go_when_else_nobody_could_run_and_usage_says_so():
    bench = Bench(blocks=8)
    prompt = [1] * 100
    bench.submit(prompt, 2, "a", breakpoints=breakpoints(prompt, [100]))
    bench.finish_but_keep()
    assert bench.scheduler.cache.pinned == 3
    bench.submit([2] * 250, 4)
    bench.finish_but_keep()
    assert bench.scheduler.cache.pinned == 0
    before = bench.cached
    again = bench.submit(prompt, 2, "a", breakpoints=breakpoints(prompt, [100]))
    kept = bench.live[again]
    bench.finish_but_keep()
    assert kept.reused == 0
    assert bench.cached.read == before.read
    assert bench.cached.write_5m == before.write_5m + 96
