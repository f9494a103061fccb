"""`make bench`: the issue's bars, measured on a real server through the official client.

Start, memory, time to first token of unique prompts, time of a long output, three runs beside the
machine's own rates in the same table. Bars in seconds hold on an otherwise idle machine; the load
is printed so that a reader can tell. Knows nothing of renga's insides: it speaks HTTP only.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
import msgspec
from rich.console import Console
from rich.table import Table

from renga.bench.machine import Machine, measure_machine

WORDS = (
    "order parcel invoice customer refund account password delivery street window number letter "
    "monday april seven eleven green silver garden river market station ticket payment change "
    "return broken missing early late open closed morning evening support manager answer question"
).split()

# bar, unit, what it is; from the issue that set it
BARS = {
    "start": (3.0, "s", "start until /readyz"),
    "ttft_p95": (200.0, "ms", "TTFT p95, unique 1,000-token prompts"),
    "output_1000": (2.0, "s", "1,000 tokens of output, one stream"),
    "memory": (1000.0, "MB", "memory of all processes, after the load"),
}
BESIDE = {
    "ttft_p50": ("ms", "TTFT p50, the same prompts"),
    "ttft_warm": ("ms", "TTFT p50, a prompt seen before"),
    "rate_1": ("tok/s", "output rate, one stream"),
    "rate_16": ("tok/s", "output rate, 16 streams together"),
}


@dataclass(frozen=True)
class Server:
    """A running server under test."""

    url: str
    pid: int
    start_seconds: float


@contextmanager
def running_server(config: Path | None) -> Iterator[Server]:
    """`renga serve` in a process of its own, with a state folder of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-m", "renga.cli", "serve", "--port", str(port)]
        command += ["--config", str(config)] if config else []
        begin = time.perf_counter()
        process = subprocess.Popen(
            command,
            env={**os.environ, "RENGA_HOME": home},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _wait_ready(url, process)
            yield Server(url, process.pid, time.perf_counter() - begin)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)


def _wait_ready(url: str, process: subprocess.Popen[bytes], limit: float = 60) -> None:
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit("the server ended while starting; run `renga serve` to see why")
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=1):
                return
        except OSError:
            time.sleep(0.01)
    raise SystemExit(f"the server was not ready within {limit:.0f} s")


def unique_prompt(client: anthropic.Anthropic, rng: random.Random, tokens: int) -> str:
    """Random words that count as `tokens` tokens with the template around them, or just under."""
    words = [rng.choice(WORDS) for _ in range(tokens)]

    def size(count: int) -> int:
        turns: list[Any] = [{"role": "user", "content": " ".join(words[:count])}]
        return client.messages.count_tokens(model="haiku", messages=turns).input_tokens

    low, high = 1, len(words)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if size(middle) <= tokens else (low, middle - 1)
    return " ".join(words[:low])


def first_token(client: anthropic.Anthropic, prompt: str) -> float:
    """Milliseconds from sending to the first text delta."""
    begin = time.perf_counter()
    with client.messages.stream(
        model="haiku", max_tokens=4, messages=[{"role": "user", "content": prompt}]
    ) as stream:
        for event in stream:
            if event.type == "content_block_delta":
                return (time.perf_counter() - begin) * 1000
    return (time.perf_counter() - begin) * 1000  # an empty answer: its end is what a user sees


def forced_output(client: anthropic.Anthropic, tokens: int) -> tuple[float, int]:
    """(seconds, tokens) of one answer that its schema keeps going until max_tokens cuts it."""
    schema = {"type": "string", "minLength": tokens * 12, "maxLength": tokens * 20}
    begin = time.perf_counter()
    answer = client.messages.create(
        model="haiku",
        max_tokens=tokens,
        messages=[{"role": "user", "content": "Tell me everything about returns."}],
        output_config={"format": {"type": "json_schema", "schema": schema}},
    )
    return time.perf_counter() - begin, answer.usage.output_tokens


def together(url: str, streams: int, tokens: int) -> float:
    """Tokens per second of `streams` forced outputs at once, each with a connection of its own."""
    from concurrent.futures import ThreadPoolExecutor

    begin = time.perf_counter()
    with ThreadPoolExecutor(streams) as pool:
        counts = list(pool.map(lambda _: forced_output(_client(url), tokens)[1], range(streams)))
    return sum(counts) / (time.perf_counter() - begin)


def memory_mb(pid: int) -> float:
    """Proportional memory of the process and its children, MB (10^6 bytes)."""
    total = 0.0
    for process in [pid, *_children(pid)]:
        text = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii")
        line = next(part for part in text.splitlines() if part.startswith("Pss:"))
        total += int(line.split()[1]) * 1024 / 1e6
    return total


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text(encoding="ascii").split():
            found += [int(child), *_children(int(child))]
    return found


def _client(url: str) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=url, api_key="bench", max_retries=0)


def one_run(config: Path | None, seed: int, prompts: int) -> dict[str, float]:
    """All figures of one fresh server."""
    rng = random.Random(seed)
    with running_server(config) as server:
        client = _client(server.url)
        first_token(client, "warm up the connection")
        texts = [unique_prompt(client, rng, 1000) for _ in range(prompts)]
        cold = [first_token(client, text) for text in texts]
        warm = [first_token(client, texts[0]) for _ in range(10)]
        seconds, tokens = forced_output(client, 1000)
        rate = together(server.url, 16, 200)
        memory = memory_mb(server.pid)
    return {
        "start": server.start_seconds,
        "ttft_p50": statistics.median(cold),
        "ttft_p95": statistics.quantiles(cold, n=20)[-1],
        "ttft_warm": statistics.median(warm),
        "output_1000": seconds * 1000 / tokens,
        "rate_1": tokens / seconds,
        "rate_16": rate,
        "memory": memory,
    }


def show(machine: Machine, runs: list[dict[str, float]]) -> bool:
    """Print the table; true when every bar holds in every run."""
    table = Table(title="renga serving, shipped haiku", caption=machine.words())
    for column in ("what", *(f"run {i + 1}" for i in range(len(runs))), "bar", ""):
        table.add_column(column, justify="left" if column == "what" else "right")
    held = True
    for name, (bar, unit, what) in BARS.items():
        worst = max(run[name] for run in runs)
        held &= worst <= bar
        cells = [f"{run[name]:,.2f}" if unit == "s" else f"{run[name]:,.0f}" for run in runs]
        verdict = "ok" if worst <= bar else "over"
        table.add_row(f"{what} ({unit})", *cells, f"≤ {bar:g}", verdict)
    for name, (unit, what) in BESIDE.items():
        table.add_row(f"{what} ({unit})", *(f"{run[name]:,.0f}" for run in runs), "", "")
    Console().print(table)
    return held


def main() -> int:
    """Run, print, optionally write JSON. Exit code 1 when a bar does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=40, help="unique prompts a run, 20 or more")
    parser.add_argument("--config", type=Path, default=None, help="a renga.toml to serve with")
    parser.add_argument("--json", type=Path, default=None, help="also write the figures here")
    options = parser.parse_args()
    machine = measure_machine()
    runs = []
    for number in range(options.runs):
        Console(stderr=True).print(f"run {number + 1} of {options.runs} ...")
        runs.append(one_run(options.config, seed=number, prompts=max(20, options.prompts)))
    if options.json:
        options.json.write_text(
            json.dumps({"machine": msgspec.structs.asdict(machine), "runs": runs}, indent=1)
        )
    return 0 if show(machine, runs) else 1


if __name__ == "__main__":
    sys.exit(main())
