"""The ledger's statements: which rows are written, and how they are read and added up.

Owns the two conditions on closing a row: a closing is written over an open row of the same
instance, or over an interruption that another instance presumed, and over nothing else. Does not
know why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, Literal

from sqlalchemy import (
    ColumnElement,
    Connection,
    Insert,
    Row,
    Table,
    Update,
    and_,
    bindparam,
    insert,
    or_,
    select,
    tuple_,
    update,
)

from renga.store.schema import answers, attempts, instances
from renga.store.writer import Operation

DAY_US: Final = 86_400_000_000
SPLIT: Final = 10**6
"""Costs are added in two halves, above and below a micro-dollar: a plain sum over 9.2 million
dollars would leave 64 bits."""


class Rank(IntEnum):
    """Kinds of rows, in the order in which a group writes them."""

    OPEN_ANSWER = 0
    ANSWER = 1  # opened and closed within a group
    OPEN_ATTEMPT = 2
    ATTEMPT = 3
    CLOSE_ATTEMPT = 4
    FINISH_ITEM = 5  # of a batch, with the closing of its answer
    FINISH_ROW = 6  # of a table, likewise
    CLOSE_ANSWER = 7


def _closing(table: Table, *keys: str) -> Update:
    own = and_(
        *(table.c[key] == bindparam(f"at_{key}") for key in keys),
        table.c.instance_id == bindparam("at_instance_id"),
    )
    presumed = and_(
        table.c.status == "interrupted", table.c.closed_by != bindparam("at_instance_id")
    )
    return update(table).where(own, or_(table.c.status == "open", presumed))


_STATEMENTS: Final[Mapping[Rank, Insert | Update]] = {
    Rank.OPEN_ANSWER: insert(answers),
    Rank.ANSWER: insert(answers),
    Rank.OPEN_ATTEMPT: insert(attempts),
    Rank.ATTEMPT: insert(attempts),
    Rank.CLOSE_ATTEMPT: _closing(attempts, "request_id", "number"),
    Rank.CLOSE_ANSWER: _closing(answers, "request_id"),
}


def operation(rank: Rank, values: dict[str, object], label: str) -> Operation:
    """A row for the writer; `values` name columns, and `at_` columns of the row to close."""
    return Operation(rank, _STATEMENTS[rank], values, label)


# Kinds of rows: how one begins, how it ends, both at once, and the columns that name it.
_KINDS: Final = (
    (Rank.OPEN_ANSWER, Rank.CLOSE_ANSWER, Rank.ANSWER, ("request_id",)),
    (Rank.OPEN_ATTEMPT, Rank.CLOSE_ATTEMPT, Rank.ATTEMPT, ("request_id", "number")),
)


def folded(group: Sequence[Operation]) -> list[Operation]:
    """`group` with every row that is opened and closed in it written once, as it is in the end.

    That is one insert in place of an insert and an update that finds its row: for an answer that
    takes less time than a group gathers, half of the work.
    """
    by_rank: dict[int, list[Operation]] = {}
    for op in group:
        by_rank.setdefault(op.rank, []).append(op)
    for begin, end, both, names in _KINDS:
        if begin in by_rank and end in by_rank:
            opened = {tuple(op.values[n] for n in names): op for op in by_rank[begin]}
            closed = {tuple(op.values[f"at_{n}"] for n in names): op for op in by_rank[end]}
            if len(opened) < len(by_rank[begin]) or len(closed) < len(by_rank[end]):
                continue  # a row twice is a fault, which is to be found where it is
            whole = opened.keys() & closed.keys()
            by_rank[both] = [_whole(both, opened[key], closed[key]) for key in whole]
            by_rank[begin] = [op for key, op in opened.items() if key not in whole]
            by_rank[end] = [op for key, op in closed.items() if key not in whole]
    return [op for rank in sorted(by_rank) for op in by_rank[rank]]


def _whole(rank: Rank, opening: Operation, closing: Operation) -> Operation:
    changed = {name: v for name, v in closing.values.items() if not name.startswith("at_")}
    return operation(rank, {**opening.values, **changed}, opening.label)


# -- instances --


def add_instance(connection: Connection, instance_id: str, *, now_us: int, expires_us: int) -> None:
    """Enter a server; IntegrityError if the id was ever used."""
    connection.execute(
        insert(instances).values(
            instance_id=instance_id, started_us=now_us, renewed_us=now_us, expires_us=expires_us
        )
    )


def renew_instance(
    connection: Connection, instance_id: str, *, now_us: int, expires_us: int
) -> bool:
    """Move the end of a server's lease; whether it still ran."""
    which = instances.c.instance_id == instance_id
    until = connection.execute(select(instances.c.expires_us).where(which)).scalar()
    connection.execute(
        update(instances).where(which).values(renewed_us=now_us, expires_us=expires_us)
    )
    return until is not None and until > now_us


def end_instance(connection: Connection, instance_id: str, *, now_us: int) -> int:
    """End a server's lease and mark what it left open; returns the number of answers so marked."""
    connection.execute(
        update(instances).where(instances.c.instance_id == instance_id).values(closed_us=now_us)
    )
    left = [table.c.instance_id == instance_id for table in (attempts, answers)]
    _interrupt(connection, attempts, left[0], instance_id, now_us)
    return _interrupt(connection, answers, left[1], instance_id, now_us)


def sweep(connection: Connection, instance_id: str, *, now_us: int) -> int:
    """Mark the open rows of servers whose lease ran out; returns the number of answers so marked.

    Never those of `instance_id`, which is alive: it is asking.
    """
    alive = select(instances.c.instance_id).where(
        instances.c.closed_us.is_(None), instances.c.expires_us > now_us
    )
    counts = [
        _interrupt(
            connection,
            table,
            and_(table.c.instance_id != instance_id, table.c.instance_id.not_in(alive)),
            instance_id,
            now_us,
        )
        for table in (attempts, answers)
    ]
    return counts[1]


def _interrupt(
    connection: Connection, table: Table, which: ColumnElement[bool], by: str, now_us: int
) -> int:
    marked = connection.execute(
        update(table)
        .where(table.c.status == "open", which)
        .values(status="interrupted", closed_us=now_us, closed_by=by)
    )
    return marked.rowcount


# -- reading --


@dataclass(frozen=True, slots=True)
class Selection:
    """Which answers a listing is about; None is any."""

    workspace: str | None = None
    status: str | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """The WHERE of it."""
        c = answers.c
        given: list[ColumnElement[bool]] = []
        if self.workspace is not None:
            given.append(c.workspace == self.workspace)
        if self.status is not None:
            given.append(c.status == self.status)
        return given


def get_answer(connection: Connection, request_id: str) -> Row[Any] | None:
    """The answer's row."""
    return connection.execute(select(answers).where(answers.c.request_id == request_id)).first()


def get_attempts(connection: Connection, request_ids: Sequence[str]) -> dict[str, list[Row[Any]]]:
    """The attempts of each of some answers, in the order of their numbers."""
    found: dict[str, list[Row[Any]]] = {request_id: [] for request_id in request_ids}
    query = (
        select(attempts)
        .where(attempts.c.request_id.in_(request_ids))
        .order_by(attempts.c.request_id, attempts.c.number)
    )
    for row in connection.execute(query):
        found[row.request_id].append(row)
    return found


def list_answers(
    connection: Connection, selection: Selection, *, limit: int, after: str | None
) -> list[Row[Any]]:
    """The newest answers, or those that follow `after` in that order (older than it)."""
    query = (
        select(answers)
        .where(*selection.conditions())
        .order_by(answers.c.received_us.desc(), answers.c.request_id.desc())
        .limit(limit)
    )
    if after is not None:
        row = get_answer(connection, after)
        if row is None:
            return []
        place = tuple_(answers.c.received_us, answers.c.request_id)
        query = query.where(place < (row.received_us, row.request_id))
    return list(connection.execute(query))


Grouping = Literal["tier", "workspace", "day"]


def join_cost(high: int | None, low: int | None) -> int:
    """A sum of money that was made in two halves."""
    return int(high or 0) * SPLIT + int(low or 0)
