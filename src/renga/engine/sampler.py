"""The next token of a sequence from its logits. numpy only; it knows no model and no text.

Owned rules: at temperature 0 the largest logit wins, the lowest id among equals; a sequence draws
from a generator of its own, so that a seed gives the same answer whoever shares the step; filters
apply in the order temperature, top_k, top_p, min_p, then what is left is drawn in proportion.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Row = npt.NDArray[np.float32]

# Rows are summed in pieces of this many: a running sum over a whole row is the slow part of a draw.
_PIECE = 64
# Least weights, beside a best of 1, of the tokens that top_p sorts before it sorts a whole row.
_SHORT_LISTS = (np.float32(1e-2), np.float32(1e-4))


@dataclass(slots=True)
class Draw:
    """How one sequence is sampled."""

    random: np.random.Generator
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    allowed: npt.NDArray[np.bool_] | None = None
    """Flags of the tokens that may come next, set before each step where a grammar rules."""

    @property
    def greedy(self) -> bool:
        """Whether the largest logit simply wins."""
        return self.temperature == 0.0

    @property
    def filtered(self) -> bool:
        """Whether some tokens are cut off before the draw."""
        return self.top_p < 1.0 or self.top_k > 0 or self.min_p > 0.0


def largest(logits: Row) -> list[int]:
    """The id of the largest logit of each row of `logits` `[rows, vocab]`."""
    chosen: list[int] = logits.argmax(axis=1).tolist()
    return chosen


def pick(row: Row, draw: Draw) -> int:
    """The next token by the logits `row` `[vocab]`; takes one number from the generator at most."""
    if draw.allowed is not None:
        row = np.where(draw.allowed, row, np.float32(-np.inf))
    if draw.greedy:
        return int(row.argmax())
    scaled = (row - row.max()) / np.float32(draw.temperature)
    weights = np.exp(scaled)
    if draw.filtered:
        weights[~_kept(scaled, weights, draw)] = 0.0
    return _in_proportion(weights, draw.random.random())


def log_likelihood(row: Row) -> npt.NDArray[np.float64]:
    """The natural log probability of each token by the logits `row` `[vocab]`."""
    logs = row.astype(np.float64)
    logs -= logs.max()
    logs -= np.log(np.exp(logs).sum())
    return logs


def _kept(scaled: Row, weights: Row, draw: Draw) -> npt.NDArray[np.bool_]:
    """Flags of the tokens that top_k, top_p and min_p leave; the largest is always left."""
    least = np.float32(-np.inf)
    if 0 < draw.top_k < scaled.size:
        least = np.partition(scaled, -draw.top_k)[-draw.top_k]
        weights = np.where(scaled >= least, weights, np.float32(0.0))
    if draw.top_p < 1.0:
        least = max(least, _nucleus_floor(scaled, weights, draw.top_p))
    if draw.min_p > 0.0:
        least = max(least, np.float32(np.log(draw.min_p)))
    return scaled >= min(least, np.float32(0.0))


def _nucleus_floor(scaled: Row, weights: Row, top_p: float) -> np.float32:
    """The scaled logit of the last token that the smallest set of mass `top_p` needs."""
    wanted = top_p * float(weights.sum(dtype=np.float64))
    for least in _SHORT_LISTS:
        places = np.flatnonzero(weights >= least)
        if weights[places].sum(dtype=np.float64) >= wanted:
            return _floor_among(scaled[places], weights[places], wanted)
    return _floor_among(scaled, weights, wanted)


def _floor_among(scaled: Row, weights: Row, wanted: float) -> np.float32:
    order = np.argsort(-weights, kind="stable")
    mass = np.cumsum(weights[order], dtype=np.float64)
    last = min(int(np.searchsorted(mass, wanted)), order.size - 1)
    return np.float32(scaled[order[last]])


def _in_proportion(weights: Row, uniform: float) -> int:
    """The index that a uniform number in [0, 1) selects; never one of weight zero."""
    whole = weights.size // _PIECE * _PIECE
    sums = weights[:whole].reshape(-1, _PIECE).sum(axis=1)
    if whole < weights.size:
        sums = np.append(sums, weights[whole:].sum())
    mass = np.cumsum(sums, dtype=np.float64)
    target = uniform * mass[-1]
    piece = int(np.searchsorted(mass, target, side="right"))
    if piece < mass.size:
        begin = piece * _PIECE
        inside = np.cumsum(weights[begin : begin + _PIECE], dtype=np.float64)
        target -= mass[piece - 1] if piece else 0.0
        place = int(np.searchsorted(inside, target, side="right"))
        if place < inside.size:
            return begin + place
    # Rounding put the target beyond the sums: the heaviest is as good a token as any there.
    return int(weights.argmax())
