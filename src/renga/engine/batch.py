"""The flat arrays that one step of the model takes, made from the scheduler's pieces.

Owns the layout that paged attention reads. Pure numpy; the model that takes it is in `model.py`.
"""

from collections.abc import Sequence as Seq
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from renga.engine.scheduler import Piece

Ints = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]


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


def gather(pieces: Seq[Piece]) -> Batch:
    """The arrays of a step; `rows` are the last tokens of the pieces that sample, in order."""
    tokens: list[int] = []
    positions: list[int] = []
    past: list[int] = []
    begins: list[int] = [0]
    blocks: list[int] = []
    block_begins: list[int] = [0]
    rows: list[int] = []
    longest = 0
    for piece in pieces:
        sequence = piece.sequence
        start = sequence.computed
        end = start + piece.count
        if piece.count == 1:
            tokens.append(sequence.tokens[start])
            positions.append(start)
        else:
            tokens += sequence.tokens[start:end]
            positions += range(start, end)
        past.append(start)
        begins.append(len(tokens))
        blocks += sequence.blocks
        block_begins.append(len(blocks))
        longest = max(longest, end)
        if piece.samples:
            rows.append(len(tokens) - 1)
    return Batch(
        input_ids=np.array(tokens, dtype=np.int64),
        position_ids=np.array(positions, dtype=np.int64),
        past_lens=np.array(past, dtype=np.int32),
        subsequence_begins=np.array(begins, dtype=np.int32),
        block_indices=np.array(blocks, dtype=np.int32),
        block_indices_begins=np.array(block_begins, dtype=np.int32),
        max_context_len=np.array(longest, dtype=np.int32),
        rows=np.array(rows, dtype=np.int32),
    )
