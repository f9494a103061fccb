"""Tools: what those of a request are, and which of them the model may call."""

from renga.toolkit.specs import (
    ToolSpec,
    definition,
    each_spec,
    has_search,
    listed,
    references,
    specs_of,
    visible,
)

__all__ = [
    "ToolSpec",
    "definition",
    "each_spec",
    "listed",
    "references",
    "has_search",
    "specs_of",
    "visible",
]
