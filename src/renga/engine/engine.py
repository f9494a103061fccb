"""One model's loop: requests go in, a step is run, messages come out.

`Engine.step` reads as what it does: schedule, run, sample, publish. Owned rules: every request ends
with exactly one `Finished` or `Refused`; a step that raises ends its own sequences and no others.
It knows no processes and no pipes: `process.py` drives it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from renga.engine.batch import Batch, gather
from renga.engine.blocks import BlockPool
from renga.engine.grammar import GrammarError, GrammarMask, Grammars
from renga.engine.messages import (
    EngineSettings,
    Finished,
    FromEngine,
    Output,
    Reason,
    Refused,
    Started,
    Stats,
    Submit,
)
from renga.engine.sampler import Draw, sample
from renga.engine.scheduler import Piece, Scheduler, Sequence
from renga.engine.text import TextStream, Vocabulary

Logits = npt.NDArray[np.float32]


class Runs(Protocol):
    """What the engine needs of a model."""

    vocab: int
    window: int
    blocks: int

    def forward(self, batch: Batch) -> Logits:
        """The logits of the batch's rows; valid until the next call."""


@dataclass(frozen=True)
class Language:
    """What turns tokens into text and grammars into masks, and which tokens end a turn."""

    vocabulary: Vocabulary
    grammars: Grammars
    end_ids: frozenset[int]


class Request(Sequence):
    """A sequence with what its answer needs: how it is drawn, its text, its grammar."""

    __slots__ = ("draw", "grammar", "max_tokens", "started", "text")

    def __init__(self, submit: Submit, window: int, draw: Draw, language: Language) -> None:
        super().__init__(
            id=submit.id,
            workspace=submit.salt,
            lane=submit.lane,
            tokens=list(submit.prompt),
            limit=min(len(submit.prompt) + submit.max_tokens, window),
        )
        self.draw = draw
        self.max_tokens = submit.max_tokens
        self.started = False
        self.text = TextStream(language.vocabulary, submit.stop)
        self.grammar: GrammarMask | None = None
        if submit.grammar is not None:
            self.grammar = language.grammars.compile(submit.grammar)


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
        self._scheduler = Scheduler(
            self._pool,
            max_running=settings.max_running,
            max_waiting=settings.max_waiting,
            step_tokens=settings.step_tokens,
            step_seconds=settings.step_seconds,
            clock=clock,
        )
        self._requests: dict[str, Request] = {}
        self._steps = self._prompt_tokens = self._reused_tokens = self._output_tokens = 0

    @property
    def busy(self) -> bool:
        """Whether a step would do something."""
        return bool(self._requests)

    def submit(self, submit: Submit) -> list[FromEngine]:
        """Take a request; what is wrong with it, or a full queue, is answered at once."""
        if submit.id in self._requests:
            return [_failed(submit, f"id: {submit.id!r} is in use")]
        wrong = self._wrong(submit)
        if wrong:
            return [_failed(submit, wrong)]
        try:
            request = Request(submit, self._model.window, self._draw(submit), self._language)
        except GrammarError as error:
            return [_failed(submit, str(error), "grammar")]
        retry_after = self._scheduler.submit(request)
        if retry_after is not None:
            return [Refused(submit.id, "overloaded", retry_after)]
        self._requests[request.id] = request
        return []

    def prepare(self, submit: Submit) -> None:
        """What takes long in a `submit` that follows. The one method for another thread."""
        if submit.grammar is not None:
            self._language.grammars.prepare(submit.grammar)

    def cancel(self, id: str) -> list[FromEngine]:
        """End a request and free what it holds; nothing if it is not there (any more)."""
        request = self._requests.get(id)
        return [] if request is None else [self._finish(request, "cancelled")]

    def step(self) -> list[FromEngine]:
        """Advance every sequence that has its turn, and say what came of it."""
        pieces = self._scheduler.plan()
        if not pieces:
            return self._starved()
        events: list[FromEngine] = []
        try:
            begun = self._clock()
            logits = self._model.forward(gather(pieces))
            self._scheduler.advance(pieces, self._clock() - begun)
            sampled, rows = self._apply_grammars(pieces, logits, events)
            tokens = sample(rows, [request.draw for request in sampled])
        except Exception as error:  # noqa: BLE001 - whatever a step raises must not end the loop
            self._fail(pieces, error, events)
            return events
        for request, token in zip(sampled, tokens, strict=True):
            self._publish(request, token, events)
        self._steps += 1
        return events

    def stats(self) -> Stats:
        """A snapshot of the queues, the blocks and the totals since the start."""
        return Stats(
            running=self._scheduler.running,
            waiting=self._scheduler.waiting,
            blocks=self._pool.blocks,
            free_blocks=self._pool.available,
            cached_blocks=self._pool.cached,
            steps=self._steps,
            preemptions=self._scheduler.preemptions,
            prompt_tokens=self._prompt_tokens,
            reused_tokens=self._reused_tokens,
            output_tokens=self._output_tokens,
        )

    def _wrong(self, submit: Submit) -> str | None:
        """What makes a request impossible, as a sentence."""
        window, vocab = self._model.window, self._model.vocab
        if not submit.prompt:
            return "prompt: it is empty; at least one token is expected"
        if len(submit.prompt) >= window:
            return f"prompt is too long: {len(submit.prompt)} tokens > {window - 1} maximum"
        if submit.max_tokens < 1:
            return f"max_tokens: {submit.max_tokens}; at least 1 is expected"
        if not 0 <= min(submit.prompt) <= max(submit.prompt) < vocab:
            return f"prompt: token ids from 0 to {vocab - 1} are expected"
        return _wrong_sampling(submit)

    def _draw(self, submit: Submit) -> Draw:
        seed = self._entropy() if submit.seed is None else submit.seed
        return Draw(
            random=np.random.Generator(np.random.PCG64(abs(seed) * 2 + (seed < 0))),
            temperature=submit.temperature,
            top_p=submit.top_p,
            top_k=submit.top_k,
            min_p=submit.min_p,
        )

    def _apply_grammars(
        self, pieces: list[Piece], logits: Logits, events: list[FromEngine]
    ) -> tuple[list[Request], Logits]:
        """Set the masks; whom to sample from which rows, without those whose grammar broke."""
        sampled: list[Request] = []
        rows: list[int] = []
        for row, request in enumerate(_request(piece) for piece in pieces if piece.samples):
            if request.grammar is not None:
                try:
                    request.draw.allowed = request.grammar.allowed()
                except GrammarError as error:
                    events.append(self._finish(request, "grammar", str(error)))
                    continue
            sampled.append(request)
            rows.append(row)
        return sampled, logits if len(rows) == len(logits) else logits[rows]

    def _publish(self, request: Request, token: int, events: list[FromEngine]) -> None:
        """Append a token to its sequence and say so, and end the sequence where it is the last."""
        request.tokens.append(token)
        self._output_tokens += 1
        if not request.started:
            request.started = True
            self._prompt_tokens += request.prompt_length
            self._reused_tokens += request.reused
            events.append(Started(request.id, request.prompt_length, request.reused))
        ends = token in self._language.end_ids
        text = "" if ends else request.text.push(token)
        error = None
        try:
            reason = "end_turn" if ends else self._reason_to_end(request, token)
        except GrammarError as broken:
            reason, error = "grammar", str(broken)
        if reason is not None:
            text += request.text.finish()
        events.append(Output(request.id, [token], text))
        if reason is not None:
            events.append(self._finish(request, reason, error))

    def _reason_to_end(self, request: Request, token: int) -> Reason | None:
        if request.text.stopped is not None:
            return "stop_sequence"
        if request.grammar is not None:
            request.grammar.accept(token)
            if request.grammar.complete:
                return "end_turn"
        if request.generated == request.max_tokens:
            return "max_tokens"
        return "window" if len(request.tokens) >= request.limit else None

    def _finish(self, request: Request, reason: Reason, error: str | None = None) -> Finished:
        del self._requests[request.id]
        self._scheduler.end(request.id)
        return Finished(
            id=request.id,
            reason=reason,
            stop_sequence=request.text.stopped if reason == "stop_sequence" else None,
            prompt_tokens=request.prompt_length,
            reused_tokens=request.reused,
            output_tokens=request.generated,
            error=error,
        )

    def _fail(self, pieces: list[Piece], error: Exception, events: list[FromEngine]) -> None:
        """End every sequence of a step that raised: what its blocks hold now is unknown."""
        sentence = f"the step failed: {type(error).__name__}: {error}"
        events += [
            self._finish(_request(piece), "error", sentence)
            for piece in pieces
            if piece.sequence.id in self._requests
        ]

    def _starved(self) -> list[FromEngine]:
        """Nothing runs, yet somebody waits: the blocks there are cannot hold it."""
        if self._scheduler.running or not self._requests:
            return []
        request = next(iter(self._requests.values()))
        return [self._finish(request, "error", "the engine has too few blocks for this request")]


def _wrong_sampling(submit: Submit) -> str | None:
    if not 0 <= submit.temperature < math.inf:
        return f"temperature: {submit.temperature}; a finite number of at least 0 is expected"
    if not 0 < submit.top_p <= 1:
        return f"top_p: {submit.top_p}; above 0 and at most 1 is expected"
    if submit.top_k < 0:
        return f"top_k: {submit.top_k}; 0 (no limit) or more is expected"
    if not 0 <= submit.min_p <= 1:
        return f"min_p: {submit.min_p}; 0 to 1 is expected"
    return None


def _request(piece: Piece) -> Request:
    sequence = piece.sequence
    assert isinstance(sequence, Request)
    return sequence


def _failed(submit: Submit, error: str, reason: Reason = "error") -> Finished:
    return Finished(
        id=submit.id,
        reason=reason,
        prompt_tokens=len(submit.prompt),
        reused_tokens=0,
        output_tokens=0,
        error=error,
    )
