"""`renga bench gateway`: what a gateway adds to an upstream, ours beside others.

It shows what `renga.bench.gateway` measured, and says which bars hold.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from renga.cli.screen import whisper
from renga.errors import SetupError

if TYPE_CHECKING:
    from renga.bench.gateway import Report

MISSED = 1
WIDTH = 100


def run(  # noqa: PLR0913  the options of one command
    against: Annotated[
        str,
        typer.Option(
            "--against",
            metavar="URL[,URL]",
            help="Gateways that run on this machine before the stub upstream (--upstream-port).",
        ),
    ] = "",
    model: Annotated[
        str, typer.Option("--model", metavar="NAME", help="The model's name at those.")
    ] = "haiku",
    key: Annotated[str, typer.Option("--key", help="The key for those.")] = "bench",
    litellm: Annotated[
        str,
        typer.Option(
            "--litellm",
            metavar="COMMAND",
            help="The command of LiteLLM's proxy, which is started for the run.",
        ),
    ] = "",
    upstream_port: Annotated[
        int,
        typer.Option(
            "--upstream-port", min=0, max=65_535, help="Port of the stub; 0 takes a free one."
        ),
    ] = 0,
    rounds: Annotated[
        int, typer.Option("--rounds", min=1, max=100, help="Turns of each; medians count.")
    ] = 3,
    calls: Annotated[
        int, typer.Option("--calls", min=64, max=1_000_000, help="Calls in a round.")
    ] = 1_600,
    json: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write all figures.", show_default=False),
    ] = None,
) -> None:
    """Measure what a gateway adds to an upstream, with keys, limits and ledger on.

    Exit code 1 if a bar does not hold. Bars hold on idle cores; needs Linux.
    """
    import sys

    from renga.bench.gateway import Peer, Plan, as_json, measure
    from renga.bench.load import BenchError

    if not sys.platform.startswith("linux"):
        raise SetupError("`renga bench gateway` reads CPU times as Linux tells them")
    if json is not None and not json.absolute().parent.is_dir():
        raise SetupError(f"--json: {json.absolute().parent} is no folder")
    peers = tuple(Peer(url, key, model) for url in against.split(",") if url)
    if peers and not upstream_port:
        raise SetupError(
            "--against without --upstream-port: those gateways must know where the stub is",
            "choose a port, point them at http://127.0.0.1:PORT/v1, and name it",
        )
    plan = Plan(rounds, calls, peers, _command(litellm), upstream_port)
    try:
        report = measure(plan, whisper, time.time)
    except BenchError as error:
        raise SetupError(str(error)) from error
    if json is not None:
        json.write_text(as_json(report), encoding="utf-8")
    show(report)
    if not report.holds:
        raise typer.Exit(MISSED)


def _command(litellm: str) -> Path | None:
    if not litellm:
        return None
    found = shutil.which(litellm)
    if found is None:
        raise SetupError(
            f"--litellm {litellm}: there is no such command",
            "`make bench-gateway` installs LiteLLM's proxy in an environment of its own",
        )
    return Path(found).absolute()


def show(report: Report) -> None:
    """The tables on stdout."""
    console = Console(width=WIDTH, markup=False, highlight=False)
    console.print(
        f"{report.cores} cores, load {report.load:.1f} before; medians of {report.rounds} rounds; "
        f"client and stub took {report.load_share:.0%} of their core\n"
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("one core each")
    for name in report.gateways:
        table.add_column(name, justify="right")
    table.add_column("")
    for line in report.lines:
        cells = [_short(line.values[name]) for name in report.gateways]
        table.add_row(line.name, *cells, line.unit)
    console.print(table)
    verdicts = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("renga", "", "bar", ""):
        verdicts.add_column(column)
    for bar in report.bars:
        words = "held" if bar.holds else "NOT HELD"
        verdicts.add_row(bar.name, _short(bar.value), bar.accepted, words)
    console.print()
    console.print(verdicts)


def _short(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"
