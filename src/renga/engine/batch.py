"""The flat arrays that one step of the model takes, made from the scheduler's pieces.

Owns the layout that paged attention reads. Pure numpy; the model that takes it is in `model.py`.
"""

from collections.abc import Sequence as Seq
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from renga.engine.blocks import BLOCK_SIZE
from renga.engine.sequence import Piece

Ints = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]

# A piece of more tokens than this is cheaper in one; measured at contexts of 100 to 20,000 tokens.
_APART = 9
# The usual size of a step with pieces apart: a token for each piece and so many more.
_SPARE = 4


@dataclass(slots=True)
class Batch:
    """Several pieces of several sequences, one after the other."""

    input_ids: Longs
    position_ids: Longs
    past_lens: Ints
    """Per sequence: tokens whose keys and values are in its blocks already."""
    subsequence_begins: Ints
    """Where each sequence's tokens begin, and the end."""
    block_indices: Ints
    block_indices_begins: Ints
    max_context_len: Ints
    rows: Ints
    """Which tokens' logits are wanted."""


def gather(pieces: Seq[Piece], *, apart: bool = False) -> Batch:
    """The arrays of a step. `rows`: of each piece that samples its last known token and its draft.

    With `apart`, the tokens of a short piece of an answer go in as sequences of one token each over
    the same blocks: every layer writes all keys and values before it reads any. Measured, that
    gives to the last bit what single steps give, and where few run it takes less time. It needs
    blocks whose slots are written one by one, which quantized ones are not. Such steps are filled
    up to a few usual sizes by repeating a token, since a step of a new size takes longer.
    """
    flat = _Flat()
    repeated: tuple[int, int, list[int]] | None = None
    for piece in pieces:
        sequence = piece.sequence
        start = sequence.computed
        known = start + piece.count - piece.draft
        tokens = sequence.tokens[start:known]
        if piece.draft:
            tokens += sequence.draft[: piece.draft]
        if piece.samples:
            row = len(flat.tokens) + known - start - 1
            flat.rows += range(row, row + piece.draft + 1)
        # What is needed of its blocks: a draft that was cut or turned out wrong may own more.
        blocks = sequence.blocks[: -(-(start + piece.count) // BLOCK_SIZE)]
        if apart and 1 < piece.count <= _APART and (piece.draft or sequence.generated):
            for place, token in enumerate(tokens, start):
                flat.add([token], place, blocks[: place // BLOCK_SIZE + 1])
            repeated = tokens[-1], start + piece.count - 1, blocks
        else:
            flat.add(tokens, start, blocks)
    if repeated is not None:
        token, place, blocks = repeated
        for _ in range(_usual(len(flat.tokens), len(pieces)) - len(flat.tokens)):
            flat.add([token], place, blocks)
    return flat.batch()


def _usual(tokens: int, pieces: int) -> int:
    """The size to which a step with pieces apart is filled up."""
    least = pieces + _SPARE
    return least if tokens <= least else -(-tokens // 8) * 8


class _Flat:
    """The lists that become the arrays of a step."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.rows: list[int] = []
        self._positions: list[int] = []
        self._past: list[int] = []
        self._begins = [0]
        self._blocks: list[int] = []
        self._block_begins = [0]
        self._longest = 0

    def add(self, tokens: list[int], start: int, blocks: list[int]) -> None:
        """One sequence of the batch: `tokens` after the `start` ones that `blocks` hold."""
        end = start + len(tokens)
        self.tokens += tokens
        self._positions += range(start, end)
        self._past.append(start)
        self._begins.append(len(self.tokens))
        self._blocks += blocks
        self._block_begins.append(len(self._blocks))
        if end > self._longest:
            self._longest = end

    def batch(self) -> Batch:
        """The arrays."""
        return Batch(
            input_ids=np.array(self.tokens, dtype=np.int64),
            position_ids=np.array(self._positions, dtype=np.int64),
            past_lens=np.array(self._past, dtype=np.int32),
            subsequence_begins=np.array(self._begins, dtype=np.int32),
            block_indices=np.array(self._blocks, dtype=np.int32),
            block_indices_begins=np.array(self._block_begins, dtype=np.int32),
            max_context_len=np.array(self._longest, dtype=np.int32),
            rows=np.array(self.rows, dtype=np.int32),
        )
