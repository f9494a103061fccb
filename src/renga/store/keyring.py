"""Keys and workspaces as they are kept.

Does not know what a key looks like: it stores and finds digests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

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


async def add(store: Store, key: KeyRow) -> None:
    """Enter a key, and its workspace if it is new; IntegrityError on a `lookup` that is taken."""

    def act(connection: Connection) -> None:
        known = select(workspaces.c.workspace).where(workspaces.c.workspace == key.workspace)
        if connection.execute(known).first() is None:
            connection.execute(
                insert(workspaces).values(workspace=key.workspace, created_us=key.created_us)
            )
        values = {name: getattr(key, name) for name in KeyRow.__slots__}
        connection.execute(insert(keys).values(**values))

    await store.write(act)


async def find(store: Store, lookup: str) -> KeyRow | None:
    """The key whose public part is `lookup`, disabled or not."""
    query = select(keys).where(keys.c.lookup == lookup)
    return await store.read(lambda connection: _row(connection.execute(query).first()))


async def list_all(store: Store) -> list[KeyRow]:
    """Every key, oldest first."""
    query = select(keys).order_by(keys.c.created_us, keys.c.key_id)
    found = await store.read(lambda connection: connection.execute(query).all())
    return [KeyRow(**row._mapping) for row in found]


async def disable(store: Store, key_id: str, *, now_us: int) -> KeyRow | None:
    """Stamp the key as disabled (a second time changes nothing); None if there is none."""

    def act(connection: Connection) -> KeyRow | None:
        which = keys.c.key_id == key_id
        connection.execute(
            update(keys).where(which, keys.c.disabled_us.is_(None)).values(disabled_us=now_us)
        )
        return _row(connection.execute(select(keys).where(which)).first())

    return await store.write(act)


async def any_exist(store: Store) -> bool:
    """Whether a key was ever entered; disabled ones count."""
    query = select(keys.c.key_id).limit(1)
    return await store.read(lambda connection: connection.execute(query).first() is not None)


def _row(row: Row[Any] | None) -> KeyRow | None:
    return None if row is None else KeyRow(**row._mapping)
