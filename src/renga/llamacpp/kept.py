"""The prompt cache's entries where llama.cpp keeps the prompts. Pure.

Owned rules: what is told as read from the cache was found by a mark and truly read; what is told as
written was computed and is kept now, which here means: until its slot and the memory for prompts
are needed for others. Nothing can be pinned (decision 0027). An entry is found by its own workspace
alone, for its time to live from the start of the request that wrote it or last found it.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from renga.engine.cache import CacheUse
from renga.engine.messages import Breakpoint

_HOUR = 3_600
_MOST_ENTRIES = 4_096


@dataclass(slots=True)
class _Entry:
    tokens: int
    ttl: float
    expires: float


class Kept:
    """The entries of one model. Times are seconds of one clock, given with each call."""

    def __init__(self) -> None:
        self._entries: OrderedDict[tuple[str, bytes], _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def use(
        self, workspace: str, breakpoints: Sequence[Breakpoint], reused: int, begun: float
    ) -> CacheUse:
        """What a prompt read and wrote, of which `reused` tokens were read at its start.

        `begun` is when its request began: what had expired by then is not found.
        """
        read = min(self._longest(workspace, breakpoints, begun), reused)
        written = {True: 0, False: 0}
        for breakpoint in breakpoints:
            tokens = self._write(workspace, breakpoint, reused, begun)
            long = breakpoint.ttl_seconds >= _HOUR
            written[long] = max(written[long], tokens)
        while len(self._entries) > _MOST_ENTRIES:
            self._entries.popitem(last=False)
        write_1h = max(written[True] - read, 0)
        write_5m = max(written[False] - max(read, written[True]), 0)
        return CacheUse(read, write_5m, write_1h)

    def _longest(self, workspace: str, breakpoints: Sequence[Breakpoint], begun: float) -> int:
        """Tokens of the longest live entry that a mark finds; each found lives on from `begun`."""
        longest = 0
        for breakpoint in breakpoints:
            for mark in breakpoint.marks:
                entry = self._live(workspace, mark.key, begun)
                if entry is not None:
                    entry.expires = max(entry.expires, begun + entry.ttl)
                    self._entries.move_to_end((workspace, mark.key))
                    longest = max(longest, entry.tokens)
                    break
        return longest

    def _write(self, workspace: str, breakpoint: Breakpoint, reused: int, begun: float) -> int:
        """Enter a breakpoint's own mark; its tokens where they are newly kept, else 0."""
        mark, ttl = breakpoint.marks[0], float(breakpoint.ttl_seconds)
        entry = self._live(workspace, mark.key, begun)
        known = entry is not None and mark.tokens <= reused
        if entry is None:
            entry = self._entries[workspace, mark.key] = _Entry(mark.tokens, ttl, begun + ttl)
        # Whoever asks for an hour has it, though five minutes were paid for.
        entry.ttl, entry.expires = max(entry.ttl, ttl), max(entry.expires, begun + ttl)
        return 0 if known else mark.tokens

    def _live(self, workspace: str, key: bytes, begun: float) -> _Entry | None:
        entry = self._entries.get((workspace, key))
        if entry is not None and entry.expires <= begun:
            del self._entries[workspace, key]
            return None
        return entry
