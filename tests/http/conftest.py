from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.http import served
from tests.http.served import Serve, Served


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    """Starts a server: `await serve(haiku={"reply": "hi"}, ping_seconds=0.1)`."""
    async with AsyncExitStack() as stack:

        async def begin(**tiers: Any) -> Served:
            return await served.start(stack, tmp_path / "home", **tiers)

        yield begin


@pytest.fixture
async def echo(serve: Serve) -> Served:
    """A server whose haiku repeats what it is told."""
    return await serve()
