"""What prompts read and write in a cache that cannot pin them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from renga.engine.messages import Breakpoint, Mark
from renga.llamacpp.kept import Kept


def point(*marks: tuple[str, int], ttl: int = 300) -> Breakpoint:
    return Breakpoint(ttl_seconds=ttl, marks=[Mark(key.encode(), tokens) for key, tokens in marks])


def test_the_first_writes_and_the_second_reads():
    kept = Kept()
    assert kept.use("w", [point(("a", 100))], 0, 0.0) == (0, 100, 0)
    assert kept.use("w", [point(("a", 100))], 120, 1.0) == (100, 0, 0)


def test_what_the_slot_lost_is_written_again():
    kept = Kept()
    kept.use("w", [point(("a", 100))], 0, 0.0)
    assert kept.use("w", [point(("a", 100))], 30, 1.0) == (30, 70, 0)
    assert kept.use("w", [point(("a", 100))], 0, 2.0) == (0, 100, 0)


def test_what_was_reused_without_a_mark_is_not_told_as_cached():
    assert Kept().use("w", [], 500, 0.0) == (0, 0, 0)
    assert Kept().use("w", [point(("a", 100))], 500, 0.0) == (0, 100, 0)


def test_an_entry_is_its_workspaces_and_lives_from_its_last_use():
    kept = Kept()
    kept.use("w", [point(("a", 100))], 0, 0.0)
    assert kept.use("v", [point(("a", 100))], 100, 1.0).read == 0
    assert kept.use("w", [point(("a", 100))], 100, 299.0).read == 100
    assert kept.use("w", [point(("a", 100))], 100, 598.0).read == 100
    assert kept.use("w", [point(("a", 100))], 100, 898.0).read == 0


def test_a_later_mark_finds_an_earlier_entry_and_writes_what_is_new():
    kept = Kept()
    kept.use("w", [point(("a", 100))], 0, 0.0)
    assert kept.use("w", [point(("b", 160), ("a", 100))], 110, 1.0) == (100, 60, 0)
    assert kept.use("w", [point(("b", 160), ("a", 100))], 170, 2.0) == (160, 0, 0)


def test_an_hour_is_an_hour_and_both_are_told_apart():
    kept = Kept()
    marks = [point(("a", 100), ttl=3_600), point(("b", 150), ("a", 100))]
    assert kept.use("w", marks, 0, 0.0) == (0, 50, 100)
    assert kept.use("w", marks, 150, 1_000.0) == (100, 50, 0)
    assert kept.use("w", marks, 150, 4_700.0) == (0, 50, 100)


@given(
    st.lists(
        st.tuples(
            st.sampled_from("wv"),
            st.lists(st.tuples(st.integers(1, 9), st.sampled_from([300, 3_600])), max_size=4),
            st.integers(0, 1_000),
            st.integers(0, 500),
        )
    )
)
def test_the_classes_are_disjoint_and_nothing_is_read_that_was_not(requests):
    kept, now = Kept(), 0.0
    for workspace, asked, reused, later in requests:
        now += later
        asked = sorted(asked)
        points = [
            point(*((str(n), n * 100) for n in range(number, 0, -1)), ttl=ttl)
            for number, ttl in asked
        ]
        use = kept.use(workspace, points, reused, now)
        longest = max((number * 100 for number, _ in asked), default=0)
        assert min(use) >= 0
        assert use.read <= reused
        assert sum(use) <= max(longest, use.read)
        again = kept.use(workspace, points, 1_000, now)
        assert (again.read, again.write_5m + again.write_1h) == (longest, 0)
