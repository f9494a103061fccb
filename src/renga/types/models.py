"""Models as a caller sees them.

Owns the shape of an entry of `/v1/models` and of a page of them.
"""

from __future__ import annotations

from typing import Any, Literal

from renga.types.wire import Wire


class ModelInfo(Wire):
    """One entry of `/v1/models`. `renga` says what truly serves the tier."""

    type: Literal["model"] = "model"
    id: str
    display_name: str
    created_at: str
    lifecycle: Literal["active", "deprecated", "retired"] = "active"
    line: Literal["haiku", "sonnet", "opus"]
    deprecated_at: str | None = None
    retires_at: str | None = None
    max_input_tokens: int | None
    """None while nothing was loaded that could say."""
    max_tokens: int
    capabilities: dict[str, Any]
    renga: dict[str, Any]


class ModelPage(Wire):
    """One page of models, newest first."""

    data: list[ModelInfo]
    has_more: bool
    first_id: str | None
    last_id: str | None
