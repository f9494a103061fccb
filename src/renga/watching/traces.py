"""Spans of a trace, as the path makes them: nothing at all unless traces are asked for.

Owns what the rest of the program sees of a trace: a span is made of its parent and passed down by
hand, for a generator runs in the context of whoever reads it, so that a current span kept beside
the code would be somebody else's. Knows no exporter; that is `renga.watching.spans`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

Value = str | bool | int | float | Sequence[str]
Attributes = Mapping[str, Value]


class Trace:
    """A span that is kept nowhere; what is made of it is not kept either."""

    __slots__ = ()

    @property
    def on(self) -> bool:
        """Whether anything comes of it; asked before something that costs is worked out."""
        return False

    def child(
        self, name: str, attributes: Attributes | None = None, *, call: bool = False
    ) -> Trace:
        """A span inside this one, begun now. `call`: what it covers happens in another server."""
        return self

    def past(self, name: str, begun: float, ended: float, attributes: Attributes) -> None:
        """A span inside this one that is over: it began and ended so many seconds ago."""

    def rename(self, name: str) -> None:
        """What it is, now that it is known."""

    def put(self, attributes: Attributes) -> None:
        """Say more about it."""

    def fail(self, error_type: str) -> None:
        """It went wrong, in a word."""

    def end(self) -> None:
        """It is over."""

    def headers(self) -> dict[str, str]:
        """What another server is told, so that its spans stand below this one."""
        return {}


NO_TRACE: Final = Trace()


@contextmanager
def within(trace: Trace) -> Iterator[Trace]:
    """`trace`, ended with the block; an error is told by its type, or its class's name."""
    try:
        yield trace
    except Exception as error:
        trace.fail(getattr(error, "type", type(error).__name__))
        raise
    finally:
        trace.end()


class Tracer:
    """Where traces begin."""

    on = False
    """Whether any of them are kept."""

    def request(self, method: str, headers: Mapping[str, str], begun: float) -> Trace:
        """The span of a request, below what its `traceparent` names. `begun`: Unix seconds."""
        return NO_TRACE

    def close(self) -> None:
        """Send what was not sent yet. Takes as long as that; not for an event loop."""
