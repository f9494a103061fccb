"""What the path tells of each answer and each attempt, and what becomes of it: numbers and spans.

Owns which attributes a span has: by OpenTelemetry's conventions for generative AI, and `renga.*`
where they have none. Texts of a prompt or an answer are in none of it unless that was asked for.
Both calls are cheap, for every request makes them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol

from renga.caller import Caller
from renga.costs.hardware import Hardware, Share
from renga.errors import SetupError
from renga.prices import Tokens
from renga.types import MessagesRequest, Prompt
from renga.watching.metrics import PROVIDER, Answered, Metrics
from renga.watching.traces import NO_TRACE, Trace, Tracer, Value, within

_log = logging.getLogger(__name__)

LONGEST_TEXT = 32_768  # characters of a prompt in a span or a line, where prompts are asked for


class Ended(Protocol):
    """How an answer or an attempt ended. Times are Unix seconds."""

    stop_reason: str | None
    error_type: str | None
    cause: str | None
    begun: float
    first_token_at: float | None

    @property
    def status(self) -> str:
        """One of the ledger's."""

    @property
    def elapsed(self) -> float:
        """Seconds from its beginning to now."""


@dataclass(slots=True)
class Watched:
    """One attempt, from its beginning to its end: its span, and its share of its backend's time."""

    backend: str
    trace: Trace
    share: Share | None


@dataclass(frozen=True)
class Watch:
    """The watching of one server.

    `prompts` is whether texts of prompts and answers may stand in spans.
    """

    metrics: Metrics = field(default_factory=Metrics)
    tracer: Tracer = field(default_factory=Tracer)
    hardware: Hardware = field(default_factory=lambda: Hardware({}, ticks=time.monotonic))
    prompts: bool = False

    @property
    def traced(self) -> bool:
        """Whether traces are kept at all."""
        return self.tracer.on

    @contextmanager
    def answering(self, caller: Caller) -> Iterator[Caller]:
        """The span of an answer; what is done for it is done for the caller that this gives."""
        if not caller.trace.on:
            yield caller
            return
        with within(caller.trace.child("answer")) as trace:
            yield replace(caller, trace=trace)

    def answered(self, caller: Caller, request: Prompt, ended: Ended, cost: int | None) -> None:
        """An answer ended; its receipt says what it was. `cost` in pico-dollars, if it is known."""
        receipt, first = caller.receipt, ended.first_token_at
        if self.prompts:
            told = {"request_id": caller.request_id, "prompt": _text_of(request)}
            _log.info("prompt", extra={"told": told})
        score = not isinstance(request, MessagesRequest)
        self.metrics.answered(
            Answered(
                tier=receipt.served_tier or receipt.tier,
                model=receipt.model,
                backend=receipt.backend,
                service=caller.service,
                status=ended.status,
                error_type=ended.error_type,
                operation="score" if score else "chat",
                seconds=max(ended.elapsed, 0.0),
                first_token_seconds=None if first is None else max(first - ended.begun, 0.0),
                tokens=receipt.tokens,
                cost_pico=cost,
            )
        )
        if caller.trace.on:
            said: dict[str, Value] = {
                "renga.tier": receipt.tier,
                "renga.served_tier": receipt.served_tier,
                "renga.status": ended.status,
                "renga.workspace": caller.workspace,
                "renga.attempts": receipt.attempts,
            }
            if receipt.cost_usd is not None:
                said["renga.cost_usd"] = receipt.cost_usd
            caller.trace.put(said)

    def attempt(self, caller: Caller, backend: str, request: Prompt) -> Watched:
        """An attempt begins."""
        trace = NO_TRACE
        if caller.trace.on:
            model = caller.receipt.model
            asked = _asked(request, self.prompts) | {"renga.backend": backend}
            if caller.layer:
                asked["renga.layer"] = caller.layer
            asked["gen_ai.request.model"] = model
            trace = caller.trace.child(
                f"{asked['gen_ai.operation.name']} {model}", asked, call=True
            )
        return Watched(backend, trace, self.hardware.begin(backend))

    def attempted(self, watched: Watched, tokens: Tokens, ended: Ended) -> int | None:
        """It ended; what it cost on own hardware in pico-dollars, None where that has no price."""
        own = None if watched.share is None else watched.share.end()
        self.metrics.attempted(watched.backend, ended.status, ended.cause, own)
        trace = watched.trace
        if trace.on:
            trace.put(_used(tokens, ended))
            if ended.status == "error":
                trace.fail(ended.cause or ended.error_type or "error")
            trace.end()
        return own


def _asked(request: Prompt, prompts: bool) -> dict[str, Value]:
    """What a request asks, as attributes."""
    found: dict[str, Value] = {
        "gen_ai.operation.name": "score",
        "gen_ai.provider.name": PROVIDER,
    }
    if isinstance(request, MessagesRequest):
        given: dict[str, Value | None] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.max_tokens": request.max_tokens,
            "gen_ai.request.temperature": request.temperature,
            "gen_ai.request.top_p": request.top_p,
            "gen_ai.request.top_k": request.top_k,
            "gen_ai.request.stream": request.stream,
        }
        found |= {name: value for name, value in given.items() if value is not None}
        if prompts:
            found["gen_ai.input.messages"] = _text_of(request)
    return found


def _text_of(request: Prompt) -> str:
    """The prompt, cut where it is long. Only where that was asked for."""
    text = request.model_dump_json(include={"system", "messages"}, exclude_none=True)
    return text[:LONGEST_TEXT]


def _used(tokens: Tokens, ended: Ended) -> dict[str, Value]:
    """What came of an attempt. By the conventions, the input is the whole prompt."""
    written = (tokens.cache_write_5m or 0) + (tokens.cache_write_1h or 0)
    given: dict[str, Value | None] = {
        "gen_ai.usage.input_tokens": tokens.prompt,
        "gen_ai.usage.output_tokens": tokens.output,
        "gen_ai.usage.cache_read.input_tokens": tokens.cache_read,
        "gen_ai.usage.cache_creation.input_tokens": written,
        "gen_ai.usage.reasoning.output_tokens": tokens.thinking,
        "renga.status": ended.status,
    }
    if ended.stop_reason is not None:
        given["gen_ai.response.finish_reasons"] = [ended.stop_reason]
    if ended.first_token_at is not None:
        seconds = max(ended.first_token_at - ended.begun, 0.0)
        given["gen_ai.response.time_to_first_chunk"] = seconds
    return {name: value for name, value in given.items() if value is not None}


def start_tracer() -> Tracer:
    """The one that sends. Raises SetupError where what it needs is not installed."""
    try:
        from renga.watching.spans import SentTraces
    except ModuleNotFoundError as error:
        raise SetupError(
            "telemetry.traces: OpenTelemetry is not installed", "pip install 'renga[tracing]'"
        ) from error
    return SentTraces()
