"""The API's two versions, and what of a request's headers and query has an effect.

Owns: `anthropic-version` is required, as it is there; what the newer version removed is a 400 (null
counts as absent, as for every field); what has no effect is named in `renga-ignored`. What a beta
does is `renga.http.betas`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request

from renga.errors import InvalidRequest
from renga.http.betas import ineffective
from renga.types import (
    AnyBlockParam,
    AnyResultParam,
    Prompt,
    SearchResultParam,
    TextParam,
    ToolResultParam,
)

OLD, NEW = "2023-06-01", "2026-10-21"
VERSIONS = (OLD, NEW)

REMOVED_IN_NEW = ("temperature", "top_p", "top_k")

MOST_NAMED = 100

KNOWN_QUERY = frozenset({"beta"})
IGNORED_HEADERS = ("anthropic-workspace-id", "anthropic-user-profile-id")  # the key says both


def version_of(request: Request) -> str:
    """The version that a request speaks. Raises InvalidRequest."""
    given = request.headers.get("anthropic-version", "").strip()
    if given in VERSIONS:
        return given
    accepted = ", ".join(VERSIONS)
    if not given:
        raise InvalidRequest(f"anthropic-version: header is required; accepted: {accepted}")
    raise InvalidRequest(f"anthropic-version: '{given[:40]}' is unknown; accepted: {accepted}")


def refuse_removed(version: str, body: dict[str, Any]) -> None:
    """A 400 for a field that `version` no longer has."""
    for name in REMOVED_IN_NEW if version == NEW else ():
        if body.get(name) is not None:
            raise InvalidRequest(
                f"{name}: not part of API version {NEW}; leave it out, or send "
                f"`anthropic-version: {OLD}`"
            )


def refuse_removed_blocks(version: str, prompt: Prompt) -> None:
    """A 400 for what `version` does not let blocks hold any more."""
    if version != NEW:
        return
    for i, message in enumerate(prompt.messages):
        if message.role == "user":
            for j, block in enumerate(message.content):
                _refuse_cited(block, f"messages.{i}.content.{j}")


def _refuse_cited(block: AnyBlockParam | AnyResultParam, path: str) -> None:
    """Citations are of texts that a model wrote."""
    if isinstance(block, TextParam):
        if block.citations:
            raise InvalidRequest(
                f"{path}.citations: `text` blocks with citations are not permitted in `user` "
                f"messages since API version {NEW}; leave them out"
            )
    elif isinstance(block, ToolResultParam | SearchResultParam):
        for k, inner in enumerate(block.content):
            _refuse_cited(inner, f"{path}.content.{k}")


def betas_of(request: Request) -> list[str]:
    """Values of every `anthropic-beta` header, in order, each once."""
    given = ",".join(request.headers.getlist("anthropic-beta")).split(",")
    return list(dict.fromkeys(b.strip() for b in given if b.strip()))


def ignored_headers(request: Request) -> list[str]:
    """Headers of the API that were sent and have no effect, betas included."""
    return [
        *ineffective(betas_of(request)),
        *(name for name in IGNORED_HEADERS if name in request.headers),
    ]


def ignored_query(request: Request, known: frozenset[str] = KNOWN_QUERY) -> list[str]:
    """Query parameters without effect, as `?name`."""
    if not request.scope["query_string"]:
        return []
    return [f"?{name}" for name in dict(request.query_params) if name not in known]


def ignored_header(names: Sequence[str]) -> dict[str, str]:
    """`renga-ignored` for names that a caller chose: as a header can carry them, and not all."""
    if not names:
        return {}
    shown = [printable(name) for name in names[:MOST_NAMED]]
    if len(names) > MOST_NAMED:
        shown.append(f"{len(names) - MOST_NAMED} more")
    return {"renga-ignored": ", ".join(shown)}


def printable(text: str) -> str:
    """`text` as one item of a header's list."""
    return "".join(c if " " < c <= "~" and c != "," else "?" for c in text[:100])
