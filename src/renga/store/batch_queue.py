"""The queue of batches: which request is claimed by whom, and how each of them ends, once.

Owns the states of a request: `waiting`, `running` in the hands of one server whose lease holds,
and then one of the four ends, which is final. A result is written over a claim of who has it and
over nothing else, as one row with the closing of its answer. Many servers may work on one database:
a claim skips what another is claiming. Does not know what a request is, nor when to ask.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    Connection,
    Update,
    and_,
    bindparam,
    func,
    or_,
    select,
    update,
)

from renga.store.batching import ENDS, RUNNING, WAITING, count_states
from renga.store.rows import Rank
from renga.store.schema import batch_items, batch_requests, batches, instances
from renga.store.writer import Operation

UNDONE: Final = ("in_progress", "canceling")


@dataclass(frozen=True, slots=True)
class Claimed:
    """A request of a batch in the hands of one server."""

    batch_id: str
    number: int
    custom_id: str
    tries: int
    request: str
    workspace: str
    key_id: str | None
    version: str
    betas: str

    @property
    def place(self) -> tuple[str, int]:
        """What names it."""
        return self.batch_id, self.number


@dataclass(frozen=True, slots=True)
class Return:
    """A claim that is given back: not to be tried before `due_us`, after so many failures."""

    batch_id: str
    number: int
    tries: int
    due_us: int


# --- claiming -------------------------------------------------------------------------------------


def claim(
    connection: Connection,
    holder: str,
    lanes: Sequence[str],
    room: int,
    *,
    now_us: int,
    without: Set[str] = frozenset(),
) -> list[Claimed]:
    """Take at most `room` requests of these lanes into the hands of `holder`.

    None is taken of the workspaces `without`. The others come to run as many as each other, as far
    as they have them; within one the oldest batch goes first, and within a batch those go together
    whose prompts begin alike.
    """
    queues: dict[str, list[Any]] = {}
    for row in connection.execute(_OPEN, {"now_us": now_us}):
        if row.workspace in without:
            continue
        queues.setdefault(row.workspace, []).append(row)
    running = dict.fromkeys(queues, 0)
    if queues:
        running |= {w: n for w, n in connection.execute(_RUNNING_BY_WORKSPACE) if w in queues}
    found: list[Claimed] = []
    while room > len(found) and queues:
        portions = shares(room - len(found), {w: running[w] for w in queues})
        for workspace, portion in portions.items():
            taken = _take(connection, holder, lanes, portion, queues[workspace], now_us)
            running[workspace] += len(taken)
            found += taken
            if len(taken) < portion:
                del queues[workspace]
    return found


def shares(room: int, running: Mapping[str, int]) -> dict[str, int]:
    """How much of `room` each gets, so that what they have is as even as can be.

    Among equals the first one comes first.
    """
    heap = [(count, at, name) for at, (name, count) in enumerate(running.items())]
    heapq.heapify(heap)
    given: dict[str, int] = {}
    for _ in range(room if heap else 0):
        count, at, name = heap[0]
        given[name] = given.get(name, 0) + 1
        heapq.heapreplace(heap, (count + 1, at, name))
    return given


def _take(
    connection: Connection,
    holder: str,
    lanes: Sequence[str],
    room: int,
    queue: Iterable[Any],
    now_us: int,
) -> list[Claimed]:
    """Up to `room` of the requests of some batches, the first batch first."""
    found: list[Claimed] = []
    for batch in queue:
        for lane in lanes:
            if len(found) >= room:
                return found
            numbers = _lock(connection, batch.batch_id, lane, room - len(found), now_us)
            if numbers:
                found += _hold(connection, holder, batch, numbers)
    return found


def _lock(connection: Connection, batch_id: str, lane: str, room: int, now_us: int) -> list[int]:
    c = batch_items.c
    query = (
        select(c.number)
        .where(c.batch_id == batch_id, c.state == WAITING, c.lane == lane, c.due_us <= now_us)
        .order_by(c.prefix, c.number)
        .limit(room)
        .with_for_update(skip_locked=True)  # SQLite has one writer, and leaves this out
    )
    return list(connection.execute(query).scalars())


def _hold(connection: Connection, holder: str, batch: Any, numbers: Sequence[int]) -> list[Claimed]:
    c = batch_items.c
    mine = and_(c.batch_id == batch.batch_id, c.number.in_(numbers))
    connection.execute(update(batch_items).where(mine).values(state="running", holder=holder))
    same = and_(batch_requests.c.batch_id == c.batch_id, batch_requests.c.number == c.number)
    query = (
        select(c.number, c.custom_id, c.tries, batch_requests.c.request)
        .join(batch_requests, same)
        .where(mine)
        .order_by(c.lane, c.prefix, c.number)
    )
    return [
        Claimed(
            batch.batch_id,
            *row,
            workspace=batch.workspace,
            key_id=batch.key_id,
            version=batch.version,
            betas=batch.betas,
        )
        for row in connection.execute(query)
    ]


_OPEN: Final = (
    select(
        batches.c.batch_id,
        batches.c.workspace,
        batches.c.key_id,
        batches.c.version,
        batches.c.betas,
    )
    .where(batches.c.state == "in_progress", batches.c.expires_us > bindparam("now_us"))
    .order_by(batches.c.created_us, batches.c.batch_id)
)

_RUNNING_BY_WORKSPACE: Final = (
    select(batches.c.workspace, func.count())
    .join(batch_items, batch_items.c.batch_id == batches.c.batch_id)
    .where(batches.c.state.in_(UNDONE), batch_items.c.state == RUNNING)
    .group_by(batches.c.workspace)
)


# --- ending ---------------------------------------------------------------------------------------


def _finishing() -> Update:
    c = batch_items.c
    claimed = and_(c.state == RUNNING, c.holder == bindparam("at_holder"))
    # A commit whose outcome nobody learned is made again: it finds what it wrote.
    written = and_(c.holder.is_(None), c.request_id == bindparam("at_request_id"))
    return update(batch_items).where(
        c.batch_id == bindparam("at_batch_id"),
        c.number == bindparam("at_number"),
        or_(claimed, written),
    )


_FINISH: Final = _finishing()


def finish(
    item: Claimed, holder: str, *, state: str, result: str | None, request_id: str | None
) -> Operation:
    """The row that ends a request: written if `holder` still has it."""
    assert state in ENDS, state
    values: dict[str, object] = {
        "state": state,
        "result": result,
        "request_id": request_id,
        "holder": None,
        "at_batch_id": item.batch_id,
        "at_number": item.number,
        "at_holder": holder,
        "at_request_id": request_id,
    }
    label = f"result {item.number} of {item.batch_id}"
    return Operation(Rank.FINISH_ITEM, _FINISH, values, label)


def give_back(connection: Connection, holder: str, returns: Sequence[Return]) -> None:
    """Have requests wait again that `holder` has; one that it lost stays as it is."""
    if not returns:
        return
    c = batch_items.c
    changed = (
        update(batch_items)
        .where(
            c.batch_id == bindparam("at_batch_id"),
            c.number == bindparam("at_number"),
            c.state == RUNNING,
            c.holder == bindparam("at_holder"),
        )
        .values(
            state="waiting", holder=None, tries=bindparam("to_tries"), due_us=bindparam("to_due_us")
        )
    )
    connection.execute(
        changed,
        [
            {
                "at_batch_id": one.batch_id,
                "at_number": one.number,
                "at_holder": holder,
                "to_tries": one.tries,
                "to_due_us": one.due_us,
            }
            for one in returns
        ],
    )


def give_all_back(connection: Connection, holder: str) -> None:
    """Have all requests wait again that `holder` has: it ends."""
    c = batch_items.c
    mine = and_(c.state == RUNNING, c.holder == holder)
    connection.execute(update(batch_items).where(mine).values(state="waiting", holder=None))


def recover(connection: Connection, holder: str, in_hand: Set[tuple[str, int]]) -> int:
    """Have requests wait again that stand as `holder`'s and are not in its hand; how many."""
    c = batch_items.c
    query = select(c.batch_id, c.number, c.tries).where(c.state == RUNNING, c.holder == holder)
    lost = [
        Return(batch_id, number, tries, 0)
        for batch_id, number, tries in connection.execute(query)
        if (batch_id, number) not in in_hand
    ]
    give_back(connection, holder, lost)
    return len(lost)


def tend(connection: Connection, *, now_us: int) -> dict[str, str]:
    """Do what time brings to all batches; the state of each that has not ended.

    Claims of servers whose lease ran out are given back, what waits of canceled and expired batches
    is canceled or expires, batches of which nothing is left end with their counts, and batches that
    nobody takes in any more are given up. A batch whose time is over is "expired" in what is told:
    its holders end what runs of it.
    """
    alive = select(instances.c.instance_id).where(
        instances.c.closed_us.is_(None), instances.c.expires_us > now_us
    )
    items, c = batch_items.c, batches.c
    left = and_(items.state == RUNNING, items.holder.not_in(alive))
    connection.execute(update(batch_items).where(left).values(state="waiting", holder=None))
    lost = and_(c.state == "coming", c.instance_id.not_in(alive))
    connection.execute(update(batches).where(lost).values(state="going"))
    states: dict[str, str] = {}
    query = select(c.batch_id, c.state, c.expires_us).where(c.state.in_(UNDONE))
    for batch_id, state, expires_us in connection.execute(query).all():
        over = state == "in_progress" and expires_us <= now_us
        states[batch_id] = "expired" if over else state
        if over or state == "canceling":
            waiting = and_(items.batch_id == batch_id, items.state == WAITING)
            ended = "expired" if over else "canceled"
            connection.execute(update(batch_items).where(waiting).values(state=ended))
    for batch_id in _end(connection, now_us):
        states.pop(batch_id, None)
    return states


def _end(connection: Connection, now_us: int) -> list[str]:
    """End the batches of which nothing waits or runs; which they were."""
    c = batches.c
    undone = [
        select(1).where(batch_items.c.batch_id == c.batch_id, batch_items.c.state == state).exists()
        for state in (WAITING, RUNNING)
    ]
    query = select(c.batch_id).where(c.state.in_(UNDONE), *(~one for one in undone))
    done = list(connection.execute(query.with_for_update(skip_locked=True)).scalars())
    for batch_id in done:
        counted = dict.fromkeys(ENDS, 0) | count_states(connection, batch_id)
        connection.execute(
            update(batches)
            .where(c.batch_id == batch_id, c.state.in_(UNDONE))
            .values(state="ended", ended_us=now_us, **counted)
        )
    return done


def is_any(connection: Connection) -> bool:
    """Whether there is a batch that has not ended, or one to be purged."""
    query = select(batches.c.batch_id).where(batches.c.state != "ended").limit(1)
    return connection.execute(query).first() is not None
