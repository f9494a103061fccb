"""What requests will cost: the figures of the price list by hand, and what must hold of any."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renga.costs.estimate import Kept, Work, cost, counted, estimate
from renga.errors import SetupError
from renga.prices import PICO, Price, Service, Tokens, load_prices

CARD = load_prices()


def usd(tier: str, **work: object) -> Decimal:
    return Decimal(cost(Work(**work), CARD[tier])) / PICO  # type: ignore[arg-type]


def test_a_session_of_ten_thousand_tokens_in():
    session = {"input": 10_000, "output": 2_500}
    assert usd("haiku", **session) == Decimal("0.0225")
    assert usd("sonnet", **session) == Decimal("0.0675")
    many = {**session, "requests": 100_000}
    assert usd("sonnet", **many) - usd("haiku", **many) == 4_500


def test_thinking_is_charged_as_output():
    thought = {"input": 5_000, "thinking": 10_000, "output": 3_000}
    assert usd("haiku", **thought) == Decimal("0.070")
    assert usd("sonnet", **thought) == Decimal("0.210")
    assert usd("haiku", input=5_000, output=13_000) == usd("haiku", **thought)


def test_a_shared_prefix_is_written_once_and_read_after():
    calls = {"input": 5_000, "output": 1_000, "shared_prefix": 50_000, "requests": 100}
    assert usd("haiku", **calls, kept="no") == Decimal("6.00")
    assert usd("sonnet", **calls, kept="no") == Decimal("18.00")
    assert round(usd("haiku", **calls), 2) == Decimal("1.56")
    # One write at 1.25 and 99 reads at a tenth of the input's price, and no cent that is not there.
    assert usd("haiku", **calls) == Decimal("0.0625") + Decimal("0.495") + Decimal("1.00")
    assert usd("haiku", **calls, kept="1h") == usd("haiku", **calls) + Decimal("0.0375")


def test_a_batch_pays_half():
    assert usd("opus", input=1_000, output=10, service="batch") * 2 == usd(
        "opus", input=1_000, output=10
    )


counts = st.integers(0, 10**9)
works = st.builds(
    Work,
    input=counts,
    output=st.integers(0, 10**8),
    thinking=st.integers(0, 10**8),
    shared_prefix=counts,
    requests=st.integers(1, 10**6),
    kept=st.sampled_from(("5m", "1h", "no")),
    service=st.sampled_from(("standard", "batch")),
)


@given(works, st.sampled_from(sorted(CARD)))
def test_the_lines_add_up_to_the_cost_and_the_tokens_to_the_work(work: Work, tier: str):
    lines = estimate(work, CARD[tier])
    assert sum(line.cost_pico for line in lines) == cost(work, CARD[tier])
    prompt = sum(line.tokens for line in lines if line.name != "output")
    assert prompt == work.requests * (work.input + work.shared_prefix)
    output = sum(line.tokens for line in lines if line.name == "output")
    assert output == work.requests * (work.output + work.thinking)


@given(
    st.sampled_from(sorted(CARD)),
    st.sampled_from(("5m", "1h")),
    st.sampled_from(("standard", "batch")),
    st.lists(st.integers(0, 10**5), min_size=4, max_size=4),
    st.integers(1, 6),
)
def test_an_estimate_is_what_the_rows_of_such_requests_cost(
    tier: str, kept: Kept, service: Service, tokens: list[int], requests: int
):
    given_, output, thinking, prefix = tokens
    work = Work(
        input=given_,
        output=output,
        thinking=thinking,
        shared_prefix=prefix,
        requests=requests,
        kept=kept,
        service=service,
    )
    price: Price = CARD[tier].for_service(service)
    first = {f"cache_write_{kept}": prefix}
    rows = [first, *([{"cache_read": prefix}] * (requests - 1))]
    none = {"cache_read": 0, "cache_write_5m": 0, "cache_write_1h": 0}
    paid = [
        price.cost(Tokens(**{**none, **row}, input=given_, output=output + thinking))
        for row in rows
    ]
    assert cost(work, CARD[tier]) == sum(one or 0 for one in paid)


def test_numbers_are_read_as_people_write_them():
    assert [counted("--input", text) for text in ("10000", "10_000", "10,000", " 7 ")] == [
        10_000,
        10_000,
        10_000,
        7,
    ]


@pytest.mark.parametrize("text", ["-5", "", "1.5", "ten", "1e3", "٣", "9" * 30, "1000000001"])
def test_what_is_no_number_of_tokens_is_refused_by_name(text: str):
    with pytest.raises(SetupError, match=r"--input: .*accepted: a whole number, 0 to 1,0"):
        counted("--input", text)
