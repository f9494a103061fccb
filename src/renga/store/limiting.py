"""What is used of each limit, shared by all servers of a database.

Owns that a bucket and the shares in it change together, one transaction after another: whoever
changes a bucket has its row. The share of a server whose lease has ended is taken out of it, and
what that server spent comes from the ledger. Does not know what limits mean; that is
`renga.limits`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    select,
    tuple_,
    update,
)
from sqlalchemy.exc import IntegrityError

from renga.store.rows import DAY_US
from renga.store.schema import answers, instances, keys, limit_buckets, limit_shares, rollups
from renga.store.store import Store

DOLLARS: Final = "usd_"
"""How the names of limits begin whose buckets count pico-dollars that answers cost."""

LARGEST: Final = 9 * 10**18
"""Of a number in a column."""

_SPLIT: Final = 10**6  # sums of costs are added in two halves: a plain one may leave 64 bits


class Place(NamedTuple):
    """One bucket: who is limited, in what, and of which day or month (0 where that is nothing)."""

    subject: str
    kind: str
    since_us: int


@dataclass(slots=True)
class Bucket:
    """What is used, as of `seen_us`."""

    used: int
    seen_us: int


@dataclass(slots=True)
class Share:
    """What one server has of a bucket, and what it has settled there."""

    held: int = 0
    settled: int = 0


Change = Callable[[Place, Bucket, Share, int, int], None]
"""Changes a bucket and the asking server's share in it; beside them, what the other servers hold
together and the time in microseconds."""


async def exchange(
    store: Store,
    instance_id: str,
    places: Sequence[Place],
    change: Change,
    *,
    clock: Callable[[], float],
) -> None:
    """Have `change` change the buckets at `places` (each once) and this server's shares in them.

    `clock` is Unix seconds, asked where the transaction has the rows; servers that share a database
    which has a clock go by that one.

    Raises:
        StoreError: the database cannot be written; whether it was is not known.
    """

    def act(connection: Connection) -> None:
        _exchange(connection, instance_id, places, change, lambda: _now(store, connection, clock))

    await store.write(act, alone=False)  # each bucket is locked by itself


async def bury(store: Store, *, clock: Callable[[], float]) -> int:
    """Take the shares of dead servers out of every bucket; how many there were."""
    return await store.write(lambda connection: bury_in(store, connection, clock), alone=False)


def bury_in(store: Store, connection: Connection, clock: Callable[[], float]) -> int:
    """`bury`, in a transaction that writes."""
    alive = _alive(limit_shares, _now(store, connection, clock))
    query = select(limit_shares).where(~alive, limit_shares.c.held != 0)
    places = {_place_of(row) for row in connection.execute(query)}
    if not places:
        return 0
    buckets = _locked(connection, sorted(places))
    found = connection.execute(query.where(_at(limit_shares, sorted(places)))).all()
    _bury(connection, found, buckets)
    _save_buckets(connection, buckets)
    return len(found)


async def drop(store: Store, instance_id: str, *, before_us: int) -> None:
    """Forget what a server that ends holds, and all days and months that began before a time."""

    def act(connection: Connection) -> None:
        own = limit_shares.c.instance_id == instance_id
        connection.execute(delete(limit_shares).where(own))
        for table in (limit_shares, limit_buckets):
            old = and_(table.c.since_us > 0, table.c.since_us < before_us)
            connection.execute(delete(table).where(old))

    await store.write(act)


def _exchange(
    connection: Connection,
    instance_id: str,
    places: Sequence[Place],
    change: Change,
    clock_us: Callable[[], int],
) -> None:
    buckets = _locked(connection, sorted(places))
    now_us = clock_us()
    own: dict[Place, Share] = {}
    others = dict.fromkeys(buckets, 0)
    dead = []
    alive = _alive(limit_shares, now_us).label("alive")
    for row in connection.execute(select(limit_shares, alive).where(_at(limit_shares, places))):
        if row.instance_id == instance_id:
            own[_place_of(row)] = Share(row.held, row.settled)
        elif row.alive:
            others[_place_of(row)] += row.held
        elif row.held:
            dead.append(row)
    _bury(connection, dead, buckets)
    new = {place: Share() for place in places if place not in own}
    for place, bucket in buckets.items():
        share = own[place] if place in own else new[place]
        change(place, bucket, share, others[place], now_us)
    _save_buckets(connection, buckets)
    _save_shares(connection, instance_id, own, new)


def _locked(connection: Connection, places: Sequence[Place]) -> dict[Place, Bucket]:
    """The buckets at `places`, which nobody else changes until the transaction ends.

    Their rows are taken in one order everywhere, so that no two transactions wait for each other.
    """
    order = (limit_buckets.c.subject, limit_buckets.c.kind, limit_buckets.c.since_us)
    query = select(limit_buckets).order_by(*order).with_for_update()
    found = {
        _place_of(row): Bucket(row.used, row.seen_us)
        for row in connection.execute(query.where(_at(limit_buckets, places)))
    }
    for place in places:
        if place not in found:
            _begin(connection, place)
            row = connection.execute(query.where(_at(limit_buckets, [place]))).one()
            found[place] = Bucket(row.used, row.seen_us)
    return found


def _begin(connection: Connection, place: Place) -> None:
    """A bucket as it is where nobody asked before: of dollars, what the ledger says was spent."""
    used = _spent(connection, place) if place.kind.startswith(DOLLARS) else 0
    try:
        with connection.begin_nested():
            connection.execute(
                insert(limit_buckets).values(**place._asdict(), used=used, seen_us=0)
            )
    except IntegrityError:
        pass  # another server began it at the same time


def _bury(connection: Connection, dead: Sequence[Any], buckets: Mapping[Place, Bucket]) -> None:
    """Settle what dead servers spent by their rows in the ledger, and drop what they held."""
    for row in dead:
        place = _place_of(row)
        which = and_(_at(limit_shares, [place]), limit_shares.c.instance_id == row.instance_id)
        if not place.kind.startswith(DOLLARS):
            connection.execute(delete(limit_shares).where(which))
            continue
        spent = _spent(connection, place, row.instance_id)
        buckets[place].used = min(buckets[place].used + spent - row.settled, LARGEST)
        connection.execute(update(limit_shares).where(which).values(held=0, settled=spent))


def _spent(connection: Connection, place: Place, instance_id: str | None = None) -> int:
    """What a subject's answers cost by the ledger since `since_us`, or one server's of them."""
    scope, _, name = place.subject.partition(":")
    c = answers.c
    since = place.since_us
    which: list[ColumnElement[bool]] = []
    if scope == "key":
        which.append(c.key_id == name if name else c.key_id.is_(None))
        made = connection.execute(select(keys.c.created_us).where(keys.c.key_id == name)).scalar()
        since = max(since, made or 0)  # there are no answers to a key before it was made
    else:
        which.append((c.workspace if scope == "workspace" else c.tier) == name)
    if instance_id is not None:
        which.append(c.instance_id == instance_id)
    of = (func.sum(c.cost_pico // _SPLIT), func.sum(c.cost_pico % _SPLIT))
    end = _end_of(place)
    row = connection.execute(
        select(*of).where(c.received_us >= since, c.received_us < end, *which)
    ).one()
    spent = int(row[0] or 0) * _SPLIT + int(row[1] or 0)
    if instance_id is None:
        spent += _purged(connection, scope, name, since // DAY_US, end // DAY_US)
    return min(spent, LARGEST)


def _purged(connection: Connection, scope: str, name: str, first: int, end: int) -> int:
    """What answers cost of those days that were removed since."""
    c = rollups.c
    of = {"key": c.key_id, "workspace": c.workspace, "tier": c.tier}[scope]
    query = select(func.sum(c.cost_high), func.sum(c.cost_low))
    high, low = connection.execute(query.where(of == name, c.day >= first, c.day < end)).one()
    return int(high or 0) * _SPLIT + int(low or 0)


def _end_of(place: Place) -> int:
    """The end of the day or month that a limit of dollars is of."""
    start = datetime.fromtimestamp(place.since_us // 1_000_000, UTC)
    if place.kind.endswith("day"):
        end = start + timedelta(days=1)
    else:
        end = (start.replace(day=1) + timedelta(days=32)).replace(day=1)
    return round(end.timestamp()) * 1_000_000


def _save_buckets(connection: Connection, buckets: Mapping[Place, Bucket]) -> None:
    statement = update(limit_buckets).where(
        *(limit_buckets.c[name] == bindparam(f"at_{name}") for name in Place._fields)
    )
    connection.execute(
        statement.values(used=bindparam("to_used"), seen_us=bindparam("to_seen_us")),
        [
            {**_named(place), "to_used": bucket.used, "to_seen_us": bucket.seen_us}
            for place, bucket in buckets.items()
        ],
    )


def _save_shares(
    connection: Connection,
    instance_id: str,
    own: Mapping[Place, Share],
    new: Mapping[Place, Share],
) -> None:
    if own:
        statement = update(limit_shares).where(
            *(limit_shares.c[name] == bindparam(f"at_{name}") for name in Place._fields),
            limit_shares.c.instance_id == instance_id,
        )
        connection.execute(
            statement.values(held=bindparam("to_held"), settled=bindparam("to_settled")),
            [
                {**_named(place), "to_held": share.held, "to_settled": share.settled}
                for place, share in own.items()
            ],
        )
    if new:
        values = [
            {
                **place._asdict(),
                "instance_id": instance_id,
                "held": share.held,
                "settled": share.settled,
            }
            for place, share in new.items()
        ]
        connection.execute(insert(limit_shares), values)


def _alive(table: Table, now_us: int) -> ColumnElement[bool]:
    """Whether the server that a share belongs to has its lease."""
    return exists(
        select(instances.c.instance_id).where(
            instances.c.instance_id == table.c.instance_id,
            instances.c.closed_us.is_(None),
            instances.c.expires_us > now_us,
        )
    )


def _at(table: Table, places: Sequence[Place]) -> ColumnElement[bool]:
    columns = (table.c.subject, table.c.kind, table.c.since_us)
    return tuple_(*columns).in_([tuple(place) for place in places])


def _place_of(row: Any) -> Place:
    return Place(row.subject, row.kind, row.since_us)


def _named(place: Place) -> dict[str, object]:
    return {f"at_{name}": value for name, value in place._asdict().items()}


def _now(store: Store, connection: Connection, clock: Callable[[], float]) -> int:
    shared = store.clock_us(connection)
    return round(clock() * 1_000_000) if shared is None else shared
