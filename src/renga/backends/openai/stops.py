"""Stop sequences found in a text while it comes, for servers that do not say which one they met.

Owns the rule that nothing of a stop sequence is shown: what may be the beginning of one is held
back until it is known.
"""

from __future__ import annotations

from collections.abc import Sequence


class StopFinder:
    """One answer's text. `found` is the sequence that ended it, once one did."""

    def __init__(self, stops: Sequence[str]) -> None:
        self.found: str | None = None
        self._stops = tuple(stops)
        self._longest = max(map(len, self._stops), default=0)
        self._held = ""

    def feed(self, text: str) -> str:
        """What of the text so far can be shown now. After `found` there is nothing more."""
        if self.found is not None:
            return ""
        if not self._stops:
            return text
        text = self._held + text
        first = min(
            ((at, -len(stop), stop) for stop in self._stops if (at := text.find(stop)) >= 0),
            default=None,
        )
        if first is not None:
            self.found, self._held = first[2], ""
            return text[: first[0]]
        keep = self._beginning(text)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def finish(self) -> str:
        """What was held back, now that nothing follows."""
        held, self._held = self._held, ""
        return held

    def _beginning(self, text: str) -> int:
        """Characters at the end of `text` that may begin a stop sequence."""
        for size in range(min(self._longest - 1, len(text)), 0, -1):
            tail = text[len(text) - size :]
            if any(len(stop) > size and stop.startswith(tail) for stop in self._stops):
                return size
        return 0
