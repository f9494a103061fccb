"""Scoring: how likely each of some continuations of one prompt is, computed side by side.

The prompt goes through the scheduler as any other; its last logits give every first token. Then
each tail gets a copy of the block that the prompt's end only partly fills, so that nothing is
computed twice. Owned rules: a continuation that begins another one shares its tail; tails take
blocks only while there are some to spare, and give them back after each step; where there is none
for a copy they are written behind the prompt itself, one after the other. Where the continuations
are the only answers there may be, tails go as far as the last place where answers part. Pure but
for the model's `copy_block`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from renga.engine.blocks import BLOCK_SIZE, BlockPool
from renga.engine.choosing import Fork, forks_of, worth
from renga.engine.messages import Score, Scored
from renga.engine.sampler import Row, log_likelihood
from renga.engine.sequence import Piece, Sequence


@dataclass(eq=False, slots=True)
class Tail:
    """A continuation that is none other's beginning, and what is known of its likelihood."""

    tokens: list[int]
    logprobs: list[float]
    blocks: list[int]
    """Its own, which follow the prompt's whole ones; none while no step has begun it."""
    forks: Mapping[int, Fork] | None = None
    """Where there are no other answers: what is wanted instead of its own, by its depth."""

    def see(self, logits: Row, ends: frozenset[int]) -> None:
        """Take the logits `[vocab]` before its next token."""
        at = len(self.logprobs)
        if self.forks is None:
            self.logprobs.append(float(log_likelihood(logits)[self.tokens[at]]))
            return
        if at in self.forks and not self.forks[at].logprobs:
            self.forks[at].weigh(logits, ends)
        self.logprobs.append(0.0)

    @property
    def missing(self) -> int:
        """Tokens to compute yet: the last one's own logits nobody needs."""
        return len(self.tokens) - len(self.logprobs)


class Scoring(Sequence):
    """The sequence of a prompt whose continuations are wanted."""

    __slots__ = ("_behind", "_continuations", "_forks", "ends", "prepared", "started", "tails")

    plain = False

    def __init__(self, score: Score, window: int, ends: frozenset[int]) -> None:
        """`ends` are the model's end tokens."""
        super().__init__(
            id=score.id,
            workspace=score.salt,
            lane=score.lane,
            tokens=list(score.prompt),
            limit=window,
        )
        self._continuations = score.continuations
        self._forks = forks_of(score.continuations) if score.choice else None
        self.ends = ends
        if self._forks is None:
            self.tails = [Tail(tokens, [], []) for tokens in _longest(score.continuations)]
        else:
            self.tails = _ways_to(self._forks, score.continuations)
        self.started = False
        self.prepared = False
        """Whether the prompt is computed, and in blocks that are still held."""
        self._behind = False
        """Whether tails are written into the block that the prompt's end fills in part."""

    @property
    def done(self) -> bool:
        """Whether every likelihood is known."""
        return self.prepared and not any(tail.missing for tail in self.tails)

    def follow(self, rows: Row, best: list[int], drafted: int) -> int:
        """The prompt is computed, and `rows` `[1, vocab]` are the logits after it."""
        self.prepared = True
        logs = log_likelihood(rows[0]) if self._forks is None else None
        for tail in self.tails:
            if tail.logprobs:
                continue
            if logs is None:
                tail.see(rows[0], self.ends)
            else:
                tail.logprobs.append(float(logs[tail.tokens[0]]))
        return 0

    def scored(self) -> Scored:
        """The answer, where it is done."""
        if self._forks is not None:
            told = zip(self._continuations, self._forks, strict=True)
            return Scored(self.id, [worth(answer, forks) for answer, forks in told])
        known = {tuple(tail.tokens): tail.logprobs for tail in self.tails}
        found = []
        for continuation in self._continuations:
            whole = tuple(continuation)
            tail = next(tokens for tokens in known if tokens[: len(whole)] == whole)
            found.append(known[tail][: len(whole)])
        return Scored(self.id, found)

    def plan(self, room: int, pool: BlockPool, copy: Callable[[int, int], None]) -> list[Piece]:
        """The pieces of a step's tails, of at most `room` tokens together.

        `copy` copies one block's contents to another. A tail that was begun has its blocks.
        """
        pieces: list[Piece] = []
        for tail in self.tails:
            if tail.missing and room > 0:
                count = min(tail.missing, room)
                if not tail.blocks and not self._give_blocks(tail, pool, copy):
                    break
                pieces.append(self._piece(tail, count))
                room -= count
                if self._behind:
                    break
        return pieces

    def write_behind(self) -> bool:
        """Do without copies from now on, where that saves a block; it takes a step for each tail.

        For who runs alone and has all blocks there are, none of which a tail has.
        """
        if self._behind or not self.prompt_length % BLOCK_SIZE:
            return False
        self._behind = True
        return True

    def release(self, pool: BlockPool) -> None:
        """Give back the blocks of the tails that are complete."""
        for tail in self.tails:
            if tail.blocks and not tail.missing:
                self._take_back(tail, pool)

    def free(self, pool: BlockPool) -> None:
        """Give back the tails' blocks, too: those that are not complete begin again."""
        self.release(pool)
        for tail in self.tails:
            if tail.blocks:
                self._take_back(tail, pool)
                del tail.logprobs[1:]
        self.prepared = self._behind = False
        super().free(pool)

    def _take_back(self, tail: Tail, pool: BlockPool) -> None:
        pool.release(tail.blocks[1:] if self._behind else tail.blocks)
        tail.blocks = []

    def _give_blocks(self, tail: Tail, pool: BlockPool, copy: Callable[[int, int], None]) -> bool:
        end = self.prompt_length + len(tail.tokens) - 1
        wanted = -(-end // BLOCK_SIZE) - self.prompt_length // BLOCK_SIZE
        if pool.available < wanted - self._behind:
            return False
        if self._behind:
            tail.blocks = [self.blocks[-1], *pool.take(wanted - 1)]
            return True
        tail.blocks = pool.take(wanted)
        if self.prompt_length % BLOCK_SIZE:
            copy(self.blocks[self.prompt_length // BLOCK_SIZE], tail.blocks[0])
        return True

    def _piece(self, tail: Tail, count: int) -> Piece:
        """Tokens of a tail as a guess behind the first of them, for every row is wanted."""
        at = len(tail.logprobs) - 1
        whole = self.prompt_length // BLOCK_SIZE
        sequence = TailSequence(self, tail, self.blocks[:whole] + tail.blocks)
        sequence.tokens += tail.tokens[: at + 1]
        sequence.draft = tail.tokens[at + 1 : at + count]
        sequence.computed = self.prompt_length + at
        return Piece(sequence, count, samples=True, draft=count - 1)


class TailSequence(Sequence):
    """One step's view of a tail, as the arrays of a step are made from it."""

    __slots__ = ("_ends", "_tail")

    plain = False

    def __init__(self, scoring: Scoring, tail: Tail, blocks: list[int]) -> None:
        super().__init__(
            id=scoring.id,
            workspace=scoring.workspace,
            lane=scoring.lane,
            tokens=list(scoring.tokens),
            limit=scoring.limit,
        )
        self.blocks = blocks
        self._tail = tail
        self._ends = scoring.ends

    def follow(self, rows: Row, best: list[int], drafted: int) -> int:
        """Its tokens are computed, and `rows` `[drafted + 1, vocab]` are the logits after each."""
        for row in rows:
            self._tail.see(row, self._ends)
        return drafted


def wrong_continuations(score: Score, window: int, vocab: int) -> str | None:
    """What makes the continuations of a score impossible, as a sentence."""
    if not score.continuations:
        return "continuations: there are none; at least one is expected"
    room = window - len(score.prompt)
    for place, tokens in enumerate(score.continuations):
        if not tokens:
            return f"continuations[{place}]: it is empty; at least one token is expected"
        if len(tokens) > room:
            return (
                f"continuations[{place}] is too long: {len(score.prompt)} tokens of the prompt and "
                f"{len(tokens)} of its own > {window} maximum"
            )
        if not 0 <= min(tokens) <= max(tokens) < vocab:
            return f"continuations[{place}]: token ids from 0 to {vocab - 1} are expected"
    return None


def _ways_to(forks: list[list[Fork]], answers: list[list[int]]) -> list[Tail]:
    """A tail to each fork that lies on the way to no other; of its last token nothing is asked."""
    ways: dict[tuple[int, ...], tuple[int, list[Fork]]] = {}
    for answer, passed in zip(answers, forks, strict=True):
        if passed and passed[-1].depth < len(answer):
            ways[tuple(answer[: passed[-1].depth])] = (answer[passed[-1].depth], passed)
    if not ways:
        return []
    # The way to the prompt's end, where answers part first, has no tokens and is all others' too.
    longest = map(tuple, _longest([list(way) for way in ways if way]) if len(ways) > 1 else ways)
    return [
        Tail([*way, ways[way][0]], [], [], {fork.depth: fork for fork in ways[way][1]})
        for way in longest
    ]


def _longest(continuations: list[list[int]]) -> list[list[int]]:
    """The continuations that are no other's beginning, each once."""
    ordered = sorted(continuations)
    return [
        one
        for one, following in zip(ordered, [*ordered[1:], []], strict=True)
        if following[: len(one)] != one
    ]
