"""`GET /v1/renga/models` and `POST /v1/renga/models/{backend}/load` or `/unload`.

Owns who may load and unload: keys of the workspace `default`, the operator's, since it is felt by
every workspace. Both can be asked for twice, and answer when it is done; what happens between the
states is `renga.loading`'s.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Literal

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from typing_extensions import TypedDict

from renga.backends.base import State
from renga.errors import NotFound, PermissionDenied, SetupError, Unavailable
from renga.http.auth import DEFAULT_WORKSPACE, Auth
from renga.loading import Loadable
from renga.routing import TIERS, Router, Tier


class BackendState(TypedDict):
    """A backend: how it is, in a word and in a sentence, and the tiers that it serves."""

    type: Literal["renga_backend"]
    backend: str
    kind: str
    state: State
    words: str
    tiers: list[Tier]


class BackendList(TypedDict):
    """Every backend."""

    data: list[BackendState]


class Loading:
    """The endpoints over the backends that tiers name."""

    def __init__(self, *, router: Router, loadables: Mapping[str, Loadable], auth: Auth) -> None:
        self._router = router
        self._loadables = loadables
        self._auth = auth

    def routes(self) -> list[Route]:
        """What it answers."""
        return [
            Route("/v1/renga/models", self.list, methods=["GET"]),
            Route("/v1/renga/models/{name}/load", self.load, methods=["POST"]),
            Route("/v1/renga/models/{name}/unload", self.unload, methods=["POST"]),
        ]

    async def list(self, request: Request) -> Response:
        """Every backend and its state."""
        await self._auth.caller(request, "models")
        found = [self._described(b) for b in self._loadables.values()]
        return JSONResponse(BackendList(data=found))

    async def load(self, request: Request) -> Response:
        """Load a backend; answers when it is ready, with a 503 where it cannot be."""
        backend = await self._wanted(request)
        try:
            await backend.load()
        except SetupError as error:
            hint = f" ({error.hint})" if error.hint else ""
            raise Unavailable(f"{error.message}{hint}") from error
        return JSONResponse(self._described(backend))

    async def unload(self, request: Request) -> Response:
        """Unload a backend; answers when its memory is free."""
        backend = await self._wanted(request)
        await backend.unload()
        return JSONResponse(self._described(backend))

    async def _wanted(self, request: Request) -> Loadable:
        caller = await self._auth.caller(request, "models")
        if caller.workspace != DEFAULT_WORKSPACE:
            raise PermissionDenied(
                "models are loaded and unloaded with a key of the workspace "
                f"'{DEFAULT_WORKSPACE}'; this one is of '{caller.workspace}'"
            )
        name: str = request.path_params["name"]
        found = self._loadables.get(name)
        if found is None:
            near = difflib.get_close_matches(name, self._loadables, n=1, cutoff=0.5)
            mend = (
                f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(self._loadables)}"
            )
            raise NotFound(f"backend: there is no '{name[:100]}'; {mend}")
        return found

    def _described(self, backend: Loadable) -> BackendState:
        health = backend.health()
        tiers = [t for t in TIERS if backend in self._router.backends_of(t)]
        return {
            "type": "renga_backend",
            "backend": backend.name,
            "kind": backend.kind,
            "state": health.state,
            "words": health.words,
            "tiers": tiers,
        }
