"""The engine as the rest of the program sees it: asyncio in, a process behind.

Owned rules: every `generate` ends, by `Finished` or by an exception, also when the process dies; a
generator that is closed early is cancelled in the engine; a process that dies is started again, and
one that owes an answer and gives no sign of life is ended first. It does not know what a request
means.
"""

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field

import msgspec

from renga.engine.messages import (
    LENGTH_BYTES,
    Cancel,
    Drain,
    EngineSettings,
    Failed,
    Finished,
    FromEngine,
    Output,
    Ready,
    Refused,
    Score,
    Scored,
    Show,
    Started,
    Stats,
    Submit,
    ToEngine,
    frame,
    read_from_engine,
)

Event = Started | Output | Finished

# Seconds in which a process that works says something, several times over: each step ends with a
# frame, and its longest, a chunk of the longest prompt of the largest model, takes a few.
PATIENCE_SECONDS = 60.0

PROGRAM = "renga.engine.process"

_BACKOFF_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_READ_BYTES = 1 << 16
_LEAVE_SECONDS = 2.0
_GOING_SECONDS = 0.5
_LOOKS = 20

_log = logging.getLogger(__name__)


class EngineError(Exception):
    """What the engine could not do. The classes below say which."""


class EngineStartError(EngineError):
    """The model could not be loaded; the sentence says why."""


class EngineDied(EngineError):
    """The engine's process ended, or did not come back in time."""


class EngineOverloaded(EngineError):
    """The queue is full. `retry_after` is in seconds."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"the engine's queue is full; try again in {retry_after:.0f} s")
        self.retry_after = retry_after


@dataclass(slots=True)
class _Open:
    """A request that has not ended: what came and was not read yet, and who counts what comes."""

    meter: Callable[[Event], None] | None
    queue: asyncio.Queue[Event | Refused | Exception] = field(default_factory=asyncio.Queue)
    scored: Scored | None = None
    answered: bool = False
    """Whether its last message has come: a slow reader may have some to read yet."""


class EngineClient:
    """One engine process and its open requests. Made by `start`, ended by `aclose`."""

    def __init__(
        self, settings: EngineSettings, patience: float = PATIENCE_SECONDS, program: str = PROGRAM
    ) -> None:
        self._program = program
        self._settings = settings
        self._patience = patience
        self._silent = 0
        self._open: dict[str, _Open] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._up = asyncio.Event()
        self._facts: Ready | None = None
        self._stats: Stats | None = None
        self._failure: str | None = None
        self._closing = False
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    async def start(
        cls, settings: EngineSettings, patience: float = PATIENCE_SECONDS, program: str = PROGRAM
    ) -> "EngineClient":
        """Start the process and wait for its model; EngineStartError where that fails.

        `program` is the module that it runs.

        A process that owes an answer and says nothing for `patience` seconds is started again.
        """
        client = cls(settings, patience, program)
        try:
            await client._bring_up()
        except EngineDied as error:
            raise EngineStartError(str(error)) from error
        # Kept and awaited in `aclose`: their life is the client's, not that of a block of code.
        loop = asyncio.get_running_loop()
        client._tasks = [loop.create_task(client._supervise()), loop.create_task(client._watch())]
        return client

    @property
    def facts(self) -> Ready:
        """What the model is: as the process said when it was last ready."""
        assert self._facts is not None, "facts are there once start() has returned"
        return self._facts

    @property
    def alive(self) -> bool:
        """Whether the process is up and its model loaded."""
        return self._up.is_set() and not self._closing

    @property
    def process_id(self) -> int | None:
        """The process's id; None while there is none."""
        return self._process.pid if self._process is not None else None

    def stats(self) -> Stats | None:
        """The figures that the process last sent; None before it sent any."""
        return self._stats

    def generate(
        self, submit: Submit | Show, meter: Callable[[Event], None] | None = None
    ) -> AsyncGenerator[Event, None]:
        """Run a request: `Started`, some `Output`, then `Finished`.

        `submit.id` must not be in use. Close the generator (`aclosing`) to cancel. `meter` is told
        of each event when it comes, which for a slow reader is long before it is yielded, and may
        be an event that never is. Raises EngineOverloaded where the queue is full, and EngineDied
        where the process ends meanwhile or does not come back within the settings' `start_seconds`.
        """
        return self._ask(submit, _Open(meter))

    async def score(
        self, score: Score, meter: Callable[[Event], None] | None = None
    ) -> tuple[Scored | None, Finished]:
        """The likelihoods that a score asks for, and its end; None where that is an error's.

        Cancel the task to cancel it in the engine; `meter` is told what was done by then. Raises
        as `generate` does.
        """
        opened = _Open(meter)
        async with aclosing(self._ask(score, opened)) as events:
            async for event in events:
                if isinstance(event, Finished):
                    return opened.scored, event
        raise AssertionError("every request ends with Finished or an exception")

    async def _ask(
        self, message: Submit | Score | Show, opened: "_Open"
    ) -> AsyncGenerator[Event, None]:
        await self._wait_until_up()
        if message.id in self._open:
            raise ValueError(f"id {message.id!r} is in use")
        if all(other.answered for other in self._open.values()):
            self._silent = 0
        self._open[message.id] = opened
        ended = False
        try:
            self._send(message)
            while not ended:
                event = await opened.queue.get()
                if isinstance(event, Exception):
                    ended = isinstance(event, EngineDied)
                    raise event
                ended = not isinstance(event, Started | Output)
                if isinstance(event, Refused):
                    raise EngineOverloaded(event.retry_after)
                yield event
        finally:
            self._open.pop(message.id, None)
            if not ended:
                self._send(Cancel(message.id))

    async def aclose(self, drain_seconds: float = 0.0) -> None:
        """End the process; with `drain_seconds`, let open requests finish for so long first."""
        self._closing = True
        process = self._process
        if process is not None and drain_seconds > 0:
            self._send(Drain())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), drain_seconds)
        if process is not None and process.stdin is not None:
            process.stdin.close()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), _LEAVE_SECONDS)
        await self._kill()
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._lose("the engine was closed")
        self._up.set()  # wakes who waited for a start that will not come

    async def _wait_until_up(self) -> None:
        try:
            async with asyncio.timeout(self._settings.start_seconds):
                # It may have ended again before those who waited for it have their turn.
                while not (self._closing or self._up.is_set()):
                    await self._up.wait()
        except TimeoutError as error:
            raise EngineDied(self._failure or "the engine is not up") from error
        if self._closing:
            raise EngineDied("the engine is closed")

    async def _supervise(self) -> None:
        """Read what the process says until it ends; then start it again, ever more slowly."""
        loop = asyncio.get_running_loop()
        failures = 0
        while not self._closing:
            begun = loop.time()
            # A frame that is none means that the process is out of its mind: as good as dead.
            with contextlib.suppress(msgspec.MsgspecError, OSError):
                await self._read_events()
            process = self._process
            await self._kill()
            self._lose(
                f"the engine's process gave no sign of life for {self._patience:.0f} s"
                if self._silent > _LOOKS
                else "the engine's process ended"
            )
            if self._closing:
                return
            status = None if process is None else process.returncode
            _log.error("the engine's process ended with status %s; starting it again", status)
            if loop.time() - begun > _BACKOFF_SECONDS[-1]:
                failures = 0
            while not self._up.is_set() and not self._closing:
                await asyncio.sleep(_BACKOFF_SECONDS[min(failures, len(_BACKOFF_SECONDS) - 1)])
                failures += 1
                await self._restart()

    async def _watch(self) -> None:
        """End a process that says nothing although it owes an answer: a step of it hangs.

        Counts looks and not seconds, so that a stop of the whole group, or a sleep of the machine,
        is nobody's silence.
        """
        while True:
            await asyncio.sleep(self._patience / _LOOKS)
            owes = self.alive and not all(opened.answered for opened in self._open.values())
            self._silent = self._silent + 1 if owes else 0
            process = self._process
            if self._silent > _LOOKS and process is not None:
                _log.error("the engine gave no sign of life for %.0f s", self._patience)
                with contextlib.suppress(ProcessLookupError):
                    process.kill()

    async def _restart(self) -> None:
        try:
            await self._bring_up()
        except EngineDied as error:
            self._failure = str(error)
            _log.error("the engine cannot be started again yet: %s", error)

    async def _bring_up(self) -> None:
        """Start a process and wait for its model; EngineDied, and no process left, otherwise."""
        seconds = self._settings.start_seconds
        try:
            async with asyncio.timeout(seconds):
                await self._spawn()
                await self._read_ready()
        except TimeoutError as error:
            raise EngineDied(f"the model did not load within {seconds:.0f} s") from error
        except OSError as error:
            raise EngineDied(f"the engine's process cannot be started: {error}") from error
        finally:
            if not self._up.is_set():
                await self._kill()

    async def _spawn(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            self._program,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        self._write(frame(self._settings))

    async def _read_ready(self) -> None:
        """Wait for the first frame: the facts, or why there are none."""
        stream = self._stdout()
        try:
            head = await stream.readexactly(LENGTH_BYTES)
            body = await stream.readexactly(int.from_bytes(head, "big"))
        except asyncio.IncompleteReadError as error:
            raise EngineDied("the engine's process ended while loading the model") from error
        first = read_from_engine(body)[0]
        if isinstance(first, Failed):
            raise EngineDied(first.message)
        assert isinstance(first, Ready)
        self._facts = first
        self._up.set()

    async def _read_events(self) -> None:
        """Hand every frame's messages to the requests they belong to, until the pipe ends."""
        stream = self._stdout()
        buffer = bytearray()
        while data := await stream.read(_READ_BYTES):
            self._silent = 0
            buffer += data
            while len(buffer) >= LENGTH_BYTES:
                end = LENGTH_BYTES + int.from_bytes(buffer[:LENGTH_BYTES], "big")
                if len(buffer) < end:
                    break
                self._hand_out(read_from_engine(bytes(buffer[LENGTH_BYTES:end])))
                del buffer[:end]

    def _hand_out(self, events: list[FromEngine]) -> None:
        for event in events:
            if isinstance(event, Stats):
                self._stats = event
            elif isinstance(event, Started | Output | Scored | Finished | Refused):
                # A request that was cancelled here is not there any more.
                opened = self._open.get(event.id)
                if opened is None:
                    continue
                if isinstance(event, Scored):
                    opened.scored = event
                    continue
                opened.answered = isinstance(event, Finished | Refused)
                opened.queue.put_nowait(_metered(opened, event))

    def _lose(self, sentence: str) -> None:
        """Everything that is open ends: whatever the process knew of it is gone."""
        self._up.clear()
        for opened in self._open.values():
            # A slow reader may come to this much later; the next process owes it nothing.
            opened.answered = True
            opened.queue.put_nowait(EngineDied(sentence))

    def _stdout(self) -> asyncio.StreamReader:
        stream = None if self._process is None else self._process.stdout
        assert stream is not None, "the process was started with a pipe"
        return stream

    def _send(self, message: ToEngine) -> None:
        self._write(frame([message]))

    def _write(self, data: bytes) -> None:
        # A pipe that is gone needs no word here: the reader sees the same end and reports it.
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError, RuntimeError):
                self._process.stdin.write(data)

    async def _kill(self) -> None:
        """End the process, unless it goes by itself.

        Its pipes close a moment before it is gone; a kill in that moment would take its status from
        asyncio, which then reports another one, and a child that it does not know.
        """
        process = self._process
        if process is None:
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _GOING_SECONDS)
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        self._process = None


def _metered(opened: _Open, event: Event | Refused) -> Event | Refused | Exception:
    """The event, or what its request's meter raised on it: that ends this request alone."""
    try:
        if opened.meter is not None and not isinstance(event, Refused):
            opened.meter(event)
    except Exception as error:  # noqa: BLE001 - the reader serves every request of the process
        return error
    return event


__all__ = [
    "EngineClient",
    "EngineDied",
    "EngineError",
    "EngineOverloaded",
    "EngineStartError",
    "Event",
]
