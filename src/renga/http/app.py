"""The application: routes over the running parts, inside the door.

Owns which endpoints there are, one line each. What an endpoint needs is passed to it here, and
nothing more. It opens no socket; that is `renga.http.server`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route

from renga.app import App
from renga.batches.service import Batches
from renga.http.access import Access
from renga.http.account import Account
from renga.http.admin.entry import Entry
from renga.http.admin.keys import ApiKeyEndpoints
from renga.http.admin.organization import OrganizationEndpoints
from renga.http.admin.workspaces import WorkspaceEndpoints
from renga.http.auth import Auth
from renga.http.batches import BatchEndpoints
from renga.http.door import Door
from renga.http.errors import handlers
from renga.http.files import FileEndpoints
from renga.http.health import Health
from renga.http.loading import Loading
from renga.http.messages import Manners, Messages
from renga.http.metrics import MetricsPage
from renga.http.models import Models
from renga.http.openai.chat import Chat
from renga.http.openai.errors import envelopes
from renga.http.openai.limits import RateLimits
from renga.http.openai.models import OpenAIModels
from renga.http.openapi import Description
from renga.http.requests import Requests
from renga.http.running import Running
from renga.http.sse import PING_SECONDS
from renga.prices import load_prices
from renga.workspaces import Workspaces

MB = 1_000_000


def create_http(
    app: App,
    *,
    running: Running | None = None,
    batches: Batches | None = None,
    ping_seconds: float = PING_SECONDS,
    ticks: Callable[[], float] = time.monotonic,
) -> Starlette:
    """The ASGI application over `app`.

    Args:
        app: the running parts.
        running: shared with what drains the server.
        batches: shared with what works on them.
        ping_seconds: the longest silence in a stream.
        ticks: seconds that never go back.
    """
    running = running or Running()
    batches = batches or make_batches(app)
    routes = _routes(app, Auth(app.keys, ticks=ticks), running, batches, ping_seconds)
    lines = app.config.telemetry.access
    access = Access(app.watch, routes, clock=app.clock, ticks=ticks, lines=lines)
    http = Starlette(
        routes=routes,
        middleware=[
            Middleware(Door, ids=app.ids, running=running, envelopes=envelopes, access=access)
        ],
        exception_handlers=dict(handlers([route.path for route in routes], envelopes)),
    )
    http.router.redirect_slashes = False
    return http


def make_batches(app: App) -> Batches:
    """The batches of the database of `app`."""
    return Batches(
        app.ledger.store,
        instance_id=app.ledger.instance_id,
        clock=app.clock,
        ids=app.ids,
        config=app.config.batches,
    )


def _routes(
    app: App, auth: Auth, running: Running, batches: Batches, ping_seconds: float
) -> list[Route]:
    limit = app.config.server.max_body_mb * MB
    account = Account(app.limits, home=app.config.home, clock=app.clock)
    workspaces, entry = Workspaces(app.ledger.store, clock=app.clock), Entry(auth, account)
    endpoints = (
        Messages(
            gateway=app.gateway,
            auth=auth,
            account=account,
            running=running,
            manners=Manners(limit, ping_seconds, strict=app.config.server.strict),
        ),
        Chat(
            gateway=app.gateway,
            auth=auth,
            running=running,
            clock=app.clock,
            limits=RateLimits(app.limits),
            limit=limit,
            ping_seconds=ping_seconds,
        ),
        OpenAIModels(router=app.router, auth=auth),
        Models(router=app.router, auth=auth),
        BatchEndpoints(
            batches=batches,
            app=app,
            auth=auth,
            account=account,
            prices=load_prices(app.config.prices),
        ),
        FileEndpoints(
            files=app.files,
            auth=auth,
            account=account,
            downloadable=app.config.files.downloadable,
        ),
        ApiKeyEndpoints(keys=app.keys, workspaces=workspaces, entry=entry, clock=app.clock),
        WorkspaceEndpoints(workspaces=workspaces, entry=entry),
        OrganizationEndpoints(
            limits=app.limits, router=app.router, workspaces=workspaces, entry=entry
        ),
        Loading(router=app.router, loadables=app.loadables, auth=auth),
        Requests(ledger=app.ledger, auth=auth),
        Description(),
        MetricsPage(metrics=app.watch.metrics, auth=auth, shown=app.config.telemetry.metrics),
        Health(router=app.router, backends=app.loadables, ledger=app.ledger, running=running),
    )
    return [route for endpoint in endpoints for route in endpoint.routes()]
