"""A scheduler with a make-believe model, and the rules that must hold after every step."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Seq

from renga.engine.blocks import BLOCK_SIZE
from renga.engine.cache import CacheUse
from renga.engine.messages import Breakpoint, EngineSettings, Lane, Mark
from renga.engine.scheduler import Scheduler
from renga.engine.sequence import Piece, Sequence
from tests.engine.fakes import PrefixCache, WatchedPool

STEP_TOKENS = 96


def following(tokens: list[int]) -> int:
    """The same text goes on the same way, so that generated blocks are shared, too."""
    return sum(tokens[-3:]) % 7


def guesses(sequence: Sequence, count: int, wrong_at: int) -> list[int]:
    """A draft that is right up to one place."""
    tokens = list(sequence.tokens)
    for place in range(count):
        tokens.append(following(tokens) if place != wrong_at else 99)
    return tokens[len(sequence.tokens) :]


def breakpoints(prompt: list[int], places: Seq[int]) -> list[Breakpoint]:
    """One at each place, of an hour but for the last, which also finds what ends at block borders.

    The keys are those of the texts, as the caller sees them.
    """
    points = []
    for number, place in enumerate(sorted(min(place, len(prompt)) for place in places), 1):
        ends = [place, *range((place - 1) // BLOCK_SIZE * BLOCK_SIZE, 0, -BLOCK_SIZE)]
        marks = [Mark(repr(prompt[:end]).encode(), end) for end in ends]
        points.append(Breakpoint(ttl_seconds=300 if number == len(places) else 3_600, marks=marks))
    return points


class Bench:
    """A scheduler with a make-believe model, and the rules that must hold after every step."""

    def __init__(self, blocks: int = 24, max_running: int = 4, max_waiting: int = 1_000) -> None:
        self.pool = WatchedPool(blocks)
        self.now = 0.0
        self.token_seconds = 0.0001
        self.scheduler = Scheduler(
            self.pool,
            EngineSettings(
                model="",
                max_running=max_running,
                max_waiting=max_waiting,
                step_tokens=STEP_TOKENS,
                step_seconds=0.05,
            ),
            clock=lambda: self.now,
        )
        self.cache = PrefixCache()
        self.live: dict[str, Sequence] = {}
        self.displaced: list[str] = []
        self.cached = CacheUse()
        self.ended: list[str] = []
        self.first_token: list[str] = []
        self.first_token_at: dict[str, float] = {}
        self.steps = 0
        self.made = 0
        self.guess: Callable[[Sequence], list[int]] | None = None
        self.forced: Callable[[Sequence], list[int]] = lambda sequence: []

    def submit(
        self,
        prompt: list[int],
        output: int,
        workspace: str = "a",
        lane: Lane = "interactive",
        breakpoints: Seq[Breakpoint] = (),
    ) -> str:
        self.made += 1
        sequence = Sequence(
            id=f"{workspace}{self.made}",
            workspace=workspace,
            lane=lane,
            tokens=list(prompt),
            limit=min(len(prompt) + output, self.pool.blocks * BLOCK_SIZE),
            breakpoints=breakpoints,
        )
        refusal = self.scheduler.submit(sequence)
        self.live[sequence.id] = sequence
        if refusal is not None:
            del self.live[refusal.sequence.id]
            self.displaced.append(refusal.sequence.id)
        return sequence.id

    def refused(self, workspace: str = "a", lane: Lane = "interactive") -> float:
        """Submit one that is refused itself; the seconds it is told."""
        sequence = Sequence(id="extra", workspace=workspace, lane=lane, tokens=[1], limit=2)
        refusal = self.scheduler.submit(sequence)
        assert refusal is not None
        assert refusal.sequence is sequence
        return refusal.retry_after

    def cancel(self, id: str) -> None:
        assert self.scheduler.end(id) is self.live.pop(id)

    def step(self) -> list[Piece]:
        self.steps += 1
        for sequence in self.live.values():
            sequence.draft = self.guess(sequence) if self.guess else []
        pieces = self.scheduler.plan()
        self.check_plan(pieces)
        for piece in pieces:
            self.cache.compute(piece)
        seconds = self.seconds(pieces)
        self.now += seconds
        ends = [self.tokens(piece) for piece in pieces]
        self.scheduler.advance(pieces, seconds)
        for piece, last in zip(pieces, ends, strict=True):
            if piece.samples:
                self.keep(piece.sequence)
            if last:
                self.end(piece.sequence)
        self.check_books()
        return pieces

    def seconds(self, pieces: list[Piece]) -> float:
        return sum(piece.count for piece in pieces) * self.token_seconds

    def keep(self, sequence: Sequence) -> None:
        """Write the cache entries of a prompt that is computed; once, however often it is."""
        waits = sequence.lookup is not None
        use = self.scheduler.keep_prompt(sequence)
        assert waits or use == CacheUse()
        assert use.read <= sequence.reused
        assert sum(use) <= sequence.prompt_length
        assert not any(tokens % BLOCK_SIZE for tokens in use)
        self.cached = CacheUse(*(sum(pair) for pair in zip(self.cached, use, strict=True)))

    def tokens(self, piece: Piece) -> bool:
        """Add what the step sampled, and note what was guessed wrong; whether it is the last."""
        sequence = piece.sequence
        if not piece.samples:
            return False
        if not sequence.generated:
            self.first_token.append(sequence.id)
            self.first_token_at[sequence.id] = self.now
        accepted = 0
        for guessed in [*sequence.draft[: piece.draft], None]:
            sequence.tokens.append(following(sequence.tokens))
            if len(sequence.tokens) >= sequence.limit or sequence.tokens[-1] != guessed:
                break
            accepted += 1
        piece.rejected = piece.draft - accepted
        sequence.tokens += self.forced(sequence)[: sequence.limit - len(sequence.tokens)]
        return len(sequence.tokens) >= sequence.limit

    def end(self, sequence: Sequence) -> None:
        self.scheduler.end(sequence.id)
        del self.live[sequence.id]
        self.ended.append(sequence.id)

    def check_plan(self, pieces) -> None:
        if self.live:
            assert pieces, "somebody waits and nothing is planned"
        assert len({piece.sequence.id for piece in pieces}) == len(pieces)
        prefill = sum(piece.count for piece in pieces if not piece.sequence.generated)
        assert prefill <= STEP_TOKENS
        for piece in pieces:
            self.check_piece(piece)

    def check_piece(self, piece) -> None:
        sequence = piece.sequence
        end = sequence.computed + piece.count
        known = end - piece.draft
        assert piece.count > piece.draft >= 0
        assert known == len(sequence.tokens) if piece.samples else known % BLOCK_SIZE == 0
        assert piece.samples or not piece.draft
        assert end <= len(sequence.blocks) * BLOCK_SIZE
        assert end < sequence.limit or not piece.draft
        for index in range(sequence.computed // BLOCK_SIZE, (end - 1) // BLOCK_SIZE + 1):
            block = sequence.blocks[index]
            assert self.pool.holders[block] == 1, "a block is shared with its writer"
            assert block not in self.pool.published, "a block in the tree is written"

    def check_books(self) -> None:
        held = [0] * self.pool.blocks
        for sequence in self.live.values():
            for block in sequence.blocks:
                held[block] += 1
        pins = [there - mine for there, mine in zip(self.pool.holders, held, strict=True)]
        assert set(pins) <= {0, 1}, "a block is held for nobody"
        assert sum(pins) == self.scheduler.cache.pinned
        assert self.scheduler.cache.pinned <= self.pool.blocks // 2
        unheld = self.pool.holders.count(0)
        assert self.pool.available == unheld, "a block is lost"
        assert self.scheduler.running + self.scheduler.waiting == len(self.live)

    def finish(self, limit: int = 20_000) -> None:
        self.finish_but_keep(limit)
        self.scheduler.cache.expire(self.now + 10_000)
        assert self.pool.available == self.pool.blocks

    def finish_but_keep(self, limit: int = 20_000) -> None:
        """Step until all have ended; what is pinned stays."""
        begun = self.steps
        while self.live:
            assert self.steps - begun < limit, f"{len(self.live)} sequences never end"
            self.step()
        assert len(set(self.ended)) == len(self.ended)
