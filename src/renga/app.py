"""The composition root: configuration in, a running set of parts out.

Builds store, ledger, keys, backends, router and gateway once, and takes them down in reverse. Parts
below get only the parts they need, never the `App`. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from renga.backends import make_backend
from renga.backends.base import Backend
from renga.config import Config
from renga.errors import SetupError
from renga.gateway import Gateway, Layer
from renga.ids import Ids, make_ids
from renga.keys import Keys
from renga.ledger import Ledger
from renga.prices import load_prices
from renga.routing import TIERS, Router, check_aliases
from renga.store import sqlite_url

Clock = Callable[[], float]


@dataclass(frozen=True)
class App:
    """The running parts. `clock` is wall time in seconds."""

    config: Config
    ledger: Ledger
    keys: Keys
    backends: Mapping[str, Backend]
    router: Router
    gateway: Gateway
    ids: Ids
    clock: Clock
    _stack: AsyncExitStack

    @classmethod
    async def start(
        cls,
        config: Config,
        *,
        clock: Clock = time.time,
        ids: Ids | None = None,
        layers: Sequence[Layer] = (),
    ) -> App:
        """Open the store and start the backends that tiers name. Raises SetupError."""
        ids = ids or make_ids()
        prices = load_prices(config.prices)
        check_aliases(config.aliases)
        async with AsyncExitStack() as stack:
            url = store_url(config)
            ledger = await Ledger.start(url, clock=clock, instance_id=ids("inst"))
            stack.push_async_callback(ledger.aclose)
            keys = Keys(ledger.store, clock=clock)
            backends = await _start_backends(config, stack)
            tiers = {
                tier: [backends[name] for name in config.tiers[tier].backends]
                for tier in TIERS
                if tier in config.tiers
            }
            router = Router(tiers, config.aliases)
            gateway = Gateway(
                router=router,
                ledger=ledger,
                prices=prices,
                clock=clock,
                ids=ids,
                layers=layers,
            )
            kept = stack.pop_all()
        return cls(config, ledger, keys, backends, router, gateway, ids, clock, kept)

    async def aclose(self) -> None:
        """Stop the backends, then write what is left to write."""
        await self._stack.aclose()


async def _start_backends(config: Config, stack: AsyncExitStack) -> dict[str, Backend]:
    wanted = {name for tier in config.tiers.values() for name in tier.backends}
    backends = {
        name: make_backend(config.backends[name], home=config.home) for name in sorted(wanted)
    }
    for backend in backends.values():
        stack.push_async_callback(backend.aclose)
    await asyncio.gather(*(b.start() for b in backends.values()))
    return backends


def make_home(home: Path) -> Path:
    """The state folder, made private to its owner. Raises SetupError when it cannot be used."""
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = home / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise SetupError(
            f"cannot use the state folder {home}: {error.strerror}",
            "set RENGA_HOME to a folder that you can write",
        ) from error
    return home


def store_url(config: Config) -> str:
    """The database URL: `sqlite` stands for renga.db in the state folder."""
    if config.store.url == "sqlite":
        return sqlite_url(make_home(config.home) / "renga.db")
    return config.store.url
