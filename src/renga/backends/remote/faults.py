"""What goes wrong with another server, as an error that a caller can be told.

Owns two tables: which word stands for what happened, in the ledger and the log; and which error a
caller gets where nothing else helps. Callers learn which backend it was and what to check, never a
key. Whether there is another try is not decided here: errors say only whether one may succeed.

Limits of an upstream are no limits of the caller: its 429 is our 529, as its 529 and 503 are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, Literal

import msgspec

from renga.errors import (
    BackendFailed,
    GatewayTimeout,
    InvalidRequest,
    Overloaded,
    RengaError,
    RequestTooLarge,
)

Cause = Literal[
    "refused",
    "tls",
    "reset_before_headers",
    "reset_after_headers",
    "cut_mid_stream",
    "slow_first_byte",
    "slow_trickle",
    "malformed_json",
    "malformed_sse",
    "wrong_content_type",
    "empty_stream",
    "missing_stop",
]

MOST_WORDS: Final = 500  # characters of an upstream's own message
MOST_RETRY_AFTER: Final = 3_600.0  # seconds; more is as good as never


@dataclass(frozen=True)
class _Fault:
    """A row: the class of the error, and what it says after "backend 'NAME' "."""

    error: type[RengaError]
    words: str


_FAULTS: Final[dict[Cause, _Fault]] = {
    "refused": _Fault(BackendFailed, "cannot be reached"),
    "tls": _Fault(BackendFailed, "cannot be reached safely: its certificate or its TLS is wrong"),
    "reset_before_headers": _Fault(BackendFailed, "closed the connection before it answered"),
    "reset_after_headers": _Fault(BackendFailed, "closed the connection as its answer began"),
    "cut_mid_stream": _Fault(BackendFailed, "closed the connection in the middle of its answer"),
    "slow_first_byte": _Fault(GatewayTimeout, "did not begin to answer in time"),
    "slow_trickle": _Fault(GatewayTimeout, "did not finish its answer in time"),
    "malformed_json": _Fault(BackendFailed, "answered with JSON that cannot be read"),
    "malformed_sse": _Fault(BackendFailed, "answered with events that cannot be read"),
    "wrong_content_type": _Fault(BackendFailed, "answered with another type of content"),
    "empty_stream": _Fault(BackendFailed, "answered with nothing"),
    "missing_stop": _Fault(BackendFailed, "ended its answer without saying why"),
}


def fault(cause: Cause, backend: str, words: str = "") -> RengaError:
    """The error for what happened at `backend`; `words` say it closer, without secrets."""
    row = _FAULTS[cause]
    closer = f": {_shortened(words)}" if words else ""
    return row.error(f"backend '{backend}' {row.words}{closer}", cause=cause, again=True)


# What to look at for statuses that are the operator's to mend.
_OPERATORS: Final[dict[int, str]] = {
    401: "does not accept the key that it is shown: check its `api_key_env`",
    402: "wants to be paid first: check its account",
    403: "does not allow this to the key that it is shown: check its `api_key_env` and `model`",
    404: "does not know the path or the model: check its `urls` and its `model`",
    405: "does not know the path: check its `urls`",
}
# What the API says in a 400 of an account that cannot pay: no fault of the request's.
_SPENT: Final = ("Your credit balance is too low", "You have reached your specified ")
_OVERLOADED: Final = (429, 503, 529)
_TIMEOUTS: Final = (408, 504)
# The caller's own fault, told in the upstream's words.
_CALLERS: Final[dict[int, type[RengaError]]] = {
    400: InvalidRequest,
    413: RequestTooLarge,
    422: InvalidRequest,
}


def refused(
    status: int, headers: Mapping[str, str], body: bytes, backend: str, now: datetime
) -> RengaError:
    """The error for an answer of `status` that is no success. `now` is the wall clock's."""
    said = message_of(body)
    if status == 400 and said.startswith(_SPENT):
        status = 402
    cause = f"status_{status}"
    if status in _CALLERS:
        return _CALLERS[status](
            said or f"backend '{backend}' refuses the request with status {status}", cause=cause
        )
    closer = f": {said}" if said else ""
    if status in _OVERLOADED:
        wait = retry_after(headers, now)
        if status == 429 and wait is not None:
            cause = "status_429_retry_after"
        return Overloaded(
            f"backend '{backend}' is overloaded (status {status}){closer}",
            retry_after=wait,
            cause=cause,
            again=True,
        )
    if status in _OPERATORS:
        # Its own words may hold a part of the key.
        return BackendFailed(f"backend '{backend}' {_OPERATORS[status]}", cause=cause, again=True)
    if 300 <= status < 400:
        words = f"sends elsewhere (status {status}), which is not followed: check its `urls`"
        return BackendFailed(f"backend '{backend}' {words}", cause=cause, again=True)
    error = GatewayTimeout if status in _TIMEOUTS else BackendFailed
    words = f"failed with status {status}"
    return error(f"backend '{backend}' {words}{closer}", cause=cause, again=True)


def message_of(body: bytes) -> str:
    """The sentence in the body of an error, in any of the forms that servers write; "" for none.

    `{"error": {"message": ...}}` and `{"error": ...}`, `{"message": ...}`, `{"detail": ...}`.
    """
    try:
        found: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return ""
    for name in ("error", "message", "detail"):
        if isinstance(found, dict) and name in found:
            found = found[name]
    return _shortened(found) if isinstance(found, str) else ""


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds to wait, by `retry-after-ms` or `retry-after` (RFC 9110, 10.2.3: seconds or a date).

    None where neither can be read. At most MOST_RETRY_AFTER.
    """
    for name, factor in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        told = headers.get(name, "").strip()
        try:
            seconds = float(told) * factor
        except ValueError:
            continue
        if seconds >= 0:  # which NaN is not
            return min(seconds, MOST_RETRY_AFTER)
    try:
        at = parsedate_to_datetime(headers.get("retry-after", ""))
    except (ValueError, TypeError):
        return None
    at = at if at.tzinfo else at.replace(tzinfo=now.tzinfo)
    return min(max(0.0, (at - now).total_seconds()), MOST_RETRY_AFTER)


def _shortened(words: str) -> str:
    """One line of at most MOST_WORDS characters."""
    line = " ".join(words.split())
    return line if len(line) <= MOST_WORDS else line[: MOST_WORDS - 1] + "…"
