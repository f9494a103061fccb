"""Every row of the ledger, one after the other: for checks that trust no sum.

Owns that a page is as long as memory allows, however many rows there are. Does not know what is
right of a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Row, func, select

from renga.store.rows import get_attempts
from renga.store.schema import answers, attempts, rollups

PAGE: Final = 500

PRICES: Final = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output")


def scan(connection: Connection) -> Iterator[tuple[Row[Any], Sequence[Row[Any]]]]:
    """Each answer's row with those of its attempts, in the order of its ids."""
    after = ""
    while True:
        query = (
            select(answers)
            .where(answers.c.request_id > after)
            .order_by(answers.c.request_id)
            .limit(PAGE)
        )
        page = connection.execute(query).all()
        if not page:
            return
        found = get_attempts(connection, [row.request_id for row in page])
        for row in page:
            yield row, found[row.request_id]
        after = page[-1].request_id


def orphans(connection: Connection) -> Iterator[tuple[str, int]]:
    """Attempts of answers that are not there."""
    query = (
        select(attempts.c.request_id, attempts.c.number)
        .outerjoin(answers, attempts.c.request_id == answers.c.request_id)
        .where(answers.c.request_id.is_(None))
    )
    for row in connection.execute(query):
        yield row.request_id, row.number


def whole_prices(connection: Connection) -> set[tuple[str, tuple[int, ...]]]:
    """Every price that an answer outside of batches paid: the tier that served, the classes."""
    tier = func.coalesce(answers.c.served_tier, answers.c.tier).label("paid_for")
    columns = [answers.c[f"{name}_price_pico"] for name in PRICES]
    query = select(tier, *columns).where(answers.c.service == "standard").distinct()
    return {(row[0], tuple(row[1:])) for row in connection.execute(query)}


def scan_rollups(connection: Connection) -> Iterator[dict[str, Any]]:
    """What is kept of purged rows."""
    for row in connection.execute(select(rollups)):
        yield row._asdict()
