"""What every test stands on: an environment without surprises, and a real server to talk to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SCRIPTED = """
[backends.script]
kind = "scripted"
{options}
[tiers.haiku]
backends = ["script"]
"""


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the person who runs the tests reaches them, and no test their files."""
    for name in [n for n in os.environ if n.startswith(("RENGA_", "ANTHROPIC_", "OPENAI_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("RENGA_HOME", str(tmp_path / "home"))


RunRenga = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def renga(tmp_path: Path) -> RunRenga:
    """Run the command to its end in an empty folder: `renga("ask", "hi", input="", config=...)`."""

    def run(
        *args: str, input: str | None = None, config: str | None = None, **env: str
    ) -> subprocess.CompletedProcess[str]:
        named = ["--config", str(write_config(tmp_path, config))] if config is not None else []
        return subprocess.run(
            [sys.executable, "-m", "renga.cli", *args, *named],
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, **env},
            timeout=50,
            check=False,
        )

    return run


def scripted(**options: object) -> str:
    """A configuration with one scripted backend: `scripted(reply="hi", token_delay_ms=5)`."""
    lines = [f"{k} = {_toml(v)}" for k, v in options.items()]
    return SCRIPTED.format(options="\n".join(lines))


def _toml(value: object) -> str:
    return repr(value) if isinstance(value, (int, float)) else f'"{value}"'


def write_config(folder: Path, text: str) -> Path:
    """`text` in a file of that folder."""
    path = folder / "settings.toml"
    path.write_text(text, encoding="utf-8")
    return path


StartServer = Callable[..., "Served"]


class Served:
    """A running `renga serve`."""

    def __init__(self, process: subprocess.Popen[str], url: str, banner: list[str]) -> None:
        self.process, self.url, self.banner = process, url, banner

    def stop(self, how: int = signal.SIGTERM) -> int:
        """Ask it to end; its exit code."""
        self.process.send_signal(how)
        self.process.communicate(timeout=30)
        return self.process.returncode


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Start `renga serve` on a free port: `start_server(scripted(reply="hi"))`."""
    started: list[Served] = []

    def start(config: str, *args: str) -> Served:
        path = write_config(tmp_path, config)
        command = [sys.executable, "-m", "renga.cli", "serve", "--port", "0", "--config", str(path)]
        process = subprocess.Popen(
            [*command, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        served = Served(process, *_read_banner(process))
        started.append(served)
        return served

    yield start
    for served in started:
        if served.process.poll() is None:
            served.stop()


def _read_banner(process: subprocess.Popen[str]) -> tuple[str, list[str]]:
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        if "configuration:" in line:
            return lines[0].rpartition(" ")[2], lines
    raise AssertionError(f"the server did not start: {process.communicate()[1]}")
