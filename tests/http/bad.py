"""A request that is wrong, and what must be said about it: the rows of the table of bad input."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.http.served import asking

MESSAGES, COUNT = "/v1/messages", "/v1/messages/count_tokens"
INVALID = "invalid_request_error"


@dataclass(frozen=True)
class Bad:
    """One request and what must be said about it. `says` are parts of the message, path first."""

    name: str
    says: tuple[str, ...]
    content: bytes = b""
    status: int = 400
    kind: str = INVALID
    method: str = "POST"
    path: str = MESSAGES
    headers: Mapping[str, str | None] = field(default_factory=dict)


def bad(name: str, /, *says: str, body: Any = None, path: str = MESSAGES, **rest: Any) -> Bad:
    return Bad(name, says, json.dumps(body).encode(), path=path, **rest)


def field_is(name: str, /, *says: str, **fields: Any) -> Bad:
    return bad(name, *says, body=asking() | fields)


def turns_are(name: str, /, *says: str, messages: Any) -> Bad:
    return field_is(name, *says, messages=messages)


def block_is(name: str, /, *says: str, block: Any) -> Bad:
    good = {"type": "text", "text": "good"}
    turn = {"role": "user", "content": [good, block]}
    return turns_are(name, *says, messages=[{"role": "user", "content": "hi"}, turn])


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in asking().items() if key != name}


def raw(name: str, /, *says: str, content: bytes, **rest: Any) -> Bad:
    return Bad(name, says, content, **rest)
