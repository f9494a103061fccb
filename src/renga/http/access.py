"""What is told of each request: a count, a span, and a line in the log.

Owns what stands in that line, and that no text of a prompt, no key and no query does. A path that
no route has is told as it came, shortened: it is what somebody looks for who mistyped one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from starlette.routing import Route
from starlette.types import Scope

from renga.caller import Caller
from renga.http.errors import REQUEST_ID
from renga.watching.traces import NO_TRACE, Trace
from renga.watching.watch import Watch

TRACE: Final = "renga.trace"  # their places in the ASGI scope
CALLER: Final = "renga.caller"
UNMATCHED: Final = "unmatched"
CLIENT_LEFT: Final = 499  # as nginx has it: nobody was there to get a status
QUIET: Final = frozenset({"/healthz", "/readyz", "/metrics", "/api/hello"})
METHODS: Final = frozenset("GET HEAD POST PUT PATCH DELETE OPTIONS".split())

_log = logging.getLogger(__name__)


class Access:
    """The telling of one server.

    Args:
        watch: where counts and spans go.
        routes: the paths that there are.
        clock: Unix seconds.
        ticks: seconds that never go back.
        lines: whether each request has a line in the log.
    """

    def __init__(
        self,
        watch: Watch,
        routes: Iterable[Route],
        *,
        clock: Callable[[], float],
        ticks: Callable[[], float],
        lines: bool,
    ) -> None:
        self._watch = watch
        self._paths: dict[Any, str] = {route.endpoint: route.path for route in routes}
        self._clock = clock
        self._ticks = ticks
        self._lines = lines
        self._open = 0
        watch.metrics.watch(
            "renga_http_requests_open",
            "Requests that are being answered.",
            (),
            lambda: [({}, float(self._open))],
        )

    def begin(self, scope: Scope) -> Visit:
        """A request comes in; `end` must follow."""
        self._open += 1
        trace = NO_TRACE
        if self._watch.traced:
            method = _method(scope)
            trace = self._watch.tracer.request(method, _headers(scope), self._clock())
        scope[TRACE] = trace
        return Visit(trace, self._ticks())

    def end(self, visit: Visit, scope: Scope, status: int | None) -> None:
        """Its response is out; `status` is None where there was none, since nobody waited."""
        self._open -= 1
        status = status or CLIENT_LEFT
        path = self._paths.get(scope.get("endpoint"), UNMATCHED)
        method = _method(scope)
        self._watch.metrics.responded(path, method, status)
        if visit.trace.on:
            _tell(visit.trace, method, path, scope, status)
        if self._lines and path not in QUIET:
            seconds = self._ticks() - visit.begun
            _log.info("request", extra={"told": _line(scope, method, path, status, seconds)})


class Visit:
    """One request meanwhile."""

    __slots__ = ("begun", "trace")

    def __init__(self, trace: Trace, begun: float) -> None:
        self.trace = trace
        self.begun = begun


def _method(scope: Scope) -> str:
    """As it is counted: what HTTP does not know is one word."""
    method: str = scope["method"]
    return method if method in METHODS else "_OTHER"


def _headers(scope: Scope) -> Mapping[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def _tell(trace: Trace, method: str, path: str, scope: Scope, status: int) -> None:
    """By OpenTelemetry's conventions for HTTP servers."""
    told: dict[str, str | int] = {
        "http.response.status_code": status,
        "renga.request_id": scope[REQUEST_ID],
    }
    if path != UNMATCHED:
        told["http.route"] = path
        trace.rename(f"{method} {path}")
    trace.put(told)
    if status >= 500:
        trace.fail(str(status))
    trace.end()


def _line(
    scope: Scope, method: str, path: str, status: int, seconds: float
) -> dict[str, str | int | float]:
    """What the log says of a request."""
    told: dict[str, str | int | float] = {
        "request_id": scope[REQUEST_ID],
        "method": method,
        "path": path if path != UNMATCHED else scope["path"][:200],
        "status": status,
        "ms": round(seconds * 1000, 1),
    }
    caller: Caller | None = scope.get(CALLER)
    if caller is None:
        return told
    told["workspace"] = caller.workspace
    if caller.key_id is not None:
        told["key_id"] = caller.key_id
    receipt = caller.receipt
    if not receipt.tier:
        return told
    told["tier"] = receipt.tier
    if receipt.served_tier not in ("", receipt.tier):
        told["served_tier"] = receipt.served_tier
    told["backend"] = receipt.backend
    told["attempts"] = receipt.attempts
    told["input_tokens"] = receipt.tokens.prompt or 0
    told["output_tokens"] = receipt.tokens.output or 0
    if receipt.cost_usd is not None:
        told["cost_usd"] = receipt.cost_usd
    if receipt.cached_age is not None:
        told["cached_age"] = receipt.cached_age
    if receipt.ended not in ("", "ok"):
        told["ended"] = receipt.ended
    if receipt.cause is not None:
        told["cause"] = receipt.cause
    return told
