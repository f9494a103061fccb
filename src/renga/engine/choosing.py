"""Choosing: how likely each of some answers is when there is no other.

An answer that may only be one of a few is drawn token by token among those that lead to one of
them, so a token on which all agree that are left is certain, and nobody needs to ask the model for
it. Owns where answers part, and what each way is worth there. It knows no blocks and no steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

from renga.engine.sampler import Row

END = -1  # the way that is taken by ending the answer, which any of a model's end tokens does


@dataclass(eq=False, slots=True)
class Fork:
    """Where answers part, `depth` tokens after the prompt. `ways` are the tokens there, or END."""

    depth: int
    ways: list[int]
    logprobs: dict[int, float] = field(default_factory=dict)
    """Natural log probabilities of the ways, which add up to one; empty while nobody knows."""

    def weigh(self, logits: Row, ends: frozenset[int]) -> None:
        """Take the model's `logits` `[vocab]` there; `ends` are its end tokens."""
        told = logits.astype(np.float64)
        ending = sorted(ends)
        worth = np.array(
            [np.logaddexp.reduce(told[ending]) if way == END else told[way] for way in self.ways]
        )
        shares = worth - np.logaddexp.reduce(worth)
        self.logprobs = {way: float(share) for way, share in zip(self.ways, shares, strict=True)}


def forks_of(answers: list[list[int]]) -> list[list[Fork]]:
    """For each of `answers` the forks on its way, from the prompt on; equal ones share them.

    Time and memory grow with the tokens of all answers together.
    """
    distinct = sorted({tuple(answer) for answer in answers})
    found: dict[tuple[int, ...], list[Fork]] = {}
    # Ranges of answers that are equal up to a depth, with the forks before it.
    ranges: list[tuple[int, int, int, list[Fork]]] = [(0, len(distinct), 0, [])]
    while ranges:
        low, high, depth, passed = ranges.pop()
        first, last = distinct[low], distinct[high - 1]
        if high - low == 1:
            found[first] = passed
            continue
        # They are sorted, so what the first and the last share all of them do.
        while depth < len(first) and first[depth] == last[depth]:
            depth += 1
        ways = groupby(range(low, high), key=lambda i, d=depth: _way(distinct[i], d))  # type: ignore[misc]
        places = {way: list(group) for way, group in ways}
        forks = [*passed, Fork(depth, list(places))]
        ranges += [(own[0], own[-1] + 1, depth + 1, forks) for own in places.values()]
    return [found[tuple(answer)] for answer in answers]


def _way(answer: tuple[int, ...], depth: int) -> int:
    return answer[depth] if depth < len(answer) else END


def worth(answer: list[int], forks: list[Fork]) -> list[float]:
    """The natural log probabilities of an answer's tokens; that of its end is in its last one's."""
    logprobs = [0.0] * len(answer)
    for fork in forks:
        if fork.depth < len(answer):
            logprobs[fork.depth] += fork.logprobs[answer[fork.depth]]
        else:
            logprobs[-1] += fork.logprobs[END]
    return logprobs
