"""`GET /metrics`: what the server counts about itself, for Prometheus.

Owns who may read it: whoever asks from this machine while no key exists, and a key with the scope
`metrics` or `admin` from then on. The numbers are of all workspaces together, so that a key which
answers one workspace's requests is not enough.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from renga.http.auth import Auth
from renga.watching.metrics import Metrics


class MetricsPage:
    """The endpoint over the numbers of one server; there is none where they are not `shown`."""

    def __init__(self, *, metrics: Metrics, auth: Auth, shown: bool) -> None:
        self._metrics = metrics
        self._auth = auth
        self._shown = shown

    def routes(self) -> list[Route]:
        """What it answers."""
        return [Route("/metrics", self.read, methods=["GET"])] if self._shown else []

    async def read(self, request: Request) -> Response:
        """All of them, as text."""
        await self._auth.observer(request)
        body, media_type = self._metrics.page(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": media_type})
