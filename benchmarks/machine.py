"""What this machine can do at best, measured in the same run as everything it is compared with.

Matrix rate: f32 products by numpy's BLAS on every core. Memory rate: one large copy, read and write
counted. Both are the best of several tries: they are ceilings, not averages. Knows no models.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Machine:
    """Ceilings of this machine, now, with whatever else is running on it."""

    cores: int
    load: float
    matrix_gflops: float
    memory_gbytes: float

    def words(self) -> str:
        """One line for the head of a table."""
        return (
            f"{self.cores} cores, load {self.load:.1f}; f32 matrix rate "
            f"{self.matrix_gflops:,.0f} GFLOP/s, memory rate {self.memory_gbytes:.0f} GB/s"
        )


def measure_machine(tries: int = 5) -> Machine:
    """Run the two calibrations (about two seconds)."""
    load = os.getloadavg()[0]
    return Machine(os.cpu_count() or 1, load, _matrix(tries), _memory(tries))


def _matrix(tries: int, size: int = 2048) -> float:
    rng = np.random.default_rng(0)
    a = rng.random((size, size), dtype=np.float32)
    return 2 * size**3 / _best(lambda: a @ a, tries) / 1e9


def _memory(tries: int, size: int = 256 * 2**20) -> float:
    source, target = np.ones(size, np.uint8), np.zeros(size, np.uint8)
    return 2 * size / _best(lambda: np.copyto(target, source), tries) / 1e9


def _best(work: object, tries: int) -> float:
    assert callable(work)
    times = []
    for _ in range(tries + 1):  # the first warms up
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return min(times[1:])
