"""`renga bench`: measurements of what runs here. `engine` is the inference engine beside its peers,
`http` and `gateway` (in files of their own) the API without a model.

It checks every option before anything is loaded, and shows what `renga.bench` measured.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from renga.cli import bench_gateway, bench_http
from renga.cli.options import ConfigOption
from renga.cli.screen import whisper
from renga.config import load_config
from renga.errors import SetupError

if TYPE_CHECKING:
    from renga.bench.report import Figure, Report
    from renga.bench.run import Plan
    from renga.models.find import ModelFolder

DEFAULT_MODEL = "shipped:haiku"
MISSED = 1
WIDTH = 120


def build() -> typer.Typer:
    """The group of commands."""
    group = typer.Typer(help="Measure what runs here.", no_args_is_help=True)
    group.command(name="engine")(run)
    group.command(name="http")(bench_http.run)
    group.command(name="gateway")(bench_gateway.run)
    return group


def run(  # noqa: PLR0913  the options of one command
    against: Annotated[
        str,
        typer.Option(
            "--against",
            metavar="PEERS",
            help="openvino-genai, llamacpp, llama-server=URL; several with commas.",
        ),
    ] = "",
    model: Annotated[
        str, typer.Option("--model", metavar="NAME", help="A model's name or folder.")
    ] = DEFAULT_MODEL,
    gguf: Annotated[
        Path | None,
        typer.Option(
            "--gguf",
            metavar="FILE",
            help="The same model for llamacpp; else model.gguf in the model's folder.",
            show_default=False,
        ),
    ] = None,
    only: Annotated[
        str,
        typer.Option("--only", metavar="NAMES", help="Workloads to measure, with commas."),
    ] = "",
    rounds: Annotated[
        int, typer.Option("--rounds", min=1, max=100, help="Turns of every engine; medians count.")
    ] = 3,
    quick: Annotated[
        bool, typer.Option("--quick", help="An eighth of every load: a try, no measurement.")
    ] = False,
    json: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write all figures.", show_default=False),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE", help="Draw them.", show_default=False),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Measure the engine beside its peers, in one run, and say which bars hold.

    Exit code 1 if one does not. Bars hold on idle cores.
    """
    from renga.models.find import prepare_model

    found = prepare_model(model, load_config(config).home)
    plan = replace(_planned(against, found, gguf, only), rounds=rounds, scale=0.125 if quick else 1)
    _check_files(json, plot)
    report = _measured(plan)
    _write(report, json, plot)
    show(report)
    if not all(bar.holds for bar in report.bars):
        raise typer.Exit(MISSED)


def _planned(against: str, model: ModelFolder, gguf: Path | None, only: str) -> Plan:
    from renga.bench.peers import check_peers, parse_peers
    from renga.bench.run import Plan
    from renga.bench.subject import Subject
    from renga.bench.workloads import OWN, USUAL, WORKLOADS

    subject = Subject.of(model)
    peers = parse_peers(against)
    if gguf is not None and not gguf.is_file():
        raise SetupError(f"--gguf: {gguf} is no file")
    if gguf is None and (subject.folder / "model.gguf").is_file():
        gguf = subject.folder / "model.gguf"
    check_peers(peers, subject, gguf)
    names = [name.strip() for name in only.split(",") if name.strip()]
    known = [*WORKLOADS, *OWN]
    for name in names:
        if name not in known:
            raise SetupError(f"--only: {name!r} is no workload", f"accepted: {', '.join(known)}")
    return Plan(subject, peers, gguf, names or USUAL[subject.bars])


def _check_files(json: Path | None, plot: Path | None) -> None:
    """Nobody waits for half an hour to learn that a folder is not there."""
    for option, path in (("--json", json), ("--plot", plot)):
        if path is not None and not path.absolute().parent.is_dir():
            raise SetupError(f"{option}: {path.absolute().parent} is no folder")
    if plot is not None:
        from renga.bench.plot import check_plot

        check_plot(plot)


def _measured(plan: Plan) -> Report:
    from renga.bench.load import BenchError
    from renga.bench.run import run as run_bench

    try:
        return asyncio.run(run_bench(plan, whisper))
    except BenchError as error:
        raise SetupError(str(error)) from error


def _write(report: Report, json: Path | None, plot: Path | None) -> None:
    import msgspec

    if json is not None:
        json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    if plot is not None:
        from renga.bench.plot import write_plot

        write_plot(report, plot)


def show(report: Report) -> None:
    """The tables on stdout: figures, what the machine allows, bars."""
    console = Console(width=WIDTH, markup=False, highlight=False)
    console.print(report.model)
    console.print(report.machine.words())
    tries = "; a try with short loads" if report.scale < 1 else ""
    console.print(f"medians of {report.rounds} rounds{tries}\n")
    console.print(_figures(report), "")
    if report.ceilings:
        console.print(_ceilings(report), "")
    if report.bars:
        console.print(_bars(report), "")
    for name, about in report.workloads.items():
        console.print(f"{name}: {about}")


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=number > 0)
    return table


def _figures(report: Report) -> Table:
    table = _table("", *report.engines)
    for workload, figures in report.figures.items():
        for name, engines in figures.items():
            own = engines.get("renga")
            cells = []
            for engine in report.engines:
                found = engines.get(engine)
                cells.append("" if found is None else _beside(found, own, name))
            table.add_row(f"{workload}: {name}", *cells)
    if len(report.engines) > 1:
        table.caption = "(2.00x): renga is twice as fast as that engine"
    return table


def _beside(found: Figure, own: Figure | None, name: str) -> str:
    """An engine's figure, with how many times faster ours is."""
    if own is None or own is found or not found.median or not own.median:
        return _short(found.median)
    times = own.median / found.median if name.endswith("/s") else found.median / own.median
    return f"{_short(found.median)} ({times:.2f}x)"


def _ceilings(report: Report) -> Table:
    table = _table("of what this machine can do at best", "reached", "ceiling", "", "share")
    for found in report.ceilings:
        name = f"{found.what}: {found.engine}"
        reached, most = _short(found.reached), _short(found.ceiling)
        table.add_row(name, reached, most, found.unit, f"{found.share:.0%}")
    return table


def _bars(report: Report) -> Table:
    table = _table("bar", "measured", "asked for", "")
    for held in report.bars:
        sign = "at least" if held.least else "at most"
        verdict = "held" if held.holds else "NOT HELD"
        table.add_row(held.name, _short(held.value), f"{sign} {held.bar:g}", verdict)
    return table


def _short(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"
