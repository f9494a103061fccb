"""Rows of the ledger as the program reads them.

Owns the way from columns to tokens, prices and seconds. Does not know who asks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Row

from renga.prices import Price, Tokens, dollars
from renga.store import rows as sql
from renga.store.rows import Grouping
from renga.store.sums import Sums

_US: Final = 1_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRow:
    """One attempt of an answer at a backend, as it stands in the ledger. Times in Unix seconds."""

    request_id: str
    number: int
    instance_id: str
    backend: str
    layer: str | None
    status: str
    error: str | None
    cause: str | None
    tokens: Tokens
    own_cost_pico: int | None
    opened_at: float
    first_token_at: float | None
    closed_at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRow:
    """One answer as it stands in the ledger, with its attempts. Times in Unix seconds.

    `cost_pico` is tokens times price in whole pico-dollars, exact, None while a class is unknown.
    The row stores that integer and no dollars: pico-dollars are the twelfth decimal, so
    `cost_usd` is the same number with a point in it, and no total can differ from the sum of what
    the rows showed.
    """

    request_id: str
    instance_id: str
    workspace: str
    key_id: str | None
    tier: str
    served_tier: str | None
    model_requested: str
    model: str
    backend: str | None
    service: str
    status: str
    stop_reason: str | None
    error_type: str | None
    tokens: Tokens
    price: Price
    price_percent: int | None
    cost_pico: int | None
    received_at: float
    first_token_at: float | None
    closed_at: float | None
    notes: Mapping[str, Any]
    attempts: tuple[AttemptRow, ...]

    @property
    def cost_usd(self) -> str | None:
        """The cost as an exact decimal string of dollars; None while it is unknown."""
        return None if self.cost_pico is None else dollars(self.cost_pico)


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """Sums over a group of answers.

    Attributes:
        name: the tier, the workspace or the day (UTC, `2026-01-31`).
        answers: rows of any status, open ones included.
        unpriced: how many have no cost (yet): open, interrupted, not counted by the backend.
        tokens: sums of what is known, by class; a class that no row knows is None.
        cost_pico: the exact sum of the rows' costs.
    """

    name: str
    answers: int
    unpriced: int
    tokens: Mapping[str, int | None]
    cost_pico: int

    @property
    def cost_usd(self) -> str:
        """The cost as an exact decimal string of dollars."""
        return dollars(self.cost_pico)


def _seconds(us: int | None) -> float | None:
    return None if us is None else us / _US


def read_answers(connection: Connection, found: list[Row[Any]]) -> list[AnswerRow]:
    """The answers of some rows, with their attempts."""
    attempts = sql.get_attempts(connection, [row.request_id for row in found])
    return [_answer_row(row, attempts[row.request_id]) for row in found]


def _tokens(row: Row[Any]) -> Tokens:
    return Tokens(
        input=row.input_tokens,
        cache_read=row.cache_read_tokens,
        cache_write_5m=row.cache_write_5m_tokens,
        cache_write_1h=row.cache_write_1h_tokens,
        output=row.output_tokens,
        reused=row.reused_tokens,
        thinking=row.thinking_tokens,
    )


def _answer_row(row: Row[Any], attempts: list[Row[Any]]) -> AnswerRow:
    return AnswerRow(
        request_id=row.request_id,
        instance_id=row.instance_id,
        workspace=row.workspace,
        key_id=row.key_id,
        tier=row.tier,
        served_tier=row.served_tier,
        model_requested=row.model_requested,
        model=row.model,
        backend=row.backend,
        service=row.service,
        status=row.status,
        stop_reason=row.stop_reason,
        error_type=row.error_type,
        tokens=_tokens(row),
        price=Price(
            input=row.input_price_pico,
            output=row.output_price_pico,
            cache_read=row.cache_read_price_pico,
            cache_write_5m=row.cache_write_5m_price_pico,
            cache_write_1h=row.cache_write_1h_price_pico,
            batch_percent=100,
        ),
        price_percent=row.price_percent,
        cost_pico=row.cost_pico,
        received_at=row.received_us / _US,
        first_token_at=_seconds(row.first_token_us),
        closed_at=_seconds(row.closed_us),
        notes=json.loads(row.notes) if row.notes else {},
        attempts=tuple(_attempt_row(attempt) for attempt in attempts),
    )


def _attempt_row(row: Row[Any]) -> AttemptRow:
    return AttemptRow(
        request_id=row.request_id,
        number=row.number,
        instance_id=row.instance_id,
        backend=row.backend,
        layer=row.layer,
        status=row.status,
        error=row.error,
        cause=row.cause,
        tokens=_tokens(row),
        own_cost_pico=row.own_cost_pico,
        opened_at=row.opened_us / _US,
        first_token_at=_seconds(row.first_token_us),
        closed_at=_seconds(row.closed_us),
    )


def read_total(by: Grouping, name: str | int, sums: Sums) -> Total:
    """The sums of one group; a day is told in days since 1970."""
    if by == "day":
        name = (_EPOCH + timedelta(days=int(name))).date().isoformat()
    return Total(
        name=str(name),
        answers=sums.answers,
        unpriced=sums.unpriced,
        tokens=sums.tokens,
        cost_pico=sums.cost,
    )
