"""How far a long command is, for a person: a bar at a terminal, a line at each tenth elsewhere.

Knows bytes and nothing of what they are.
"""

from __future__ import annotations

import sys
from types import TracebackType

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from renga.models.selection import file_size

TENTHS = 10


class Bar:
    """Use as a context manager; `begin`, `advance` and `remark` are `pulling.Progress`."""

    def __init__(self) -> None:
        columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        shown = sys.stderr.isatty()
        self._rich = Progress(*columns, console=Console(stderr=True)) if shown else None
        self._task: TaskID | None = None
        self._total = self._done = self._said = 0

    def __enter__(self) -> Bar:
        if self._rich is not None:
            self._rich.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._rich is not None:
            self._rich.stop()

    def begin(self, total: int, there: int) -> None:
        """So many bytes are to be there, so many are."""
        self._total, self._done = total, there
        self._said = self._tenths()
        if self._rich is not None:
            self._task = self._rich.add_task("", total=total)
            # What was there is no part of the rate, so it is told before the clock's first look.
            self._rich.update(self._task, completed=there)

    def advance(self, size: int) -> None:
        """More came; less, where something is thrown away."""
        self._done += size
        if self._rich is not None and self._task is not None:
            self._rich.update(self._task, completed=self._done)
        elif self._tenths() > self._said:
            self._said = self._tenths()
            self.remark(f"{self._said * TENTHS}% of {file_size(self._total)}")

    def remark(self, words: str) -> None:
        """Something that a person may want to know."""
        if self._rich is not None:
            self._rich.console.print(words, markup=False, highlight=False)
        else:
            typer.echo(words, err=True)

    def _tenths(self) -> int:
        return TENTHS * self._done // self._total if self._total else TENTHS


class Counter:
    """How many of many are done, with the rate, the time that is left and some words.

    Use as a context manager, and tell it with `at`.
    """

    def __init__(self, total: int, done: int) -> None:
        columns = (
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[words]}"),
        )
        self._total, self._begun, self._said = total, done, TENTHS * done // max(1, total)
        shown = sys.stderr.isatty()
        self._rich = Progress(*columns, console=Console(stderr=True)) if shown else None
        self._task = TaskID(0)

    def __enter__(self) -> Counter:
        if self._rich is not None:
            self._rich.start()
            self._task = self._rich.add_task("", total=self._total, rate="", words="")
            # What was done before is no part of the rate.
            self._rich.update(self._task, completed=self._begun)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._rich is not None:
            self._rich.stop()

    def at(self, done: int, words: str) -> None:
        """So many are done by now."""
        tenths = TENTHS * done // max(1, self._total)
        if self._rich is not None:
            speed = self._rich.tasks[self._task].speed
            rate = f"{speed:.1f}/s" if speed else ""
            self._rich.update(self._task, completed=done, rate=rate, words=words)
        elif tenths > self._said:
            self._said = tenths
            typer.echo(f"{tenths * TENTHS}% of {self._total:,}: {words}", err=True)
