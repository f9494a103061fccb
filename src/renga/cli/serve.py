"""`renga serve`: the server, and what it says when it is ready.

Owns the banner and the order of start: settings and port are checked before a model is loaded. The
banner names what could not be loaded, and why, beside what serves.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from renga.cli.options import ConfigOption, ModelOption
from renga.config import Config, load_config

if TYPE_CHECKING:
    from renga.app import App


def run(
    host: Annotated[
        str | None,
        typer.Option("--host", metavar="ADDRESS", help="Address to listen on.", show_default=False),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option("--port", metavar="N", help="Port; 0 takes a free one.", show_default=False),
    ] = None,
    model: ModelOption = None,
    config: ConfigOption = None,
) -> None:
    """Serve until SIGTERM or ctrl-c; running requests may then finish."""
    settings = load_config(config, host=host, port=port, model=model)
    from renga.http import server
    from renga.watching.logs import logging_to

    server.listen(settings.server.host, settings.server.port).close()
    with logging_to(_write_log, settings.telemetry.logs):
        server.run(_serve(settings))


def _write_log(lines: str) -> None:
    sys.stderr.write(lines)
    sys.stderr.flush()


async def _serve(config: Config) -> None:
    from renga.app import App
    from renga.http.server import serve

    app = await App.start(config)
    try:
        open_to_all = not await app.keys.any_exist()
        await serve(
            app,
            host=config.server.host,
            port=config.server.port,
            drain_seconds=config.server.drain_seconds,
            on_ready=lambda url: typer.echo(banner(app, url, open_to_all=open_to_all)),
        )
    finally:
        await app.aclose()


def banner(app: App, url: str, *, open_to_all: bool) -> str:
    """What a person needs to use the server at `url`."""
    lines = [f"renga serves at {url}", ""]
    lines += [f"  {tier:<8}{words}" for tier, words in served(app)]
    lines += ["", f"  export ANTHROPIC_BASE_URL={url}"]
    if open_to_all:
        lines.append("  export ANTHROPIC_API_KEY=any    # any works until `renga keys create`")
    lines += ["", f"  configuration: {app.config.source}; state: {app.config.home}"]
    return "\n".join(lines)


def served(app: App) -> list[tuple[str, str]]:
    """Each tier, and in words what serves it."""
    from renga.routing import TIERS

    found: list[tuple[str, str]] = []
    for tier in TIERS:
        by = app.router.served_by(tier)
        if by != tier:
            found.append((tier, f"-> {by}: not configured"))
            continue
        backends = app.router.backends_of(tier)
        found.append((tier, "; ".join(f"{b.name}: {b.health().words}" for b in backends)))
    return found
