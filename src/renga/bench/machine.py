"""What this machine can do at best, measured in the same run as everything it is compared with.

Matrix rate: the largest of OpenVINO's products in bfloat16 and with int8 weights, on every core.
Memory rate: reading an array far larger than the caches, from every core. Both are the best of
several tries: they are ceilings, not averages. Knows no models.
"""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import msgspec
import numpy as np
import openvino as ov
from openvino import opset13 as op

ROWS, INNER, COLUMNS = 2048, 4096, 4096
READ_BYTES = 512 * 2**20


class Machine(msgspec.Struct, frozen=True):
    """Ceilings of this machine, now, with whatever else is running on it.

    Rates are GFLOP/s and GB/s; `load` is the load average when they were taken.
    """

    cores: int
    load: float
    bf16_gflops: float
    int8_gflops: float
    memory_gbytes: float

    @property
    def matrix_gflops(self) -> float:
        """The better of the two products."""
        return max(self.bf16_gflops, self.int8_gflops)

    def words(self) -> str:
        """One line for the head of a table."""
        return (
            f"{self.cores} cores, load {self.load:.1f}; matrix products {self.bf16_gflops:,.0f} "
            f"GFLOP/s in bf16, {self.int8_gflops:,.0f} with int8 weights; memory read "
            f"{self.memory_gbytes:.0f} GB/s"
        )


def measure_machine(tries: int = 5) -> Machine:
    """Run the calibrations (about five seconds)."""
    return Machine(
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else _all_cores(),
        load=os.getloadavg()[0],
        bf16_gflops=_products(tries, quantized=False),
        int8_gflops=_products(tries, quantized=True),
        memory_gbytes=_reading(tries),
    )


def _all_cores() -> int:
    return os.cpu_count() or 1


def _products(tries: int, *, quantized: bool) -> float:
    draw = np.random.default_rng(0)
    left = op.parameter(ov.PartialShape([ROWS, INNER]), ov.Type.f32)
    stored = draw.integers(-127, 127, (COLUMNS, INNER), dtype=np.int8)
    if quantized:
        scale = op.constant(np.full((COLUMNS, 1), 0.01, dtype=np.float32))
        right = op.multiply(op.convert(op.constant(stored), "f32"), scale)
    else:
        right = op.constant(stored.astype(np.float32) * np.float32(0.01))
    model = ov.Model([op.result(op.matmul(left, right, False, True))], [left], "product")
    properties = {"INFERENCE_PRECISION_HINT": "bf16", "PERFORMANCE_HINT": "LATENCY"}
    request = ov.Core().compile_model(model, "CPU", properties).create_infer_request()
    request.set_input_tensor(0, ov.Tensor(draw.standard_normal((ROWS, INNER), dtype=np.float32)))
    return 2 * ROWS * INNER * COLUMNS / _best(request.infer, tries) / 1e9


def _reading(tries: int) -> float:
    parts = np.array_split(np.ones(READ_BYTES // 4, dtype=np.float32), _all_cores())
    with ThreadPoolExecutor(len(parts)) as threads:
        seconds = _best(lambda: list(threads.map(lambda part: np.dot(part, part), parts)), tries)
    return READ_BYTES / seconds / 1e9


def _best(work: Callable[[], object], tries: int) -> float:
    times = []
    for _ in range(tries + 1):  # the first warms up
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return min(times[1:])
