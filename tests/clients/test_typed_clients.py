"""pydantic-ai and instructor against a running server with the shipped model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest

from tests.clients.packages import INSTRUCTOR, PROGRAMS, PYDANTIC_AI, from_pypi

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def use(script: str, name: str, packages: Sequence[str], url: str) -> dict[str, Any]:
    """What `script` found at the server with `packages`."""
    done = subprocess.run(
        [sys.executable, str(PROGRAMS / script), url],
        env={**os.environ, "PYTHONPATH": str(from_pypi(name, packages))},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-6_000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_pydantic_ai_gets_texts_types_and_a_sum(url: str):
    found = use("use_pydantic_ai.py", "pydantic-ai", PYDANTIC_AI, url)
    assert found["text"].strip()
    assert found["streamed"].strip()
    assert set(found["visit"]) == {"city", "days"}
    assert found["calls"] == [[17, 25]]
    assert "42" in found["sum"]


def test_instructor_gets_its_type_by_a_tool_whole_and_streamed(url: str):
    found = use("use_instructor.py", "instructor", INSTRUCTOR, url)
    for visit in found.values():
        assert isinstance(visit["city"], str)
        assert isinstance(visit["days"], int)
    assert len(found) == 2
