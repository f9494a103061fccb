"""`renga ledger`: look at what was answered and what it cost, and remove what is old.

Only `purge` changes anything; the others write no row.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from renga.cli.options import ConfigOption
from renga.cli.screen import show_table
from renga.config import load_config
from renga.errors import NotFound, SetupError

if TYPE_CHECKING:
    from renga.ledger import AnswerRow, Ledger, Total


# Token class -> its column.
COLUMNS = {
    "input": ">input",
    "reused": ">of it reused",
    "cache_read": ">cache read",
    "cache_write_5m": ">written 5m",
    "cache_write_1h": ">written 1h",
    "output": ">output",
    "thinking": ">of it thinking",
}


class Grouping(StrEnum):
    """What totals can be made by."""

    TIER = "tier"
    WORKSPACE = "workspace"
    DAY = "day"


def build() -> typer.Typer:
    """The group of commands."""
    group = typer.Typer(help="Look at answers and what they cost.", no_args_is_help=True)
    group.command("show")(show)
    group.command("totals")(totals)
    group.command("purge")(purge)
    return group


def show(
    request_id: Annotated[str, typer.Argument(help="As the `request-id` header gave it.")],
    config: ConfigOption = None,
) -> None:
    """Print one answer's row with its attempts, as `GET /v1/renga/requests/{id}` gives it."""
    from renga.http.requests import described

    async def act() -> AnswerRow | None:
        async with _ledger(config) as ledger:
            return await ledger.get(request_id)

    row = asyncio.run(act())
    if row is None:
        raise NotFound(f"request_id: there is no answer {request_id!r} in this ledger")
    typer.echo(json.dumps(described(row), indent=2))


def totals(
    by: Annotated[Grouping, typer.Option("--by", help="What to add up by.")] = Grouping.TIER,
    config: ConfigOption = None,
) -> None:
    """Add up answers, tokens and cost."""

    async def act() -> list[Total]:
        async with _ledger(config) as ledger:
            return await ledger.totals(by.value)

    show_table(
        [by.value, ">answers", *COLUMNS.values(), ">cost in $", ">without cost"],
        [
            [
                total.name,
                f"{total.answers:,}",
                *(f"{total.tokens[name] or 0:,}" for name in COLUMNS),
                total.cost_usd,
                f"{total.unpriced:,}",
            ]
            for total in asyncio.run(act())
        ],
    )


def purge(
    before: Annotated[
        str,
        typer.Option("--before", metavar="DATE", help="A day, as 2026-01-31; it is kept itself."),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be removed, and remove nothing.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Remove answers that were received before a day (UTC), and keep what they added up to.

    Reports go on counting them; single answers are gone. Open ones stay.
    """
    from renga.prices import dollars
    from renga.retention import remove
    from renga.store import Store, purging

    before_us = _day_us(before)

    async def act() -> tuple[purging.Old, int]:
        from renga.app import store_url

        async with await Store.open(store_url(load_config(config))) as store:
            old = await purging.look(store, before_us)
            return old, 0 if dry_run else await remove(store, before_us)

    old, removed = asyncio.run(act())
    if dry_run and old.first_us is not None and old.last_us is not None:
        first, last = (f"{datetime.fromtimestamp(us / 1e6, UTC):%Y-%m-%d}" for us in
                       (old.first_us, old.last_us))  # fmt: skip
        typer.echo(
            f"{old.answers:,} answers of {first} to {last} would be removed;"
            f" they cost ${dollars(old.cost_pico)}, which reports go on counting"
        )
    else:
        typer.echo(f"{removed:,} answers were removed" if removed else "nothing is that old")


def _day_us(text: str) -> int:
    """The beginning of a day in microseconds since 1970. Raises SetupError."""
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError as error:
        raise SetupError(f"--before {text!r}; accepted: a day, such as 2026-01-31") from error
    if day.timestamp() > time.time():
        raise SetupError(f"--before {text!r}: that day has not come yet", "accepted: up to today")
    return int(day.timestamp()) * 1_000_000


@asynccontextmanager
async def _ledger(config: Path | None) -> AsyncIterator[Ledger]:
    """The ledger of the configured database, without a lease: nothing is answered here."""
    from renga.app import store_url
    from renga.ledger import Ledger
    from renga.store import Store

    async with await Store.open(store_url(load_config(config))) as store:
        yield Ledger(store, clock=time.time, instance_id="", lease_seconds=0)
