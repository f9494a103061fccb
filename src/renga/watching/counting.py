"""Counters and histograms: numbers by labels, as cheap to add to as a dictionary.

Owns how they are kept and how they are written out. They belong to one event loop, which adds to
them and reads them, so that they need no locks; that is why they are not those of
prometheus_client, whose forms they are written out in.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

Labels = tuple[str, ...]


class Counter:
    """Sums by labels. `unit` is what one counted thing is of what is written out."""

    def __init__(self, name: str, about: str, labels: Sequence[str], unit: int = 1) -> None:
        self._name, self._about, self._labels = name, about, labels
        self._unit = unit
        self._sums: dict[Labels, int] = {}

    def add(self, labels: Labels, amount: int = 1) -> None:
        """Count `amount` more."""
        self._sums[labels] = self._sums.get(labels, 0) + amount

    def collect(self) -> Metric:
        """As it is written out."""
        family = CounterMetricFamily(self._name, self._about, labels=self._labels)
        for labels, amount in self._sums.items():
            family.add_metric(labels, amount / self._unit)
        return family


class Histogram:
    """How often a value was at most each of `bounds`, by labels, and the sum of all values."""

    def __init__(
        self, name: str, about: str, labels: Sequence[str], bounds: Sequence[float]
    ) -> None:
        self._name, self._about, self._labels = name, about, labels
        self._bounds = tuple(bounds)
        self._counts: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = {}

    def see(self, labels: Labels, value: float) -> None:
        """Count one value."""
        counts = self._counts.get(labels)
        if counts is None:
            counts = self._counts[labels] = [0] * (len(self._bounds) + 1)
        counts[bisect_left(self._bounds, value)] += 1
        self._sums[labels] = self._sums.get(labels, 0.0) + value

    def collect(self) -> Metric:
        """As it is written out: each bucket holds all those below it."""
        family = HistogramMetricFamily(self._name, self._about, labels=self._labels)
        names = [*(repr(float(bound)) for bound in self._bounds), "+Inf"]
        for labels, counts in self._counts.items():
            buckets, total = [], 0
            for name, count in zip(names, counts, strict=True):
                total += count
                buckets.append((name, float(total)))
            family.add_metric(labels, buckets, self._sums[labels])
        return family


Readings = Iterable[tuple[Mapping[str, str], float]]
"""What is read when somebody asks: labels, and the value under them."""


def gauge(name: str, about: str, labels: Sequence[str], readings: Readings) -> Metric:
    """A number that goes up and down, as it is written out."""
    return _with(GaugeMetricFamily(name, about, labels=labels), labels, readings)


def total(name: str, about: str, labels: Sequence[str], readings: Readings) -> Metric:
    """A number that others count up."""
    return _with(CounterMetricFamily(name, about, labels=labels), labels, readings)


def _with(
    family: GaugeMetricFamily | CounterMetricFamily, labels: Sequence[str], readings: Readings
) -> Metric:
    for found, value in readings:
        family.add_metric([found[label] for label in labels], value)
    return family
