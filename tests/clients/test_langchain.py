"""LangChain's standard tests against a running server with the shipped model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.packages import LANGCHAIN, PROGRAMS, from_pypi

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def test_its_standard_tests_pass(url: str, tmp_path: Path):
    settings = tmp_path / "pytest.ini"
    settings.write_text(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_test_loop_scope = session\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "pytest", "-q", "-c", str(settings), "--tb=short"]
    done = subprocess.run(
        [
            *command,
            "-rf",
            "--noconftest",
            "-p",
            "no:cacheprovider",
            str(PROGRAMS / "standard_langchain.py"),
        ],
        env={
            **os.environ,
            "PYTHONPATH": str(from_pypi("langchain", LANGCHAIN)),
            "SERVER_URL": url,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-12_000:]
