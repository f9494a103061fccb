"""OpenAI's `GET /v1/models` and `GET /v1/models/{id}`: the same models in its words.

Both APIs have these paths; the routes here match only what one of OpenAI's clients sent, so they
stand before the others.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Route
from starlette.types import Scope
from typing_extensions import TypedDict

from renga.http.auth import Auth
from renga.http.errors import request_id_of
from renga.http.openai.errors import is_theirs
from renga.routing import Router
from renga.types import ModelInfo

OWNER = "renga"


class OpenAIModel(TypedDict):
    """A model; the last two are not OpenAI's, but what clients of local servers look for."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    context_window: int | None
    max_output_tokens: int


class OpenAIModelList(TypedDict):
    """All models."""

    object: Literal["list"]
    data: list[OpenAIModel]


class TheirRoute(Route):
    """A route that only requests of OpenAI's clients match."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """See `Route`."""
        matched = super().matches(scope)
        return matched if matched[0] is Match.NONE or is_theirs(scope) else (Match.NONE, {})


class OpenAIModels:
    """The endpoints over the router."""

    def __init__(self, *, router: Router, auth: Auth) -> None:
        self._router = router
        self._auth = auth

    def routes(self) -> list[Route]:
        """What it answers."""
        return [
            TheirRoute("/v1/models", self.list, methods=["GET"]),
            TheirRoute("/v1/models/{name:path}", self.retrieve, methods=["GET"]),
        ]

    async def list(self, request: Request) -> Response:
        """All models; there are no pages."""
        await self._auth.caller(request, "models")
        data = [described(model) for model in self._router.models()]
        return _response(OpenAIModelList(object="list", data=data), request)

    async def retrieve(self, request: Request) -> Response:
        """One model, by its id or by any name that resolves to it."""
        await self._auth.caller(request, "models")
        return _response(described(self._router.model(request.path_params["name"])), request)


def described(model: ModelInfo) -> OpenAIModel:
    """`model` in OpenAI's words."""
    return {
        "id": model.id,
        "object": "model",
        "created": int(datetime.fromisoformat(model.created_at).timestamp()),
        "owned_by": OWNER,
        "context_window": model.max_input_tokens,
        "max_output_tokens": model.max_tokens,
    }


def _response(body: Any, request: Request) -> Response:
    return JSONResponse(body, headers={"x-request-id": request_id_of(request)})
