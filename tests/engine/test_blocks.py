"""The pool and its prefix tree, alone."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renga.engine.blocks import BLOCK_SIZE, BlockPool, OutOfBlocks, extend, root
from tests.engine.fakes import WatchedPool, chain


def _written(pool: BlockPool, salt: str, tokens: list[int]) -> list[int]:
    """Blocks of a text that was computed and let go."""
    digests = chain(salt, tokens)
    blocks = pool.take(len(digests))
    for block, digest in zip(blocks, digests, strict=True):
        pool.publish(block, digest)
    pool.release(blocks)
    return blocks


def test_a_known_beginning_is_held_block_by_block():
    pool = BlockPool(8)
    text = list(range(3 * BLOCK_SIZE))
    blocks = _written(pool, "team", text)
    other = text[: 2 * BLOCK_SIZE] + [999] * BLOCK_SIZE
    assert pool.known(chain("team", other)) == 2
    assert pool.hold(chain("team", other)) == blocks[:2]
    assert pool.available == 6


def test_another_workspace_never_sees_the_blocks():
    pool = BlockPool(8)
    text = list(range(BLOCK_SIZE))
    _written(pool, "one", text)
    assert pool.hold(chain("two", text)) == []


def test_the_same_tokens_later_in_a_text_are_another_block():
    same = [7] * BLOCK_SIZE
    first, second = chain("team", same + same)
    assert first != second
    assert first == extend(root("team"), same)


def test_only_whole_blocks_have_a_digest():
    assert chain("team", [1] * (BLOCK_SIZE - 1)) == []
    assert len(chain("team", [1] * (2 * BLOCK_SIZE + 5))) == 2


def test_eviction_takes_the_least_recently_used_and_children_before_parents():
    pool = BlockPool(4)
    old = _written(pool, "team", [1] * (2 * BLOCK_SIZE))
    new = _written(pool, "team", [2] * (2 * BLOCK_SIZE))
    assert pool.take(1) == [old[1]]
    assert pool.hold(chain("team", [1] * (2 * BLOCK_SIZE))) == [old[0]]
    assert pool.take(2) == [new[0], new[1]]


def test_a_reused_block_is_the_last_to_be_evicted():
    pool = BlockPool(2)
    first = _written(pool, "team", [1] * BLOCK_SIZE)
    second = _written(pool, "team", [2] * BLOCK_SIZE)
    pool.release(pool.hold(chain("team", [1] * BLOCK_SIZE)))
    assert pool.take(1) == second
    assert pool.hold(chain("team", [1] * BLOCK_SIZE)) == first


def test_held_blocks_are_never_given_away():
    pool = BlockPool(3)
    pool.take(2)
    with pytest.raises(OutOfBlocks, match="2 blocks wanted, 1 available"):
        pool.take(2)
    assert pool.available == 1


def test_the_same_text_written_twice_keeps_the_first_block_known():
    pool = BlockPool(4)
    [digest] = chain("team", [1] * BLOCK_SIZE)
    first, second = pool.take(2)
    pool.publish(first, digest)
    pool.publish(second, digest)
    pool.release([first])
    pool.release([second])
    assert pool.cached == 1
    assert pool.hold([digest]) == [first]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4), st.booleans()), max_size=60))
def test_whatever_happens_each_block_is_held_unused_or_blank(actions):
    """Texts from a few that share beginnings come and go; the books always balance."""
    pool = WatchedPool(12)
    held: list[list[int]] = []
    for kind, length, leaves in actions:
        digests = chain("team", [kind // 2] * BLOCK_SIZE + [kind] * (length * BLOCK_SIZE))
        blocks = pool.hold(digests)
        missing = len(digests) - len(blocks)
        if missing > pool.available:
            pool.release(blocks)
            continue
        fresh = pool.take(missing)
        assert pool.published.isdisjoint(fresh)
        for block, digest in zip(fresh, digests[len(blocks) :], strict=True):
            pool.publish(block, digest)
        held.append(blocks + fresh)
        if leaves:
            pool.release(held.pop(0))
        in_use = {block for blocks in held for block in blocks}
        assert pool.available + len(in_use) == pool.blocks
        for block in range(pool.blocks):
            assert pool.holders[block] == sum(blocks.count(block) for blocks in held)
