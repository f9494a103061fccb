"""Keys and workspaces as they are kept.

Does not know what a key looks like: it stores and finds digests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, select, update

from renga.store.schema import keys, workspaces
from renga.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRow:
    """A key's row; times in microseconds."""

    key_id: str
    name: str
    workspace: str
    lookup: str
    salt: str
    digest: str
    created_us: int
    disabled_us: int | None = None
    archived_us: int | None = None
    expires_us: int | None = None
    scopes: str | None = None
    last_used_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceRow:
    """A workspace's row; times in microseconds."""

    workspace: str
    created_us: int
    archived_us: int | None = None
    display_color: str | None = None
    tags: str | None = None


# -- keys --


async def add(store: Store, key: KeyRow) -> WorkspaceRow:
    """Enter a key, and its workspace if it is new; IntegrityError on a `lookup` that is taken.

    Where that workspace is archived nothing is entered; it is what is returned.
    """

    def act(connection: Connection) -> WorkspaceRow:
        workspace = _workspace(connection, key.workspace)
        if workspace is None:
            workspace = WorkspaceRow(workspace=key.workspace, created_us=key.created_us)
            connection.execute(insert(workspaces).values(**_values(workspace)))
        if workspace.archived_us is None:
            connection.execute(insert(keys).values(**_values(key)))
        return workspace

    return await store.write(act)


async def find(store: Store, lookup: str) -> tuple[KeyRow, bool] | None:
    """The key whose public part is `lookup`, disabled or not; and if its workspace is archived."""
    query = (
        select(keys, workspaces.c.archived_us.is_not(None).label("closed"))
        .join(workspaces, workspaces.c.workspace == keys.c.workspace)
        .where(keys.c.lookup == lookup)
    )

    def act(connection: Connection) -> tuple[KeyRow, bool] | None:
        row = connection.execute(query).first()
        if row is None:
            return None
        values = dict(row._mapping)
        closed = bool(values.pop("closed"))
        return KeyRow(**values), closed

    return await store.read(act)


async def get(store: Store, key_id: str) -> KeyRow | None:
    """A key by its id."""
    query = select(keys).where(keys.c.key_id == key_id)
    return await store.read(lambda connection: _row(connection.execute(query).first()))


async def list_all(store: Store) -> list[KeyRow]:
    """Every key, oldest first."""
    query = select(keys).order_by(keys.c.created_us, keys.c.key_id)
    found = await store.read(lambda connection: connection.execute(query).all())
    return [KeyRow(**row._mapping) for row in found]


async def change(store: Store, key_id: str, values: Mapping[str, object]) -> KeyRow | None:
    """Set columns of a key; None if there is none. A time that is set already stays."""

    def act(connection: Connection) -> KeyRow | None:
        which = keys.c.key_id == key_id
        row = _row(connection.execute(select(keys).where(which).with_for_update()).first())
        if row is None:
            return None
        new = {
            name: value
            for name, value in values.items()
            if value is None or not name.endswith("_us") or getattr(row, name) is None
        }
        if new:
            connection.execute(update(keys).where(which).values(**new))
        return _row(connection.execute(select(keys).where(which)).first())

    return await store.write(act)


async def any_exist(store: Store) -> bool:
    """Whether a key was ever entered; disabled ones count."""
    query = select(keys.c.key_id).limit(1)
    return await store.read(lambda connection: connection.execute(query).first() is not None)


def stamp_uses(connection: Connection, uses: Mapping[str, int]) -> None:
    """Note when each of some keys was last used, in a transaction that writes."""
    statement = (
        update(keys)
        .where(keys.c.key_id == bindparam("at_key"))
        .values(last_used_us=bindparam("us"))
    )
    if uses:
        connection.execute(statement, [{"at_key": k, "us": us} for k, us in uses.items()])


# -- workspaces --


async def add_workspace(store: Store, row: WorkspaceRow) -> bool:
    """Enter a workspace; False, and nothing is changed, where there is one of that name."""

    def act(connection: Connection) -> bool:
        if _workspace(connection, row.workspace) is not None:
            return False
        connection.execute(insert(workspaces).values(**_values(row)))
        return True

    return await store.write(act)


async def list_workspaces(store: Store) -> list[WorkspaceRow]:
    """Every workspace, oldest first."""
    query = select(workspaces).order_by(workspaces.c.created_us, workspaces.c.workspace)
    found = await store.read(lambda connection: connection.execute(query).all())
    return [WorkspaceRow(**row._mapping) for row in found]


async def change_workspace(
    store: Store, name: str, values: Mapping[str, object]
) -> WorkspaceRow | None:
    """Set columns of a workspace; None if there is none. A time that is set already stays."""

    def act(connection: Connection) -> WorkspaceRow | None:
        row = _workspace(connection, name)
        if row is None:
            return None
        new = {
            column: value
            for column, value in values.items()
            if not column.endswith("_us") or getattr(row, column) is None
        }
        if new:
            which = workspaces.c.workspace == name
            connection.execute(update(workspaces).where(which).values(**new))
        return _workspace(connection, name)

    return await store.write(act)


def _workspace(connection: Connection, name: str) -> WorkspaceRow | None:
    row = connection.execute(select(workspaces).where(workspaces.c.workspace == name)).first()
    return None if row is None else WorkspaceRow(**row._mapping)


def _values(row: KeyRow | WorkspaceRow) -> dict[str, object]:
    return {name: getattr(row, name) for name in row.__slots__}


def _row(row: Row[Any] | None) -> KeyRow | None:
    return None if row is None else KeyRow(**row._mapping)
