"""`renga doctor`: each thing that would stop renga here, and the mend.

Owns the list of checks, in the order in which a start meets them. A check that fails would stop the
server and makes the exit code 1; a remark would only slow it. Checks use the parts themselves, so
that what they say is what a start would say.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from renga.cli.options import ConfigOption
from renga.config import REMOTE_KINDS, BackendConfig, Config, load_config
from renga.config.rules import check_keys as check_key_variables
from renga.errors import SetupError
from renga.machine import PROC, Machine, available_memory

FAILED = 1
NEEDED_MEMORY = 1_000_000_000  # bytes; what a server with the shipped model may take
PACKAGES = ("openvino", "tokenizers", "llguidance", "starlette", "uvicorn", "sqlalchemy", "alembic")

Verdict = Literal["ok", "slow", "stop"]
MARKS: dict[Verdict, str] = {"ok": "ok  ", "slow": "note", "stop": "STOP"}


@dataclass(frozen=True)
class Finding:
    """What a check found: `words` say what is, `mend` what to do where it is not well."""

    name: str
    verdict: Verdict
    words: str
    mend: str = ""


def run(
    config: ConfigOption = None,
    host: Annotated[
        str | None, typer.Option("--host", metavar="ADDRESS", help="As for serve.")
    ] = None,
    port: Annotated[int | None, typer.Option("--port", metavar="N", help="As for serve.")] = None,
) -> None:
    """Look for what would stop renga here, and say the mend. Exit code 1 if anything would."""
    findings = list(examine(config, host, port))
    for found in findings:
        typer.echo(f"{MARKS[found.verdict]}  {found.name}: {found.words}")
        if found.mend:
            typer.echo(f"      {found.mend}")
    if any(found.verdict == "stop" for found in findings):
        raise typer.Exit(FAILED)


def examine(
    path: Path | None, host: str | None = None, port: int | None = None
) -> Iterator[Finding]:
    """Every finding, the machine's first; those of the configuration only if it can be read."""
    yield from (check_python(), check_packages(), check_processor(), check_memory())
    try:
        config = load_config(path, host=host, port=port)
    except SetupError as error:
        yield Finding("configuration", "stop", error.message, error.hint)
        return
    yield Finding("configuration", "ok", config.source)
    yield from _guarded("prices and aliases", lambda: check_names(config))
    yield from _guarded("keys of backends", lambda: check_variables(config))
    yield from _guarded("state folder", lambda: check_home(config))
    yield from _guarded("database", lambda: asyncio.run(check_database(config)))
    yield from _guarded("keys", lambda: asyncio.run(check_keys(config)))
    yield from check_backends(config)
    yield from _guarded("port", lambda: check_port(config))


def _guarded(name: str, check: Callable[[], Finding]) -> Iterator[Finding]:
    """A check's finding; a SetupError is what a start would stop with."""
    try:
        yield check()
    except SetupError as error:
        yield Finding(name, "stop", error.message, error.hint)


def check_python() -> Finding:
    """The interpreter."""
    found = platform.python_version()
    return Finding("python", "ok", f"{found} on {platform.system()} {platform.machine()}")


def check_packages() -> Finding:
    """What the server imports, found but not loaded."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        mend = f"install renga again: {sys.executable} -m pip install renga"
        return Finding("packages", "stop", "missing: " + ", ".join(missing), mend)
    return Finding("packages", "ok", ", ".join(PACKAGES))


def check_processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> Finding:
    """Cores that this process may use, and the vector instructions that set the engine's speed."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return Finding("processor", "ok", f"{cores} cores, {platform.machine()}")
    flags = {flag for line in lines if line.startswith("flags") for flag in line.split()}
    wanted = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8")
    words = f"{cores} cores, " + (", ".join(f for f in wanted if f in flags) or "no AVX")
    if flags and "avx2" not in flags:
        return Finding("processor", "slow", words, "without AVX2 answers come several times slower")
    return Finding("processor", "ok", words)


def check_memory(proc: Path = PROC) -> Finding:
    """Memory that is free now, against what a server with the shipped model may take."""
    free = available_memory(proc)
    if free is None:
        return Finding("memory", "ok", "cannot be read on this system")
    words = f"{free / 1e9:.1f} GB available"
    if free < NEEDED_MEMORY:
        mend = "end other programs, or set kv_cache_mb of the backend lower"
        return Finding("memory", "slow", f"{words}; up to 1 GB is used", mend)
    return Finding("memory", "ok", words)


def check_names(config: Config) -> Finding:
    """Prices can be counted in, and aliases lead to a tier. Raises SetupError."""
    from renga.prices import load_prices
    from renga.routing import check_aliases

    load_prices(config.prices)
    check_aliases(config.aliases)
    words = ", ".join(config.prices) or "none"
    return Finding(
        "prices and aliases", "ok", f"own prices: {words}; aliases: {len(config.aliases)}"
    )


def check_variables(config: Config) -> Finding:
    """The variables that hold keys for other servers are set. Raises SetupError."""
    wanted = sorted({name for tier in config.tiers.values() for name in tier.backends})
    check_key_variables(config.backends, wanted, config.source)
    named = [v for name in wanted if (v := config.backends[name].api_key_env)]
    words = ", ".join(dict.fromkeys(named)) or "none are named"
    return Finding("keys of backends", "ok", words)


def check_home(config: Config) -> Finding:
    """The state folder, made if it is not there. Raises SetupError."""
    from renga.app import make_home

    return Finding("state folder", "ok", str(make_home(config.home)))


async def check_database(config: Config) -> Finding:
    """The database opens, is at the newest revision, and can be read throughout.

    Raises SetupError.
    """
    from renga.app import store_url
    from renga.store import Store
    from renga.store.schema import HEAD

    async with await Store.open(store_url(config)) as store:
        await store.check()
        return Finding("database", "ok", f"{store.name} opens, schema {HEAD}")


async def check_keys(config: Config) -> Finding:
    """The address is not public while there is no key. Raises SetupError."""
    from renga.app import store_url
    from renga.http.auth import check_binding
    from renga.keys import Keys
    from renga.store import Store

    async with await Store.open(store_url(config)) as store:
        keys = Keys(store, clock=time.time)
        in_use = sum(key.disabled_at is None for key in await keys.list())
        await check_binding(config.server.host, keys)
        words = f"{in_use} in use" if await keys.any_exist() else "none yet: any key is accepted"
    return Finding("keys", "ok", f"{words}; listening on {config.server.host}")


def check_backends(config: Config) -> Iterator[Finding]:
    """Each backend that a tier names; what those before it take is not there for the next.

    A broken one is a remark where the server starts without it: where another loads at start, or
    where nothing is to be loaded then.
    """
    machine = Machine()
    names = sorted({name for tier in config.tiers.values() for name in tier.backends})

    def look(name: str) -> Finding:
        return next(_guarded(f"backend {name}", lambda: check_backend(config, name, machine)))

    found = {name: look(name) for name in names}
    wanted = [name for name in names if config.backends[name].load]
    starts = not wanted or any(found[name].verdict == "ok" for name in wanted)
    for finding in found.values():
        if finding.verdict == "stop" and starts:
            mend = f"{finding.mend}; the server starts without it".removeprefix("; ")
            yield Finding(finding.name, "slow", finding.words, mend)
        else:
            yield finding


def check_backend(config: Config, name: str, machine: Machine) -> Finding:
    """What the backend needs on disk and in memory, or over the network. Raises SetupError."""
    from renga.cli.planned import plan_backend
    from renga.engine.memory import megabytes
    from renga.models.locate import resolved

    backend = resolved(config.backends[name], config.home)
    if backend.kind in REMOTE_KINDS:
        return asyncio.run(check_remote(config, backend))
    plan = plan_backend(backend, config.home, machine.free(name))
    if plan is None:
        return Finding(f"backend {name}", "ok", backend.kind)
    if backend.load:
        machine.promise(name, plan.total)
    words = f"{plan.model}, {plan.memory}" + ("" if backend.load else "; not loaded at start")
    return Finding(f"backend {name}", "ok", f"{words}; {megabytes(plan.total)} in all")


async def check_remote(config: Config, backend: BackendConfig) -> Finding:
    """Whether another server is there, takes the key and knows the model.

    What is wrong there stops nothing here: the server serves without it until it is back.
    """
    from renga.app import reach

    health, complaint = await reach(backend, config.home)
    name, words = f"backend {backend.name}", f"{backend.kind}, {health.words}"
    if not health.ready:
        return Finding(name, "slow", words, "the server serves without it until it is there")
    if complaint is not None:
        return Finding(name, "slow", words, complaint.message)
    return Finding(name, "ok", words)


def check_port(config: Config) -> Finding:
    """The address can be listened on. Raises SetupError."""
    from renga.http.server import listen

    host, port = config.server.host, config.server.port
    listen(host, port).close()
    return Finding("port", "ok", f"{host}:{port} is free")
