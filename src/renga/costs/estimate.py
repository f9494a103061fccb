"""What requests will cost by a price card, before they are made. Exact; integers only.

Owns how a request is told in numbers: `input` are the tokens of a prompt behind what it shares with
others, thinking is output, and a shared prefix is written to the cache by the first request and
read by all others (or, without a cache, is input of each). Knows no models and no tokenizer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from renga.errors import SetupError
from renga.prices import LARGEST, Price, Service

MOST_REQUESTS: Final = 10**12

Kept = Literal["5m", "1h", "no"]
"""How long a shared prefix is kept after each use; `no`: it is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Some requests that are alike, in tokens of each.

    Attributes:
        input: of the prompt, without the shared prefix.
        output: of the answer, without thinking.
        thinking: of thinking, which is charged as output.
        shared_prefix: of what all of the prompts begin with.
        requests: how many they are.
        kept: whether the prefix is cached.
        service: batches pay less.
    """

    input: int
    output: int
    thinking: int = 0
    shared_prefix: int = 0
    requests: int = 1
    kept: Kept = "5m"
    service: Service = "standard"

    def tokens(self) -> Totals:
        """All tokens, by class."""
        answered = self.output + self.thinking
        if self.kept == "no" or not self.shared_prefix:
            own = self.input + self.shared_prefix
            return Totals(self.requests * own, 0, 0, 0, self.requests * answered)
        written = self.shared_prefix
        return Totals(
            self.requests * self.input,
            (self.requests - 1) * self.shared_prefix,
            written if self.kept == "5m" else 0,
            written if self.kept == "1h" else 0,
            self.requests * answered,
        )


@dataclass(frozen=True, slots=True)
class Totals:
    """Tokens of many requests by class: more than one row of the ledger may hold."""

    input: int
    cache_read: int
    cache_write_5m: int
    cache_write_1h: int
    output: int


@dataclass(frozen=True, slots=True)
class Line:
    """One class of an estimate: how many tokens, at how many pico-dollars each, and their cost."""

    name: str
    tokens: int
    price_pico: int
    cost_pico: int


CLASSES: Final = ("input", "cache_write_5m", "cache_write_1h", "cache_read", "output")


def estimate(work: Work, price: Price) -> list[Line]:
    """What each class of `work` costs; classes without a token are left out."""
    paid = price.for_service(work.service)
    counts = work.tokens()
    lines = []
    for name in CLASSES:
        count, each = getattr(counts, name), getattr(paid, name)
        if count:
            lines.append(Line(name, count, each, count * each))
    return lines


def cost(work: Work, price: Price) -> int:
    """What `work` costs, in pico-dollars."""
    return sum(line.cost_pico for line in estimate(work, price))


def counted(name: str, text: str, *, least: int = 0, most: int = LARGEST) -> int:
    """A number that somebody typed: digits, which `_` or `,` may part into thousands.

    Raises:
        SetupError: it is none, or out of bounds.
    """
    plain = text.strip().replace("_", "").replace(",", "")
    if plain.isascii() and plain.isdigit() and len(plain) <= 18 and least <= int(plain) <= most:
        return int(plain)
    raise SetupError(f"{name}: {text!r}; accepted: a whole number, {least:,} to {most:,}")
