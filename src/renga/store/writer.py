"""The one thread that writes: operations are queued at once and committed in groups.

Owns "what was accepted is written or is reported": a group that the disk refuses is kept and tried
again, and while it waits nothing new is accepted. Does not know what the rows mean, nor the event
loop.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

from sqlalchemy import Connection, Engine, Insert, Update

from renga.store.database import file_identity, writing
from renga.store.errors import RejectedRow, StoreError, explain, is_fault_of_row

T = TypeVar("T")
Act = Callable[[Connection], object]
Fold = Callable[[Sequence["Operation"]], Sequence["Operation"]]

GROUP_SECONDS: Final = 0.02
GROUP_SIZE: Final = 256
RETRY_SECONDS: Final = 0.5
MAX_WAITING: Final = 100_000
"""Operations that may wait before new ones are refused: some 100 MB of rows."""

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


class Writer:
    """Queues operations and commits them on a thread of its own.

    Args:
        engine: an open database.
        group_seconds: how long the first operation of a group waits for others.
        group_size: waiting operations that end that wait.
        retry_seconds: pause after a group that the disk refused.
        fold: makes fewer operations of a group, with the same outcome where none is at fault.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        group_seconds: float = GROUP_SECONDS,
        group_size: int = GROUP_SIZE,
        retry_seconds: float = RETRY_SECONDS,
        max_waiting: int = MAX_WAITING,
        fold: Fold = lambda group: group,
    ) -> None:
        self._engine = writing(engine)
        self._name = str(engine.url.database)
        self._group_seconds = group_seconds
        self._group_size = group_size
        self._retry_seconds = retry_seconds
        self._max_waiting = max_waiting
        self._fold = fold
        self._file = file_identity(self._name)
        self._wake = threading.Condition()
        self._operations: list[Operation] = []
        self._first_at = 0.0
        self._calls: list[tuple[Act, Future[object]]] = []
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

    def call(self, act: Callable[[Connection], T]) -> Future[T]:
        """Run `act` in a transaction of its own, after the operations that were queued before
        it.
        """
        future: Future[T] = Future()
        with self._wake:
            if self._closing:
                raise StoreError(f"database {self._name} is closed", "the server is stopping")
            self._calls.append((act, future))  # type: ignore[arg-type]
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
            self._write_group()
            self._run_calls()
            self._run_jobs()
        self._write_group()
        self._run_calls()

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
        return min(times) - now if times else None

    def _write_group(self) -> None:
        with self._wake:
            group, self._operations = self._operations, []
            flushes, self._flushes = self._flushes, []
        outcome: StoreError | None = None
        try:
            outcome = self._commit(group) if group else None
        except Exception as error:  # noqa: BLE001  whatever it is, the rows are kept
            outcome = self._keep(group, error)
        else:
            if group:
                self._recover()
        for future in flushes:
            _settle(future, None, outcome)

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        # A write-ahead log goes on quietly in a file that was deleted or replaced: look at each
        # time.
        if file_identity(self._name) != self._file:
            raise StoreError(
                f"database {self._name} was moved, deleted or replaced while it was in use",
                "put it back, or start renga again; what it could not write yet is lost then",
            )
        with self._engine.begin() as connection:
            yield connection

    def _commit(self, group: Sequence[Operation]) -> RejectedRow | None:
        """Write the group; when a row is at fault, write the others and report that one."""
        try:
            with self._transaction() as connection:
                for part in _by_rank(self._fold(group)):
                    rows = connection.execute(
                        part[0].statement, [op.values for op in part]
                    ).rowcount
                    if rows != len(part):
                        raise RejectedRow("a row of the group matched nothing")
        except Exception as error:
            if not is_fault_of_row(error):
                raise
            return self._commit_one_by_one(group)
        return None

    def _commit_one_by_one(self, group: Sequence[Operation]) -> RejectedRow | None:
        rejected: list[str] = []
        refused: list[Operation] = []
        with self._transaction() as connection:
            for operation in sorted(group, key=lambda op: op.rank):
                alone = any(operation.needs is one for one in refused)
                chosen = operation.otherwise if alone and operation.otherwise else operation
                fault = _execute_alone(connection, chosen)
                if fault is not None:
                    refused.append(operation)
                    rejected.append(f"{operation.label}: {fault}")
        for line in rejected:
            _log.error("a ledger row was refused by the database: %s", line)
        return RejectedRow("; ".join(rejected)) if rejected else None

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

    def _run_calls(self) -> None:
        with self._wake:
            calls, self._calls = self._calls, []
        for act, future in calls:
            if future.set_running_or_notify_cancel():
                self._run_call(act, future)

    def _run_call(self, act: Act, future: Future[object]) -> None:
        try:
            with self._transaction() as connection:
                result = act(connection)
        except Exception as error:  # noqa: BLE001  it belongs to whoever asked
            fault = is_fault_of_row(error)
            future.set_exception(error if fault else explain(error, self._name))
        else:
            future.set_result(result)

    def _run_jobs(self) -> None:
        now = time.monotonic()
        for job in [job for job in self._jobs if job.due <= now]:
            job.due = now + job.seconds
            try:
                with self._transaction() as connection:
                    job.act(connection)
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


def _execute_alone(connection: Connection, operation: Operation) -> str | None:
    """Write one row inside a savepoint; what is wrong with it, or None."""
    try:
        with connection.begin_nested():
            rows = connection.execute(operation.statement, [operation.values]).rowcount
    except Exception as error:
        if not is_fault_of_row(error):
            raise
        return " ".join(str(getattr(error, "orig", None) or error).split())
    return None if rows == 1 else "no open row of this server matches it"


def _settle(future: Future[None], result: None, error: StoreError | None) -> None:
    if not future.set_running_or_notify_cancel():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
