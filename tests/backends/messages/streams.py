"""Answers in the form in which api.anthropic.com publishes them, written for these tests.

Source: "Streaming messages" of the API's documentation and the stream fixtures of the official
`anthropic` package: the order of keys, the spacing and the empty first pieces are theirs. Fields,
deltas and an event that are new to everybody stand among them.
"""

from __future__ import annotations

from pathlib import Path

_PUBLISHED = Path(__file__).parent / "published"

TEXT = (_PUBLISHED / "text.sse").read_bytes()
THINKING_AND_TOOLS = (_PUBLISHED / "thinking_and_tools.sse").read_bytes()
REFUSED = (_PUBLISHED / "refused.sse").read_bytes()
OVERLOADED = (_PUBLISHED / "overloaded.sse").read_bytes()

# The first two in one piece, as they are answered where nobody asked for a stream.
TEXT_WHOLE = (_PUBLISHED / "text.json").read_bytes()
THINKING_AND_TOOLS_WHOLE = (_PUBLISHED / "thinking_and_tools.json").read_bytes()
