"""Old answers, removed in small transactions; what they added up to stays.

Owns that nothing is removed whose sums are not kept in the same transaction, and that an open row
is never removed. Does not know how old is old.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, func, insert, select, update

from renga.store.rows import DAY_US, SPLIT, join_cost
from renga.store.schema import ROLLUP_KEYS, TOKENS, answers, attempts, rollups
from renga.store.store import Store
from renga.store.sums import full_cost

AT_ONCE: Final = 500
"""Answers of one transaction: some tens of milliseconds in which others wait."""

_MONEY: Final = ("cost", "uncached", "full", "own_cost")


@dataclass(frozen=True, slots=True)
class Old:
    """Answers that a purge would remove: how many, and when the first and last came (us)."""

    answers: int
    first_us: int | None
    last_us: int | None
    cost_pico: int


async def look(store: Store, before_us: int) -> Old:
    """What there is to remove of answers received before then."""
    c = answers.c
    query = select(
        func.count(),
        func.min(c.received_us),
        func.max(c.received_us),
        func.sum(c.cost_pico // SPLIT),
        func.sum(c.cost_pico % SPLIT),
    ).where(_closed(before_us))
    count, first, last, high, low = await store.read(lambda one: tuple(one.execute(query).one()))
    return Old(count, first, last, join_cost(high, low))


async def purge(store: Store, before_us: int, *, most: int = AT_ONCE) -> int:
    """Remove at most `most` closed answers received before then, the oldest; how many it were."""
    return await store.write(lambda connection: _purge(connection, before_us, most))


def _closed(before_us: int) -> ColumnElement[bool]:
    return and_(answers.c.received_us < before_us, answers.c.status != "open")


def _purge(connection: Connection, before_us: int, most: int) -> int:
    query = select(answers).where(_closed(before_us)).order_by(answers.c.received_us).limit(most)
    found = connection.execute(query).all()
    if not found:
        return 0
    ids = [row.request_id for row in found]
    tries = _tries(connection, ids)
    groups: dict[tuple[Any, ...], dict[str, int | None]] = {}
    for row in found:
        own = tries.get(row.request_id, [])
        key = (row.received_us // DAY_US, *(getattr(row, k) or "" for k in ROLLUP_KEYS[1:]))
        groups[key] = _added(groups.get(key, {}), _sums(row, own))
    for key, sums in groups.items():
        _keep(connection, dict(zip(ROLLUP_KEYS, key, strict=True)), sums)
    connection.execute(delete(attempts).where(attempts.c.request_id.in_(ids)))
    connection.execute(delete(answers).where(answers.c.request_id.in_(ids)))
    return len(ids)


def _tries(connection: Connection, ids: Sequence[str]) -> dict[str, list[int | None]]:
    """The own cost of each attempt, by answer."""
    query = select(attempts.c.request_id, attempts.c.own_cost_pico).where(
        attempts.c.request_id.in_(ids)
    )
    found: dict[str, list[int | None]] = {}
    for request_id, own_cost in connection.execute(query):
        found.setdefault(request_id, []).append(own_cost)
    return found


def _sums(row: Row[Any], own_costs: Sequence[int | None]) -> dict[str, int | None]:
    """What one answer adds, with money in whole pico-dollars."""
    known = [cost for cost in own_costs if cost is not None]
    return {
        "answers": 1,
        "attempts": len(own_costs),
        "unpriced": int(row.cost_pico is None),
        **{f"{name}_tokens": getattr(row, f"{name}_tokens") for name in TOKENS},
        "cost": row.cost_pico or 0,
        "uncached": _uncached(row) if row.cost_pico else 0,  # given away, it saved nothing
        "full": full_cost(row.cost_pico or 0, row.service, row.price_percent),
        "own_cost": sum(known) if known else None,
    }


def _uncached(row: Row[Any]) -> int:
    prompt = (
        row.input_tokens
        + row.cache_read_tokens
        + row.cache_write_5m_tokens
        + row.cache_write_1h_tokens
    )
    return int(prompt * row.input_price_pico + row.output_tokens * row.output_price_pico)


def _added(one: Mapping[str, int | None], other: Mapping[str, int | None]) -> dict[str, int | None]:
    """Sums of both; what neither knows stays unknown."""
    both = {name: [s[name] for s in (one, other) if s.get(name) is not None] for name in other}
    return {name: sum(v for v in known if v is not None) if known else None
            for name, known in both.items()}  # fmt: skip


def _keep(
    connection: Connection, key: Mapping[str, object], sums: Mapping[str, int | None]
) -> None:
    """Add to the row of a group, or begin it. Nobody else does meanwhile."""
    which = and_(*(rollups.c[name] == value for name, value in key.items()))
    before = connection.execute(select(rollups).where(which)).one_or_none()
    if before is None:
        connection.execute(insert(rollups).values(**key, **_parted(sums)))
        return
    kept = {name: getattr(before, name) for name in sums if name not in _MONEY}
    kept |= {name: _joined(before, name) for name in _MONEY}
    connection.execute(update(rollups).where(which).values(**_parted(_added(kept, sums))))


def _parted(sums: Mapping[str, int | None]) -> dict[str, int | None]:
    """Columns of the table: money in two parts."""
    columns = {name: value for name, value in sums.items() if name not in _MONEY}
    for name in _MONEY:
        pico = sums[name]
        high, low = (None, None) if pico is None else divmod(pico, SPLIT)
        columns |= {f"{name}_high": high, f"{name}_low": low}
    return columns


def _joined(row: Row[Any], name: str) -> int | None:
    high, low = getattr(row, f"{name}_high"), getattr(row, f"{name}_low")
    return None if high is None else join_cost(high, low)
