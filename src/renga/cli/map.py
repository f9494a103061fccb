"""`renga map`: one question asked of every row of a table, and the answers as columns beside it.

Owns what is checked before the first row is asked, and what is shown meanwhile; rows, durability
and output are `renga.bulk`'s.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from renga.cli.options import AgainstOption, ConfigOption, ModelOption, SystemOption, TierOption
from renga.cli.screen import write
from renga.config import environment, load_config
from renga.errors import RengaError, SetupError

if TYPE_CHECKING:
    from renga.bulk.asking import Asking, Spent
    from renga.bulk.elsewhere import Elsewhere
    from renga.bulk.files import Found, Table
    from renga.bulk.jobs import Tally
    from renga.bulk.prompts import Question
    from renga.config import Config
    from renga.store import Store

SAMPLE = 10
TENTHS = 10
SHOWN_SECONDS = 0.2


def run(  # noqa: PLR0913  the options of one command
    table: Annotated[
        Path, typer.Argument(metavar="INPUT", help="A table: .csv, .tsv, .jsonl or .parquet.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUTPUT", help="The table to write.")
    ],
    prompt: Annotated[
        str,
        typer.Option(
            "--prompt",
            "-p",
            metavar="TEXT",
            help="What is asked of a row; {name} stands for a column's value, @FILE for a file.",
        ),
    ],
    schema: Annotated[
        str,
        typer.Option(
            "--schema", metavar="JSON|FILE", help="JSON Schema; its properties become columns."
        ),
    ] = "",
    column: Annotated[
        str, typer.Option("--column", metavar="NAME", help="The answers' column, without --schema.")
    ] = "output",
    tier: TierOption = "haiku",
    system: SystemOption = None,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", "-n", min=1, max=128_000, help="Longest answer.")
    ] = 512,
    temperature: Annotated[
        float | None,
        typer.Option("--temperature", min=0, max=1, help="Of the draw.", show_default=False),
    ] = None,
    concurrency: Annotated[
        int, typer.Option("--concurrency", min=1, max=4096, help="Rows asked at once.")
    ] = 64,
    encoding: Annotated[str, typer.Option("--encoding", help="Of a CSV input.")] = "utf-8",
    delimiter: Annotated[
        str, typer.Option("--delimiter", help="Of a CSV input; else a comma.", show_default=False)
    ] = "",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an OUTPUT that exists.")
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Forget what an unfinished run has done.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Ask a few rows, and say what all would cost and take."),
    ] = False,
    model: ModelOption = None,
    against: AgainstOption = None,
    config: ConfigOption = None,
) -> None:
    """Ask one question of every row of a table and write the answers beside it.

    A run that was ended, however, goes on where it stopped when the same command is given again.
    Rows that go wrong stand in OUTPUT.errors with the reason. In this process rows cost what
    batches cost, and stand in the ledger.
    """
    from renga.bulk.files import format_of, open_table
    from renga.bulk.prompts import Question, Shape, Template

    if len(delimiter) > 1:
        raise SetupError(f"--delimiter {delimiter!r}; accepted: one character")
    if against is not None and model is not None:
        raise SetupError("--model and --against exclude each other", "a server has its own models")
    format_of(output)
    output = output.absolute()
    found = open_table(table, encoding=encoding, delimiter=delimiter)
    template = Template.read(_text(prompt))
    template.check(found.columns)
    shape = Shape.of(_schema(schema)) if schema else Shape.text(column)
    shape.check(found.columns)
    question = Question(template, shape, tier, max_tokens, system, temperature)
    if not dry_run:
        _check_output(output, table, overwrite)
    work = _Work(
        source=table,
        table=found,
        output=output,
        question=question,
        most=concurrency,
        fingerprint=_fingerprint(table, question, (encoding, delimiter, against or "")),
        restart=restart,
    )
    asyncio.run(work.run(load_config(config, model=model), against, dry_run=dry_run))


def _text(prompt: str) -> str:
    if not prompt.startswith("@"):
        return prompt
    try:
        return Path(prompt[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise SetupError(f"cannot read {prompt[1:]}: {reason}") from error


def _schema(given: str) -> object:
    text = given if given.lstrip().startswith("{") else _text(f"@{given}")
    try:
        return json.loads(text)
    except ValueError as error:
        raise SetupError(f"--schema is not JSON: {error}") from error


def _check_output(output: Path, source: Path, overwrite: bool) -> None:
    if output == source.absolute():
        raise SetupError("INPUT and OUTPUT are one file", "name another with --output")
    if not output.parent.is_dir():
        raise SetupError(f"{output.parent} is no folder")
    if not output.exists() or overwrite:
        return
    if sys.stdin.isatty() and typer.confirm(f"{output} exists; replace it?", err=True):
        return
    raise SetupError(f"{output} exists", "--overwrite replaces it")


def _fingerprint(source: Path, question: Question, other: tuple[str, ...]) -> str:
    """Of the input as it is now, and of everything that decides what comes of it."""
    about = source.stat()
    shape = question.shape
    told = [
        str(source.absolute()),
        about.st_size,
        about.st_mtime_ns,
        question.prompt.texts,
        question.prompt.names,
        [shape.columns, shape.schema],
        [question.model, question.max_tokens, question.system, question.temperature],
        other,
    ]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


@dataclass
class _Work:
    """One run of the command."""

    source: Path
    table: Table
    output: Path
    question: Question
    most: int
    fingerprint: str
    restart: bool

    async def run(self, config: Config, against: str | None, *, dry_run: bool) -> None:
        opened = self._elsewhere(config, against) if against else self._here(config)
        async with opened as (function, store):
            if dry_run:
                await self._try(function, priced=against is None)
            else:
                await self._map(function, store)

    @asynccontextmanager
    async def _here(self, config: Config) -> AsyncIterator[tuple[Asking, Store]]:
        from renga.app import App
        from renga.bulk.asking import Asking

        app = await App.start(config)
        try:
            app.router.model(self.question.model)  # a name that is none is told before the rows are
            yield Asking(app.gateway, self.question, ids=app.ids), app.ledger.store
        except RengaError as error:
            raise SetupError(error.message) from error
        finally:
            await app.aclose()

    @asynccontextmanager
    async def _elsewhere(
        self, config: Config, against: str
    ) -> AsyncIterator[tuple[Elsewhere, Store]]:
        from renga.app import store_url
        from renga.bulk.elsewhere import Elsewhere
        from renga.store import Store

        key = environment().get("ANTHROPIC_API_KEY") or "renga"
        function = Elsewhere(against, key, self.question, most=self.most)
        async with await Store.open(store_url(config)) as store, function:
            yield function, store

    async def _map(self, function: Asking | Elsewhere, store: Store) -> None:
        from renga.bulk.jobs import Job
        from renga.ids import make_ids

        job = Job(
            table=self.table,
            output=self.output,
            shape=self.question.shape,
            fingerprint=self.fingerprint,
            store=store,
            job_id=make_ids()("job"),
            clock=time.time,
        )
        if self.restart:
            await job.forget()
        with _Shown(job.tally, function.spent) as shown:
            watching = asyncio.create_task(shown.watch())
            began = time.perf_counter()
            try:
                tally = await job.run(function, most=self.most)
            except asyncio.CancelledError:  # ctrl-c
                typer.echo(
                    f"ended after {job.tally.done:,} rows; the same command goes on", err=True
                )
                raise
            finally:
                watching.cancel()
                with suppress(asyncio.CancelledError):
                    await watching
        _tell(tally, function.spent, self.output, time.perf_counter() - began)

    async def _try(self, function: Asking | Elsewhere, *, priced: bool) -> None:
        from renga.bulk.jobs import Trial

        rows, sample, unreadable = _sampled(self.table)
        if not sample:
            raise SetupError(f"{self.source} has no row that can be read")
        trials = [Trial() for _ in sample]
        began = time.perf_counter()
        await asyncio.gather(
            *(function(one.row or {}, trial) for one, trial in zip(sample, trials, strict=True))
        )
        seconds = time.perf_counter() - began
        times, spent = rows / len(sample), function.spent
        failed = [trial.why for trial in trials if trial.why is not None]
        write(f"{rows:,} rows; {len(sample)} of them were asked\n")
        if unreadable:
            write(f"{unreadable:,} more rows cannot be read\n")
        tokens = (spent.input_tokens * times, spent.output_tokens * times)
        write(f"about {tokens[0]:,.0f} input and {tokens[1]:,.0f} output tokens\n")
        if priced:
            cost = float(spent.cost_usd)
            write(f"about ${cost * times:,.4f} (the sample cost ${cost:.6f})\n")
        write(f"about {_duration(seconds * times)} at the sample's {len(sample) / seconds:.1f}/s\n")
        if failed:
            write(f"{len(failed)} of {len(sample)} went wrong, one of them so: {failed[0]}\n")


def _sampled(table: Table) -> tuple[int, list[Found], int]:
    """How many rows can be read, some of them drawn evenly, and how many cannot be read."""
    sample: list[Found] = []
    rng, rows, unreadable = random.Random(0), 0, 0
    for found in table.rows():  # to its end
        if found.row is None:
            unreadable += 1
            continue
        rows += 1
        if len(sample) < SAMPLE:
            sample.append(found)
        elif (at := rng.randrange(rows)) < SAMPLE:
            sample[at] = found
    return rows, sample, unreadable


def _tell(tally: Tally, spent: Spent, output: Path, seconds: float) -> None:
    new = tally.done - tally.resumed
    words = [f"{tally.done:,} rows", f"{new:,} asked now in {_duration(seconds)}"]
    if new and seconds > 0:
        words.append(f"{new / seconds:,.1f}/s")
    words.append(f"{spent.input_tokens:,}+{spent.output_tokens:,} tokens")
    if spent.cost_known:
        words.append(f"${spent.cost_usd.normalize():f}")
    typer.echo(" · ".join(words), err=True)
    if tally.failed:
        typer.echo(f"{tally.failed:,} rows went wrong: {output.name}.errors says how", err=True)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"


class _Shown:
    """A bar at a terminal, a line at each tenth elsewhere."""

    def __init__(self, tally: Tally, spent: Spent) -> None:
        self._tally, self._spent = tally, spent
        self._said = 0
        self._began = time.perf_counter()
        columns: tuple[Any, ...] = (
            BarColumn(),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
        )
        shown = sys.stderr.isatty()
        self._rich = Progress(*columns, console=Console(stderr=True)) if shown else None
        self._task = self._rich.add_task("", total=None) if self._rich else None

    def __enter__(self) -> _Shown:
        if self._rich is not None:
            self._rich.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._rich is not None:
            self._rich.stop()

    async def watch(self) -> None:
        """Show it until cancelled."""
        while True:
            await asyncio.sleep(SHOWN_SECONDS)
            self._show()

    def _show(self) -> None:
        tally, cost = self._tally, self._spent
        if not tally.size:
            return
        rate = (tally.done - tally.resumed) / max(1e-9, time.perf_counter() - self._began)
        words = f"{tally.done:,} rows · {rate:,.0f}/s"
        if tally.failed:
            words += f" · {tally.failed:,} wrong"
        if cost.cost_known:
            words += f" · ${cost.cost_usd:.4f}"
        if self._rich is not None and self._task is not None:
            self._rich.update(
                self._task, total=tally.size, completed=tally.place, description=words
            )
        elif (tenths := TENTHS * tally.place // tally.size) > self._said:
            self._said = tenths
            typer.echo(f"{tenths * TENTHS}% · {words}", err=True)
