"""`renga workspaces`: make, list, show and archive what keys open.

Works on the database, beside a running server, which sees the change.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from renga.cli.options import ConfigOption, JsonOption
from renga.cli.screen import show_table
from renga.config import load_config
from renga.errors import SetupError

if TYPE_CHECKING:
    from renga.keys import Key, Keys
    from renga.workspaces import Workspace, Workspaces

NameArgument = Annotated[str, typer.Argument(help="Its name, or its id.")]


def build() -> typer.Typer:
    """The group of commands."""
    group = typer.Typer(help="Make, list and archive workspaces.", no_args_is_help=True)
    group.command("create")(create)
    group.command("list")(list_all)
    group.command("show")(show)
    group.command("archive")(archive)
    return group


def create(
    name: Annotated[str, typer.Argument(help="What it is called, for good.")],
    config: ConfigOption = None,
) -> None:
    """Make a workspace; one is also made with its first key."""

    async def act() -> Workspace:
        async with _workspaces(config) as (workspaces, _):
            return await workspaces.create(name)

    made = asyncio.run(act())
    typer.echo(f"{made.id} ({made.name})")


def list_all(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """List the workspaces that were ever made, oldest first."""

    async def act() -> tuple[list[Workspace], list[Key]]:
        async with _workspaces(config) as (workspaces, keys):
            return await workspaces.list(), await keys.list()

    found, keys = asyncio.run(act())
    if as_json:
        typer.echo(json.dumps([_described(workspace, keys) for workspace in found]))
        return
    rows = [_described(workspace, keys) for workspace in found]
    show_table(
        ["id", "name", "made", "state", ">keys in use"],
        [
            [
                row["id"],
                row["name"],
                (row["created_at"] or "")[:16].replace("T", " "),
                "archived" if row["archived_at"] else "in use",
                str(sum(key["status"] == "active" for key in row["keys"])),
            ]
            for row in rows
        ],
    )


def show(name: NameArgument, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show a workspace and its keys."""

    async def act() -> dict[str, Any]:
        async with _workspaces(config) as (workspaces, keys):
            return _described(_known(await workspaces.get(name), name), await keys.list())

    row = asyncio.run(act())
    if as_json:
        typer.echo(json.dumps(row))
        return
    show_table(
        ["", ""],
        [[k, str(row[k])] for k in ("id", "name", "created_at", "archived_at") if row[k]],
    )
    columns = ("id", "name", "status")
    show_table(list(columns), [[key[c] for c in columns] for key in row["keys"]])


def archive(name: NameArgument, config: ConfigOption = None) -> None:
    """Refuse all keys of a workspace from now on, for good; what it holds stays."""

    async def act() -> Workspace:
        async with _workspaces(config) as (workspaces, _):
            found = _known(await workspaces.get(name), name)
            return await workspaces.archive(found.name)

    archived = asyncio.run(act())
    typer.echo(f"{archived.id} ({archived.name}) is archived")


def _known(found: Workspace | None, name: str) -> Workspace:
    if found is None:
        raise SetupError(
            f"there is no workspace {name[:100]!r}", "`renga workspaces list` shows them"
        )
    return found


def _described(workspace: Workspace, keys: list[Key]) -> dict[str, Any]:
    now = time.time()
    return {
        "id": workspace.id,
        "name": workspace.name,
        "created_at": _iso(workspace.created_at) if workspace.created_at else None,
        "archived_at": _iso(workspace.archived_at),
        "keys": [
            {"id": key.key_id, "name": key.name, "status": key.status(now)}
            for key in keys
            if key.workspace == workspace.name
        ],
    }


def _iso(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


@asynccontextmanager
async def _workspaces(config: Path | None) -> AsyncIterator[tuple[Workspaces, Keys]]:
    """The workspaces and keys of the configured database."""
    from renga.app import store_url
    from renga.keys import Keys
    from renga.store import Store
    from renga.workspaces import Workspaces

    async with await Store.open(store_url(load_config(config))) as store:
        yield Workspaces(store, clock=time.time), Keys(store, clock=time.time)
