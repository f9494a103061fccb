"""Buckets by themselves: they fill with time, and never beyond what is out."""

from __future__ import annotations

import pytest

from renga.limits.buckets import MINUTE_US, UNIT, Order, Outcome, fill, trade, units
from renga.store.limiting import Bucket, Share

RATE = "requests_per_minute"


def ask(bucket: Bucket, *needs: int, most: int = 60, now_us: int = 0, **more: int) -> Outcome:
    order = Order(kind=RATE, most=most * UNIT, needs=tuple(n * UNIT for n in needs), **more)
    return trade(order, bucket, Share(), 0, now_us)


def test_a_bucket_holds_one_minute_and_fills_continuously():
    bucket = Bucket(used=0, seen_us=0)
    assert ask(bucket, 60).granted == 60 * UNIT
    refused = ask(bucket, 1)
    assert (refused.refused, refused.wait_us) == (UNIT, 1_000_000)
    assert ask(bucket, 1, now_us=999_999).refused == UNIT
    assert ask(bucket, 1, now_us=1_000_000).granted == UNIT
    assert ask(bucket, 60, now_us=1_000_000 + MINUTE_US).granted == 60 * UNIT


def test_what_is_out_is_not_filled_again():
    """Else a server that holds eight could use them beside a whole bucket."""
    bucket = Bucket(used=8 * UNIT, seen_us=0)
    fill(bucket, 60 * UNIT, out=8 * UNIT, now_us=MINUTE_US)
    assert bucket.used == 8 * UNIT
    fill(bucket, 60 * UNIT, out=3 * UNIT, now_us=2 * MINUTE_US)
    assert bucket.used == 3 * UNIT


def test_small_needs_pass_where_a_large_one_does_not():
    bucket = Bucket(used=50 * UNIT, seen_us=0)
    outcome = ask(bucket, 20, 4, 5)
    assert (outcome.granted, outcome.refused) == (9 * UNIT, 20 * UNIT)


def test_near_the_limit_nothing_is_taken_ahead():
    far = ask(Bucket(used=0, seen_us=0), 1, want=100 * UNIT)
    near = ask(Bucket(used=55 * UNIT, seen_us=0), 1, want=100 * UNIT)
    assert far.granted == UNIT + 59 * UNIT // 8
    assert near.granted == UNIT + 4 * UNIT // 8


def test_a_debt_is_paid_before_anything_is_granted():
    bucket = Bucket(used=0, seen_us=0)
    assert ask(bucket, 1, debt=90 * UNIT).wait_us == 31_000_000
    assert ask(bucket, 1, now_us=30_000_000).refused == UNIT
    assert ask(bucket, 1, now_us=31_000_000).granted == UNIT


@pytest.mark.parametrize("back_us", [1, 119_000_000])
def test_a_clock_that_is_a_little_behind_fills_nothing(back_us):
    bucket = Bucket(used=60 * UNIT, seen_us=10**15)
    fill(bucket, 60 * UNIT, out=0, now_us=10**15 - back_us)
    assert (bucket.used, bucket.seen_us) == (60 * UNIT, 10**15)


def test_a_clock_that_is_far_behind_is_believed():
    bucket = Bucket(used=60 * UNIT, seen_us=10**15)
    early = 10**15 - 3_600_000_000
    fill(bucket, 60 * UNIT, out=0, now_us=early)
    fill(bucket, 60 * UNIT, out=0, now_us=early + 1_000_000)
    assert bucket.used == 59 * UNIT


def test_dollars_are_counted_exactly():
    assert units("usd_per_day", 0.1) == 10**11
    assert units("usd_per_month", 1_000_000.0) == 10**18
    assert units("concurrent", 7) == 7
    assert units(RATE, 7) == 7 * UNIT
