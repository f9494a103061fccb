"""A backend that can be loaded and unloaded while the server runs.

Owns the states of a backend and what happens between them: a load that fails is told and takes
nothing else down; what is unloaded lets running answers finish within the drain time and refuses
new ones meanwhile; load and unload take turns, can be asked for twice, and go on when whoever asked
has left. It does not know what loading means.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import aclosing, contextmanager
from typing import Any

from renga.backends.base import Attempt, Backend, Capabilities, Health, State
from renga.errors import SetupError, Unavailable
from renga.events import Event
from renga.types import Likelihood, MessagesRequest, Prompt, ScoreRequest

LOADING_SECONDS = 5.0  # when to ask again for a model that is being loaded

_log = logging.getLogger(__name__)


class Loadable:
    """A backend around another; `drain_seconds` is how long an unload waits for answers."""

    def __init__(self, inner: Backend, *, drain_seconds: float) -> None:
        self.name = inner.name
        self.kind = inner.kind
        self.failure: SetupError | None = None
        self._inner = inner
        self._drain_seconds = drain_seconds
        self._state: State = "unloaded"
        self._known: Capabilities | None = None
        self._turn = asyncio.Lock()
        self._work: set[asyncio.Task[None]] = set()
        self._open = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def capabilities(self) -> Capabilities:
        """As it was last loaded. Raises Unavailable where it never was."""
        if self._state == "ready":
            return self._inner.capabilities
        if self._known is None:
            raise self.refusal()
        return self._known

    async def start(self) -> None:
        """As `load`."""
        await self.load()

    async def load(self) -> None:
        """Make it ready; returns at once where it is. Raises SetupError where it cannot be."""
        await self._see_through(self._load())

    async def unload(self) -> None:
        """Refuse new requests, let running ones finish in the drain time, then free everything."""
        await self._see_through(self._unload())

    async def aclose(self) -> None:
        """End whatever goes on, and free everything."""
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        self._state = "unloaded"
        await self._inner.aclose()

    def health(self) -> Health:
        if self._state == "ready":
            return self._inner.health()
        words: str = self._state
        if self.failure is not None:
            hint = f" ({self.failure.hint})" if self.failure.hint else ""
            words = f"failed to load: {self.failure.message}{hint}"
        if self._state in ("failed", "unloaded"):
            again = "tries again" if self._state == "failed" else "loads it"
            words = f"{words}; `renga models load {self.name}` {again}"
        return Health(self._state, words)

    async def count_tokens(self, request: Prompt) -> int:
        with self._answering():
            return await self._inner.count_tokens(request)

    async def stream(self, request: MessagesRequest, attempt: Attempt) -> AsyncIterator[Event]:
        """The answer of the backend inside."""
        with self._answering():
            async with aclosing(self._inner.stream(request, attempt)) as events:  # type: ignore[type-var]
                async for event in events:
                    yield event

    async def score(self, request: ScoreRequest, attempt: Attempt) -> list[Likelihood]:
        """The likelihoods of the backend inside."""
        with self._answering():
            return await self._inner.score(request, attempt)

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """One answer: an unload waits for it, and tells it where it had to be cut."""
        self._check_loaded()
        self._open += 1
        self._idle.clear()
        try:
            yield
        except Unavailable as error:
            if self._state == "ready":
                raise
            raise Unavailable(
                f"backend '{self.name}' was unloaded before the answer ended; send it again",
                retry_after=LOADING_SECONDS,
            ) from error
        finally:
            self._open -= 1
            if not self._open:
                self._idle.set()

    def refusal(self) -> Unavailable:
        """The 503 of a backend that is not loaded: why, and what to do."""
        wait = LOADING_SECONDS if self._state == "loading" else None
        return Unavailable(f"backend '{self.name}': {self.health().words}", retry_after=wait)

    def _check_loaded(self) -> None:
        if self._state != "ready":
            raise self.refusal()

    async def _see_through(self, work: Coroutine[Any, Any, None]) -> None:
        """Do `work` to its end, whether or not its caller waits for that."""
        task = asyncio.get_running_loop().create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        await asyncio.shield(task)

    async def _load(self) -> None:
        async with self._turn:
            if self._state == "ready":
                return
            self._state, self.failure = "loading", None
            try:
                await self._inner.start()
            except BaseException as error:
                self._fail(error)
                if isinstance(error, Exception):
                    raise self._told() from error
                raise
            self._state, self._known = "ready", self._inner.capabilities

    def _fail(self, error: BaseException) -> None:
        """Note why it could not be loaded; whoever asked may be gone, so the log has it too."""
        if not isinstance(error, Exception):
            self._state = "unloaded"
            return
        if not isinstance(error, SetupError):
            _log.exception("backend '%s' cannot be loaded", self.name)
            error = SetupError(f"{type(error).__name__}: {error}")
        self._state, self.failure = "failed", error

    def _told(self) -> SetupError:
        assert self.failure is not None, "a failed load has its reason"
        return self.failure

    async def _unload(self) -> None:
        async with self._turn:
            if self._state == "ready":
                self._state = "unloading"
                try:
                    async with asyncio.timeout(self._drain_seconds):
                        await self._idle.wait()
                except TimeoutError:
                    _log.warning("backend '%s': %d answers were cut", self.name, self._open)
                finally:
                    await self._inner.aclose()
            self._state, self.failure = "unloaded", None
