"""`renga models recommend`: open models that fit this machine, for each tier."""

from __future__ import annotations

import typer

from renga.cli.screen import show_table

COLUMNS = ["model", "parameters", ">download", ">memory", "licence", "what it is good for"]


def recommend() -> None:
    """Name open models for each tier that fit into this machine's free memory, with licences."""
    from renga.machine import available_memory
    from renga.models.recommend import WINDOW, fitting, read_table

    date, rows = read_table()
    free = available_memory()
    fit = fitting(rows, free)
    for tier in dict.fromkeys(row.tier for row in rows):
        there = [row for row in fit if row.tier == tier]
        typer.echo(f"{tier}:")
        if there:
            show_table(
                COLUMNS,
                [
                    [r.name, r.parameters, f"{r.download:.1f} GB", f"{r.memory:.1f} GB", r.license]
                    + [r.about + ("; sees" if r.sees else "")]
                    for r in there
                ],
            )
        else:
            least = min(row.memory for row in rows if row.tier == tier)
            typer.echo(f"  none fits: the smallest takes {least:.1f} GB")
        typer.echo("")
    known = "is not known" if free is None else f"is {free / 1e9:.1f} GB"
    typer.echo(
        f"{len(fit)} of {len(rows)} fit; free memory {known}. Memory is weights, {WINDOW:,} tokens "
        f"of context and the process. Table of {date}; a pull shows the exact licence and size."
    )
    typer.echo("  renga models pull NAME          (GGUF: pip install 'renga[gguf]')")
