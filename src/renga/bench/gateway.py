"""`renga bench gateway`: what a gateway adds to an upstream, ours beside others in one run.

All gateways stand before the same stub upstream and have one core in turn; the load and the stub
have another. Rounds alternate, medians count. Ours runs as a person would run it: `renga serve`
with keys, limits and ledger on. Owns the bars, and what is told of the load itself: a client that
has no time left would measure itself.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from renga.bench import upstream
from renga.bench.calls import (
    Target,
    Work,
    alone,
    cpu_seconds,
    free_port,
    processes_at,
    together,
    wait_for,
)
from renga.bench.load import BenchError
from renga.http.server import run
from renga.keys import Keys
from renga.store import Store, sqlite_url

ADDED_MS = 1.0  # the bars: p50 that ours adds to a call; times a peer's rates; share of its memory
TIMES_PLAIN, TIMES_STREAMED, MEMORY_SHARE = 8.0, 10.0, 1 / 3

TURNS = [{"role": "user", "content": "Hello, where is my order 48213? " * 8}]
CHAT_BODY = {"model": "haiku", "max_tokens": 200, "messages": TURNS}
PLAIN = Work("plain", "/v1/chat/completions", CHAT_BODY)
STREAMED = Work("streamed", "/v1/chat/completions", {**CHAT_BODY, "stream": True})
MESSAGE = Work("message", "/v1/messages", {**CHAT_BODY, "model": "opus"})
MESSAGES = Work("message, streamed", "/v1/messages", {**MESSAGE.body, "stream": True})

CONFIG = """
[server]
port = {port}
[backends.chat]
kind = "openai"
urls = ["http://127.0.0.1:{upstream}/v1"]
model = "{model}"
window = 200_000
[backends.messages]
kind = "messages"
urls = ["http://127.0.0.1:{upstream}"]
model = "{model}"
window = 200_000
[tiers.haiku]
backends = ["chat"]
[tiers.opus]
backends = ["messages"]
[limits.default]
requests_per_minute = 10_000_000
input_tokens_per_minute = 900_000_000
output_tokens_per_minute = 900_000_000
concurrent = 1_000
usd_per_day = 100_000
usd_per_month = 1_000_000
"""

LITELLM = """
model_list:
  - model_name: haiku
    litellm_params:
      model: openai/{model}
      api_base: http://127.0.0.1:{upstream}/v1
      api_key: none
general_settings:
  master_key: sk-bench
litellm_settings:
  telemetry: false
"""


@dataclass(frozen=True)
class Peer:
    """A gateway that runs already, and stands before `upstream_port`."""

    url: str
    key: str = "bench"
    model: str = ""

    @property
    def target(self) -> Target:
        """It, as what is asked. Raises BenchError for what is no address."""
        parts = urlsplit(self.url)
        try:
            port = parts.port or 80
        except ValueError:
            port = 0
        if parts.scheme != "http" or not parts.hostname or not port:
            raise BenchError(f"--against {self.url}: accepted: http://HOST:PORT")
        here = parts.hostname in ("127.0.0.1", "localhost")
        pids = processes_at(port) if here else ()
        return Target(f"{parts.hostname}:{port}", pids, port, parts.hostname, self.key, self.model)


@dataclass(frozen=True)
class Plan:
    """What is run. `litellm` is the command of LiteLLM's proxy, started for the run, if any."""

    rounds: int = 3
    calls: int = 1600
    peers: tuple[Peer, ...] = ()
    litellm: Path | None = None
    upstream_port: int = 0


@dataclass(frozen=True)
class Line:
    """One line of the table: a figure of each gateway, by name; None where it has none."""

    name: str
    unit: str
    values: Mapping[str, float | None]


@dataclass(frozen=True)
class Bar:
    """What must hold of ours, and whether it does."""

    name: str
    value: float
    accepted: str
    holds: bool


@dataclass(frozen=True)
class Report:
    """What was measured. `load_share` is how much of its core the load itself took."""

    cores: int
    load: float
    rounds: int
    load_share: float
    gateways: Sequence[str]
    lines: Sequence[Line]
    bars: Sequence[Bar]

    @property
    def holds(self) -> bool:
        """Whether every bar does."""
        return all(bar.holds for bar in self.bars)


def measure(plan: Plan, told: Callable[[str], None], clock: Callable[[], float]) -> Report:
    """Run it; `clock` stamps the key that is made for it.

    Raises BenchError where a server does not start or refuses.
    """
    cores = sorted(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    if len(cores) < 2:
        told("there is one core: the load runs beside what it measures")
    os.sched_setaffinity(0, {cores[-1]})
    try:
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            stub = stack.enter_context(_stub(plan.upstream_port, cores[-1]))
            ours = stack.enter_context(_renga(stub.port, cores[0], Path(folder), clock))
            others = [peer.target for peer in plan.peers]
            if plan.litellm is not None:
                told("LiteLLM's proxy starts")
                found = _litellm(plan.litellm, stub.port, cores[0], Path(folder))
                others.append(stack.enter_context(found))
            for peer in others:
                for pid in peer.pids:
                    os.sched_setaffinity(pid, {cores[0]})
            share = run(_rounds(stub, ours, others, plan, told))
            gateways = [stub, ours, *others]
            measured = lines(gateways), bars(stub, ours, others)  # while their processes are there
    finally:
        os.sched_setaffinity(0, set(cores))
    names = [gateway.name for gateway in gateways]
    return Report(len(cores), load, plan.rounds, share, names, *measured)


@contextmanager
def _stub(port: int, core: int) -> Iterator[Target]:
    port = port or free_port()
    command = [sys.executable, "-m", "renga.bench.upstream", str(port), str(core)]
    with _running(command, port, "stub") as pid:
        yield Target("direct", (pid,), port)


@contextmanager
def _renga(
    upstream_port: int, core: int, folder: Path, clock: Callable[[], float]
) -> Iterator[Target]:
    port, home = free_port(), folder / "renga"
    file = folder / "renga.toml"
    file.write_text(
        CONFIG.format(port=port, upstream=upstream_port, model=upstream.MODEL), encoding="utf-8"
    )
    key = asyncio.run(_make_key(home, clock))
    command = [sys.executable, "-m", "renga.cli", "serve", "--config", str(file)]
    with _running(command, port, "renga", core=core, env={"RENGA_HOME": str(home)}) as pid:
        yield Target("renga", (pid,), port, key=key)


async def _make_key(home: Path, clock: Callable[[], float]) -> str:
    async with await Store.open(sqlite_url(home / "renga.db")) as store:
        made = await Keys(store, clock=clock).create("bench")
    return made.plain


@contextmanager
def _litellm(command: Path, upstream_port: int, core: int, folder: Path) -> Iterator[Target]:
    port, file = free_port(), folder / "litellm.yaml"
    file.write_text(LITELLM.format(upstream=upstream_port, model=upstream.MODEL), encoding="utf-8")
    given = ["--config", str(file), "--port", str(port), "--host", "127.0.0.1"]
    with _running([str(command), *given], port, "LiteLLM", core=core) as _:
        yield Target("LiteLLM", processes_at(port), port, key="sk-bench")


@contextmanager
def _running(
    command: Sequence[str],
    port: int,
    name: str,
    *,
    core: int | None = None,
    env: Mapping[str, str] | None = None,
) -> Iterator[int]:
    """A server from when it listens, pinned to `core`; what it says is shown if it does not."""
    before = os.sched_getaffinity(0)
    with tempfile.TemporaryFile() as said:
        if core is not None:
            os.sched_setaffinity(0, {core})  # the child has it from its first thread on
        try:
            whole = ["env", *(f"{k}={v}" for k, v in (env or {}).items()), *command]
            process = subprocess.Popen(whole, stdout=said, stderr=said)
        except OSError as error:
            raise BenchError(f"{command[0]}: {error.strerror}") from error
        finally:
            os.sched_setaffinity(0, before)
        try:
            try:
                wait_for(port, process, name)
            except BenchError as error:
                said.seek(0)
                last = said.read().decode(errors="replace").strip().splitlines()[-1:]
                raise BenchError(f"{error}: {' '.join(last)}") from error
            yield process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


async def _rounds(
    stub: Target,
    ours: Target,
    others: Sequence[Target],
    plan: Plan,
    told: Callable[[str], None],
) -> float:
    """Every gateway in turn, in every round; the share of their core that load and stub took."""
    busy = _Busy((os.getpid(), *stub.pids))
    for number in range(1, plan.rounds + 1):
        told(f"round {number} of {plan.rounds}")
        for target in (stub, ours, *others):
            calls = plan.calls if target in (stub, ours) else max(64, plan.calls // 4)
            for work in (PLAIN, STREAMED):
                await alone(target, work, max(8, calls // 8))
            await together(target, PLAIN, calls)
            with busy.watching(target is ours):
                await together(target, STREAMED, max(32, calls // 4))
        for work in (MESSAGE, MESSAGES):
            for target in (stub, ours):
                await alone(target, work, max(8, plan.calls // 8))
            await together(ours, work, plan.calls // (1 if work is MESSAGE else 4))
    return busy.share


@dataclass
class _Busy:
    """How much CPU time some processes took while one gateway was under load."""

    pids: tuple[int, ...]
    _cpu: float = 0.0
    _wall: float = field(default=1e-9)

    @contextmanager
    def watching(self, really: bool) -> Iterator[None]:
        cpu, wall = sum(map(cpu_seconds, self.pids)), time.perf_counter()
        yield
        if really:
            self._cpu += sum(map(cpu_seconds, self.pids)) - cpu
            self._wall += time.perf_counter() - wall

    @property
    def share(self) -> float:
        return self._cpu / self._wall


def lines(gateways: Sequence[Target]) -> list[Line]:
    """The table of what was measured."""

    def row(name: str, unit: str, of: Callable[[Target], float | None]) -> Line:
        return Line(name, unit, {g.name: of(g) for g in gateways})

    found = []
    for work in (PLAIN, STREAMED, MESSAGE, MESSAGES):
        n = work.name
        found += [
            row(f"{n}: alone", "ms", lambda g, n=n: _median(g.alone_ms, n)),  # type: ignore[misc]
            row(f"{n}: 16 clients", "/s", lambda g, n=n: _median(g.rates, n)),  # type: ignore[misc]
            row(f"{n}: CPU of a call", "µs", lambda g, n=n: _cpu(g, n)),  # type: ignore[misc]
        ]
    first = row("streamed: first byte", "ms", lambda g: _median(g.first_ms, STREAMED.name))
    return [*found, first, row("memory", "MB", lambda g: g.memory_mb)]


def _median(found: Mapping[str, list[float]], name: str) -> float | None:
    return statistics.median(found[name]) if found.get(name) else None


def _cpu(target: Target, name: str) -> float | None:
    return _median(target.cpu_us, name) if target.pids else None


def bars(stub: Target, ours: Target, others: Sequence[Target]) -> list[Bar]:
    """What ours adds, and its rates and memory beside each of the others."""
    found = []
    for work in (PLAIN, MESSAGE):
        added = statistics.median(ours.alone_ms[work.name])
        added -= statistics.median(stub.alone_ms[work.name])
        found.append(
            Bar(f"added, {work.name} (p50, ms)", added, f"≤ {ADDED_MS}", added <= ADDED_MS)
        )
    for peer in others:
        for work, times in ((PLAIN, TIMES_PLAIN), (STREAMED, TIMES_STREAMED)):
            ratio = statistics.median(ours.rates[work.name])
            ratio /= statistics.median(peer.rates[work.name])
            name = f"{work.name}, times {peer.name}"
            found.append(Bar(name, ratio, f"≥ {times:g}", ratio >= times))
        if ours.memory_mb is not None and peer.memory_mb:
            share = ours.memory_mb / peer.memory_mb
            name = f"memory, share of {peer.name}"
            found.append(Bar(name, share, "≤ 1/3", share <= MEMORY_SHARE))
    return found


def as_json(report: Report) -> str:
    """All figures, for a file."""
    body = {
        "cores": report.cores,
        "load": report.load,
        "rounds": report.rounds,
        "load_share": report.load_share,
        "lines": [{"name": x.name, "unit": x.unit, **x.values} for x in report.lines],
        "bars": [vars(bar) for bar in report.bars],
    }
    return json.dumps(body, indent=1, ensure_ascii=False) + "\n"
