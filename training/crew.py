"""Worker processes that compute gradients side by side on a CPU, one thread each.

Owns the sharing: weights lie in shared memory, every worker adds up gradients in a buffer of its own,
and tasks (which rows to compute) are taken from one queue. On cores that other programs use too, a
worker that is held up takes fewer tasks, where threads of one process would wait for each other at
every operation. Knows neither the schedule nor the optimizer.
"""

from __future__ import annotations

import contextlib
import os
import queue
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing as mp
from torch import Tensor

from training.batch import Rows, losses
from training.model import Decoder

PARENT_SECONDS = 2.0
"""How often an idle worker looks whether its run is still there."""


def _flat_gradients(model: Decoder, buffer: Tensor) -> None:
    """Make every weight's gradient a view into `buffer`."""
    at = 0
    for weight in model.parameters():
        weight.grad = buffer[at : at + weight.numel()].view_as(weight)
        at += weight.numel()


def _next(tasks: Any) -> Any:
    """The next task; None when there is none to come, also because the run was killed."""
    parent = mp.parent_process()
    while parent is None or parent.is_alive():
        with contextlib.suppress(queue.Empty):
            return tasks.get(timeout=PARENT_SECONDS)
    return None


def _work(
    model: Decoder, buffer: Tensor, niceness: int, tasks: Any, results: Any, compiled: bool
) -> None:
    os.nice(niceness - os.nice(0))
    torch.set_num_threads(1)
    _flat_gradients(model, buffer)
    body = torch.compile(model.model, dynamic=False) if compiled else model.model
    folders: dict[Path, Rows] = {}
    while (task := _next(tasks)) is not None:
        folder, start, count = task
        rows = folders.setdefault(folder, Rows(folder))
        batch = rows.read(start, count, buffer.device)
        loss, weight = losses(model, body, batch)
        loss.backward()
        results.put((float(loss.detach()), float(weight)))


class Crew:
    """The workers of one run. Close it, or they wait for ever."""

    def __init__(self, model: Decoder, workers: int, compiled: bool) -> None:
        context = mp.get_context("spawn")
        self._model = model.share_memory()
        size = sum(weight.numel() for weight in model.parameters())
        self._buffers = [torch.zeros(size).share_memory_() for _ in range(workers)]
        self._tasks, self._results = context.Queue(), context.Queue()
        self._processes = [
            context.Process(
                target=_work,
                args=(model, buffer, os.nice(0), self._tasks, self._results, compiled),
                daemon=True,
            )
            for buffer in self._buffers
        ]
        for process in self._processes:
            process.start()

    def gradients(self, folder: Path, start: int, rows: int, tasks: int) -> tuple[float, float]:
        """Compute `tasks` groups of `rows` rows; leaves summed gradients on the model's weights.

        Returns the summed loss and the summed loss weight.
        """
        for buffer in self._buffers:
            buffer.zero_()
        for number in range(tasks):
            self._tasks.put((folder, start + number * rows, rows))
        done = [self._results.get() for _ in range(tasks)]
        total = torch.stack(self._buffers).sum(0) if len(self._buffers) > 1 else self._buffers[0]
        _flat_gradients(self._model, total)
        return sum(loss for loss, _ in done), sum(weight for _, weight in done)

    def close(self) -> None:
        """Let the workers end."""
        for _ in self._processes:
            self._tasks.put(None)
        for process in self._processes:
            process.join()
