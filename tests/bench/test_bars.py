"""Which bars hold for which figures."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from renga.bench.bars import BARS, Bar, Held
from renga.bench.machine import Machine
from renga.bench.report import Figure, ceilings, judged, medians
from renga.bench.subject import Subject

QWEN = Subject(
    name="qwen",
    folder=Path(),
    random=True,
    vocab=151_936,
    parameters=596_000_000,
    layers=28,
    heads=16,
    kv_heads=8,
    head_dim=128,
    embedding=155_582_464,
    weight_bytes=600_000_000,
)


def figures(ours: float, native: float) -> dict[str, dict[str, dict[str, Figure]]]:
    return medians({"prefill": {"prefill tok/s": {"renga": [ours], "llama-server": [native]}}})


def test_a_bar_holds_from_its_limit_on():
    assert judged(QWEN, figures(250, 100)) == [Held("prefill, times llama-server", 2.5, 2.5, True)]
    assert judged(QWEN, figures(250, 100))[0].holds
    assert not judged(QWEN, figures(249, 100))[0].holds


def test_an_upper_limit_is_the_other_way_round():
    assert Held("wait", 1.0, 1.25, least=False).holds
    assert not Held("wait", 1.3, 1.25, least=False).holds


def test_without_figures_there_is_no_verdict():
    assert judged(QWEN, {}) == []
    assert Bar("any", 1.0, lambda m: m["a"]["b"]["renga"]).judge({}) is None


def test_a_model_of_another_size_has_no_bars():
    small = dataclasses.replace(QWEN, parameters=1_000_000)
    assert judged(small, figures(1, 100)) == []


@pytest.mark.parametrize("model", ["0.6b", "shipped"])
def test_no_bar_stands_twice(model):
    names = [bar.name for bar in BARS if model in bar.models]
    assert len(names) == len(set(names))


def test_a_cold_burst_is_measured_by_what_it_cannot_avoid():
    raw = {"one shared prefill s": 2.0, "warm total s": 8.0, "cold total s": 12.0}
    found = judged(QWEN, medians({"burst": {k: {"renga": [v]} for k, v in raw.items()}}))
    [held] = found
    assert held.value == pytest.approx(1.2)
    assert held.holds


def test_medians_are_over_the_rounds():
    found = medians({"w": {"f": {"renga": [3.0, 1.0, 2.0]}}})
    assert found["w"]["f"]["renga"].median == 2.0


def test_a_prefill_is_two_operations_a_weight_and_attention():
    assert QWEN.prefill_flops(1_100) / 1_100 == pytest.approx(0.88e9 + 0.127e9, rel=0.01)


def test_ceilings_are_of_what_was_measured():
    machine = Machine(2, 0.0, 700.0, 800.0, 28.0)
    raw = {
        "prefill": {"prefill tok/s": {"renga": [600.0]}},
        "decode": {"one alone tok/s": {"renga": [40.0]}, "16 together tok/s": {"renga": [400.0]}},
    }
    prefill, alone, together = ceilings(QWEN, machine, medians(raw))
    assert prefill.share == pytest.approx(600 * 1.007e9 / 800e9, rel=0.01)
    assert alone.share == pytest.approx(40 * 0.6 / 28)
    assert together.share == pytest.approx(400 * 0.6 / 16 / 28)
