"""Shares of a backend's time, beside a clock that is added up by hand."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from renga.costs.hardware import Hardware, Share
from renga.prices import PICO


class Ticks:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_one_alone_pays_all_of_its_time_and_two_halve_it():
    ticks = Ticks()
    hardware = Hardware({"gpu": 3.6, "free": 0.0}, ticks=ticks)
    assert hardware.begin("free") is None
    assert hardware.begin("unknown") is None
    first = hardware.begin("gpu")
    assert first is not None
    ticks.now += 10
    second = hardware.begin("gpu")
    assert second is not None
    ticks.now += 4
    # $3.60 an hour is a tenth of a cent a second.
    assert first.end() == 12 * PICO // 1_000
    ticks.now += 3
    assert second.end() == 5 * PICO // 1_000
    ticks.now += 100
    assert (first.end(), second.end()) == (12 * PICO // 1_000, 5 * PICO // 1_000)
    third = hardware.begin("gpu")
    assert third is not None
    assert third.end() == 0


steps = st.lists(
    st.tuples(st.sampled_from(["begin", "end", "wait"]), st.integers(0, 50)), max_size=60
)


@given(steps)
def test_all_together_pay_for_the_time_in_which_there_was_any(steps: list[tuple[str, int]]):
    ticks = Ticks()
    hardware = Hardware({"gpu": 7.2}, ticks=ticks)
    running: list[Share] = []
    owed: dict[int, Fraction] = {}
    paid: dict[int, int] = {}
    busy = 0
    for kind, number in steps:
        if kind == "wait":
            ticks.now += number
            busy += number if running else 0
            for share in running:
                owed[id(share)] += Fraction(number, len(running))
        elif kind == "begin":
            begun = hardware.begin("gpu")
            assert begun is not None
            running.append(begun)
            owed[id(begun)] = Fraction(0)
            kept.append(begun)
        elif running:
            share = running.pop(number % len(running))
            paid[id(share)] = share.end()
    for share in running:
        paid[id(share)] = share.end()
    for name, seconds in owed.items():
        assert abs(paid[name] - seconds * PICO * 2 / 1_000) <= 1
    assert abs(sum(paid.values()) - Fraction(busy) * PICO * 2 / 1_000) <= len(paid)


kept: list[Share] = []  # so that no id is given twice
