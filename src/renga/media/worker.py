"""A process that reads images and documents, as the rest of the program sees it.

Owned rules: a job ends, by its outcome or by an exception, within its deadline, also where the
process dies or hangs: then it is ended, and the next job begins another; one job runs at a time,
and few wait; a process that nobody needs for a while is let go, with the memory it holds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from renga.errors import Overloaded
from renga.media.jobs import (
    LENGTH_BYTES,
    Job,
    Outcome,
    WorkSettings,
    frame,
    read_outcome,
)

_log = logging.getLogger(__name__)

PROGRAM = (sys.executable, "-m", "renga.media.process")
_LEAVE_SECONDS = 2.0


class WorkLost(Exception):
    """The process ended in the middle of a job, or had to be; the sentence says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What one process may take: memory in bytes, seconds for a job and without one, and a queue.

    `waiting` counts jobs, the running one not among them.
    """

    memory: int
    job_seconds: float
    idle_seconds: float = 300.0
    waiting: int = 64
    threads: int = 0


class Worker:
    """One process at most, started when there is something to do."""

    def __init__(self, bounds: Bounds, program: Sequence[str] = PROGRAM) -> None:
        self._bounds = bounds
        self._program = tuple(program)
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._asked = 0
        self._work: set[asyncio.Task[Outcome]] = set()
        self._leaving: asyncio.TimerHandle | None = None
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def process_id(self) -> int | None:
        """The process's id; None while there is none."""
        return self._process.pid if self._process is not None else None

    async def ask(self, job: Job) -> Outcome:
        """What comes of `job`.

        Raises WorkLost where the process dies of it or takes too long, and Overloaded where the
        queue is full. Whoever leaves lets the job go on to its end: the process is worth more.
        """
        if self._asked > self._bounds.waiting:
            raise Overloaded(
                f"more than {self._bounds.waiting} images and documents wait to be read",
                retry_after=self._bounds.job_seconds,
            )
        self._asked += 1
        task = asyncio.get_running_loop().create_task(self._do(job))
        self._work.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    async def aclose(self) -> None:
        """End the process and whatever it does. Idempotent."""
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, *self._closing, return_exceptions=True)
        await self._end()

    def _done(self, task: asyncio.Task[Outcome]) -> None:
        self._work.discard(task)
        self._asked -= 1
        if not task.cancelled():
            task.exception()  # whoever asked may have left: it is told to nobody then

    async def _do(self, job: Job) -> Outcome:
        async with self._turn:
            if self._leaving is not None:
                self._leaving.cancel()
            process = await self._started()
            try:
                async with asyncio.timeout(self._bounds.job_seconds):
                    outcome = await _exchange(process, job)
            except TimeoutError as error:
                await self._end()
                seconds = self._bounds.job_seconds
                raise WorkLost(f"reading it takes longer than {seconds:.0f} s") from error
            except (OSError, asyncio.IncompleteReadError) as error:
                await self._end()
                _log.warning("a process that reads images and documents died of one")
                raise WorkLost("the process that read it died of it") from error
            except asyncio.CancelledError:
                await self._end()
                raise
            loop = asyncio.get_running_loop()
            self._leaving = loop.call_later(self._bounds.idle_seconds, self._let_go)
            return outcome

    async def _started(self) -> asyncio.subprocess.Process:
        process = self._process
        if process is not None and process.returncode is None:
            return process
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*self._program, stdin=pipe, stdout=pipe)
        self._process = process
        assert process.stdin is not None
        settings = WorkSettings(memory=self._bounds.memory, threads=self._bounds.threads)
        process.stdin.write(frame(settings))
        return process

    def _let_go(self) -> None:
        """End the process, which has had nothing to do for long."""
        if not self._turn.locked():
            task = asyncio.get_running_loop().create_task(self._rest())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def _rest(self) -> None:
        async with self._turn:
            await self._end()

    async def _end(self) -> None:
        """End the process: at once where it works, else by closing its pipe."""
        process, self._process = self._process, None
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        if process.returncode is None and self._turn.locked():
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        try:
            async with asyncio.timeout(_LEAVE_SECONDS):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def _exchange(process: asyncio.subprocess.Process, job: Job) -> Outcome:
    assert process.stdin is not None
    assert process.stdout is not None
    # Jobs hold whole files: packing one takes as long as some steps of a model.
    process.stdin.write(await asyncio.to_thread(frame, job))
    await process.stdin.drain()
    head = await process.stdout.readexactly(LENGTH_BYTES)
    return read_outcome(await process.stdout.readexactly(int.from_bytes(head, "big")))
