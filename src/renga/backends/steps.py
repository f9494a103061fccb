"""An engine's times as spans of a trace: waiting, reading the prompt, writing the answer.

Owns the names of these spans and what they say. The engine counts its steps and its seconds and
sends them with its messages; here they become spans below an attempt's. A request that is not
traced pays for none of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from renga.engine.messages import Finished, Started
from renga.watching.traces import NO_TRACE, Trace

Message = TypeVar("Message")
Meter = Callable[[Message], None]


@contextmanager
def traced(trace: Trace, meter: Meter[Message]) -> Iterator[Meter[Message]]:
    """`meter`, which also makes spans below `trace` of what it is told, where that is traced."""
    if not trace.on:
        yield meter
        return
    steps = _Steps(trace, meter)
    try:
        yield steps.see
    finally:
        steps.close()


class _Steps(Generic[Message]):
    """The spans of one request to an engine."""

    def __init__(self, trace: Trace, meter: Meter[Message]) -> None:
        self._trace = trace
        self._meter = meter
        self._decoding = NO_TRACE

    def see(self, message: Message) -> None:
        """One message, when it comes."""
        self._meter(message)
        if isinstance(message, Started):
            self._tell_start(message)
        elif isinstance(message, Finished):
            told: dict[str, str | int] = {
                "renga.engine.steps": message.steps,
                "renga.engine.reason": message.reason,
                "gen_ai.usage.output_tokens": message.output_tokens,
            }
            self._decoding.put(told)
            self.close()

    def _tell_start(self, started: Started) -> None:
        if started.prefill_steps:  # other engines do not tell
            filled, waited = started.prefill_seconds, started.waited_seconds
            self._trace.past("engine.queue", filled + waited, filled, {})
            told = {
                "renga.engine.steps": started.prefill_steps,
                "renga.prompt_tokens": started.prompt_tokens,
                "renga.reused_tokens": started.reused_tokens,
            }
            self._trace.past("engine.prefill", filled, 0.0, told)
        self._decoding = self._trace.child("engine.decode")

    def close(self) -> None:
        """The answer is over, or left."""
        self._decoding.end()
        self._decoding = NO_TRACE
