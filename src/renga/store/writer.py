"""The one thread that writes: operations are queued at once and committed in groups.

Owns "what was accepted is written, once, or is reported": a group that the database refuses is kept
and tried again, and while it waits nothing new is accepted; where the connection breaks during a
commit, nothing else is written until it is known whether that one was. Does not know what the rows
mean, nor the event loop.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Insert, Update
from sqlalchemy.exc import SQLAlchemyError

from renga.store.commits import Commits
from renga.store.database import Database
from renga.store.errors import (
    RejectedRow,
    StoreError,
    explain,
    is_fault_of_row,
    is_transient,
)

T = TypeVar("T")
Act = Callable[[Connection], object]
Fold = Callable[[Sequence["Operation"]], Sequence["Operation"]]

GROUP_SECONDS: Final = 0.02
GROUP_SIZE: Final = 256
RETRY_SECONDS: Final = 0.5
MAX_WAITING: Final = 100_000
"""Operations that may wait before new ones are refused: some 100 MB of rows."""

DOUBT_SECONDS: Final = 10.0
"""How long a caller is kept who waits for a transaction of which nobody knows whether it was
committed."""

TRIES: Final = 4
"""How often a transaction is tried that others get in the way of."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Operation:
    """One row to write.

    Attributes:
        rank: position among the kinds of statements; a group is written rank by rank, so that
            rows of a kind go to the driver together. Ranks must be such that any order within a
            rank is right.
        statement: the insert, or an update that matches exactly one row.
        values: its parameters.
        label: the row, for messages.
        needs: an operation of a lower rank that is put together with this one: where that is
            refused, `otherwise` is written in place of this one.
        otherwise: see `needs`.
    """

    rank: int
    statement: Insert | Update
    values: dict[str, object]
    label: str
    needs: Operation | None = None
    otherwise: Operation | None = None


@dataclass(slots=True)
class _Job:
    act: Act
    seconds: float
    due: float


class _CutOff(Exception):
    """The connection broke during the commit; `result` is what counts if it was done."""

    def __init__(self, result: Any, why: Exception) -> None:
        super().__init__()
        self.result = result
        self.why = why


@dataclass(slots=True)
class _Doubt:
    """A transaction that may be there or not.

    `settle` is told which, or None where that took too long.
    """

    settle: Callable[[bool | None], object]
    until: float


def _ignore(_committed: bool | None) -> None:
    """For who does not wait."""


class Writer:
    """Queues operations and commits them on a thread of its own.

    Args:
        database: an open one.
        group_seconds: how long the first operation of a group waits for others.
        group_size: waiting operations that end that wait.
        retry_seconds: pause after a group that the disk refused.
        doubt_seconds: how long who waits is kept while nobody knows whether a commit was done.
        fold: makes fewer operations of a group, with the same outcome where none is at fault.
    """

    def __init__(
        self,
        database: Database,
        *,
        group_seconds: float = GROUP_SECONDS,
        group_size: int = GROUP_SIZE,
        retry_seconds: float = RETRY_SECONDS,
        max_waiting: int = MAX_WAITING,
        doubt_seconds: float = DOUBT_SECONDS,
        fold: Fold = lambda group: group,
    ) -> None:
        self._database = database
        self._name = database.name
        self._group_seconds = group_seconds
        self._group_size = group_size
        self._retry_seconds = retry_seconds
        self._max_waiting = max_waiting
        self._doubt_seconds = doubt_seconds
        self._fold = fold
        self._commits = Commits()
        self._doubt: _Doubt | None = None
        self._wake = threading.Condition()
        self._operations: list[Operation] = []
        self._first_at = 0.0
        self._calls: list[tuple[Act, bool, Future[object]]] = []
        self._flushes: list[Future[None]] = []
        self._jobs: list[_Job] = []
        self._failure: StoreError | None = None
        self._retry_at = 0.0
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="renga-store-writer", daemon=True)
        self._thread.start()

    @property
    def failure(self) -> StoreError | None:
        """Why nothing can be written just now; None while all is well."""
        return self._failure

    @property
    def waiting(self) -> int:
        """How many rows are queued and not committed yet."""
        return len(self._operations)

    def put(self, *operations: Operation, begins: bool = False) -> None:
        """Queue rows; returns at once. What is put in one call is committed in one transaction.

        Args:
            operations: the rows.
            begins: it begins something new, which is refused while the disk fails. What ends
                something is always accepted: it is kept until the disk works again.

        Raises:
            StoreError: `begins`, and the disk fails or the queue is full; or the store is closed.
        """
        with self._wake:
            if self._closing:
                raise StoreError(f"database {self._name} is closed", "the server is stopping")
            if begins:
                self._refuse_if_failing()
            before = len(self._operations)
            self._operations += operations
            if before == 0:
                self._first_at = time.monotonic()
            if before == 0 or before < self._group_size <= len(self._operations):
                self._wake.notify()

    def _refuse_if_failing(self) -> None:
        if self._failure is not None:
            raise StoreError(self._failure.message, self._failure.hint)
        if len(self._operations) >= self._max_waiting:
            raise StoreError(
                f"database {self._name} is too slow: {len(self._operations)} rows wait",
                "put it on a faster disk",
            )

    def call(self, act: Callable[[Connection], T], *, alone: bool = True) -> Future[T]:
        """Run `act` in a transaction of its own, after the operations that were queued before
        it.

        It may be run several times, where others get in its way. `alone` keeps out what is alone
        on any other server meanwhile, so that `act` may read first and write by what it found.
        """
        future: Future[T] = Future()
        with self._wake:
            if self._closing:
                raise StoreError(f"database {self._name} is closed", "the server is stopping")
            self._calls.append((act, alone, future))  # type: ignore[arg-type]
            self._wake.notify()
        return future

    def flush(self) -> Future[None]:
        """Done when all that was queued before is durable; fails with StoreError when it is not.

        A row that was refused for its content fails the flush as RejectedRow; the others are
        durable.
        """
        future: Future[None] = Future()
        with self._wake:
            if self._closing:
                raise StoreError(f"database {self._name} is closed", "the server is stopping")
            self._flushes.append(future)
            self._wake.notify()
        return future

    def every(self, seconds: float, act: Act) -> None:
        """Run `act` in a transaction every `seconds` of real time, first after `seconds`."""
        with self._wake:
            self._jobs.append(_Job(act, seconds, time.monotonic() + seconds))
            self._wake.notify()

    def close(self) -> None:
        """Write what waits and end the thread.

        Raises:
            StoreError: some rows could not be written; the message counts them.
        """
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()
        if self._operations and self._failure is not None:
            raise StoreError(
                f"{self._failure.message}; {len(self._operations)} rows were not written",
                self._failure.hint,
            )

    # -- the thread --

    def _run(self) -> None:
        while self._wait_for_work():
            self._work()
        self._work(closing=True)
        self._leave()

    def _work(self, *, closing: bool = False) -> None:
        if self._resolve(closing=closing):
            self._run_calls(self._write_group())
            if not closing:
                self._run_jobs()
        else:
            self._refuse_waiting()

    def _wait_for_work(self) -> bool:
        """Sleep until something is due; False when the store closes."""
        with self._wake:
            while not self._closing:
                pause = self._pause(time.monotonic())
                if pause is not None and pause <= 0:
                    return True
                self._wake.wait(pause)
            return False

    def _pause(self, now: float) -> float | None:
        """Seconds until something is due, None for never."""
        if self._calls or self._flushes:
            return 0.0
        times = [job.due for job in self._jobs]
        if self._operations:
            full = len(self._operations) >= self._group_size
            ready = now if full else self._first_at + self._group_seconds
            times.append(max(ready, self._retry_at))
        if self._doubt is not None:
            times.append(self._retry_at)
        return min(times) - now if times else None

    def _write_group(self) -> int:
        """Write what waits; how many calls waited then: of later ones some rows are not written."""
        with self._wake:
            group, self._operations = self._operations, []
            flushes, self._flushes = self._flushes, []
            calls = len(self._calls)
        outcome: StoreError | None = None
        try:
            outcome = _report(self._commit(group)) if group else None
        except _CutOff as cut:
            self._begin_doubt(cut, partial(self._settle_group, len(group), cut.result))
            outcome = self._keep(group, cut.why)
        except Exception as error:  # noqa: BLE001  whatever it is, the rows are kept
            outcome = self._keep(group, error)
        else:
            if group:
                self._recover()
        for future in flushes:
            _settle(future, None, outcome)
        return calls

    def _settle_group(self, size: int, rejected: list[str], committed: bool | None) -> None:
        """The group at the head of the queue is written, or is to be written again."""
        if committed:
            _report(rejected)
            with self._wake:
                del self._operations[:size]

    def _transact(self, act: Callable[[Connection], T], *, alone: bool = False) -> T:
        """What `act` returns, once what it wrote is durable. Raises what it raises, or _CutOff."""
        for left in reversed(range(TRIES)):
            try:
                return self._try(act, alone)
            except SQLAlchemyError as error:
                if not left or not is_transient(error):
                    raise
        raise AssertionError

    def _try(self, act: Callable[[Connection], T], alone: bool) -> T:
        dialect, engine = self._database.dialect, self._database.writing
        dialect.look()
        if not self._commits.entered:
            with engine.begin() as connection:
                self._commits.enter(connection)
            self._commits.entered = True
        with engine.connect() as connection:  # its end rolls back
            transaction = connection.begin()
            self._commits.number(connection)
            if alone:
                dialect.lock_writes(connection)
            result = act(connection)
            try:
                transaction.commit()
            except Exception as error:
                raise _CutOff(result, error) from error
        self._commits.done()
        return result

    def _begin_doubt(self, cut: _CutOff, settle: Callable[[bool | None], object]) -> None:
        self._doubt = _Doubt(settle, time.monotonic() + self._doubt_seconds)
        self._fail(explain(cut.why, self._name))

    def _resolve(self, *, closing: bool = False) -> bool:
        """Find out whether what is in doubt was committed; False while nobody can say."""
        if self._doubt is None:
            return True
        try:
            self._database.dialect.look()
            with self._database.writing.begin() as connection:
                committed = self._commits.was_done(connection)
        except Exception as error:  # noqa: BLE001  whatever it is, it goes on being unknown
            self._fail(explain(error, self._name))
            if closing or time.monotonic() > self._doubt.until:
                self._doubt.settle(None)
                self._doubt.settle = _ignore
            return False
        if committed:
            self._commits.done()
        doubt, self._doubt = self._doubt, None
        self._recover()
        doubt.settle(committed)
        return True

    def _refuse_waiting(self) -> None:
        """Tell who waits that nothing can be written; the rows stay."""
        with self._wake:
            calls, self._calls = self._calls, []
            flushes, self._flushes = self._flushes, []
        for flush in flushes:
            _settle(flush, None, self._failure)
        for _, _, future in calls:
            if future.set_running_or_notify_cancel():
                future.set_exception(self._failure or StoreError(f"database {self._name} failed"))

    def _leave(self) -> None:
        """Remove what the database holds for this writer alone; it may stay where that fails."""
        if self._commits.entered and self._failure is None:
            with suppress(Exception), self._database.writing.begin() as connection:
                self._commits.leave(connection)

    def _commit(self, group: Sequence[Operation]) -> list[str]:
        """Write the group; where rows are at fault, write the others and say which those are."""

        def act(connection: Connection) -> list[str]:
            for part in _by_rank(self._fold(group)):
                if _execute(connection, part) != len(part):
                    raise RejectedRow("a row of the group matched nothing")
            return []

        try:
            return self._transact(act)
        except Exception as error:
            if not is_fault_of_row(error) or isinstance(error, _CutOff):
                raise
            return self._transact(partial(_write_one_by_one, group=group))

    def _keep(self, group: list[Operation], error: Exception) -> StoreError:
        """Put the group back at the head of the queue and refuse new beginnings."""
        failure = explain(error, self._name)
        self._fail(failure)
        with self._wake:
            self._operations[:0] = group
        return failure

    def _fail(self, failure: StoreError) -> None:
        if self._failure is None:
            _log.error("%s (%s)", failure.message, failure.hint)
        self._failure = failure
        self._retry_at = time.monotonic() + self._retry_seconds

    def _recover(self) -> None:
        if self._failure is not None:
            _log.warning("database %s can be written again", self._name)
        self._failure, self._retry_at = None, 0.0

    def _run_calls(self, count: int) -> None:
        with self._wake:
            calls, self._calls = self._calls[:count], self._calls[count:]
        for number, (act, alone, future) in enumerate(calls):
            if self._doubt is not None:
                with self._wake:
                    self._calls[:0] = calls[number:]
                return
            if future.set_running_or_notify_cancel():
                self._run_call(act, alone, future)

    def _run_call(self, act: Act, alone: bool, future: Future[object]) -> None:
        try:
            result = self._transact(act, alone=alone)
        except _CutOff as cut:
            self._begin_doubt(cut, partial(_settle_call, future, cut, self._name))
        except Exception as error:  # noqa: BLE001  it belongs to whoever asked
            fault = is_fault_of_row(error)
            future.set_exception(error if fault else explain(error, self._name))
        else:
            future.set_result(result)

    def _run_jobs(self) -> None:
        now = time.monotonic()
        for job in [job for job in self._jobs if job.due <= now and self._doubt is None]:
            job.due = now + job.seconds
            try:
                self._transact(job.act)
            except _CutOff as cut:
                self._begin_doubt(cut, _ignore)
            except Exception as error:  # noqa: BLE001  a failing disk is reported later
                self._fail(explain(error, self._name))
                job.due = min(job.due, now + self._retry_seconds)
            else:
                if not self._operations:
                    self._recover()


def _by_rank(group: Sequence[Operation]) -> list[list[Operation]]:
    parts: dict[int, list[Operation]] = {}
    for operation in group:
        parts.setdefault(operation.rank, []).append(operation)
    return [parts[rank] for rank in sorted(parts)]


def _execute(connection: Connection, part: Sequence[Operation]) -> int:
    """Write rows of one kind; how many were added or matched."""
    return connection.execute(
        part[0].statement,
        [operation.values for operation in part],
        execution_options={"preserve_rowcount": True},
    ).rowcount


def _write_one_by_one(connection: Connection, *, group: Sequence[Operation]) -> list[str]:
    """Write what can be written; what is wrong with the rest, row by row."""
    rejected: list[str] = []
    refused: list[Operation] = []
    for operation in sorted(group, key=lambda op: op.rank):
        alone = any(operation.needs is one for one in refused)
        chosen = operation.otherwise if alone and operation.otherwise else operation
        fault = _execute_alone(connection, chosen)
        if fault is not None:
            refused.append(operation)
            rejected.append(f"{operation.label}: {fault}")
    return rejected


def _report(rejected: Sequence[str]) -> RejectedRow | None:
    """Log the rows that were refused, once the others are there."""
    for line in rejected:
        _log.error("a ledger row was refused by the database: %s", line)
    more = f"; and {len(rejected) - 3} more" if len(rejected) > 3 else ""
    return RejectedRow("; ".join(rejected[:3]) + more) if rejected else None


def _execute_alone(connection: Connection, operation: Operation) -> str | None:
    """Write one row inside a savepoint; what is wrong with it, or None."""
    try:
        with connection.begin_nested():
            rows = _execute(connection, [operation])
    except Exception as error:
        if not is_fault_of_row(error):
            raise
        return " ".join(str(getattr(error, "orig", None) or error).split())
    return None if rows == 1 else "no open row of this server matches it"


def _settle_call(future: Future[object], cut: _CutOff, name: str, committed: bool | None) -> None:
    """Give who waits what came of the transaction."""
    if committed:
        future.set_result(cut.result)
    elif committed is None:
        future.set_exception(
            StoreError(
                f"database {name} was lost during a commit: whether it was done is not known",
                "look for what was to be written before it is written again",
            )
        )
    else:
        future.set_exception(explain(cut.why, name))


def _settle(future: Future[None], result: None, error: StoreError | None) -> None:
    if not future.set_running_or_notify_cancel():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
