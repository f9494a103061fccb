"""The client's core: rows asked with bounded haste, and batches waited for.

Owns the order of answers (that of the rows), how many are asked at once, and how often a batch is
looked at. What is asked and what comes back are the official SDK's types; retries of a call are
the SDK's own.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import anthropic
from anthropic.types import Message
from anthropic.types.messages import MessageBatch, MessageBatchIndividualResponse
from anthropic.types.messages.batch_create_params import Request

from renga.bulk.prompts import Question, RowFault, Shape, Template
from renga.errors import SetupError

SHORTEST_POLL: Final = 0.5
LONGEST_POLL: Final = 15.0

Rows = Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]]


@dataclass(frozen=True)
class Answered:
    """One row and what came of it.

    Attributes:
        row: as it was given.
        value: the answer's text, or an object where a schema was given; None where it went wrong.
        error: what went wrong, in a sentence.
        message: the answer as the SDK has it, where there is one.
    """

    row: Mapping[str, Any]
    value: Any = None
    error: str | None = None
    message: Message | None = None


@dataclass(frozen=True)
class BatchProgress:
    """How far a batch is: `done` of `total` requests, and seconds since it was first looked at.

    A server that is not renga tells nothing of it before the end: `done` is 0 until then.
    """

    done: int
    total: int
    seconds: float
    cost_usd: str | None = None
    saved_usd: str | None = None


class AsyncClient:
    """Questions over rows, and batches, at one server.

    Args:
        base_url: the server; else the SDK's own default (ANTHROPIC_BASE_URL).
        api_key: its key; else ANTHROPIC_API_KEY.
        sdk: in place of both: the SDK's client to use.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        sdk: anthropic.AsyncAnthropic | None = None,
    ) -> None:
        self.sdk = sdk or anthropic.AsyncAnthropic(base_url=base_url, api_key=api_key)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close its connections."""
        await self.sdk.close()

    async def map(  # noqa: PLR0913  the parts of one question
        self,
        rows: Rows,
        prompt: str,
        *,
        tier: str = "haiku",
        schema: Mapping[str, Any] | None = None,
        system: str | None = None,
        max_tokens: int = 512,
        temperature: float | None = None,
        concurrency: int = 16,
    ) -> AsyncIterator[Answered]:
        """Ask `prompt` of every row, in which `{name}` stands for a value of it.

        Yields in the order of the rows, which are taken no faster than they are asked. With
        `schema` (a JSON Schema of an object) values are objects. What goes wrong with one row is
        its `error`; what would go wrong with each is raised.

        Raises:
            ValueError: the prompt, the schema or `concurrency` is wrong.
            anthropic.APIStatusError: the key or the model is refused.
            anthropic.APIConnectionError: the server cannot be reached.
        """
        if concurrency < 1:
            raise ValueError(f"concurrency: {concurrency}; accepted: 1 or more")
        try:
            shape = Shape.text("output") if schema is None else Shape.of(dict(schema))
            template = Template.read(prompt)
        except SetupError as error:
            raise ValueError(f"{error.message}; {error.hint}") from error
        question = Question(template, shape, tier, max_tokens, system, temperature)
        waiting: deque[asyncio.Task[Answered]] = deque()
        try:
            async for row in _each(rows):
                waiting.append(asyncio.create_task(self._ask(question, row)))
                if len(waiting) >= concurrency:
                    yield await waiting.popleft()
            while waiting:
                yield await waiting.popleft()
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    async def _ask(self, question: Question, row: Mapping[str, Any]) -> Answered:
        try:
            body = question.body(row)
        except RowFault as fault:
            return Answered(row, error=str(fault))
        try:
            # A stream, so that the SDK does not refuse long answers, folded by the SDK itself.
            async with self.sdk.messages.stream(**body) as stream:
                message: Message = await stream.get_final_message()
        except (anthropic.AuthenticationError, anthropic.PermissionDeniedError):
            raise
        except anthropic.NotFoundError:
            raise
        except anthropic.APIStatusError as error:
            return Answered(row, error=_told(error))
        try:
            kept = question.shape.read(_text_of(message))
        except RowFault as fault:
            return Answered(row, error=str(fault), message=message)
        return Answered(row, json.loads(kept), message=message)

    async def batch(self, requests: Iterable[Request]) -> AsyncBatch:
        """Hand in a batch. Raises anthropic.APIStatusError where it is refused."""
        return AsyncBatch(self.sdk, await self.sdk.messages.batches.create(requests=requests))

    async def batch_of(self, batch_id: str) -> AsyncBatch:
        """A batch that was handed in before. Raises anthropic.NotFoundError."""
        return AsyncBatch(self.sdk, await self.sdk.messages.batches.retrieve(batch_id))


class AsyncBatch:
    """A batch at a server. `state` is what was last heard of it, as the SDK has it."""

    def __init__(self, sdk: anthropic.AsyncAnthropic, state: MessageBatch) -> None:
        self._sdk = sdk
        self.state = state
        self._tells = True  # whether the server is one that tells how far it is

    @property
    def id(self) -> str:
        """Its id at the server."""
        return self.state.id

    async def refresh(self) -> MessageBatch:
        """Ask how it is."""
        self.state = await self._sdk.messages.batches.retrieve(self.id)
        return self.state

    async def wait(
        self,
        *,
        progress: Callable[[BatchProgress], None] | None = None,
        timeout: float | None = None,
    ) -> MessageBatch:
        """Return when it has ended; looks again sooner while it is young.

        Raises:
            TimeoutError: it has not, in `timeout` seconds. It goes on all the same.
        """
        began, poll = time.monotonic(), SHORTEST_POLL
        async with asyncio.timeout(timeout):
            while (await self.refresh()).processing_status != "ended":
                if progress is not None:
                    progress(await self.progress(time.monotonic() - began))
                await asyncio.sleep(poll)
                poll = min(LONGEST_POLL, poll * 1.25)
        if progress is not None:
            progress(await self.progress(time.monotonic() - began))
        return self.state

    async def progress(self, seconds: float = 0.0) -> BatchProgress:
        """How far it is; the API tells counts at the end alone, renga at any time."""
        counts = self.state.request_counts
        ends = (counts.succeeded, counts.errored, counts.canceled, counts.expired)
        total = counts.processing + sum(ends)
        if self._tells:
            try:
                told = await self._sdk.get(f"/v1/renga/batches/{self.id}", cast_to=dict[str, Any])
            except anthropic.APIStatusError:
                self._tells = False
            else:
                total = told["total"]
                done = total - told["waiting"] - told["running"]
                return BatchProgress(done, total, seconds, told["cost_usd"], told["saved_usd"])
        return BatchProgress(sum(ends), total, seconds)

    async def results(self) -> AsyncIterator[MessageBatchIndividualResponse]:
        """What came of each request, in any order. Raises where the batch has not ended."""
        async for result in await self._sdk.messages.batches.results(self.id):
            yield result

    async def cancel(self) -> MessageBatch:
        """End what has not begun."""
        self.state = await self._sdk.messages.batches.cancel(self.id)
        return self.state

    async def delete(self) -> None:
        """Forget it; it must have ended."""
        await self._sdk.messages.batches.delete(self.id)


async def _each(rows: Rows) -> AsyncIterator[Mapping[str, Any]]:
    if isinstance(rows, AsyncIterable):
        async for row in rows:
            yield row
    else:
        for row in rows:
            yield row


def _text_of(message: Message) -> str:
    if message.stop_reason == "max_tokens":
        raise RowFault(f"the answer was cut after {message.usage.output_tokens} tokens")
    if message.stop_reason == "refusal":
        raise RowFault("the model refused to answer")
    return "".join(block.text for block in message.content if block.type == "text")


def _told(error: anthropic.APIStatusError) -> str:
    body = error.body
    if isinstance(body, dict) and isinstance(body.get("error"), dict):
        return f"{body['error'].get('message', error.message)} ({error.status_code})"
    return f"{error.message} ({error.status_code})"
