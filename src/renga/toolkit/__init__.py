"""Tools: what those of a request are, and which of them the model may call."""

from renga.toolkit.specs import ToolSpec, definition, listed, references, specs_of, visible

__all__ = ["ToolSpec", "definition", "listed", "references", "specs_of", "visible"]
