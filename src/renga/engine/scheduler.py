"""Which sequences compute how many tokens in the next step. Pure: no model, no threads, no text.

Owned rules:
- a step is every decode of a running sequence plus prefill up to a budget of tokens, which shrinks
  while streams run so that a step keeps its target time, however slow model and context are;
- a decode computes every known token that is missing, and guesses ahead where blocks are free: what
  was guessed wrong is written again, so only blocks of known tokens enter the tree;
- the interactive lane goes before the batch lane, and takes slots and blocks from it;
- within a lane workspaces take turns, and each of them prefills one prompt at a time, beside a long
  one also a shorter; prompts that share a prefix (which only one workspace's do) compute it once;
- prefill ends at block borders, where a reused prefix is exact;
- a sequence that lacks blocks takes them from the youngest, which starts again later from what the
  tree still holds; the oldest never loses its blocks, so somebody always ends;
- once a sequence waits for blocks nobody younger is let in, so it does not wait for ever.
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from collections.abc import Sequence as Seq
from dataclasses import dataclass, field

from renga.engine.blocks import BLOCK_SIZE, BlockPool, grow_chain
from renga.engine.cache import CacheUse, Lookup, PromptCache
from renga.engine.messages import Breakpoint, EngineSettings, Lane

# A prompt with more tokens than this to go lets a shorter one of its workspace go beside it.
_LONG = 2_048
_LANES: tuple[Lane, ...] = ("interactive", "batch")
# A retry sooner than this would only come back; one later than this nobody waits for.
_RETRY_FLOOR, _RETRY_CEILING = 1.0, 60.0


@dataclass(eq=False, slots=True)
class Sequence:
    """A prompt and what was generated after it, and the blocks that hold its keys and values."""

    id: str
    workspace: str
    lane: Lane
    tokens: list[int]
    limit: int
    """Tokens at which it must end, prompt included."""
    breakpoints: Seq[Breakpoint] = ()
    """Prefixes of the prompt to keep, in its order."""
    lookup: Lookup | None = None
    """What they found, until the prompt is computed."""
    prompt_length: int = 0
    reused: int = 0
    """Prompt tokens that were read from blocks when it was first let in."""
    computed: int = 0
    draft: list[int] = field(default_factory=list)
    """Tokens guessed to follow, which the next step should try; they are none of `tokens`."""
    blocks: list[int] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)
    arrival: int = 0
    running: bool = False
    filling: bool = False
    """Running, and its known tokens are not all planned yet; else it decodes."""
    admitted: bool = False

    def __post_init__(self) -> None:
        self.prompt_length = len(self.tokens)

    @property
    def generated(self) -> int:
        """Tokens produced so far."""
        return len(self.tokens) - self.prompt_length

    @property
    def missing(self) -> int:
        """Known tokens that are not computed yet."""
        return len(self.tokens) - self.computed


@dataclass(eq=False, slots=True)
class Piece:
    """What one sequence computes in a step: `count` tokens from `sequence.computed` on.

    The last `draft` of them are the beginning of `sequence.draft`, the others are known tokens.
    """

    sequence: Sequence
    count: int
    samples: bool
    """Whether the last known token is among them, so that the next one can be sampled."""
    draft: int = 0
    rejected: int = 0
    """How many of the draft's tokens turned out wrong; said before `Scheduler.advance`."""


@dataclass(eq=False, slots=True)
class _Turn:
    """One workspace in one lane: the prompts it prefills now, and those behind, oldest first."""

    filling: list[Sequence] = field(default_factory=list)
    waiting: deque[Sequence] = field(default_factory=deque)

    @property
    def admits(self) -> bool:
        """Whether the next that waits may be prefilled now."""
        if not self.waiting or not self.filling:
            return bool(self.waiting)
        [first, *others] = self.filling
        return not others and first.missing > max(_LONG, len(self.waiting[0].tokens))

    def computes(self, digest: bytes) -> bool:
        """Whether a prompt that is prefilled now has that block before it."""
        return any(
            digest in sequence.digests[sequence.computed // BLOCK_SIZE :]
            for sequence in self.filling
        )

    def put_back(self, sequence: Sequence) -> None:
        """Queue a preempted sequence before everyone who came later."""
        at = 0
        while at < len(self.waiting) and self.waiting[at].arrival < sequence.arrival:
            at += 1
        self.waiting.insert(at, sequence)


class Scheduler:
    """The queues, the running set and the prompt cache. `clock` gives seconds."""

    def __init__(
        self,
        pool: BlockPool,
        settings: EngineSettings,
        *,
        clock: Callable[[], float],
    ) -> None:
        self.pool = pool
        self.cache = PromptCache(pool, settings.cache_share)
        self.preemptions = 0
        self._max_running = settings.max_running
        self._max_waiting = settings.max_waiting
        self._budget = _Budget(max(settings.step_tokens, BLOCK_SIZE), settings.step_seconds)
        self._clock = clock
        self._sequences: dict[str, Sequence] = {}
        self._running: dict[str, Sequence] = {}
        self._turns: dict[Lane, OrderedDict[str, _Turn]] = {lane: OrderedDict() for lane in _LANES}
        self._arrivals = 0
        self._blocked: Sequence | None = None
        self._pieces: dict[str, Piece] = {}
        self._fresh: set[bytes] = set()
        self._pace = _Pace(clock())

    @property
    def running(self) -> int:
        """Sequences that hold blocks."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Sequences that do not."""
        return len(self._sequences) - len(self._running)

    def pinned_now(self) -> int:
        """Blocks that cache entries keep, without those that expired."""
        self.cache.expire(self._clock())
        return self.cache.pinned

    def submit(self, sequence: Sequence) -> float | None:
        """Queue a sequence; where the queue is full, the seconds after which to try again."""
        if sequence.id in self._sequences:
            raise ValueError(f"id {sequence.id!r} is in use")
        if len(self._sequences) >= self._max_running + self._max_waiting:
            return self._pace.seconds_for(self.waiting, self._clock())
        if not self._sequences:
            self._pace.begins(self._clock())
        if sequence.breakpoints:
            breakpoints = sequence.breakpoints
            sequence.lookup = self.cache.touch(sequence.workspace, breakpoints, self._clock())
        sequence.arrival = self._arrivals
        self._arrivals += 1
        self._sequences[sequence.id] = sequence
        self._turn(sequence).waiting.append(sequence)
        return None

    def keep_prompt(self, sequence: Sequence) -> CacheUse:
        """Write a running sequence's cache entries once its prompt is computed, and say what its
        breakpoints read and wrote. Nothing, the second time.
        """
        lookup, sequence.lookup = sequence.lookup, None
        if lookup is None:
            return CacheUse()
        digests = sequence.digests[: sequence.prompt_length // BLOCK_SIZE]
        return self.cache.use(lookup, digests, sequence.reused, self._clock())

    def end(self, id: str) -> Sequence | None:
        """Forget a sequence in whatever state it is, and free its blocks; None if unknown."""
        sequence = self._sequences.pop(id, None)
        if sequence is None:
            return None
        turn = self._turn(sequence)
        if sequence.running:
            self._leave(sequence, turn)
        else:
            turn.waiting.remove(sequence)
        if self._blocked is sequence:
            self._blocked = None
        self._drop_idle(sequence, turn)
        self._pace.ended(self._clock())
        return sequence

    def plan(self) -> list[Piece]:
        """The pieces of the next step; empty when there is nothing to do."""
        self._pieces, self._fresh = {}, set()
        decoding = [one for one in self._running.values() if not one.filling and one.missing > 0]
        room = self._budget.room(len(decoding))
        for sequence in decoding:
            if sequence.running:
                room -= self._decode(sequence, room)
        room = max(room, BLOCK_SIZE)
        for lane in _LANES:
            room = self._fill(lane, room)
        for sequence in decoding:
            if sequence.draft:
                self._add_draft(sequence)
        return list(self._pieces.values())

    def advance(self, pieces: Seq[Piece], seconds: float) -> None:
        """Note that the pieces are computed: blocks that they completed enter the tree.

        The accepted tokens of a draft must be in `tokens` by now; the slots of those rejected are
        written again. Sequences that ended meanwhile are passed over. `seconds` is how long the
        step took.
        """
        self._budget.learn(sum(piece.count for piece in pieces if piece.count > 1), seconds)
        for piece in pieces:
            sequence = piece.sequence
            if not sequence.running:
                continue
            first = sequence.computed // BLOCK_SIZE
            sequence.computed += piece.count - piece.rejected
            whole = sequence.computed // BLOCK_SIZE
            grow_chain(sequence.digests, sequence.workspace, sequence.tokens, whole)
            for index in range(first, whole):
                self.pool.publish(sequence.blocks[index], sequence.digests[index])

    def _decode(self, sequence: Sequence, room: int) -> int:
        """Plan what is known and not computed: the last token, before it those that were forced.

        Returns how many tokens beyond one that takes from the budget.
        """
        piece = self._cut(sequence, max(room, BLOCK_SIZE))
        assert piece is not None, "a block always fits"
        wanted = -(-(sequence.computed + piece.count) // BLOCK_SIZE) - len(sequence.blocks)
        if wanted > 0:
            while self.pool.available < wanted:
                if len(self._running) == 1 and self.cache.give_up_one():
                    continue
                victim = self._youngest()
                self._preempt(victim)
                if victim is sequence:
                    return 0
            sequence.blocks += self.pool.take(wanted)
        self._pieces[sequence.id] = piece
        return piece.count - 1

    def _add_draft(self, sequence: Sequence) -> None:
        """Try as much of a sequence's draft as needs nobody else's blocks and may be kept."""
        piece = self._pieces.get(sequence.id)
        if piece is None or not piece.samples:
            return
        end = sequence.computed + piece.count
        # What follows the draft is sampled, too, and must be within the limit.
        draft = max(min(len(sequence.draft), sequence.limit - 1 - end), 0)
        wanted = -(-(end + draft) // BLOCK_SIZE) - len(sequence.blocks)
        if wanted > 0:
            sequence.blocks += self.pool.take(min(wanted, self.pool.available))
            draft = min(draft, len(sequence.blocks) * BLOCK_SIZE - end)
        piece.draft = draft
        piece.count += draft

    def _fill(self, lane: Lane, room: int) -> int:
        """Give the rest of the budget to the lane's workspaces in turn; returns what is left."""
        turns = self._turns[lane]
        idle = 0
        while room > 0 and idle < len(turns):
            workspace, turn = next(iter(turns.items()))
            turns.move_to_end(workspace)
            piece = self._next_piece(turn, room)
            if piece is None:
                idle += 1
                continue
            idle = 0
            room -= piece.count
            self._plan(piece, turn)
        return room

    def _plan(self, piece: Piece, turn: _Turn) -> None:
        sequence = piece.sequence
        self._pieces[sequence.id] = piece
        begin = sequence.computed // BLOCK_SIZE
        end = (sequence.computed + piece.count) // BLOCK_SIZE
        self._fresh.update(sequence.digests[begin:end])
        if piece.samples:
            sequence.filling = False
            turn.filling.remove(sequence)
            self._drop_idle(sequence, turn)

    def _next_piece(self, turn: _Turn, room: int) -> Piece | None:
        newcomer = self._admit(turn) if turn.admits else None
        if newcomer is not None:
            turn.filling.insert(0, newcomer)
        for sequence in turn.filling:
            piece = None if sequence.id in self._pieces else self._cut(sequence, room)
            if piece is not None:
                # Whoever goes beside it has the next turn.
                turn.filling.remove(sequence)
                turn.filling.append(sequence)
                return piece
        return None

    @staticmethod
    def _cut(sequence: Sequence, room: int) -> Piece | None:
        """As much of a prompt as fits: all, or up to a block border."""
        if sequence.missing <= room:
            return Piece(sequence, sequence.missing, True)
        border = (sequence.computed + room) // BLOCK_SIZE * BLOCK_SIZE
        if border <= sequence.computed:
            return None
        return Piece(sequence, border - sequence.computed, False)

    def _admit(self, turn: _Turn) -> Sequence | None:
        """Let in the workspace's next sequence, with blocks for all its tokens, if it may."""
        sequence = turn.waiting[0]
        if self._blocked and self._goes_before(self._blocked, sequence):
            return None
        if not self._may_have_slot(sequence):
            return None
        # At least one token must be computed: the next is sampled from its logits.
        whole = (len(sequence.tokens) - 1) // BLOCK_SIZE
        grow_chain(sequence.digests, sequence.workspace, sequence.tokens, whole)
        held = self.pool.hold(sequence.digests[:whole])
        following = sequence.digests[len(held)] if len(held) < whole else b""
        if following in self._fresh or turn.computes(following):
            self.pool.release(held)
            return None
        wanted = -(-len(sequence.tokens) // BLOCK_SIZE) - len(held)
        if len(self._running) >= self._max_running:
            self._preempt_batch()
        if not self._make_room(sequence, wanted):
            self.pool.release(held)
            self._blocked = sequence
            return None
        self._enter(sequence, held + self.pool.take(wanted), len(held) * BLOCK_SIZE)
        turn.waiting.popleft()
        return sequence

    def _enter(self, sequence: Sequence, blocks: list[int], computed: int) -> None:
        if self._blocked is sequence:
            self._blocked = None
        if not sequence.admitted:
            sequence.admitted = True
            sequence.reused = computed
        sequence.blocks = blocks
        sequence.computed = computed
        sequence.running = sequence.filling = True
        self._running[sequence.id] = sequence

    def _may_have_slot(self, sequence: Sequence) -> bool:
        if len(self._running) < self._max_running:
            return True
        return sequence.lane == "interactive" and self._youngest().lane == "batch"

    def _make_room(self, sequence: Sequence, wanted: int) -> bool:
        # One block beyond for each that runs: who is let in should not be put out at once.
        while self.pool.available < wanted + len(self._running):
            if sequence.lane == "interactive" and self._preempt_batch():
                continue
            # Pins stay while others run, whose end frees blocks; else they are all that is left.
            if self._running or not self.cache.give_up_one():
                return False
        return True

    def _preempt_batch(self) -> bool:
        victim = self._youngest() if self._running else None
        if victim is None or victim.lane != "batch":
            return False
        self._preempt(victim)
        return True

    def _youngest(self) -> Sequence:
        """The running sequence that gives way first: batch before interactive, the last to come."""
        return max(self._running.values(), key=lambda one: (one.lane == "batch", one.arrival))

    @staticmethod
    def _goes_before(one: Sequence, other: Sequence) -> bool:
        return (one.lane == "batch", one.arrival) < (other.lane == "batch", other.arrival)

    def _preempt(self, sequence: Sequence) -> None:
        turn = self._turn(sequence)
        self._leave(sequence, turn)
        turn.put_back(sequence)
        self.preemptions += 1

    def _leave(self, sequence: Sequence, turn: _Turn) -> None:
        del self._running[sequence.id]
        self.pool.release(sequence.blocks)
        sequence.blocks = []
        sequence.draft = []
        sequence.computed = 0
        sequence.running = sequence.filling = False
        self._pieces.pop(sequence.id, None)
        if sequence in turn.filling:
            turn.filling.remove(sequence)

    def _turn(self, sequence: Sequence) -> _Turn:
        return self._turns[sequence.lane].setdefault(sequence.workspace, _Turn())

    def _drop_idle(self, sequence: Sequence, turn: _Turn) -> None:
        if not turn.filling and not turn.waiting:
            self._turns[sequence.lane].pop(sequence.workspace, None)


class _Budget:
    """How many prompt tokens a step may compute."""

    def __init__(self, tokens: int, seconds: float) -> None:
        self._tokens = tokens
        self._seconds = seconds
        self._token_seconds = 0.0

    def learn(self, tokens: int, seconds: float) -> None:
        """A step computed so many prompt tokens in that time."""
        if tokens >= BLOCK_SIZE:
            # Half the past: the cost follows the context, which grows by every chunk.
            self._token_seconds += (seconds / tokens - self._token_seconds) / 2

    def room(self, decodes: int) -> int:
        """Tokens for the next step; where nobody's stream would stutter, all that are allowed."""
        room = self._tokens - decodes
        if decodes and self._token_seconds:
            room = min(room, int(self._seconds / self._token_seconds))
        return max(room, BLOCK_SIZE)


class _Pace:
    """How fast sequences end, as a smoothed interval, and what that means for who is refused."""

    def __init__(self, now: float) -> None:
        self._last = now
        self._interval = 0.0

    def begins(self, now: float) -> None:
        """Idle until now: the pause says nothing about the pace."""
        self._last = now

    def ended(self, now: float) -> None:
        """A sequence ended."""
        gap, self._last = now - self._last, now
        self._interval = 0.8 * self._interval + 0.2 * gap if self._interval else gap

    def seconds_for(self, waiting: int, now: float) -> float:
        """When as many as wait now will have had their turn, within sensible bounds."""
        interval = max(self._interval, now - self._last)
        return min(max(interval * waiting, _RETRY_FLOOR), _RETRY_CEILING)
