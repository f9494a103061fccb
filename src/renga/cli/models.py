"""`renga models`: what serves each tier; load and unload models of a running server.

Models on disk (`pull`, `list` and the others) are in `renga.cli.pull` and `renga.cli.library`.

The list is by the configuration, or by a running server with `--against`. Loading and unloading
always ask a server: the one at `--against`, else where the configuration says that it listens.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from renga.cli import library, pull, recommend
from renga.cli.options import AgainstOption, ConfigOption
from renga.cli.screen import show_table
from renga.config import REMOTE_KINDS, BackendConfig, Config, environment, load_config
from renga.errors import SetupError

COLUMNS = ["model", "served by", "backend", ">window", "state"]
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # what listens there is found here

ServerOption = Annotated[
    str | None,
    typer.Option(
        "--against",
        metavar="URL",
        help="The running server (key: ANTHROPIC_API_KEY); else where the configuration says.",
        show_default=False,
    ),
]
NameArgument = Annotated[str, typer.Argument(metavar="BACKEND", help="As [backends.NAME] says.")]


def build() -> typer.Typer:
    """The command and its subcommands."""
    commands = typer.Typer(help="Pull, list and check models; what serves each tier; load, unload.")
    commands.callback(invoke_without_command=True)(run)
    commands.command()(load)
    commands.command()(unload)
    commands.command()(pull.pull)
    commands.command(name="list")(library.list_models)
    commands.command()(library.show)
    commands.command()(library.verify)
    commands.command()(library.remove)
    commands.command()(library.add)
    commands.command()(recommend.recommend)
    return commands


def run(context: typer.Context, against: AgainstOption = None, config: ConfigOption = None) -> None:
    """List the tiers and what serves each; the commands below are about models themselves."""
    if context.invoked_subcommand is not None:
        if against or config:
            raise SetupError(
                f"options of `renga models {context.invoked_subcommand}` stand behind it",
                "such as: renga models load small --against URL",
            )
        return
    rows = list_tiers(load_config(config)) if against is None else asyncio.run(_ask(against))
    show_table(COLUMNS, rows)


def load(backend: NameArgument, against: ServerOption = None, config: ConfigOption = None) -> None:
    """Load a model of a running server; returns when it is ready."""
    asyncio.run(_change("load", backend, against or address(load_config(config))))


def unload(
    backend: NameArgument, against: ServerOption = None, config: ConfigOption = None
) -> None:
    """Unload a model of a running server once its running answers have ended."""
    asyncio.run(_change("unload", backend, against or address(load_config(config))))


def address(config: Config) -> str:
    """Where the server of this configuration is found from this machine."""
    host = ANYWHERE.get(config.server.host, config.server.host)
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    return f"http://{host}:{config.server.port}"


async def _change(action: str, backend: str, url: str) -> None:
    from urllib.parse import quote

    server = _server(url)
    done = await server.post(f"/v1/renga/models/{quote(backend, safe='')}/{action}")
    try:
        typer.echo(f"{done['backend']}: {done['words']}")
    except KeyError as error:
        raise server.stranger() from error


def _server(url: str) -> Any:
    from renga.cli.sources import There

    return There(url, environment().get("ANTHROPIC_API_KEY") or "renga")


async def _ask(url: str) -> list[list[str]]:
    server = _server(url)
    page = await server.get("/v1/models")
    try:
        return [_row(model) for model in page["data"]]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise server.stranger() from error


def _row(model: dict[str, Any]) -> list[str]:
    about = model.get("renga", {})
    window = model.get("max_input_tokens")
    backends = about.get("backends", ["?"])
    states = about.get("states", {})
    return [
        str(model["id"]),
        about.get("served_by", "?"),
        ", ".join(backends),
        "?" if window is None else f"{window:,}",
        ", ".join(states.get(name, "?") for name in backends),
    ]


def list_tiers(config: Config) -> list[list[str]]:
    """Each tier, largest first, with a row for each of its backends; nothing is started.

    A broken model says so in its row.
    """
    from renga.routing import CANONICAL, TIERS, serving_tier

    configured = [tier for tier in TIERS if tier in config.tiers]
    rows = []
    for tier in reversed(TIERS):
        by = serving_tier(tier, configured)
        head = [CANONICAL[tier], by if by == tier else f"{by} ({tier} is not configured)"]
        for name in config.tiers[by].backends:
            rows.append([*head, *_describe(config.backends[name], config)])
            head = ["", ""]
    return rows


def _describe(backend: BackendConfig, config: Config) -> list[str]:
    """What a backend is, its window in tokens, and what a start would do with it."""
    from renga.cli.planned import plan_backend
    from renga.models.locate import resolved

    state = "loads at start" if backend.load else "load = false"
    try:
        backend = resolved(backend, config.home)
        plan = plan_backend(backend, config.home, None)
    except SetupError as error:
        return [f"{backend.name}: {backend.model}", "", error.message]
    if backend.kind in REMOTE_KINDS:
        more = f" and {len(backend.urls) - 1} more" if len(backend.urls) > 1 else ""
        served = f"{backend.name}: {backend.model} at {backend.urls[0]}{more}"
        return [served, f"{backend.window:,}" if backend.window else "", "connects at start"]
    if plan is None:
        window = f"{backend.window:,}" if backend.window else ""
        return [f"{backend.name}: {backend.kind}", window, state]
    return [f"{backend.name}: {plan.model}, {plan.size}", f"{plan.window:,}", state]
