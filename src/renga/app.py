"""The composition root: configuration in, a running set of parts out.

Builds store, ledger, keys, backends, router and gateway once, and takes them down in reverse. Parts
below get only the parts they need, never the `App`. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from renga.auto.choosing import Auto
from renga.backends import make_backend
from renga.backends.base import Backend, HandsOver, Health, Measured
from renga.chat.signing import Signer
from renga.citations.finding import ReadPages
from renga.config import REMOTE_KINDS, BackendConfig, Config, check_keys
from renga.costs.hardware import Hardware
from renga.errors import RengaError, SetupError
from renga.files.blocks import FileSources
from renga.files.library import GB, MB, Files
from renga.gateway import Gateway
from renga.ids import Ids, make_ids
from renga.keys import Keys
from renga.layers import standard
from renga.layers.base import Layer
from renga.layers.cached import CachedAnswers
from renga.ledger import Ledger
from renga.limits import Limits
from renga.loading import Loadable
from renga.machine import Machine
from renga.media.documents import Documents
from renga.media.fetching import Fetcher
from renga.media.resolving import Resolver
from renga.media.transcribing import Transcribing
from renga.prices import load_prices
from renga.retention import Retention
from renga.routing import TIERS, Router, check_aliases
from renga.store import Store, sqlite_url
from renga.tries import Tries
from renga.types import DocumentParam
from renga.watching.metrics import Metrics
from renga.watching.readings import (
    watch_breakers,
    watch_engines,
    watch_limits,
    watch_states,
    watch_store,
)
from renga.watching.traces import Tracer
from renga.watching.watch import Watch, start_tracer

Clock = Callable[[], float]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class App:
    """The running parts. `clock` is wall time in seconds.

    `loadables` stand around `backends`, name by name: what is asked goes through them.
    """

    config: Config
    ledger: Ledger
    keys: Keys
    limits: Limits
    files: Files
    backends: Mapping[str, Backend]
    loadables: Mapping[str, Loadable]
    router: Router
    gateway: Gateway
    watch: Watch
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
        tracer: Tracer | None = None,
    ) -> App:
        """Open the store and load the backends that tiers name.

        A backend that cannot be loaded leaves its tiers without; only where none can is there a
        SetupError. `layers` stand below those that every server has; `tracer` takes the traces
        where the configuration names none.
        """
        ids = ids or make_ids()
        prices = load_prices(config.prices)
        check_aliases(config.aliases)
        wanted = sorted({name for tier in config.tiers.values() for name in tier.backends})
        check_keys(config.backends, wanted, config.source)
        async with AsyncExitStack() as stack:
            watch = _make_watch(config, stack, tracer)
            url = store_url(config)
            ledger = await Ledger.start(url, clock=clock, instance_id=ids("inst"))
            stack.push_async_callback(ledger.aclose)
            keys = Keys(ledger.store, clock=clock)
            keys.keep_stamped()
            stack.push_async_callback(keys.aclose)
            limits = Limits(
                config.limits, ledger.store, instance_id=ledger.instance_id, clock=clock
            )
            limits.start()
            await _warn_of_strangers(config, keys)
            stack.push_async_callback(limits.aclose)
            retention = Retention(ledger.store, config.ledger.retention_days, clock=clock)
            stack.push_async_callback(retention.aclose)
            files = _make_files(config, ledger.store, clock=clock, ids=ids)
            stack.push_async_callback(files.aclose)
            documents = Documents()
            stack.push_async_callback(documents.aclose)
            backends, loadables = _make_backends(config, stack, documents)
            for backend in backends.values():
                if isinstance(backend, HandsOver):
                    backend.keep_handovers(ledger.store, clock)
            await _load(config, loadables)
            router = _make_router(config, loadables)
            signer = Signer.load(make_home(config.home))
            resolver = Resolver(
                documents,
                {"url": Fetcher(config.media).resolve, "file": FileSources(files).resolve},
            )
            tries = _make_tries(config)
            gateway = Gateway(
                router=router,
                ledger=ledger,
                prices=prices,
                clock=clock,
                ids=ids,
                signer=signer,
                limits=limits,
                watch=watch,
                tries=tries,
                auto=None if "auto" in config.aliases else Auto(config.auto, router, prices),
                layers=[
                    *standard(
                        ids=ids,
                        signer=signer,
                        resolver=resolver,
                        pages=_pages_of(documents),
                        answers=_make_answers(config, stack, ledger.store, router, clock),
                    ),
                    *layers,
                ],
            )
            files.keep_swept()
            retention.start()
            _watch_parts(watch.metrics, backends, loadables, ledger)
            watch_limits(watch.metrics, limits.refusals)
            watch_breakers(watch.metrics, tries.standings)
            kept = stack.pop_all()
        return cls(
            config,
            ledger,
            keys,
            limits,
            files,
            backends,
            loadables,
            router,
            gateway,
            watch,
            ids,
            clock,
            kept,
        )

    async def aclose(self) -> None:
        """Stop the backends, then write what is left to write."""
        await self._stack.aclose()


def _make_router(config: Config, loadables: Mapping[str, Loadable]) -> Router:
    """Names and tiers over the backends, with the tiers that answer in place of others."""
    configured = [tier for tier in TIERS if tier in config.tiers]
    tiers = {tier: [loadables[b] for b in config.tiers[tier].backends] for tier in configured}
    fallbacks = {
        tier: other
        for tier in configured
        for other in TIERS
        if other == config.tiers[tier].fallback
    }
    return Router(tiers, config.aliases, fallbacks=fallbacks)


def _make_answers(
    config: Config, stack: AsyncExitStack, store: Store, router: Router, clock: Clock
) -> CachedAnswers | None:
    """Answers that are kept to be given again, if they are."""
    if not config.response_cache.enabled:
        return None
    answers = CachedAnswers(store, config.response_cache, clock=clock, tier_of=router.canonical)
    answers.start()
    stack.push_async_callback(answers.aclose)
    return answers


def _make_tries(config: Config) -> Tries:
    """How answers are tried for; what is another server has its own time to begin."""
    remote = (b for b in config.backends.values() if b.kind in REMOTE_KINDS)
    return Tries(
        config.retry,
        config.breaker,
        limits={b.name: b.timeout_s for b in remote},
        unhurried={b.name for b in config.backends.values() if b.batch == "upstream"},
    )


def _make_watch(config: Config, stack: AsyncExitStack, tracer: Tracer | None) -> Watch:
    """What is told of the server; traces are sent to their end when `stack` is closed."""
    telemetry = config.telemetry
    tracer = tracer or (start_tracer() if telemetry.traces else Tracer())
    stack.push_async_callback(asyncio.to_thread, tracer.close)
    prices = {name: backend.cost_per_hour for name, backend in config.backends.items()}
    hardware = Hardware(prices, ticks=time.monotonic)
    return Watch(tracer=tracer, hardware=hardware, prompts=telemetry.log_prompts)


def _watch_parts(
    metrics: Metrics,
    backends: Mapping[str, Backend],
    loadables: Mapping[str, Loadable],
    ledger: Ledger,
) -> None:
    """What is asked of the parts whenever somebody looks at the metrics."""
    engines = {name: b.figures for name, b in backends.items() if isinstance(b, Measured)}
    watch_engines(metrics, engines)
    watch_states(
        metrics,
        "renga_backend_state",
        "1 for the state that a backend is in.",
        ("backend", "state"),
        lambda: {name: b.health().state for name, b in loadables.items()},
    )
    writer = ledger.store.writer
    watch_store(metrics, lambda: writer.waiting, lambda: writer.failure is not None)


async def _warn_of_strangers(config: Config, keys: Keys) -> None:
    """Say which limits are of keys and workspaces that are not there; they may come yet."""
    if not (config.limits.keys or config.limits.workspaces):
        return
    made = await keys.list()
    known = {
        "keys": {name for key in made for name in (key.name, key.key_id)},
        "workspaces": {"default", *(key.workspace for key in made)},
    }
    named = {"keys": config.limits.keys, "workspaces": config.limits.workspaces}
    for group, names in named.items():
        for name in names:
            if name not in known[group]:
                _log.warning(
                    "[limits.%s.%s] limits nobody: no key is of that %s yet",
                    group, name, "name" if group == "keys" else "workspace",
                )  # fmt: skip


def _pages_of(documents: Documents) -> ReadPages:
    """What reads the pages of PDFs for citations, as far as text can be read here."""

    async def pages(document: DocumentParam, path: str) -> list[str]:
        found = await documents.text_of(document, path, recognize=documents.can_recognize)
        return [page.text for page in found]

    return pages


def _make_files(config: Config, store: Store, *, clock: Clock, ids: Ids) -> Files:
    """Uploaded files, in the state folder."""
    return Files(
        store,
        config.home / "files",
        clock=clock,
        ids=ids,
        most_bytes=config.files.max_file_mb * MB,
        most_stored=config.files.storage_gb * GB,
    )


def _make_backends(
    config: Config, stack: AsyncExitStack, documents: Documents
) -> tuple[dict[str, Backend], dict[str, Loadable]]:
    """The backends that tiers name, bare and loadable, closed with `stack`."""
    machine = Machine()
    wanted = sorted({name for tier in config.tiers.values() for name in tier.backends})
    backends = {
        name: make_backend(config.backends[name], home=config.home, machine=machine)
        for name in wanted
    }
    drain = config.server.drain_seconds
    reading = {name: Transcribing(backend, documents) for name, backend in backends.items()}
    loadables = {name: Loadable(b, drain_seconds=drain) for name, b in reading.items()}
    for name, loadable in loadables.items():
        stack.push_async_callback(loadable.aclose)
        takes_memory = config.backends[name].kind not in ("scripted", *REMOTE_KINDS)
        if takes_memory and config.backends[name].load:
            machine.expect(name)
    return backends, loadables


async def reach(config: BackendConfig, home: Path) -> tuple[Health, RengaError | None]:
    """How another server is, and what a request to it would meet; it is left again at once."""
    backend = make_backend(config, home=home)
    try:
        await backend.start()
        health = backend.health()
        ask = getattr(backend, "complaint", None)
        return health, await ask() if health.ready and ask is not None else None
    finally:
        await backend.aclose()


async def _load(config: Config, loadables: Mapping[str, Loadable]) -> None:
    """Load what is not said to wait. Raises SetupError where none of it can be."""
    wanted = [b for name, b in loadables.items() if config.backends[name].load]
    found = await asyncio.gather(*(b.load() for b in wanted), return_exceptions=True)
    broken = [error for error in found if isinstance(error, BaseException)]
    for error in broken:
        if not isinstance(error, SetupError):
            raise error
    if broken and len(broken) == len(wanted):
        first = broken[0]
        if len(broken) == 1 and isinstance(first, SetupError):
            raise first
        words = "; ".join(f"{b.name}: {b.failure.message}" for b in wanted if b.failure)
        raise SetupError(f"none of the models can be loaded: {words}", "`renga doctor` has more")


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
