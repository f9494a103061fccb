"""`renga models`: each tier and what serves it, by the configuration or by a running server."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from renga.cli.options import AgainstOption, ConfigOption
from renga.cli.screen import show_table
from renga.config import BackendConfig, Config, environment, load_config

COLUMNS = ["model", "served by", "backend", ">window"]


def run(against: AgainstOption = None, config: ConfigOption = None) -> None:
    """List the tiers and what serves each."""
    rows = list_tiers(load_config(config)) if against is None else asyncio.run(_ask(against))
    show_table(COLUMNS, rows)


async def _ask(url: str) -> list[list[str]]:
    from renga.cli.sources import There

    server = There(url, environment().get("ANTHROPIC_API_KEY") or "renga")
    page = await server.get("/v1/models")
    try:
        return [_row(model) for model in page["data"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise server.stranger() from error


def _row(model: dict[str, Any]) -> list[str]:
    about = model.get("renga", {})
    window = model.get("max_input_tokens")
    return [
        model["id"],
        about.get("served_by", "?"),
        ", ".join(about.get("backends", ["?"])),
        "?" if window is None else f"{window:,}",
    ]


def list_tiers(config: Config) -> list[list[str]]:
    """A row per tier, largest first; nothing is started. Raises SetupError for a broken model."""
    from renga.routing import CANONICAL, TIERS, serving_tier

    configured = [tier for tier in TIERS if tier in config.tiers]
    rows = []
    for tier in reversed(TIERS):
        by = serving_tier(tier, configured)
        backends = [config.backends[name] for name in config.tiers[by].backends]
        served = by if by == tier else f"{by} ({tier} is not configured)"
        rows.append([CANONICAL[tier], served, *_describe(backends[0], config.home)])
    return rows


def _describe(backend: BackendConfig, home: Path) -> list[str]:
    """What a backend is, and its window in tokens."""
    from renga.models.find import find_model

    if backend.kind != "local":
        return [f"{backend.name}: {backend.kind}", f"{backend.window:,}" if backend.window else ""]
    model = find_model(backend.model, home)
    size = f"{model.parameters / 1e6:.1f}M parameters, {model.precision}"
    window = min(backend.window or model.window, model.window)
    return [f"{backend.name}: {model.name}, {size}", f"{window:,}"]
