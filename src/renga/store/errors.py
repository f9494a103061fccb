"""What can go wrong with the database, in one line and a hint.

Owns the translation of the drivers' errors: by result code. Only what PostgreSQL says to a
connection that it refuses has none, and is passed on in its own words. Does not know what the rows
mean.
"""

from __future__ import annotations

import sqlite3  # noqa: TID251  its result codes only
from typing import Any, Final

from sqlalchemy.exc import DatabaseError, DBAPIError, InternalError, OperationalError

from renga.errors import ApiError, SetupError

AGAIN_SECONDS: Final = 1.0
"""After how long a caller may ask again: the database is tried again twice in that time."""


class StoreError(ApiError, SetupError):
    """The database cannot be opened, read or written.

    At start it stops the program like every `SetupError`; later it is a 503 to the caller, who is
    told that nothing was run but not which database of the server is at fault.
    """

    status = 503

    def __init__(self, message: str, hint: str = "") -> None:
        ApiError.__init__(self, message, retry_after=AGAIN_SECONDS)
        self.hint = hint

    def envelope(self, request_id: str | None) -> dict[str, Any]:
        """The body on the wire; the server's own paths stay in its log."""
        body = super().envelope(request_id)
        body["error"]["message"] = "the server cannot write its records; the request was not run"
        return body


class RejectedRow(StoreError):
    """A row that the database refused for its content; the other rows of its group were written."""


_LOCKED: Final = (
    "is locked by another program",
    "end the program that holds it open in a transaction; renga tries again",
)

# SQLite's primary result codes: the low byte of what the driver reports.
_SQLITE: Final[dict[int, tuple[str, str]]] = {
    sqlite3.SQLITE_NOTADB: (
        "is not a SQLite database",
        "move the file away; renga starts a new one",
    ),
    sqlite3.SQLITE_CORRUPT: (
        "is damaged",
        "move the file away and keep it; `sqlite3 FILE .recover` saves what is readable",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        "cannot be opened",
        "does its folder exist, and may this user write in it?",
    ),
    sqlite3.SQLITE_READONLY: (
        "cannot be written",
        "give this user the right to write the file and its folder",
    ),
    sqlite3.SQLITE_PERM: ("cannot be accessed", "give this user the right to read and write it"),
    sqlite3.SQLITE_AUTH: ("cannot be accessed", "give this user the right to read and write it"),
    sqlite3.SQLITE_FULL: ("cannot grow: the disk is full", "free some space; renga tries again"),
    sqlite3.SQLITE_IOERR: (
        "could not be read or written by the disk",
        "look at the disk and at the system's log; renga tries again",
    ),
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
}


_RESTARTS: Final = ("is being stopped or started", "renga tries again")
_DAMAGED: Final = ("is damaged", "look at the server's log; restore what it names from a backup")

# PostgreSQL's SQLSTATE codes (appendix A of its manual), by the whole code or by its class.
_POSTGRESQL: Final[dict[str, tuple[str, str]]] = {
    "25006": (
        "is read-only",
        "name the primary server, not a standby; or set default_transaction_read_only off",
    ),
    "40": ("was changed by others at the same time, each time", "renga tries again"),
    "42501": (
        "cannot be written by this role",
        "make the role the owner of the database, or grant it its tables and CREATE in the schema",
    ),
    "42P01": ("lacks a table", "did another program change it? restore it from a backup"),
    "53100": ("cannot grow: the disk is full", "free some space; renga tries again"),
    "53200": ("is out of memory", "look at the server's settings; renga tries again"),
    "53300": (
        "takes no more connections",
        "raise max_connections of the server; each renga opens up to 8; renga tries again",
    ),
    "55P03": _LOCKED,
    "57014": (
        "took too long for a statement",
        "look at what else the server does; renga tries again",
    ),
    "57P01": _RESTARTS,
    "57P02": _RESTARTS,
    "57P03": _RESTARTS,
    "58030": (
        "could not be read or written by the disk",
        "look at the server's disk and log; renga tries again",
    ),
    "XX001": _DAMAGED,
    "XX002": _DAMAGED,
}
_TRANSIENT: Final = ("40001", "40P01")
_OF_A_ROW: Final = ("22", "23")
_LONGEST_DETAIL: Final = 300


def explain(error: BaseException, name: str) -> StoreError:
    """The one-line error for a driver's error on the database called `name`."""
    if isinstance(error, StoreError):
        return error
    cause = _cause(error)
    what, hint = _known(cause)
    if not what:
        detail = " ".join(str(cause).split())[:_LONGEST_DETAIL] or type(cause).__name__
        if isinstance(error, OperationalError) and hasattr(cause, "sqlstate"):
            detail = detail.removeprefix("connection failed: ")
            what, hint = f"cannot be reached: {detail}", "look at [store] url, and at the server"
        else:
            what, hint = f"failed: {detail}", "`renga doctor` looks at the database"
    return StoreError(f"database {name} {what}", hint)


def _cause(error: BaseException) -> BaseException:
    return error.orig if isinstance(error, DBAPIError) and error.orig else error


def _known(cause: BaseException) -> tuple[str, str]:
    code = getattr(cause, "sqlite_errorcode", None)
    if isinstance(code, int):
        return _SQLITE.get(code & 0xFF, ("", ""))
    state = getattr(cause, "sqlstate", None) or ""
    return _POSTGRESQL.get(state) or _POSTGRESQL.get(state[:2], ("", ""))


def is_transient(error: BaseException) -> bool:
    """Whether the same transaction may succeed at once: others were in its way, and are done."""
    return getattr(_cause(error), "sqlstate", None) in _TRANSIENT


def is_fault_of_row(error: Exception) -> bool:
    """Whether one row's content is at fault, so that the other rows of the group can be written."""
    if isinstance(error, StoreError):
        return isinstance(error, RejectedRow)
    state = getattr(_cause(error), "sqlstate", None)
    if state is not None:
        return str(state).startswith(_OF_A_ROW)
    # Exactly DatabaseError is what the driver raises for a damaged file; its subclasses are finer.
    of_store = isinstance(error, OperationalError | InternalError) or type(error) is DatabaseError
    return not of_store
