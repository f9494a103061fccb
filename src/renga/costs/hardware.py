"""What an attempt costs on own hardware: its share of the time for which its backend was busy.

Owns that share. While n attempts run on a backend, each is charged an n-th of the time, by the
backend's `cost_per_hour`; so what all attempts are charged together is the price of the time in
which there was any. The sum over an attempt's life is kept as the difference of one integral, of
1/n over time, which is the virtual time of processor sharing (Parekh and Gallager, "A generalized
processor sharing approach to flow control", 1993). Why it is shared by time and by nothing else is
decision 0030. Knows no backends but their names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from renga.prices import PICO

_HOUR: Final = 3600


class Hardware:
    """The backends of one server that have a price by the hour.

    Args:
        cost_per_hour: dollars per hour of each backend that has a price; 0 counts as none.
        ticks: seconds that never go back.
    """

    def __init__(self, cost_per_hour: Mapping[str, float], *, ticks: Callable[[], float]) -> None:
        self._shared = {
            name: _Shared(dollars * PICO / _HOUR, ticks)
            for name, dollars in cost_per_hour.items()
            if dollars
        }

    def begin(self, backend: str) -> Share | None:
        """An attempt begins on `backend`; None where its time has no price."""
        shared = self._shared.get(backend)
        return None if shared is None else Share(shared)


class _Shared:
    """One backend: how many run on it, and the integral of 1/n since somebody did."""

    def __init__(self, pico_per_second: float, ticks: Callable[[], float]) -> None:
        self.pico_per_second = pico_per_second
        self._ticks = ticks
        self._running = 0
        self._since = 0.0
        self._seconds = 0.0

    def enter(self) -> float:
        """One more runs; returns the integral now."""
        begun = self._advance()
        self._running += 1
        return begun

    def leave(self) -> float:
        """One less runs; returns the integral now."""
        ended = self._advance()
        self._running -= 1
        return ended

    def _advance(self) -> float:
        now = self._ticks()
        if self._running:
            self._seconds += (now - self._since) / self._running
        else:
            self._seconds = 0.0  # it begins anew, so that it never grows too large to be exact
        self._since = now
        return self._seconds


class Share:
    """One attempt's part of its backend's time."""

    def __init__(self, shared: _Shared) -> None:
        self._shared = shared
        self._begun = shared.enter()
        self._cost: int | None = None

    def end(self) -> int:
        """The attempt ended; what it cost, in pico-dollars. The same again when asked again."""
        if self._cost is None:
            seconds = self._shared.leave() - self._begun
            self._cost = round(seconds * self._shared.pico_per_second)
        return self._cost
