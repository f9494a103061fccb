"""The `renga` command: one file per subcommand, listed here in the order of `--help`.

Owns how a refusal looks on a terminal: one line and a hint on stderr, exit code 2, never a trace.
Command modules load the server, the engine and the database inside their functions, so that
`renga --help` is instant. They hold no logic of their own: they call the parts that the server is
made of, or a running server.
"""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from renga.cli import (
    ask,
    batch,
    bench,
    cache,
    chat,
    cost,
    doctor,
    keys,
    ledger,
    models,
    serve,
    version,
    workspaces,
)
from renga.cli import map as map_
from renga.cli.screen import abandon_stdout, complain
from renga.errors import RengaError, SetupError

REFUSED = 2
INTERRUPTED = 130
READER_LEFT = 141  # as a shell reports a program that SIGPIPE ended


class Commands(TyperGroup):
    """The commands, with one place for what stops them."""

    def list_commands(self, ctx: Any) -> list[str]:
        """In the order in which they were added."""
        return list(self.commands)

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except (SetupError, RengaError) as error:
            complain(error.message, getattr(error, "hint", ""))
            raise typer.Exit(REFUSED) from error
        except KeyboardInterrupt as error:
            raise typer.Exit(INTERRUPTED) from error
        except BrokenPipeError as error:
            abandon_stdout()
            raise typer.Exit(READER_LEFT) from error


def build() -> typer.Typer:
    """The command line."""
    commands = typer.Typer(
        name="renga",
        cls=Commands,
        help="A self-hosted Claude API over models that run here.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    for module in (serve, ask, chat, doctor):
        commands.command(name=module.__name__.rpartition(".")[2])(module.run)
    commands.command(name="map")(map_.run)
    commands.add_typer(models.build(), name="models")
    commands.add_typer(batch.build(), name="batch")
    commands.add_typer(keys.build(), name="keys")
    commands.add_typer(workspaces.build(), name="workspaces")
    commands.add_typer(ledger.build(), name="ledger")
    commands.add_typer(cost.build(), name="cost")
    commands.add_typer(cache.build(), name="cache")
    commands.add_typer(bench.build(), name="bench")
    commands.command(name="version")(version.run)
    return commands


def main() -> None:
    """The entry point of the package."""
    build()()
