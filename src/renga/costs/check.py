"""Whether the ledger adds up: every total derived again from the rows, by hand as it were.

Owns what must hold of a row, of an answer and its attempts, and between the rows and the sums that
reports are made of. It reads one state of the database, row by row, and believes no sum in it.
What was purged cannot be derived again; of that it checks only that it can be.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from renga.caller import CACHED, Receipt
from renga.costs.report import TOKENS
from renga.prices import NO_TOKENS, SERVICES, Price, Tokens
from renga.store import Store
from renga.store.scanning import PRICES, orphans, scan, scan_rollups, whole_prices
from renga.store.sums import DIMENSIONS, Dimension, Group, Period, Sums, add_up, full_cost

STATUSES: Final = frozenset(("open", "ok", "error", "cancelled", "interrupted", "refused"))
SHOWN: Final = 20
"""How many differences are kept; the others are counted."""

_DAY_US: Final = 86_400_000_000


@dataclass
class Findings:
    """What a check found: how much it read, the first differences, and how many there are."""

    answers: int = 0
    attempts: int = 0
    differences: int = 0
    first: list[str] = field(default_factory=list)
    total: Sums = field(default_factory=Sums)

    def add(self, where: str, what: str) -> None:
        """A difference."""
        self.differences += 1
        if len(self.first) < SHOWN:
            self.first.append(f"{where}: {what}")


async def check(store: Store, card: Mapping[str, Price]) -> Findings:
    """Derive everything again. `card` are the prices in force, for what a batch pays of them.

    Raises:
        StoreError: the database cannot be read.
    """
    return await store.read(lambda connection: _check(connection, card))


def _check(connection: Any, card: Mapping[str, Price]) -> Findings:
    found = Findings()
    known = whole_prices(connection)
    known |= {(tier, tuple(getattr(p, name) for name in PRICES)) for tier, p in card.items()}
    shares = {50, *(price.batch_percent for price in card.values())}
    derived: dict[Group, Sums] = {}
    for answer, attempts in scan(connection):
        found.answers += 1
        found.attempts += len(attempts)
        where = f"answer {answer.request_id}"
        for what in wrong_answer(answer, known, shares):
            found.add(where, what)
        for attempt in attempts:
            for what in wrong_attempt(attempt, answer):
                found.add(f"attempt {attempt.number} of {answer.request_id}", what)
        if charged := wrong_charge(answer, attempts):
            found.add(where, charged)
        _derive(derived.setdefault(_group(answer), Sums()), answer, attempts)
    for request_id, number in orphans(connection):
        found.add(f"attempt {number} of {request_id}", "its answer is not there")
    _compare(found, derived, add_up(connection, DIMENSIONS, Period(), purged=False))
    _check_groupings(connection, found, derived)
    for rollup in scan_rollups(connection):
        for what in wrong_rollup(rollup):
            found.add(f"rollup of day {rollup['day']}, tier {rollup['tier']}", what)
    for sums in add_up(connection, (), Period()).values():
        found.total.add(sums)
    return found


def wrong_answer(
    row: Any, known: set[tuple[str, tuple[int, ...]]], shares: set[int]
) -> Iterator[str]:
    """What cannot be of an answer's row."""
    yield from _wrong_row(row)
    if row.service not in SERVICES:
        yield f"service is {row.service!r}"
    prices = [getattr(row, f"{name}_price_pico") for name in PRICES]
    if min(prices) < 0:
        yield "a price is below 0"
    expected = _cost(row)
    # What nobody got costs nothing, though it was counted.
    given_away = row.status == "interrupted" and row.cost_pico in (None, 0)
    if row.cost_pico != expected and not given_away:
        yield f"costs {row.cost_pico} pico-dollars; tokens times prices are {expected}"
    yield from _wrong_share(row, tuple(prices), known, shares)


def _cost(row: Any) -> int | None:
    total = 0
    for name in PRICES:
        count = getattr(row, f"{name}_tokens")
        if count is None or row.status == "open":
            return None
        total += count * getattr(row, f"{name}_price_pico")
    return total


def _wrong_share(
    row: Any,
    prices: tuple[int, ...],
    known: set[tuple[str, tuple[int, ...]]],
    shares: set[int],
) -> Iterator[str]:
    """A batch pays its share of the tier's price, everybody else pays all of it."""
    percent = row.price_percent
    if row.service == "standard" and percent not in (None, 100):
        yield f"pays {percent} % of the price, and is no batch"
    if row.service != "batch":
        return
    if percent is not None and percent not in shares:
        yield f"pays {percent} % of the price; a batch pays {min(shares)} %"
    share = 50 if percent is None else percent
    if share and any(price * 100 % share for price in prices):
        yield f"its prices are not {share} % of whole ones"
    if share < 100 and (row.served_tier or row.tier, prices) in known:
        yield "is a batch and pays the whole price"


def wrong_attempt(row: Any, answer: Any) -> Iterator[str]:
    """What cannot be of an attempt's row."""
    yield from _wrong_row(row)
    if row.status == "open" and answer.status != "open":
        yield "is open under an answer that is closed"
    if row.own_cost_pico is not None and row.own_cost_pico < 0:
        yield f"own cost is {row.own_cost_pico} pico-dollars"
    if row.own_cost_pico is not None and row.status == "open":
        yield "is open, and has an own cost"


def _wrong_row(row: Any) -> Iterator[str]:
    """What cannot be of either: its status, its times, its tokens."""
    if row.status not in STATUSES:
        yield f"status is {row.status!r}"
    elif (row.status == "open") != (row.closed_us is None):
        yield f"is {row.status}, and has {'a' if row.closed_us else 'no'} closing time"
    try:
        counts = _tokens(row)
    except ValueError as error:
        yield str(error)
    else:
        if row.status == "open" and counts != Tokens():
            yield "is open, and has tokens"


def _tokens(row: Any) -> Tokens:
    return Tokens(**{name: getattr(row, f"{name}_tokens") for name in TOKENS})


def wrong_charge(answer: Any, attempts: Sequence[Any]) -> str | None:
    """Whether an answer's tokens are those of its attempts, by the rule of `Receipt.charge`.

    Of what was interrupted nobody knows.
    """
    rows = [answer, *attempts]
    if any(row.status in ("open", "interrupted") for row in rows):
        return None
    receipt = Receipt()
    try:
        for row in sorted(attempts, key=lambda row: (row.closed_us or 0, row.number)):
            receipt.charge(_tokens(row), row.status)
        counted = _tokens(answer)
    except ValueError:
        return None  # said of the row itself
    if answer.service == "batch" and answer.status != "ok":
        receipt.tokens = NO_TOKENS
    if answer.status == "ok" and answer.notes and CACHED in json.loads(answer.notes):
        receipt.tokens = NO_TOKENS  # it was given before: whatever was tried was of no use
    for name in TOKENS:
        ours, theirs = getattr(counted, name), getattr(receipt.tokens, name)
        if ours != theirs:
            return f"{name}_tokens are {ours}; its attempts come to {theirs}"
    return None


def _group(row: Any) -> Group:
    return (
        row.tier,
        row.key_id or "",
        row.received_us // _DAY_US,
        row.workspace,
        row.backend or "",
        row.service,
        row.model,
        row.status,
    )


def _derive(sums: Sums, answer: Any, attempts: Sequence[Any]) -> None:
    """Add one answer, by hand."""
    sums.answers += 1
    sums.attempts += len(attempts)
    sums.add_tokens(answer._mapping)
    if answer.cost_pico is None:
        sums.unpriced += 1
    elif answer.cost_pico:
        counts = [getattr(answer, f"{name}_tokens") or 0 for name in PRICES]
        uncached = sum(counts[:-1]) * answer.input_price_pico
        sums.cost += answer.cost_pico
        sums.uncached += uncached + counts[-1] * answer.output_price_pico
        sums.full += full_cost(answer.cost_pico, answer.service, answer.price_percent)
    for attempt in attempts:
        if attempt.own_cost_pico is not None:
            sums.own_cost = (sums.own_cost or 0) + attempt.own_cost_pico


def _compare(found: Findings, derived: dict[Group, Sums], added: dict[Group, Sums]) -> None:
    for group in derived.keys() | added.keys():
        ours, theirs = derived.get(group, Sums()), added.get(group, Sums())
        if ours != theirs:
            named = ", ".join(f"{d} {v}" for d, v in zip(DIMENSIONS, group, strict=True))
            found.add(f"total of {named}", f"the rows add up to {ours}, the report to {theirs}")


def _check_groupings(connection: Any, found: Findings, derived: dict[Group, Sums]) -> None:
    """A report by one dimension comes to the same as all rows together."""
    whole = Sums()
    for sums in derived.values():
        whole.add(sums)
    for dimension in DIMENSIONS:
        by: tuple[Dimension, ...] = (dimension,)
        together = Sums()
        for sums in add_up(connection, by, Period(), purged=False).values():
            together.add(sums)
        if together != whole:
            found.add(f"total by {dimension}", f"{together}; the rows add up to {whole}")


def wrong_rollup(row: Mapping[str, Any]) -> Iterator[str]:
    """What cannot be of sums of purged rows."""
    if any(value is not None and value < 0 for name, value in row.items() if _is_number(name)):
        yield "a sum is below 0"
    if row["unpriced"] > row["answers"]:
        yield f"{row['unpriced']} of {row['answers']} answers have no cost"
    if row["status"] == "open":
        yield "open answers are never purged"
    for part, whole in (("reused", "input"), ("thinking", "output")):
        parts, wholes = row[f"{part}_tokens"] or 0, row[f"{whole}_tokens"] or 0
        if parts > wholes:
            yield f"{parts} {part} tokens are more than {wholes} of {whole}"


def _is_number(name: str) -> bool:
    return name.endswith(("_tokens", "_high", "_low")) or name in (
        "answers",
        "attempts",
        "unpriced",
    )
