"""A backend whose kind its model's files tell: it becomes that kind when it is started.

Owns when that is told: at every start, since a model can be pulled, or replaced by another form of
it, while the server runs. It adds nothing to the backend that it becomes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing

from renga.backends.base import Attempt, Backend, Capabilities, Health, Measured
from renga.errors import Unavailable
from renga.events import Event
from renga.types import Likelihood, MessagesRequest, Prompt, ScoreRequest


class ChosenBackend:
    """See the module. `make` gives the backend, or raises SetupError while there is no model."""

    def __init__(self, name: str, make: Callable[[], Backend]) -> None:
        self.name = name
        self._make = make
        self._inner: Backend | None = None

    @property
    def kind(self) -> str:
        """What it became; `auto` before its first start."""
        return "auto" if self._inner is None else self._inner.kind

    @property
    def inner(self) -> Backend:
        """What it became. Raises Unavailable before that."""
        if self._inner is None:
            raise Unavailable(f"backend '{self.name}' was never started")
        return self._inner

    @property
    def capabilities(self) -> Capabilities:
        return self.inner.capabilities

    async def start(self) -> None:
        """Tell the kind anew, and start that. Raises SetupError."""
        self._inner = self._make()
        await self._inner.start()

    async def count_tokens(self, request: Prompt) -> int:
        return await self.inner.count_tokens(request)

    async def stream(self, request: MessagesRequest, attempt: Attempt) -> AsyncIterator[Event]:
        """The answer of what it became."""
        async with aclosing(self.inner.stream(request, attempt)) as events:  # type: ignore[type-var]
            async for event in events:
                yield event

    async def score(self, request: ScoreRequest, attempt: Attempt) -> list[Likelihood]:
        """The likelihoods of what it became."""
        return await self.inner.score(request, attempt)

    def health(self) -> Health:
        return Health("unloaded", "stopped") if self._inner is None else self._inner.health()

    def figures(self) -> Mapping[str, float]:
        return self._inner.figures() if isinstance(self._inner, Measured) else {}

    async def aclose(self) -> None:
        """Free everything. Idempotent."""
        if self._inner is not None:
            await self._inner.aclose()
