"""A model without a network, for the tests of what is around it: its cache is a table of prefixes.

Each slot of a block remembers the whole text that led to it, so that a step can check that what it
would read is exactly what its sequence wrote or may share.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from renga.engine.batch import Batch
from renga.engine.blocks import BLOCK_SIZE, BlockPool, grow_chain
from renga.engine.grammar import GrammarMask, Grammars
from renga.engine.sequence import Piece
from tests.tiny_model import TURN_END


def chain(salt: str, tokens: list[int]) -> list[bytes]:
    """The digests of all whole blocks of a text, in order."""
    digests: list[bytes] = []
    grow_chain(digests, salt, tokens, len(tokens) // BLOCK_SIZE)
    return digests


class WatchedPool(BlockPool):
    """A pool that tells who holds a block, and whether the tree knows it."""

    def __init__(self, blocks: int) -> None:
        super().__init__(blocks)
        self.holders = [0] * blocks
        self.published: set[int] = set()

    def hold(self, digests: Iterable[bytes]) -> list[int]:
        held = super().hold(digests)
        assert self.published.issuperset(held)
        for block in held:
            self.holders[block] += 1
        return held

    def take(self, count: int) -> list[int]:
        taken = super().take(count)
        self.published.difference_update(taken)
        for block in taken:
            assert not self.holders[block], "a held block was given away"
            self.holders[block] = 1
        return taken

    def publish(self, block: int, digest: bytes) -> None:
        super().publish(block, digest)
        held = super().hold([digest])
        super().release(held)
        if held == [block]:
            self.published.add(block)

    def release(self, blocks: Sequence[int]) -> None:
        super().release(blocks)
        for block in blocks:
            self.holders[block] -= 1
            assert self.holders[block] >= 0, "a block was released twice"


class PrefixCache:
    """What the KV blocks would hold: for each slot, a hash of the text up to it."""

    def __init__(self) -> None:
        self.slots: dict[tuple[int, int], int] = {}

    def compute(self, piece: Piece) -> None:
        """Check what the piece reads, then write what it computes."""
        sequence = piece.sequence
        state = hash(sequence.workspace)
        tokens = sequence.tokens + sequence.draft[: piece.draft]
        for place in range(sequence.computed + piece.count):
            state = hash((state, tokens[place]))
            slot = (sequence.blocks[place // BLOCK_SIZE], place % BLOCK_SIZE)
            if place < sequence.computed:
                assert self.slots[slot] == state, f"{sequence.id} would read another text's block"
            else:
                self.slots[slot] = state


class BreakingGrammars(Grammars):
    """Compiles as usual; the masks raise that error once they were asked for `calls` times."""

    def __init__(self, path: Path, error: Exception, calls: int) -> None:
        super().__init__(path, 600, [TURN_END])
        self._error = error
        self._calls = calls

    def compile(self, grammar: str, begin: int | None = None) -> GrammarMask:
        mask = super().compile(grammar, begin)
        allowed, left = mask.allowed, iter(range(self._calls))

        def breaks() -> npt.NDArray[np.bool_]:
            if next(left, None) is None:
                raise self._error
            return allowed()

        mask.allowed = breaks  # type: ignore[method-assign]
        return mask


class CountingModel:
    """Answers every sequence with the token after its last one; raises when told to."""

    def __init__(self, vocab: int = 600, window: int = 2_048, blocks: int = 128) -> None:
        self.vocab = vocab
        self.window = window
        self.blocks = blocks
        self.raises: Exception | None = None
        self.next_token: int | None = None

    def forward(self, batch: Batch) -> npt.NDArray[np.float32]:
        if self.raises is not None:
            raise self.raises
        logits = np.zeros((len(batch.rows), self.vocab), dtype=np.float32)
        for row, place in enumerate(batch.rows):
            last = int(batch.input_ids[place])
            chosen = (last + 1) % self.vocab if self.next_token is None else self.next_token
            logits[row, chosen] = 20.0
        return logits

    def copy_block(self, source: int, target: int) -> None:
        """It keeps no keys and values."""
