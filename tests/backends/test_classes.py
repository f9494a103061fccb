"""Token classes are disjoint and add up to the prompt, whatever convention a backend counts by."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from renga.backends.base import Attempt
from renga.backends.local import count_in
from renga.backends.messages.answer import usage_of
from renga.backends.openai.answering import Answering, Terms
from renga.backends.openai.chunks import Chunk
from renga.engine.messages import Finished, Output, Started
from renga.events import MessageStart
from renga.ids import make_ids
from renga.prices import LARGEST, load_prices
from renga.types import Message

counts = st.integers(0, 10_000)
strange = st.integers(-10, 20) | st.integers(-(2**70), 2**70)
PRICE = load_prices()["haiku"]


def attempt() -> Attempt:
    return Attempt("req_1", "team")


def booked(meter: Attempt) -> int:
    """The prompt as the ledger books it; raises where the classes are none."""
    tokens = meter.tokens()
    assert PRICE.cost(tokens) is not None
    assert tokens.prompt is not None
    return tokens.prompt


@given(st.lists(counts, min_size=4, max_size=4), st.lists(counts, max_size=5), counts)
def test_an_engine_that_runs_here_counts_its_prompt_once(
    prompt: list[int], outputs: list[int], beyond: int
):
    rest, read, short, long = prompt
    started = Started("a", sum(prompt), read + beyond, read, short, long)
    meter = attempt()
    see = partial(count_in, meter)
    see(started)
    for size in outputs:
        see(Output("a", [1] * (size % 7), "", thinking=size % 2 == 0))
    assert booked(meter) == sum(prompt)
    assert meter.tokens().input == rest
    see(
        Finished(
            id="a", reason="end_turn", prompt_tokens=sum(prompt), reused_tokens=read,
            output_tokens=meter.output, thinking_tokens=meter.thinking,
        )
    )  # fmt: skip
    assert booked(meter) == sum(prompt)


@given(counts, counts, counts, counts, counts)
def test_where_the_prompt_includes_what_is_cached_it_is_taken_out(
    prompt: int, cached: int, written: int, output: int, thinking: int
):
    used = {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "prompt_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
        "completion_tokens_details": {"reasoning_tokens": thinking},
    }
    meter = attempt()
    terms = Terms("far", window=100_000, most=100, estimate=5)
    answering = Answering(terms, meter, make_ids(), partial(datetime.now, UTC))
    list(answering.see(msgspec.convert({"choices": [], "usage": used}, Chunk)))
    assert booked(meter) == prompt
    tokens = meter.tokens()
    assert tokens.cache_read == min(cached, prompt)
    assert (tokens.output, tokens.thinking) == (output, min(thinking, output))


@given(counts, counts, counts, counts, st.booleans())
def test_where_the_prompt_leaves_out_what_is_cached_nothing_is_taken_out(
    given_: int, read: int, short: int, long: int, by_ttl: bool
):
    raw: dict[str, Any] = {
        "input_tokens": given_,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": short + long,
        "output_tokens": 1,
    }
    if by_ttl:
        parts = {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long}
        raw["cache_creation"] = parts
    meter = attempt()
    meter.see(MessageStart(message=Message(id="", model="", content=[], usage=usage_of(raw))))
    tokens = meter.tokens()
    assert booked(meter) == given_ + read + short + long
    assert (tokens.input, tokens.cache_read) == (given_, read)
    assert tokens.cache_write_1h == (long if by_ttl else 0)


@given(st.lists(strange, min_size=7, max_size=7))
def test_whatever_a_meter_holds_the_row_can_be_closed(values: list[int]):
    meter = attempt()
    names = "input cache_read cache_write_5m cache_write_1h output reused thinking".split()
    for name, value in zip(names, values, strict=True):
        setattr(meter, name, value)
    booked(meter)
    tokens = meter.tokens()
    assert tokens.output == min(max(meter.output, 0), LARGEST)
    assert (tokens.thinking or 0) <= (tokens.output or 0)


@pytest.mark.parametrize("name", ["reused", "thinking"])
def test_what_is_part_of_something_is_at_most_that(name: str):
    meter = attempt()
    meter.input = meter.output = 3
    setattr(meter, name, 5)
    assert getattr(meter.tokens(), name) == 3
