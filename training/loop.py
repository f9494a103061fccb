"""The training loop: packed rows in, checkpoints out; needs torch and numpy alone.

Owns the schedule (warm-up, steady, linear decay to zero over the last part of the time or steps
given), the loss and the checkpoint that a killed run resumes from. Uses CUDA where there is one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.batch import Rows, losses
from training.crew import Crew
from training.model import Decoder, Shape
from training.optimizer import Kinship, Optimizer, Rates
from training.seeding import seed_copying


@dataclass(frozen=True)
class Plan:
    """How long and in what steps to train; `steps` ends a run by count, else `minutes` by the clock.

    A step takes `micro` groups of `rows` rows. On a CPU `workers` processes share them; 0 computes
    in this process, as on a GPU.
    """

    minutes: float = 140.0
    steps: int = 0
    rows: int = 2
    micro: int = 8
    workers: int = 2
    warmup: int = 40
    decay: float = 0.45
    save_seconds: float = 60.0
    compiled: bool = True
    seeded: bool = True
    seed: int = 1


@dataclass
class Progress:
    """Where a run stands; `seconds` counts training time over all its resumptions."""

    step: int = 0
    row: int = 0
    tokens: int = 0
    seconds: float = 0.0
    loss: float = 0.0


def share_done(plan: Plan, progress: Progress) -> float:
    """How much of the run lies behind, 1 at its end."""
    return progress.step / plan.steps if plan.steps else progress.seconds / (plan.minutes * 60)


def rate_scale(plan: Plan, progress: Progress) -> float:
    """The learning rates' scale for the next step, 0 once the run is over."""
    rising = (progress.step + 1) / plan.warmup
    return max(0.0, min(1.0, rising, (1 - share_done(plan, progress)) / plan.decay))


LONGEST_STEP = 60.0
"""The most seconds that one step counts for: a run that was paused goes on where it was."""


class Run:
    """One training run in a folder: its weights, optimizer state and progress."""

    def __init__(
        self,
        shape: Shape,
        plan: Plan,
        folder: Path,
        rates: Rates | None = None,
        kin: tuple[Sequence[int], Sequence[int]] | None = None,
    ) -> None:
        torch.manual_seed(plan.seed)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.plan, self.folder, self.shape = plan, folder, shape
        self.model = Decoder(shape, plan.seed).to(self.device)
        kinship = None
        if kin is not None:
            kinship = Kinship(*(torch.tensor(numbers, device=self.device) for numbers in kin))
        if plan.seeded and not self.saved.exists():
            seed_copying(self.model, plan.seed, kinship)
        self.optimizer = Optimizer(self.model, rates or Rates(), kinship)
        self.progress = Progress()
        if self.saved.exists():
            self._load()
        self._body: Callable[..., Tensor] = self.model.model
        self._crew: Crew | None = None
        if plan.workers and self.device.type == "cpu":
            self._crew = Crew(self.model, plan.workers, plan.compiled)
        elif plan.compiled:
            self._body = torch.compile(self.model.model, dynamic=False)

    @property
    def saved(self) -> Path:
        """The file a killed run resumes from."""
        return self.folder / "checkpoint.pt"

    def _load(self) -> None:
        state = torch.load(self.saved, map_location=self.device, weights_only=True)
        if state["shape"] != asdict(self.shape):
            raise ValueError(f"{self.saved} holds shape {state['shape']}, not {asdict(self.shape)}")
        self.model.load_state_dict(state["model"])
        self.optimizer.restore(state["optimizer"])
        self.progress = Progress(**state["progress"])

    def save(self) -> None:
        """Write the checkpoint in one move, so that a kill leaves the old one or the new one."""
        state: dict[str, Any] = {
            "shape": asdict(self.shape),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state(),
            "progress": asdict(self.progress),
        }
        part = self.saved.with_suffix(".part")
        torch.save(state, part)
        os.replace(part, self.saved)

    def _gradients(self, rows: Rows) -> tuple[float, float]:
        """Sum gradients over the next groups of rows; returns summed loss and loss weight."""
        start, plan = self.progress.row, self.plan
        if self._crew is not None:
            return self._crew.gradients(rows.folder, start, plan.rows, plan.micro)
        total = weight = 0.0
        for at in range(start, start + plan.rows * plan.micro, plan.rows):
            batch = rows.read(at, plan.rows, self.device)
            loss, count = losses(self.model, self._body, batch)
            loss.backward()
            total, weight = total + float(loss.detach()), weight + float(count)
        return total, weight

    def step(self, rows: Rows, scale: float) -> float:
        """One optimizer step over `rows * micro` rows; returns its mean loss."""
        total, weight = self._gradients(rows)
        for parameter in self.model.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(1 / max(weight, 1e-9))
        self.optimizer.step(scale)
        count = self.plan.rows * self.plan.micro
        self.progress.tokens += rows.tokens(self.progress.row, count)
        self.progress.row += count
        return total / max(weight, 1e-9)

    def close(self) -> None:
        """End the workers, if there are any."""
        if self._crew is not None:
            self._crew.close()
            self._crew = None

    def train(
        self,
        stages: Sequence[tuple[float, Rows]],
        clock: Callable[[], float],
        log: Callable[[str], None],
        stop: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Run to the plan's end or to `stop`, saving now and then; true when the plan is done.

        `stages` are rows and the share of the run from which they are read; `clock` gives seconds.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        last_save = before = clock()
        p = self.progress
        while (scale := rate_scale(self.plan, p)) > 0 and not stop():
            done = share_done(self.plan, p)
            loss = self.step([rows for start, rows in stages if start <= done][-1], scale)
            now = clock()
            p.seconds, before = p.seconds + min(now - before, LONGEST_STEP), now
            p.step += 1
            p.loss = loss if p.step == 1 else 0.95 * p.loss + 0.05 * loss
            if p.step % 10 == 0:
                log(json.dumps({**asdict(p), "scale": round(scale, 4), "last": round(loss, 4)}))
            if now - last_save > self.plan.save_seconds:
                self.save()
                last_save = clock()
        self.save()
        return rate_scale(self.plan, p) == 0
