"""Requests of batches that other servers have in batches of their own, and under which names.

Owns what makes a handover survive its server: it is noted before it is sent, and again with the id
that it got; between the two it is lost, and may be found again. Does not know what is sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, delete, insert, select, update

from renga.store.schema import batch_handovers, batch_items

AT_ONCE: Final = 500  # names in one statement

_C: Final = batch_handovers.c
_COLUMNS: Final = tuple(column.name for column in _C)


@dataclass(frozen=True, slots=True)
class Handed:
    """A request that was handed over; `upstream_id` is None where nobody knows what came of it."""

    backend: str
    custom_id: str
    batch_id: str
    number: int
    handover_id: str
    size: int
    handed_us: int
    upstream_id: str | None = None


def known(connection: Connection, backend: str, names: Sequence[str]) -> dict[str, Handed]:
    """Those of `names` that `backend` was handed, by name."""
    found: dict[str, Handed] = {}
    for at in range(0, len(names), AT_ONCE):
        query = select(batch_handovers).where(
            _C.backend == backend, _C.custom_id.in_(names[at : at + AT_ONCE])
        )
        for row in connection.execute(query):
            found[row.custom_id] = Handed(**row._mapping)
    return found


def intend(connection: Connection, rows: Sequence[Handed]) -> None:
    """Note what is about to be handed over, in place of what was before under these names."""
    for row in rows[:1]:
        forget(connection, row.backend, [row.custom_id for row in rows])
    values = [{name: getattr(row, name) for name in _COLUMNS} for row in rows]
    connection.execute(insert(batch_handovers), values)


def note(connection: Connection, handover_id: str, upstream_id: str) -> int:
    """Note which batch a handover became; how many of its requests are still handed over so."""
    changed = update(batch_handovers).where(_C.handover_id == handover_id)
    return connection.execute(changed.values(upstream_id=upstream_id)).rowcount


def noted(connection: Connection, backend: str, upstream_ids: Sequence[str]) -> set[str]:
    """Those of the batches of `backend` that are known to be some handover's."""
    query = select(_C.upstream_id).where(_C.backend == backend, _C.upstream_id.in_(upstream_ids))
    return {found for found in connection.execute(query.distinct()).scalars() if found}


def forget(connection: Connection, backend: str, names: Sequence[str]) -> None:
    """Have requests be handed over anew, when they are asked next."""
    for at in range(0, len(names), AT_ONCE):
        some = _C.custom_id.in_(names[at : at + AT_ONCE])
        connection.execute(delete(batch_handovers).where(_C.backend == backend, some))


def give_up(connection: Connection, handover_id: str) -> None:
    """Forget a handover of which nothing came."""
    connection.execute(delete(batch_handovers).where(_C.handover_id == handover_id))


def over(connection: Connection, backend: str) -> list[tuple[str, str | None]]:
    """The handovers to `backend` of which every request has ended here, and which batch each is."""
    open_ = (
        select(_C.handover_id)
        .join(
            batch_items,
            (batch_items.c.batch_id == _C.batch_id) & (batch_items.c.number == _C.number),
        )
        .where(_C.backend == backend, batch_items.c.state.in_(("waiting", "running")))
    )
    query = (
        select(_C.handover_id, _C.upstream_id)
        .where(_C.backend == backend, _C.handover_id.not_in(open_))
        .distinct()
    )
    return [(handover_id, upstream_id) for handover_id, upstream_id in connection.execute(query)]
