"""`POST /v1/chat/completions`: OpenAI's chat, streamed or whole, over the same gateway.

And what its prompt counts: `POST /v1/chat/completions/input_tokens`, as llama.cpp's server has it.

Owns the order in which a request is checked (key, body, fields) and the headers of an answer. It
only translates: the request by `translation`, the events by `answers`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from renga.caller import Caller
from renga.errors import InvalidRequest
from renga.events import Event
from renga.gateway import Gateway
from renga.http.auth import Auth
from renga.http.body import decode, read_body
from renga.http.messages import INLINE, JSON, answer_headers
from renga.http.openai.answers import Choice, ChunkForm, Completion
from renga.http.openai.limits import RateLimits
from renga.http.openai.translation import Translated, in_their_words, translate
from renga.http.running import Running
from renga.http.sse import EventStream

Clock = Callable[[], float]


class Chat:
    """The endpoint over its parts. `limit` is bytes of a body; `clock` is wall time in seconds."""

    def __init__(
        self,
        *,
        gateway: Gateway,
        auth: Auth,
        running: Running,
        clock: Clock,
        limits: RateLimits,
        limit: int,
        ping_seconds: float,
    ) -> None:
        self._gateway = gateway
        self._auth = auth
        self._running = running
        self._clock = clock
        self._limits = limits
        self._limit = limit
        self._ping_seconds = ping_seconds

    def routes(self) -> list[Route]:
        """What it answers."""
        return [
            Route("/v1/chat/completions", self.create, methods=["POST"]),
            Route("/v1/chat/completions/input_tokens", self.count, methods=["POST"]),
        ]

    async def create(self, request: Request) -> Response | EventStream:
        """An answer, whole or as a stream of chunks."""
        caller = await self._auth.caller(request)
        self._limits.note(request, caller)
        raw = await read_body(request, self._limit)
        if len(raw) <= INLINE:
            asked = _understand(raw)
        else:
            asked = await asyncio.to_thread(_understand, raw)
        events = _told(self._gateway.stream(asked.request, caller), asked.places)
        logprobs = asked.request.logprobs is not None
        choice = Choice(
            created=int(self._clock()),
            reused=lambda: caller.receipt.tokens.reused or 0,
            logprobs=logprobs,
        )
        if asked.request.stream:
            return EventStream(
                events,
                ChunkForm(
                    choice,
                    include_usage=asked.include_usage,
                    continuous_usage=asked.continuous_usage,
                ),
                running=self._running,
                head=lambda: _headers(caller, asked),
                ping_seconds=self._ping_seconds,
            )
        completion = Completion(choice)
        await self._running.guard(_collect(events, completion), request.receive)
        body = completion.body(logprobs=logprobs)
        return Response(body, headers=_headers(caller, asked), media_type=JSON)

    async def count(self, request: Request) -> Response:
        """The size of a prompt, as llama.cpp's server tells it."""
        caller = await self._auth.caller(request)
        raw = await read_body(request, self._limit)
        asked = await asyncio.to_thread(_understand, raw)
        counting = self._gateway.count_tokens(asked.request, caller)
        try:
            count = await self._running.guard(counting, request.receive)
        except InvalidRequest as error:
            raise in_their_words(error, asked.places) from error
        body = {"object": "response.input_tokens", "input_tokens": count.input_tokens}
        return JSONResponse(body, headers=_headers(caller, asked))


def _understand(raw: bytes) -> Translated:
    return translate(decode(raw))


async def _told(events: AsyncIterator[Event], places: Mapping[str, str]) -> AsyncIterator[Event]:
    """`events`; where the path refuses a field, it is named as the caller wrote it."""
    try:
        async with aclosing(events) as source:  # type: ignore[type-var]
            async for event in source:
                yield event
    except InvalidRequest as error:
        raise in_their_words(error, places) from error


async def _collect(events: AsyncIterator[Event], completion: Completion) -> None:
    async with aclosing(events) as source:  # type: ignore[type-var]
        async for event in source:
            completion.see(event)


def _headers(caller: Caller, asked: Translated) -> dict[str, str]:
    return answer_headers(caller, asked.ignored) | {"x-request-id": caller.request_id}
