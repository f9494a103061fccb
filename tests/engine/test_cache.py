"""The prompt cache over a pool, alone: what is read, written, kept and given up."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from renga.engine.blocks import BLOCK_SIZE
from renga.engine.cache import CacheUse, PromptCache
from renga.engine.messages import Breakpoint, Mark
from tests.engine.fakes import WatchedPool, chain

MINUTES = 60


def text(kind: int, blocks: int) -> list[int]:
    """Texts of one kind begin alike."""
    return [kind, *range(1, blocks * BLOCK_SIZE)]


def mark(kind: int, blocks: int, beyond: int = 0) -> Mark:
    return Mark(bytes([kind, blocks]), blocks * BLOCK_SIZE + beyond)


def breakpoint(*marks: Mark, hour: bool = False) -> Breakpoint:
    return Breakpoint(ttl_seconds=60 * MINUTES if hour else 5 * MINUTES, marks=list(marks))


class Bench:
    """A cache, and prompts that are computed whole over its pool."""

    def __init__(self, blocks: int = 32, share: float = 0.5) -> None:
        self.pool = WatchedPool(blocks)
        self.cache = PromptCache(self.pool, share)
        self.now = 0.0

    def ask(
        self,
        prompt: list[int],
        *breakpoints: Breakpoint,
        workspace: str = "a",
        took: float = 0.0,
    ) -> CacheUse:
        """Compute a prompt from what blocks hold, `took` seconds after it came; then let it go."""
        lookup = self.cache.touch(workspace, breakpoints, self.now)
        self.now += took
        digests = chain(workspace, prompt)
        held = self.pool.hold(digests[: (len(prompt) - 1) // BLOCK_SIZE])
        reused = len(held) * BLOCK_SIZE
        held += self.pool.take(-(-len(prompt) // BLOCK_SIZE) - len(held))
        for block, digest in zip(held, digests, strict=False):
            self.pool.publish(block, digest)
        use = self.cache.use(lookup, digests, reused, self.now)
        self.pool.release(held)
        assert use.read <= reused
        assert sum(use) <= len(prompt)
        return use

    def crowd_out(self) -> None:
        """Use every block that nobody holds, so that nothing else stays."""
        self.pool.release(self.pool.take(self.pool.available))


def test_what_one_request_writes_the_next_reads():
    bench = Bench()
    prompt = [*text(1, 4), 7]
    assert bench.ask(prompt, breakpoint(mark(1, 4))) == CacheUse(write_5m=4 * BLOCK_SIZE)
    bench.crowd_out()
    again = bench.ask([*text(1, 4), 8, 9], breakpoint(mark(1, 4)))
    assert again == CacheUse(read=4 * BLOCK_SIZE)
    assert bench.cache.pinned == 4


def test_only_whole_blocks_are_kept():
    bench = Bench()
    prompt = [*text(1, 2), *[5] * 20]
    assert bench.ask(prompt, breakpoint(mark(1, 2, beyond=20))).write_5m == 2 * BLOCK_SIZE
    assert bench.ask([3] * 20, breakpoint(Mark(b"short", 20))) == CacheUse()
    assert bench.cache.entries == 1


def test_reuse_without_a_live_entry_is_not_read_from_the_cache():
    bench = Bench()
    prompt = [*text(1, 4), 7]
    bench.ask(prompt)
    assert bench.ask(prompt) == CacheUse()
    assert bench.ask(prompt, breakpoint(mark(1, 4))) == CacheUse(write_5m=4 * BLOCK_SIZE)


def test_an_entry_dies_five_minutes_after_the_start_of_the_last_request_that_found_it():
    bench = Bench()
    prompt = [*text(1, 4), 7]
    bench.ask(prompt, breakpoint(mark(1, 4)), took=100)
    bench.now = 299
    assert bench.ask(prompt, breakpoint(mark(1, 4)), took=100).read
    bench.now = 299 + 299
    assert bench.ask(prompt, breakpoint(mark(1, 4))).read
    bench.now += 300
    assert bench.ask(prompt, breakpoint(mark(1, 4))) == CacheUse(write_5m=4 * BLOCK_SIZE)


def test_what_was_live_when_the_request_came_is_read_though_it_waited_longer_than_that():
    bench = Bench()
    prompt = [*text(1, 4), 7]
    bench.ask(prompt, breakpoint(mark(1, 4)))
    use = bench.ask(prompt, breakpoint(mark(1, 4)), took=400)
    assert use == CacheUse(read=4 * BLOCK_SIZE)
    assert bench.cache.entries == 0


def test_an_entry_that_would_be_dead_already_is_not_written():
    bench = Bench()
    assert bench.ask([*text(1, 4), 7], breakpoint(mark(1, 4)), took=301) == CacheUse()


def test_an_hour_is_an_hour_and_is_given_to_whoever_asks_for_it_later():
    bench = Bench()
    prompt = [*text(1, 4), 7]
    assert bench.ask(prompt, breakpoint(mark(1, 4), hour=True)) == CacheUse(write_1h=128)
    bench.now = 3_599
    assert bench.ask(prompt, breakpoint(mark(1, 4))).read == 128
    bench.now += 3_599
    assert bench.ask(prompt, breakpoint(mark(1, 4))).read == 128
    other = [*text(2, 4), 7]
    bench.ask(other, breakpoint(mark(2, 4)))
    assert bench.ask(other, breakpoint(mark(2, 4), hour=True)) == CacheUse(read=128)
    bench.now += 3_599
    assert bench.ask(other, breakpoint(mark(2, 4))).read == 128


def test_mixed_times_to_live_are_written_apart():
    bench = Bench()
    bench.ask([*text(1, 1), 7], breakpoint(mark(1, 1)))
    use = bench.ask(
        [*text(1, 6), 7],
        breakpoint(mark(1, 1), hour=True),
        breakpoint(mark(1, 3), hour=True),
        breakpoint(mark(1, 4)),
        breakpoint(mark(1, 5)),
    )
    assert use == CacheUse(read=32, write_1h=64, write_5m=64)


def test_a_breakpoint_finds_what_an_earlier_turn_wrote_before_it():
    bench = Bench()
    bench.ask([*text(1, 3), 7], breakpoint(mark(1, 3)))
    use = bench.ask([*text(1, 5), 7], breakpoint(mark(1, 5), mark(1, 4), mark(1, 3), mark(1, 2)))
    assert use == CacheUse(read=96, write_5m=64)


def test_an_entry_of_another_text_under_the_same_key_is_not_read_but_written_anew():
    bench = Bench()
    bench.ask([*text(1, 3), 7], breakpoint(mark(1, 3)))
    use = bench.ask([*text(2, 3), 7], breakpoint(mark(1, 3)))
    assert use == CacheUse(write_5m=96)
    assert bench.cache.entries == 1
    assert bench.cache.pinned == 3


def test_another_workspace_finds_nothing():
    bench = Bench()
    bench.ask([*text(1, 3), 7], breakpoint(mark(1, 3)))
    assert bench.ask([*text(1, 3), 7], breakpoint(mark(1, 3)), workspace="b").read == 0


def test_who_waited_while_another_wrote_the_entry_reads_it():
    bench = Bench()
    prompt = [*text(1, 3), 7]
    lookup = bench.cache.touch("a", [breakpoint(mark(1, 3))], 0.0)
    bench.ask(prompt, breakpoint(mark(1, 3)))
    use = bench.cache.use(lookup, chain("a", prompt), 96, 1.0)
    assert use == CacheUse(read=96)


def test_no_more_is_read_than_truly_came_from_blocks():
    bench = Bench()
    exact = text(1, 3)
    bench.ask([*exact, 7], breakpoint(mark(1, 3)))
    assert bench.ask(exact, breakpoint(mark(1, 3))) == CacheUse(read=64)


def test_beyond_their_share_the_least_recently_used_go_and_are_not_read_then():
    bench = Bench(blocks=20, share=0.5)
    for kind in (1, 2, 1, 3):
        bench.ask([*text(kind, 4), 7], breakpoint(mark(kind, 4)))
    assert bench.cache.pinned == 8
    bench.crowd_out()
    assert bench.ask([*text(1, 4), 7], breakpoint(mark(1, 4))).read == 128
    assert bench.ask([*text(2, 4), 7], breakpoint(mark(2, 4))) == CacheUse(write_5m=128)


def test_what_does_not_fit_the_share_is_not_reported_as_written():
    bench = Bench(blocks=20, share=0.5)
    use = bench.ask([*text(1, 12), 7], breakpoint(mark(1, 8)), breakpoint(mark(1, 12)))
    assert use == CacheUse(write_5m=8 * BLOCK_SIZE)
    assert bench.cache.pinned == 8


def test_shared_blocks_count_once():
    bench = Bench(blocks=20, share=0.5)
    bench.ask([*text(1, 8), 7], *(breakpoint(mark(1, blocks)) for blocks in (2, 4, 6, 8)))
    assert bench.cache.entries == 4
    assert bench.cache.pinned == 8
    for _ in range(3):
        assert bench.cache.give_up_one()
        assert bench.cache.pinned == 8
    assert bench.cache.give_up_one()
    assert not bench.cache.give_up_one()
    assert bench.pool.available == 20


@pytest.mark.parametrize("workspaces", [1, 8])
def test_a_caller_cannot_make_the_table_grow_without_bound(workspaces):
    bench = Bench()
    for number in range(9_000):
        workspace = str(number % workspaces)
        key = Mark(number.to_bytes(4, "big"), BLOCK_SIZE)
        bench.ask([*text(1, 1), 7], breakpoint(key), workspace=workspace)
    assert bench.cache.entries == (1_024 if workspaces == 1 else 4_096)


class Life(RuleBasedStateMachine):
    """Whatever comes: pins keep their limit and their blocks, and reading follows the rules.

    The roomy pool never lacks a block, so there a plain table of keys and times says what is read.
    """

    def __init__(self) -> None:
        super().__init__()
        self.roomy = Bench(blocks=100, share=0.9)
        self.tight = Bench(blocks=16, share=0.4)
        self.table: dict[tuple[str, int, int], tuple[float, float]] = {}

    @rule(
        kind=st.integers(0, 2),
        blocks=st.integers(1, 9),
        places=st.lists(st.tuples(st.integers(1, 9), st.booleans()), max_size=4),
        workspace=st.sampled_from("ab"),
        took=st.sampled_from([0, 0, 1, 200, 400, 4_000]),
    )
    def ask(self, kind, blocks, places, workspace, took):
        prompt = [*text(kind, blocks), 7]
        ends = sorted((min(place, blocks), not hour) for place, hour in places)
        points = [
            breakpoint(*(mark(kind, n) for n in range(end, 0, -1)), hour=not short)
            for end, short in ends
        ]
        expected = self.expected(kind, ends, workspace, took)
        self.tight.ask(prompt, *points, workspace=workspace, took=took)
        use = self.roomy.ask(prompt, *points, workspace=workspace, took=took)
        assert use.read == expected * BLOCK_SIZE

    def expected(self, kind, ends, workspace, took) -> int:
        """Blocks that a table of keys and times would read; it takes note of the request."""
        begun = self.roomy.now
        longest = 0
        for end, _ in ends:
            for place in range(end, 0, -1):
                ttl, expires = self.table.get((workspace, kind, place), (0.0, 0.0))
                if expires > begun:
                    longest = max(longest, place)
                    self.table[workspace, kind, place] = ttl, max(expires, begun + ttl)
                    break
        for end, short in ends:
            written = (workspace, kind, end)
            ttl, expires = self.table.get(written, (0.0, 0.0))
            asked = 300.0 if short else 3_600.0
            if expires <= begun + took:
                ttl = expires = 0.0
            self.table[written] = max(ttl, asked), max(expires, begun + asked)
        return longest

    @rule(seconds=st.sampled_from([0.5, 100, 299, 300, 3_599, 10_000]))
    def wait(self, seconds):
        self.roomy.now += seconds
        self.tight.now += seconds

    @rule()
    def crowd_out(self):
        self.tight.crowd_out()

    @precondition(lambda self: self.tight.cache.entries)
    @rule()
    def give_up(self):
        assert self.tight.cache.give_up_one()

    @invariant()
    def books_balance(self):
        for bench in (self.roomy, self.tight):
            assert bench.cache.pinned <= bench.pool.blocks * 0.9
            assert sum(bench.pool.holders) == bench.cache.pinned
            assert bench.pool.available + bench.cache.pinned == bench.pool.blocks
        assert self.tight.cache.pinned <= 6

    def teardown(self):
        for bench in (self.roomy, self.tight):
            bench.cache.expire(bench.now + 10_000)
            assert bench.cache.entries == 0
            assert bench.pool.available == bench.pool.blocks


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=50, stateful_step_count=25, deadline=None)
