"""Bulk work as it is kept: a job for each output, and a row for each row that is done.

A row is written once, with the closing of its answer where there is one; what is not here is not
done. Does not know what was asked, nor of files but the output's name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, delete, func, insert, select

from renga.store.rows import Rank
from renga.store.schema import bulk_jobs, bulk_rows
from renga.store.writer import Operation

CHUNK: Final = 5_000
"""Rows that are read or deleted in one transaction."""

_INSERT: Final = insert(bulk_rows)


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job that has not written its output yet."""

    job_id: str
    output: str
    fingerprint: str
    created_us: int


@dataclass(frozen=True, slots=True)
class DoneRow:
    """A row that is done: what came of it, or what was wrong with it."""

    number: int
    value: str | None
    fault: str | None


def find(connection: Connection, output: str) -> JobRow | None:
    """The unfinished job that is to write `output`."""
    query = select(bulk_jobs).where(bulk_jobs.c.output == output)
    row = connection.execute(query).first()
    return None if row is None else JobRow(**row._mapping)


def add(connection: Connection, job: JobRow) -> None:
    """Enter a job. IntegrityError where its output has one."""
    values = {name: getattr(job, name) for name in JobRow.__slots__}
    connection.execute(insert(bulk_jobs).values(**values))


def finish(job_id: str, row: DoneRow) -> Operation:
    """The row as an operation of the writer."""
    values = {"job_id": job_id, "number": row.number, "value": row.value, "fault": row.fault}
    return Operation(Rank.FINISH_ROW, _INSERT, values, f"row {row.number} of {job_id}")


def numbers_after(connection: Connection, job_id: str, after: int) -> Sequence[int]:
    """Numbers of rows that are done and greater than `after`, ascending, CHUNK at most."""
    query = (
        select(bulk_rows.c.number)
        .where(bulk_rows.c.job_id == job_id, bulk_rows.c.number > after)
        .order_by(bulk_rows.c.number)
        .limit(CHUNK)
    )
    return connection.execute(query).scalars().all()


def rows_after(connection: Connection, job_id: str, after: int) -> list[DoneRow]:
    """Rows that are done and greater than `after`, ascending, CHUNK at most."""
    query = (
        select(bulk_rows.c.number, bulk_rows.c.value, bulk_rows.c.fault)
        .where(bulk_rows.c.job_id == job_id, bulk_rows.c.number > after)
        .order_by(bulk_rows.c.number)
        .limit(CHUNK)
    )
    return [DoneRow(*row) for row in connection.execute(query)]


def count(connection: Connection, job_id: str) -> int:
    """How many rows are done."""
    query = select(func.count()).where(bulk_rows.c.job_id == job_id)
    return connection.execute(query).scalar_one()


def forget_some(connection: Connection, job_id: str) -> bool:
    """Delete up to CHUNK rows of a job, and the job after its last; whether more are left."""
    some = select(bulk_rows.c.number).where(bulk_rows.c.job_id == job_id).limit(CHUNK)
    mine = bulk_rows.c.job_id == job_id
    gone = connection.execute(delete(bulk_rows).where(mine, bulk_rows.c.number.in_(some)))
    if gone.rowcount == CHUNK:
        return True
    connection.execute(delete(bulk_jobs).where(bulk_jobs.c.job_id == job_id))
    return False
