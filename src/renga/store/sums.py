"""Sums over the ledger by any of its dimensions, for reports: SQL that adds, whatever its size.

Owns that what was purged (`rollups`) is added to what is there, in one state of the database, and
that no sum leaves 64 bits: money is added in two halves. Does not know how a report is shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

from sqlalchemy import ColumnElement, Connection, Label, Select, func, select

from renga.store.rows import DAY_US, SPLIT, join_cost
from renga.store.schema import TOKENS, answers, attempts, keys, rollups

Dimension = Literal["tier", "key", "day", "workspace", "backend", "service", "model", "status"]
DIMENSIONS: Final[tuple[Dimension, ...]] = get_args(Dimension)

_COLUMNS: Final[Mapping[str, str]] = {"key": "key_id", "tier": "tier"}
"""Dimension -> column, where they differ."""

Group = tuple[Any, ...]
"""The value of each dimension; of an unknown one, "". Days are counted since 1970."""


@dataclass(slots=True)
class Sums:
    """What the answers of a group add up to. Money in pico-dollars.

    Attributes:
        answers: rows of any status, open ones included.
        attempts: those at backends, failed ones included.
        unpriced: answers that have no cost (yet): open, interrupted, not counted.
        tokens: by class; a class that no row knows is None.
        cost: by list price.
        uncached: what those with a cost had cost if nothing had been cached.
        full: what they had cost at the tier's whole price, which a batch does not pay.
        own_cost: on own hardware; None where no attempt has one.
    """

    answers: int = 0
    attempts: int = 0
    unpriced: int = 0
    tokens: dict[str, int | None] = field(default_factory=lambda: dict.fromkeys(TOKENS))
    cost: int = 0
    uncached: int = 0
    full: int = 0
    own_cost: int | None = None

    @property
    def saved_by_cache(self) -> int:
        """What reading from the cache saved, less what writing to it cost."""
        return self.uncached - self.cost

    @property
    def saved_by_batch(self) -> int:
        """What was not paid since it was a batch."""
        return self.full - self.cost

    def add_tokens(self, row: Any) -> None:
        """Add what a row knows."""
        for name in TOKENS:
            self.tokens[name] = _plus(self.tokens[name], row[f"{name}_tokens"])

    def add(self, other: Sums) -> None:
        """Add another group's."""
        self.answers += other.answers
        self.attempts += other.attempts
        self.unpriced += other.unpriced
        self.cost += other.cost
        self.uncached += other.uncached
        self.full += other.full
        self.own_cost = _plus(self.own_cost, other.own_cost)
        for name in TOKENS:
            self.tokens[name] = _plus(self.tokens[name], other.tokens[name])

    def add_own_cost(self, row: Any) -> None:
        """Add what a row knows of it, in its two halves."""
        if row["own_high"] is not None:
            self.own_cost = _plus(self.own_cost, join_cost(row["own_high"], row["own_low"]))


def _plus(one: int | None, other: Any) -> int | None:
    return one if other is None else (one or 0) + int(other)


@dataclass(frozen=True, slots=True)
class Period:
    """Which answers: received at `since_us` or later, before `until_us` (us since 1970).

    Of what was purged whole days are known: one counts where all of it is in the period.
    """

    since_us: int | None = None
    until_us: int | None = None
    workspace: str | None = None

    def of_rows(self) -> list[ColumnElement[bool]]:
        """As conditions on answers."""
        c = answers.c
        found: list[ColumnElement[bool]] = []
        if self.since_us is not None:
            found.append(c.received_us >= self.since_us)
        if self.until_us is not None:
            found.append(c.received_us < self.until_us)
        if self.workspace is not None:
            found.append(c.workspace == self.workspace)
        return found

    def of_rollups(self) -> list[ColumnElement[bool]]:
        """The same of what was purged."""
        c = rollups.c
        found: list[ColumnElement[bool]] = []
        if self.since_us is not None:
            found.append(c.day >= -(-self.since_us // DAY_US))
        if self.until_us is not None:
            found.append(c.day < self.until_us // DAY_US)
        if self.workspace is not None:
            found.append(c.workspace == self.workspace)
        return found


def add_up(
    connection: Connection, by: Sequence[Dimension], period: Period, *, purged: bool = True
) -> dict[Group, Sums]:
    """The sums of each group that there is, in no order; with those `purged`, or without."""
    found: dict[Group, Sums] = {}
    _add_answers(connection, by, period, found)
    _add_attempts(connection, by, period, found)
    if purged:
        _add_rollups(connection, by, period, found)
    return found


def names_of_keys(connection: Connection) -> dict[str, str]:
    """What each key was called."""
    return {row.key_id: row.name for row in connection.execute(select(keys.c.key_id, keys.c.name))}


def _dimensions(by: Sequence[Dimension]) -> list[Label[Any]]:
    columns: list[Label[Any]] = []
    for place, name in enumerate(by):
        if name == "day":
            column: ColumnElement[Any] = answers.c.received_us // DAY_US
        else:
            column = func.coalesce(answers.c[_COLUMNS.get(name, name)], "")
        columns.append(column.label(f"by_{place}"))
    return columns


def _group(by: Sequence[Dimension], row: Any) -> Group:
    values = (row[f"by_{place}"] for place in range(len(by)))
    return tuple(int(v) if name == "day" else v for name, v in zip(by, values, strict=True))


def _halves(value: ColumnElement[Any], name: str) -> list[ColumnElement[Any]]:
    return [
        func.sum(value // SPLIT).label(f"{name}_high"),
        func.sum(value % SPLIT).label(f"{name}_low"),
    ]


def _add_answers(
    connection: Connection, by: Sequence[Dimension], period: Period, found: dict[Group, Sums]
) -> None:
    c = answers.c
    prompt = (
        c.input_tokens + c.cache_read_tokens + c.cache_write_5m_tokens + c.cache_write_1h_tokens
    )
    # NULL where a class is unknown, as the cost is.
    uncached = prompt * c.input_price_pico + c.output_tokens * c.output_price_pico
    # What was counted and given away, since nobody got it, saved nothing.
    priced = c.cost_pico > 0
    groups = _dimensions(by)
    query: Select[Any] = select(
        *groups,
        c.service.label("paid_as"),
        c.price_percent.label("percent"),
        func.count().label("answers"),
        func.count(c.cost_pico).label("priced"),
        *(func.sum(c[f"{name}_tokens"]).label(f"{name}_tokens") for name in TOKENS),
        *_halves(c.cost_pico, "cost"),
        *(
            half.label(f"uncached_{part}")
            for part, half in (
                ("high", func.sum(uncached // SPLIT).filter(priced)),
                ("low", func.sum(uncached % SPLIT).filter(priced)),
            )
        ),
    ).where(*period.of_rows())
    # By their names: a parameter in one place is not the same as in another to PostgreSQL.
    query = query.group_by(*(group.name for group in groups), c.service, c.price_percent)
    for row in connection.execute(query).mappings():
        sums = found.setdefault(_group(by, row), Sums())
        cost = join_cost(row["cost_high"], row["cost_low"])
        sums.answers += row["answers"]
        sums.unpriced += row["answers"] - row["priced"]
        sums.cost += cost
        sums.uncached += join_cost(row["uncached_high"], row["uncached_low"])
        sums.full += full_cost(cost, row["paid_as"], row["percent"])
        sums.add_tokens(row)


def full_cost(cost: int, service: str, percent: int | None) -> int:
    """What had been paid without a batch's reduction; of what cost nothing, that is not known.

    A row from before the share was noted paid what every batch paid then: half.
    """
    if percent is None:
        percent = 50 if service == "batch" else 100
    return cost * 100 // percent if percent else cost


def _add_attempts(
    connection: Connection, by: Sequence[Dimension], period: Period, found: dict[Group, Sums]
) -> None:
    groups = _dimensions(by)
    query: Select[Any] = (
        select(
            *groups,
            func.count().label("attempts"),
            *_halves(attempts.c.own_cost_pico, "own"),
        )
        .select_from(attempts.join(answers, attempts.c.request_id == answers.c.request_id))
        .where(*period.of_rows())
        .group_by(*(group.name for group in groups))
    )
    for row in connection.execute(query).mappings():
        sums = found.setdefault(_group(by, row), Sums())
        sums.attempts += row["attempts"]
        sums.add_own_cost(row)


def _add_rollups(
    connection: Connection, by: Sequence[Dimension], period: Period, found: dict[Group, Sums]
) -> None:
    c = rollups.c
    columns = [c[_COLUMNS.get(name, name)] for name in by]
    groups = [column.label(f"by_{place}") for place, column in enumerate(columns)]
    added = ("answers", "attempts", "unpriced", *(f"{name}_tokens" for name in TOKENS))
    money = [f"{name}_{part}" for name in ("cost", "uncached", "full") for part in ("high", "low")]
    query: Select[Any] = (
        select(
            *groups,
            func.count().label("rollups"),
            *(func.sum(c[name]).label(name) for name in (*added, *money)),
            func.sum(c.own_cost_high).label("own_high"),
            func.sum(c.own_cost_low).label("own_low"),
        )
        .where(*period.of_rollups())
        .group_by(*columns)
    )
    for row in connection.execute(query).mappings():
        if not row["rollups"]:
            continue  # a sum over nothing, where nothing is grouped by
        sums = found.setdefault(_group(by, row), Sums())
        sums.answers += int(row["answers"])
        sums.attempts += int(row["attempts"])
        sums.unpriced += int(row["unpriced"])
        sums.cost += join_cost(row["cost_high"], row["cost_low"])
        sums.uncached += join_cost(row["uncached_high"], row["uncached_low"])
        sums.full += join_cost(row["full_high"], row["full_low"])
        sums.add_tokens(row)
        sums.add_own_cost(row)
