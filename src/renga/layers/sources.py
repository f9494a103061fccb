"""Sources of images and documents: what they name is in the request before any layer reads it.

Owns that the step is taken once for each answer, and before a count or a score, whichever edge
asked. What a source is and who may have it is `renga.media.resolving`'s.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace

from renga.caller import Caller
from renga.events import Event
from renga.layers.base import Layer, Ways
from renga.media.resolving import Resolver
from renga.media.walking import has_media
from renga.types import MessagesRequest, Prompt, ScoreRequest, Scores, TokenCount


def resolving(resolver: Resolver) -> Layer:
    """The layer that has `resolver` put everything into a request."""

    def wrap(below: Ways) -> Ways:
        def stream(request: MessagesRequest, caller: Caller) -> AsyncIterator[Event]:
            if not has_media(request):
                return below.stream(request, caller)
            return resolved(request, caller)

        async def resolved(request: MessagesRequest, caller: Caller) -> AsyncIterator[Event]:
            plain = await resolver.resolve(request, caller, window=below.window(request))
            async with aclosing(below.stream(plain, caller)) as events:  # type: ignore[type-var]
                async for event in events:
                    yield event

        async def count(prompt: Prompt, caller: Caller) -> TokenCount:
            if has_media(prompt):
                prompt = await resolver.resolve(prompt, caller, window=below.window(prompt))
            return await below.count(prompt, caller)

        async def score(request: ScoreRequest, caller: Caller) -> Scores:
            if has_media(request):
                request = await resolver.resolve(request, caller, window=below.window(request))
            return await below.score(request, caller)

        return replace(below, stream=stream, count=count, score=score)

    return wrap
