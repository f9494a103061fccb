"""What can go wrong with the database, in one line and a hint.

Owns the translation of the driver's errors: by result code, never by reading a message. Does not
know what the rows mean.
"""

from __future__ import annotations

import sqlite3  # noqa: TID251  its result codes only
from typing import Any, Final

from sqlalchemy.exc import DatabaseError, DBAPIError, InternalError, OperationalError

from renga.errors import ApiError, SetupError


class StoreError(ApiError, SetupError):
    """The database cannot be opened, read or written.

    At start it stops the program like every `SetupError`; later it is a 500 to the caller, who is
    told that nothing was run but not which file of the server is at fault.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        ApiError.__init__(self, message)
        self.hint = hint

    def envelope(self, request_id: str | None) -> dict[str, Any]:
        """The body on the wire; the server's own paths stay in its log."""
        body = super().envelope(request_id)
        body["error"]["message"] = "the server cannot write its records; the request was not run"
        return body


class RejectedRow(StoreError):
    """A row that the database refused for its content; the other rows of its group were written."""


# Primary result codes: the low byte of what the driver reports.
_KNOWN: Final[dict[int, tuple[str, str]]] = {
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
    sqlite3.SQLITE_BUSY: (
        "is locked by another program",
        "end the program that holds it open in a transaction; renga tries again",
    ),
    sqlite3.SQLITE_LOCKED: (
        "is locked by another program",
        "end the program that holds it open in a transaction; renga tries again",
    ),
}


def explain(error: BaseException, name: str) -> StoreError:
    """The one-line error for a driver's error on the database called `name`."""
    if isinstance(error, StoreError):
        return error
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    code = getattr(cause, "sqlite_errorcode", None)
    what, hint = _KNOWN.get(code & 0xFF, ("", "")) if isinstance(code, int) else ("", "")
    if not what:
        detail = " ".join(str(cause).split()) or type(cause).__name__
        what, hint = f"failed: {detail}", "`renga doctor` looks at the state folder"
    return StoreError(f"database {name} {what}", hint)


def is_fault_of_row(error: Exception) -> bool:
    """Whether one row's content is at fault, so that the other rows of the group can be written."""
    if isinstance(error, StoreError):
        return isinstance(error, RejectedRow)
    # Exactly DatabaseError is what the driver raises for a damaged file; its subclasses are finer.
    of_store = isinstance(error, OperationalError | InternalError) or type(error) is DatabaseError
    return not of_store
