"""The table of `docs/faults.md`: what becomes of a request when another server breaks.

One row for each way of breaking. `tests/upstreams/test_what_faults_come_to.py` makes every one of
them happen, to both kinds of backends, plain and streamed, and compares what it sees with the rows.
"""

from __future__ import annotations

from dataclasses import dataclass

from docs.endpoints import table

ATTEMPTS = 2
"""Tries on one backend, as the table has them; the configuration's default is one more."""


@dataclass(frozen=True)
class Row:
    """What one fault comes to, where every request to the backend meets with it.

    Attributes:
        about: what the server does.
        status: of the answer, where no other backend is there.
        error: the wire type of the error, likewise.
        tries: on the backend, each an attempt row with the fault's own cause.
        cause: as the ledger has it.
        late: whether it happens, in a stream, when content is out already.
        whole: the cause where the answer was asked for in one piece, if it is another.
        openai: the cause in streams of `openai` backends, if it is another.
        known: whether the backend is known to be down, and asked only where no other is.
        retry_after: the header's value, "" for none.
        again: what `x-should-retry` says, "" for nothing.
    """

    about: str
    status: int
    error: str
    tries: int
    cause: str
    late: bool = False
    whole: str = ""
    openai: str = ""
    known: bool = False
    retry_after: str = ""
    again: str = ""

    def seen(self, kind: str, *, streamed: bool) -> tuple[int, str]:
        """Tries and cause, for a backend of `kind`."""
        if not streamed:
            return ATTEMPTS if self.late else self.tries, self.whole or self.cause
        return self.tries, (self.openai if kind == "openai" else "") or self.cause


ROWS: dict[str, Row] = {
    "refused": Row("nobody listens there", 500, "api_error", ATTEMPTS, "refused", known=True),
    "tls": Row(
        "it speaks no TLS, or has no certificate that holds",
        500,
        "api_error",
        1,
        "tls",
        known=True,
        again="false",
    ),
    "reset_before_headers": Row(
        "it closes the connection without a word",
        500,
        "api_error",
        ATTEMPTS,
        "reset_before_headers",
    ),
    "reset_after_headers": Row(
        "it closes behind the headers", 500, "api_error", ATTEMPTS, "reset_after_headers"
    ),
    "cut_mid_stream": Row(
        "it closes in the middle of the answer", 500, "api_error", 1, "cut_mid_stream", late=True
    ),
    "slow_first_byte": Row("it says nothing", 504, "timeout_error", 1, "slow_first_byte"),
    "slow_trickle": Row(
        "it dribbles bytes that never become content",
        504,
        "timeout_error",
        1,
        "slow_trickle",
        whole="slow_first_byte",
        openai="slow_first_byte",
    ),
    "status_429": Row("429", 529, "overloaded_error", ATTEMPTS, "status_429"),
    "status_429_retry_after": Row(
        "429 with `retry-after: 30`",
        529,
        "overloaded_error",
        1,
        "status_429_retry_after",
        retry_after="30",
        again="true",
    ),
    "status_500": Row("500", 500, "api_error", ATTEMPTS, "status_500"),
    "status_503": Row("503", 529, "overloaded_error", ATTEMPTS, "status_503"),
    "status_529": Row("529", 529, "overloaded_error", ATTEMPTS, "status_529"),
    "malformed_json": Row(
        "an event's data is no JSON", 500, "api_error", ATTEMPTS, "malformed_json"
    ),
    "malformed_sse": Row(
        "the stream is text, and no events",
        500,
        "api_error",
        ATTEMPTS,
        "malformed_sse",
        whole="malformed_json",
    ),
    "wrong_content_type": Row("an HTML page", 500, "api_error", 1, "wrong_content_type"),
    "empty_stream": Row("a stream without a byte", 500, "api_error", ATTEMPTS, "empty_stream"),
    "missing_stop": Row(
        "the stream ends and does not say why", 500, "api_error", 1, "missing_stop", late=True
    ),
}


def faults() -> str:
    """The table."""
    rows = [
        [f"`{name}`: {row.about}", _alone(row), _helped(row), _written(row)]
        for name, row in ROWS.items()
    ]
    return table(
        ("the server", "a caller gets", "where a second backend is well", "attempts in the ledger"),
        rows,
    )


def _alone(row: Row) -> str:
    told = f"{row.status} `{row.error}`"
    if row.retry_after:
        told += f", `retry-after: {row.retry_after}`"
    if row.again == "false":
        told += ", `x-should-retry: false`"
    return f"{told}; streamed: what came so far, then `event: error`" if row.late else told


def _helped(row: Row) -> str:
    if row.known:
        return "its answer; only it is asked"
    return "its answer; streamed: as without it, for content is out" if row.late else "its answer"


def _written(row: Row) -> str:
    cases: dict[str, list[str]] = {}
    for name, kind, streamed in (
        ("plain", "messages", False),
        ("streamed `messages`", "messages", True),
        ("streamed `openai`", "openai", True),
    ):
        tries, cause = row.seen(kind, streamed=streamed)
        cases.setdefault(f"{tries} × `{cause}`", []).append(name)
    if len(cases) == 1:
        return next(iter(cases))
    return "; ".join(f"{', '.join(names)}: {words}" for words, names in cases.items())
