"""The ledger: one row per answer, one per attempt; tokens by class, price, cost, time.

Owns rule 11 and "a row closes exactly once". Every call that a request makes returns at once (the
rows are queued and committed in groups by the store's writer), so that a closing in a `finally`
needs no `await` and works while its task is being cancelled. docs/ledger.md says what is durable
when.

Does not know the gateway, HTTP or backends; the SQL is in `renga.store`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, Self, get_args

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from renga.errors import ApiError
from renga.prices import NO_TOKENS, UNKNOWN, Price, Service, Tokens, dollars
from renga.store import RejectedRow, Store, StoreError, storable
from renga.store import rows as sql
from renga.store.records import AnswerRow, AttemptRow, Total, read_answers, read_total
from renga.store.rows import Grouping, Rank, Selection
from renga.store.sums import Period, add_up
from renga.store.writer import GROUP_SECONDS, RETRY_SECONDS, Operation

__all__ = [
    "NO_TOKENS",
    "UNKNOWN",
    "AnswerRow",
    "AttemptRow",
    "Grouping",
    "Ledger",
    "LedgerError",
    "Operation",
    "Price",
    "Service",
    "Status",
    "Tokens",
    "Total",
    "dollars",
]

Status = Literal["ok", "error", "cancelled", "interrupted", "refused"]
"""How a row closed. An open row has the status "open"."""

STATUSES: Final[tuple[Status, ...]] = get_args(Status)
LEASE_SECONDS: Final = 15.0
HEARTBEAT_SECONDS: Final = 5.0
LONGEST_TEXT: Final = 1000
"""Characters of a text that a caller or a backend chose; the rest is cut."""

_US: Final = 1_000_000


class LedgerError(ApiError):
    """A call that the ledger's order does not allow, such as closing a row twice: our fault."""


@dataclass(slots=True)
class _OpenAnswer:
    price: Price
    backend: str | None
    attempts: set[int] = field(default_factory=set)
    used_numbers: set[int] = field(default_factory=set)


class Ledger:
    """Writes and reads the ledger; made by `Ledger.start`, ended by `aclose`.

    Opening and closing may be called from any thread, and return at once.

    Attributes:
        instance_id: this server process; its rows carry it.
        store: the database, for what else is kept in it (`Keys`).
    """

    def __init__(
        self, store: Store, *, clock: Callable[[], float], instance_id: str, lease_seconds: float
    ) -> None:
        self.store = store
        self.instance_id = instance_id
        self._clock = clock
        self._lease_us = int(lease_seconds * _US)
        self._open: dict[str, _OpenAnswer] = {}
        self._lock = threading.Lock()

    @classmethod
    async def start(
        cls,
        url: str,
        *,
        clock: Callable[[], float],
        instance_id: str,
        lease_seconds: float = LEASE_SECONDS,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        group_seconds: float = GROUP_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
    ) -> Self:
        """Open the database, take a lease, and mark what dead servers left open.

        Args:
            url: `sqlite:////path/file.db`, see `renga.store.sqlite_url`.
            clock: Unix seconds; what the rows and leases are stamped with.
            instance_id: fresh at every start, since a lease is never given twice.
            lease_seconds: how long after its last heartbeat this server counts as alive.
            heartbeat_seconds: real seconds between heartbeats, each of which also sweeps.
            group_seconds: how long the first row of a group waits for others.
            retry_seconds: pause after a group that the disk refused.

        Raises:
            StoreError: the database cannot be used, or `instance_id` was used before.
        """
        store = await Store.open(url, group_seconds=group_seconds, retry_seconds=retry_seconds)
        ledger = cls(store, clock=clock, instance_id=instance_id, lease_seconds=lease_seconds)
        try:
            await store.write(ledger._enter)
            await ledger.sweep()
        except BaseException:
            await store.aclose()
            raise
        store.writer.every(heartbeat_seconds, ledger._beat)
        return ledger

    async def aclose(self) -> None:
        """Write what waits, mark what is open as interrupted, end the lease, close the database.

        Raises:
            StoreError: some rows could not be written; the message counts them.
        """
        try:
            await self._catch_up()
            await self.store.write(self._leave)
        except StoreError:
            # Closing the store tries once more, and counts what is lost. The lease runs out.
            pass
        finally:
            await self.store.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    # -- what a request writes --

    def open_answer(  # noqa: PLR0913  the columns of one row
        self,
        *,
        request_id: str,
        workspace: str,
        key_id: str | None,
        tier: str,
        model_requested: str,
        model: str,
        backend: str | None,
        service: Service,
        price: Price,
        received_at: float,
    ) -> None:
        """Open an answer's row, before any backend is asked.

        `price` is the tier's; what `service` makes of it is copied onto the row. `received_at` is
        in Unix seconds. The other arguments are the columns of their names (docs/ledger.md).

        Raises:
            StoreError: the database cannot be written just now; do not run the request.
            LedgerError: the id is open already.
            ValueError: the price cannot be reduced to a whole number.
        """
        percent = 100 if service == "standard" else price.batch_percent
        if service != "standard":
            price = price.for_service(service)
        values: dict[str, object] = {
            "request_id": request_id,
            "instance_id": self.instance_id,
            "workspace": workspace,
            "key_id": key_id,
            "tier": tier,
            "model_requested": _text(model_requested),
            "model": _text(model),
            "backend": backend,
            "service": service,
            "status": "open",
            "received_us": _us(received_at),
            "input_price_pico": price.input,
            "cache_read_price_pico": price.cache_read,
            "cache_write_5m_price_pico": price.cache_write_5m,
            "cache_write_1h_price_pico": price.cache_write_1h,
            "output_price_pico": price.output,
            "price_percent": percent,
        }
        with self._lock:
            if request_id in self._open:
                raise LedgerError(
                    f"request_id {request_id!r} is open already; accepted: a fresh id"
                )
            self._put(Rank.OPEN_ANSWER, values, f"answer {request_id}", begins=True)
            self._open[request_id] = _OpenAnswer(price, backend)

    def open_attempt(
        self, *, request_id: str, number: int, backend: str, layer: str | None = None
    ) -> None:
        """Open the row of an attempt, before the backend is asked.

        `number` says which attempt of the answer it is, each number once; `layer` is the layer that
        makes it, None for the gateway's own.

        Raises:
            StoreError: the database cannot be written just now.
            LedgerError: the answer is not open, or has had an attempt of this number.
        """
        values: dict[str, object] = {
            "request_id": request_id,
            "number": number,
            "instance_id": self.instance_id,
            "backend": backend,
            "layer": layer,
            "status": "open",
            "opened_us": _us(self._clock()),
        }
        with self._lock:
            answer = self._answer(request_id)
            if number in answer.used_numbers:
                raise LedgerError(
                    f"attempt {number} of {request_id!r} was opened before; accepted: a new number"
                )
            self._put(Rank.OPEN_ATTEMPT, values, f"attempt {number} of {request_id}", begins=True)
            answer.used_numbers.add(number)
            answer.attempts.add(number)

    def close_attempt(  # noqa: PLR0913  the columns of one row
        self,
        request_id: str,
        number: int,
        *,
        status: Status,
        tokens: Tokens,
        error: str | None = None,
        cause: str | None = None,
        first_token_at: float | None = None,
        own_cost_pico: int | None = None,
    ) -> None:
        """Close the row of an attempt. Accepted also while the disk fails: the row waits for it.

        `own_cost_pico` is what it cost on own hardware, None where nobody says.

        Raises:
            LedgerError: the attempt is not open.
        """
        _check_status(status)
        with self._lock:
            answer = self._answer(request_id)
            if number not in answer.attempts:
                raise LedgerError(
                    f"attempt {number} of {request_id!r} is not open; it closes exactly once"
                )
            why = {"error": _text(error), "cause": _text(cause), "own_cost_pico": own_cost_pico}
            self._close_attempt(request_id, number, status, tokens, why, first_token_at)
            answer.attempts.remove(number)

    def close_answer(  # noqa: PLR0913  the columns of one row
        self,
        request_id: str,
        *,
        status: Status,
        tokens: Tokens,
        served_tier: str | None,
        stop_reason: str | None = None,
        backend: str | None = None,
        error_type: str | None = None,
        first_token_at: float | None = None,
        notes: Mapping[str, Any] | None = None,
        beside: Operation | None = None,
    ) -> int | None:
        """Close an answer's row and return its cost in pico-dollars (None: a class is unknown).

        Attempts that are still open are closed as interrupted, with unknown tokens. Accepted also
        while the disk fails: the row waits for it.

        `backend` is what served it in the end, None keeps what the opening said; `notes` is what
        layers have to say about this answer, in JSON values; `beside` is a row that is written in
        the same transaction, and where it is refused, nobody got the answer, so that it closes as
        interrupted and costs nothing. The other arguments are the columns of their names
        (docs/ledger.md).

        Raises:
            LedgerError: the answer is not open.
        """
        _check_status(status)
        noted = json.dumps(dict(notes), sort_keys=True) if notes else None
        with self._lock:
            answer = self._answer(request_id)
            for number in sorted(answer.attempts):
                self._close_attempt(request_id, number, "interrupted", UNKNOWN, {}, None)
            cost = answer.price.cost(tokens)
            values: dict[str, object] = {
                **self._closing(request_id, status, tokens, first_token_at),
                "stop_reason": stop_reason,
                "error_type": error_type,
                "backend": backend if backend is not None else answer.backend,
                "served_tier": served_tier,
                "cost_pico": cost,
                "notes": noted,
            }
            label = f"closing of answer {request_id}"
            closing = sql.operation(Rank.CLOSE_ANSWER, values, label)
            if beside is None:
                self.store.writer.put(closing)
            else:
                unused = {"status": "interrupted", "cost_pico": 0}
                instead = sql.operation(Rank.CLOSE_ANSWER, {**values, **unused}, label)
                self.store.writer.put(beside, replace(closing, needs=beside, otherwise=instead))
            del self._open[request_id]
        return cost

    def _answer(self, request_id: str) -> _OpenAnswer:
        answer = self._open.get(request_id)
        if answer is None:
            raise LedgerError(
                f"request_id {request_id!r} is not open: never opened here, or closed before"
            )
        return answer

    def _close_attempt(
        self,
        request_id: str,
        number: int,
        status: Status,
        tokens: Tokens,
        why: Mapping[str, str | int | None],
        first_token_at: float | None,
    ) -> None:
        values = self._closing(request_id, status, tokens, first_token_at)
        values |= {"at_number": number, "error": None, "cause": None, "own_cost_pico": None, **why}
        self._put(Rank.CLOSE_ATTEMPT, values, f"closing of attempt {number} of {request_id}")

    def _closing(
        self, request_id: str, status: Status, tokens: Tokens, first_token_at: float | None
    ) -> dict[str, object]:
        return {
            "at_request_id": request_id,
            "at_instance_id": self.instance_id,
            "status": status,
            "input_tokens": tokens.input,
            "cache_read_tokens": tokens.cache_read,
            "cache_write_5m_tokens": tokens.cache_write_5m,
            "cache_write_1h_tokens": tokens.cache_write_1h,
            "output_tokens": tokens.output,
            "reused_tokens": tokens.reused,
            "thinking_tokens": tokens.thinking,
            "first_token_us": None if first_token_at is None else _us(first_token_at),
            "closed_us": _us(self._clock()),
            "closed_by": self.instance_id,
        }

    def _put(
        self, rank: Rank, values: dict[str, object], label: str, *, begins: bool = False
    ) -> None:
        self.store.writer.put(sql.operation(rank, values, label), begins=begins)

    async def flush(self) -> None:
        """Wait until every row opened or closed so far is durable.

        Raises:
            StoreError: it is not. (`RejectedRow`: one row was refused, the others are durable.)
        """
        await self.store.flush()

    # -- instances --

    async def sweep(self) -> int:
        """Mark rows of servers whose lease ran out as interrupted; returns how many answers.

        Runs at start and with every heartbeat; never touches a live server's rows.
        """
        return await self.store.write(self._sweep)

    def _sweep(self, connection: Connection) -> int:
        return sql.sweep(connection, self.instance_id, now_us=self._lease_now(connection))

    def _lease_now(self, connection: Connection) -> int:
        """By the clock that servers on this database share: theirs may differ."""
        shared = self.store.clock_us(connection)
        return _us(self._clock()) if shared is None else shared

    def _enter(self, connection: Connection) -> None:
        now_us = self._lease_now(connection)
        try:
            sql.add_instance(
                connection, self.instance_id, now_us=now_us, expires_us=now_us + self._lease_us
            )
        except IntegrityError as error:
            raise StoreError(
                f"instance id {self.instance_id!r} was used before",
                "accepted: a fresh id at every start",
            ) from error

    def _beat(self, connection: Connection) -> None:
        now_us = self._lease_now(connection)
        in_time = sql.renew_instance(
            connection, self.instance_id, now_us=now_us, expires_us=now_us + self._lease_us
        )
        # Late, as after the database was away: the others are late too, and not dead.
        if in_time:
            self._sweep(connection)

    def _leave(self, connection: Connection) -> int:
        now_us = self._lease_now(connection)
        return sql.end_instance(connection, self.instance_id, now_us=now_us)

    # -- reading --

    async def _catch_up(self) -> None:
        # A row that was refused is logged, and is no reason not to read the others.
        with suppress(RejectedRow):
            await self.flush()

    async def get(self, request_id: str) -> AnswerRow | None:
        """The row of an answer with its attempts, as this server last wrote it."""
        await self._catch_up()

        def act(connection: Connection) -> list[AnswerRow]:
            row = sql.get_answer(connection, request_id)
            return read_answers(connection, [row] if row is not None else [])

        found = await self.store.read(act)
        return found[0] if found else None

    async def rows(
        self,
        limit: int = 100,
        *,
        after: str | None = None,
        workspace: str | None = None,
        status: str | None = None,
    ) -> list[AnswerRow]:
        """Answers, newest first.

        Args:
            limit: how many at most, 1 to 1000.
            after: the request id that the last page ended with.
            workspace: of this workspace only.
            status: of this status only ("open" included).

        Raises:
            ValueError: `limit` is out of range.
        """
        if not 1 <= limit <= 1000:
            raise ValueError(f"limit: {limit}; accepted: 1 to 1000")
        await self._catch_up()
        selection = Selection(workspace=workspace, status=status)

        def act(connection: Connection) -> list[AnswerRow]:
            found = sql.list_answers(connection, selection, limit=limit, after=after)
            return read_answers(connection, found)

        return await self.store.read(act)

    async def totals(
        self,
        by: Grouping = "tier",
        *,
        workspace: str | None = None,
        since: float | None = None,
        until: float | None = None,
    ) -> list[Total]:
        """Sums per tier, workspace or day, over answers received in [since, until).

        The costs add up to the rows' costs exactly; what was purged is in them, by whole days.

        Raises:
            ValueError: `by` is none of the three.
        """
        if by not in get_args(Grouping):
            raise ValueError(f"by: {by!r}; accepted: {', '.join(get_args(Grouping))}")
        await self._catch_up()
        period = Period(
            None if since is None else _us(since), None if until is None else _us(until), workspace
        )
        found = await self.store.read(lambda connection: add_up(connection, (by,), period))
        return [read_total(by, group[0], found[group]) for group in sorted(found)]


def _us(seconds: float) -> int:
    return round(seconds * _US)


def _text(text: str | None) -> str | None:
    """A text that the database can hold, not endless."""
    return None if text is None else storable(text[:LONGEST_TEXT])


def _check_status(status: str) -> None:
    if status not in STATUSES:
        raise LedgerError(f"status: {status!r}; accepted: {', '.join(STATUSES)}")
