"""How an endpoint is described: its name, what it takes, what it answers, what it needs.

Owns the shape of a description and the parameters that many endpoints share. Which endpoints there
are stands in `renga.http.operations`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from renga import errors
from renga.errors import RengaError
from renga.http.models import LARGEST_PAGE, LIFECYCLES
from renga.http.versions import VERSIONS
from renga.keys import Scope

Json = dict[str, Any]

ALWAYS = (errors.AuthenticationFailed, errors.ApiError, errors.Unavailable)
ASKING = (
    *ALWAYS,
    errors.InvalidRequest,
    errors.NotFound,
    errors.RequestTimeout,
    errors.RequestTooLarge,
    errors.RateLimited,
    errors.GatewayTimeout,
    errors.Overloaded,
)


def parameter(name: str, place: str, about: str, schema: Json, *, needed: bool = False) -> Json:
    """A parameter as OpenAPI has it; `place` is path, query or header."""
    return {
        "name": name,
        "in": place,
        "required": needed or place == "path",
        "description": about,
        "schema": schema,
    }


TEXT: Json = {"type": "string"}
VERSION = parameter(
    "anthropic-version",
    "header",
    "the version of the API",
    {"type": "string", "enum": list(VERSIONS)},
    needed=True,
)
BETAS = parameter(
    "anthropic-beta", "header", "betas, with commas; see the table of betas", {"type": "string"}
)
PAGES = (
    parameter(
        "limit",
        "query",
        "the size of a page",
        {"type": "integer", "minimum": 1, "maximum": LARGEST_PAGE, "default": 20},
    ),
    parameter("after_id", "query", "the page behind this id", TEXT),
    parameter("before_id", "query", "the page before this id", TEXT),
    parameter(
        "lifecycle[]",
        "query",
        "which are listed: active and deprecated ones, where it is left out",
        {"type": "array", "items": {"type": "string", "enum": list(LIFECYCLES)}},
    ),
)


@dataclass(frozen=True)
class Operation:
    """One endpoint.

    `answer` is the type of the body, None where it is bytes of any type; `other` is that of the
    same path in other words, where a client asks that knows those. `stream` is what the events of
    a stream are; `raises` are the errors that can come instead, `failure` the shape that they have
    where it is not the usual one.
    """

    name: str
    method: str
    path: str
    tag: str
    about: str
    answer: Any
    body: Any = None
    form: Json | None = None
    """The schema of a body that is `multipart/form-data`."""
    words: Mapping[str, str] = field(default_factory=dict)
    ignored: Mapping[str, str] = field(default_factory=dict)
    """Fields of the body that its type does not have, accepted without effect."""
    stream: Any = None
    last: str | None = None
    """The data of a stream's last event, where it is not what the others are."""
    other: Any = None
    parameters: tuple[Json, ...] = ()
    raises: tuple[type[RengaError], ...] = ()
    failure: Any = None
    statuses: Mapping[int, str] = field(default_factory=dict)
    """Statuses beside 200 with the same body."""
    keyed: bool = True
    scope: Scope = "messages"
    """What the key must be allowed, where one is asked for."""
