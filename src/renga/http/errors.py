"""Errors as responses: one serializer for every error that leaves, in the envelope of its API.

Owns the translation of the router's 404 and 405, and of whatever nobody expected. Which status and
wire type an error has stands on its class in `renga.errors`; an edge that speaks another API's
words brings an `Envelope` of its own.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Route
from starlette.types import Scope

from renga.errors import ApiError, InvalidRequest, MethodNotAllowed, NotFound, RengaError

REQUEST_ID = "renga.request_id"  # its place in the ASGI scope

Envelope = Callable[[RengaError, str], Response]  # an error and the request's id -> its response
Envelopes = Callable[[Scope], Envelope]  # in which one the sender of a request reads errors


def request_id_of(request: Request) -> str:
    """The id that the door gave this request."""
    request_id: str = request.scope[REQUEST_ID]
    return request_id


def error_response(error: RengaError, request_id: str) -> Response:
    """`error` in the envelope, with `retry-after` where a retry may succeed."""
    return JSONResponse(error.envelope(request_id), error.status, error.headers())


def unexpected() -> ApiError:
    """What a caller is told about an error of ours: nothing of its inside; the log has the rest."""
    return ApiError("internal server error; the server's log has more under this request_id")


def _renga_error(envelopes: Envelopes) -> Callable[[Request, Exception], Any]:
    async def respond(request: Request, error: Exception) -> Response:
        assert isinstance(error, RengaError)
        return envelopes(request.scope)(error, request_id_of(request))

    return respond


def _http_error(paths: list[str], envelopes: Envelopes) -> Callable[[Request, Exception], Any]:
    async def respond(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        found = _of_status(error, request, paths)
        response = envelopes(request.scope)(found, request_id_of(request))
        for name, value in (error.headers or {}).items():
            response.headers[name] = value
        if error.status_code == 405:
            response.headers["allow"] = _methods_at(request)
        return response

    return respond


def _of_status(error: HTTPException, request: Request, paths: list[str]) -> RengaError:
    path = request.url.path[:200]
    if error.status_code == 404:
        near = difflib.get_close_matches(path, paths, n=1, cutoff=0.8)
        return NotFound(f"no such path: {path}" + (f" (did you mean {near[0]}?)" if near else ""))
    if error.status_code == 405:
        allowed = _methods_at(request)
        return MethodNotAllowed(f"{request.method} {path}: method not allowed; accepted: {allowed}")
    return InvalidRequest(str(error.detail)) if error.status_code < 500 else unexpected()


def _methods_at(request: Request) -> str:
    """All methods that a path takes; the router tells those of its first route alone."""
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    here = [route for route in routes if route.matches(request.scope)[0] is not Match.NONE]
    return ", ".join(sorted({method for route in here for method in route.methods or ()}))


def handlers(
    paths: list[str], envelopes: Envelopes
) -> Mapping[Any, Callable[[Request, Exception], Any]]:
    """Exception class -> what answers it. `paths` are the known ones, for a near miss."""
    return {
        RengaError: _renga_error(envelopes),
        HTTPException: _http_error(paths, envelopes),
    }
