"""`renga keys`: make, list and disable API keys, and renew the one that thinking is signed with.

Works on the database, beside a running server, which sees the change; a key to sign with is read
when a server starts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from renga.cli.options import ConfigOption
from renga.cli.screen import show_table, whisper
from renga.config import load_config

if TYPE_CHECKING:
    from renga.keys import Key, Keys, NewKey


def build() -> typer.Typer:
    """The group of commands."""
    group = typer.Typer(help="Make, list and disable API keys.", no_args_is_help=True)
    group.command("create")(create)
    group.command("list")(list_all)
    group.command("disable")(disable)
    group.command("rotate-signing")(rotate_signing)
    return group


def create(
    name: Annotated[str, typer.Argument(help="Whose it is.")],
    workspace: Annotated[
        str,
        typer.Option("--workspace", "-w", metavar="NAME", help="What it may see and is billed to."),
    ] = "default",
    config: ConfigOption = None,
) -> None:
    """Make a key and show it, once. From the first one on, every request needs one."""

    async def act() -> NewKey:
        async with _keys(config) as keys:
            return await keys.create(name, workspace)

    made = asyncio.run(act())
    typer.echo(made.plain)
    whisper(f"{made.key.key_id} for workspace {workspace}; it is shown only now")


def list_all(config: ConfigOption = None) -> None:
    """List the keys that were ever made, oldest first."""

    async def act() -> list[Key]:
        async with _keys(config) as keys:
            return await keys.list()

    show_table(
        ["id", "name", "workspace", "begins with", "made", "state"],
        [
            [
                key.key_id,
                key.name,
                key.workspace,
                key.hint,
                f"{datetime.fromtimestamp(key.created_at, UTC):%Y-%m-%d %H:%M}",
                "in use" if key.disabled_at is None else "disabled",
            ]
            for key in asyncio.run(act())
        ],
    )


def disable(
    key_id: Annotated[str, typer.Argument(help="The id that `renga keys list` shows.")],
    config: ConfigOption = None,
) -> None:
    """Refuse a key from now on."""

    async def act() -> Key:
        async with _keys(config) as keys:
            return await keys.disable(key_id)

    key = asyncio.run(act())
    typer.echo(f"{key.key_id} ({key.name}) is disabled")


def rotate_signing(config: ConfigOption = None) -> None:
    """Sign thinking with a new key, from the server's next start on.

    What was signed with the keys before it goes on to be read.
    """
    from renga.app import make_home
    from renga.chat.signing import add_key

    there = add_key(make_home(load_config(config).home))
    typer.echo(f"{there} keys, the last one signs; restart the server")


@asynccontextmanager
async def _keys(config: Path | None) -> AsyncIterator[Keys]:
    """The keys of the configured database."""
    from renga.app import store_url
    from renga.keys import Keys
    from renga.store import Store

    async with await Store.open(store_url(load_config(config))) as store:
        yield Keys(store, clock=time.time)
