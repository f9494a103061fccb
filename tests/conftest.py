"""What every test stands on: an environment without surprises, and a real server to talk to."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from renga.store import sqlite_url
from renga.store.database import open_database
from tests import postgres as postgresql
from tests.postgres import Postgres
from tests.serving import Served, serving, write_config

__all__ = ["RunRenga", "Served", "StartServer", "scripted", "write_config"]

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


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server, started when the first test wants it."""
    with postgresql.running(lambda url: open_database(url).close()) as server:
        yield server


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    """A database of a test's own that has renga's tables, and no row."""
    name = postgres.create("made")
    yield postgres.url(name)
    postgres.drop(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, of one kind and then of the other."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "renga.db")
    url: str = request.getfixturevalue("postgres_url")
    return url


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


StartServer = Callable[..., Served]


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Start `renga serve` on a free port: `start_server(scripted(reply="hi"))`."""
    with ExitStack() as stack:

        def start(config: str, *args: str) -> Served:
            return stack.enter_context(serving(tmp_path, config, *args, heard=True))

        yield start
