"""The application: routes over the running parts, inside the door.

Owns which endpoints there are, one line each. What an endpoint needs is passed to it here, and
nothing more. It opens no socket; that is `renga.http.server`.
"""

from __future__ import annotations

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.routing import Route

from renga.app import App
from renga.http.auth import Auth
from renga.http.door import Door
from renga.http.errors import handlers
from renga.http.health import Health
from renga.http.messages import Messages
from renga.http.models import Models
from renga.http.requests import Requests
from renga.http.running import Running
from renga.http.sse import PING_SECONDS

MB = 1_000_000


def create_http(
    app: App, *, running: Running | None = None, ping_seconds: float = PING_SECONDS
) -> FastAPI:
    """The ASGI application over `app`; `running` is shared with what drains it."""
    running = running or Running()
    routes = _routes(app, running, ping_seconds)
    http = FastAPI(
        title="renga",
        openapi_url=None,  # bodies are read by hand, so a generated description would be empty
        redirect_slashes=False,
        routes=routes,  # type: ignore[arg-type]  # list[Route], where list[BaseRoute] is named
        middleware=[Middleware(Door, ids=app.ids, running=running)],
        exception_handlers=dict(handlers([route.path for route in routes])),
    )
    return http


def _routes(app: App, running: Running, ping_seconds: float) -> list[Route]:
    auth = Auth(app.keys)
    limit = app.config.server.max_body_mb * MB
    endpoints = (
        Messages(
            gateway=app.gateway, auth=auth, running=running, limit=limit, ping_seconds=ping_seconds
        ),
        Models(router=app.router, auth=auth),
        Requests(ledger=app.ledger, auth=auth),
        Health(router=app.router, backends=app.backends, ledger=app.ledger, running=running),
    )
    return [route for endpoint in endpoints for route in endpoint.routes()]
