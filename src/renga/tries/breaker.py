"""A circuit breaker: a backend that keeps failing is left alone for a while, then tried by one.

Owns its three states. Closed, it counts how tries ended over a window of time, and opens when
enough of them failed. Open, it lets nobody through. When its time is over it is half open: one try
goes through, and what comes of that closes it or opens it anew. Source: M. Nygard, "Release It!",
second edition (2018), "Circuit Breaker". It knows no backends and no errors.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from renga.config import BreakerConfig

Standing = Literal["closed", "open", "half_open"]
Ticks = Callable[[], float]
"""Seconds that only go forward."""

PARTS: Final = 10
"""Of the window: what is older leaves it in steps of a tenth, so that no try is kept by itself."""


@dataclass(eq=False, slots=True)
class Pass:
    """What a try holds while it runs; `probe` is whether it is the one that may close again."""

    probe: bool


class Breaker:
    """The breaker of one backend, in one process."""

    def __init__(self, config: BreakerConfig, ticks: Ticks) -> None:
        self._config = config
        self._ticks = ticks
        self._open_until: float | None = None
        self._probe: Pass | None = None
        self._parts: deque[list[float]] = deque()  # beginning, tries, failures

    @property
    def standing(self) -> Standing:
        """Its state now."""
        if self._open_until is None:
            return "closed"
        return "open" if self._ticks() < self._open_until else "half_open"

    @property
    def wait(self) -> float:
        """Seconds until it may let somebody through; 0 where it would now, or soon might."""
        return 0.0 if self._open_until is None else max(0.0, self._open_until - self._ticks())

    def enter(self) -> Pass | None:
        """A pass for one try, or None. Every pass ends in one of the methods below."""
        standing = self.standing
        if standing == "closed":
            return Pass(probe=False)
        if standing == "open" or self._probe is not None:
            return None
        self._probe = Pass(probe=True)
        return self._probe

    def begun(self, one: Pass) -> None:
        """The try has an answer that begins: that is enough to let others through."""
        if one is self._probe:
            self._probe, self._open_until = None, None
            self._parts.clear()

    def succeeded(self, one: Pass) -> None:
        """The try ended well."""
        self.begun(one)
        self._count(0)

    def failed(self, one: Pass) -> bool:
        """The try failed. Returns whether nobody is let through from now on for that."""
        was = self._open_until
        if one is self._probe:
            self._probe = None
            self._open()
        elif self._open_until is None:
            self._count(1)
            tries = sum(part[1] for part in self._parts)
            failures = sum(part[2] for part in self._parts)
            if failures >= self._config.failures and failures >= self._config.share * tries:
                self._open()
        return self._open_until != was

    def left(self, one: Pass) -> None:
        """The try ended without saying anything of the backend."""
        if one is self._probe:
            self._probe = None

    def _open(self) -> None:
        self._open_until = self._ticks() + self._config.open_s
        self._parts.clear()

    def _count(self, failures: int) -> None:
        now, parts = self._ticks(), self._parts
        if self._open_until is not None:
            return  # began before it opened: of another time
        while parts and parts[0][0] <= now - self._config.window_s:
            parts.popleft()
        if not parts or parts[-1][0] <= now - self._config.window_s / PARTS:
            parts.append([now, 0, 0])
        parts[-1][1] += 1
        parts[-1][2] += failures
