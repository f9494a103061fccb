"""The client for programs without an event loop: the same calls, on a loop in a thread of its own.

Owns that thread. Knows nothing of what is asked.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Self, TypeVar

import anthropic
from anthropic.types.messages import MessageBatch, MessageBatchIndividualResponse
from anthropic.types.messages.batch_create_params import Request

from renga.client.core import Answered, AsyncBatch, AsyncClient, BatchProgress

T = TypeVar("T")


class _Loop:
    """An event loop in a daemon thread, until `close`."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="renga-client", daemon=True
        )
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """`work`, to its end; interrupted, it is cancelled."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def iterate(self, source: AsyncIterator[T]) -> Iterator[T]:
        """What `source` yields; closed with the iteration."""
        try:
            while True:
                try:
                    yield self.run(_next(source))
                except StopAsyncIteration:
                    return
        finally:
            with suppress(Exception):
                self.run(_close(source))

    def close(self) -> None:
        """End the thread."""
        if self._loop.is_closed():
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _next(source: AsyncIterator[T]) -> T:
    return await anext(source)


async def _close(source: AsyncIterator[Any]) -> None:
    closing = getattr(source, "aclose", None)
    if closing is not None:
        await closing()


class Client:
    """As `AsyncClient`. Use as a context manager, or call `close`."""

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        sdk: anthropic.AsyncAnthropic | None = None,
    ) -> None:
        self._loop = _Loop()
        self._client = AsyncClient(base_url, api_key, sdk=sdk)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections, and end its thread."""
        self._loop.run(self._client.aclose())
        self._loop.close()

    def map(
        self, rows: Iterable[Mapping[str, Any]], prompt: str, **options: Any
    ) -> Iterator[Answered]:
        """See `AsyncClient.map`, whose options these are."""
        return self._loop.iterate(self._client.map(rows, prompt, **options))

    def batch(self, requests: Iterable[Request]) -> Batch:
        """See `AsyncClient.batch`."""
        return Batch(self._loop, self._loop.run(self._client.batch(requests)))

    def batch_of(self, batch_id: str) -> Batch:
        """See `AsyncClient.batch_of`."""
        return Batch(self._loop, self._loop.run(self._client.batch_of(batch_id)))


class Batch:
    """As `AsyncBatch`."""

    def __init__(self, loop: _Loop, batch: AsyncBatch) -> None:
        self._loop, self._batch = loop, batch

    @property
    def id(self) -> str:
        """Its id at the server."""
        return self._batch.id

    @property
    def state(self) -> MessageBatch:
        """What was last heard of it."""
        return self._batch.state

    def refresh(self) -> MessageBatch:
        """Ask how it is."""
        return self._loop.run(self._batch.refresh())

    def wait(
        self,
        *,
        progress: Callable[[BatchProgress], None] | None = None,
        timeout: float | None = None,
    ) -> MessageBatch:
        """See `AsyncBatch.wait`; `progress` is called in the client's thread."""
        return self._loop.run(self._batch.wait(progress=progress, timeout=timeout))

    def results(self) -> Iterator[MessageBatchIndividualResponse]:
        """See `AsyncBatch.results`."""
        return self._loop.iterate(self._batch.results())

    def cancel(self) -> MessageBatch:
        """See `AsyncBatch.cancel`."""
        return self._loop.run(self._batch.cancel())

    def delete(self) -> None:
        """See `AsyncBatch.delete`."""
        self._loop.run(self._batch.delete())
