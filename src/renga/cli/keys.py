"""`renga keys`: make, list and change API keys, and renew the one that thinking is signed with.

Works on the database, beside a running server, which sees the change; a key to sign with is read
when a server starts.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from renga.cli.options import ConfigOption, JsonOption
from renga.cli.screen import show_table, whisper
from renga.config import load_config
from renga.errors import SetupError

if TYPE_CHECKING:
    from renga.keys import Key, Keys, NewKey

SECONDS: Final = {"m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_LIFE: Final = re.compile(r"(\d{1,6})([mhdw])")

KeyArgument = Annotated[str, typer.Argument(help="The id that `renga keys list` shows.")]


def build() -> typer.Typer:
    """The group of commands."""
    group = typer.Typer(help="Make, list and change API keys.", no_args_is_help=True)
    group.command("create")(create)
    group.command("list")(list_all)
    group.command("disable")(disable)
    group.command("enable")(enable)
    group.command("rename")(rename)
    group.command("rotate-signing")(rotate_signing)
    return group


def create(
    given: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Whose it is.")] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="The same.", show_default=False)
    ] = None,
    workspace: Annotated[
        str,
        typer.Option("--workspace", "-w", metavar="NAME", help="What it may see and is billed to."),
    ] = "default",
    scopes: Annotated[
        str | None,
        typer.Option(
            "--scopes",
            metavar="A,B",
            help="What it may do: messages, batches, files, models, usage, metrics, admin; all but "
            "the last two if not given.",
            show_default=False,
        ),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option(
            "--expires",
            metavar="WHEN",
            help="Until when it is accepted: 90d, 12h, or a day such as 2027-01-31.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Make a key and show it, once. From the first one on, every request needs one."""
    called = given or name
    if called is None or (given and name):
        raise SetupError("a key has one name", "renga keys create NAME --workspace NAME")
    wanted = None if scopes is None else [s.strip() for s in scopes.split(",") if s.strip()]

    async def act() -> NewKey:
        async with _keys(config) as keys:
            until = None if expires is None else moment(expires, now=time.time())
            return await keys.create(called, workspace, scopes=wanted, expires_at=until)

    made = asyncio.run(act())
    if as_json:
        typer.echo(json.dumps({**_described(made.key), "key": made.plain}))
        return
    typer.echo(made.plain)
    whisper(f"{made.key.key_id} for workspace {workspace}; it is shown only now")


def list_all(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """List the keys that were ever made, oldest first."""

    async def act() -> list[Key]:
        async with _keys(config) as keys:
            return await keys.list()

    found = asyncio.run(act())
    if as_json:
        typer.echo(json.dumps([_described(key) for key in found]))
        return
    show_table(
        ["id", "name", "workspace", "begins with", "made", "state", "last used", "until", "may"],
        [
            [
                key.key_id,
                key.name,
                key.workspace,
                key.hint,
                _minute(key.created_at),
                _STATES.get(status := key.status(time.time()), status),
                _minute(key.last_used_at),
                _minute(key.expires_at),
                ",".join(key.scopes),
            ]
            for key in found
        ],
    )


_STATES: Final = {"active": "in use", "inactive": "disabled"}


def disable(key_id: KeyArgument, config: ConfigOption = None) -> None:
    """Refuse a key from now on."""
    key = _change(config, lambda keys: keys.disable(key_id))
    typer.echo(f"{key.key_id} ({key.name}) is disabled")


def enable(key_id: KeyArgument, config: ConfigOption = None) -> None:
    """Take a disabled key again."""
    key = _change(config, lambda keys: keys.enable(key_id))
    typer.echo(f"{key.key_id} ({key.name}) is enabled")


def rename(
    key_id: KeyArgument,
    name: Annotated[str, typer.Argument(help="What it is called from now on.")],
    config: ConfigOption = None,
) -> None:
    """Call a key something else; limits go by the name."""
    key = _change(config, lambda keys: keys.rename(key_id, name))
    typer.echo(f"{key.key_id} is called {key.name}")


def rotate_signing(config: ConfigOption = None) -> None:
    """Sign thinking with a new key, from the server's next start on.

    What was signed with the keys before it goes on to be read.
    """
    from renga.app import make_home
    from renga.chat.signing import add_key

    there = add_key(make_home(load_config(config).home))
    typer.echo(f"{there} keys, the last one signs; restart the server")


def moment(text: str, *, now: float) -> float:
    """A time to come in Unix seconds: so long from `now`, or a day's or a minute's name in UTC."""
    if life := _LIFE.fullmatch(text.strip()):
        return now + int(life[1]) * SECONDS[life[2]]
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise SetupError(
            f"--expires {text}: not a time", "such as 90d, 12h, or a day: 2027-01-31"
        ) from error
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _change(config: Path | None, do: Callable[[Keys], Awaitable[Key]]) -> Key:
    async def act() -> Key:
        async with _keys(config) as keys:
            return await do(keys)

    return asyncio.run(act())


def _described(key: Key) -> dict[str, Any]:
    return {
        "id": key.key_id,
        "name": key.name,
        "workspace": key.workspace,
        "hint": key.hint,
        "status": key.status(time.time()),
        "scopes": list(key.scopes),
        "created_at": _iso(key.created_at),
        "expires_at": _iso(key.expires_at),
        "last_used_at": _iso(key.last_used_at),
    }


def _iso(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _minute(seconds: float | None) -> str:
    return "" if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"


@asynccontextmanager
async def _keys(config: Path | None) -> AsyncIterator[Keys]:
    """The keys of the configured database."""
    from renga.app import store_url
    from renga.keys import Keys
    from renga.store import Store

    async with await Store.open(store_url(load_config(config))) as store:
        yield Keys(store, clock=time.time)
