"""One server for all foreign clients: the shipped model behind every tier, in its own process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

CONFIG = """
[backends.small]
kind = "local"
model = "shipped:haiku"
[tiers.haiku]
backends = ["small"]
[tiers.sonnet]
backends = ["small"]
[tiers.opus]
backends = ["small"]
"""


@pytest.fixture(scope="session")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a running server that answers with the shipped model."""
    folder = tmp_path_factory.mktemp("server")
    config = folder / "renga.toml"
    config.write_text(CONFIG, encoding="utf-8")
    command = [sys.executable, "-m", "renga.cli", "serve", "--port", "0", "--config", str(config)]
    process = subprocess.Popen(
        command,
        env={**os.environ, "RENGA_HOME": str(folder / "home")},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
        process.terminate()
