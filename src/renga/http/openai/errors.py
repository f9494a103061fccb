"""Errors in the envelope that OpenAI's clients read, and who reads it.

Owns the table of statuses, types and codes there, and the rule how a client of that kind is told
apart on the paths that both APIs have: it sends a bearer token and no `anthropic-version`. Which
error it is stands in `renga.errors`, whose messages it hands on.
"""

from __future__ import annotations

import re
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from renga import errors
from renga.errors import InvalidRequest, RengaError
from renga.http.errors import Envelope, error_response

CHAT = "/v1/chat/"
# Paths that only their clients ask for, and the one that both do.
THEIRS = (CHAT, "/v1/responses", "/v1/completions", "/v1/embeddings")
SHARED = "/v1/models"

TOO_LONG = "prompt is too long"

# Class -> status, type, code; without an entry a class keeps its status. 529 is unknown there.
TABLE: dict[type[RengaError], tuple[int, str, str | None]] = {
    errors.AuthenticationFailed: (401, "invalid_request_error", "invalid_api_key"),
    errors.BillingRefused: (402, "insufficient_quota", "insufficient_quota"),
    errors.NotFound: (404, "invalid_request_error", None),
    errors.RateLimited: (429, "rate_limit_error", "rate_limit_exceeded"),
    errors.Unavailable: (503, "server_error", "server_unavailable"),
    errors.Overloaded: (503, "server_error", "server_overloaded"),
}
_PARAM = re.compile(r"([a-z_]+(?:\.\w+)*): ")
_INDEX = re.compile(r"\.(\d+)")


def body_of(error: RengaError) -> dict[str, Any]:
    """The envelope. `param` is the path that the message begins with, as their docs write paths."""
    _, type_, code = _entry(type(error))
    found = _PARAM.match(error.message)
    param = _INDEX.sub(r"[\1]", found[1]) if found else None
    if isinstance(error, errors.NotFound) and param == "model":
        code = "model_not_found"
    if isinstance(error, InvalidRequest) and error.message.startswith(TOO_LONG):
        param, code = "messages", "context_length_exceeded"
    return {"error": {"message": error.message, "type": type_, "param": param, "code": code}}


def envelope(error: RengaError, request_id: str) -> Response:
    """`error` as a response to one of their clients."""
    headers = error.headers() | {"x-request-id": request_id}
    return JSONResponse(body_of(error), status_of(type(error)), headers)


def status_of(cls: type[RengaError]) -> int:
    """The status of an error of that class."""
    return _entry(cls)[0]


def envelopes(scope: Scope) -> Envelope:
    """The envelope that the sender of a request reads."""
    path: str = scope["path"]
    if path.startswith(THEIRS) or (path.startswith(SHARED) and is_theirs(scope)):
        return envelope
    return error_response


def is_theirs(scope: Scope) -> bool:
    """Whether one of their clients sent the request."""
    headers = dict(scope["headers"])
    bearer = headers.get(b"authorization", b"").lower().startswith(b"bearer ")
    return bearer and b"anthropic-version" not in headers and b"x-api-key" not in headers


def _entry(cls: type[RengaError]) -> tuple[int, str, str | None]:
    for base in cls.__mro__:
        if base in TABLE:
            return TABLE[base]
    return cls.status, "server_error" if cls.status >= 500 else "invalid_request_error", None
