"""The prompt cache: which prefixes callers asked to keep, and until when. Pure.

An entry is a prefix of a prompt up to a caller's breakpoint, in whole blocks, under a key that its
workspace alone can find. Owned rules:
- an entry is there as long as all its blocks are pinned, that is held in the pool: what had to go
  is not reported as cached, and what could not be pinned is not reported as written;
- an entry lives for its time to live from the start of the request that wrote it or last found it;
- a prompt reads from the longest entry that one of its breakpoints finds, and no more than the
  engine truly read from blocks; read, written and input tokens never overlap;
- pins keep at most a share of the blocks and a number of entries; beyond that the least recently
  used go first, expired ones before all. They also go where a sequence could else never run.
It knows neither queues nor what a key was made from.
"""

from collections import Counter, OrderedDict
from collections.abc import Sequence as Seq
from dataclasses import dataclass, field
from typing import NamedTuple

from renga.engine.blocks import BLOCK_SIZE, BlockPool
from renga.engine.messages import Breakpoint

_HOUR = 3_600
# An entry costs some hundred bytes beside its blocks; a caller may write four for each request.
_MOST_ENTRIES = 4_096
_MOST_OF_A_WORKSPACE = 1_024


class CacheUse(NamedTuple):
    """Prompt tokens that were read from entries, and those that were written to new ones."""

    read: int = 0
    write_5m: int = 0
    write_1h: int = 0


@dataclass(eq=False, slots=True)
class Entry:
    """A prefix that is kept: `blocks` of them, the last of which has the digest `leaf`."""

    workspace: str
    key: bytes
    blocks: int
    leaf: bytes
    ttl: float
    expires: float

    def is_prefix_of(self, digests: Seq[bytes]) -> bool:
        """Whether a text with these blocks begins with this prefix."""
        return self.blocks <= len(digests) and digests[self.blocks - 1] == self.leaf


@dataclass(eq=False, slots=True)
class Lookup:
    """What a request's breakpoints found when it came; kept until its first token."""

    workspace: str
    breakpoints: Seq[Breakpoint]
    begun: float
    found: list[Entry] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class _Pin:
    """A held block: for the entries that end in it, and for each pinned block right after it."""

    block: int
    parent: bytes | None
    users: int


class PromptCache:
    """The entries over one pool. Times are seconds of one clock, given with each call."""

    def __init__(self, pool: BlockPool, share: float) -> None:
        self._pool = pool
        self._most_blocks = int(pool.blocks * share)
        self._entries: OrderedDict[tuple[str, bytes], Entry] = OrderedDict()
        self._counts: Counter[str] = Counter()
        self._pins: dict[bytes, _Pin] = {}
        self._next_expiry = float("inf")

    @property
    def pinned(self) -> int:
        """Blocks that entries keep; one that several share counts once."""
        return len(self._pins)

    @property
    def entries(self) -> int:
        """Entries that are there."""
        return len(self._entries)

    def touch(self, workspace: str, breakpoints: Seq[Breakpoint], now: float) -> Lookup:
        """Look a new request's breakpoints up; what they find lives on from now."""
        self.expire(now)
        lookup = Lookup(workspace, breakpoints, now)
        lookup.found = self._find(lookup)
        return lookup

    def use(self, lookup: Lookup, digests: Seq[bytes], reused: int, now: float) -> CacheUse:
        """Write a request's entries when its prompt is computed; what it read and wrote.

        `digests` are those of the prompt's whole blocks, all of them in the tree; `reused` are the
        tokens that were read from blocks. Once for each request.
        """
        self.expire(now)
        found = [*lookup.found, *self._find(lookup)]
        longest = max((one.blocks for one in found if one.is_prefix_of(digests)), default=0)
        read = min(longest * BLOCK_SIZE, reused // BLOCK_SIZE * BLOCK_SIZE)
        written = {True: 0, False: 0}
        mine: set[bytes] = set()
        for breakpoint in lookup.breakpoints:
            long = breakpoint.ttl_seconds >= _HOUR
            blocks = self._write(lookup, breakpoint, digests, mine, now)
            written[long] = max(written[long], blocks * BLOCK_SIZE)
        write_1h = max(written[True] - read, 0)
        write_5m = max(written[False] - max(read, written[True]), 0)
        return CacheUse(read, write_5m, write_1h)

    def expire(self, now: float) -> None:
        """Let go of what nobody found in time; its blocks are ordinary cached ones from now on."""
        if now < self._next_expiry:
            return
        for entry in [one for one in self._entries.values() if one.expires <= now]:
            self._drop(entry)
        self._next_expiry = min(
            (one.expires for one in self._entries.values()), default=float("inf")
        )

    def give_up_one(self) -> bool:
        """Drop the least recently used entry, for whoever needs its blocks; False if none is."""
        if not self._entries:
            return False
        self._drop(next(iter(self._entries.values())))
        return True

    def _find(self, lookup: Lookup) -> list[Entry]:
        """For each breakpoint the first entry that is live for the request, refreshed."""
        found = []
        for breakpoint in lookup.breakpoints:
            for mark in breakpoint.marks:
                entry = self._entries.get((lookup.workspace, mark.key))
                if entry is not None and entry.expires > lookup.begun:
                    entry.expires = max(entry.expires, lookup.begun + entry.ttl)
                    self._entries.move_to_end((entry.workspace, entry.key))
                    found.append(entry)
                    break
        return found

    def _write(
        self,
        lookup: Lookup,
        breakpoint: Breakpoint,
        digests: Seq[bytes],
        mine: set[bytes],
        now: float,
    ) -> int:
        """Make a breakpoint's entry; the blocks that are newly kept by it, from the first on."""
        mark = breakpoint.marks[0]
        blocks = min(mark.tokens // BLOCK_SIZE, len(digests))
        expires = lookup.begun + breakpoint.ttl_seconds
        if not 0 < blocks <= self._most_blocks or expires <= now:
            return 0
        there = self._entries.get((lookup.workspace, mark.key))
        if there is not None and there.leaf == digests[blocks - 1]:
            # Whoever asks for an hour has it, though five minutes were paid for.
            there.ttl = max(there.ttl, breakpoint.ttl_seconds)
            there.expires = max(there.expires, expires)
            mine.add(mark.key)
            return 0
        if there is not None:
            self._drop(there)
        if not self._pin(digests[:blocks]):
            return 0
        entry = Entry(
            workspace=lookup.workspace,
            key=mark.key,
            blocks=blocks,
            leaf=digests[blocks - 1],
            ttl=breakpoint.ttl_seconds,
            expires=expires,
        )
        self._enter(entry)
        mine.add(mark.key)
        return blocks if self._make_room(entry, mine) else 0

    def _enter(self, entry: Entry) -> None:
        self._entries[entry.workspace, entry.key] = entry
        self._counts[entry.workspace] += 1
        self._next_expiry = min(self._next_expiry, entry.expires)

    def _make_room(self, newest: Entry, mine: set[bytes]) -> bool:
        """Drop others until the limits hold again; the newest itself where that is not enough.

        `mine` are the keys of the request that writes: its own other entries stay.
        """
        workspace = newest.workspace
        if self._counts[workspace] > _MOST_OF_A_WORKSPACE:
            self._drop(next(one for one in self._entries.values() if one.workspace == workspace))
        if len(self._entries) > _MOST_ENTRIES:
            self.give_up_one()
        while len(self._pins) > self._most_blocks:
            others = (
                entry
                for entry in self._entries.values()
                if entry.workspace != workspace or entry.key not in mine
            )
            entry = next(others, newest)
            self._drop(entry)
            if entry is newest:
                return False
        return True

    def _drop(self, entry: Entry) -> None:
        del self._entries[entry.workspace, entry.key]
        self._counts[entry.workspace] -= 1
        if not self._counts[entry.workspace]:
            del self._counts[entry.workspace]
        self._unpin(entry.leaf)

    def _pin(self, digests: Seq[bytes]) -> bool:
        """Hold a chain of blocks; False, and nothing is held, where the pool lacks one."""
        # Blocks before a pinned one are pinned: only what follows the last such one is new.
        known = len(digests)
        while known and digests[known - 1] not in self._pins:
            known -= 1
        new = digests[known:]
        held = self._pool.hold(new)
        if len(held) < len(new):
            self._pool.release(held)
            return False
        parent = digests[known - 1] if known else None
        if parent is not None:
            self._pins[parent].users += 1
        for digest, block in zip(new, held, strict=True):
            self._pins[digest] = _Pin(block, parent, 1)
            parent = digest
        return True

    def _unpin(self, leaf: bytes) -> None:
        digest: bytes | None = leaf
        while digest is not None:
            pin = self._pins[digest]
            pin.users -= 1
            if pin.users:
                return
            del self._pins[digest]
            self._pool.release([pin.block])
            digest = pin.parent
