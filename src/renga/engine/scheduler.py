"""Which sequences compute how many tokens in the next step. Pure: no model, no threads, no text.

Owned rules:
- a step is every decode of a running sequence plus prefill up to a budget of tokens, which shrinks
  while streams run so that a step keeps its target time, however slow the model and deep the
  context;
- a decode computes every known token that is missing, and guesses ahead where blocks are free: what
  was guessed wrong is written again, so only blocks of known tokens enter the tree;
- the interactive lane goes before the batch lane, and takes slots and blocks from it. While an
  interactive prompt waits for its first token the batch lane does nothing; whenever else it does
  all it can, in steps of the target time. Where chats leave no pauses it is owed a tenth of the
  time, and the oldest of its sequences (the guest) then counts as interactive, so that it ends some
  day (a single slot it has for a while at a time);
- within a lane workspaces take turns, and within a workspace so do prompts of different size: one
  of each size is prefilled at a time, in order, so that a short one never waits behind long ones,
  and a long one has its share;
- what is computed once is not computed beside it: who finds the next block of its prefix on its way
  in another's prompt waits for it, but never one of the interactive lane for one of the batch lane;
- prefill ends at block borders, where a reused prefix is exact;
- a sequence that lacks blocks takes them from the youngest, which starts again later from what the
  tree still holds; the oldest never loses its blocks, so somebody always ends. What cache entries
  keep goes last, when nobody else runs;
- once a sequence waits for blocks nobody younger is let in, so it does not wait for ever;
- each lane's queue is bounded by itself; when it is full, a workspace with few in it takes the
  place of the youngest of the one with most, which is refused in its stead.
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from collections.abc import Sequence as Seq
from dataclasses import dataclass, field
from typing import NamedTuple

from renga.engine.blocks import BLOCK_SIZE, BlockPool, grow_chain
from renga.engine.cache import CacheUse, PromptCache
from renga.engine.messages import EngineSettings, Lane
from renga.engine.pace import BatchShare, PromptWork, QueuePace, Room, StepBudget
from renga.engine.sequence import Piece, Sequence

_LANES: tuple[Lane, ...] = ("interactive", "batch")
# Prompts of up to so many bits of tokens to compute are short; each two bits more are another size.
_SHORT_BITS = 11
# The batch lane's prompts take a quarter of a step's tokens: a chat that comes meanwhile waits for
# that step, which on a small model is most of its time to the first token.
_BATCH_PART = 4


class Refusal(NamedTuple):
    """Who has no place in the queue, and after how many seconds there is one."""

    sequence: Sequence
    retry_after: float


class LaneDepth(NamedTuple):
    """Sequences of a lane, and those of them that hold blocks."""

    here: int
    running: int


@dataclass(eq=False, slots=True)
class _Track:
    """Prompts of one size: the one that is prefilled now, and those behind, oldest first."""

    filling: Sequence | None = None
    waiting: deque[Sequence] = field(default_factory=deque)


@dataclass(eq=False, slots=True)
class _Turn:
    """One workspace in one lane: a track for each size, the one whose turn it is first."""

    tracks: OrderedDict[int, _Track] = field(default_factory=OrderedDict)

    def put(self, sequence: Sequence) -> None:
        """Queue a sequence before everyone of its size who came later."""
        waiting = self.tracks.setdefault(sequence.size, _Track()).waiting
        at = len(waiting)
        while at and waiting[at - 1].arrival > sequence.arrival:
            at -= 1
        waiting.insert(at, sequence)

    def unstarted(self) -> list[Sequence]:
        """Who waits and was never let in."""
        tracks = self.tracks.values()
        return [one for track in tracks for one in track.waiting if not one.admitted]


@dataclass(eq=False, slots=True)
class _LaneQueue:
    """The workspaces of a lane that have prompts to compute, and how many sequences it has in all
    and running.
    """

    pace: QueuePace
    turns: OrderedDict[str, _Turn] = field(default_factory=OrderedDict)
    count: int = 0
    running: int = 0

    def turn(self, workspace: str) -> _Turn:
        """A workspace's turn, which is last where it had none."""
        return self.turns.setdefault(workspace, _Turn())

    def drop_idle(self, sequence: Sequence) -> None:
        """Forget the track, and the turn, in which a sequence was the last."""
        turn = self.turns.get(sequence.workspace)
        if turn is None:
            return
        track = turn.tracks.get(sequence.size)
        if track is not None and track.filling is None and not track.waiting:
            del turn.tracks[sequence.size]
        if not turn.tracks:
            del self.turns[sequence.workspace]

    def heads(self) -> list[Sequence]:
        """The first that waits of each size of each workspace."""
        tracks = [track for turn in self.turns.values() for track in turn.tracks.values()]
        return [track.waiting[0] for track in tracks if track.waiting]


class Scheduler:
    """The queues, the running set and the prompt cache. `clock` gives seconds."""

    def __init__(
        self, pool: BlockPool, settings: EngineSettings, *, clock: Callable[[], float]
    ) -> None:
        self.pool = pool
        self.cache = PromptCache(pool, settings.cache_share)
        self.preemptions = 0
        self._max_running = settings.max_running
        self._most_in_lane = settings.max_running + settings.max_waiting
        self._budget = StepBudget(settings.step_tokens, settings.step_seconds)
        self._share = BatchShare(settings.step_seconds)
        self._clock = clock
        self._sequences: dict[str, Sequence] = {}
        self._running: dict[str, Sequence] = {}
        self._lanes = {lane: _LaneQueue(QueuePace(clock())) for lane in _LANES}
        self._arrivals = 0
        self._blocked: Sequence | None = None
        self._guest: Sequence | None = None
        self._flight: dict[bytes, Sequence] = {}
        # Of the step that was planned last.
        self._pieces: dict[str, Piece] = {}
        self._guessing: list[Piece] = []
        self._prompts, self._decodes = PromptWork(), 0
        self._open: tuple[Lane, ...] = _LANES

    @property
    def running(self) -> int:
        """Sequences that hold blocks."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Sequences that do not."""
        return len(self._sequences) - len(self._running)

    @property
    def batch(self) -> LaneDepth:
        """How many sequences the batch lane has, and how many of them hold blocks."""
        lane = self._lanes["batch"]
        return LaneDepth(lane.count, lane.running)

    def pinned_now(self) -> int:
        """Blocks that cache entries keep, without those that expired."""
        self.cache.expire(self._clock())
        return self.cache.pinned

    def holds_back(self, lane: Lane) -> bool:
        """Whether the step that was planned last leaves a lane out."""
        return lane not in self._open

    def submit(self, sequence: Sequence) -> Refusal | None:
        """Queue a sequence. Where the queue is full somebody is refused: it, or one who waits."""
        if sequence.id in self._sequences:
            raise ValueError(f"id {sequence.id!r} is in use")
        now = self._clock()
        lane = self._lanes[sequence.lane]
        refusal = None
        if lane.count >= self._most_in_lane:
            refusal = Refusal(self._unfairest(sequence), lane.pace.promise(now))
            if refusal.sequence is sequence:
                return refusal
            self._forget(refusal.sequence)
        if not lane.count:
            lane.pace.begins(now)
        if sequence.breakpoints:
            sequence.lookup = self.cache.touch(sequence.workspace, sequence.breakpoints, now)
        sequence.arrival = self._arrivals
        self._arrivals += 1
        self._sequences[sequence.id] = sequence
        lane.count += 1
        self._queue(sequence)
        return refusal

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
        sequence = self._sequences.get(id)
        if sequence is None:
            return None
        self._forget(sequence)
        self._lanes[sequence.lane].pace.ended(self._clock())
        return sequence

    def plan(self) -> list[Piece]:
        """The pieces of the next step; empty when there is nothing to do."""
        self._pieces, self._guessing = {}, []
        self._prompts, self._decodes = PromptWork(), 0
        self._open = self._open_lanes()
        self._plan_lanes(self._open)
        if not self._pieces and self._open == ("interactive",):
            # Those it is held back for cannot go on, maybe for what its own sequences hold.
            self._open = ("batch",)
            self._plan_lanes(self._open)
        for piece in self._guessing:
            if self._pieces.get(piece.sequence.id) is piece:
                self._add_draft(piece)
        return list(self._pieces.values())

    def wait_for_blocks(self, sequence: Sequence) -> None:
        """Let nobody in who goes after one that runs and lacks blocks, until it has ended."""
        if self._blocked is None or self._rank(sequence) < self._rank(self._blocked):
            self._blocked = sequence

    def make_way(self) -> Sequence | None:
        """Have blocks for the oldest that runs, which is returned where it has all there are."""
        oldest, youngest = min(self._running.values(), key=self._rank), self._youngest()
        if oldest is youngest:
            return None if self.cache.give_up_one() else oldest
        self._preempt(youngest)
        self.wait_for_blocks(oldest)
        return None

    def advance(self, pieces: Seq[Piece], seconds: float) -> None:
        """Note that the pieces are computed: blocks that they completed enter the tree.

        The accepted tokens of a draft must be in `tokens` by now; the slots of those rejected are
        written again. Sequences that ended meanwhile are passed over: who ends a sequence after
        this keeps its last blocks in the tree. `seconds` is how long the step took.
        """
        self._budget.learn(self._prompts, self._decodes, seconds)
        if "batch" not in self._open:
            if self._lanes["batch"].count:
                self._share.held(seconds)
        elif any(piece.sequence.lane == "batch" for piece in pieces):
            self._share.ran(seconds)
        for piece in pieces:
            sequence = piece.sequence
            if not sequence.running:
                continue
            first = sequence.computed // BLOCK_SIZE
            sequence.computed += piece.count - piece.rejected
            if sequence.computed >= (first + 1) * BLOCK_SIZE:
                self._publish(sequence, first)

    def _publish(self, sequence: Sequence, first: int) -> None:
        whole = sequence.computed // BLOCK_SIZE
        grow_chain(sequence.digests, sequence.workspace, sequence.tokens, whole)
        for index in range(first, whole):
            digest = sequence.digests[index]
            self.pool.publish(sequence.blocks[index], digest)
            if self._flight.get(digest) is sequence:
                del self._flight[digest]

    def _open_lanes(self) -> tuple[Lane, ...]:
        """The lanes of the next step, the one first that may take what there is."""
        if not self._lanes["interactive"].turns:
            return _LANES
        if self._guest_runs and self._max_running == 1:
            # It keeps every chat out: until the lane has had its credit, too.
            if not self._share.spent:
                return ("batch", "interactive")
            self._guest = None
        if not self._lanes["batch"].count or not self._share.due:
            return ("interactive",)
        if not self._guest_runs:
            running = [one for one in self._running.values() if one.lane == "batch"]
            candidates = running or self._lanes["batch"].heads()
            self._guest = min(candidates, key=lambda one: one.arrival)
        return ("batch", "interactive")

    def _plan_lanes(self, lanes: tuple[Lane, ...]) -> None:
        decoding = [
            one
            for one in self._running.values()
            if not one.filling and one.lane in lanes and one.computed < len(one.tokens)
        ]
        streams = any(one.lane == "interactive" for one in decoding)
        used = PromptWork()
        room = self._budget.room(len(decoding), used, least=BLOCK_SIZE, timed=streams)
        for sequence in decoding:
            if sequence.running:
                self._decode(sequence, room)
        self._decodes = len(self._pieces)
        least = BLOCK_SIZE
        for lane in lanes:
            batch = lane == "batch"
            part = _BATCH_PART if batch else 1
            timed = streams or batch
            room = self._budget.room(self._decodes, used, least=least, timed=timed, part=part)
            self._fill(self._lanes[lane], room)
            least = 0

    def _decode(self, sequence: Sequence, room: Room) -> None:
        """Plan what is known and not computed: the last token, before it those that were forced.

        What is beyond one token takes from the room for prompts.
        """
        known = len(sequence.tokens)
        if known - sequence.computed == 1:
            piece = Piece(sequence, 1, True)
        else:
            cut = self._cut(sequence, max(room.fits(sequence.computed), BLOCK_SIZE))
            assert cut is not None, "a block always fits"
            piece = cut
        if sequence.computed + piece.count > len(sequence.blocks) * BLOCK_SIZE:
            wanted = -(-(sequence.computed + piece.count) // BLOCK_SIZE) - len(sequence.blocks)
            if not self._free_blocks(sequence, wanted):
                return
            sequence.blocks += self.pool.take(wanted)
        self._pieces[sequence.id] = piece
        if sequence.draft and piece.samples:
            self._guessing.append(piece)
        if piece.count > 1:
            room.take(piece.count - 1, sequence.computed)

    def _free_blocks(self, sequence: Sequence, wanted: int) -> bool:
        """Have so many blocks for one that runs; False where it is put out for others itself."""
        while self.pool.available < wanted:
            if len(self._running) == 1 and self.cache.give_up_one():
                continue
            victim = self._youngest()
            self._preempt(victim)
            if victim is sequence:
                return False
        return True

    def _add_draft(self, piece: Piece) -> None:
        """Try as much of a sequence's draft as needs nobody else's blocks and may be kept."""
        sequence = piece.sequence
        end = sequence.computed + piece.count
        # What follows the draft is sampled, too, and must be within the limit.
        draft = max(min(len(sequence.draft), sequence.limit - 1 - end), 0)
        wanted = -(-(end + draft) // BLOCK_SIZE) - len(sequence.blocks)
        if wanted > 0:
            sequence.blocks += self.pool.take(min(wanted, self.pool.available))
            draft = min(draft, len(sequence.blocks) * BLOCK_SIZE - end)
        piece.draft = draft
        piece.count += draft

    def _fill(self, lane: _LaneQueue, room: Room) -> None:
        """Give a step's room to a lane's workspaces in turn."""
        idle = 0
        while room.fits(0) > 0 and idle < len(lane.turns):
            workspace, turn = next(iter(lane.turns.items()))
            lane.turns.move_to_end(workspace)
            piece = self._next_piece(turn, room)
            if piece is None:
                idle += 1
                continue
            idle = 0
            room.take(piece.count, piece.sequence.computed)
            self._prompts.add(piece.count, piece.sequence.computed)
            self._pieces[piece.sequence.id] = piece
            if piece.samples:
                piece.sequence.filling = False
                turn.tracks[piece.sequence.size].filling = None
                lane.drop_idle(piece.sequence)

    def _next_piece(self, turn: _Turn, room: Room) -> Piece | None:
        for size, track in list(turn.tracks.items()):
            if track.filling is None and track.waiting:
                self._admit(track)
            sequence = track.filling
            if sequence is None or sequence.id in self._pieces:
                continue
            piece = self._cut(sequence, room.fits(sequence.computed))
            if piece is not None:
                turn.tracks.move_to_end(size)
                return piece
        return None

    @staticmethod
    def _cut(sequence: Sequence, room: int) -> Piece | None:
        """As much of what is missing as fits: all, or up to a block border."""
        if sequence.missing <= room:
            return Piece(sequence, sequence.missing, True)
        border = (sequence.computed + room) // BLOCK_SIZE * BLOCK_SIZE
        if border <= sequence.computed:
            return None
        return Piece(sequence, border - sequence.computed, False)

    def _admit(self, track: _Track) -> None:
        """Let in the track's next sequence, with blocks for all its tokens, if it may."""
        sequence = track.waiting[0]
        if self._blocked is not None and self._rank(self._blocked) < self._rank(sequence):
            return
        if not self._may_have_slot(sequence):
            if sequence is self._guest:
                self._blocked = sequence
            return
        if self._waits_for(sequence, sequence.awaits):
            return
        whole = self._whole_before_last(sequence)
        held = self.pool.hold(sequence.digests[:whole])
        following = sequence.digests[len(held)] if len(held) < whole else b""
        if self._waits_for(sequence, following):
            self.pool.release(held)
            return
        wanted = -(-len(sequence.tokens) // BLOCK_SIZE) - len(held)
        if len(self._running) >= self._max_running:
            self._preempt_batch()
        if not self._make_room(sequence, wanted):
            self.pool.release(held)
            self._blocked = sequence
            return
        track.waiting.popleft()
        track.filling = sequence
        self._flight.update(dict.fromkeys(sequence.digests[len(held) : whole], sequence))
        self._enter(sequence, held + self.pool.take(wanted), len(held) * BLOCK_SIZE)

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
        self._lanes[sequence.lane].running += 1

    def _waits_for(self, sequence: Sequence, digest: bytes) -> bool:
        """Whether a block is on its way that the sequence had better wait for."""
        sequence.awaits = b""
        owner = self._flight.get(digest)
        if owner is None or (owner.lane == "batch" and sequence.lane == "interactive"):
            return False
        sequence.awaits = digest
        return True

    @staticmethod
    def _whole_before_last(sequence: Sequence) -> int:
        """Grow the digests of a sequence's whole blocks, and say how many may be reused."""
        # At least one token must be computed: the next is sampled from its logits.
        whole = (len(sequence.tokens) - 1) // BLOCK_SIZE
        grow_chain(sequence.digests, sequence.workspace, sequence.tokens, whole)
        return whole

    def _may_have_slot(self, sequence: Sequence) -> bool:
        if len(self._running) < self._max_running:
            return True
        return not self._rank(sequence)[0] and self._yields

    def _make_room(self, sequence: Sequence, wanted: int) -> bool:
        # One block beyond for each that runs: who is let in should not be put out at once.
        while self.pool.available < wanted + len(self._running):
            if not self._rank(sequence)[0] and self._preempt_batch():
                continue
            # Pins stay while others run, whose end frees blocks; else they are all that is left.
            if self._running or not self.cache.give_up_one():
                return False
        return True

    def _preempt_batch(self) -> bool:
        if not self._yields:
            return False
        self._preempt(self._youngest())
        return True

    @property
    def _yields(self) -> bool:
        """Whether somebody runs who gives way as one of the batch lane."""
        return self._lanes["batch"].running > self._guest_runs

    @property
    def _guest_runs(self) -> bool:
        return self._guest is not None and self._guest.running

    def _youngest(self) -> Sequence:
        """The running sequence that gives way first: batch before interactive, the last to come."""
        return max(self._running.values(), key=self._rank)

    def _rank(self, sequence: Sequence) -> tuple[bool, int]:
        """Whether it gives way as one of the batch lane, and when it came; the least goes first."""
        return sequence.lane == "batch" and sequence is not self._guest, sequence.arrival

    def _unfairest(self, newcomer: Sequence) -> Sequence:
        """Who is refused: the youngest of the workspace that waits with most, or the newcomer."""
        turns = self._lanes[newcomer.lane].turns
        waiting = {workspace: turn.unstarted() for workspace, turn in turns.items()}
        own = len(waiting.get(newcomer.workspace, []))
        most = max(waiting.values(), key=len, default=[])
        # Two more, or the two would take each other's last place in turns.
        if len(most) < own + 2:
            return newcomer
        return max(most, key=lambda one: one.arrival)

    def _queue(self, sequence: Sequence) -> None:
        """Queue by how much there is to compute, as far as is known now."""
        self._whole_before_last(sequence)
        known = self.pool.known(sequence.digests) * BLOCK_SIZE
        bits = (len(sequence.tokens) - known).bit_length()
        sequence.size = max(bits + 1 - _SHORT_BITS, 0) // 2
        self._lanes[sequence.lane].turn(sequence.workspace).put(sequence)

    def _preempt(self, sequence: Sequence) -> None:
        self._leave(sequence)
        self._queue(sequence)
        self.preemptions += 1

    def _leave(self, sequence: Sequence) -> None:
        del self._running[sequence.id]
        lane = self._lanes[sequence.lane]
        lane.running -= 1
        for digest in sequence.digests[sequence.computed // BLOCK_SIZE :]:
            if self._flight.get(digest) is sequence:
                del self._flight[digest]
        sequence.free(self.pool)
        sequence.draft = []
        sequence.computed = 0
        self._pieces.pop(sequence.id, None)
        if sequence.filling:
            lane.turn(sequence.workspace).tracks[sequence.size].filling = None
            lane.drop_idle(sequence)
        sequence.running = sequence.filling = False

    def _forget(self, sequence: Sequence) -> None:
        lane = self._lanes[sequence.lane]
        del self._sequences[sequence.id]
        lane.count -= 1
        if sequence.running:
            self._leave(sequence)
        else:
            lane.turn(sequence.workspace).tracks[sequence.size].waiting.remove(sequence)
            lane.drop_idle(sequence)
        if self._blocked is sequence:
            self._blocked = None
        if self._guest is sequence:
            self._guest = None
