"""A model without a network, for the tests of what is around it: its cache is a table of prefixes.

Each slot of a block remembers the whole text that led to it, so that a step can check that what it
would read is exactly what its sequence wrote or may share.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from renga.engine.batch import Batch
from renga.engine.blocks import BLOCK_SIZE
from renga.engine.scheduler import Piece


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
