"""What was measured, as it is written down: every round's figures, medians, bars and ceilings.

Owns the form of the JSON file: `Report`. It measures nothing and prints nothing.
"""

import statistics

import msgspec

from renga.bench.bars import BARS, Held
from renga.bench.machine import Machine
from renga.bench.subject import Subject


class Figure(msgspec.Struct, frozen=True):
    """One figure of one engine: the median, and each round's."""

    median: float
    rounds: list[float]


class Ceiling(msgspec.Struct, frozen=True):
    """How near an engine came to what the machine can do. `share` of 1 is all of it."""

    engine: str
    what: str
    reached: float
    ceiling: float
    unit: str

    @property
    def share(self) -> float:
        """The part that was reached."""
        return self.reached / self.ceiling


class Report(msgspec.Struct, kw_only=True):
    """One run. `figures` is by workload, then by the figure's name, then by engine."""

    version: str
    model: str
    bars_of: str
    machine: Machine
    rounds: int
    scale: float
    seed: int
    engines: list[str]
    workloads: dict[str, str]
    figures: dict[str, dict[str, dict[str, Figure]]]
    ceilings: list[Ceiling]
    bars: list[Held]


Raw = dict[str, dict[str, dict[str, list[float]]]]


def medians(raw: Raw) -> dict[str, dict[str, dict[str, Figure]]]:
    """Every figure with its median over the rounds."""
    return {
        workload: {
            name: {
                engine: Figure(statistics.median(values), values)
                for engine, values in engines.items()
            }
            for name, engines in figures.items()
        }
        for workload, figures in raw.items()
    }


def judged(subject: Subject, figures: dict[str, dict[str, dict[str, Figure]]]) -> list[Held]:
    """Every bar of that model for which there are figures."""
    plain = {
        workload: {
            name: {engine: figure.median for engine, figure in engines.items()}
            for name, engines in named.items()
        }
        for workload, named in figures.items()
    }
    found = [bar.judge(plain) for bar in BARS if subject.bars in bar.models]
    return [held for held in found if held is not None]


def ceilings(
    subject: Subject, machine: Machine, figures: dict[str, dict[str, dict[str, Figure]]]
) -> list[Ceiling]:
    """What each engine made of the machine: operations of a prefill, bytes of a decode."""
    found = []
    prompt = 1_100
    for engine, figure in figures.get("prefill", {}).get("prefill tok/s", {}).items():
        flops = subject.prefill_flops(prompt) / prompt * figure.median / 1e9
        found.append(Ceiling(engine, "prefill", flops, machine.matrix_gflops, "GFLOP/s"))
    for name, width in (("one alone", 1), ("16 together", 16)):
        for engine, figure in figures.get("decode", {}).get(f"{name} tok/s", {}).items():
            moved = subject.weight_bytes * figure.median / width / 1e9
            found.append(Ceiling(engine, f"decode, {name}", moved, machine.memory_gbytes, "GB/s"))
    return found
