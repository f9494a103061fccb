"""A job: a function of a row asked for every row of a table, each once, and the output written.

Owns that a kill loses and repeats nothing. A row is done when its outcome is in the store, in one
transaction with the closing of its answer where the function has one; what is not done is asked
when the same command is run again. The output is written when all rows are done, beside its name
first, then under it. Rows that went wrong stand in `OUTPUT.errors` and in no other file.

The function is anybody's: it is given a row and a `Keep`, and keeps one outcome. Knows no models.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any, Protocol

from renga.bulk.files import Found, Row, Sink, Table, open_sink, plain
from renga.errors import SetupError
from renga.store import Store, bulk, storable
from renga.store.bulk import DoneRow, JobRow
from renga.store.writer import Operation

TURN = 64
"""Rows after which others get a turn, and it is told how far reading is."""


MOST_WAITING = 4_000
"""Rows of the store that may be on their way to the disk before no more are asked."""


class Shaped(Protocol):
    """What outcomes become: columns of the output."""

    @property
    def columns(self) -> Sequence[str]:
        """Their names."""

    @property
    def types(self) -> dict[str, str] | Any:
        """JSON Schema's words for their types, where they are known."""

    def values(self, kept: str) -> dict[str, Any]:
        """The columns of an outcome."""


@dataclass
class Tally:
    """How far a job is. `done` counts rows of earlier runs too, which are `resumed`."""

    done: int = 0
    failed: int = 0
    resumed: int = 0
    place: int = 0
    size: int = 0


class Keep:
    """Where the outcome of one row is kept; one, once."""

    def __init__(self, store: Store, job_id: str, number: int, tally: Tally) -> None:
        self._store, self._job_id, self._number, self._tally = store, job_id, number, tally
        self.kept = False

    def operation(self, value: str | None, fault: str | None = None) -> Operation | None:
        """The outcome as a row that somebody writes together with something else."""
        assert not self.kept, "a row has one outcome"
        self.kept = True
        self._tally.done += 1
        self._tally.failed += fault is not None
        why = None if fault is None else storable(fault)
        return bulk.finish(self._job_id, DoneRow(self._number, value, why))

    def value(self, value: str) -> None:
        """The outcome alone."""
        self._put(self.operation(value))

    def fault(self, words: str) -> None:
        """What is wrong with the row, alone."""
        self._put(self.operation(None, words))

    def _put(self, row: Operation | None) -> None:
        if row is not None:
            self._store.writer.put(row, begins=True)


class Trial:
    """In place of a `Keep`: what comes of a row is seen, and kept nowhere."""

    def __init__(self) -> None:
        self.kept = False
        self.found: str | None = None
        self.why: str | None = None

    def operation(self, value: str | None, fault: str | None = None) -> Operation | None:
        """See `Keep`: there is nothing to write."""
        self.kept, self.found, self.why = True, value, fault
        return None

    def value(self, value: str) -> None:
        """See `Keep`."""
        self.operation(value)

    def fault(self, words: str) -> None:
        """See `Keep`."""
        self.operation(None, words)


Function = Callable[[Row, "Keep | Trial"], Awaitable[None]]
"""Asked for each row: keeps one outcome. What it raises ends the job, which can be gone on with."""


@dataclass
class Job:
    """One table through one function.

    Attributes:
        table: what is read.
        output: what is written.
        shape: what outcomes become.
        fingerprint: of everything that decides the outcomes.
        store: where done rows are kept.
        job_id: a fresh id, used where the job is begun and not gone on with.
        clock: Unix seconds.
        most_waiting: rows of the store that may be on their way before no more are asked.
    """

    table: Table
    output: Path
    shape: Shaped
    fingerprint: str
    store: Store
    job_id: str
    clock: Callable[[], float]
    most_waiting: int = MOST_WAITING
    tally: Tally = field(default_factory=Tally)

    async def run(self, function: Function, *, most: int) -> Tally:
        """Do what is not done, `most` rows at once, and write the output.

        Raises:
            SetupError: the output cannot be written, or another process runs this job.
            StoreError: the store cannot be written.
            whatever `function` raises.
        """
        with _alone(self.output):
            await (
                self.store.flush()
            )  # an earlier run in this process may have left rows on their way
            self.job_id = await self._enter()
            done = await self._done()
            self.tally.size = self.table.size
            self.tally.done = self.tally.resumed = done.count
            await self._ask(function, done, most)
            await self.store.flush()
            failed = await self._write()
            self.tally.failed = failed
            await self._forget(self.job_id)
        return self.tally

    async def forget(self) -> None:
        """Forget what an unfinished job for the output did."""
        found = await self._unfinished()
        if found is not None:
            await self._forget(found.job_id)

    async def _forget(self, job_id: str) -> None:
        while await self.store.write(partial(bulk.forget_some, job_id=job_id)):
            pass

    async def _unfinished(self) -> JobRow | None:
        return await self.store.read(partial(bulk.find, output=str(self.output)))

    async def _enter(self) -> str:
        found = await self._unfinished()
        if found is not None and found.fingerprint != self.fingerprint:
            count = await self.store.read(partial(bulk.count, job_id=found.job_id))
            if count:
                raise SetupError(
                    f"an unfinished job for {self.output} has other input or asks something else; "
                    f"{count:,} of its rows are done",
                    "run that command again to go on with it, or add --restart to forget it",
                )
            await self._forget(found.job_id)  # it was given up before its first row: nothing lost
            found = None
        if found is not None:
            return found.job_id
        created_us = round(self.clock() * 1_000_000)
        row = JobRow(self.job_id, str(self.output), self.fingerprint, created_us)
        await self.store.write(partial(bulk.add, job=row))
        return self.job_id

    async def _done(self) -> Done:
        done, after = Done(), -1
        while numbers := await self.store.read(
            partial(bulk.numbers_after, job_id=self.job_id, after=after)
        ):
            for after in numbers:
                done.add(after)
        return done

    async def _ask(self, function: Function, done: Done, most: int) -> None:
        async def work(rows: Iterator[Found]) -> None:
            for found in rows:
                if found.number in done:
                    continue
                keep = Keep(self.store, self.job_id, found.number, self.tally)
                if found.row is None:
                    keep.fault(found.fault or "it cannot be read")
                else:
                    await function(found.row, keep)
                    assert keep.kept, "a function keeps an outcome or raises"
                if self.tally.done % TURN == 0:
                    self.tally.place = self.table.place()
                    await asyncio.sleep(0)  # a function may never wait
                if self.store.writer.waiting > self.most_waiting:
                    await self.store.flush()  # no faster than the disk

        with closing(self.table.rows()) as rows:
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(most):
                        group.create_task(work(rows))
            except BaseExceptionGroup as several:
                raise _first(several) from None

    async def _write(self) -> int:
        """The output, and its errors if there are any; how many those are."""
        part, errors = self._beside(".part"), self._beside(".errors.part")
        try:
            failed = await self._write_parts(part, errors)
            target = self._beside(".errors")
            if failed:
                os.replace(errors, target)
            else:
                errors.unlink()
                target.unlink(missing_ok=True)
            os.replace(part, self.output)
            _sync_folder(self.output.parent)
        except OSError as error:
            for left in (part, errors):
                with suppress(OSError):
                    left.unlink(missing_ok=True)
            raise SetupError(
                f"cannot write {self.output}: {error.strerror}",
                "all rows are done and kept; the same command writes them",
            ) from error
        return failed

    def _beside(self, ending: str) -> Path:
        return self.output.with_name(self.output.name + ending)

    async def _write_parts(self, part: Path, errors: Path) -> int:
        columns = [*self.table.columns, *self.shape.columns]
        sink = open_sink(part, columns, self.shape.types, self.table)
        try:
            with closing(self.table.rows()) as rows, errors.open("w", encoding="utf-8") as told:
                failed = await self._write_rows(rows, sink, told)
                told.flush()
                os.fsync(told.fileno())
            sink.close()
        finally:
            sink.abandon()
        return failed

    async def _write_rows(self, rows: Iterator[Found], sink: Sink, told: IO[str]) -> int:
        failed, after = 0, -1
        while done := await self.store.read(
            partial(bulk.rows_after, job_id=self.job_id, after=after)
        ):
            for one in done:
                found = _at(rows, one.number)
                if one.value is None or found.row is None:
                    failed += 1
                    told.write(_error_line(found, one.fault) + "\n")
                else:
                    sink.write({**found.row, **self.shape.values(one.value)})
            after = done[-1].number
        return failed


class Done:
    """Which rows are done, a bit each."""

    def __init__(self) -> None:
        self._bits = bytearray()
        self.count = 0

    def add(self, number: int) -> None:
        """One more."""
        byte, bit = divmod(number, 8)
        if byte >= len(self._bits):
            self._bits.extend(bytes(max(byte + 1 - len(self._bits), len(self._bits))))
        self.count += not self._bits[byte] >> bit & 1
        self._bits[byte] |= 1 << bit

    def __contains__(self, number: int) -> bool:
        byte, bit = divmod(number, 8)
        return byte < len(self._bits) and bool(self._bits[byte] >> bit & 1)


def _at(rows: Iterator[Found], number: int) -> Found:
    for found in rows:
        if found.number == number:
            return found
    raise SetupError(
        f"the input has no row {number} any more: it was changed while it was read",
        "put it back, or add --restart to begin anew",
    )


def _error_line(found: Found, fault: str | None) -> str:
    told: dict[str, Any] = {"row": found.number, "error": fault or found.fault}
    if found.row is not None:
        told["input"] = plain(found.row)
    return json.dumps(told, ensure_ascii=False)


def _first(several: BaseExceptionGroup[BaseException]) -> BaseException:
    """One of those that were raised together; the others say the same or less."""
    error = several.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


@contextmanager
def _alone(output: Path) -> Iterator[None]:
    """Hold the lock of a job. Raises SetupError where another process has it."""
    try:
        descriptor = os.open(output.parent, os.O_RDONLY)
    except OSError as error:
        raise SetupError(f"cannot write {output}: {error.strerror}") from error
    os.close(descriptor)
    lock = output.with_name(f".{output.name}.lock")
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise SetupError(f"cannot write {output}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise SetupError(
            f"another command is writing {output}", "wait until that one has ended"
        ) from error
    try:
        yield
    finally:
        with suppress(OSError):
            lock.unlink()
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
