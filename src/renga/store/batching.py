"""Batches as their owners see them: taken in, listed, cancelled, deleted, and their results.

Owns who sees what: a batch is seen when all of its requests are durable and until it is deleted,
by its workspace alone. How its requests are worked on is `renga.store.batch_queue`. Does not know
what a request is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)

from renga.store.rows import join_cost
from renga.store.schema import answers, batch_handovers, batch_items, batch_requests, batches
from renga.store.store import Store

SHOWN: Final = ("in_progress", "canceling", "ended")
"""States of batches that callers see."""

ENDS: Final = ("succeeded", "errored", "canceled", "expired")
"""How a request of a batch ends."""

CHUNK: Final = 1_000
"""Rows that are deleted in one transaction, so that others can write in between."""

_SPLIT: Final = 10**6

# Indices over some of the rows are used only where a state stands in the statement itself.
WAITING: Final[ColumnElement[str]] = literal_column("'waiting'")
RUNNING: Final[ColumnElement[str]] = literal_column("'running'")


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRow:
    """A batch; times in microseconds. The four counts are 0 until it ended."""

    batch_id: str
    workspace: str
    key_id: str | None
    instance_id: str
    version: str
    betas: str
    state: str
    created_us: int
    expires_us: int
    cancel_us: int | None = None
    ended_us: int | None = None
    archived_us: int | None = None
    total: int = 0
    succeeded: int = 0
    errored: int = 0
    canceled: int = 0
    expired: int = 0


@dataclass(frozen=True, slots=True)
class NewItem:
    """A request of a batch that is taken in."""

    number: int
    custom_id: str
    lane: str
    prefix: str
    request: str


@dataclass(frozen=True, slots=True)
class ItemResult:
    """A request that ended. `result` is JSON, None for one that never ran."""

    number: int
    custom_id: str
    state: str
    result: str | None


@dataclass(frozen=True, slots=True)
class Spent:
    """What the results of a batch took from one tier; `cost_pico` in pico-dollars."""

    tier: str | None
    input_tokens: int
    output_tokens: int
    cost_pico: int


COLUMNS: Final = tuple(f.name for f in fields(BatchRow))


async def begin(store: Store, row: BatchRow) -> None:
    """Announce a batch whose requests are about to come; nobody sees it yet."""
    values = {name: getattr(row, name) for name in COLUMNS} | {"state": "coming"}
    await store.write(lambda connection: connection.execute(insert(batches).values(**values)))


async def add(store: Store, batch_id: str, items: Sequence[NewItem]) -> None:
    """Take in some of its requests; durable on return."""
    states = [
        {
            "batch_id": batch_id,
            "number": item.number,
            "custom_id": item.custom_id,
            "lane": item.lane,
            "prefix": item.prefix,
            "state": "waiting",
            "due_us": 0,
            "tries": 0,
        }
        for item in items
    ]
    requests = [
        {"batch_id": batch_id, "number": item.number, "request": item.request} for item in items
    ]

    def act(connection: Connection) -> None:
        connection.execute(insert(batch_items), states)
        connection.execute(insert(batch_requests), requests)

    await store.write(act, alone=False)


async def publish(
    store: Store, batch_id: str, *, total: int, created_us: int, expires_us: int
) -> BatchRow:
    """Have a batch seen whose requests are all there. LookupError where it was swept away."""
    which = and_(batches.c.batch_id == batch_id, batches.c.state == "coming")
    changed = update(batches).where(which)
    changed = changed.values(
        state="in_progress", total=total, created_us=created_us, expires_us=expires_us
    )

    def act(connection: Connection) -> BatchRow:
        if connection.execute(changed).rowcount != 1:
            raise LookupError(batch_id)
        return _row(connection.execute(_named(batch_id)).one())

    return await store.write(act)


async def abandon(store: Store, batch_id: str) -> None:
    """Give a batch up that was announced; what came of it is purged."""
    which = and_(batches.c.batch_id == batch_id, batches.c.state == "coming")
    gone = update(batches).where(which).values(state="going")
    await store.write(lambda connection: connection.execute(gone))


async def find(store: Store, workspace: str, batch_id: str) -> BatchRow | None:
    """The batch, if `workspace` sees it."""
    query = _named(batch_id).where(_seen_by(workspace))
    found = await store.read(lambda connection: connection.execute(query).first())
    return None if found is None else _row(found)


async def page(
    store: Store,
    workspace: str,
    limit: int,
    *,
    after: BatchRow | None = None,
    before: BatchRow | None = None,
) -> list[BatchRow]:
    """At most `limit` batches of a workspace, the newest first.

    Those behind `after` in that order, or the last ones ahead of `before`.
    """
    c = batches.c
    query = select(batches).where(_seen_by(workspace))
    if before is not None:
        query = query.where(_newer(before)).order_by(c.created_us, c.batch_id).limit(limit)
        return [_row(r) for r in await store.read(lambda con: con.execute(query).all())][::-1]
    if after is not None:
        query = query.where(_older(after))
    ordered = query.order_by(c.created_us.desc(), c.batch_id.desc()).limit(limit)
    return [_row(r) for r in await store.read(lambda con: con.execute(ordered).all())]


async def cancel(store: Store, workspace: str, batch_id: str, *, now_us: int) -> BatchRow | None:
    """Begin to cancel: what waits is canceled on return, what runs is for its holders to end.

    A batch that is canceling or ended stays as it is. None where `workspace` sees none.
    """
    seen = _named(batch_id).where(_seen_by(workspace))
    begun = and_(batches.c.batch_id == batch_id, batches.c.state == "in_progress")
    waiting = and_(batch_items.c.batch_id == batch_id, batch_items.c.state == WAITING)

    def act(connection: Connection) -> BatchRow | None:
        if connection.execute(seen.with_for_update()).first() is None:
            return None
        changed = update(batches).where(begun).values(state="canceling", cancel_us=now_us)
        if connection.execute(changed).rowcount == 1:
            connection.execute(update(batch_items).where(waiting).values(state="canceled"))
        return _row(connection.execute(_named(batch_id)).one())

    return await store.write(act)


async def begin_removal(store: Store, workspace: str, batch_id: str) -> bool:
    """Hide a batch that ended, for good; whether there was one. Its rows are purged afterwards."""
    which = and_(_seen_by(workspace), batches.c.batch_id == batch_id, batches.c.state == "ended")
    gone = update(batches).where(which).values(state="going")
    return await store.write(lambda connection: connection.execute(gone).rowcount == 1)


async def results(store: Store, batch_id: str, *, after: int, limit: int) -> list[ItemResult]:
    """The next results of a batch, behind number `after`, in the order of the requests."""
    c = batch_items.c
    query = (
        select(c.number, c.custom_id, c.state, c.result)
        .where(c.batch_id == batch_id, c.number > after)
        .order_by(c.number)
        .limit(limit)
    )
    found = await store.read(lambda connection: connection.execute(query).all())
    return [ItemResult(*row) for row in found]


async def counts(store: Store, batch_id: str) -> dict[str, int]:
    """How many of a batch's requests are in each state just now."""
    return await store.read(lambda connection: count_states(connection, batch_id))


def count_states(connection: Connection, batch_id: str) -> dict[str, int]:
    """See `counts`."""
    state = batch_items.c.state
    query = select(state, func.count()).where(batch_items.c.batch_id == batch_id).group_by(state)
    return {name: int(count) for name, count in connection.execute(query)}


async def spent(store: Store, batch_id: str) -> list[Spent]:
    """What the results of a batch took so far, by the tier that served them."""
    a = answers.c
    prompt = a.input_tokens + a.cache_read_tokens
    prompt = prompt + a.cache_write_5m_tokens + a.cache_write_1h_tokens
    query = (
        select(
            a.served_tier,
            func.coalesce(func.sum(prompt), 0),
            func.coalesce(func.sum(a.output_tokens), 0),
            func.sum(a.cost_pico // _SPLIT),
            func.sum(a.cost_pico % _SPLIT),
        )
        .join(batch_items, batch_items.c.request_id == a.request_id)
        .where(batch_items.c.batch_id == batch_id, batch_items.c.state == "succeeded")
        .group_by(a.served_tier)
    )
    found = await store.read(lambda connection: connection.execute(query).all())
    return [
        Spent(tier, int(read), int(written), join_cost(high, low))
        for tier, read, written, high, low in found
    ]


# -- what is dropped --


async def archive(store: Store, *, created_before_us: int, now_us: int) -> int:
    """Have batches that are so old show no results any more; returns how many."""
    old = and_(
        batches.c.state == "ended",
        batches.c.archived_us.is_(None),
        batches.c.created_us <= created_before_us,
    )
    changed = update(batches).where(old).values(archived_us=now_us)
    return await store.write(lambda connection: connection.execute(changed).rowcount)


async def purge(store: Store) -> None:
    """Delete what nobody can ask for any more, in small transactions.

    The requests of batches that ended, the results of archived ones, and all of deleted ones.
    """
    c = batches.c
    asked = select(1).where(batch_requests.c.batch_id == c.batch_id).exists()
    made = select(1).where(batch_items.c.batch_id == c.batch_id).exists()
    over = or_(c.state == "going", and_(c.state == "ended", c.archived_us.is_not(None)))
    for table, which in (
        (batch_requests, and_(c.state.in_(("ended", "going")), asked)),
        (batch_items, and_(over, made)),
    ):
        query = select(c.batch_id).where(which)
        for batch_id in await store.read(partial(_first_column, query=query)):
            while await _drop_some(store, table, batch_id):
                pass
    empty = and_(c.state == "going", ~asked, ~made)
    gone = batch_handovers.c.batch_id.in_(select(c.batch_id).where(empty))

    def act(connection: Connection) -> None:
        connection.execute(delete(batch_handovers).where(gone))  # of backends that are no more
        connection.execute(delete(batches).where(empty))

    await store.write(act)


def _first_column(connection: Connection, query: Any) -> list[str]:
    return list(connection.execute(query).scalars())


async def _drop_some(store: Store, table: Any, batch_id: str) -> bool:
    mine = table.c.batch_id == batch_id

    def act(connection: Connection) -> bool:
        first = connection.execute(select(func.min(table.c.number)).where(mine)).scalar()
        if first is None:
            return False
        connection.execute(delete(table).where(mine, table.c.number < first + CHUNK))
        return True

    return await store.write(act, alone=False)


def _named(batch_id: str) -> Any:
    return select(batches).where(batches.c.batch_id == batch_id)


def _seen_by(workspace: str) -> ColumnElement[bool]:
    return and_(batches.c.workspace == workspace, batches.c.state.in_(SHOWN))


def _older(place: BatchRow) -> ColumnElement[bool]:
    c = batches.c
    same = and_(c.created_us == place.created_us, c.batch_id < place.batch_id)
    return or_(c.created_us < place.created_us, same)


def _newer(place: BatchRow) -> ColumnElement[bool]:
    c = batches.c
    same = and_(c.created_us == place.created_us, c.batch_id > place.batch_id)
    return or_(c.created_us > place.created_us, same)


def _row(found: Row[Any]) -> BatchRow:
    return BatchRow(**found._mapping)
