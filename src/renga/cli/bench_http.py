"""`renga bench http`: what the API costs without a model.

It shows what `renga.bench.http` measured, and says which bars hold.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from renga.cli.screen import whisper
from renga.errors import SetupError

if TYPE_CHECKING:
    from renga.bench.http import Figure, Report

MISSED = 1
WIDTH = 100


def run(
    rounds: Annotated[
        int, typer.Option("--rounds", min=1, max=100, help="Turns of each server; medians count.")
    ] = 5,
    calls: Annotated[
        int, typer.Option("--calls", min=16, max=1_000_000, help="Calls in a round.")
    ] = 4_000,
    json: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write all figures.", show_default=False),
    ] = None,
) -> None:
    """Measure the API with a scripted backend on one core, beside a server that does nothing.

    Exit code 1 if a bar does not hold. Bars hold on idle cores; needs Linux.
    """
    import sys

    from renga.bench.http import measure
    from renga.bench.load import BenchError

    if not sys.platform.startswith("linux"):
        raise SetupError("`renga bench http` reads CPU times as Linux tells them")
    if json is not None and not json.absolute().parent.is_dir():
        raise SetupError(f"--json: {json.absolute().parent} is no folder")
    try:
        report = measure(rounds, calls, whisper)
    except BenchError as error:
        raise SetupError(str(error)) from error
    _write(report, json)
    show(report)
    if not report.holds:
        raise typer.Exit(MISSED)


def _write(report: Report, json: Path | None) -> None:
    import msgspec

    if json is not None:
        json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")


def show(report: Report) -> None:
    """The table on stdout."""
    console = Console(width=WIDTH, markup=False, highlight=False)
    console.print(
        f"{report.cores} cores, load {report.load:.1f} before; medians of {report.rounds} rounds\n"
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(("one core", "stub", "renga", "", "bar", "")):
        table.add_column(column, justify="right" if number in (1, 2) else "left")
    for figure in report.figures:
        table.add_row(*_cells(figure))
    console.print(table)


def _cells(figure: Figure) -> list[str]:
    verdict = ("held" if figure.holds else "NOT HELD") if figure.bar else ""
    stub = "" if figure.stub is None else _short(figure.stub)
    return [figure.name, stub, _short(figure.renga), figure.unit, figure.bar, verdict]


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"
