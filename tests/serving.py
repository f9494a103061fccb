"""A real server in its own process, as every test that needs one starts it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Served:
    """A running `renga serve`: its process, its address, and what it said at its start."""

    def __init__(self, process: subprocess.Popen[str], url: str, banner: list[str]) -> None:
        self.process, self.url, self.banner = process, url, banner

    def stop(self, how: int = signal.SIGTERM) -> int:
        """Ask it to end; its exit code."""
        self.process.send_signal(how)
        self.process.communicate(timeout=30)
        return self.process.returncode


def write_config(folder: Path, text: str) -> Path:
    """`text` in a file of that folder."""
    path = folder / "settings.toml"
    path.write_text(text, encoding="utf-8")
    return path


@contextmanager
def serving(
    folder: Path, config: str, *args: str, home: Path | None = None, heard: bool = False
) -> Iterator[Served]:
    """`renga serve` with `config` on a free port, from when it listens until the block ends.

    `home` is its RENGA_HOME, where the environment has none that fits; `heard` keeps what it writes
    to stderr, which must be little, for whoever reads it.
    """
    path = write_config(folder, config)
    command = [sys.executable, "-m", "renga.cli", "serve", "--port", "0", "--config", str(path)]
    process = subprocess.Popen(
        [*command, *args],
        env={**os.environ, **({"RENGA_HOME": str(home)} if home is not None else {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if heard else None,
        text=True,
    )
    served = Served(process, *_read_banner(process))
    try:
        yield served
    finally:
        if process.poll() is None:
            served.stop()


def _read_banner(process: subprocess.Popen[str]) -> tuple[str, list[str]]:
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        if "configuration:" in line:
            return lines[0].rpartition(" ")[2], lines
    raise AssertionError(f"the server did not start: {process.communicate()[1]}")
