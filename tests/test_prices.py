"""The arithmetic of money, against Decimal."""

from __future__ import annotations

import tomllib
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import renga
from renga.errors import SetupError
from renga.prices import LARGEST, NO_TOKENS, UNKNOWN, Price, Tokens, dollars, load_prices
from renga.routing import TIERS

CLASSES = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output")
counts = st.integers(0, LARGEST)
amounts = st.integers(0, LARGEST)
prices = st.builds(
    Price,
    input=amounts,
    output=amounts,
    cache_read=amounts,
    cache_write_5m=amounts,
    cache_write_1h=amounts,
)
tokens = st.builds(
    Tokens,
    input=counts,
    cache_read=counts,
    cache_write_5m=counts,
    cache_write_1h=counts,
    output=counts,
)


@pytest.mark.parametrize(
    ("tier", "per_million"),
    [
        ("haiku", ("1", "0.1", "1.25", "2", "5")),
        ("sonnet", ("3", "0.3", "3.75", "6", "15")),
        ("opus", ("15", "1.5", "18.75", "30", "75")),
    ],
)
def test_the_card_has_the_list_prices(tier, per_million):
    price = load_prices()[tier]
    got = {name: Decimal(getattr(price, name)) / 10**6 for name in CLASSES}
    assert got == dict(zip(CLASSES, map(Decimal, per_million), strict=True))


def test_every_tier_of_the_data_file_is_loaded_and_no_other():
    file = Path(renga.__file__).parent / "prices.toml"
    assert set(tomllib.loads(file.read_text())["tiers"]) == set(TIERS) == set(load_prices())


def test_a_batch_pays_half():
    price = load_prices()["haiku"]
    million = Tokens(input=10**6, cache_read=0, cache_write_5m=0, cache_write_1h=0, output=10**6)
    assert dollars(price.for_service("standard").cost(million) or 0) == "6"
    assert dollars(price.for_service("batch").cost(million) or 0) == "3"


def test_a_reduced_price_is_not_reduced_again():
    batch = load_prices()["opus"].for_service("batch")
    assert batch.for_service("standard") == batch


@given(prices, tokens)
def test_cost_is_the_exact_product(price, tokens):
    exact = sum(
        Decimal(getattr(tokens, c)) * (Decimal(getattr(price, c)) / 10**12) for c in CLASSES
    )
    cost = price.cost(tokens)
    assert cost is not None
    assert Decimal(cost) / 10**12 == exact
    assert cost < 2**63


@given(st.integers(-(10**24), 10**24))
def test_dollars_are_exact_and_short(pico):
    shown = dollars(pico)
    assert Decimal(shown) * 10**12 == pico
    assert "e" not in shown.lower()
    assert "." not in shown or not shown.endswith(("0", "."))


@pytest.mark.parametrize(
    ("pico", "shown"), [(0, "0"), (1, "0.000000000001"), (10**12, "1"), (-1500000, "-0.0000015")]
)
def test_dollars_for_people(pico, shown):
    assert dollars(pico) == shown


def test_unknown_is_not_zero():
    price = load_prices()["haiku"]
    assert price.cost(UNKNOWN) is None
    assert price.cost(NO_TOKENS) == 0
    assert Tokens(input=3).prompt is None
    assert Tokens(input=3, cache_read=2, cache_write_5m=1, cache_write_1h=4).prompt == 10


def test_reused_tokens_are_part_of_the_input_and_cost_nothing_more():
    price = load_prices()["haiku"]
    plain = Tokens(input=100, cache_read=0, cache_write_5m=0, cache_write_1h=0, output=1)
    reused = Tokens(
        input=100, cache_read=0, cache_write_5m=0, cache_write_1h=0, output=1, reused=90
    )
    assert price.cost(plain) == price.cost(reused)
    assert plain.prompt == reused.prompt == 100


@pytest.mark.parametrize(
    "wrong", [{"input": -1}, {"output": 1.0}, {"cache_read": True}, {"input": LARGEST + 1}]
)
def test_a_wrong_count_is_named(wrong):
    with pytest.raises(ValueError, match=rf"tokens\.{next(iter(wrong))}: .*accepted"):
        Tokens(**wrong)


def test_thinking_is_part_of_the_output_and_cost_nothing_more():
    price = load_prices()["opus"]
    said = {"input": 1, "cache_read": 0, "cache_write_5m": 0, "cache_write_1h": 0, "output": 9}
    assert price.cost(Tokens(**said)) == price.cost(Tokens(**said, thinking=8))
    with pytest.raises(ValueError, match=r"tokens\.thinking: 10; accepted: at most"):
        Tokens(**said, thinking=10)


def test_more_reused_than_input_is_refused():
    with pytest.raises(ValueError, match=r"tokens\.reused: 4; accepted: at most"):
        Tokens(input=3, reused=4)


def test_an_overridden_input_price_moves_its_cache_prices():
    price = load_prices({"haiku": {"input": "0.80", "output": 4}})["haiku"]
    assert (price.input, price.output) == (800_000, 4_000_000)
    assert (price.cache_read, price.cache_write_5m, price.cache_write_1h) == (
        80_000,
        1_000_000,
        1_600_000,
    )


def test_a_float_means_what_was_written():
    assert load_prices({"haiku": {"input": 0.07, "cache_read": 0.007}})["haiku"].input == 70_000


def test_a_tenth_of_seven_cents_is_whole():
    assert load_prices({"opus": {"input": "0.07"}})["opus"].cache_read == 7_000


def test_a_tier_may_have_its_own_batch_share():
    price = load_prices({"haiku": {"batch": "0.25"}})["haiku"]
    assert price.for_service("batch").input == 250_000


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"gpt": {}}, "prices: unknown name 'gpt'; accepted: haiku, sonnet, opus"),
        ({"haiku": {"inptu": 1}}, "prices.haiku: unknown name 'inptu'"),
        ({"haiku": {"input": -1}}, "prices.haiku.input: -1; accepted: a number of dollars"),
        ({"haiku": {"input": "cheap"}}, "prices.haiku.input: 'cheap'"),
        ({"haiku": {"input": True}}, "prices.haiku.input: True"),
        ({"haiku": {"input": float("nan")}}, "prices.haiku.input: nan"),
        ({"haiku": {"input": "Infinity"}}, "prices.haiku.input: 'Infinity'"),
        ({"haiku": {"input": None}}, "prices.haiku.input: None"),
        ({"haiku": {"input": "1001"}}, "prices.haiku: price.input: 1001000000"),
        ({"haiku": {"output": "0.0000001"}}, "prices.haiku.output: 0.0000001 is finer"),
        ({"haiku": {"input": "0.000001"}}, "prices.haiku.cache_read: 0.0000001 is finer"),
        ({"haiku": {"output": "0.000003"}}, "prices.haiku: price.output: 3 at 50%"),
        ({"haiku": {"batch": "0.125"}}, "prices.haiku.batch: 0.125 is finer"),
    ],
)
def test_a_price_that_cannot_be_counted_stops_the_start(overrides, message):
    with pytest.raises(SetupError) as caught:
        load_prices(overrides)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
