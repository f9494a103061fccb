"""Uploaded files as they are recorded: a row for each, from before its first byte on.

Owns the states of a row: `coming` while bytes arrive, `there`, `expired` when its bytes are gone
and what was known of it stays, `going` while it is deleted. No byte is on the disk without a row,
and nobody sees a row whose bytes are not whole. Does not know where the bytes are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from renga.store.schema import files
from renga.store.store import Store

SHOWN: Final = ("there", "expired")
"""States of files that callers see."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRow:
    """A file that callers see; times in microseconds."""

    file_id: str
    workspace: str
    state: str
    filename: str
    mime_type: str
    size_bytes: int
    created_us: int
    expires_us: int | None


@dataclass(frozen=True, slots=True)
class Unsettled:
    """A row that a sweep has to look at."""

    file_id: str
    state: str
    created_us: int
    expires_us: int | None


async def begin(store: Store, file_id: str, workspace: str, *, now_us: int) -> None:
    """Announce a file whose bytes are about to come; durable on return."""
    values = {
        "file_id": file_id,
        "workspace": workspace,
        "state": "coming",
        "created_us": now_us,
    }
    await store.write(lambda connection: connection.execute(insert(files).values(**values)))


async def finish(store: Store, row: FileRow, *, most_bytes: int) -> int | None:
    """Make a file seen whose bytes are on the disk.

    Returns the bytes that all files have without it where it would not fit into `most_bytes`,
    and else None; LookupError where its upload is not under way any more.
    """

    def act(connection: Connection) -> int | None:
        stored = _stored(connection)
        if stored + row.size_bytes > most_bytes:
            return stored
        values = {name: getattr(row, name) for name in FileRow.__slots__}
        which = and_(files.c.file_id == row.file_id, files.c.state == "coming")
        if connection.execute(update(files).where(which).values(**values)).rowcount != 1:
            raise LookupError(row.file_id)
        return None

    return await store.write(act)


async def stored_bytes(store: Store) -> int:
    """The bytes of all files of all workspaces."""
    return await store.read(_stored)


def _stored(connection: Connection) -> int:
    query = select(func.coalesce(func.sum(files.c.size_bytes), 0)).where(files.c.state == "there")
    return int(connection.execute(query).scalar_one())


async def find(store: Store, workspace: str, ids: Sequence[str]) -> list[FileRow]:
    """Those of `ids` that `workspace` sees, the newest first."""
    query = select(files).where(_seen_by(workspace), files.c.file_id.in_(ids)).order_by(*_NEWEST)
    return await _rows(store, query)


async def page(
    store: Store,
    workspace: str,
    limit: int,
    *,
    after: tuple[int, str] | None = None,
    before: tuple[int, str] | None = None,
) -> list[FileRow]:
    """At most `limit` files of a workspace, the newest first.

    `after` and `before` are (created_us, file_id) of a place in that order: the files behind it,
    or the last ones ahead of it.
    """
    query = select(files).where(_seen_by(workspace))
    if before is not None:
        query = query.where(_newer(before)).order_by(files.c.created_us, files.c.file_id)
        return (await _rows(store, query.limit(limit)))[::-1]
    if after is not None:
        query = query.where(_older(after))
    return await _rows(store, query.order_by(*_NEWEST).limit(limit))


async def begin_removal(store: Store, workspace: str, file_id: str) -> bool:
    """Hide a file for good; whether `workspace` saw it until now. Its bytes may go afterwards."""
    which = and_(_seen_by(workspace), files.c.file_id == file_id)
    changed = update(files).where(which).values(state="going")
    return await store.write(lambda connection: connection.execute(changed).rowcount == 1)


async def forget(store: Store, file_id: str) -> None:
    """Drop a row whose bytes are gone."""
    gone = delete(files).where(files.c.file_id == file_id)
    await store.write(lambda connection: connection.execute(gone))


async def expire(store: Store, file_id: str) -> None:
    """Record that the bytes of an expired file are gone."""
    which = and_(files.c.file_id == file_id, files.c.state == "there")
    changed = update(files).where(which).values(state="expired")
    await store.write(lambda connection: connection.execute(changed))


async def unsettled(store: Store, *, now_us: int) -> list[Unsettled]:
    """Rows that are coming, going or expired."""
    due = and_(files.c.state == "there", files.c.expires_us <= now_us)
    query = select(files.c.file_id, files.c.state, files.c.created_us, files.c.expires_us)
    query = query.where(or_(files.c.state != "there", due))
    found = await store.read(lambda connection: connection.execute(query).all())
    return [Unsettled(*row) for row in found]


_NEWEST: Final = (files.c.created_us.desc(), files.c.file_id.desc())


def _seen_by(workspace: str) -> ColumnElement[bool]:
    return and_(files.c.workspace == workspace, files.c.state.in_(SHOWN))


def _older(place: tuple[int, str]) -> ColumnElement[bool]:
    created_us, file_id = place
    same = and_(files.c.created_us == created_us, files.c.file_id < file_id)
    return or_(files.c.created_us < created_us, same)


def _newer(place: tuple[int, str]) -> ColumnElement[bool]:
    created_us, file_id = place
    same = and_(files.c.created_us == created_us, files.c.file_id > file_id)
    return or_(files.c.created_us > created_us, same)


async def _rows(store: Store, query: Any) -> list[FileRow]:
    found: Sequence[Row[Any]] = await store.read(lambda c: c.execute(query).all())
    return [FileRow(**row._mapping) for row in found]
