"""What tokens cost: token counts by class, prices, the price card of the tiers. Integers only.

Owns the arithmetic of rule 11. One pico-dollar is a millionth of a millionth of a dollar, so a
price of one dollar per million tokens is 1,000,000 pico-dollars per token, and a tenth of seven
cents per million still is a whole number. Tokens times price is therefore exact: nothing is
rounded after the price card, and the card refuses a price that is not whole instead of rounding
it.

Does not know requests, rows or databases.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from decimal import Decimal, InvalidOperation
from importlib import resources
from types import MappingProxyType
from typing import Final, Literal, get_args

from renga.errors import SetupError

Service = Literal["standard", "batch"]

SERVICES: Final[tuple[Service, ...]] = get_args(Service)

PICO: Final = 10**12
"""Pico-dollars in a dollar."""

PICO_PER_TOKEN: Final = 10**6
"""One dollar per million tokens, in pico-dollars per token."""

LARGEST: Final = 10**9
"""Bound of a token count and of a price ($1,000 per million tokens): five classes at the bound
come to 5e18, which a signed 64-bit column (9.2e18) still holds."""

_CLASSES: Final = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output")


def _check(owner: str, name: str, value: object, *, optional: bool) -> None:
    if value is None and optional:
        return
    if type(value) is not int or not 0 <= value <= LARGEST:
        unit = "tokens" if optional else "pico-dollars per token"
        raise ValueError(
            f"{owner}.{name}: {value!r}; accepted: an integer of {unit}, 0 to {LARGEST}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Token counts of one answer or attempt, by disjoint classes; None means not known, never 0.

    The first four classes add up to the prompt. `reused` counts prompt tokens read from the
    prefix tree without `cache_control`: they are part of `input`, billed as input, and added to
    nothing. `thinking` counts those of the output that were thinking, likewise.

    Raises:
        ValueError: a count is negative, not an integer or above `LARGEST`; `reused` is above
        `input`, or `thinking` above `output`.
    """

    input: int | None = None
    cache_read: int | None = None
    cache_write_5m: int | None = None
    cache_write_1h: int | None = None
    output: int | None = None
    reused: int | None = None
    thinking: int | None = None

    def __post_init__(self) -> None:
        for name in COUNTS:
            _check("tokens", name, getattr(self, name), optional=True)
        if self.reused is not None and self.input is not None and self.reused > self.input:
            raise ValueError(
                f"tokens.reused: {self.reused}; accepted: at most tokens.input ({self.input}), "
                "reused tokens are part of the input"
            )
        if self.thinking is not None and self.output is not None and self.thinking > self.output:
            raise ValueError(
                f"tokens.thinking: {self.thinking}; accepted: at most tokens.output "
                f"({self.output}), thinking is part of the output"
            )

    @property
    def prompt(self) -> int | None:
        """Tokens of the whole prompt, None while a class of it is unknown."""
        total = 0
        for count in (self.input, self.cache_read, self.cache_write_5m, self.cache_write_1h):
            if count is None:
                return None
            total += count
        return total

    def plus(self, other: Tokens) -> Tokens:
        """Both together, class by class; what is unknown of one is unknown of the sum."""
        if self == NO_TOKENS:
            return other
        pairs = {name: (getattr(self, name), getattr(other, name)) for name in COUNTS}
        return Tokens(
            **{k: None if a is None or b is None else a + b for k, (a, b) in pairs.items()}
        )


COUNTS: Final = tuple(field.name for field in fields(Tokens))
"""The names of the counts; finding them anew would cost each request more than adding them."""

UNKNOWN: Final = Tokens()
"""Nothing was counted (yet)."""

NO_TOKENS: Final = Tokens(
    input=0, cache_read=0, cache_write_5m=0, cache_write_1h=0, output=0, reused=0, thinking=0
)
"""Counted, and there were none: a request that was refused before any backend saw it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Prices of one tier in pico-dollars per token, as they are copied onto every row.

    Attributes:
        batch_percent: what a batch pays, in percent of these prices; `for_service` applies it.

    Raises:
        ValueError: a price is negative, not an integer or above `LARGEST`.
    """

    input: int
    output: int
    cache_read: int
    cache_write_5m: int
    cache_write_1h: int
    batch_percent: int = 50

    def __post_init__(self) -> None:
        for field in fields(self):
            _check("price", field.name, getattr(self, field.name), optional=False)

    def for_service(self, service: Service) -> Price:
        """These prices as `service` pays them; the result has no further reduction in it.

        Raises:
            ValueError: the service is unknown, or a reduced price is not a whole number.
        """
        if service not in SERVICES:
            raise ValueError(f"service: {service!r}; accepted: {', '.join(SERVICES)}")
        if service == "standard":
            return replace(self, batch_percent=100)
        reduced = {name: self._reduced(name) for name in _CLASSES}
        return Price(**reduced, batch_percent=100)

    def _reduced(self, name: str) -> int:
        whole, rest = divmod(getattr(self, name) * self.batch_percent, 100)
        if rest:
            raise ValueError(
                f"price.{name}: {getattr(self, name)} at {self.batch_percent}% is not whole "
                "pico-dollars; accepted: a price whose reduced price is whole"
            )
        return int(whole)

    def cost(self, tokens: Tokens) -> int | None:
        """Pico-dollars that `tokens` cost, exactly; None while a class is unknown."""
        total = 0
        for name in _CLASSES:
            count = getattr(tokens, name)
            if count is None:
                return None
            total += count * getattr(self, name)
        return total


def dollars(pico: int) -> str:
    """Pico-dollars as a decimal string of dollars: exact, no exponent, no trailing zeros.

    A pico-dollar is the twelfth decimal place, so this too rounds nothing; half-even rounding at
    twelve places would give the same string.
    """
    whole, rest = divmod(abs(pico), PICO)
    sign = "-" if pico < 0 else ""
    return f"{sign}{whole}.{rest:012d}".rstrip("0").rstrip(".")


def load_prices(
    overrides: Mapping[str, Mapping[str, object]] | None = None,
) -> Mapping[str, Price]:
    """The price card of the package, with `overrides` over it: tier -> price.

    An override names dollars per million tokens, `{"haiku": {"input": "0.8", "output": 4}}`;
    classes that it leaves out keep the card's value, where cache classes are factors of the
    (overridden) input price.

    Raises:
        SetupError: an unknown tier or field, or a price that is not a whole number of pico-dollars.
    """
    card = tomllib.loads(
        (resources.files("renga") / "prices.toml").read_text(encoding="utf-8"), parse_float=Decimal
    )
    given = overrides or {}
    tiers = tuple(card["tiers"])
    _refuse_unknown("prices", given, tiers)
    for tier, values in given.items():
        _refuse_unknown(f"prices.{tier}", values, (*_CLASSES, "batch"))
    factors = card["factors"]
    return MappingProxyType(
        {tier: _price(tier, card["tiers"][tier], factors, given.get(tier, {})) for tier in tiers}
    )


def _price(
    tier: str,
    card: Mapping[str, object],
    factors: Mapping[str, object],
    given: Mapping[str, object],
) -> Price:
    """One tier's line: its own prices, then the card's factors for what neither names."""
    values = {**card, **given}
    amounts = {name: _number(f"prices.{tier}.{name}", value) for name, value in values.items()}
    for name in ("cache_read", "cache_write_5m", "cache_write_1h"):
        factor = _number(f"prices.factors.{name}", factors[name])
        amounts.setdefault(name, amounts["input"] * factor)
    share = amounts.pop("batch", _number("prices.factors.batch", factors["batch"]))
    try:
        price = Price(
            **{n: _whole(f"prices.{tier}.{n}", a * PICO_PER_TOKEN, a) for n, a in amounts.items()},
            batch_percent=_whole(f"prices.{tier}.batch", share * 100, share),
        )
        price.for_service("batch")
    except ValueError as error:
        raise SetupError(f"prices.{tier}: {error}", _HINT) from error
    return price


_HINT = "prices are dollars per million tokens, down to a millionth of a dollar"


def _number(name: str, value: object) -> Decimal:
    # repr of a float is what the person wrote in the file: 0.1 stays one tenth.
    text = repr(value) if isinstance(value, float) else str(value)
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("nan")
    if isinstance(value, bool) or not number.is_finite() or not 0 <= number <= LARGEST:
        raise SetupError(f"{name}: {value!r}; accepted: a number of dollars, 0 or more", _HINT)
    return number


def _whole(name: str, scaled: Decimal, written: Decimal) -> int:
    if scaled != scaled.to_integral_value():
        raise SetupError(
            f"{name}: {written.normalize():f} is finer than renga counts; accepted: whole "
            "pico-dollars per token, for the batch share whole percents",
            _HINT,
        )
    return int(scaled)


def _refuse_unknown(where: str, given: Mapping[str, object], known: tuple[str, ...]) -> None:
    for name in given:
        if name not in known:
            raise SetupError(f"{where}: unknown name {name!r}; accepted: {', '.join(known)}")
