"""Which replica of a backend a request goes to, and which are left alone for a while.

Owns three rules. Affinity: a prompt goes where most of its head was read before, so that a prefix
cache is found again; one of which nothing is known goes to the less loaded of the first two that
its head hashes to (rendezvous hashing: servers choose alike, and prefixes that all ask for do not
meet on one). Bounded loads: no replica holds more than c = 1.5 times the mean of the open requests
for that reason; what is over goes to the next in the same order (Mirrokni, Thorup, Zadimoghaddam:
"Consistent Hashing with Bounded Loads", SODA 2018; c is what `benchmarks/affinity.py` found to cost
little of the caches). Outliers: a replica that fails again and again is left out, each time longer,
until a probe finds it well; where all are out, all are asked, for there is nothing to lose.

It opens no connection and reads no clock: `ticks` are handed in.
"""

from __future__ import annotations

import random
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from math import ceil
from typing import Final

from renga.backends.remote.affinity import Heads

BOUND: Final = 1.5  # of the mean load
UNBOUND: Final = 8  # open requests that are no load to speak of
REMEMBERED: Final = 65_536  # heads

IN_A_ROW: Final = 3  # failures
SEEN: Final = 20  # outcomes that are looked back at
FEWEST: Final = 10  # of them, before their share says anything
SHARE: Final = 0.5  # of failures among them
OUT_SECONDS: Final = 2.0  # the first time; it doubles
MOST_OUT_SECONDS: Final = 120.0
BUSY_SECONDS: Final = 1.0  # after it said that it is overloaded, where it does not say how long
MOST_BUSY_SECONDS: Final = 30.0

Ticks = Callable[[], float]


@dataclass
class Replica:
    """One server. `open` are requests on it now; `epoch` counts how often it may have forgotten."""

    url: str
    open: int = 0
    epoch: int = 0
    failed_in_a_row: int = 0
    times_out: int = 0
    out_until: float | None = None
    busy_until: float = 0.0
    reached: bool = True
    words: str = ""
    answered_at: float = float("-inf")
    well_since: float = float("-inf")
    outcomes: deque[bool] = field(default_factory=lambda: deque(maxlen=SEEN))

    @property
    def well(self) -> bool:
        """Whether requests go to it as long as there is a choice."""
        return self.reached and self.out_until is None


class Replicas:
    """The replicas of one backend. `pick` one, and say afterwards how it was."""

    def __init__(self, urls: Sequence[str], *, ticks: Ticks, rng: random.Random) -> None:
        self.all = tuple(Replica(url) for url in urls)
        self._ticks = ticks
        self._rng = rng
        self._memory: OrderedDict[bytes, tuple[tuple[Replica, int], ...]] = OrderedDict()

    @property
    def reachable(self) -> bool:
        """Whether any of them is well."""
        return any(replica.well for replica in self.all)

    def pick(self, heads: Heads | None = None) -> Replica:
        """The replica for a prompt with these heads. Whoever picks one says `done`."""
        if len(self.all) == 1:
            chosen = self.all[0]
        else:
            able = self._able()
            chosen = self._by_head(able, heads) if heads else self._least(able)
            if heads:
                self._remember(heads, chosen)
        chosen.open += 1
        return chosen

    def _able(self) -> list[Replica]:
        """Those that are well and not busy; else those that are well; else all of them."""
        now = self._ticks()
        well = [replica for replica in self.all if replica.well]
        return [r for r in well if r.busy_until <= now] or well or list(self.all)

    def _least(self, able: Sequence[Replica]) -> Replica:
        fewest = min(replica.open for replica in able)
        return self._rng.choice([replica for replica in able if replica.open == fewest])

    def _by_head(self, able: Sequence[Replica], heads: Heads) -> Replica:
        total = sum(replica.open for replica in able)
        bound = max(UNBOUND, ceil(BOUND * (total + 1) / len(able)))
        free = [replica for replica in able if replica.open < bound]
        for digest in reversed(heads.digests):
            for replica in self._holders(digest):
                if replica in free:
                    return replica
        ranked = sorted(free, key=lambda replica: _weight(heads.anchor, replica.url))
        return min(ranked[-1:-3:-1], key=lambda replica: replica.open)

    def _holders(self, digest: bytes) -> Iterator[Replica]:
        """Who read this head before, and was not away since; the first of them first."""
        for replica, epoch in self._memory.get(digest, ()):
            if replica.epoch == epoch:
                yield replica

    def _remember(self, heads: Heads, chosen: Replica) -> None:
        """`chosen` reads this prompt. Beside the first who read a head, the last one is kept."""
        now = (chosen, chosen.epoch)
        for digest in heads.digests:
            kept = [one for one in self._memory.get(digest, ()) if one[0].epoch == one[1]][:1]
            self._memory[digest] = (now,) if not kept or kept[0] == now else (kept[0], now)
            self._memory.move_to_end(digest)
        while len(self._memory) > REMEMBERED:
            self._memory.popitem(last=False)

    # --- how it was -------------------------------------------------------------------------------

    def done(self, replica: Replica) -> None:
        """A request on `replica` ended."""
        replica.open -= 1

    def answered(self, replica: Replica) -> None:
        """It answered as it should."""
        replica.failed_in_a_row = 0
        replica.outcomes.append(True)
        replica.answered_at = self._ticks()
        if not replica.well:
            self.found(replica)

    def busy(self, replica: Replica, seconds: float | None) -> None:
        """It said that it is overloaded: that is no fault, but others go first for a while."""
        wait = BUSY_SECONDS if seconds is None else min(seconds, MOST_BUSY_SECONDS)
        replica.busy_until = self._ticks() + wait

    def failed(self, replica: Replica, words: str) -> bool:
        """It failed. Returns whether it is left out from now on for that.

        Even if not, others go first for a moment: what is tried again is tried there.
        """
        replica.busy_until = self._ticks() + BUSY_SECONDS
        replica.failed_in_a_row += 1
        replica.outcomes.append(False)
        replica.words = words
        share = replica.outcomes.count(False) / len(replica.outcomes)
        often = len(replica.outcomes) >= FEWEST and share >= SHARE
        if not replica.well or not (replica.failed_in_a_row >= IN_A_ROW or often):
            return False
        self._put_out(replica)
        return True

    def lost(self, replica: Replica, words: str) -> None:
        """A probe did not find it well."""
        replica.words = words
        if replica.out_until is not None:
            self._put_out(replica)
        elif replica.reached:
            replica.reached = False
            replica.epoch += 1

    def found(self, replica: Replica) -> None:
        """A probe, or a request that had no choice, found it well: it takes part again."""
        if not replica.well:
            replica.well_since = self._ticks()
        replica.reached, replica.out_until, replica.words = True, None, ""
        replica.failed_in_a_row = 0
        replica.outcomes.clear()

    def may_return(self, replica: Replica) -> bool:
        """Whether it is time to probe one that is not well."""
        return replica.out_until is None or self._ticks() >= replica.out_until

    def _put_out(self, replica: Replica) -> None:
        # Whoever was well for that long begins anew.
        if replica.out_until is None and self._ticks() - replica.well_since > MOST_OUT_SECONDS:
            replica.times_out = 0
        wait = min(OUT_SECONDS * 2.0**replica.times_out, MOST_OUT_SECONDS)
        replica.times_out = min(replica.times_out + 1, 16)
        replica.out_until = self._ticks() + wait * self._rng.uniform(0.8, 1.2)
        replica.epoch += 1


def _weight(digest: bytes, url: str) -> bytes:
    """Rendezvous hashing (Thaler, Ravishankar 1998): the replica of the greatest weight has it."""
    return blake2b(url.encode(), digest_size=8, key=digest).digest()
