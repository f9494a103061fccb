"""`renga cost`: what requests will cost, what they cost, and whether the ledger adds up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from renga.cli.options import ConfigOption, TierOption
from renga.cli.screen import show_table
from renga.errors import SetupError
from renga.prices import PICO, dollars

if TYPE_CHECKING:
    from renga.costs.check import Findings
    from renga.costs.estimate import Kept, Line, Work
    from renga.costs.report import Report
    from renga.prices import Price
    from renga.store import Store

DIFFERS = 1  # exit code of a check that found something

_CENT = Decimal("0.01")

InputOption = Annotated[
    str,
    typer.Option(
        "--input",
        metavar="N",
        help="Tokens of each prompt, without what is shared.",
        show_default=False,
    ),
]
OutputOption = Annotated[
    str, typer.Option("--output", metavar="N", help="Tokens of each answer, without thinking.")
]
ThinkingOption = Annotated[
    str, typer.Option("--thinking", metavar="N", help="Tokens of thinking: charged as output.")
]
PrefixOption = Annotated[
    str,
    typer.Option(
        "--shared-prefix",
        metavar="N",
        help="Tokens that all prompts begin with: written to the cache once, then read.",
    ),
]
CacheOption = Annotated[
    bool, typer.Option("--cache/--no-cache", help="Whether the shared prefix is cached.")
]
HourOption = Annotated[
    bool, typer.Option("--1h", help="Keep it for an hour after each use, not for 5 minutes.")
]
BatchOption = Annotated[bool, typer.Option("--batch", help="As a batch, at its price.")]
JsonOption = Annotated[bool, typer.Option("--json", help="As JSON, with costs as numbers.")]


def build() -> typer.Typer:
    """The group of commands."""
    group = typer.Typer(
        help="What answers cost: before, after, and whether it adds up.", no_args_is_help=True
    )
    group.command("estimate")(estimate)
    group.command("compare")(compare)
    group.command("report")(report)
    group.command("check")(check)
    return group


def estimate(  # noqa: PLR0913  the options of one command
    input_: InputOption,
    output: OutputOption,
    tier: TierOption = "haiku",
    thinking: ThinkingOption = "0",
    shared_prefix: PrefixOption = "0",
    requests: Annotated[
        str, typer.Option("--requests", metavar="N", help="How many such requests.")
    ] = "1",
    cache: CacheOption = True,
    hour: HourOption = False,
    batch: BatchOption = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Say what requests will cost on one tier, by the prices in force."""
    from renga.costs.estimate import MOST_REQUESTS, counted
    from renga.costs.estimate import estimate as lines_of

    count = counted("--requests", requests, least=1, most=MOST_REQUESTS)
    tokens = _Tokens(input_, output, thinking, shared_prefix)
    work = _work(tokens, count, kept=_kept(cache, hour), batch=batch)
    name, price = _price_of(tier, config)
    lines = lines_of(work, price)
    total = sum(line.cost_pico for line in lines)
    if as_json:
        typer.echo(json.dumps(_described(name, work, lines, total), indent=2))
        return
    show_table(
        ["class", ">tokens", ">$ per million", ">$"],
        [
            [line.name, f"{line.tokens:,}", _per_million(line.price_pico), dollars(line.cost_pico)]
            for line in lines
        ],
    )
    typer.echo(f"\n{name}: {_sum(total)}{_told(work)}")


def compare(  # noqa: PLR0913  the options of one command
    input_: InputOption,
    output: OutputOption,
    thinking: ThinkingOption = "0",
    shared_prefix: PrefixOption = "0",
    requests_per_month: Annotated[
        str,
        typer.Option("--requests-per-month", metavar="N", help="The volume of a month."),
    ] = "100000",
    cache: CacheOption = True,
    hour: HourOption = False,
    batch: BatchOption = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Put the tiers side by side: a call, a month, and what one saves beside a dearer one."""
    from renga.costs.estimate import MOST_REQUESTS, counted
    from renga.costs.estimate import cost as cost_of

    count = counted("--requests-per-month", requests_per_month, least=1, most=MOST_REQUESTS)
    tokens = _Tokens(input_, output, thinking, shared_prefix)
    work = _work(tokens, count, kept=_kept(cache, hour), batch=batch)
    months = {name: cost_of(work, price) for name, price in _prices(config).items()}
    rows = [_compared(name, month, months, count) for name, month in months.items()]
    if as_json:
        told = {"requests_per_month": count, **_tokens_of(work), "tiers": rows}
        typer.echo(json.dumps(told, indent=2))
        return
    names = list(months)
    show_table(
        ["tier", ">$ per call", ">$ per month", *(f">saved beside {n}" for n in names[1:])],
        [
            [
                name,
                _each(month, count),
                _cents(month),
                *(_cents(months[n] - month) if months[n] > month else "" for n in names[1:]),
            ]
            for name, month in months.items()
        ],
    )
    typer.echo(f"\n{count:,} requests a month{_told(work)}")


def report(  # noqa: PLR0913  the options of one command
    by: Annotated[
        str,
        typer.Option(
            "--by",
            metavar="NAMES",
            help="Some of tier,key,day,workspace,backend,service,model,status.",
        ),
    ] = "tier",
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="DAY", help="The first day, by UTC.", show_default=False),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option("--until", metavar="DAY", help="The last day.", show_default=False),
    ] = None,
    workspace: Annotated[
        str | None,
        typer.Option("--workspace", metavar="NAME", help="Of this one only.", show_default=False),
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="As comma-separated values.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON; money is exact text.")] = False,
    parquet: Annotated[
        Path | None,
        typer.Option("--parquet", metavar="FILE", help="Write Parquet too.", show_default=False),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE.png", help="Draw it too.", show_default=False),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Add up what answers cost, by any of tier, key, day, workspace, backend, service, model."""
    from renga.costs import files
    from renga.costs import report as reports

    groups, period = reports.dimensions(by), reports.period(since, until, workspace)

    async def act() -> reports.Report:
        async with _store(config) as store:
            return await reports.report(store, groups, period)

    found = asyncio.run(act())
    if parquet is not None:
        files.write_parquet(found, parquet)
    if plot is not None:
        files.write_plot(found, plot)
    if as_csv or as_json:
        typer.echo((found.csv() if as_csv else found.json()).rstrip())
        return
    _show(found)


# Column of the table -> of the report. The table leaves out what the others hold.
SHOWN = {
    ">answers": "answers",
    ">attempts": "attempts",
    ">input": "input_tokens",
    ">cache read": "cache_read_tokens",
    ">written 5m": "cache_write_5m_tokens",
    ">written 1h": "cache_write_1h_tokens",
    ">output": "output_tokens",
    ">of it thinking": "thinking_tokens",
    ">cost in $": "cost_usd",
    ">own in $": "own_cost_usd",
    ">cache saved $": "saved_by_cache_usd",
    ">batch saved $": "saved_by_batch_usd",
    ">without cost": "unpriced",
}


def _show(found: Report) -> None:
    rows = [
        [*(row[name] or "none" for name in found.by), *(_cell(row[c]) for c in SHOWN.values())]
        for row in found.rows
    ]
    if len(rows) > 1:
        names = ["all", *[""] * (len(found.by) - 1)]
        rows.append([*names, *(_cell(found.total[c]) for c in SHOWN.values())])
    show_table([*found.by, *SHOWN], rows)


def _cell(value: int | str | None) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else value


def check(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    config: ConfigOption = None,
) -> None:
    """Derive every total again from the ledger's rows; exit 1 where one differs."""
    from renga.config import load_config
    from renga.costs.check import check as checked
    from renga.costs.report import described
    from renga.prices import load_prices

    card = load_prices(load_config(config).prices)

    async def act() -> Findings:
        async with _store(config) as store:
            return await checked(store, card)

    found = asyncio.run(act())
    if as_json:
        told = {
            "answers": found.answers,
            "attempts": found.attempts,
            "differences": found.differences,
            "first": found.first,
            "total": described(found.total),
        }
        typer.echo(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        _tell_findings(found)
    if found.differences:
        raise typer.Exit(DIFFERS)


def _tell_findings(found: Findings) -> None:
    read = f"{_many(found.answers, 'answer')} and {_many(found.attempts, 'attempt')}"
    purged = found.total.answers - found.answers
    more = f", and sums of {purged:,} that were purged" if purged else ""
    if not found.differences:
        typer.echo(f"{read}{more}: all adds up, to ${dollars(found.total.cost)}")
        return
    for line in found.first:
        typer.echo(line)
    left = found.differences - len(found.first)
    unshown = f", {left:,} not shown" if left else ""
    typer.echo(f"{read}{more}: {_many(found.differences, 'difference')}{unshown}")


def _many(count: int, name: str) -> str:
    return f"{count:,} {name}" + "s" * (count != 1)


@asynccontextmanager
async def _store(config: Path | None) -> AsyncIterator[Store]:
    """The configured database; nothing is written to it here."""
    from renga.app import store_url
    from renga.config import load_config
    from renga.store import Store

    async with await Store.open(store_url(load_config(config))) as store:
        yield store


class _Tokens(NamedTuple):
    """What was typed."""

    input: str
    output: str
    thinking: str
    shared_prefix: str


def _work(tokens: _Tokens, requests: int, *, kept: Kept, batch: bool) -> Work:
    from renga.costs.estimate import Work, counted

    return Work(
        input=counted("--input", tokens.input),
        output=counted("--output", tokens.output),
        thinking=counted("--thinking", tokens.thinking),
        shared_prefix=counted("--shared-prefix", tokens.shared_prefix),
        requests=requests,
        kept=kept,
        service="batch" if batch else "standard",
    )


def _kept(cache: bool, hour: bool) -> Kept:
    if hour and not cache:
        raise SetupError("--1h: nothing is kept with --no-cache", "give one of the two")
    return "no" if not cache else "1h" if hour else "5m"


def _prices(config: Path | None) -> Mapping[str, Price]:
    from renga.config import load_config
    from renga.prices import load_prices

    return load_prices(load_config(config).prices)


def _price_of(tier: str, config: Path | None) -> tuple[str, Price]:
    """The tier that a name means, and its price."""
    from renga.config import load_config
    from renga.prices import load_prices
    from renga.routing import tier_of

    found = load_config(config)
    name = tier_of(tier, found.aliases)
    return name, load_prices(found.prices)[name]


def _described(tier: str, work: Work, lines: list[Line], total: int) -> dict[str, Any]:
    return {
        "tier": tier,
        "usd": _number(total),
        "usd_per_request": _number(Decimal(total) / work.requests),
        **_tokens_of(work),
        "requests": work.requests,
        "service": work.service,
        "lines": [
            {
                "class": line.name,
                "tokens": line.tokens,
                "usd_per_million": _number(line.price_pico * 10**6),
                "usd": _number(line.cost_pico),
            }
            for line in lines
        ],
    }


def _tokens_of(work: Work) -> dict[str, Any]:
    return {
        "input": work.input,
        "output": work.output,
        "thinking": work.thinking,
        "shared_prefix": work.shared_prefix,
        "cached_for": None if work.kept == "no" or not work.shared_prefix else work.kept,
    }


def _compared(name: str, month: int, months: Mapping[str, int], count: int) -> dict[str, Any]:
    dearer = {other: cost - month for other, cost in months.items() if cost > month}
    return {
        "tier": name,
        "usd_per_call": _number(Decimal(month) / count),
        "usd_per_month": _number(month),
        "saved_usd_per_month": {other: _number(saved) for other, saved in dearer.items()},
    }


def _told(work: Work) -> str:
    """What of the work a reader would ask for: the shared prefix, and the service."""
    words = ""
    if work.shared_prefix and work.kept == "no":
        words += f"; {work.shared_prefix:,} shared tokens are read by each, without a cache"
    elif work.shared_prefix:
        lasts = {"5m": "5 minutes", "1h": "an hour"}[work.kept]
        words += (
            f"; {work.shared_prefix:,} shared tokens are written once and read by the others, as "
            f"long as no two are {lasts} apart"
        )
    return words + ("; at a batch's price" if work.service == "batch" else "")


def _number(pico: int | Decimal) -> float:
    return float(Decimal(pico) / PICO)


def _sum(pico: int) -> str:
    """To the cent, with what it is exactly where that is something else."""
    exact, cents = dollars(pico), _cents(pico)
    if Decimal(exact) == Decimal(cents.replace(",", "")):
        return f"${cents}"
    return f"${exact}" if pico < PICO else f"${cents} (${exact} exactly)"


def _each(pico: int, count: int) -> str:
    """One of `count`: exact, or to a ten-thousandth of a cent."""
    each = (Decimal(pico) / count / PICO).quantize(Decimal("0.000001"), ROUND_HALF_UP)
    return f"{each.normalize():f}"


def _cents(pico: int) -> str:
    return f"{(Decimal(pico) / PICO).quantize(_CENT, ROUND_HALF_UP):,}"


def _per_million(pico: int) -> str:
    return dollars(pico * 10**6)
