"""`GET /healthz`, `GET /readyz`, `GET /api/hello`: whether the process lives and takes requests.

Owns what ready means: not draining, the ledger can be written, and a tier at least has a backend
that is ready. A model that failed keeps nobody from the others; the tiers without one are named, as
is whatever else is missing. No key is asked for: who probes has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from typing_extensions import TypedDict

from renga.backends.base import Backend
from renga.http.running import RETRY_SECONDS, Running
from renga.ledger import Ledger
from renga.routing import TIERS, Router


class Alive(TypedDict):
    """The process lives."""

    status: Literal["ok"]


class Readiness(TypedDict):
    """Whether a request would be taken, what is missing, and what each backend says of itself."""

    status: Literal["ready", "not ready"]
    missing: list[str]
    backends: dict[str, str]


class Health:
    """The endpoints over what can be missing."""

    def __init__(
        self, *, router: Router, backends: Mapping[str, Backend], ledger: Ledger, running: Running
    ) -> None:
        self._router = router
        self._backends = backends
        self._ledger = ledger
        self._running = running

    def routes(self) -> list[Route]:
        """What it answers."""
        return [
            Route("/healthz", self.live, methods=["GET"]),
            Route("/readyz", self.ready, methods=["GET"]),
            Route("/api/hello", self.hello, methods=["GET"]),
        ]

    async def hello(self, request: Request) -> Response:
        """That somebody is here: Claude Code asks before its first request."""
        return JSONResponse({"message": "hello"})

    async def live(self, request: Request) -> Response:
        """The event loop turns."""
        return JSONResponse(Alive(status="ok"))

    async def ready(self, request: Request) -> Response:
        """What serves, and what is missing for it."""
        missing, unserved = self._missing(), self._unserved()
        missing += unserved
        ready = len(missing) == len(unserved) < len(TIERS)
        body: Readiness = {
            "status": "ready" if ready else "not ready",
            "missing": missing,
            "backends": {name: b.health().words for name, b in self._backends.items()},
        }
        headers = {} if ready else {"retry-after": f"{RETRY_SECONDS:.0f}"}
        return JSONResponse(body, 200 if ready else 503, headers)

    def _missing(self) -> list[str]:
        missing = ["the server is stopping"] if self._running.draining else []
        if self._ledger.store.writer.failure is not None:
            missing.append("the ledger cannot be written")
        return missing

    def _unserved(self) -> list[str]:
        missing = []
        for tier in TIERS:
            serving = self._router.backends_of(tier)
            if not any(b.health().ready for b in serving):
                words = "; ".join(f"{b.name}: {b.health().words}" for b in serving)
                missing.append(f"tier {tier}: no backend is ready ({words})")
        return missing
