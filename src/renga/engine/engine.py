"""One model's loop: requests go in, a step is run, messages come out.

`Engine.step` reads as what it does: schedule, run, sample, publish. Owned rules: every request ends
with exactly one `Finished` or `Refused`; a step that raises ends its own sequences and no others.
It knows no processes and no pipes: `process.py` drives it.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from renga.engine.batch import Batch, gather
from renga.engine.blocks import BLOCK_SIZE, BlockPool
from renga.engine.cache import CacheUse
from renga.engine.grammar import GrammarError
from renga.engine.memory import stored_precision
from renga.engine.messages import (
    EngineSettings,
    Finished,
    FromEngine,
    Reason,
    Refused,
    Score,
    Started,
    Stats,
    Submit,
)
from renga.engine.request import Language, Request, wrong_prompt, wrong_submit
from renga.engine.sampler import Draw, largest
from renga.engine.scheduler import Scheduler
from renga.engine.scoring import Scoring, TailSequence, wrong_continuations
from renga.engine.sequence import Piece, Sequence

Logits = npt.NDArray[np.float32]

# Measured on the shipped model: up to about so many tokens a step takes little longer for each one
# more; beyond, as much longer as a step of its own. Guesses fill what decodes leave of them.
_CHEAP_ROWS = 16
# How many tokens are guessed for one sequence where the settings leave it open.
_DRAFT_TOKENS = 4


class Runs(Protocol):
    """What the engine needs of a model."""

    vocab: int
    window: int
    blocks: int

    def forward(self, batch: Batch) -> Logits:
        """The logits of the batch's rows; valid until the next call."""

    def copy_block(self, source: int, target: int) -> None:
        """Make the keys and values of one block those of another."""


class Engine:
    """The requests of one model. `clock` gives seconds; `entropy` seeds answers without a seed."""

    def __init__(
        self,
        model: Runs,
        language: Language,
        settings: EngineSettings,
        *,
        clock: Callable[[], float],
        entropy: Callable[[], int],
    ) -> None:
        self._model = model
        self._language = language
        self._clock = clock
        self._entropy = entropy
        self._pool = BlockPool(model.blocks)
        self._scheduler = Scheduler(self._pool, settings, clock=clock)
        self._step_tokens = settings.step_tokens
        # What a wrong guess left in a quantized block would disturb the tokens beside it.
        self._apart = stored_precision(settings) != "u8"
        wanted = _DRAFT_TOKENS if settings.draft_tokens is None else settings.draft_tokens
        self._draft_tokens = wanted if self._apart else 0
        self._requests: dict[str, Request | Scoring] = {}
        self._scorings: dict[str, Scoring] = {}
        self._steps = self._prompt_tokens = self._reused_tokens = self._output_tokens = 0
        self._drafted_tokens = self._accepted_tokens = 0
        self._model_seconds = self._step_seconds = 0.0

    @property
    def busy(self) -> bool:
        """Whether a step would do something."""
        return bool(self._requests)

    def submit(self, message: Submit | Score) -> list[FromEngine]:
        """Take a request; what is wrong with it, or a full queue, is answered at once."""
        if message.id in self._requests:
            return [_failed(message, f"id: {message.id!r} is in use")]
        wrong = self._wrong(message)
        if wrong:
            return [_failed(message, wrong)]
        try:
            request = self._request(message)
        except GrammarError as error:
            return [_failed(message, str(error), "grammar")]
        request.arrived = self._clock()
        refusal = self._scheduler.submit(request)
        self._requests[request.id] = request
        if isinstance(request, Scoring):
            self._scorings[request.id] = request
        if refusal is None:
            return []
        # It, or one that waited in its place.
        refused = refusal.sequence.id
        del self._requests[refused]
        self._scorings.pop(refused, None)
        return [Refused(refused, "overloaded", refusal.retry_after)]

    def prepare(self, message: Submit | Score) -> None:
        """What takes long in a `submit` that follows. The one method for another thread."""
        if isinstance(message, Submit) and message.grammar is not None:
            self._language.grammars.prepare(message.grammar)
            self._language.learn_words()
            if message.digits is not None:
                self._language.learn_numbers()

    def cancel(self, id: str) -> list[FromEngine]:
        """End a request and free what it holds; nothing if it is not there (any more)."""
        request = self._requests.get(id)
        return [] if request is None else [self._finish(request, "cancelled")]

    def step(self) -> list[FromEngine]:
        """Advance every sequence that has its turn, and say what came of it."""
        begun = self._clock()
        self._guess()
        pieces = self._scheduler.plan()
        tails = self._plan_tails(pieces) if self._scorings else []
        if not pieces and not tails:
            return self._starved()
        events: list[FromEngine] = []
        sequences = {piece.sequence.id: None for piece in pieces + tails if piece.samples}
        try:
            seconds = self._run(pieces + tails)
        except Exception as error:  # noqa: BLE001 - whatever a step raises must not end the loop
            self._fail(pieces + tails, error, events)
            return events
        own = sum(piece.count for piece in pieces)
        share = own / (own + sum(piece.count for piece in tails))
        self._scheduler.advance(pieces, seconds * share)
        for id in sequences:
            self._publish(self._requests[id], events)
        self._steps += 1
        self._step_seconds += self._clock() - begun
        return events

    def stats(self) -> Stats:
        """A snapshot of the queues, the blocks and the totals since the start."""
        # First, for it lets go of what expired.
        pinned = self._scheduler.pinned_now()
        batch = self._scheduler.batch
        return Stats(
            running=self._scheduler.running,
            waiting=self._scheduler.waiting,
            batch_running=batch.running,
            batch_waiting=batch.here - batch.running,
            blocks=self._pool.blocks,
            free_blocks=self._pool.available,
            cached_blocks=self._pool.cached,
            steps=self._steps,
            preemptions=self._scheduler.preemptions,
            prompt_tokens=self._prompt_tokens,
            reused_tokens=self._reused_tokens,
            output_tokens=self._output_tokens,
            pinned_blocks=pinned,
            drafted_tokens=self._drafted_tokens,
            accepted_tokens=self._accepted_tokens,
            model_seconds=self._model_seconds,
            step_seconds=self._step_seconds,
        )

    def _wrong(self, message: Submit | Score) -> str | None:
        """What makes a request impossible, as a sentence."""
        window, vocab = self._model.window, self._model.vocab
        wrong = wrong_prompt(message.prompt, window, vocab)
        if wrong is None and isinstance(message, Submit):
            return wrong_submit(message, vocab)
        if wrong is None and isinstance(message, Score):
            return wrong_continuations(message, window, vocab)
        return wrong

    def _request(self, message: Submit | Score) -> Request | Scoring:
        window = self._model.window
        if isinstance(message, Score):
            return Scoring(message, window, self._language.end_ids)
        draw = self._draw(message)
        return Request(message, window, draw, self._language, self._draft_tokens)

    def _draw(self, submit: Submit) -> Draw:
        seed = self._entropy() if submit.seed is None else submit.seed
        return Draw(
            random=np.random.Generator(np.random.PCG64(abs(seed) * 2 + (seed < 0))),
            temperature=submit.temperature,
            top_p=submit.top_p,
            top_k=submit.top_k,
            min_p=submit.min_p,
        )

    def _guess(self) -> None:
        """Let the running sequences guess ahead, as far as that costs a step little."""
        room = _CHEAP_ROWS - self._scheduler.running if self._draft_tokens else 0
        if room <= 0:
            return
        for request in self._requests.values():
            if request.running and not request.filling and isinstance(request, Request):
                room -= request.guess(room)

    def _plan_tails(self, pieces: list[Piece]) -> list[Piece]:
        """The pieces of the scores whose prompts are computed, in what the budget leaves."""
        room = max(self._step_tokens - sum(piece.count for piece in pieces), BLOCK_SIZE)
        tails: list[Piece] = []
        for scoring in self._scorings.values():
            if scoring.prepared and not (pieces and self._scheduler.holds_back(scoring.lane)):
                planned = scoring.plan(room, self._pool, self._model.copy_block)
                if room > 0 and not planned:
                    self._scheduler.wait_for_blocks(scoring)
                room -= sum(piece.count for piece in planned)
                tails += planned
        return tails

    def _run(self, pieces: list[Piece]) -> float:
        """Compute the pieces and let every sequence take what came out; the model's seconds."""
        batch = gather(pieces, apart=self._apart)
        begun = self._clock()
        for piece in pieces:
            piece.sequence.steps += 1
            if piece.sequence.begun is None:
                piece.sequence.begun = begun
        logits = self._model.forward(batch)
        seconds = self._clock() - begun
        self._model_seconds += seconds
        sampling = [piece for piece in pieces if piece.samples]
        best = largest(logits) if any(_following(piece).plain for piece in sampling) else []
        row = 0
        for piece in sampling:
            end = row + piece.draft + 1
            sequence = _following(piece)
            held = sequence.follow(logits[row:end], best[row:end], piece.draft)
            piece.rejected = piece.draft - held
            if isinstance(sequence, Request):
                self._drafted_tokens += piece.draft
                self._accepted_tokens += held
            row = end
        return seconds

    def _publish(self, request: Request | Scoring, events: list[FromEngine]) -> None:
        """Say what a step added to an answer, and end it where that was the last."""
        if not request.started:
            self._start(request, self._scheduler.keep_prompt(request), events)
        if isinstance(request, Scoring):
            request.release(self._pool)
            if request.done:
                events.append(request.scored())
                events.append(self._finish(request, "end_turn"))
            return
        self._say(request, events)
        if request.ended is not None:
            events.append(self._finish(request, request.ended, request.error))

    def _say(self, request: Request, events: list[FromEngine]) -> None:
        """Say what a step added to an answer, which may be the step that raised."""
        for output in request.outputs():
            if not request.started:
                self._start(request, CacheUse(), events)
            self._output_tokens += len(output.tokens)
            events.append(output)

    def _start(
        self, request: Request | Scoring, cached: CacheUse, events: list[FromEngine]
    ) -> None:
        request.started = True
        self._prompt_tokens += request.prompt_length
        self._reused_tokens += request.reused
        now = self._clock()
        begun = now if request.begun is None else request.begun
        times = (begun - request.arrived, now - begun, request.steps)
        events.append(Started(request.id, request.prompt_length, request.reused, *cached, *times))

    def _finish(
        self, request: Request | Scoring, reason: Reason, error: str | None = None
    ) -> Finished:
        del self._requests[request.id]
        if isinstance(request, Scoring):
            del self._scorings[request.id]
        self._scheduler.end(request.id)
        stopped = request.text.stopped if isinstance(request, Request) else None
        return Finished(
            id=request.id,
            reason=reason,
            stop_sequence=stopped if reason == "stop_sequence" else None,
            prompt_tokens=request.prompt_length,
            reused_tokens=request.reused,
            output_tokens=request.generated,
            thinking_tokens=request.thinking_tokens if isinstance(request, Request) else 0,
            steps=request.steps,
            error=error,
        )

    def _fail(self, pieces: list[Piece], error: Exception, events: list[FromEngine]) -> None:
        """End every sequence of a step that raised: what its blocks hold now is unknown."""
        sentence = f"the step failed: {type(error).__name__}: {error}"
        for id in {piece.sequence.id: None for piece in pieces}:
            request = self._requests[id]
            if isinstance(request, Request):
                self._say(request, events)
            events.append(self._finish(request, "error", sentence))

    def _starved(self) -> list[FromEngine]:
        """Nothing can be computed, yet somebody waits: the blocks there are cannot hold it."""
        stuck: Sequence | None = None
        if any(scoring.prepared for scoring in self._scorings.values()):
            # Each has its prompt's blocks, and none finds any for its tails.
            stuck = self._scheduler.make_way()
        elif not self._scheduler.running:
            stuck = next(iter(self._requests.values()), None)
        if stuck is None:
            return []
        request = self._requests[stuck.id]
        if isinstance(request, Scoring) and request.write_behind():
            return []
        return [self._finish(request, "error", "the engine has too few blocks for this request")]


def _following(piece: Piece) -> Request | Scoring | TailSequence:
    sequence = piece.sequence
    assert isinstance(sequence, Request | Scoring | TailSequence)
    return sequence


def _failed(message: Submit | Score, error: str, reason: Reason = "error") -> Finished:
    return Finished(
        id=message.id,
        reason=reason,
        prompt_tokens=len(message.prompt),
        reused_tokens=0,
        output_tokens=0,
        error=error,
    )
