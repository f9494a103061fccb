"""A report of costs: the ledger's sums by some of its dimensions, as rows that can be shown.

Owns the columns and their order, and how a value is written: a key by its name, a day as a date,
money as an exact decimal number of dollars, what is not known as nothing. Knows no terminal.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, get_args

from renga.errors import SetupError
from renga.prices import dollars
from renga.store import Store
from renga.store.sums import Dimension, Period, Sums, add_up, names_of_keys

DIMENSIONS: Final[tuple[str, ...]] = get_args(Dimension)

TOKENS: Final = (
    "input", "cache_read", "cache_write_5m", "cache_write_1h", "output", "reused", "thinking",
)  # fmt: skip
COUNTS: Final = ("answers", "attempts", "unpriced", *(f"{name}_tokens" for name in TOKENS))
MONEY: Final = ("cost_usd", "own_cost_usd", "saved_by_cache_usd", "saved_by_batch_usd")

_DAY_US: Final = 86_400_000_000
_EPOCH: Final = date(1970, 1, 1)


@dataclass(frozen=True)
class Report:
    """Rows of sums, one for each group, in the order of their dimensions; and all together.

    A value is a text (of a dimension), a number, or None where nobody knows; money is a text of
    dollars, exact.
    """

    by: tuple[Dimension, ...]
    rows: tuple[Mapping[str, Any], ...]
    total: Mapping[str, Any]

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns, in order."""
        return (*self.by, *COUNTS, *MONEY)

    def csv(self) -> str:
        """As comma-separated values with a head; unknown values are empty."""
        out = io.StringIO()
        writer = csv.DictWriter(out, self.columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(_unformulated(self.by, row) for row in self.rows)
        return out.getvalue()

    def json(self) -> str:
        """As one JSON object: the dimensions, the rows, and the total."""
        found = {"by": self.by, "rows": self.rows, "total": self.total}
        return json.dumps(found, indent=2, ensure_ascii=False)


def _unformulated(by: Sequence[str], row: Mapping[str, Any]) -> dict[str, Any]:
    """A name that a spreadsheet would take for a formula begins with an apostrophe."""
    names = {name: f"'{row[name]}" for name in by if row[name][:1] in tuple("=+-@\t\r")}
    return {**row, **names}


async def report(store: Store, by: Sequence[Dimension], period: Period) -> Report:
    """The sums of `period` by some dimensions, from one state of the database.

    Raises:
        StoreError: it cannot be read.
    """
    groups, names = await store.read(
        lambda connection: (
            add_up(connection, by, period),
            names_of_keys(connection) if "key" in by else {},
        )
    )
    rows = [
        dict(_named(by, group, names)) | described(sums)
        for group, sums in sorted(groups.items(), key=lambda item: item[0])
    ]
    return Report(tuple(by), tuple(rows), described(together(groups.values())))


def _named(
    by: Sequence[Dimension], group: tuple[Any, ...], names: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    for dimension, value in zip(by, group, strict=True):
        if dimension == "day":
            yield dimension, (_EPOCH + timedelta(days=value)).isoformat()
        elif dimension == "key":
            name = names.get(value)
            yield dimension, f"{name} ({value})" if name else value
        else:
            yield dimension, value


def described(sums: Sums) -> dict[str, Any]:
    """The columns behind the dimensions."""
    return {
        "answers": sums.answers,
        "attempts": sums.attempts,
        "unpriced": sums.unpriced,
        **{f"{name}_tokens": sums.tokens[name] for name in TOKENS},
        "cost_usd": dollars(sums.cost),
        "own_cost_usd": None if sums.own_cost is None else dollars(sums.own_cost),
        "saved_by_cache_usd": dollars(sums.saved_by_cache),
        "saved_by_batch_usd": dollars(sums.saved_by_batch),
    }


def together(groups: Iterable[Sums]) -> Sums:
    """All groups added up."""
    whole = Sums()
    for sums in groups:
        whole.add(sums)
    return whole


def dimensions(text: str) -> tuple[Dimension, ...]:
    """`tier,key,day` as dimensions. Raises SetupError that names what there is."""
    found: list[Dimension] = []
    for name in (part.strip() for part in text.split(",")):
        wanted = next((d for d in get_args(Dimension) if d == name), None)
        if wanted is None or wanted in found:
            twice = " twice" if wanted in found else ""
            raise SetupError(
                f"--by: {name!r}{twice}; accepted: some of {', '.join(DIMENSIONS)}, each once",
                "such as --by tier,key,day",
            )
        found.append(wanted)
    return tuple(found)


def day_of(option: str, text: str | None) -> int | None:
    """A date such as 2026-01-31 as days since 1970. Raises SetupError."""
    if text is None:
        return None
    try:
        found = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).date()
    except ValueError as error:
        raise SetupError(f"{option}: {text!r}; accepted: a day, such as 2026-01-31") from error
    return (found - _EPOCH).days


def period(since: str | None, until: str | None, workspace: str | None) -> Period:
    """The days from `since` to `until`, both included. Raises SetupError."""
    first, last = day_of("--since", since), day_of("--until", until)
    if first is not None and last is not None and first > last:
        raise SetupError(f"--since {since} is behind --until {until}; both days are counted")
    return Period(
        None if first is None else first * _DAY_US,
        None if last is None else (last + 1) * _DAY_US,
        workspace,
    )
