"""Answers that are kept to be given again, as rows: bounded by their age and by their size.

Owns the statements. A row is found by a digest of all that it answers; what that is, and what the
bytes mean, is the business of whoever keeps them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, delete, func, insert, select

from renga.store.schema import responses
from renga.store.store import Store

_AT_ONCE: Final = 500  # rows that a statement names, or that are thrown out at a time


@dataclass(frozen=True, slots=True)
class KeptResponse:
    """An answer of a workspace; `answered_us` in microseconds since 1970."""

    response_id: str
    workspace: str
    answered_us: int
    events: bytes


async def find(store: Store, response_id: str, *, oldest_us: int) -> KeptResponse | None:
    """The answer with this digest, if it is not older than `oldest_us`."""
    wanted = select(
        responses.c.response_id,
        responses.c.workspace,
        responses.c.answered_us,
        responses.c.events,
    ).where(responses.c.response_id == response_id, responses.c.answered_us >= oldest_us)

    def act(connection: Connection) -> KeptResponse | None:
        row = connection.execute(wanted).first()
        return None if row is None else KeptResponse(*row)

    return await store.read(act)


async def keep(
    store: Store, rows: Sequence[KeptResponse], *, oldest_us: int, most_bytes: int
) -> None:
    """Keep `rows`, each in the place of one with its digest, and let go of what is over the bounds.

    The oldest go first.
    """

    def act(connection: Connection) -> None:
        latest = {row.response_id: row for row in rows}
        for at in range(0, len(latest), _AT_ONCE):
            names = list(latest)[at : at + _AT_ONCE]
            connection.execute(delete(responses).where(responses.c.response_id.in_(names)))
        if latest:
            connection.execute(insert(responses), [_values(row) for row in latest.values()])
        connection.execute(delete(responses).where(responses.c.answered_us < oldest_us))
        _shrink(connection, most_bytes)

    await store.write(act)


def _values(row: KeptResponse) -> dict[str, object]:
    return {
        "response_id": row.response_id,
        "workspace": row.workspace,
        "answered_us": row.answered_us,
        "size_bytes": len(row.events),
        "events": row.events,
    }


def _shrink(connection: Connection, most_bytes: int) -> None:
    """Throw out the oldest until the others have at most `most_bytes`."""
    total = connection.execute(select(func.coalesce(func.sum(responses.c.size_bytes), 0))).scalar()
    over = int(total or 0) - most_bytes
    oldest = (
        select(responses.c.response_id, responses.c.size_bytes)
        .order_by(responses.c.answered_us, responses.c.response_id)
        .limit(_AT_ONCE)
    )
    while over > 0:
        gone: list[str] = []
        for response_id, size in connection.execute(oldest).all():
            if over <= 0:
                break
            gone.append(response_id)
            over -= size
        if not gone:
            return
        connection.execute(delete(responses).where(responses.c.response_id.in_(gone)))
