"""What is written to a terminal, and to which stream: answers to stdout, the rest to stderr.

Knows no command.
"""

from __future__ import annotations

import os
import sys

import typer
from rich.console import Console
from rich.table import Table


def complain(message: str, hint: str = "") -> None:
    """One line that says what is wrong, and one that says the mend."""
    typer.echo(f"renga: {_line(message)}", err=True)
    if hint:
        typer.echo(f"  hint: {_line(hint)}", err=True)


def _line(text: str) -> str:
    return " ".join(text.split())


def write(text: str) -> None:
    """A piece of an answer, at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


def abandon_stdout() -> None:
    """Nobody reads stdout any more; what the interpreter still flushes at its end goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def whisper(text: str) -> None:
    """A remark for a person at a terminal; nobody else sees it."""
    if sys.stderr.isatty():
        typer.secho(text, dim=True, err=True)


def show_table(columns: list[str], rows: list[list[str]]) -> None:
    """A table on stdout; numbers that a column's name marks with `>` stand to the right."""
    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for column in columns:
        right = column.startswith(">")
        table.add_column(column.lstrip(">"), justify="right" if right else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    width = None if sys.stdout.isatty() else 250
    Console(width=width, markup=False, highlight=False).print(table)
